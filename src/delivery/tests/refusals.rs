//! Recipients that a backend refuses though they had been accepted: what is told, and what is learned of it.

use super::*;

/// How a backend may speak: in order, with several replies under way, and by chunks.
const WAYS: [&[&str]; 3] = [&[], &["PIPELINING"], &["PIPELINING", "CHUNKING"]];

/// The limit on recipients that the backend has shown to this client's messages of `a@a.example`; 0: none.
fn shown_to(rig: &Rig, client: Option<u128>) -> u32 {
    let pool = rig.backends.pools().next().unwrap();
    let source = MessageSource::new(client, b"a@a.example");
    pool.backends[0].learned.get(source, now())
}

fn learned(rig: &Rig) -> u32 {
    shown_to(rig, None)
}

#[test]
fn no_one_reply_is_told_where_some_are_unknown_and_some_are_put_off() {
    on_each_engine(|| async {
        for offers in WAYS {
            // What is said to DATA speaks of a message that has no recipient, and not of those that were refused.
            let none = "554 5.5.1 no valid recipients\r\n";
            let peer = Peer::new(Script::offering(offers).on("DATA", none));
            let rig = Rig::new(&[&peer]).await;
            for (names, partly, wanted) in [
                (["bad", "later"], true, "451 4.5.3"),
                (["later", "bad"], true, "451 4.5.3"),
                (["bad", "bad2"], false, "550 5.1.1 no such user"),
                (["later", "later2"], false, "450 4.2.1 not now"),
            ] {
                let names = names.map(|name| format!("{name}@example.net"));
                let envelope = envelope(&names.each_ref().map(String::as_str));
                let outcomes = [
                    rig.deliver(&envelope).await,
                    rig.open_in_vain(&envelope).await,
                ];
                for outcome in outcomes {
                    let reply = told(&outcome, &envelope);
                    assert!(reply.starts_with(wanted), "{names:?} {offers:?}: {reply}");
                    assert_eq!(outcome.is_partly_refused(2), partly, "{names:?}");
                    assert_eq!(outcome.refused.len(), 2, "{outcome:?}");
                }
            }
            assert!(peer.bodies().is_empty());
        }
    });
}

#[test]
fn too_many_recipients_by_its_old_code_is_for_now() {
    on_each_engine(|| async {
        for offers in WAYS {
            let script = Script::offering(offers).on("RCPT", "250 2.1.5 fine\r\n");
            let peer = Peer::new(script.on("RCPT", "552 5.5.3 too many recipients\r\n"));
            let rig = Rig::new(&[&peer]).await;
            let three = envelope(&["a@example.net", "b@example.net", "c@example.net"]);
            let outcome = rig.deliver(&three).await;
            let reply = told(&outcome, &three);
            let wanted = "<b@example.net> 452 4.5.3 too many recipients";
            assert!(
                reply.starts_with("451 4.5.3") && reply.ends_with(wanted),
                "{reply}"
            );
            assert_eq!(learned(&rig), 1);
            // Of the first one no limit is learned: it is told as it is to be read (RFC 5321 section 4.5.3.1.10).
            let alone =
                Peer::new(Script::offering(offers).on("RCPT", "552 5.5.3 too many recipients\r\n"));
            let rig = Rig::new(&[&alone]).await;
            let reply = told(&rig.deliver(&three).await, &three);
            assert_eq!(reply, "452 4.5.3 too many recipients");
            assert_eq!(learned(&rig), 0);
        }
    });
}

#[test]
fn one_full_mailbox_is_no_limit_on_recipients() {
    on_each_engine(|| async {
        for offers in WAYS {
            for (names, limit) in [
                (["a", "later", "b"], 0),
                (["later", "later2", "a"], 0),
                // Exim says so to all that are too many.
                (["a", "later", "later2"], 1),
            ] {
                let script = Script::offering(offers);
                let peer = Peer::new(script.on("LATER", "452 mailbox full\r\n"));
                let rig = Rig::new(&[&peer]).await;
                let names = names.map(|name| format!("{name}@example.net"));
                let envelope = envelope(&names.each_ref().map(String::as_str));
                assert!(!rig.deliver(&envelope).await.is_accepted());
                assert_eq!(learned(&rig), limit, "{names:?}");
            }
        }
    });
}

/// A message with so many recipients, of this client.
async fn deliver_from(rig: &Rig, client: u128, sender: &[u8], recipients: usize) -> Outcome {
    let names: Vec<String> = (0..recipients)
        .map(|n| format!("u{n}@example.net"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut envelope = envelope(&names);
    let sender = envelope.keep_path(Path::split(sender));
    envelope.set_sender(sender, MailParams::default());
    let message = Message {
        client: Some(client),
        ..rig.message(&envelope, &[BODY])
    };
    deliver(&rig.pools, &message).await
}

/// The key of a client of the network 10.0.NETWORK.0/24.
fn client(network: u8, host: u8) -> u128 {
    0xffff_0a00_0000 | u128::from(network) << 8 | u128::from(host)
}

#[test]
fn a_limit_that_one_client_is_shown_is_not_anothers() {
    on_each_engine(|| async {
        for offers in WAYS {
            let says = |says| {
                Script::offering(offers)
                    .on("RCPT", "250 2.1.5 fine\r\n")
                    .on("RCPT", says)
            };
            let limiting = says("452 4.5.3 too many recipients from you\r\n");
            let peer = Peer::new(limiting.clone());
            let rig = Rig::new(&[&peer]).await;
            deliver_from(&rig, client(1, 1), b"a@a.example", 3).await;
            assert_eq!(
                shown_to(&rig, Some(client(1, 2))),
                1,
                "its network comes again"
            );
            assert_eq!(shown_to(&rig, Some(client(2, 1))), 0);
            peer.cut();
            deliver_from(&rig, client(1, 9), b"b@a.example", 3).await;
            assert_eq!(shown_to(&rig, Some(client(2, 1))), 0, "one network");
            peer.cut();
            deliver_from(&rig, client(3, 1), b"c@a.example", 3).await;
            assert_eq!(shown_to(&rig, Some(client(2, 1))), 1, "two networks");
            // It takes more than that.
            peer.follow(Script::offering(offers));
            peer.cut();
            let outcome = deliver_from(&rig, client(4, 1), b"d@a.example", 2).await;
            assert!(outcome.is_accepted(), "{outcome:?}");
            assert_eq!(shown_to(&rig, Some(client(2, 1))), 0);
            // The limit may be the first client's own.
            assert_eq!(shown_to(&rig, Some(client(1, 1))), 1);
        }
    });
}

#[test]
fn a_bounce_to_several_shows_no_limit() {
    on_each_engine(|| async {
        for offers in WAYS {
            for (sender, says) in [
                (&b""[..], "550 5.5.3 multi-recipient bounce\r\n"),
                (b"", "452 4.5.3 too many recipients\r\n"),
                (b"a@a.example", "550 5.5.3 multi-recipient bounce\r\n"),
            ] {
                let script = Script::offering(offers).on("RCPT", "250 2.1.5 fine\r\n");
                let peer = Peer::new(script.on("RCPT", says));
                let rig = Rig::new(&[&peer]).await;
                for network in 1..4 {
                    let outcome = deliver_from(&rig, client(network, 1), sender, 3).await;
                    assert_eq!(outcome.refused.len(), 2, "{outcome:?}");
                    peer.cut();
                }
                assert_eq!(shown_to(&rig, Some(client(1, 1))), 0);
                assert_eq!(rig.backends.announced().recipients_max, 0);
            }
        }
    });
}
