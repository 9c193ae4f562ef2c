//! Failing backends: left out, worked around, brought back.

use super::*;

/// The state of the peer's backend.
fn view(backends: &Backends, peer: &Peer) -> BackendView {
    let views = backends.view(now());
    views
        .into_iter()
        .find(|v| v.address == peer.address)
        .unwrap()
}

#[test]
fn whatever_a_backend_does_wrong_another_one_carries_the_message() {
    on_each_engine(|| async {
        for (mode, trouble) in [
            (Mode::Unavailable, Trouble::Unavailable),
            (Mode::Garbage, Trouble::Nonsense),
            (Mode::Silent, Trouble::Timeout),
            (Mode::Closing, Trouble::Lost),
        ] {
            let (bad, good) = (Peer::new(), Peer::new());
            let mut config = config(&[&bad, &good]);
            config.pool[0].balance = crate::config::Balance::FirstAvailable;
            config.pool[0].health.backoff = Time::secs(60);
            config.timeouts.connect = Time::millis(400);
            let backends = build(&config);
            let (pools, pool) = pools(&backends).await;
            bad.set(mode);
            deliver(&pools, pool).await;
            assert_eq!(good.messages(), 1);
            assert!(!view(&backends, &bad).up, "{mode:?}");
            assert_eq!(backends.changes().latest()[0].ejected, Some(trouble));
            // From now on it isn't even tried.
            let tried = bad.connections();
            deliver(&pools, pool).await;
            assert_eq!(bad.connections(), tried);
        }
    });
}

#[test]
fn a_refused_port_is_left_out_and_probed_until_it_is_back() {
    on_each_engine(|| async {
        let (one, two) = (Peer::new(), Peer::new());
        let mut config = config(&[&one, &two]);
        config.pool[0].balance = crate::config::Balance::FirstAvailable;
        let backends = build(&config);
        let (pools, pool) = pools(&backends).await;
        one.stop();
        deliver(&pools, pool).await;
        assert_eq!(two.messages(), 1);
        assert!(!view(&backends, &one).up);
        // A failed probe or two.
        until(|| view(&backends, &one).failures > 1).await;
        assert_eq!(count(&pools, Counter::HealthDown, &one), 1);
        one.start();
        until(|| view(&backends, &one).up).await;
        assert_eq!(count(&pools, Counter::HealthUp, &one), 1);
        assert_eq!(backends.changes().latest().last().unwrap().ejected, None);
        deliver(&pools, pool).await;
        assert_eq!(one.messages(), 1);
    });
}

#[test]
fn a_421_under_way_ejects() {
    on_each_engine(|| async {
        let (bad, good) = (Peer::with(Mode::Refusing), Peer::new());
        let mut config = config(&[&bad, &good]);
        config.pool[0].balance = crate::config::Balance::FirstAvailable;
        config.pool[0].health.backoff = Time::secs(60);
        let backends = build(&config);
        let (pools, pool) = pools(&backends).await;
        let mut lease = pools.lease(pool, b"", &[], soon()).await.unwrap();
        let broken = carry(&mut lease).await.unwrap_err();
        assert_eq!(broken.trouble, Trouble::Unavailable);
        assert!(!broken.stale && !broken.uncertain);
        drop(lease);
        assert!(!view(&backends, &bad).up);
        let avoid = [broken.backend];
        let again = pools.lease(pool, b"", &avoid, soon()).await.unwrap();
        assert_eq!(again.backend().address(), good.address);
    });
}

#[test]
fn with_all_ejected_the_least_bad_one_is_tried() {
    on_each_engine(|| async {
        let (one, two) = (Peer::new(), Peer::new());
        let mut config = config(&[&one, &two]);
        config.pool[0].health.backoff = Time::secs(60);
        let backends = build(&config);
        let (pools, pool) = pools(&backends).await;
        one.stop();
        two.stop();
        let error = pools.lease(pool, b"", &[], soon()).await.unwrap_err();
        assert_eq!(error, LeaseError::Down(Some(Trouble::Connect)));
        assert!(backends.view(now()).iter().all(|v| !v.up));
        // No probe for a minute, but a message finds out.
        two.start();
        deliver(&pools, pool).await;
        assert!(view(&backends, &two).up);
        assert!(!view(&backends, &one).up);
        // And where there is none at all, that is said at once.
        let avoid: Vec<_> = backends
            .pool(pool)
            .unwrap()
            .backends
            .iter()
            .map(|b| b.id)
            .collect();
        let error = pools.lease(pool, b"", &avoid, soon()).await.unwrap_err();
        assert_eq!(error, LeaseError::Down(None));
    });
}

