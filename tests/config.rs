//! The configuration from outside: the files that come with it, the manual, each kind of mistake.
#![allow(clippy::unwrap_used)]

use gatepost::config::{self, Config, Loaded, Overrides, Problem, Source};
use std::{collections::BTreeSet, fs, path::Path};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn problems(text: &str) -> Vec<Problem> {
    match config::parse("t.toml", text) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    }
}

/// The least that a file needs, with more behind it.
fn with(more: &str) -> String {
    let least = "hostname = \"mx.example.net\"\n[[listener]]\nname = \"mx\"\naddress = [\"127.0.0.1:2525\"]\n\
        [[pool]]\nname = \"mta\"\nbackends = [\"127.0.0.1:2600\"]\n[[route]]\ndomains = [\"example.net\"]\npool = \"mta\"\n";
    format!("{least}{more}")
}

/// Asserts the one problem of a text: its line's text from the column on, its message, its help.
#[track_caller]
fn one(text: &str, place: &str, message: &str, help: &str) {
    let found = problems(text);
    assert_eq!(found.len(), 1, "{found:#?}");
    let problem = &found[0];
    let at: String = problem
        .text
        .chars()
        .skip(problem.column.saturating_sub(1))
        .take(problem.width)
        .collect();
    assert_eq!(
        (
            &*at,
            &*problem.message,
            problem.hint.as_deref().unwrap_or("")
        ),
        (place, message, help)
    );
}

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
            let shared = matches!(&**of, "List" | "Outcome");
            !(written.contains(path) || (shared && shown.contains(&(of, name))))
        })
        .collect();
    assert!(missing.is_empty(), "config/edge.toml lacks {missing:?}");
}

#[test]
fn a_credential_source_has_its_own_keys() {
    let staff = |keys: &str| with(&format!("[[credentials]]\nname = \"staff\"\n{keys}"));
    one(
        &staff("source = \"dovecot\"\n"),
        "[[credentials]]",
        "source = \"dovecot\" needs `socket`",
        "write socket = \"/run/dovecot/auth-client\"",
    );
    one(
        &staff("source = \"dovecot\"\nsocket = \"/s\"\nurl = \"http://127.0.0.1/\"\n"),
        "\"http://127.0.0.1/\"",
        "source = \"dovecot\" has no `url`",
        "it belongs to \"http\", \"introspection\"",
    );
    one(
        &staff("source = \"http\"\nurl = \"auth.example/x\"\n"),
        "\"auth.example/x\"",
        "\"auth.example/x\" is no address of the web",
        "write \"https://auth.example.net/smtp\"",
    );
    one(
        &staff("source = \"http\"\nurl = \"http://auth.example/x\"\n"),
        "\"http://auth.example/x\"",
        "passwords go to another machine unencrypted",
        "use https://",
    );
    one(
        &staff("source = \"backend\"\npool = \"mtb\"\n"),
        "\"mtb\"",
        "there is no pool \"mtb\"",
        "did you mean \"mta\"?",
    );
    one(
        &staff("source = \"introspection\"\nurl = \"https://[::1]:8443/\"\nclient = \"us\"\n"),
        "[[credentials]]",
        "`client` and `secret` go together, and `secret` is missing",
        "",
    );
    one(
        &staff(
            "source = \"http\"\nurl = \"http://localhost/\"\nsecret = { file = \"a\", env = \"B\" }\n",
        ),
        "{ file = \"a\", env = \"B\" }",
        "a secret stands in one place",
        "write { file = \"…\" } or { env = \"…\" }",
    );
    one(
        &staff(
            "source = \"http\"\nurl = \"http://localhost/\"\nsecret = { env = \"NO_SUCH_VARIABLE\" }\n",
        ),
        "{ env = \"NO_SUCH_VARIABLE\" }",
        "the environment variable NO_SUCH_VARIABLE is not set",
        "",
    );
}

#[test]
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
}

