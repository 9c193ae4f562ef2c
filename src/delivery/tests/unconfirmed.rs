//! Backends that can't be asked whether their yes was the answer to the message.

use super::{limits::crowd, *};
use crate::smtp::envelope::BodyKind;

const OFFERS: &[&str] = &["PIPELINING", "CHUNKING"];

const BINARY: &[&str] = &["PIPELINING", "8BITMIME", "CHUNKING", "BINARYMIME"];

/// As [`envelope`], of a message that goes by BDAT alone.
fn binary() -> Envelope {
    let mut envelope = envelope(&["joe@example.net"]);
    let sender = envelope.keep_path(Path::split(b"a@a.example"));
    let params = MailParams {
        body: BodyKind::BinaryMime,
        ..MailParams::default()
    };
    envelope.set_sender(sender, params);
    envelope
}

/// Commands of BDAT that it has heard.
fn chunks(peer: &Peer) -> usize {
    let is_chunk = |command: &&String| command.starts_with("BDAT");
    peer.commands().iter().filter(is_chunk).count()
}

/// One that offers CHUNKING and answers no second EHLO.
async fn silent_when_asked() -> (Peer, Rig) {
    let hello = "250-peer.example\r\n250-PIPELINING\r\n250 CHUNKING\r\n";
    let peer = Peer::new(Script::offering(&[]).on("EHLO", hello).on("EHLO", ""));
    let rig = Rig::configured(&[&peer], |config| {
        config.timeouts.backend = Time::secs(1);
    })
    .await;
    (peer, rig)
}

#[test]
// INV-250
fn a_close_confirms_no_yes_that_may_be_the_one_to_rcpt() {
    on_each_engine(|| async {
        // Its filter answers MAIL twice and dies over each body.
        let dying = Script::offering(OFFERS)
            .on("MAIL", "250 2.1.0 fine\r\n250 2.1.0 fine\r\n")
            .on("RCPT", "250 2.1.5 fine\r\n");
        for ends in ["!wait!wait!close", "!wait!wait421 4.3.2 down\r\n!close"] {
            let peer = Peer::new(dying.clone().on("END", ends));
            let rig = Rig::new(&[&peer]).await;
            let envelope = envelope(&["joe@example.net"]);
            let outcome = rig.deliver(&envelope).await;
            assert!(outcome.is_uncertain(), "{ends}: {outcome:?}");
            // Nor is the next one believed, now that it lives long enough to refuse it.
            let refusing = dying.clone().on("END", "!wait550 5.7.1 spam\r\n");
            peer.follow(refusing);
            let outcome = rig.deliver(&envelope).await;
            assert!(!outcome.is_accepted(), "{ends}: {outcome:?}");
            assert!(peer.bodies().is_empty());
        }
    });
}

#[test]
fn a_backend_that_closes_after_each_message_gets_data_where_its_yes_looks_like_one_to_rcpt() {
    on_each_engine(|| async {
        for (says, in_doubt) in [
            ("250 2.1.5 taken\r\n!close", 1),
            ("250 2.1.5 taken\r\n421 4.7.0 enough\r\n!close", 1),
            ("250 2.0.0 taken\r\n!close", 0),
            ("250 taken\r\n!close", 0),
        ] {
            let peer = Peer::new(Script::offering(OFFERS).on("END", says));
            let rig = Rig::new(&[&peer]).await;
            let envelope = envelope(&["joe@example.net"]);
            for sent in 0..4 {
                let outcome = rig.deliver(&envelope).await;
                assert_eq!(outcome.is_uncertain(), sent < in_doubt, "{says}");
                assert_eq!(outcome.is_accepted(), sent >= in_doubt, "{says}");
            }
            assert_eq!(peer.bodies().len(), 4);
            assert_eq!(rig.count(Counter::BackendSurplus, &peer), 0);
        }
    });
}

