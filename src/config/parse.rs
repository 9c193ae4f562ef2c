//! From a file, and the flags laid over it, to a configuration that may be used, or to every problem in it.
//!
//! The order: read, parse, hold against the schema (`shape.rs`), lay over the defaults, lay the flags over
//! that, check what it means (`check/`). A table that names a few of its keys keeps the default *of its place*
//! for the others, which differ from place to place (`policy.client_rate` and `policy.sender_rate`): so the
//! file's tree is merged into the default's tree before serde sees it.

use super::{
    Config, Overrides, Problem, Severity, check, document::Document, secret::read_secret, shape,
};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use toml::{Spanned, Table, Value, de::DeTable};

/// A file larger than this is no configuration (somebody named a device, or a mailbox).
const FILE_MAX: u64 = 4 << 20;

/// A configuration that passed every check.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values, with names that default to others (`hostname`, a pool's `hello`) filled in.
    pub config: Config,
    /// What somebody should look at, though it stops nothing.
    pub warnings: Vec<Problem>,
    places: Document,
}

impl Loaded {
    /// A problem at the place of a key, found by who knows what the value leads to (a file, a certificate).
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
}

/// Where a configuration comes from; a reload loads it again.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The file; `None` when flags say everything.
    pub file: Option<PathBuf>,
    /// What the command line says, over the file.
    pub overrides: Overrides,
}

impl Source {
    /// Reads and checks.
    ///
    /// # Errors
    /// Every problem that was found, errors and warnings, in the order of the file.
    pub fn load(&self) -> Result<Loaded, Vec<Problem>> {
        match &self.file {
            None => compose("command line", "", &self.overrides),
            Some(file) => {
                let text = read(file).map_err(|problem| vec![*problem])?;
                compose(&file.display().to_string(), &text, &self.overrides)
            }
        }
    }
}

/// Reads and checks a file without flags.
///
/// # Errors
/// Every problem that was found.
pub fn load(file: &Path) -> Result<Loaded, Vec<Problem>> {
    Source {
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
    compose(name, text, &Overrides::default())
}

fn compose(name: &str, text: &str, overrides: &Overrides) -> Result<Loaded, Vec<Problem>> {
    let mut document = Document::new(name, text);
    let (tree, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        syntax(&errors, &mut document);
        return Err(document.into_problems());
    }
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
    check::check(&config, &mut document);
    let sound = document.is_sound();
    let problems = document.take_problems();
    if sound {
        Ok(Loaded {
            config,
            warnings: problems,
            places: document,
        })
    } else {
        Err(problems)
    }
}

/// The defaults with the file's tree laid over them.
fn merged(tree: &Spanned<DeTable<'_>>, document: &mut Document) -> Result<Config, toml::de::Error> {
    let kept = shape::walk(tree, document);
    let mut whole = Table::try_from(Config::default()).map_err(serde::de::Error::custom)?;
    lay_over(&mut whole, kept);
    Config::deserialize(Value::Table(whole))
}

fn lay_over(below: &mut Table, above: Table) {
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

fn read(file: &Path) -> Result<String, Box<Problem>> {
    let name = file.display().to_string();
    let told =
        |message: String, hint: Option<String>| Box::new(Problem::of_file(&name, message, hint));
    let failed = |why: std::io::Error| {
        let hint = match why.kind() {
            std::io::ErrorKind::NotFound => Some(
                "name another with -c FILE, run where config/quickstart.toml is, or use no file at all: \
                 --listen 127.0.0.1:2525 --backend 127.0.0.1:2600"
                    .into(),
            ),
            _ => None,
        };
        told(format!("can't read the configuration: {why}"), hint)
    };
    // Where it is closed to us by now, it was opened before.
    let size = std::fs::metadata(file).map_or(0, |facts| facts.len());
    if size > FILE_MAX {
        return Err(told(format!("{size} octets are no configuration"), None));
    }
    let octets = read_secret(file).map_err(failed)?;
    String::from_utf8(octets).map_err(|why| {
        let sound = &why.as_bytes()[..why.utf8_error().valid_up_to()];
        let line = sound.split(|octet| *octet == b'\n').count();
        told(
            format!("line {line} is not UTF-8"),
            Some("save the file as UTF-8".into()),
        )
    })
}

/// Tells syntax errors: the first of each line, since the parser's recovery repeats itself.
fn syntax(errors: &[toml::de::Error], document: &mut Document) {
    let mut told: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    for error in errors {
        let span = error.span().unwrap_or_default();
        let line = document.line_at(span.start);
        if told.iter().any(|seen| std::ptr::eq(*seen, line)) {
            continue;
        }
        told.push(line);
        found.push((span, error.message().to_string(), unquoted(line)));
    }
    for (span, message, hint) in found {
        document.error_at(span, "", message, hint);
    }
}

/// The commonest mistake: text without its quotes.
fn unquoted(line: &str) -> Option<String> {
    let (key, value) = line.split_once('=')?;
    let value = value.split('#').next().unwrap_or_default().trim();
    let bare = value.starts_with(|c: char| c.is_alphanumeric() || "/.*:".contains(c));
    (bare && !value.contains('"'))
        .then(|| format!("text stands in quotes: {} = \"{value}\"", key.trim()))
}
