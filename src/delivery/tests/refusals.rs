//! Recipients that a backend refuses though they had been accepted: what is told, and what is learned of it.

use super::*;

/// How a backend may speak: in order, with several replies under way, and by chunks.
const WAYS: [&[&str]; 3] = [&[], &["PIPELINING"], &["PIPELINING", "CHUNKING"]];

/// The limit on recipients that the backend has shown; 0: none.
fn learned(rig: &Rig) -> u32 {
    let pool = rig.backends.pools().next().unwrap();
    pool.backends[0].learned.get(now())
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
