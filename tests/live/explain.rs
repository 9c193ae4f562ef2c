//! `gatepost explain`: the verdict that the proxy would come to, without a proxy.

use crate::{
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{Gatepost, free_address},
    nameservers::Nameservers,
};
use std::{fs, path::Path, process::Command};

const CONFIG: &str = "hostname = \"edge.example\"\ntrusted = [\"198.51.100.0/24\"]\n\
    [[listener]]\nname = \"mx\"\naddress = [\"127.0.0.1:2525\"]\n\
    [[listener]]\nname = \"strict\"\naddress = [\"127.0.0.1:2526\"]\n\
    [listener.policy]\nreject_score = 1.0\n\
    [[pool]]\nname = \"cluster\"\nbackends = [\"127.0.0.1:2600\"]\n\
    [[route]]\ndomains = [\"example.net\", \"*\"]\npool = \"cluster\"\nrecipients = \"accept\"\n\
    [policy]\nreject_score = 8.0\n\
    [policy.rdns]\nunconfirmed = 1.0\n[policy.spf]\nfail = \"reject\"\nsoftfail = 2.0\ntemperror = \"defer\"\n\
    [[policy.dnsbl]]\nzone = \"{key}.bl.example\"\nkey = { env = \"EXPLAIN_KEY\" }\nthen = \"reject\"\n\
    [[policy.header]]\nname = \"loud\"\nfield = \"X-Loud\"\nwhen = \"present\"\nreply = \"550 5.7.1 Not so loud\"\n";

const ANSWERS: &str = "\
# What a test says.
9.2.0.192.{key}.bl.example  A    127.0.0.4
9.2.0.192.{key}.bl.example  TXT  \"see https://bl.example/\"
fail.example                TXT  \"v=spf1 ip4:192.0.2.1 -all\"
maybe.example               TXT  \"v=spf1 ~all\"
slow.example                TXT  TIMEOUT
7.2.0.192.in-addr.arpa      PTR  mx.good.example
mx.good.example             A    192.0.2.7
";

/// Exit code and all that was said.
fn explain(folder: &Path, words: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .arg("explain")
        .arg("-c")
        .arg(folder.join("edge.toml"))
        .args(words)
        .env("EXPLAIN_KEY", "s3cret")
        .output()
        .expect("runs");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).expect("text");
    (output.status.code().unwrap_or(-1), said)
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in [
        ("edge.toml", CONFIG),
        ("answers", ANSWERS),
        ("loud.eml", "X-Loud: 1\n\nx\n"),
    ] {
        fs::write(folder.path().join(name), text).expect("written");
    }
    folder
}

