//! What becomes of messages that nothing refuses: tags, quarantine, what is discarded, and sessions that are slowed.

use crate::{
    backend::{Act, Backend},
    client::Client,
    delivery::pool,
    harness::{Gatepost, checked, free_address, wait_until},
};

const FROM: &str = "a@sender.example";
const TO: &[&str] = &["b@example.net"];

/// A pool of its own for suspicious mail.
fn quarantine(backend: &Backend) -> String {
    format!(
        "[policy.quarantine]\npool = \"suspicious\"\n[[pool]]\nname = \"suspicious\"\nbackends = [\"{}\"]\n",
        backend.address
    )
}

fn rule(name: &str, when: &str, rest: &str) -> String {
    format!("[[policy.rule]]\nname = \"{name}\"\nwhen = '{when}'\n{rest}\n")
}

/// Longer than a window.
fn long(header: &str) -> String {
    header.to_string() + "\r\n" + &"much of it\r\n".repeat(50_000)
}

crate::on_all_engines! {
    fn tags_are_told_and_forged_ones_removed(engine) {
        let backend = Backend::good(free_address());
        let rules = "[policy]\ntag_score = 4.0\n".to_string()
            + &rule("bulk", "header(\"List-Id\") != \"\"", "tag = \"bulk\"")
            + &rule("loud", "header(\"X-Loud\") != \"\"", "score = 4.5\ntag = \"loud\"")
            + &rule("watched", "true", "then = \"tag\"\nmode = \"shadow\"");
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + &rules));
        let mut client = Client::hello(gatepost.smtp);
        let forged = "X-Gatepost-Tag: trusted\r\nx-gatepost-tag : folded,\r\n away\r\nX-Gatepost\0-Tag: y\r\nX-Gatepost-Tags: stays\r\n";
        for (fields, wanted) in [
            ("List-Id: <x>\r\n", Some("bulk")),
            ("List-Id: <x>\r\nX-Loud: 1\r\n", Some("bulk, loud, spam")),
            ("Subject: hi\r\n", None),
        ] {
            for body in [format!("{forged}{fields}\r\nx\r\n"), long(&format!("{fields}{forged}"))] {
                assert!(client.send(FROM, TO, &body).starts_with("250"));
                let text = backend.messages().last().expect("one").text();
                let header = text.split("\r\n\r\n").next().expect("a header");
                let seen: Vec<&str> = header.lines().filter(|line| line.to_lowercase().contains("tag")).collect();
                let tag = wanted.map(|words| format!("X-Gatepost-Tag: {words}"));
                let wanted: Vec<&str> = tag.as_deref().into_iter().chain(["X-Gatepost-Tags: stays"]).collect();
                assert_eq!(seen, wanted, "{header}");
                assert!(!header.contains("away") && header.contains(fields.trim_end()), "{header}");
            }
        }
        gatepost.log_line(&["verdict=accept", "rule.watched:tag(shadow)", "tag=bulk tag=loud tag=spam", "tag_score:tag"]);
        assert_eq!(gatepost.metric("gatepost_check_hits_total", "check=\"tag_score\",shadow=\"false\",verdict=\"tag\""), 2.0);
    }

    fn quarantine_is_another_pool_whose_word_counts(engine) {
        let (own, other) = (Backend::good(free_address()), Backend::start(free_address(), &["PIPELINING", "8BITMIME"], |_, command| {
            match command.contains("gone@") {
                true => Act::say("550 5.1.1 No such folder"),
                false => Act::Usual,
            }
        }));
        let rules = "[policy]\nquarantine_score = 4.0\nreject_score = 9.0\n".to_string()
            + &quarantine(&other)
            + &rule("bad-sender", "sender.local == \"bad\"", "then = \"quarantine\"\ntag = \"why\"")
            + &rule("loud", "header(\"X-Loud\") != \"\"", "score = 5.0")
            + &rule("louder", "header(\"X-Louder\") != \"\"", "score = 9.0")
            + &rule("watched", "true", "then = \"quarantine\"\nmode = \"shadow\"")
            + "[[policy.header]]\nname = \"prize\"\nfield = \"Subject\"\npattern = \"you have won\"\nthen = \"quarantine\"\n"
            + &rule("large", "message.size > 400000 && sender.local == \"large\"", "then = \"quarantine\"")
            + "[[route]]\ndomains = [\"other.example\"]\npool = \"cluster\"\nrecipients = \"accept\"\n";
        let gatepost = Gatepost::start(engine, &(pool(&[&own], "") + &rules));
        let mut client = Client::hello(gatepost.smtp);
        let counts = || (own.messages().len(), other.messages().len());
        assert!(client.send(FROM, TO, "x\r\n").starts_with("250"));
        assert_eq!(counts(), (1, 0), "a shadow only watches");
        let to = &["b@example.net", "c@example.net"];
        assert!(client.send("bad@sender.example", to, "x\r\n").starts_with("250"));
        assert_eq!(counts(), (1, 1));
        let message = &other.messages()[0];
        assert_eq!(message.rcpt.len(), 2);
        assert!(message.text().contains("\r\nX-Gatepost-Tag: why\r\n"), "{}", message.text());
        let line = gatepost.log_line(&["verdict=quarantine", "code=250", "check=rule.bad-sender", "tag=why"]);
        assert!(line.contains("backend=suspicious/"), "{line}");
        // By the score, in a window and in a stream.
        assert!(client.send(FROM, TO, "X-Loud: 1\r\n\r\nx\r\n").starts_with("250"));
        assert!(client.send(FROM, TO, &long("X-Loud: 1\r\n")).starts_with("250"));
        assert!(client.send("bad@sender.example", TO, &long("X-Y: 1\r\n")).starts_with("250"));
        // And by a header rule.
        assert!(client.send(FROM, TO, &long("Subject: You have won\r\n")).starts_with("250"));
        assert_eq!(counts(), (1, 5));
        gatepost.log_line(&["verdict=quarantine", "check=quarantine_score"]);
        gatepost.log_line(&["verdict=quarantine", "check=header.prize"]);
        // What refuses wins; what turns out when most of it is on its way elsewhere is refused.
        assert!(client.send("bad@sender.example", TO, "X-Louder: 1\r\n\r\nx\r\n").starts_with("550 5.7.1"));
        assert!(client.send("large@sender.example", TO, &long("X-Y: 1\r\n")).starts_with("550 5.7.1 Message refused: too large"));
        assert_eq!(counts(), (1, 5));
        // What that pool's backend says is what the client hears, and is not held against the recipient elsewhere.
        let gone = &["gone@other.example"];
        assert!(client.send("bad@sender.example", gone, "x\r\n").starts_with("550 5.1.1"));
        assert!(client.send(FROM, gone, "x\r\n").starts_with("250"));
        assert_eq!(counts(), (2, 5));
        other.stop();
        assert!(client.send("bad@sender.example", TO, "x\r\n").starts_with("45"));
        assert_eq!(own.messages().len(), 2, "never to the own pool instead");
        gatepost.log_line(&["verdict=defer", "bad@sender.example"]);
        assert_eq!(gatepost.metric("gatepost_messages_total", "verdict=\"quarantined\""), 5.0);
    }

    // INV-250
    fn only_a_rule_of_its_own_discards_and_the_log_tells(engine) {
        let backend = Backend::good(free_address());
        let rules = rule("sink", "sender.local == \"sink\"", "then = \"discard\"")
            + &rule("trap", "recipient.local == \"trap\"", "then = \"discard\"")
            + &rule("watched", "true", "then = \"discard\"\nmode = \"shadow\"")
            + &rule("late", "message.size > 400000 && sender.local == \"late\"", "then = \"discard\"")
            + &rule("bad", "header(\"X-Bad\") != \"\"", "then = \"reject\"");
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + &rules));
        let mut client = Client::hello(gatepost.smtp);
        for (from, body) in [
            ("sink@sender.example", "x\r\n".to_string()),
            ("sink@sender.example", long("X-Y: 1\r\n")),
            ("late@sender.example", long("X-Y: 1\r\n")),
        ] {
            let reply = client.send(from, TO, &body);
            assert!(reply.starts_with("250 2.0.0 Ok: "), "{reply}");
            let id = reply.trim_end().rsplit(' ').next().expect("an id").to_string();
            let line = gatepost.log_line(&[&format!("id={id}"), "verdict=discard"]);
            assert!(line.contains("check=rule.") && !line.contains("check=rule.watched"), "{line}");
        }
        assert!(client.send("sink@sender.example", TO, "X-Bad: 1\r\n\r\nx\r\n").starts_with("550"), "what refuses wins");
        assert!(client.send("sink@sender.example", TO, &long("X-Bad: 1\r\n")).starts_with("550"));
        // What one recipient asks for does not happen to the others.
        client.expect("MAIL FROM:<a@sender.example>", "250");
        client.expect("RCPT TO:<b@example.net>", "250");
        client.expect("RCPT TO:<trap@example.net>", "452 4.5.3");
        client.expect("RCPT TO:<c@example.net>", "250");
        client.expect("DATA", "354");
        client.expect("x\r\n.", "250");
        assert_eq!(backend.messages().len(), 1);
        assert_eq!(backend.messages()[0].rcpt.len(), 2);
        client.expect("MAIL FROM:<a@sender.example>", "250");
        client.expect("RCPT TO:<trap@example.net>", "250");
        client.expect("RCPT TO:<b@example.net>", "452 4.5.3");
        client.expect("RCPT TO:<nobody@elsewhere.example>", "550");
        client.expect("DATA", "354");
        client.expect("x\r\n.", "250");
        gatepost.log_line(&["verdict=discard", "check=rule.trap", "rcpt=1 "]);
        // Nothing of it is left for the next message.
        assert!(client.send(FROM, TO, "x\r\n").starts_with("250"));
        assert_eq!(backend.messages().len(), 2);
        assert_eq!(gatepost.metric("gatepost_messages_total", "verdict=\"discarded\""), 4.0);
        assert_eq!(gatepost.metric("gatepost_messages_total", "verdict=\"accepted\""), 2.0);
    }

    fn a_slowed_session_waits_with_nothing_in_its_hands(engine) {
        let backend = Backend::good(free_address());
        let rules = rule("slow", "helo == \"slow.example\"", "then = \"tarpit\"\nat = \"helo\"")
            + "[limits]\ntarpit = 1\n[timeouts]\ntarpit = \"4m\"\n";
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "connections = 1\n") + &rules));
        let mut slow = Client::greeted(gatepost.smtp).0;
        slow.raw(b"EHLO slow.example\r\n");
        let slowed = |result: &str| gatepost.metric("gatepost_tarpit_total", &format!("result=\"{result}\""));
        wait_until("it is slowed", || (slowed("slowed") == 1.0).then_some(()));
        // The tarpit is full: another one is answered as usual, and the only connection to the backend is free.
        let mut other = Client::greeted(gatepost.smtp).0;
        other.expect("EHLO slow.example", "250");
        assert!(other.send(FROM, TO, "x\r\n").starts_with("250"));
        assert!(Client::hello(gatepost.smtp).send(FROM, TO, "x\r\n").starts_with("250"));
        assert_eq!((slowed("slowed"), slowed("full")), (1.0, 1.0));
        assert!(!slow.hears(std::time::Duration::from_millis(300)), "it still waits");
        // The process goes down without waiting for it.
        gatepost.process.signal("TERM");
        assert!(slow.reply().starts_with("250") || slow.rest().contains("421"));
    }

    fn a_slowed_session_gets_each_reply_in_the_end(engine) {
        let backend = Backend::good(free_address());
        let rules = rule("slow", "true", "then = \"tarpit\"\nat = \"helo\"") + "[timeouts]\ntarpit = \"50ms\"\n";
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + &rules));
        let mut client = Client::hello(gatepost.smtp);
        client.raw(b"MAIL FROM:<a@sender.example>\r\nRCPT TO:<b@example.net>\r\nRCPT TO:<c@elsewhere.example>\r\nDATA\r\n");
        for code in ["250", "250", "550", "354"] {
            let reply = client.reply();
            assert!(reply.starts_with(code), "{reply}");
        }
        client.expect("x\r\n.", "250");
        client.raw(b"MAIL FROM:<a@sender.example>\r\nRCPT TO:<b@example.net>\r\nBDAT 3\r\nx\r\nBDAT 3 LAST\r\ny\r\nNOOP\r\nQUIT\r\n");
        for code in ["250", "250", "250", "250 2.0.0 Ok: ", "250", "221"] {
            let reply = client.reply();
            assert!(reply.starts_with(code), "{reply}");
        }
        assert_eq!(backend.messages().len(), 2);
        assert!(Client::greeted(gatepost.smtp).1.starts_with("220"), "only what comes after the check is slow");
    }
}