#[test]
fn a_partial_table_keeps_the_defaults_of_its_place() {
    let loaded = config::parse(
        "t",
        &with("[policy.client_rate]\nconnections = 5\n[policy.helo.address]\nthen = \"reject\"\n"),
    );
    let policy = loaded.unwrap().config.policy;
    let default = Config::default().policy;
    assert_eq!(policy.client_rate.connections, 5);
    assert_eq!(policy.client_rate.sessions, default.client_rate.sessions);
    assert_eq!(policy.helo.unqualified, default.helo.unqualified);
}

#[test]
fn flags_alone_are_enough() {
    let flags = Overrides {
        backend: vec!["127.0.0.1:2600".into()],
        domain: vec!["example.net".into()],
        alone: true,
        ..Overrides::default()
    };
    let Loaded { config, .. } = Source {
        file: None,
        overrides: flags,
    }
    .load()
    .unwrap();
    assert_eq!(
        config.listener[0].address,
        ["127.0.0.1:2525".parse().unwrap()]
    );
    assert_eq!(config.route[0].domains, ["example.net", "*"]);
    let flags = Overrides {
        backend: vec!["127.0.0.1".into()],
        alone: true,
        ..Overrides::default()
    };
    let found = Source {
        file: None,
        overrides: flags,
    }
    .load()
    .unwrap_err();
    assert_eq!(
        (&*found[0].file, &*found[0].key),
        ("command line", "--backend")
    );
}

#[test]
fn every_error_is_told_at_once() {
    let text = "workers = \"many\"\nio = \"urng\"\n[[listener]]\nname = \"mx\"\nadress = [\"127.0.0.1:25\"]\n\
        [[pool]]\nname = \"a\"\nbackends = [\"10.0.0.1\", { addr = \"x:25\" }]\nidle = 30\n\
        [[route]]\ndomains = [\"*.example.net\"]\npool = \"b\"\n[limits]\nsessions = 0\n";
    let keys: Vec<_> = problems(text)
        .into_iter()
        .map(|problem| problem.key)
        .collect();
    assert_eq!(
        keys,
        [
            "workers",
            "io",
            "listener[0].adress",
            "pool[0].backends[1].addr",
            "pool[0].idle",
            "route[0].domains[0]",
            "limits.sessions",
        ]
    );
}

#[test]
fn syntax() {
    one(
        "a = 127.0.0.1:25",
        ".0.1:25",
        "invalid float, expected nothing",
        "text stands in quotes: a = \"127.0.0.1:25\"",
    );
    one(
        &with("[log]\nto = \"a\"\nto = \"b\"\n"),
        "to",
        "duplicate key",
        "",
    );
}

#[test]
fn unknown_keys() {
    one(
        &with("[limits]\nwindw = 1\n"),
        "windw",
        "unknown key `windw` in `limits`",
        "did you mean `window`?",
    );
    one(
        &with("[log]\nwindow = 1\n"),
        "window",
        "unknown key `window` in `log`",
        "that key belongs in `[limits]`",
    );
    one(
        &with("[log]\ncolour = 1\n"),
        "colour",
        "unknown key `colour` in `log`",
        "the keys here are to, format, level, queue",
    );
}

#[test]
fn keys_that_are_not_there_yet() {
    for more in [
        "[spool]\ndirectory = \"x\"\n",
        "[[policy.rule]]\nname = \"x\"\n",
        "[[route]]\ndomains = [\"b.example\"]\npool = \"mta\"\nrecipients = { file = \"x\" }\n",
    ] {
        let found = problems(&with(more));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(
            found[0].is_error() && found[0].message.ends_with("is not there yet"),
            "{}",
            found[0]
        );
        assert!(found[0].hint.is_some());
    }
    let later = "name = \"mta\"\nwhen_down = \"spool\"";
    let found = problems(&with("").replace("name = \"mta\"", later));
    assert!(
        found[0].message.ends_with("is not there yet"),
        "{}",
        found[0]
    );
    let found = problems(&with("").replace("127.0.0.1:2600", "srv:_smtp._tcp.mail.internal"));
    assert!(
        found[0].message.ends_with("is not there yet"),
        "{}",
        found[0]
    );
}

