//! Scenarios: settings in a TOML file, or one of those that are built in.

use super::settings::Settings;
use std::{fs, path::Path};

/// What is built in: the name, and the file.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("steady", include_str!("../../scenarios/steady.toml")),
    ("burst", include_str!("../../scenarios/burst.toml")),
    ("ramp", include_str!("../../scenarios/ramp.toml")),
    ("slowloris", include_str!("../../scenarios/slowloris.toml")),
    ("idle", include_str!("../../scenarios/idle.toml")),
    ("bigmail", include_str!("../../scenarios/bigmail.toml")),
    ("spamwave", include_str!("../../scenarios/spamwave.toml")),
    ("mixed", include_str!("../../scenarios/mixed.toml")),
    (
        "handshakes",
        include_str!("../../scenarios/handshakes.toml"),
    ),
];

/// Loads a scenario by its name or from a file. A scenario without a name is called as its file is.
///
/// # Errors
/// There is no such scenario, or it makes no sense: what, where, and what may have been meant.
pub fn load(which: &str) -> Result<Settings, String> {
    if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == which) {
        return parse(text, name);
    }
    let path = Path::new(which);
    if !path.exists() {
        let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        let hint = nearest(which, names.iter().copied());
        return Err(format!(
            "`{which}` is neither a file nor a scenario ({}){hint}",
            names.join(", ")
        ));
    }
    let text = fs::read_to_string(path).map_err(|why| format!("{which}: {why}"))?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    parse(&text, &stem).map_err(|why| format!("{which}: {why}"))
}

/// Reads a scenario.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, name: &str) -> Result<Settings, String> {
    let table: toml::Table = text.parse().map_err(|why| format!("{why}"))?;
    let keys = Settings::keys();
    if let Some(unknown) = table.keys().find(|key| !keys.contains(key)) {
        let hint = nearest(unknown, keys.iter().map(String::as_str));
        return Err(format!("`{unknown}` is no key of a scenario{hint}"));
    }
    let mut settings: Settings = toml::from_str(text).map_err(|why| format!("{why}"))?;
    settings.name.get_or_insert_with(|| name.to_owned());
    Ok(settings)
}

/// "; did you mean …?", where something is near enough.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let word = word.replace('-', "_");
    let distance = |name: &str| strsim::damerau_levenshtein(name, &word);
    match known.map(|name| (distance(name), name)).min() {
        Some((distance, name)) if distance <= 3.max(name.len() / 3) => {
            format!("; did you mean `{name}`?")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::run::plan::Plan;

    #[test]
    fn all_that_is_built_in_makes_a_plan() {
        for (name, _) in BUILT_IN {
            let plan = Plan::new(load(name).unwrap()).unwrap();
            assert_eq!(plan.name, *name);
        }
    }

    #[test]
    fn every_file_of_the_folder_is_built_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let mut files: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        let mut names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        files.sort();
        names.sort_unstable();
        assert_eq!(files, names);
    }

    #[test]
    fn mistakes_are_told_with_what_was_meant() {
        for (text, word) in [
            ("reciepients = 2", "did you mean `recipients`"),
            (
                "messages-per-session = 2",
                "did you mean `messages_per_session`",
            ),
            ("zzzzzzzzzzzz = 2", "is no key"),
            ("size = 'huge'", "is no size"),
            ("rate = 'x'", "rate"),
            ("rate = ", "line 1"),
        ] {
            let error = parse(text, "test").unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        let error = load("stedy").unwrap_err();
        assert!(error.contains("did you mean `steady`"), "{error}");
    }
}
