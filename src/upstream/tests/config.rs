//! Building from a configuration, and a reload.

use super::*;
use crate::{
    config::{Backend as BackendConfig, Balance, WeightedBackend},
    smtp::Extensions,
};

#[test]
fn every_address_of_a_name_is_a_backend_and_errors_name_the_key() {
    let peer = Peer::new();
    let mut config = config(&[&peer, &peer]);
    let backends = build(&config);
    assert_eq!(backends.view(now()).len(), 1, "named twice, one backend");

    config.pool[0].backends = vec![
        BackendConfig::Weighted(WeightedBackend {
            address: "LocalHost:2525".into(),
            weight: 3,
        }),
        BackendConfig::Address("no.such.name.invalid:25".into()),
        BackendConfig::Address("127.0.0.1".into()),
    ];
    config.route.push(RouteConfig {
        domains: vec!["EXAMPLE.net".into()],
        pool: "cluster".into(),
        ..Default::default()
    });
    config.route.push(RouteConfig {
        domains: vec!["*".into()],
        pool: "nowhere".into(),
        ..Default::default()
    });
    let errors = Backends::build(&config, None, &Names::default()).unwrap_err();
    let keys: Vec<&str> = errors.iter().map(|e| &*e.key).collect();
    assert_eq!(
        keys,
        [
            "pool[0].backends[2]",
            "route[1].domains[0]",
            "route[2].pool"
        ]
    );

    config.pool[0].backends.truncate(1);
    config.route.truncate(1);
    config.pool[0]
        .backends
        .push(BackendConfig::Address("[::1]:25".into()));
    let built = Backends::build(&config, None, &Names::default()).unwrap();
    assert_eq!(
        built.view(now()).len(),
        1,
        "a name without an address is down"
    );
    let unresolved = &built.pools().next().unwrap().unresolved[0];
    assert_eq!(
        (&*unresolved.address, unresolved.weight),
        ("LocalHost:2525", 3)
    );

    let named = Named {
        addresses: vec![[127, 0, 0, 1].into(), [127, 0, 0, 2].into()],
        ..Named::default()
    };
    let names = Names::from([("localhost".into(), named)]);
    let next = Backends::build(&config, Some(&built), &names).unwrap();
    let views = next.view(now());
    let shown = |i: usize| (views[i].address.to_string(), views[i].weight);
    assert_eq!(shown(0), ("127.0.0.1:2525".into(), 3));
    assert_eq!(shown(1), ("127.0.0.2:2525".into(), 3));
    let ids = |backends: &Backends| -> Vec<BackendId> {
        let pool = backends.pools().next().unwrap();
        pool.backends.iter().map(|b| b.id).collect()
    };
    assert_eq!(ids(&next)[2], ids(&built)[0], "what stays keeps its state");
}

#[test]
fn the_hosts_of_a_service_are_backends_in_tiers() {
    const SERVICE: &str = "srv:_smtp._tcp.Example.net";
    let mut config = config(&[]);
    config.pool[0].backends = [SERVICE, "192.0.2.9:25"]
        .map(|text| BackendConfig::Address(text.into()))
        .into();
    let host = |last| Named {
        addresses: vec![[192, 0, 2, last].into()],
        ..Named::default()
    };
    let target = |host: &str, weight, tier| ServiceTarget {
        host: host.into(),
        port: 2525,
        weight,
        tier,
    };
    let service = Named {
        targets: vec![
            target("a.example", 60, 0),
            target("c.example", 2, 0),
            target("b.example", 1, 1),
        ],
        ..Named::default()
    };
    let names = Names::from([
        (SERVICE.to_ascii_lowercase(), service),
        ("a.example".into(), host(1)),
        ("b.example".into(), host(2)),
    ]);
    let built = Backends::build(&config, None, &names).unwrap();
    let views = built.view(now()).into_iter();
    let shown: Vec<String> = views
        .map(|v| format!("{} {}", v.address, v.weight))
        .collect();
    assert_eq!(
        shown,
        ["192.0.2.1:2525 60", "192.0.2.9:25 1", "192.0.2.2:2525 1"]
    );
    let pool = built.pools().next().unwrap();
    assert_eq!(&*pool.tiers, [0, 0, 1]);
    assert_eq!(pool.unresolved[0].address, "c.example:2525");
}

