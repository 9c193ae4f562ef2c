//! Failing backends: left out, worked around, brought back.

use super::*;
use std::sync::atomic::Ordering::SeqCst;

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
fn a_421_under_way_has_the_backend_asked_and_that_ejects() {
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
        // It says 421 to the question about its postmaster too.
        until(|| !view(&backends, &bad).up).await;
        let change = backends.changes().latest().pop().unwrap();
        assert!(change.to_string().contains("421"), "{change}");
        let avoid = [broken.backend];
        let again = pools.lease(pool, b"", &avoid, soon()).await.unwrap();
        assert_eq!(again.backend().address(), good.address);
    });
}

#[test]
fn a_suspected_backend_is_asked_though_it_greets_each_connection() {
    on_each_engine(|| async {
        let peer = Peer::with(Mode::Refusing);
        let backends = build(&config(&[&peer]));
        let (pools, pool) = pools(&backends).await;
        let mut lease = pools.lease(pool, b"", &[], soon()).await.unwrap();
        carry(&mut lease).await.unwrap_err();
        // Greeted before any worker has looked which backends are due.
        drop(pools.lease_fresh(pool, b"", &[], soon()).await.unwrap());
        drop(lease);
        until(|| !view(&backends, &peer).up).await;
    });
}

#[test]
fn a_suspected_backend_is_asked_though_messages_wait_for_all_its_connections() {
    on_each_engine(|| async {
        let peer = Peer::with(Mode::Refusing);
        let mut config = config(&[&peer]);
        config.pool[0].connections = 1;
        let backends = build(&config);
        let (pools, pool) = pools(&backends).await;
        let is_over = Rc::new(std::cell::Cell::new(false));
        for _ in 0..3 {
            let (pools, is_over) = (Rc::clone(&pools), Rc::clone(&is_over));
            net::spawn(async move {
                while !is_over.get() {
                    let mut lease = pools.lease(pool, b"", &[], soon()).await.unwrap();
                    carry(&mut lease).await.unwrap_err();
                    // The others wait for it meanwhile.
                    net::sleep(Duration::from_millis(20)).await;
                }
            });
        }
        until(|| !backends.changes().latest().is_empty()).await;
        is_over.set(true);
        let change = backends.changes().latest().remove(0);
        assert!(change.to_string().contains("421"), "{change}");
        assert_eq!(peer.seen().open_max.load(SeqCst), 1);
    });
}