#[test]
fn no_more_than_eject_max_are_left_out() {
    on_each_engine(|| async {
        let peers: Vec<Peer> = (0..4).map(|_| Peer::new()).collect();
        let mut config = config(&peers.iter().collect::<Vec<_>>());
        config.pool[0].health.eject_max = 50;
        let backends = build(&config);
        let pool = backends.pools().next().unwrap();
        let fail = |i: usize| {
            pool.backends[i]
                .health
                .fail(Tick(i as u64 + 1), &pool.rules);
        };
        let usable = || {
            let eligible = pool.eligible(&[]);
            (0..4).filter(|i| eligible.has(*i)).collect::<Vec<_>>()
        };
        fail(0);
        assert_eq!(usable(), [1, 2, 3]);
        fail(1);
        assert_eq!(usable(), [2, 3]);
        fail(2);
        assert_eq!(
            usable(),
            [0, 3],
            "the one that failed longest ago is tried again"
        );
        fail(3);
        assert_eq!(usable(), [0]);
    });
}

#[test]
fn a_healthy_backend_that_dies_is_found_by_a_probe() {
    on_each_engine(|| async {
        let peer = Peer::new();
        let mut config = config(&[&peer]);
        config.pool[0].health.interval = Time::millis(100);
        let backends = build(&config);
        let (pools, _) = pools(&backends).await;
        assert!(view(&backends, &peer).up);
        peer.stop();
        until(|| !view(&backends, &peer).up).await;
        assert!(count(&pools, Counter::ConnectRefused, &peer) > 0);
    });
}

#[test]
fn idle_connections_of_an_ejected_backend_are_dropped() {
    on_each_engine(|| async {
        let peer = Peer::new();
        let mut config = config(&[&peer]);
        config.pool[0].health.backoff = Time::secs(60);
        let backends = build(&config);
        let (pools, pool) = pools(&backends).await;
        deliver(&pools, pool).await;
        let shared = backends.pool(pool).unwrap();
        shared.backends[0].health.fail(now(), &shared.rules);
        until(|| pools.idle() == 0).await;
        until(|| peer.open() == 0).await;
    });
}

#[test]
fn what_the_front_may_offer_is_what_all_of_them_offer() {
    on_each_engine(|| async {
        use crate::smtp::Extensions;
        let (one, two) = (Peer::new(), Peer::new());
        one.offer(&["PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "SIZE 5000"]);
        two.offer(&["PIPELINING", "8BITMIME", "DSN", "CHUNKING", "SIZE 3000"]);
        let config = config(&[&one, &two]);
        let backends = build(&config);
        let id = backends.pool_named("cluster").unwrap();
        assert_eq!(backends.common_capabilities(id), None);
        let (pools, pool) = pools(&backends).await;
        let common = backends.common_capabilities(pool).unwrap();
        assert_eq!(common.size_max, 3000);
        let has = |e| common.extensions.has(e);
        assert!(has(Extensions::DSN | Extensions::EIGHTBITMIME));
        assert!(!has(Extensions::SMTPUTF8) && !has(Extensions::CHUNKING));
        assert_eq!(backends.offered(), Some(common));
        // The backend has been upgraded: known from the next connection on.
        two.offer(&["SMTPUTF8", "SIZE 9000"]);
        let all = backends.pool(pool).unwrap();
        let one_id = all.backends[0].id;
        drop(pools.lease(pool, b"", &[one_id], soon()).await.unwrap());
        let common = backends.common_capabilities(pool).unwrap();
        assert!(common.extensions.has(Extensions::SMTPUTF8));
        assert_eq!(common.size_max, 5000);
    });
}

#[test]
fn the_balance_is_that_of_the_configuration() {
    on_each_engine(|| async {
        use crate::config::Balance;
        let (one, two) = (Peer::new(), Peer::new());
        let mut config = config(&[&one, &two]);
        config.pool[0].balance = Balance::HashRecipient;
        let backends = build(&config);
        let (pools, pool) = pools(&backends).await;
        let mut users = [0, 0];
        for n in 0..40 {
            let key = format!("user{n}@example.net");
            let mut place = None;
            for _ in 0..3 {
                let lease = pools
                    .lease(pool, key.as_bytes(), &[], soon())
                    .await
                    .unwrap();
                let id = lease.backend().id;
                assert_eq!(*place.get_or_insert(id), id);
                lease.give_back();
            }
            users[usize::from(place != Some(backends.pool(pool).unwrap().backends[0].id))] += 1;
        }
        assert!(users[0] > 5 && users[1] > 5, "{users:?}");

        config.pool[0].balance = Balance::FirstAvailable;
        config.pool[0].connections = 1;
        let next = Arc::new(Backends::build(&config, Some(&backends)).unwrap());
        next.put_in_force();
        pools.replace(next);
        let first = pools.lease(pool, b"", &[], soon()).await.unwrap();
        let second = pools.lease(pool, b"", &[], soon()).await.unwrap();
        assert_eq!(first.backend().address(), one.address);
        assert_eq!(second.backend().address(), two.address, "the first is full");
    });
}