#[test]
fn a_pool_whose_names_have_no_address_is_down_and_refuses_nothing_for_good() {
    on_each_engine(|| async {
        for balance in [
            Balance::LeastLoaded,
            Balance::FirstAvailable,
            Balance::HashRecipient,
        ] {
            let mut config = config(&[]);
            config.pool[0].balance = balance;
            config.pool[0].backends = vec![BackendConfig::Address("mta.example:25".into())];
            let backends = build(&config);
            let (pools, pool) = pools(&backends).await;
            let error = pools.lease(pool, b"a@b", &[], soon()).await.unwrap_err();
            assert_eq!(error, LeaseError::Down(None));
            // It may take anything once it is found.
            let needs = Needs {
                size: 1 << 40,
                extensions: Extensions::SMTPUTF8,
                ..Needs::default()
            };
            assert!(!pools.lacks(pool, needs) && !pools.lacks(pool, Needs::default()));
            let announced = backends.announced();
            assert!(announced.extensions.has(Extensions::SMTPUTF8));
            assert_eq!((announced.size_max, announced.recipients_max), (0, 0));
        }
    });
}

#[test]
fn a_backend_whose_name_has_no_address_may_take_what_the_others_cannot() {
    on_each_engine(|| async {
        let peer = Peer::new();
        peer.offer(&["8BITMIME", "SIZE 5000"]);
        let mut config = config(&[&peer]);
        let late = BackendConfig::Address("mta.example:25".into());
        config.pool[0].backends.push(late);
        let backends = build(&config);
        let (pools, pool) = pools(&backends).await;
        let large = Needs {
            size: 5001,
            ..Needs::default()
        };
        assert!(!pools.lacks(pool, large));
        let announced = backends.announced();
        assert!(announced.extensions.has(Extensions::SMTPUTF8));
        assert_eq!(announced.size_max, 0);
    });
}

#[test]
fn a_reload_keeps_what_is_unchanged_and_closes_what_is_gone() {
    on_each_engine(|| async {
        let (stays, goes, comes) = (Peer::new(), Peer::new(), Peer::new());
        let before = config(&[&stays, &goes]);
        let backends = build(&before);
        let (pools, pool) = pools(&backends).await;
        let ids: Vec<BackendId> = backends
            .pool(pool)
            .unwrap()
            .backends
            .iter()
            .map(|b| b.id)
            .collect();
        let mut leases = [
            pools.lease(pool, b"", &ids[1..], soon()).await.unwrap(),
            pools.lease(pool, b"", &ids[..1], soon()).await.unwrap(),
            pools.lease(pool, b"", &ids[1..], soon()).await.unwrap(),
            pools.lease(pool, b"", &ids[..1], soon()).await.unwrap(),
        ]
        .map(Some);
        leases[0].take().unwrap().give_back();
        leases[1].take().unwrap().give_back();
        assert_eq!(pools.idle(), 2);

        let mut after = config(&[&stays, &comes]);
        after.pool[0].connections = 5;
        after.pool.insert(
            0,
            crate::config::Pool {
                name: "other".into(),
                ..after.pool[0].clone()
            },
        );
        let next = Arc::new(Backends::build(&after, Some(&backends), &Names::default()).unwrap());
        assert_eq!(
            next.pool_named("cluster"),
            Some(pool),
            "its number is its name's"
        );
        let limit = |backends: &Backends| backends.pool(pool).unwrap().backends[0].budget.limit();
        assert_ne!(limit(&backends), 5, "it may yet be refused");
        next.put_in_force();
        pools.replace(Arc::clone(&next));
        assert_eq!(pools.idle(), 1);
        let kept = &next.pool(pool).unwrap().backends[0];
        assert_eq!((kept.id, kept.budget.limit()), (ids[0], 5));

        // What was under way finishes; then one is pooled and the other closed.
        for lease in leases.iter_mut().skip(2) {
            let mut lease = lease.take().unwrap();
            assert_eq!(carry(&mut lease).await.unwrap().code, 250);
            lease.give_back();
        }
        assert_eq!(pools.idle(), 2);
        until(|| goes.open() == 0).await;
        assert_eq!(goes.quits(), goes.connections());
        until(|| next.is_surveyed()).await;

        after.pool.truncate(1);
        after.route.clear();
        pools.replace(Arc::new(
            Backends::build(&after, Some(&next), &Names::default()).unwrap(),
        ));
        let error = pools.lease(pool, b"", &[], soon()).await.unwrap_err();
        assert_eq!(error, LeaseError::NoPool);
        assert_eq!(pools.idle(), 0);
    });
}
