//! From a file, and the flags laid over it, to a configuration that may be used, or to every problem in it.
//!
//! The order: read the file and what it includes (`sources.rs`), parse and join, hold against the schema (`shape.rs`),
//! lay over the defaults, lay the flags over that, read what stands in files of its own (`files.rs`), check what it
//! means (`check/`). A table that names a few of its keys keeps the default *of its place*
//! for the others, which differ from place to place (`policy.client_rate` and `policy.sender_rate`): so the
//! file's tree is merged into the default's tree before serde sees it.

use super::{
    Config, Overrides, Policy, PolicyPart, Problem, Severity, check,
    document::Document,
    files,
    secret::{read_secret, secret_files},
    shape,
    sources::{self, Text},
};
use serde::Deserialize;
use std::{
    ops::Range,
    path::{Path, PathBuf},
};
use toml::{Spanned, Table, Value, de::DeTable};

/// A configuration that passed every check.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values, with names that default to others (`hostname`, a pool's `hello`) filled in.
    pub config: Config,
    /// What an operator should look at, though it stops nothing.
    pub warnings: Vec<Problem>,
    files: Vec<PathBuf>,
}

impl Loaded {
    /// The files that it was read from: the one that was named, then those that it includes.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }
}

/// A configuration as far as it could be read, and what is wrong with it by itself. Where a value is wrong, it has the default, so
/// that those who look at what the configuration leads to find their mistakes too, and the operator gets all of them at once.
#[derive(Debug)]
pub struct Draft {
    config: Config,
    places: Document,
    files: Vec<PathBuf>,
}

impl Draft {
    /// What could be read. It may only be looked at: [`Draft::finish`] says whether it may be used.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether no error was found so far.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.places.is_sound()
    }

    /// Whether an error was told at a key, in it or around it, so that another about it may come of the same mistake.
    #[must_use]
    pub fn is_told(&self, key: &str) -> bool {
        self.places.is_told(key)
    }

    /// Whether what is written at a key, in it or around it could not be read, so that the configuration has something else there.
    #[must_use]
    pub fn is_broken(&self, key: &str) -> bool {
        self.places.is_broken(key)
    }

    /// Whether the key is written in the file or given by a flag.
    #[must_use]
    pub fn is_written(&self, key: &str) -> bool {
        self.places.has(key)
    }

    /// Adds problems that another room has found.
    pub fn add(&mut self, problems: impl IntoIterator<Item = Problem>) {
        problems
            .into_iter()
            .for_each(|problem| self.places.push(problem));
    }

    /// The configuration, where nothing is wrong with it.
    ///
    /// # Errors
    /// Every problem that was found, errors and warnings, in the order of the file.
    pub fn finish(mut self) -> Result<Loaded, Vec<Problem>> {
        let sound = self.places.is_sound();
        let problems = self.places.take_problems();
        match sound {
            true => Ok(Loaded {
                config: self.config,
                warnings: problems,
                files: self.files,
            }),
            false => Err(problems),
        }
    }

    /// A problem at the place of a key, found by a room that knows what the value leads to (a file, a certificate).
    #[must_use]
    pub fn problem(
        &self,
        severity: Severity,
        key: &str,
        message: String,
        hint: Option<String>,
    ) -> Problem {
        self.places.problem(severity, key, message, hint)
    }

    /// A problem at a part of a text, which the key has as `value`.
    #[must_use]
    pub fn problem_within(&self, problem: Problem, value: &str, part: Range<usize>) -> Problem {
        self.places.problem_within(problem, value, part)
    }
}

/// Where a configuration comes from; a reload loads it again.
#[derive(Clone, Debug, Default)]
pub struct ConfigSource {
    /// The file; `-` for standard input, `None` when flags say everything.
    pub file: Option<PathBuf>,
    /// What the command line says, over the file.
    pub overrides: Overrides,
}

impl ConfigSource {
    /// Reads and checks.
    ///
    /// # Errors
    /// Every problem that was found, errors and warnings, in the order of the file.
    pub fn load(&self) -> Result<Loaded, Vec<Problem>> {
        self.draft()?.finish()
    }

    /// Reads and checks, for those who have more to look at.
    ///
    /// # Errors
    /// Every problem that was found, where nothing can be made of the text.
    pub fn draft(&self) -> Result<Draft, Vec<Problem>> {
        match &self.file {
            None => compose(&[plain("command line", "")], &self.overrides),
            Some(file) => compose(&sources::gather(file, &read_secret)?, &self.overrides),
        }
    }
}

