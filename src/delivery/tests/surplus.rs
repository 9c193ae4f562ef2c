//! Backends that say more than they are asked, so that their replies fit our commands no longer.

use super::*;

/// What such a backend answers, and to what: one reply too many each. `!wait` parts what is written at different times.
const TOO_MUCH: &[&[(&str, &str)]] = &[
    &[("MAIL", "250 2.1.0 fine\r\n250 2.1.0 fine\r\n")],
    &[("MAIL", "250 2.1.0 fine\r\n!wait250 2.0.0 filtered\r\n")],
    &[("RCPT", "250 2.1.5 fine\r\n250 2.1.5 fine\r\n")],
    &[("RCPT", "250 2.1.5 fine\r\n!wait250 2.0.0 filtered\r\n")],
    &[
        ("MAIL", "250 ok\r\n250 ok\r\n"),
        ("RCPT", "250 ok\r\n!wait250 ok\r\n"),
    ],
    &[
        ("MAIL", "250 ok\r\n!wait250 ok\r\n"),
        ("RCPT", "250 ok\r\n!wait250 ok\r\n"),
    ],
];

#[test]
// INV-250
fn a_reply_too_many_is_no_yes_to_the_message() {
    on_each_engine(|| async {
        for extra in TOO_MUCH {
            // It refuses each message, and takes its time for that.
            let refusing = Script::offering(&["PIPELINING", "CHUNKING"])
                .on("END", "!wait!wait550 5.7.1 spam\r\n");
            let script = extra
                .iter()
                .fold(refusing, |script, (command, says)| script.on(command, says));
            let (faulty, well) = (
                Peer::new(script),
                Peer::new(Script::offering(&["PIPELINING", "CHUNKING"])),
            );
            let rig = Rig::new(&[&faulty, &well]).await;
            let envelope = envelope(&["joe@example.net"]);
            let first = rig.deliver(&envelope).await;
            assert!(first.is_uncertain(), "{extra:?}: {first:?}");
            assert!(told(&first, &envelope).starts_with("451 4.4.2"));
            assert_eq!(rig.count(Counter::BackendSurplus, &faulty), 1);
            // From then on it shows before anything could be delivered, and another backend gets the message.
            for sent in 1..4 {
                let outcome = rig.deliver(&envelope).await;
                assert!(outcome.is_accepted(), "{extra:?}: {outcome:?}");
                assert_eq!(well.bodies().len(), sent);
            }
            let chunks = |command: &String| command.starts_with("BDAT");
            assert_eq!(faulty.commands().iter().filter(|c| chunks(c)).count(), 1);
        }
    });
}

#[test]
fn a_stream_is_not_taken_by_a_reply_too_many_either() {
    on_each_engine(|| async {
        let script = Script::offering(&["PIPELINING", "CHUNKING"])
            .on("MAIL", "250 2.1.0 fine\r\n250 2.1.0 fine\r\n")
            .on("RCPT", "!wait!wait!wait!wait!wait!wait250 2.1.5 fine\r\n")
            .on("END", "!wait!wait550 5.7.1 spam\r\n");
        let peer = Peer::new(script);
        let rig = Rig::new(&[&peer]).await;
        let envelope = envelope(&["joe@example.net"]);
        let mut message = rig.message(&envelope, &[]);
        message.load.whole = false;
        let mut streaming = open(&rig.pools, &message).await.unwrap();
        streaming.take(BODY, &BodyFacts::default());
        let outcome = streaming.end(false).await;
        assert!(outcome.is_uncertain(), "{outcome:?}");
        // By DATA it is found out before the body.
        let outcome = rig.open_in_vain(&envelope).await;
        assert!(matches!(outcome.ending, Ending::Lost(_)), "{outcome:?}");
    });
}

