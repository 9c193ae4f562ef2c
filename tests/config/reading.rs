//! How a file, flags and defaults become one configuration, and what the program says of it.

use crate::{ROOT, one, problems, with};
use gatepost::config::{self, Config, ConfigSource, Loaded, Overrides};
use std::fs;

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
    let Loaded { config, .. } = ConfigSource {
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
    let found = ConfigSource {
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
        "hostname = 127.0.0.1:25",
        ".0.1:25",
        "invalid float, expected nothing",
        "text stands in quotes: hostname = \"127.0.0.1:25\"",
    );
    one(
        &with("[log]\nto = \"a\"\nto = \"b\"\n"),
        "to",
        "`to` is in t.toml:12 already",
        "a key is written once in a table",
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
        "[state]\nredis = \"redis://127.0.0.1\"\n",
    ] {
        let found = problems(&with(more));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(
            found[0].is_error() && found[0].message.ends_with("is not supported yet"),
            "{}",
            found[0]
        );
        assert!(found[0].hint.is_some());
    }
    let later = "name = \"mta\"\nwhen_down = \"spool\"";
    let found = problems(&with("").replace("name = \"mta\"", later));
    assert!(
        found[0].message.ends_with("is not supported yet"),
        "{}",
        found[0]
    );
    let found = problems(&with("").replace("127.0.0.1:2600", "mx:mail.internal"));
    assert!(found[0].message.ends_with("not MX records"), "{}", found[0]);
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
        &with("[admin]\ntoken = \"abc\"\n"),
        "*****",
        "`admin.token` must be a table, not text",
        "write it as a section of its own, `[admin.token]`, or in one line: { file = VALUE }",
    );
    one(
        &format!("trusted = [\"10.0.0.5/8\"]\n{}", with("")),
        "\"10.0.0.5/8\"",
        "`trusted[0]` holds \"10.0.0.5/8\", which is no network",
        "bits are set after the prefix; write \"10.0.0.0/8\" or \"10.0.0.5\"",
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
fn pages_are_written_through_no_link() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("pages")).unwrap();
    fs::write(at("precious"), "x").unwrap();
    std::os::unix::fs::symlink(at("precious"), at("pages/gatepost-user.1")).unwrap();
    let pages = at("pages");
    let (code, text) = gatepost(&["man", "--to", pages.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(fs::read(at("precious")).unwrap(), b"x");
    for (page, part) in [
        ("gatepost.1", ".TH gatepost"),
        ("gatepost-user.1", ".TH gatepost-user"),
        ("gatepost-user-add.1", ".TH gatepost-user-add"),
    ] {
        let text = fs::read_to_string(pages.join(page)).unwrap();
        assert!(text.contains(part), "{page}: {text}");
    }
    assert!(!pages.join("gatepost-help.1").exists());
}