#[test]
fn wrong_types() {
    one(
        &with("[timeouts]\ncommand = 30\n"),
        "30",
        "`timeouts.command` must be a duration like \"30s\", \"5m\" or \"1h30m\", not the number 30",
        "write \"30s\" for seconds",
    );
    one(
        &with("[limits]\nerrors = \"12\"\n"),
        "\"12\"",
        "`limits.errors` must be a whole number, not the text \"12\"",
        "write 12 without quotes",
    );
    one(
        &with("[limits]\nerrors = -1\n"),
        "-1",
        "`limits.errors` must be from 0 to 4294967295, not -1",
        "",
    );
    one(
        &with("[limits]\nwindow = \"1TB\"\n"),
        "\"1TB\"",
        "`limits.window` is wrong: `1TB` is no size",
        "write one as 512, \"64KiB\", \"25MiB\" or \"1GiB\"",
    );
    one(
        &with("[log]\nformat = \"jsn\"\n"),
        "\"jsn\"",
        "`log.format` must be \"logfmt\" or \"json\", not \"jsn\"",
        "did you mean \"json\"?",
    );
    one(
        &with("[[admin]]\nlisten = \"off\"\n"),
        "[[admin]]",
        "`admin` must be a table, not a list",
        "write the header in single brackets: `[admin]`",
    );
    one(
        &format!("trusted = [\"10.0.0.5/8\"]\n{}", with("")),
        "\"10.0.0.5/8\"",
        "`trusted[0]` holds \"10.0.0.5/8\", which is no network",
        "bits are set behind the prefix; write \"10.0.0.0/8\" or \"10.0.0.5\"",
    );
}

/// Runs the program; its exit code and what it printed.
fn gatepost(args: &[&str]) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gatepost"));
    let done = command.current_dir(ROOT).args(args).output().unwrap();
    let text = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn exit_codes_and_output() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.toml");
    fs::write(&bad, with("[limits]\nwindw = 1\n")).unwrap();
    let bad = bad.to_str().unwrap();
    for (args, code, part) in [
        (vec!["check"], 0, "config/quickstart.toml: no errors"),
        (vec!["check", "-c", bad], 78, "did you mean `window`?"),
        (vec!["run", "-c", bad], 78, "1 error in the configuration"),
        (
            vec!["run", "-c", "no-such-file"],
            78,
            "run where config/quickstart.toml is",
        ),
        (
            vec!["check", "--listen", "nowhere"],
            64,
            "invalid value 'nowhere'",
        ),
        (vec!["frobnicate"], 64, "unrecognized subcommand"),
        (vec!["run", "--help"], 0, "Examples:"),
        (
            vec!["config", "schema"],
            0,
            "\"additionalProperties\": false",
        ),
        (vec!["config", "reference"], 0, "# Configuration"),
        (vec!["config", "show", "--workers", "3"], 0, "workers = 3"),
        (vec!["completions", "bash"], 0, "_gatepost"),
        (vec!["man"], 0, ".TH gatepost"),
    ] {
        let (seen, text) = gatepost(&args);
        assert_eq!(seen, Some(code), "{args:?}: {text}");
        assert!(text.contains(part), "{args:?}: {text}");
    }
}

