//! Leases and what becomes of their connections.

use super::*;

#[test]
fn a_connection_is_used_again_newest_first() {
    on_each_engine(|| async {
        let peer = Peer::new();
        let backends = build(&config(&[&peer]));
        let (pools, pool) = pools(&backends).await;
        let lease = |fresh: bool| {
            let pools = Rc::clone(&pools);
            async move {
                match fresh {
                    true => pools.lease_fresh(pool, b"", &[], soon()).await.unwrap(),
                    false => pools.lease(pool, b"", &[], soon()).await.unwrap(),
                }
            }
        };
        let first = lease(false).await;
        let second = lease(false).await;
        assert!(!first.is_reused() && !second.is_reused());
        first.give_back();
        second.give_back();
        assert_eq!(pools.idle(), 2);
        let again = lease(false).await;
        assert!(again.is_reused());
        assert_eq!(pools.idle(), 1);
        let fresh = lease(true).await;
        assert!(!fresh.is_reused());
        assert_eq!(pools.idle(), 1);
        assert_eq!(backends.view(now())[0].leases, 2);
        drop((again, fresh));
        assert_eq!(backends.view(now())[0].leases, 0);
        assert_eq!(count(&pools, Counter::ClosedAborted, &peer), 2);
        // The probe, two at first, and the fresh one.
        until(|| peer.connections() == 4).await;
    });
}

#[test]
fn a_hundred_messages_take_one_connection() {
    on_each_engine(|| async {
        let peer = Peer::new();
        let backends = build(&config(&[&peer]));
        let (pools, pool) = pools(&backends).await;
        for _ in 0..100 {
            deliver(&pools, pool).await;
        }
        assert_eq!(peer.messages(), 100);
        assert_eq!(peer.connections(), 2, "one is the probe's");
        assert_eq!(count(&pools, Counter::LeaseReused, &peer), 99);
        assert_eq!(count(&pools, Counter::LeaseFresh, &peer), 1);
        assert_eq!(
            peer.seen().resets.load(std::sync::atomic::Ordering::SeqCst),
            0
        );
    });
}

#[test]
fn a_connection_ends_after_its_messages_and_its_life() {
    on_each_engine(|| async {
        let peer = Peer::new();
        let mut config = config(&[&peer]);
        config.pool[0].messages = 3;
        let backends = build(&config);
        let (pools, pool) = pools(&backends).await;
        for _ in 0..7 {
            deliver(&pools, pool).await;
        }
        assert_eq!(pools.idle(), 1);
        assert_eq!(count(&pools, Counter::ClosedAge, &peer), 2);
        // QUIT of the probe and of those two.
        until(|| peer.quits() == 3).await;

        config.pool[0].messages = 0;
        config.pool[0].lifetime = Time::millis(1);
        pools.replace(Arc::new(
            Backends::build(&config, Some(&backends), &Names::default()).unwrap(),
        ));
        let mut lease = pools.lease(pool, b"", &[], soon()).await.unwrap();
        net::sleep(Duration::from_millis(5)).await;
        lease.resume();
        lease.give_back();
        assert_eq!(pools.idle(), 0);
    });
}

#[test]
fn the_backends_own_limit_of_messages_is_kept() {
    on_each_engine(|| async {
        let peer = Peer::new();
        peer.offer(&["PIPELINING", "LIMITS MAILMAX=2"]);
        let backends = build(&config(&[&peer]));
        let (pools, pool) = pools(&backends).await;
        for _ in 0..4 {
            deliver(&pools, pool).await;
        }
        assert_eq!(count(&pools, Counter::ClosedAge, &peer), 2);
    });
}

#[test]
fn idle_connections_end_with_quit() {
    on_each_engine(|| async {
        let peer = Peer::new();
        let mut config = config(&[&peer]);
        config.pool[0].idle = Time::millis(50);
        let backends = build(&config);
        let (pools, pool) = pools(&backends).await;
        deliver(&pools, pool).await;
        until(|| pools.idle() == 0 && peer.open() == 0).await;
        assert_eq!(peer.quits(), 2);
        assert_eq!(count(&pools, Counter::ClosedIdle, &peer), 1);
        until(|| backends.view(now())[0].connections == 0).await;
    });
}

#[test]
fn what_closed_or_talked_while_idle_is_not_used() {
    on_each_engine(|| async {
        let peer = Peer::new();
        let backends = build(&config(&[&peer]));
        let (pools, pool) = pools(&backends).await;
        for unasked in [
            "",
            "421 4.4.2 idle for too long\r\n",
            "250 2.0.0 surprise\r\n",
        ] {
            deliver(&pools, pool).await;
            match unasked {
                "" => peer.cut(),
                text => peer.say(text),
            }
            net::sleep(Duration::from_millis(30)).await;
            let mut lease = pools.lease(pool, b"", &[], soon()).await.unwrap();
            assert!(!lease.is_reused());
            carry(&mut lease).await.unwrap();
            drop(lease);
        }
        assert_eq!(count(&pools, Counter::ClosedStale, &peer), 3);
        // The first two only take leave.
        until(|| count(&pools, Counter::BackendSurplus, &peer) == 1).await;
        assert!(backends.view(now())[0].up);
    });
}