#[test]
fn trouble_over_one_message_of_a_backend_that_has_done_nothing_else_leaves_it_in() {
    on_each_engine(|| async {
        let peer = Peer::with(Mode::Odd);
        let backends = build(&config(&[&peer]));
        let (pools, pool) = pools(&backends).await;
        for _ in 0..3 {
            let asked = peer.seen().recipients.lock().unwrap().len();
            let mut lease = pools.lease(pool, b"", &[], soon()).await.unwrap();
            let odd = envelope(&["odd@example.net"]);
            lease.open(&odd, To::All, Load::default()).unwrap();
            let broken = loop {
                if let Err(broken) = lease.next().await {
                    break broken;
                }
            };
            assert_eq!(broken.trouble, Trouble::Unavailable);
            drop(lease);
            // It is asked about its postmaster, and answers.
            until(|| peer.seen().recipients.lock().unwrap().len() == asked + 1).await;
            until(|| peer.open() == 0).await;
            assert!(view(&backends, &peer).up);
        }
        assert_eq!(*peer.seen().recipients.lock().unwrap(), ["postmaster"; 3]);
        assert_eq!(count(&pools, Counter::HealthDown, &peer), 0);
        // In its greeting it is about the backend.
        peer.set(Mode::Unavailable);
        pools.lease_fresh(pool, b"", &[], soon()).await.unwrap_err();
        assert!(!view(&backends, &peer).up);
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
            let eligible = pool.eligible(&[], Needs::default(), now());
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
        assert_eq!(usable(), [0, 1], "half of them, where all have failed");
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
fn what_is_announced_is_what_the_backends_can_take() {
    on_each_engine(|| async {
        use crate::smtp::Extensions;
        let (one, two) = (Peer::new(), Peer::new());
        one.offer(&[
            "8BITMIME",
            "SMTPUTF8",
            "DSN",
            "SIZE 5000",
            "LIMITS RCPTMAX=7",
        ]);
        two.offer(&["8BITMIME", "CHUNKING", "SIZE 3000", "LIMITS RCPTMAX=9"]);
        let backends = build(&config(&[&one, &two]));
        // None was reached yet: the usual, and no limit.
        let unknown = backends.announced();
        let usual = Extensions::EIGHTBITMIME | Extensions::SMTPUTF8;
        assert_eq!(unknown.extensions, usual);
        assert_eq!((unknown.size_max, unknown.recipients_max), (0, 0));
        let (pools, pool) = pools(&backends).await;
        let known = backends.announced();
        // One of them takes what the other doesn't; each must be able to take what senders could convert.
        assert_eq!(known.extensions, usual);
        assert_eq!((known.size_max, known.recipients_max), (5000, 7));
        let all = backends.pool(pool).unwrap();
        let needs = |size, extensions| Needs {
            size,
            extensions,
            ..Needs::default()
        };
        let able = |needs| {
            let eligible = all.eligible(&[], needs, now());
            (0..2).filter(|i| eligible.has(*i)).collect::<Vec<_>>()
        };
        assert_eq!(able(needs(3000, Extensions::NONE)), [0, 1]);
        assert_eq!(able(needs(3001, Extensions::NONE)), [0]);
        assert_eq!(able(needs(100, Extensions::SMTPUTF8)), [0]);
        assert!(!all.lacks(needs(5000, Extensions::SMTPUTF8)));
        assert!(all.lacks(needs(5001, Extensions::NONE)));
        // The backend has been upgraded: known from the next connection on.
        two.offer(&["8BITMIME", "SMTPUTF8", "DSN", "SIZE 9000"]);
        let avoid = [all.backends[0].id];
        drop(pools.lease(pool, b"", &avoid, soon()).await.unwrap());
        let known = backends.announced();
        assert_eq!(known.extensions, usual | Extensions::DSN);
        assert_eq!((known.size_max, known.recipients_max), (9000, 7));
    });
}

#[test]
fn a_limit_on_recipients_that_is_not_announced_is_learned() {
    on_each_engine(|| async {
        let peer = Peer::with(Mode::OneRecipient);
        let backends = build(&config(&[&peer]));
        let (pools, pool) = pools(&backends).await;
        let limit = |of| backends.pool(pool).unwrap().recipients_max(of, now());
        let two = envelope(&["joe@example.net", "jim@example.net"]);
        let source = MessageSource::new(None, two.sender().whole);
        assert!(source.is_some());
        assert_eq!(limit(source), 0);
        let mut lease = pools.lease(pool, b"", &[], soon()).await.unwrap();
        lease.open(&two, To::All, Load::default()).unwrap();
        while lease.next().await.unwrap() != Event::Go {}
        lease.abandon();
        assert_eq!(limit(source), 1);
        // The refusal may have been about that message alone.
        assert_eq!(limit(None), 0);
        assert_eq!(backends.announced().recipients_max, 0);
    });
}

#[test]
fn one_that_fails_its_messages_while_the_others_take_theirs_is_left_out() {
    on_each_engine(|| async {
        let peers = [Peer::new(), Peer::new(), Peer::with(Mode::Defers)];
        let config = config(&peers.iter().collect::<Vec<_>>());
        let backends = build(&config);
        let (pools, pool) = pools(&backends).await;
        let bad = &peers[2];
        let mut deferred = 0;
        for _ in 0..60 {
            let mut lease = pools.lease(pool, b"", &[], soon()).await.unwrap();
            deferred += usize::from(!carry(&mut lease).await.unwrap().is_positive());
            lease.give_back();
        }
        assert!((5..20).contains(&deferred), "{deferred}");
        assert_eq!(peers[0].messages() + peers[1].messages() + deferred, 60);
        assert!(!view(&backends, bad).up);
        let change = backends.changes().latest().pop().unwrap();
        assert_eq!(change.ejected, Some(Trouble::Outlier));
        assert!(change.to_string().contains(" of "), "{change}");
        // It greets well, and that doesn't bring it back.
        net::sleep(Duration::from_millis(700)).await;
        assert!(!view(&backends, bad).up);
    });
}

#[test]
fn what_all_of_them_put_off_leaves_none_out() {
    on_each_engine(|| async {
        let peers = [Peer::with(Mode::Defers), Peer::with(Mode::Defers)];
        let backends = build(&config(&[&peers[0], &peers[1]]));
        let (pools, pool) = pools(&backends).await;
        for _ in 0..40 {
            let mut lease = pools.lease(pool, b"", &[], soon()).await.unwrap();
            assert_eq!(carry(&mut lease).await.unwrap().code, 451);
            lease.give_back();
        }
        assert!(peers.iter().all(|peer| view(&backends, peer).up));
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
        let next = Arc::new(Backends::build(&config, Some(&backends), &Names::default()).unwrap());
        next.put_in_force();
        pools.replace(next);
        let first = pools.lease(pool, b"", &[], soon()).await.unwrap();
        let second = pools.lease(pool, b"", &[], soon()).await.unwrap();
        assert_eq!(first.backend().address(), one.address);
        assert_eq!(second.backend().address(), two.address, "the first is full");
    });
}
