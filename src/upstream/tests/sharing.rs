//! Messages that wait for their client's share of the connections.

use super::{
    super::pooling::shares::{Purpose, Share},
    *,
};
use std::{future::poll_fn, iter, pin::pin, task::Poll};

const CLIENT: u128 = 7;

fn request(pool: PoolId) -> Request<'static> {
    Request {
        pool,
        key: b"",
        origin: None,
        client: Some(CLIENT),
        needs: Needs::default(),
        deadline: soon(),
    }
}

/// All that the client may have.
async fn whole_share(pools: &Pools, pool: PoolId) -> Vec<Share> {
    let mut taken = Vec::new();
    while let Ok(share) = pools.share(pool, CLIENT, Purpose::Message, now()).await {
        taken.push(share);
    }
    taken
}

#[test]
fn a_message_that_waits_for_its_share_goes_to_the_backends_of_a_reload() {
    on_each_engine(|| async {
        let (goes, comes) = (Peer::new(), Peer::new());
        let backends = build(&config(&[&goes]));
        let (pools, pool) = pools(&backends).await;
        let taken = whole_share(&pools, pool).await;
        let (request, mut tried) = (request(pool), Tried::default());
        let mut acquiring = pin!(pools.acquire(&request, &mut tried));
        let waits = poll_fn(|context| Poll::Ready(acquiring.as_mut().poll(context).is_pending()));
        assert!(waits.await);
        let after = config(&[&comes]);
        let next = Arc::new(Backends::build(&after, Some(&backends), &Names::default()).unwrap());
        next.put_in_force();
        pools.replace(next);
        drop(taken);
        let lease = acquiring.await.unwrap();
        assert_eq!(lease.backend().address(), comes.address);
    });
}

#[test]
fn a_pool_that_is_shared_out_stays_so_in_an_outage() {
    on_each_engine(|| async {
        let (well, gone) = (Peer::new(), Peer::new());
        let mut config = config(&[&well, &gone]);
        config.pool[0].connections = 10;
        let backends = build(&config);
        let (pools, pool) = pools(&backends).await;
        let all = &backends.pool(pool).unwrap().backends;
        let gone = all.iter().find(|b| b.address() == gone.address).unwrap();
        gone.health
            .leave_out(now(), now().after(Duration::from_secs(60)));
        assert!(whole_share(&pools, pool).await.len() < 5);
    });
}

#[test]
fn a_message_that_can_not_even_wait_for_its_share_is_counted() {
    on_each_engine(|| async {
        let peer = Peer::new();
        let backends = build(&config(&[&peer]));
        let (pools, pool) = pools(&backends).await;
        let _taken = whole_share(&pools, pool).await;
        let shares = Arc::clone(&backends.pool(pool).unwrap().shares);
        let _line: Vec<_> = iter::from_fn(|| shares.wait(8, Purpose::Message)).collect();
        let error = pools.acquire(&request(pool), &mut Tried::default()).await;
        assert_eq!(error.unwrap_err(), LeaseError::Busy);
        let registry = pools.recorder.registry();
        let counted = registry.counter(Counter::LeaseBusy, registry.pool("cluster"));
        assert_eq!(counted, 1);
    });
}
