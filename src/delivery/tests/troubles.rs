//! Backends that refuse for their own reasons, close when they like, or take few connections.

use super::*;

/// What a backend in trouble says, and to what.
const IN_TROUBLE: &[(&str, &str)] = &[
    ("MAIL", "452 4.3.1 Insufficient system storage\r\n"),
    ("MAIL", "421 4.3.2 going down\r\n!close"),
    ("RCPT", "451 4.3.0 no directory\r\n"),
    ("RCPT", "421 4.3.2 going down\r\n!close"),
    ("DATA", "451 4.3.0 queue file write error\r\n"),
    ("END", "452 4.3.1 Insufficient system resources\r\n"),
    ("END", "421 4.3.2 going down\r\n!close"),
    ("END", "451 Local error in processing\r\n"),
];

#[test]
fn another_backend_takes_what_one_in_trouble_refuses() {
    on_each_engine(|| async {
        for offers in [&["PIPELINING"][..], &["PIPELINING", "CHUNKING"]] {
            for (command, says) in IN_TROUBLE {
                if *command == "DATA" && offers.contains(&"CHUNKING") {
                    continue;
                }
                let full = Peer::new(Script::offering(offers).on(command, says));
                let well = Peer::new(Script::offering(offers));
                let rig = Rig::new(&[&full, &well]).await;
                let envelope = envelope(&["joe@example.net"]);
                for sent in 1..3 {
                    let outcome = rig.deliver(&envelope).await;
                    assert!(outcome.is_accepted(), "{command} {says}: {outcome:?}");
                    assert_eq!(well.bodies().len(), sent);
                }
                assert!(full.bodies().is_empty());
                // Where there is no other, its own words are told.
                let alone = Rig::new(&[&full]).await;
                let outcome = alone.deliver(&envelope).await;
                let told = told(&outcome, &envelope);
                let text = says.split("\r\n").next().unwrap();
                let words = text.trim_start_matches(|c: char| !c.is_alphabetic());
                assert!(told.starts_with('4') && told.ends_with(words), "{told}");
            }
        }
    });
}

#[test]
fn another_backend_is_not_asked_where_one_speaks_of_the_message() {
    on_each_engine(|| async {
        for (command, says) in [
            ("MAIL", "451 4.7.1 greylisted\r\n"),
            ("RCPT", "452 4.5.3 too many recipients\r\n"),
            ("RCPT", "451 greylisted\r\n"),
            ("END", "451 4.7.1 try later\r\n"),
            ("END", "554 5.3.0 no\r\n"),
        ] {
            let first = Peer::new(Script::offering(&["PIPELINING"]).on(command, says));
            let second = Peer::new(Script::offering(&["PIPELINING"]));
            let rig = Rig::new(&[&first, &second]).await;
            let envelope = envelope(&["joe@example.net"]);
            let outcome = rig.deliver(&envelope).await;
            assert!(!outcome.is_accepted(), "{command} {says}");
            assert!(second.bodies().is_empty());
        }
    });
}

#[test]
fn a_refusal_that_was_heard_before_the_end_is_told() {
    on_each_engine(|| async {
        for offers in [&["PIPELINING"][..], &["PIPELINING", "CHUNKING"], &[]] {
            for (command, says) in [
                ("RCPT", "550 5.1.1 No such user\r\n!close"),
                ("MAIL", "550 5.1.1 No such user\r\n!close"),
            ] {
                let peer = Peer::new(Script::offering(offers).on(command, says));
                let rig = Rig::new(&[&peer]).await;
                let envelope = envelope(&["joe@example.net"]);
                let outcome = rig.deliver(&envelope).await;
                assert_eq!(told(&outcome, &envelope), "550 5.1.1 No such user");
                let outcome = rig.open_in_vain(&envelope).await;
                assert_eq!(told(&outcome, &envelope), "550 5.1.1 No such user");
                assert!(rig.backends.view(now())[0].up);
            }
        }
    });
}