#[test]
fn listeners() {
    one(
        &with("[[listener]]\nname = \"mx\"\naddress = [\"127.0.0.1:26\"]\n"),
        "\"mx\"",
        "the name \"mx\" is taken by `listener[0]`",
        "",
    );
    one(
        &with("[[listener]]\nname = \"b\"\naddress = [\"127.0.0.1:2525\"]\n"),
        "\"127.0.0.1:2525\"",
        "127.0.0.1:2525 is taken by `listener[0].address[0]`",
        "",
    );
    one(
        &with("[[listener]]\nname = \"b\"\n"),
        "[[listener]]",
        "`listener[1]` has no address",
        "write address = [\"127.0.0.1:2525\"]",
    );
    one(
        &with("[[listener]]\nname = \"b\"\naddress = [\"::1:25\", \"localhost:25\"]\n")
            .replace(", \"localhost:25\"", ""),
        "\"::1:25\"",
        "`listener[1].address[0]` must be an address like \"192.0.2.1:25\" or \"[2001:db8::1]:25\", not \"::1:25\"",
        "write \"[::1]:25\"",
    );
    one(
        &format!("trusted = [\"0.0.0.0/0\"]\n{}", with("")),
        "\"0.0.0.0/0\"",
        "`trusted` with 0.0.0.0/0 is an open relay: everybody may send to everywhere",
        "name the networks of your own clients",
    );
}

#[test]
fn pools_and_routes() {
    let pool = |more: &str| {
        with(&format!(
            "[[pool]]\nname = \"b\"\n{more}\n[[route]]\ndomains = [\"b.example\"]\npool = \"b\"\n"
        ))
    };
    one(
        &pool("backends = [\"10.0.0.1\"]"),
        "\"10.0.0.1\"",
        "\"10.0.0.1\" is no backend",
        "a port is missing; write \"10.0.0.1:25\"",
    );
    one(
        &pool("backends = [{ address = \"a:25\", weight = 0 }]"),
        "0",
        "`weight` is 1 to 1000, not 0",
        "take a backend out by removing it",
    );
    one(
        &pool("backends = [\"a:25\", \"A:25\"]"),
        "\"A:25\"",
        "A:25 is in the pool twice",
        "use `weight`",
    );
    one(
        &pool("backends = [\"127.0.0.1:2525\"]"),
        "\"127.0.0.1:2525\"",
        "127.0.0.1:2525 is our own `listener[0]`: mail would go round in circles",
        "",
    );
    one(
        &pool("backends = [{ weight = 2 }]"),
        "{ weight = 2 }",
        "`pool[1].backends[0]` needs `address`",
        "",
    );
    one(
        &pool(""),
        "[[pool]]",
        "`pool[1]` has no backends",
        "write backends = [\"10.0.0.11:25\"]",
    );
    one(
        &pool("backends = [\"a:25\"]\nhealth = { backoff = \"2m\" }"),
        "\"2m\"",
        "`backoff` (2m) is longer than `backoff_max` (1m)",
        "",
    );
    one(
        &pool("backends = [\"a:25\"]\nchunking = \"yes\""),
        "\"yes\"",
        "`pool[1].chunking` must be true or false, not the text \"yes\"",
        "write true without quotes",
    );
    one(
        &with("[[route]]\ndomains = [\"b.example\"]\npool = \"mat\"\n"),
        "\"mat\"",
        "there is no pool \"mat\"",
        "did you mean \"mta\"?",
    );
    one(
        &with("[[route]]\ndomains = [\"EXAMPLE.net\"]\npool = \"mta\"\n"),
        "\"EXAMPLE.net\"",
        "EXAMPLE.net has a route already, `route[0]`",
        "",
    );
    one(
        &with("[[route]]\ndomains = [\"*.b.example\"]\npool = \"mta\"\n"),
        "\"*.b.example\"",
        "\"*.b.example\" is no domain",
        "write \".b.example\" for every domain below b.example",
    );
    one(
        &with("[[pool]]\nname = \"b\"\nbackends = [\"a:25\"]\n"),
        "\"b\"",
        "no route leads to the pool \"b\"",
        "",
    );
}