#[test]
fn a_backend_that_answers_once_is_asked_once_whether_it_does() {
    on_each_engine(|| async {
        let peer = Peer::new(Script::offering(&["PIPELINING", "CHUNKING"]));
        let rig = Rig::new(&[&peer]).await;
        let envelope = envelope(&["joe@example.net"]);
        let before = peer.commands().len();
        for _ in 0..3 {
            assert!(rig.deliver(&envelope).await.is_accepted());
        }
        let commands = peer.commands();
        let verbs: Vec<&str> = commands[before..].iter().map(|c| &c[..4]).collect();
        let once = ["EHLO", "MAIL", "RCPT", "BDAT", "EHLO"];
        let then = ["MAIL", "RCPT", "BDAT"];
        assert_eq!(verbs, [&once[..], &then, &then].concat());
        assert_eq!(rig.count(Counter::BackendSurplus, &peer), 0);
    });
}

#[test]
fn a_final_reply_that_looks_like_one_to_rcpt_is_confirmed() {
    on_each_engine(|| async {
        // Well at first; later a second reply to a MAIL shifts those of that connection.
        let script = Script::offering(&["PIPELINING", "CHUNKING"])
            .on("MAIL", "250 2.1.0 fine\r\n")
            .on("MAIL", "250 2.1.0 fine\r\n250 2.1.0 fine\r\n")
            .on("RCPT", "250 2.1.5 fine\r\n")
            .on("RCPT", "!wait!wait!wait!wait!wait!wait250 2.1.5 fine\r\n")
            .on("END", "250 2.0.0 taken\r\n")
            .on("END", "!wait550 5.7.1 spam\r\n");
        let peer = Peer::new(script);
        let rig = Rig::new(&[&peer]).await;
        let envelope = envelope(&["joe@example.net"]);
        assert!(rig.deliver(&envelope).await.is_accepted());
        let outcome = rig.deliver(&envelope).await;
        assert!(outcome.is_uncertain(), "{outcome:?}");
        assert_eq!(peer.bodies().len(), 1);
        // Some servers always answer so: that is confirmed once.
        let odd = Script::offering(&["PIPELINING", "CHUNKING"]).on("END", "250 2.1.5 taken\r\n");
        let peer = Peer::new(odd);
        let rig = Rig::new(&[&peer]).await;
        for _ in 0..3 {
            assert!(rig.deliver(&envelope).await.is_accepted());
        }
        let asked = peer.commands();
        let asked = asked.iter().filter(|c| c.starts_with("EHLO")).count();
        assert_eq!(asked, 3, "the probe, the connection, and once");
    });
}

#[test]
fn what_comes_after_the_final_reply_ends_the_trust_in_a_backend() {
    on_each_engine(|| async {
        for (after, surplus) in [
            ("250 2.0.0 taken\r\n!wait250 2.0.0 taken\r\n", 1),
            ("250 2.0.0 taken\r\n!wait550 5.7.1 spam\r\n", 1),
            // These only take leave, each in its own way.
            ("250 2.0.0 taken\r\n!wait421 4.4.2 idle\r\n!close", 0),
            ("250 2.0.0 taken\r\n!wait451 4.7.0 Timeout\r\n!close", 0),
            ("250 2.0.0 taken\r\n!wait!close", 0),
            ("250 2.0.0 taken\r\n421 4.7.0 enough\r\n!close", 0),
        ] {
            let script = Script::offering(&["PIPELINING", "CHUNKING"])
                .on("END", "250 2.0.0 taken\r\n")
                .on("END", after);
            let peer = Peer::new(script);
            let rig = Rig::new(&[&peer]).await;
            let envelope = envelope(&["joe@example.net"]);
            for _ in 0..2 {
                assert!(rig.deliver(&envelope).await.is_accepted(), "{after}");
            }
            rig.until(|| peer.late() == after.matches("!wait").count())
                .await;
            assert!(rig.deliver(&envelope).await.is_accepted(), "{after}");
            if surplus > 0 {
                rig.until(|| rig.count(Counter::BackendSurplus, &peer) > 0)
                    .await;
            }
            net::sleep(Duration::from_millis(20)).await;
            assert!(rig.deliver(&envelope).await.is_accepted(), "{after}");
            assert_eq!(
                rig.count(Counter::BackendSurplus, &peer),
                surplus,
                "{after}"
            );
            let commands = peer.commands();
            let by_data = commands.iter().any(|c| c.starts_with("DATA"));
            assert_eq!(by_data, surplus > 0, "{after}");
            assert_eq!(peer.bodies().len(), 4);
        }
    });
}