#[test]
fn a_421_after_refusals_ends_the_connection_and_nothing_more() {
    on_each_engine(|| async {
        // As Postfix does: the 20th refusal since the last message is the last thing it hears.
        let script = Script::offering(&["PIPELINING"]);
        let refused = (0..20).fold(script, |script, _| {
            script.on("BAD", "550 5.1.1 no such user\r\n")
        });
        let script = refused.on("BAD", "421 4.7.0 too many errors\r\n!close");
        let (one, two) = (Peer::new(script.clone()), Peer::new(script));
        let rig = Rig::new(&[&one, &two]).await;
        let names: Vec<String> = (0..24).map(|n| format!("bad{n}@example.net")).collect();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.push("good@example.net");
        let outcome = rig.deliver(&envelope(&names)).await;
        assert!(matches!(outcome.ending, Ending::Recipients), "{outcome:?}");
        let places: Vec<usize> = outcome.refused.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, (0..20).collect::<Vec<_>>());
        assert!(rig.backends.view(now()).iter().all(|backend| backend.up));
        let outcome = rig.deliver(&envelope(&names[20..])).await;
        assert_eq!(outcome.refused.len(), 4, "{outcome:?}");
        assert!(rig.deliver(&envelope(&names[24..])).await.is_accepted());
    });
}

#[test]
fn a_backend_that_closes_when_it_likes_costs_no_message() {
    on_each_engine(|| async {
        for offers in [&["PIPELINING"][..], &["PIPELINING", "CHUNKING"]] {
            let fine = "250 2.1.0 fine\r\n";
            let offering = Script::offering(offers);
            for script in [
                offering.clone().on("END", "250 2.0.0 taken\r\n!close"),
                offering.clone().on("MAIL", fine).on("MAIL", "!close"),
                offering
                    .clone()
                    .on("MAIL", fine)
                    .on("MAIL", "421 4.3.2 enough\r\n!close"),
                offering
                    .on("MAIL", fine)
                    .on("MAIL", fine)
                    .on("MAIL", fine)
                    .on("MAIL", "!close"),
            ] {
                let peer = Peer::new(script);
                let rig = Rig::new(&[&peer]).await;
                let envelope = envelope(&["joe@example.net"]);
                for sent in 1..12 {
                    let outcome = rig.deliver(&envelope).await;
                    assert!(outcome.is_accepted(), "{sent}: {outcome:?}");
                }
                assert_eq!(peer.bodies().len(), 11);
                assert_eq!(rig.count(Counter::Uncertain, &peer), 0);
                assert!(rig.backends.view(now())[0].up);
            }
        }
    });
}

#[test]
fn a_backend_that_closes_at_no_round_number_leaves_one_message_in_doubt_at_most() {
    on_each_engine(|| async {
        let mut script = Script::offering(&["PIPELINING", "CHUNKING"]);
        for _ in 0..104 {
            script = script.on("MAIL", "250 2.1.0 fine\r\n");
        }
        let peer = Peer::new(script.on("MAIL", "!close"));
        let rig = Rig::new(&[&peer]).await;
        let envelope = envelope(&["joe@example.net"]);
        for _ in 0..3 * 104 {
            rig.deliver(&envelope).await;
        }
        assert_eq!(rig.count(Counter::Uncertain, &peer), 1);
        assert_eq!(peer.bodies().len(), 3 * 104 - 1);
    });
}

#[test]
fn a_body_goes_ahead_of_the_replies_only_where_the_connection_will_last() {
    on_each_engine(|| async {
        let peer = Peer::new(Script::offering(&["PIPELINING", "CHUNKING"]));
        let rig = Rig::new(&[&peer]).await;
        let envelope = envelope(&["joe@example.net"]);
        let mut ahead = Vec::new();
        for turn in 0..6 {
            if turn == 3 {
                // Another connection, to a backend that has shown that it takes three messages on one.
                peer.cut();
                net::sleep(Duration::from_millis(50)).await;
            }
            let outcome = rig.deliver(&envelope).await;
            ahead.push(outcome.times.envelope.is_none());
        }
        assert_eq!(ahead, [true, false, false, true, true, true]);
    });
}