#[test]
fn checks_of_the_policy() {
    let header = |more: &str| {
        with(&format!(
            "[[policy.header]]\nname = \"h\"\nfield = \"Subject\"\n{more}\n"
        ))
    };
    one(
        &header("pattern = \"a(\""),
        "\"a(\"",
        "the pattern is no regular expression: unclosed group",
        "",
    );
    one(
        &header(""),
        "[[policy.header]]",
        "`when = \"matches\"` needs a `pattern`",
        "write pattern = '…', or when = \"present\"",
    );
    one(
        &header("when = \"absent\"\npattern = \"a\""),
        "\"a\"",
        "`pattern` has no effect with `when = \"absent\"`",
        "write when = \"matches\", or remove the pattern",
    );
    let list = |more: &str| with(&format!("[[policy.client_list]]\nname = \"l\"\n{more}\n"));
    one(
        &list("entries = [\"10.0.0.0/8\", \"300.1.1.1\"]"),
        "\"300.1.1.1\"",
        "\"300.1.1.1\" can't be an entry of this list",
        "write an address or a network like \"10.0.0.0/8\" or \"2001:db8::/32\"",
    );
    one(
        &list(""),
        "[[policy.client_list]]",
        "`policy.client_list[0]` is empty",
        "give it `entries` or `files`",
    );
    let ten = "entries = [\"10.0.0.0/8\"]\n";
    one(
        &list(&format!("{ten}score = 3")),
        "3",
        "`score` has no effect with `then = \"reject\"`",
        "write then = \"score\", or remove the score",
    );
    one(
        &list(&format!("{ten}reply = \"450 4.7.1 Later\"")),
        "\"450 4.7.1 Later\"",
        "a 4xx reply defers, it doesn't reject",
        "write 5xx, or then = \"defer\"",
    );
    one(
        &list(&format!("{ten}reply = \"550 4.7.1 No\"")),
        "\"550 4.7.1 No\"",
        "\"550 4.7.1 No\" is no reply",
        "the enhanced code of 550 starts with 5, not 4",
    );
    one(
        &with("[policy.relay]\nmode = \"shadow\"\n"),
        "\"shadow\"",
        "`relay` with `mode = \"shadow\"` is an open relay",
        "put the clients that may relay into `trusted`",
    );
    one(
        &with("[policy.client_rate]\nthen = \"score\"\n"),
        "\"score\"",
        "a rate can't `score`",
        "use \"defer\", \"reject\" or \"close\", or `mode = \"shadow\"` to only watch",
    );
}

#[test]
fn files_that_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("names");
    fs::write(
        &file,
        "# ours\nexample.net  # and below\n.example.net\n\n  two words\n/a#b/\n",
    )
    .unwrap();
    let list = format!(
        "[[policy.sender_list]]\nname = \"l\"\nfiles = [\"{}\"]\n",
        file.display()
    );
    let found = problems(&with(&list));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(
        (&*found[0].file, found[0].line, found[0].column),
        (&*file.display().to_string(), 5, 3)
    );
    assert_eq!(
        found[0].message,
        "\"two words\" can't be an entry of this list"
    );
    fs::remove_file(&file).unwrap();
    let found = problems(&with(&list));
    assert!(
        found[0]
            .message
            .starts_with(&format!("can't read {}: No such file", file.display())),
        "{}",
        found[0]
    );
    let found = config::load(&file).unwrap_err();
    assert!(found[0].hint.as_deref().unwrap().contains("-c FILE"));
    one(
        &with("[log]\nto = \"/no/where\"\n"),
        "\"/no/where\"",
        "there is no folder /no",
        "make it first",
    );
}

#[test]
fn limits_that_help_nobody() {
    one(
        &with("[limits]\nsessions = 0\n"),
        "0",
        "`sessions = 0` lets nothing through",
        "write 1 or more",
    );
    one(
        &with("[limits]\nheader = \"1MiB\"\n"),
        "\"1MiB\"",
        "`header` (1MiB) must not be larger than `window` (256KiB)",
        "",
    );
    let small = config::parse("t", &with("[limits]\nwindow = \"16KiB\"\n"))
        .unwrap()
        .config
        .limits;
    assert_eq!(small.header, small.window);
    let few = config::parse("t", &with("[limits]\nrecipients = 10\n")).unwrap();
    assert_eq!(
        few.warnings[0].message,
        "`recipients` is less than 100: RFC 5321 §4.5.3.1.8 asks for that"
    );
    one(
        &with("[timeouts]\ndata = \"0s\"\n"),
        "\"0s\"",
        "`data` must be longer than 0s",
        "",
    );
}