#[test]
fn it_tells_the_verdict_and_why() {
    let folder = folder();
    let answers = folder.path().join("answers").display().to_string();
    let loud = folder.path().join("loud.eml").display().to_string();
    for (client, from, to, more, code, parts) in [
        (
            "192.0.2.7",
            "a@a.example",
            "b@example.net",
            &[][..],
            0,
            &["verdict: accept", "rdns confirmed mx.good.example"][..],
        ),
        (
            "192.0.2.9",
            "a@a.example",
            "b@example.net",
            &[],
            77,
            &[
                "verdict: reject: 554 5.7.1 Service unavailable; client [192.0.2.9] blocked using bl.example; see https://bl.example/ (dnsbl.bl.example)",
                "bl.example 127.0.0.4",
                "9.2.0.192.{key}.bl.example",
            ],
        ),
        (
            "192.0.2.7",
            "a@fail.example",
            "b@example.net",
            &[],
            77,
            &["550 5.7.23", "(spf.fail)", "spf fail mailfrom fail.example"],
        ),
        (
            "192.0.2.7",
            "a@slow.example",
            "b@example.net",
            &[],
            75,
            &["451 4.7.24", "(spf.temperror)"],
        ),
        (
            "192.0.2.7",
            "a@maybe.example",
            "b@example.net",
            &[],
            0,
            &["verdict: accept", "spf.softfail", "+2", "score 2"],
        ),
        (
            "192.0.2.7",
            "a@maybe.example",
            "b@example.net",
            &["--listener", "strict"],
            77,
            &[
                "550 5.7.1 Message refused",
                "(reject_score)",
                "listener strict",
            ],
        ),
        (
            "192.0.2.7",
            "a@a.example",
            "b@elsewhere.example",
            &[],
            77,
            &["<b@elsewhere.example>", "550 5.7.1 Relaying denied (relay)"],
        ),
        // A client of ours is not asked about, and may relay.
        (
            "198.51.100.9",
            "a@fail.example",
            "b@elsewhere.example",
            &[],
            0,
            &["verdict: accept", "asked\nnone"],
        ),
        (
            "198.51.100.9",
            "a@fail.example",
            "b@example.net",
            &[],
            0,
            &["verdict: accept"],
        ),
        (
            "192.0.2.7",
            "a@a.example",
            "b@example.net",
            &[&*loud],
            77,
            &["550 5.7.1 Not so loud (header.loud)"],
        ),
    ] {
        let words = [
            "--helo",
            "mx.a.example",
            "--client",
            client,
            "--from",
            from,
            "--to",
            to,
            "--answers",
            &answers,
        ];
        let (found, said) = explain(folder.path(), &[&words, more].concat());
        assert_eq!(found, code, "{client} {from}: {said}");
        // The columns are as wide as what is in them.
        let lines = said
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        let said = lines.collect::<Vec<_>>().join("\n");
        for part in parts {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[test]
fn programs_read_it() {
    let folder = folder();
    let answers = folder.path().join("answers").display().to_string();
    let words = [
        "--client",
        "192.0.2.9",
        "--from",
        "",
        "--to",
        "b@example.net",
        "--to",
        "c@elsewhere.example",
        "--answers",
        &answers,
        "--json",
    ];
    let (code, said) = explain(folder.path(), &words);
    assert_eq!(code, 77, "{said}");
    let read: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(
        (&read["verdict"], &read["listener"]),
        (&"reject".into(), &"mx".into())
    );
    assert_eq!(read["recipients"][0]["check"], "dnsbl.bl.example");
    assert_eq!(read["recipients"][1]["check"], "relay");
    assert!(
        read["checks"].as_array().is_some_and(|checks| checks
            .iter()
            .any(|check| check["detail"] == "bl.example 127.0.0.4")),
        "{said}"
    );
    assert!(
        read["asked"]
            .as_array()
            .is_some_and(|asked| asked.iter().any(|asked| asked["answer"] == "127.0.0.4")),
        "{said}"
    );
}

#[test]
fn mistakes_are_told() {
    let folder = folder();
    let bad = folder.path().join("bad");
    fs::write(&bad, "\na.example NAPTR x\n").expect("written");
    let bad = bad.display().to_string();
    let base = [
        "--client",
        "192.0.2.7",
        "--from",
        "a@a.example",
        "--to",
        "b@example.net",
    ];
    for (more, code, part) in [
        (
            &["--listener", "mix"][..],
            64,
            "there is no listener \"mix\"; the configuration has mx, strict",
        ),
        (
            &["--answers", &bad],
            65,
            "bad: line 2: \"NAPTR\" is no type",
        ),
        (&["/no/such/file"], 65, "can't read /no/such/file"),
    ] {
        let (found, said) = explain(folder.path(), &[&base, more].concat());
        assert!(found == code && said.contains(part), "{found} {said}");
    }
}

/// The same question to the proxy and to `explain`.
#[test]
fn the_proxy_says_the_same() {
    let Some(dns) = Nameservers::start() else {
        return;
    };
    let backend = Backend::good(free_address());
    let tables = pool(&[&backend], "")
        + &dns.config("")
        + "[policy]\nreject_score = 3.0\n[policy.spf]\nfail = \"reject\"\nsoftfail = 3.0\n[policy.sender_domain]\nnull_mx = \"reject\"\n\
           [[policy.dnsbl]]\nzone = \"bl.test\"\nthen = \"reject\"\n[[policy.dnsbl]]\nzone = \"all.test\"\nthen = \"reject\"\n";
    let gatepost = Gatepost::start("epoll", &tables);
    crate::harness::wait_until("the broken list is off", || {
        gatepost
            .errors()
            .contains("dnsbl all.test is not used")
            .then_some(())
    });
    for (client, sender) in [
        ("127.0.0.3", "a@good.mail.test"),
        ("127.0.0.9", "a@good.mail.test"),
        ("127.0.0.9", "a@nullmx.mail.test"),
        ("127.0.0.9", "a@other.spf.test"),
        ("127.0.0.9", "a@maybe.spf.test"),
        ("127.0.0.9", ""),
    ] {
        let mut session = Client::hello_from(client.parse().expect("an address"), gatepost.smtp);
        session.expect(&format!("MAIL FROM:<{sender}>"), "250");
        let mut told = session.command("RCPT TO:<b@example.net>");
        if told.starts_with("250") {
            session.expect("DATA", "354");
            told = session.command("From: a@a.example\r\n\r\nx\r\n.");
        }
        let output = Command::new(env!("CARGO_BIN_EXE_gatepost"))
            .args([
                "explain",
                "--helo",
                "client.example",
                "--client",
                client,
                "--from",
                sender,
                "--to",
                "b@example.net",
                "-c",
            ])
            .arg(gatepost.file())
            .output()
            .expect("runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let last = said.lines().last().unwrap_or_default();
        match told.starts_with("250") {
            true => assert_eq!(
                (last, output.status.code()),
                ("verdict: accept", Some(0)),
                "{said}"
            ),
            false => assert!(last.contains(told.trim_end()), "{told} {said}"),
        }
    }
}

#[test]
fn the_client_may_talk_early_speak_tls_log_in_and_come_at_a_time() {
    let folder = folder();
    let more = "[policy.early_talk]\nthen = \"reject\"\nreply = \"550 5.7.1 Too early\"\n\
        [[policy.rule]]\nname = \"clear\"\nwhen = '!tls'\nthen = \"defer\"\n\
        [[policy.rule]]\nname = \"old\"\nwhen = 'has(tls.version) && tls.version == \"TLSv1.2\"'\nscore = 2.0\n\
        [[listener]]\nname = \"locked\"\naddress = [\"127.0.0.1:2527\"]\ntls = \"required\"\n\
        [[certificate]]\nchain = \"CHAIN\"\nkey = \"KEY\"\n";
    let made = rcgen::generate_simple_self_signed(["edge.example".to_string()]).expect("made");
    let (chain, key) = (
        folder.path().join("chain.pem"),
        folder.path().join("key.pem"),
    );
    fs::write(&chain, made.cert.pem()).expect("written");
    fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let more = more
        .replace("CHAIN", &chain.display().to_string())
        .replace("KEY", &key.display().to_string());
    fs::write(folder.path().join("edge.toml"), format!("{CONFIG}{more}")).expect("written");
    let answers = folder.path().join("answers").display().to_string();
    for (more, code, part) in [
        (
            &["--early-talk"][..],
            77,
            "554 5.7.1 Too early (early_talk)",
        ),
        (&[], 75, "(rule.clear)"),
        (&["--tls"], 0, "verdict: accept"),
        (&["--tls=1.2"], 0, "rule.old"),
        (
            &["--listener", "locked"],
            77,
            "530 5.7.0 Must issue a STARTTLS",
        ),
        (&["--listener", "locked", "--tls"], 0, "verdict: accept"),
        // An account is no stranger.
        (
            &[
                "--tls",
                "--auth",
                "ann",
                "--early-talk",
                "--to",
                "c@elsewhere.example",
            ],
            0,
            "verdict: accept",
        ),
        (&["--tls", "--at", "2026-11-27T12:00:00Z"], 0, "verdict"),
        (&["--tls", "--at", "noon"], 64, "noon"),
    ] {
        let words = [
            "--client",
            "192.0.2.7",
            "--from",
            "a@a.example",
            "--to",
            "b@example.net",
            "--answers",
            &answers,
        ];
        let (found, said) = explain(folder.path(), &[&words, more].concat());
        assert!(
            found == code && said.contains(part),
            "{more:?}: {found} {said}"
        );
    }
}

#[test]
fn both_explanations_show_what_a_rule_read() {
    let backend = Backend::good(free_address());
    let rule = "[[policy.rule]]\nname = \"ours\"\nscore = 1.5\nwhen = 'sender.domain == \"a.example\" && helo != \"x\" && !tls'\n\
        [[policy.rule]]\nname = \"not\"\nscore = 1.5\nwhen = 'sender.domain == \"b.example\"'\n\
        [[policy.rule]]\nname = \"fast\"\nmode = \"shadow\"\nthen = \"defer\"\nwhen = 'rate_window(sender, 1, \"1h\") && sender != \"\"'\n";
    let gatepost = Gatepost::start("epoll", &(pool(&[&backend], "") + rule));
    let mut session = Client::hello(gatepost.smtp);
    let mut told = String::new();
    for _ in 0..2 {
        told = session.send(
            "a@a.example",
            &["b@example.net"],
            "From: a@a.example\r\n\r\nx\r\n",
        );
    }
    let id = told
        .trim_end()
        .rsplit(' ')
        .next()
        .expect("an id")
        .to_string();
    gatepost.log_line(&[&format!("id={id}")]);
    let file = gatepost.file();
    let explain = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_gatepost"))
            .args(["explain", "-c"])
            .arg(&file)
            .args(words)
            .output()
            .expect("runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let described = [
        "--client",
        "127.0.0.1",
        "--helo",
        "client.example",
        "--from",
        "a@a.example",
        "--to",
        "b@example.net",
    ];
    let line = |said: &str, rule: &str| {
        let line = said.lines().find(|line| line.contains(rule));
        line.unwrap_or_else(|| panic!("{rule}: {said}")).to_string()
    };
    let said = explain(&[&id]);
    for said in [&said, &explain(&described)] {
        let line = line(said, "rule.ours");
        assert!(
            line.ends_with("  helo=client.example tls=false sender.domain=a.example"),
            "{said}"
        );
        assert!(!said.contains("rule.not"), "{said}");
    }
    let line = line(&said, "rule.fast");
    assert!(
        line.ends_with("  1 in 1h for a@a.example sender=a@a.example"),
        "{said}"
    );
    let json: serde_json::Value = serde_json::from_str(&explain(&[&id, "--json"])).expect("JSON");
    let read = json["checks"]
        .as_array()
        .and_then(|checks| checks[0]["read"].as_str());
    assert_eq!(
        read,
        Some("helo=client.example tls=false sender.domain=a.example"),
        "{json}"
    );
    // The log line stays as short as it was.
    assert!(!gatepost.log().contains("sender.domain="));
}