#[test]
fn a_no_in_the_same_segment_as_a_yes_is_believed() {
    on_each_engine(|| async {
        for offers in [&["PIPELINING"][..], &["PIPELINING", "CHUNKING"]] {
            let script = Script::offering(offers)
                .on("END", "250 2.0.0 taken\r\n")
                .on("END", "250 2.0.0 filtered\r\n554 5.7.1 spam\r\n");
            let peer = Peer::new(script);
            let rig = Rig::new(&[&peer]).await;
            let envelope = envelope(&["joe@example.net"]);
            assert!(rig.deliver(&envelope).await.is_accepted());
            let outcome = rig.deliver(&envelope).await;
            assert!(outcome.is_uncertain(), "{outcome:?}");
            assert_eq!(rig.count(Counter::Uncertain, &peer), 1);
        }
    });
}

#[test]
fn what_can_be_no_refusal_of_the_message_does_not_take_its_yes_away() {
    on_each_engine(|| async {
        for says in [
            "250 2.0.0 taken\r\n500 5.5.1 bad command\r\n",
            "250 2.0.0 taken\r\n503 5.5.1 bad sequence\r\n",
            "250 2.0.0 taken\r\n\r\n",
            "250 2.0.0 taken\r\n250 2.0.0 taken\r\n",
        ] {
            let peer = Peer::new(Script::offering(&["PIPELINING"]).on("END", says));
            let rig = Rig::new(&[&peer]).await;
            let envelope = envelope(&["joe@example.net"]);
            for sent in 1..4 {
                let outcome = rig.deliver(&envelope).await;
                assert!(outcome.is_accepted(), "{says:?}: {outcome:?}");
                assert_eq!(peer.bodies().len(), sent);
                assert_eq!(rig.count(Counter::BackendSurplus, &peer), sent as u64);
            }
            assert!(rig.backends.view(now())[0].up);
        }
    });
}

#[test]
fn a_reply_that_lay_on_a_pooled_connection_costs_no_message() {
    on_each_engine(|| async {
        for offers in [&["PIPELINING"][..], &[]] {
            for stray in [
                "250 2.0.0 stray\r\n250 2.1.0 fine\r\n",
                "250 2.0.0 stray\r\n!wait250 2.1.0 fine\r\n",
                "550 5.7.1 stray\r\n!wait250 2.1.0 fine\r\n",
            ] {
                if offers.is_empty() && stray.starts_with('5') {
                    // Nothing tells it from an answer to MAIL.
                    continue;
                }
                let script = Script::offering(offers)
                    .on("MAIL", "250 2.1.0 fine\r\n")
                    .on("MAIL", stray);
                let peer = Peer::new(script);
                let rig = Rig::new(&[&peer]).await;
                let envelope = envelope(&["joe@example.net"]);
                for sent in 1..5 {
                    let outcome = rig.deliver(&envelope).await;
                    assert!(outcome.is_accepted(), "{stray}: {outcome:?}");
                    assert_eq!(peer.bodies().len(), sent);
                }
                assert!(rig.count(Counter::RetryStale, &peer) > 0);
                assert!(rig.backends.view(now())[0].up);
            }
        }
    });
}

#[test]
fn a_refusal_that_lay_on_a_pooled_connection_is_not_told_where_the_body_went_ahead() {
    on_each_engine(|| async {
        for stray in [
            "550 5.7.1 stray\r\n250 2.1.0 fine\r\n",
            "550 5.7.1 stray\r\n!wait250 2.1.0 fine\r\n",
            "250 2.0.0 stray\r\n250 2.1.0 fine\r\n",
            "250 2.0.0 stray\r\n!wait250 2.1.0 fine\r\n",
        ] {
            // It takes several messages on a connection, so that later bodies go ahead.
            let offers = &["PIPELINING", "CHUNKING"];
            let peer = Peer::new(Script::offering(offers));
            let rig = Rig::new(&[&peer]).await;
            let envelope = envelope(&["joe@example.net"]);
            for _ in 0..3 {
                assert!(rig.deliver(&envelope).await.is_accepted());
            }
            let script = Script::offering(offers)
                .on("MAIL", "250 2.1.0 fine\r\n")
                .on("MAIL", stray);
            peer.follow(script);
            peer.cut();
            rig.until(|| peer.open() == 0).await;
            assert!(rig.deliver(&envelope).await.is_accepted());
            let before = peer.bodies().len();
            let outcome = rig.deliver(&envelope).await;
            assert!(outcome.is_uncertain(), "{stray}: {outcome:?}");
            rig.until(|| peer.bodies().len() > before).await;
            let outcome = rig.deliver(&envelope).await;
            assert!(outcome.is_accepted(), "{stray}: {outcome:?}");
            assert_eq!(rig.count(Counter::BackendSurplus, &peer), 1, "{stray}");
        }
    });
}