/// Reads and checks a file without flags.
///
/// # Errors
/// Every problem that was found.
pub fn load(file: &Path) -> Result<Loaded, Vec<Problem>> {
    ConfigSource {
        file: Some(file.into()),
        overrides: Overrides::default(),
    }
    .load()
}

/// Checks a text; `name` is what problems call it.
///
/// # Errors
/// Every problem that was found.
pub fn parse(name: &str, text: &str) -> Result<Loaded, Vec<Problem>> {
    draft(name, text)?.finish()
}

/// [`ConfigSource::draft`] of a text; `name` is what problems call it.
///
/// # Errors
/// Every problem that was found, where nothing can be made of the text.
pub fn draft(name: &str, text: &str) -> Result<Draft, Vec<Problem>> {
    compose(&[plain(name, text)], &Overrides::default())
}

/// The files that a configuration consists of, and those that it names as secrets ([`secret_files`]), all read by
/// `reader`. The configuration is only parsed, not checked. `None` where it can't be read or has errors.
#[must_use]
pub fn named_secrets(file: &Path, reader: sources::Reader<'_>) -> Option<Vec<PathBuf>> {
    let texts = sources::gather(file, reader).ok()?;
    let first = texts.first()?;
    let mut document = Document::new(&first.name, &first.text);
    let tree = sources::join(&texts, &mut document)?;
    let config = merged(&tree, &mut document).ok()?;
    let secrets = secret_files(&config).into_iter().map(Path::to_path_buf);
    let own = texts.iter().filter_map(|text| text.path.clone());
    document.is_sound().then(|| own.chain(secrets).collect())
}

fn plain(name: &str, text: &str) -> Text {
    Text {
        name: name.into(),
        path: None,
        text: text.into(),
    }
}

/// Makes a configuration of these texts, the first of which is the main one.
fn compose(texts: &[Text], overrides: &Overrides) -> Result<Draft, Vec<Problem>> {
    let (name, text) = texts
        .first()
        .map_or(("", ""), |first| (&*first.name, &*first.text));
    let mut document = Document::new(name, text);
    let Some(tree) = sources::join(texts, &mut document) else {
        return Err(document.into_problems());
    };
    let mut config = match merged(&tree, &mut document) {
        Ok(config) => config,
        Err(why) => {
            // Only a gap in `shape.rs` leads here; the file is refused all the same.
            document.error("", why.to_string(), None);
            return Err(document.into_problems());
        }
    };
    overrides.lay_over(&mut config, &mut document);
    fill(&mut config, &document);
    if let Some(candidate) = &mut config.shadow_config
        && let Some(folder) = texts
            .first()
            .and_then(|text| text.path.as_deref()?.parent())
    {
        *candidate = folder.join(&*candidate);
    }
    files::read(&mut config, &mut document);
    check::check(&config, &mut document);
    Ok(Draft {
        config,
        places: document,
        files: texts.iter().filter_map(|text| text.path.clone()).collect(),
    })
}

/// The defaults with the file's tree laid over them.
fn merged(tree: &Spanned<DeTable<'_>>, document: &mut Document) -> Result<Config, toml::de::Error> {
    let mut kept = shape::walk(tree, document);
    let preset = kept.get("policy").and_then(|policy| policy.get("preset"));
    let preset = preset.and_then(|word| word.as_str()?.parse().ok());
    let below = Config {
        policy: Policy::of(preset.unwrap_or_default()),
        ..Config::default()
    };
    PolicyPart::join(&mut kept);
    let mut whole = Table::try_from(below).map_err(serde::de::Error::custom)?;
    lay_over(&mut whole, kept);
    Config::deserialize(Value::Table(whole))
}

/// Lays the keys of one table over those of another; tables in them are laid over each other likewise.
pub(super) fn lay_over(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => lay_over(below, above),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}

/// Fills in what defaults to something else.
fn fill(config: &mut Config, document: &Document) {
    // A window made small takes the header's limit with it, unless both are said.
    if !document.has("limits.header") {
        config.limits.header = config.limits.header.min(config.limits.window);
    }
    if config.hostname.is_empty() {
        config.hostname = machine_name();
    }
    for pool in &mut config.pool {
        if pool.hello.is_empty() {
            pool.hello.clone_from(&config.hostname);
        }
    }
}

/// The kernel's host name, which needs no look-up.
fn machine_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" | "(none)" => "localhost".into(),
        name => name.into(),
    }
}
