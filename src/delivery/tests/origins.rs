//! What one client sends, and where it comes from, leaves no backend out.

use super::*;
use crate::{config::PoolIdentity, upstream::Origin};

/// The key of an address.
fn client(address: &str) -> Option<u128> {
    Some(crate::client_key::address(address.parse().unwrap()))
}

fn origin(client: &str) -> Origin<'_> {
    Origin {
        client: client.parse().unwrap(),
        listener: Some("127.0.0.1:25".parse().unwrap()),
        hello: b"a.example",
        extended: true,
        login: None,
        message: b"1",
    }
}

impl Rig {
    async fn deliver_from(&self, envelope: &Envelope, client: Option<u128>) -> Outcome {
        let message = Message {
            client,
            ..self.message(envelope, &[BODY])
        };
        deliver(&self.pools, &message).await
    }

    /// A recipient whose messages go to this peer.
    async fn recipient_of(&self, peer: &Peer) -> Envelope {
        for n in 0.. {
            let recipient = format!("user{n}@example.net");
            let request = Request {
                pool: self.pool,
                key: recipient.as_bytes(),
                origin: None,
                client: None,
                needs: Needs::default(),
                deadline: now().after(Duration::from_secs(60)),
            };
            let lease = self.pools.acquire(&request, &mut Tried::default()).await;
            let lease = lease.unwrap();
            let is_its = lease.backend().address() == peer.address;
            lease.give_back();
            if is_its {
                return envelope(&[&recipient]);
            }
        }
        unreachable!("one in two is")
    }
}

#[test]
fn the_messages_of_one_network_leave_no_backend_of_a_hash_out() {
    on_each_engine(|| async {
        let well = Peer::new(Script::offering(&["PIPELINING"]));
        for says in ["!close", "451 4.3.0 the filter has gone\r\n"] {
            let ill = Peer::new(Script::offering(&["PIPELINING"]).on("END", says));
            let rig = Rig::with(&[&ill, &well], |pool| {
                pool.balance = Balance::HashRecipient;
            })
            .await;
            let (at_ill, at_well) = (rig.recipient_of(&ill).await, rig.recipient_of(&well).await);
            let is_up = || rig.backends.view(now())[0].up;
            for _ in 0..6 {
                assert!(rig.deliver_from(&at_well, None).await.is_accepted());
            }
            for n in 0..30 {
                // All of one network.
                let stranger = client(&format!("192.0.2.{n}"));
                rig.deliver_from(&at_ill, stranger).await;
            }
            assert!(is_up(), "{says}");
            // What strangers of many networks meet is the backend's.
            for n in 0..8 {
                rig.deliver_from(&at_ill, client(&format!("198.51.{n}.1")))
                    .await;
            }
            assert!(!is_up(), "{says}");
        }
    });
}

#[test]
fn a_client_over_which_backends_fall_silent_leaves_none_out() {
    on_each_engine(|| async {
        let shuns = Script::offering(&["PIPELINING"]).shunning("192.0.2.66");
        let asks = Script::offering(&["PIPELINING", "XCLIENT ADDR PORT"]).on("XCLIENT", "");
        for (identity, script) in [
            (PoolIdentity::ProxyV1, shuns),
            (PoolIdentity::Xclient, asks),
        ] {
            let peers = [Peer::new(script.clone()), Peer::new(script)];
            let rig = Rig::configured(&peers.each_ref(), |config| {
                config.pool[0].identity = identity;
                config.timeouts.connect = Time::millis(300);
            })
            .await;
            let (slow, envelope) = (origin("192.0.2.66:4711"), envelope(&["joe@example.net"]));
            let message = Message {
                origin: Some(&slow),
                ..rig.message(&envelope, &[BODY])
            };
            let outcome = deliver(&rig.pools, &message).await;
            let wanted = LeaseError::Down(Some(Trouble::Origin));
            let Ending::NoConnection(why) = &outcome.ending else {
                panic!("{outcome:?}")
            };
            assert_eq!(*why, wanted, "{identity}");
            let all_up = || rig.backends.view(now()).iter().all(|backend| backend.up);
            assert!(all_up(), "{identity}");
            // They are asked whether they work without that client, and they do.
            let pool = rig.backends.pool(rig.pool).unwrap();
            let suspected = || pool.backends.iter().any(|b| b.health.is_suspected());
            rig.until(|| !suspected()).await;
            assert!(all_up(), "{identity}");
        }
    });
}