#[test]
fn one_that_turns_out_to_be_stale_says_so_and_a_fresh_one_can_be_had() {
    on_each_engine(|| async {
        let peer = Peer::with(Mode::Stale);
        let backends = build(&config(&[&peer]));
        let (pools, pool) = pools(&backends).await;
        deliver(&pools, pool).await;
        let mut lease = pools.lease(pool, b"", &[], soon()).await.unwrap();
        assert!(lease.is_reused());
        let broken = carry(&mut lease).await.unwrap_err();
        assert!(broken.stale && !broken.uncertain, "{broken:?}");
        lease.give_back();
        assert_eq!(pools.idle(), 0, "it is closed, not pooled");
        let mut lease = pools.lease_fresh(pool, b"", &[], soon()).await.unwrap();
        assert_eq!(carry(&mut lease).await.unwrap().code, 250);
        assert!(
            backends.view(now())[0].up,
            "that was no failure of the backend"
        );
    });
}

#[test]
fn lost_after_the_end_of_data_is_uncertain() {
    on_each_engine(|| async {
        let peer = Peer::with(Mode::ClosesAtEnd);
        let backends = build(&config(&[&peer]));
        let (pools, pool) = pools(&backends).await;
        let mut lease = pools.lease(pool, b"", &[], soon()).await.unwrap();
        let broken = carry(&mut lease).await.unwrap_err();
        assert!(broken.uncertain && !broken.stale, "{broken:?}");
        assert_eq!(count(&pools, Counter::Uncertain, &peer), 1);
        lease.give_back();
        assert_eq!(pools.idle(), 0);
    });
}

#[test]
fn a_backend_that_never_answers_the_end_of_data_runs_into_its_deadline() {
    on_each_engine(|| async {
        let peer = Peer::with(Mode::HangsAtEnd);
        let mut config = config(&[&peer]);
        config.timeouts.commit = Time::millis(200);
        let backends = build(&config);
        let (pools, pool) = pools(&backends).await;
        let mut lease = pools.lease(pool, b"", &[], soon()).await.unwrap();
        let broken = carry(&mut lease).await.unwrap_err();
        assert_eq!(broken.trouble, Trouble::Timeout);
        assert!(broken.uncertain);
        // It may be due to the message: the backend is asked, and answers.
        until(|| peer.quits() == 2).await;
        assert!(backends.changes().latest().is_empty());
    });
}

#[test]
// INV-CLEAN
fn a_refused_transaction_leaves_a_clean_connection() {
    on_each_engine(|| async {
        let peer = Peer::new();
        let backends = build(&config(&[&peer]));
        let (pools, pool) = pools(&backends).await;
        for abandon in [false, true] {
            let mut lease = pools.lease(pool, b"", &[], soon()).await.unwrap();
            let load = Load::default();
            lease
                .open(&envelope(&["bad@example.net"]), To::All, load)
                .unwrap();
            while !abandon && lease.next().await.unwrap() != Event::Refused {}
            match abandon {
                true => lease.abandon(),
                false => lease.give_back(),
            }
            until(|| backends.view(now())[0].connections == pools.idle() as u32).await;
        }
        deliver(&pools, pool).await;
        assert_eq!(peer.messages(), 1);
    });
}

#[test]
fn a_drain_ends_what_is_idle_and_what_comes_back() {
    on_each_engine(|| async {
        let peer = Peer::new();
        let backends = build(&config(&[&peer]));
        let (pools, pool) = pools(&backends).await;
        let mut under_way = pools.lease(pool, b"", &[], soon()).await.unwrap();
        deliver(&pools, pool).await;
        pools.drain();
        assert_eq!(pools.idle(), 0);
        assert_eq!(carry(&mut under_way).await.unwrap().code, 250);
        under_way.give_back();
        assert_eq!(pools.idle(), 0);
        until(|| peer.open() == 0).await;
        assert_eq!(peer.quits(), 3);
    });
}

#[test]
fn the_end_of_our_side_comes_with_quit_and_the_answer_is_heard() {
    on_each_engine(|| async {
        let peer = Peer::with(Mode::WaitsForEnd);
        let backends = build(&config(&[&peer]));
        let (pools, pool) = pools(&backends).await;
        // That of the probe.
        until(|| peer.open() == 0).await;
        assert_eq!(peer.quits(), 1);
        deliver(&pools, pool).await;
        pools.drain();
        until(|| peer.open() == 0).await;
        assert_eq!(peer.quits(), 2);
        until(|| backends.view(now())[0].connections == 0).await;
    });
}
