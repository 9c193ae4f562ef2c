//! Building from a configuration, and a reload.

use super::*;
use crate::config::{Backend as BackendConfig, WeightedBackend};

#[test]
fn every_address_of_a_name_is_a_backend_and_errors_name_the_key() {
    let peer = Peer::new();
    let mut config = config(&[&peer, &peer]);
    let backends = build(&config);
    assert_eq!(backends.view(now()).len(), 1, "named twice, one backend");

    config.pool[0].backends = vec![
        BackendConfig::Weighted(WeightedBackend {
            address: "localhost:2525".into(),
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
    let errors = Backends::build(&config, None).unwrap_err();
    let keys: Vec<&str> = errors.iter().map(|e| &*e.key).collect();
    assert_eq!(
        keys,
        [
            "pool[0].backends[1]",
            "pool[0].backends[2]",
            "route[1].domains[0]",
            "route[2].pool"
        ]
    );

    config.pool[0].backends.truncate(1);
    config.route.truncate(1);
    let views = build(&config).view(now());
    assert!(
        !views.is_empty()
            && views
                .iter()
                .all(|v| v.weight == 3 && v.address.port() == 2525)
    );
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
        let next = Arc::new(Backends::build(&after, Some(&backends)).unwrap());
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
        pools.replace(Arc::new(Backends::build(&after, Some(&next)).unwrap()));
        let error = pools.lease(pool, b"", &[], soon()).await.unwrap_err();
        assert_eq!(error, LeaseError::NoPool);
        assert_eq!(pools.idle(), 0);
    });
}