#[test]
fn certificates_by_acme() {
    let speaking = |more: &str| {
        let address = "address = [\"127.0.0.1:2525\"]\n";
        with(more).replacen(address, &format!("{address}tls = \"starttls\"\n"), 1)
    };
    let acme = |keys: &str| speaking(&format!("[acme]\nagree = true\n{keys}\n"));
    let name = "domains = [\"mx.example.net\"]\n";
    assert_eq!(problems(&acme(name)), []);
    one(
        &with(&format!("[acme]\nagree = true\n{name}")),
        "[\"mx.example.net\"]",
        "no listener speaks TLS with the certificate that is ordered",
        "write tls = \"starttls\" in a `[[listener]]`",
    );
    one(
        &speaking(&format!("[acme]\n{name}")),
        "[acme]",
        "an authority gives no certificate to who doesn't agree to its terms",
        "read the terms of the authority, then write agree = true",
    );
    for (domain, help) in [
        (
            "*.example.net",
            "a wildcard takes a challenge by DNS; name each host",
        ),
        ("192.0.2.1", "name the host, not its address"),
        (
            "mx.example.net.",
            "write \"mx.example.net\", without the dot at the end",
        ),
        ("m\u{fc}ller.example", "write the `xn--` form of the name"),
        ("mx_1.example", "write a host name like \"mx.example.net\""),
        ("localhost", "write a host name like \"mx.example.net\""),
    ] {
        one(
            &acme(&format!("domains = [\"{domain}\"]")),
            &format!("\"{domain}\""),
            &format!("\"{domain}\" can't be certified"),
            help,
        );
    }
    one(
        &acme("domains = [\"a.example\", \"A.example\"]"),
        "\"A.example\"",
        "\"A.example\" is there twice",
        "",
    );
    one(
        &acme(&format!("{name}directory = \"http://ca.example/\"")),
        "\"http://ca.example/\"",
        "\"http://ca.example/\" is no directory",
        "ACME goes by HTTPS alone (RFC 8555 \u{a7}6.1): write \"https://\u{2026}\"",
    );
    one(
        &acme(&format!("{name}contact = [\"me@example.net\"]")),
        "\"me@example.net\"",
        "\"me@example.net\" is no contact",
        "write \"mailto:me@example.net\"",
    );
    one(
        &acme(&format!("{name}renew_before = \"1m\"")),
        "\"1m\"",
        "`renew_before` must be 1h at least",
        "a renewal may fail for days; 30d is usual",
    );
    one(
        &acme(&format!("{name}listen = []")),
        "[]",
        "nothing answers the authority's challenges",
        "write listen = [\"0.0.0.0:80\"]",
    );
    one(
        &acme(&format!("{name}listen = [\"127.0.0.1:2525\"]")),
        "\"127.0.0.1:2525\"",
        "127.0.0.1:2525 is taken by `listener[0].address[0]`",
        "",
    );
    one(
        &acme(&format!("{name}external_account = \"kid\"")),
        "\"kid\"",
        "`external_account` is of no use without its key",
        "name the file with the key: external_key = \"\u{2026}\"",
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    fs::write(&file, "no key at all!\n").unwrap();
    let file = file.display();
    one(
        &acme(&format!(
            "{name}external_account = \"kid\"\nexternal_key = \"{file}\""
        )),
        &format!("\"{file}\""),
        &format!("{file} holds no key in base64url"),
        "",
    );
    one(
        &acme(&format!("{name}ca = \"{file}\"")),
        &format!("\"{file}\""),
        &format!("{file} holds no certificate in PEM"),
        "",
    );
}
