//! The budget over several workers, and who waits for it.

use super::*;
use std::sync::{
    Barrier,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

#[test]
// INV-BUDGET
fn two_workers_share_a_budget_exactly() {
    for engine in engines() {
        let peer = Arc::new(Peer::new());
        let mut config = config(&[&peer]);
        config.pool[0].connections = 3;
        config.pool[0].messages = 7;
        let backends = build(&config);
        let delivered = Arc::new(AtomicUsize::new(0));
        let workers = [0, 1].map(|worker| {
            let (backends, delivered) = (Arc::clone(&backends), Arc::clone(&delivered));
            Worker::start(engine, move || async move {
                let pools = Pools::new(Arc::clone(&backends), Recorder::alone(), worker);
                let pool = backends.pool_named("cluster").unwrap();
                let mine = Rc::new(RefCell::new(0));
                for _ in 0..10 {
                    let (pools, delivered) = (Rc::clone(&pools), Arc::clone(&delivered));
                    let mine = Rc::clone(&mine);
                    net::spawn(async move {
                        for _ in 0..20 {
                            deliver(&pools, pool).await;
                            delivered.fetch_add(1, SeqCst);
                        }
                        *mine.borrow_mut() += 1;
                    });
                }
                until(|| *mine.borrow() == 10).await;
            })
        });
        workers.into_iter().for_each(Worker::join);
        assert_eq!(delivered.load(SeqCst), 400);
        assert_eq!(peer.messages(), 400);
        // A connection that we have closed may be open for the peer's thread a moment longer, so the
        // peer's count is no exact measure; ours is.
        let view = &backends.view(now())[0];
        assert_eq!((view.connections, view.leases, view.idle), (0, 0, 0));
    }
}

#[test]
fn never_more_connections_than_the_budget() {
    on_each_engine(|| async {
        let peer = Peer::new();
        let mut config = config(&[&peer]);
        config.pool[0].connections = 2;
        let backends = build(&config);
        let (pools, pool) = pools(&backends).await;
        let held = [
            pools.lease(pool, b"", &[], soon()).await.unwrap(),
            pools.lease(pool, b"", &[], soon()).await.unwrap(),
        ];
        let brief = now().after(Duration::from_millis(50));
        let error = pools.lease(pool, b"", &[], brief).await.unwrap_err();
        assert_eq!(error, LeaseError::Timeout);
        assert_eq!(backends.view(now())[0].connections, 2);
        let waiting = Rc::new(RefCell::new(Vec::new()));
        for n in 0..3 {
            let (pools, waiting) = (Rc::clone(&pools), Rc::clone(&waiting));
            net::spawn(async move {
                let lease = pools.lease(pool, b"", &[], soon()).await.unwrap();
                waiting.borrow_mut().push(n);
                lease.give_back();
            });
            net::sleep(Duration::from_millis(5)).await;
        }
        let [one, other] = held;
        // A connection that is closed frees its permit, one that is given back is handed on.
        drop(one);
        until(|| waiting.borrow().len() == 3).await;
        assert_eq!(*waiting.borrow(), [0, 1, 2], "first come, first served");
        other.give_back();
        assert_eq!(pools.idle(), 2);
    });
}

#[test]
fn idle_connections_go_to_the_worker_that_needs_them() {
    for engine in engines() {
        let peer = Arc::new(Peer::new());
        let mut config = config(&[&peer]);
        config.pool[0].connections = 2;
        let backends = build(&config);
        let barrier = Arc::new(Barrier::new(2));
        let (done, wait) = mpsc::channel();
        let (theirs, meet) = (Arc::clone(&backends), Arc::clone(&barrier));
        let hoarder = Worker::start(engine, move || async move {
            let (pools, pool) = pools(&theirs).await;
            let both = [
                pools.lease(pool, b"", &[], soon()).await.unwrap(),
                pools.lease(pool, b"", &[], soon()).await.unwrap(),
            ];
            both.into_iter().for_each(Lease::give_back);
            assert_eq!(pools.idle(), 2);
            meet.wait();
            until(|| pools.idle() == 1).await;
            until(|| wait.try_recv().is_ok()).await;
        });
        let (theirs, meet) = (Arc::clone(&backends), Arc::clone(&barrier));
        let needy = Worker::start(engine, move || async move {
            let pools = Pools::new(Arc::clone(&theirs), Recorder::alone(), 1);
            let pool = theirs.pool_named("cluster").unwrap();
            meet.wait();
            let mut lease = pools.lease(pool, b"", &[], soon()).await.unwrap();
            assert!(lease.is_reused());
            assert_eq!(carry(&mut lease).await.unwrap().code, 250);
            lease.give_back();
            assert_eq!(pools.idle(), 1);
            assert_eq!(theirs.view(now())[0].connections, 2);
            // It is ours now, and a fresh one is to be had all the same.
            let fresh = pools.lease_fresh(pool, b"", &[], soon()).await.unwrap();
            assert!(!fresh.is_reused());
            done.send(()).unwrap();
        });
        needy.join();
        hoarder.join();
        assert_eq!(peer.messages(), 1);
    }
}

#[test]
fn who_gives_up_waiting_loses_nothing_for_the_others() {
    on_each_engine(|| async {
        let peer = Peer::new();
        let mut config = config(&[&peer]);
        config.pool[0].connections = 1;
        let backends = build(&config);
        let (pools, pool) = pools(&backends).await;
        for round in 0..20 {
            let held = pools.lease(pool, b"", &[], soon()).await.unwrap();
            let over = Rc::new(RefCell::new(0));
            for n in 0..6u64 {
                let (pools, over) = (Rc::clone(&pools), Rc::clone(&over));
                net::spawn(async move {
                    let deadline = now().after(Duration::from_micros(700 * (n + 1)));
                    if let Ok(lease) = pools.lease(pool, b"", &[], deadline).await {
                        lease.give_back();
                    }
                    *over.borrow_mut() += 1;
                });
            }
            net::sleep(Duration::from_millis(round % 5)).await;
            held.give_back();
            until(|| *over.borrow() == 6).await;
            let lease = pools.lease(pool, b"", &[], soon()).await.unwrap();
            lease.give_back();
        }
        let view = &backends.view(now())[0];
        assert_eq!((view.leases, view.connections as usize), (0, pools.idle()));
    });
}
