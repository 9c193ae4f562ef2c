//! The files that come with the program, and the manual: held to the schema and to the code.

use crate::{ROOT, problems};
use gatepost::config::{self, Problem};
use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn the_files_that_come_with_it_pass() {
    std::env::set_current_dir(ROOT).unwrap();
    for file in ["quickstart", "edge", "cluster"] {
        let path = format!("config/{file}.toml");
        match config::load(Path::new(&path)) {
            Ok(loaded) => {
                let warnings: Vec<_> = loaded
                    .warnings
                    .iter()
                    // Files and variables that this machine has not.
                    .filter(|w| w.key != "hostname")
                    .filter(|w| !w.key.ends_with(".secret") && !w.key.ends_with(".ca"))
                    .collect();
                assert!(warnings.is_empty(), "{warnings:?}");
            }
            Err(found) => panic!(
                "{}",
                found.iter().map(ToString::to_string).collect::<String>()
            ),
        }
    }
}

/// Paths of every key in a TOML value, without indices.
fn keys(value: &toml::Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) => {
            for (name, value) in table {
                let here = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                keys(value, &here, found);
                found.insert(here);
            }
        }
        toml::Value::Array(items) => items.iter().for_each(|item| keys(item, path, found)),
        _ => {}
    }
}

/// Paths of every key in the schema. Of the four lists and the rules that share their keys, all but the
/// scores and replies must be shown once for the type.
fn schema_keys(
    schema: &serde_json::Value,
    whole: &serde_json::Value,
    path: &str,
    found: &mut BTreeSet<(String, String)>,
    of: &str,
) {
    let (schema, of) = match schema["$ref"].as_str() {
        Some(target) => {
            let name = target.trim_start_matches("#/$defs/");
            (&whole["$defs"][name], name)
        }
        None => (schema, of),
    };
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let here = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        found.insert((of.to_string(), here.clone()));
        if property["x-as"].is_string() {
            continue; // the keys of another table, which stand there
        }
        schema_keys(property, whole, &here, found, "");
    }
    if !schema["items"].is_null() {
        schema_keys(&schema["items"], whole, path, found, of);
    }
    for choice in schema["anyOf"].as_array().into_iter().flatten() {
        schema_keys(choice, whole, path, found, of);
    }
}

#[test]
fn the_edge_file_has_every_key() {
    let text = fs::read_to_string(format!("{ROOT}/config/edge.toml")).unwrap();
    let mut written = BTreeSet::new();
    keys(&toml::from_str(&text).unwrap(), "", &mut written);
    let schema: serde_json::Value = serde_json::from_str(&config::schema_text()).unwrap();
    let mut wanted = BTreeSet::new();
    schema_keys(&schema, &schema, "", &mut wanted, "");
    assert!(wanted.len() > 100, "{}", wanted.len());
    // A type that stands in several places shows each key in one of them.
    let shown: BTreeSet<(&str, &str)> = wanted
        .iter()
        .filter(|(_, path)| written.contains(path))
        .map(|(of, path)| (&**of, path.rsplit('.').next().unwrap()))
        .collect();
    let missing: Vec<_> = wanted
        .iter()
        .filter(|(of, path)| {
            let name = path.rsplit('.').next().unwrap();
            let shared = matches!(&**of, "List" | "Outcome" | "Secret");
            // A file that is read with the configuration would have to be there: it stands in a comment.
            let noted = of == "RecipientFile" && text.contains(&format!("{name} = "));
            !(written.contains(path) || noted || (shared && shown.contains(&(of, name))))
        })
        .collect();
    assert!(missing.is_empty(), "config/edge.toml lacks {missing:?}");
}

#[test]
// INV-MANUAL
fn the_manual_is_current() {
    let file = format!("{ROOT}/docs/config.md");
    let text = config::reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == text,
        "docs/config.md is not what the schema says; run this test with UPDATE_DOCS=1"
    );
}

#[test]
fn the_examples_of_the_manual_are_right() {
    let text = config::reference();
    let examples: Vec<&str> = text
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(examples.len() > 8);
    for example in examples {
        // Its folder may not be there on this machine.
        let example = example.replace("/var/log/gatepost/", "/tmp/");
        let own = |header: &str| example.contains(header);
        let mut whole = example.clone();
        for (header, rest) in [
            (
                "[[listener]]",
                "[[listener]]\nname = \"x\"\naddress = [\"127.0.0.1:1\"]\n",
            ),
            (
                "[[pool]]",
                "[[pool]]\nname = \"mta\"\nbackends = [\"127.0.0.1:2600\"]\n",
            ),
            (
                "[[route]]",
                "[[route]]\ndomains = [\"example.net\"]\npool = \"mta\"\n",
            ),
        ] {
            if !own(header) {
                whole += rest;
            }
        }
        let errors: Vec<_> = problems(&whole)
            .into_iter()
            .filter(Problem::is_error)
            .collect();
        assert!(errors.is_empty(), "{example}\n{errors:?}");
    }
}

#[test]
fn what_show_prints_loads_equal() {
    std::env::set_current_dir(ROOT).unwrap();
    for file in ["quickstart", "edge", "cluster"] {
        let loaded = config::load(Path::new(&format!("config/{file}.toml"))).unwrap();
        let again = config::parse("shown", &config::show(&loaded.config)).unwrap();
        assert_eq!(loaded.config, again.config);
    }
    // A score that the default has beside another word is no contradiction of the operator's.
    let rejects = "[policy.helo.unqualified]\nthen = \"reject\"\n[[policy.rule]]\nname = \"a\"\nwhen = 'tls'\nscore = 1.0\n";
    let loaded = config::parse("t.toml", &crate::with(rejects)).unwrap();
    let shown = config::show(&loaded.config);
    assert_eq!(
        config::parse("shown", &shown).unwrap().config,
        loaded.config
    );
}
