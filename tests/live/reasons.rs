//! `gatepost explain ID` and `/explain/ID`: why a message or a session was treated so, asked of the running process.

use crate::{
    backend::{Act, Backend, EXTENSIONS},
    client::Client,
    delivery::pool,
    harness::{Gatepost, free_address},
};
use serde_json::Value;
use std::process::{Command, Output};

fn explain(words: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .arg("explain")
        .args(words)
        .output();
    output.expect("runs")
}

/// What `gatepost explain ID --json` tells of the line that holds all of `parts`.
fn told(gatepost: &Gatepost, parts: &[&str]) -> Value {
    let line = gatepost.log_line(parts);
    let id = line.split(' ').find_map(|word| word.strip_prefix("id="));
    let id = id.unwrap_or_else(|| panic!("no id in {line}"));
    let admin = gatepost.admin.to_string();
    let output = explain(&["--admin", &admin, id, "--json"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let more = String::from_utf8_lossy(&output.stderr).into_owned();
    let told: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{more}"));
    assert_eq!(told["id"], id);
    told
}

const POLICY: &str = "[policy]\nreject_score = 10.0\n\
    [[policy.sender_list]]\nname = \"spammers\"\nentries = [\"spam.example\"]\nreply = \"550 5.7.1 No spam\"\n\
    [[policy.rule]]\nname = \"later\"\nwhen = 'recipient.local == \"later\"'\nthen = \"defer\"\nreply = \"450 4.7.1 Come again\"\n\
    [[policy.rule]]\nname = \"odd\"\nwhen = 'recipient.local == \"b\"'\nscore = 1.5\n\
    [[policy.rule]]\nname = \"trial\"\nwhen = 'sender == \"a@a.example\"'\nthen = \"reject\"\nmode = \"shadow\"\n";

fn refusing() -> Backend {
    Backend::start(free_address(), EXTENSIONS, |_, command| match command {
        "RCPT TO:<nobody@example.net>" => {
            Act::say("550 5.1.1 <nobody@example.net> is unknown here")
        }
        _ => Act::Usual,
    })
}

crate::on_all_engines! {
    fn each_outcome_is_explained_by_the_id_of_its_line(engine) {
        let backend = refusing();
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + POLICY));
        let mut client = Client::hello(gatepost.smtp);
        let reply = client.send("a@a.example", &["b@example.net"], "Subject: x\r\n\r\nsecret words\r\n");
        assert!(reply.starts_with("250"), "{reply}");
        let accepted = told(&gatepost, &["from=a@a.example", "verdict=accept"]);
        assert_eq!((&accepted["verdict"], &accepted["score"]), (&"accept".into(), &1.5.into()));
        assert_eq!(accepted["reply"], reply.trim_end());
        assert_eq!(accepted["recipients"][0], serde_json::json!({"recipient": "b@example.net", "verdict": "accept"}));
        let checks = accepted["checks"].as_array().expect("checks");
        let by = |name: &str| checks.iter().find(|check| check["check"] == name).unwrap_or_else(|| panic!("{checks:?}"));
        assert_eq!((&by("rule.odd")["score"], &by("rule.odd")["at"]), (&1.5.into(), &"rcpt".into()));
        assert_eq!((&by("rule.trial")["does"], &by("rule.trial")["shadow"]), (&"reject".into(), &true.into()));
        assert!(accepted["backend_said"].as_str().is_some_and(|said| said.starts_with("250")), "{accepted}");
        assert!(accepted["backend_us"].is_u64() && accepted["total_us"].is_u64(), "{accepted}");
        assert!(accepted["found"].is_array() && !accepted.to_string().contains("secret words"), "{accepted}");

        // Refused by a check at MAIL; one recipient put off by a rule, and one that the backend does not know.
        client.expect("MAIL FROM:<x@spam.example>", "550 5.7.1 No spam");
        client.expect("MAIL FROM:<c@a.example>", "250");
        client.expect("RCPT TO:<later@example.net>", "450 4.7.1 Come again");
        client.expect("RCPT TO:<nobody@example.net>", "550 5.1.1");
        client.expect("RSET", "250");
        client.expect("QUIT", "221");
        let listed = told(&gatepost, &["from=x@spam.example"]);
        assert_eq!((&listed["verdict"], &listed["check"]), (&"reject".into(), &"sender_list.spammers".into()));
        let mixed = told(&gatepost, &["from=c@a.example"]);
        assert_eq!(mixed["recipients"][0], serde_json::json!({
            "recipient": "later@example.net", "verdict": "defer", "reply": "450 4.7.1 Come again", "check": "rule.later",
        }));
        assert_eq!(mixed["recipients"][1]["verdict"], "reject");
        assert!(mixed["recipients"][1]["reply"].as_str().is_some_and(|said| said.contains("is unknown here")), "{mixed}");
    }

    fn what_a_backend_refuses_is_told_in_its_words(engine) {
        let backend = Backend::start(free_address(), EXTENSIONS, |_, command| match command {
            "BODY" => Act::say("554 5.6.0 I know this one, and don't want it"),
            _ => Act::Usual,
        });
        let gatepost = Gatepost::start(engine, &pool(&[&backend], ""));
        let mut client = Client::hello(gatepost.smtp);
        let reply = client.send("a@a.example", &["b@example.net"], "x\r\n");
        assert!(reply.starts_with("554"), "{reply}");
        let told = told(&gatepost, &["from=a@a.example"]);
        assert_eq!(told["verdict"], "reject");
        assert_eq!(told["backend_said"], "554 5.6.0 I know this one, and don't want it");
        assert!(told["backend"].as_str().is_some_and(|label| label.contains(&backend.address.to_string())), "{told}");
        assert!(told.get("check").is_none(), "no check has refused it: {told}");
    }

    fn a_session_refused_at_connect_has_an_id_as_well(engine) {
        let backend = Backend::good(free_address());
        let policy = "[[policy.client_list]]\nname = \"blocked\"\nentries = [\"127.0.0.0/8\"]\nreply = \"550 5.7.1 Go away\"\n";
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + policy));
        assert!(Client::greeted(gatepost.smtp).1.starts_with("554 5.7.1 Go away"));
        let told = told(&gatepost, &["verdict=none", "client_list.blocked:reject"]);
        assert_eq!(told["verdict"], "reject");
        assert_eq!((&told["check"], &told["reply"]), (&"client_list.blocked".into(), &"554 5.7.1 Go away".into()));
        assert_eq!(told["refusals"][0]["command"], "connect");
        assert_eq!(told["client"].as_str().map(|client| client.starts_with("127.")), Some(true));
    }

    fn the_goodbye_to_a_client_that_speaks_something_else_is_told_in_its_words(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &pool(&[&backend], ""));
        let mut browser = Client::greeted(gatepost.smtp).0;
        browser.expect("GET / HTTP/1.1", "221");
        let told = told(&gatepost, &["verdict=none", "This is a mail server"]);
        assert_eq!(told["reply"], "221 2.7.0 This is a mail server. Goodbye");
    }

    fn what_is_not_kept_is_said(engine) {
        let backend = Backend::good(free_address());
        let (admin, other) = (free_address(), free_address());
        let config = pool(&[&backend], "");
        let gatepost = Gatepost::start(engine, &config);
        let mut client = Client::hello(gatepost.smtp);
        for _ in 0..3 {
            assert!(client.send("a@a.example", &["b@example.net"], "x\r\n").starts_with("250"));
        }
        let at = gatepost.admin.to_string();
        let output = explain(&["--admin", &at, "0000000000000"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(65), "{said}");
        assert!(said.contains("0000000000000 is not known; ") && said.contains(" judgements are kept, since 2"), "{said}");
        // The table is for readers.
        let line = gatepost.log_line(&["from=a@a.example"]);
        let id = line.split(' ').find_map(|word| word.strip_prefix("id=")).expect("an id");
        let file = gatepost.file().display().to_string();
        let output = explain(&["-c", &file, id]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("verdict: accept: 250 2.0.0 Ok: ") && said.contains("stages"), "{said}");
        // A ring of another size begins anew, and one of none keeps nothing.
        let text = std::fs::read_to_string(gatepost.file()).expect("text");
        let text = text.replace("[admin]\n", "[admin]\nexplanations = 0\n");
        std::fs::write(gatepost.file(), text).expect("written");
        assert_eq!(crate::harness::http(gatepost.admin, "POST", "/reload").0, 200);
        let output = explain(&["-c", &file, id]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(65) && said.contains("`admin.explanations = 0`"), "{said}");
        for (words, code) in [
            (vec!["--admin", &*other.to_string(), id], 69),
            (vec!["--admin", &*admin.to_string()], 64),
            (vec!["--admin", &*at, "no/such"], 64),
        ] {
            let output = explain(&words);
            assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
        }
    }

    fn the_message_says_why_where_that_is_wanted(engine) {
        let backend = Backend::good(free_address());
        let policy = "[[policy.rule]]\nname = \"odd\"\nwhen = 'recipient.local == \"b\"'\nscore = 1.5\n\
            [[policy.rule]]\nname = \"marked\"\nwhen = 'recipient.local == \"d\"'\nthen = \"tag\"\n";
        let forged = "x-gatepost-status : score=0\r\n\tchecks=none\r\nSubject: x\r\n\r\nx\r\n";
        for (word, plain, wanted) in [("none", 1, 1), ("tagged", 0, 1), ("all", 1, 1)] {
            let config = format!("{}[policy]\nexplain_header = \"{word}\"\n{policy}", pool(&[&backend], ""));
            let gatepost = Gatepost::start(engine, &config);
            let mut client = Client::hello(gatepost.smtp);
            for (to, fields) in [("c@example.net", plain), ("b@example.net", wanted), ("d@example.net", wanted)] {
                assert!(client.send("a@a.example", &[to], forged).starts_with("250"));
                let text = backend.with_messages(|all| all.last().map(|message| message.text())).expect("a message");
                let count = text.to_lowercase().matches("x-gatepost-status").count();
                assert_eq!(count, fields, "{word} {to}: {text}");
                // Where it is switched on, what a client writes there is removed; what we write is on top.
                let own = text.contains("\r\nX-Gatepost-Status: score=1.5 checks=rule.odd:1.5\r\n");
                assert_eq!(own, word != "none" && to == "b@example.net", "{word} {to}: {text}");
                assert_eq!(text.contains("checks=none"), word == "none", "{word} {to}: {text}");
            }
        }
    }
}