#[test]
fn what_follows_the_answer_that_confirms_a_yes_ends_the_trust_too() {
    on_each_engine(|| async {
        let hello = "250-peer.example\r\n250-PIPELINING\r\n250 CHUNKING\r\n";
        let more = "250-peer.example\r\n250-PIPELINING\r\n250 CHUNKING\r\n250 ok\r\n";
        let script = Script::offering(&[]).on("EHLO", hello).on("EHLO", more);
        let peer = Peer::new(script);
        let rig = Rig::new(&[&peer]).await;
        let envelope = envelope(&["joe@example.net"]);
        for sent in 1..4 {
            assert!(rig.deliver(&envelope).await.is_accepted());
            assert_eq!(peer.bodies().len(), sent);
        }
        assert_eq!(rig.count(Counter::BackendSurplus, &peer), 1);
        let commands = peer.commands();
        let chunks = commands.iter().filter(|c| c.starts_with("BDAT"));
        assert_eq!(chunks.count(), 1);
    });
}

#[test]
// INV-250
fn a_refusal_of_which_only_the_beginning_came_is_no_farewell() {
    on_each_engine(|| async {
        let script = Script::offering(&["PIPELINING", "CHUNKING"])
            .on("MAIL", "250 ok\r\n250 ok\r\n")
            .on("END", "!wait51 4.7.1 no\r\n");
        for says in ["250 ok\r\n4", "250 ok\r\n42"] {
            let peer = Peer::new(script.clone().on("RCPT", says));
            let rig = Rig::new(&[&peer]).await;
            let outcome = rig.deliver(&envelope(&["joe@example.net"])).await;
            assert!(outcome.is_uncertain(), "{outcome:?}");
        }
        // One that really takes leave proves nothing against its backend.
        for offers in [&["PIPELINING"][..], &["PIPELINING", "CHUNKING"]] {
            let leaving =
                Script::offering(offers).on("END", "250 2.0.0 taken\r\n4!wait21 bye\r\n!close");
            let peer = Peer::new(leaving);
            let rig = Rig::new(&[&peer]).await;
            let outcome = rig.deliver(&envelope(&["joe@example.net"])).await;
            assert!(outcome.is_uncertain(), "{outcome:?}");
            assert_eq!(rig.count(Counter::BackendSurplus, &peer), 0);
        }
    });
}

#[test]
fn a_refusal_before_a_shift_shows_is_not_the_messages() {
    on_each_engine(|| async {
        for extra in [
            ("MAIL", "250 2.1.0 fine\r\n550 5.7.1 unasked\r\n"),
            ("MAIL", "250 2.1.0 fine\r\n550 5.1.1 unasked\r\n"),
        ] {
            let script = Script::offering(&["PIPELINING"]);
            let faulty = Peer::new(script.clone().on(extra.0, extra.1));
            let alone = Rig::new(&[&faulty]).await;
            let envelope = envelope(&["joe@example.net"]);
            let outcome = alone.deliver(&envelope).await;
            let reply = told(&outcome, &envelope);
            assert!(reply.starts_with("451 4.4.2"), "{reply}");
            // Nor is it one to remember.
            assert!(outcome.refused.is_empty(), "{outcome:?}");
            assert_eq!(alone.count(Counter::BackendSurplus, &faulty), 1);
            let well = Peer::new(script);
            let rig = Rig::new(&[&faulty, &well]).await;
            let outcome = rig.deliver(&envelope).await;
            assert!(outcome.is_accepted(), "{outcome:?}");
            assert_eq!((faulty.bodies().len(), well.bodies().len()), (0, 1));
        }
    });
}