#[test]
fn check_knows_what_each_word_needs() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = |policy: &str| {
        let text = format!(
            "hostname = \"mx.example\"\n[[listener]]\nname = \"mx\"\naddress = [\"127.0.0.1:25\"]\n\
             [[pool]]\nname = \"mta\"\nbackends = [\"127.0.0.2:25\"]\n\
             [[pool]]\nname = \"boxes\"\nprotocol = \"lmtp\"\nbackends = [\"127.0.0.3:24\"]\n\
             [[route]]\ndomains = [\"example.net\"]\npool = \"mta\"\n\
             [[route]]\ndomains = [\"example.org\"]\npool = \"boxes\"\n{policy}"
        );
        let output = checked(&text, folder.path());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let list = |then: &str| {
        format!(
            "[[policy.sender_list]]\nname = \"x\"\nentries = [\"x.example\"]\nthen = \"{then}\"\n"
        )
    };
    for (policy, wanted) in [
        (list("discard"), "only a `[[policy.rule]]` can discard"),
        ("[policy.early_talk]\nthen = \"discard\"\n".into(), "only a `[[policy.rule]]` can discard"),
        ("[policy.spf]\nfail = \"discard\"\n".into(), "is none of accept"),
        (list("quarantine"), "no pool to send to"),
        (rule("x", "helo == \"x\"", "then = \"quarantine\""), "no pool to send to"),
        ("[policy]\nquarantine_score = 3.0\n".into(), "no pool to send to"),
        ("[policy.dmarc]\nquarantine = \"quarantine\"\n".into(), "no pool to send to"),
        ("[policy.quarantine]\npool = \"mat\"\n".into(), "did you mean \"mta\"?"),
        ("[policy.quarantine]\npool = \"boxes\"\n".into(), "speaks LMTP"),
        ("[policy.tag]\nheader = \"Subject\"\n".into(), "can't be the field for tags"),
        ("[policy.tag]\nword = \"a b\"\n".into(), "can't be a tag"),
        (rule("x", "helo == \"x\"", "tag = \"a,b\""), "can't be a tag"),
        ("[policy]\nreject_score = 5.0\ntag_score = 5.0\n".into(), "`tag_score` (5) never takes effect"),
        ("[policy]\nquarantine_score = 3.0\ndefer_score = 4.0\n[policy.quarantine]\npool = \"mta\"\n".into(), "`defer_score` (4) never takes effect"),
        ("[policy.relay]\nthen = \"tarpit\"\n".into(), "is an open relay"),
        ("[policy.client_rate]\nthen = \"tarpit\"\n".into(), "a rate can't `tarpit`"),
        (rule("x", "helo == \"x\"", "then = \"discard\"\nreply = \"550 No\""), "`reply` is never said"),
    ] {
        let told = said(&policy);
        assert!(told.contains(wanted), "{policy}\n{told}");
    }
    for sound in [
        rule("x", "helo == \"x\"", "tag = \"odd\""),
        rule("x", "helo == \"x\"", "then = \"discard\""),
        rule(
            "x",
            "helo == \"x\"",
            "then = \"quarantine\"\nmode = \"shadow\"",
        ),
        "[policy]\ntag_score = 4.0\nquarantine_score = 4.0\n[policy.quarantine]\npool = \"mta\"\n"
            .into(),
        list("tarpit") + "[policy.spf]\nsoftfail = \"tag\"\n",
    ] {
        assert_eq!(said(&sound), "", "{sound}");
    }
}