#[test]
fn a_backend_that_does_not_answer_in_time_gets_data_for_a_while() {
    on_each_engine(|| async {
        // Silent after a message, but for the next one.
        let (peer, rig) = silent_when_asked().await;
        let envelope = envelope(&["joe@example.net"]);
        let first = rig.deliver(&envelope).await;
        assert!(first.is_uncertain(), "{first:?}");
        for sent in 2..4 {
            let outcome = rig.deliver(&envelope).await;
            assert!(outcome.is_accepted(), "{outcome:?}");
            assert_eq!(peer.bodies().len(), sent);
        }
        assert_eq!(rig.count(Counter::BackendSurplus, &peer), 0);
        assert_eq!(chunks(&peer), 1);
    });
}

#[test]
fn a_backend_that_refuses_a_second_ehlo_costs_no_message() {
    on_each_engine(|| async {
        let hello = "250-peer.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 BINARYMIME\r\n";
        let script = Script::offering(&[])
            .on("EHLO", hello)
            .on("EHLO", "503 5.5.1 Duplicate EHLO\r\n");
        let peer = Peer::new(script);
        let rig = Rig::new(&[&peer]).await;
        for sent in 1..4 {
            let outcome = rig.deliver(&binary()).await;
            assert!(outcome.is_accepted(), "{outcome:?}");
            assert_eq!(peer.bodies().len(), sent);
        }
        assert_eq!(rig.count(Counter::BackendSurplus, &peer), 0);
        assert_eq!(chunks(&peer), 3);
    });
}

#[test]
fn a_refusal_of_the_message_is_not_taken_for_one_of_ehlo() {
    on_each_engine(|| async {
        let script = Script::offering(OFFERS)
            .on("MAIL", "250 ok\r\n250 ok\r\n")
            .on("END", "!wait!wait503 5.5.1 no\r\n");
        let peer = Peer::new(script);
        let rig = Rig::new(&[&peer]).await;
        let outcome = rig.deliver(&envelope(&["joe@example.net"])).await;
        assert!(outcome.is_uncertain(), "{outcome:?}");
        assert_eq!(rig.count(Counter::BackendSurplus, &peer), 1);
    });
}

#[test]
fn what_goes_by_bdat_alone_is_not_for_a_backend_that_said_too_much() {
    on_each_engine(|| async {
        let faulty = Script::offering(BINARY).on("END", "250 2.0.0 taken\r\n250 2.0.0 taken\r\n");
        let (faulty, well) = (Peer::new(faulty), Peer::new(Script::offering(BINARY)));
        let rig = Rig::new(&[&faulty, &well]).await;
        let outcome = rig.deliver(&binary()).await;
        assert!(outcome.is_uncertain(), "{outcome:?}");
        for sent in 1..4 {
            let outcome = rig.deliver(&binary()).await;
            assert!(outcome.is_accepted(), "{outcome:?}");
            assert_eq!((faulty.bodies().len(), well.bodies().len()), (1, sent));
        }
    });
}

#[test]
fn one_yes_at_a_time_is_asked_about() {
    on_each_engine(|| async {
        let (peer, rig) = silent_when_asked().await;
        let wrong = crowd(&Rc::new(rig), 8, 3).await;
        assert!(matches!(wrong[..], [Ending::Uncertain(_)]), "{wrong:?}");
        assert_eq!(peer.bodies().len(), 24);
        assert_eq!(chunks(&peer), 1);
    });
}

#[test]
fn the_others_go_by_bdat_once_a_yes_was_confirmed() {
    on_each_engine(|| async {
        // The first message is refused: its connection confirms nothing, and leaves that to the next.
        let peer = Peer::new(Script::offering(OFFERS).on("END", "550 5.7.1 spam\r\n"));
        let rig = Rc::new(Rig::new(&[&peer]).await);
        let envelope = envelope(&["joe@example.net"]);
        assert!(!rig.deliver(&envelope).await.is_accepted());
        peer.follow(Script::offering(OFFERS));
        peer.cut();
        assert!(rig.deliver(&envelope).await.is_accepted());
        assert!(crowd(&rig, 4, 2).await.is_empty());
        assert_eq!(peer.bodies().len(), 9);
        let data = peer.commands().iter().any(|c| c.starts_with("DATA"));
        assert!(!data);
    });
}
