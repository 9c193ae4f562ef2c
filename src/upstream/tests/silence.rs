//! Backends that hang: next to no mail goes to them, long before the limits of what is waited for.

use super::*;
use crate::config::Balance;
use std::cell::Cell;

/// Messages, each with a task of its own.
struct Mail {
    pools: Rc<Pools>,
    pool: PoolId,
    key: String,
    backends: Vec<Arc<Backend>>,
    sent: Cell<u32>,
    taken: Rc<Cell<u32>>,
}

impl Mail {
    async fn new(backends: &Arc<Backends>) -> Mail {
        let (pools, pool) = pools(backends).await;
        Mail {
            backends: backends.pool(pool).unwrap().backends.clone(),
            pools,
            pool,
            key: "joe@example.net".into(),
            sent: Cell::default(),
            taken: Rc::default(),
        }
    }

    /// Messages that hang, or are to: those at the first backends.
    fn hanging(&self, backends: usize) -> u32 {
        self.backends[..backends].iter().map(|b| b.load()).sum()
    }

    /// Sends one, until it is taken or hangs at one of the first backends.
    async fn send(&self, hanging: usize) {
        self.spawn();
        self.sent.set(self.sent.get() + 1);
        until(|| self.taken.get() + self.hanging(hanging) == self.sent.get()).await;
    }

    fn spawn(&self) {
        let (pools, pool, taken) = (Rc::clone(&self.pools), self.pool, Rc::clone(&self.taken));
        let key = self.key.clone();
        net::spawn(async move {
            let lease = pools.lease(pool, key.as_bytes(), &[], soon()).await;
            // Those that hang end with the test.
            let Ok(mut lease) = lease else { return };
            if carry(&mut lease).await.is_ok() {
                lease.give_back();
                taken.set(taken.get() + 1);
            }
        });
    }

    /// The backend hangs at the end of data: a long time passes for it.
    async fn until_silent(&self, place: usize) {
        let silence = &self.backends[place].silence;
        until(|| silence.age(Duration::from_secs(20))).await;
        silence.prolong_trials();
    }

    /// Takes a key whose messages go to this backend.
    async fn aim_at(&mut self, place: usize) {
        for n in 0.. {
            self.key = format!("user{n}@example.net");
            let lease = self
                .pools
                .lease(self.pool, self.key.as_bytes(), &[], soon());
            let lease = lease.await.unwrap();
            let id = lease.backend().id;
            lease.give_back();
            if id == self.backends[place].id {
                return;
            }
        }
    }
}

#[test]
fn one_that_hangs_keeps_its_load_and_gets_no_more() {
    on_each_engine(|| async {
        for mode in [Mode::HangsAtEnd, Mode::Silent] {
            for others in [1, 2] {
                let ill = Peer::new();
                let well: Vec<Peer> = (0..others).map(|_| Peer::new()).collect();
                let peers: Vec<&Peer> = [&ill].into_iter().chain(&well).collect();
                let mail = Mail::new(&build(&config(&peers))).await;
                ill.set(mode);
                for _ in 0..60 {
                    mail.send(1).await;
                }
                // Also while its connection is being opened.
                assert_eq!(mail.hanging(1), 1, "{mode:?}, {others} others");
            }
        }
    });
}

#[test]
fn one_that_falls_silent_gets_one_message_at_a_time_until_one_is_taken() {
    on_each_engine(|| async {
        for balance in [Balance::FirstAvailable, Balance::HashRecipient] {
            let (ill, well) = (Peer::new(), Peer::new());
            let mut config = config(&[&ill, &well]);
            config.pool[0].balance = balance;
            let mut mail = Mail::new(&build(&config)).await;
            mail.aim_at(0).await;
            ill.hold(true);
            mail.send(1).await;
            mail.until_silent(0).await;
            for _ in 0..10 {
                mail.send(1).await;
            }
            assert_eq!((mail.hanging(1), well.messages()), (2, 9), "{balance:?}");
            // It was asked whether it works, and was not left out.
            assert!(!mail.backends[0].health.is_ejected());
            ill.hold(false);
            until(|| mail.taken.get() == 11).await;
            mail.send(1).await;
            assert_eq!((ill.messages(), well.messages()), (3, 9), "{balance:?}");
        }
    });
}

#[test]
fn one_whose_connections_all_hang_is_not_waited_for() {
    on_each_engine(|| async {
        let (ill, well) = (Peer::new(), Peer::new());
        let mut config = config(&[&ill, &well]);
        config.pool[0].balance = Balance::HashRecipient;
        config.pool[0].connections = 1;
        let mut mail = Mail::new(&build(&config)).await;
        mail.aim_at(0).await;
        ill.hold(true);
        mail.send(1).await;
        mail.until_silent(0).await;
        for _ in 0..3 {
            mail.send(1).await;
        }
        assert_eq!((mail.hanging(1), well.messages()), (1, 3));
        ill.hold(false);
        until(|| mail.taken.get() == 4).await;
    });
}

#[test]
fn connections_from_the_queue_obey_the_trial() {
    on_each_engine(|| async {
        let (ill, well) = (Peer::new(), Peer::new());
        let mut config = config(&[&ill, &well]);
        config.pool[0].balance = Balance::HashRecipient;
        config.pool[0].connections = 2;
        let mut mail = Mail::new(&build(&config)).await;
        mail.aim_at(0).await;
        let key = mail.key.clone();
        let lease = || mail.pools.lease(mail.pool, key.as_bytes(), &[], soon());
        let (one, two) = (lease().await.unwrap(), lease().await.unwrap());
        let backend = &mail.backends[0];
        for _ in 0..3 {
            mail.spawn();
        }
        until(|| backend.has_waiters()).await;
        ill.hold(true);
        let _hung = backend.silence.wait(now(), true);
        mail.until_silent(0).await;
        one.give_back();
        two.give_back();
        until(|| mail.taken.get() == 2 && mail.hanging(1) == 1).await;
        assert_eq!(well.messages(), 2);
        ill.hold(false);
        until(|| mail.taken.get() == 3).await;
    });
}

#[test]
fn a_slow_one_keeps_its_mail_where_the_other_is_a_stand_by() {
    let (first, other) = (Peer::new(), Peer::new());
    for (balance, silent_at) in [
        (Balance::LeastLoaded, 2),
        (Balance::FirstAvailable, 10),
        (Balance::HashRecipient, 10),
    ] {
        let mut config = config(&[&first, &other]);
        config.pool[0].balance = balance;
        let backends = build(&config);
        let pool = backends.pools().next().unwrap();
        let begun = now();
        let silence = &pool.backends[0].silence;
        let _slow = silence.wait(begun, true);
        silence.prolong_trials();
        let _trial = silence.try_it(begun).unwrap();
        let has = |secs| {
            let at = begun.after(Duration::from_secs(secs));
            pool.eligible(&[], Needs::default(), at).has(0)
        };
        assert!(has(silent_at - 1) && !has(silent_at), "{balance:?}");
    }
}

#[test]
fn one_that_hangs_over_the_envelope_of_a_body_that_went_ahead_is_waited_for_as_for_a_command() {
    on_each_engine(|| async {
        let ill = Peer::with(Mode::HangsAtRecipient);
        ill.offer(&["PIPELINING", "CHUNKING"]);
        let mut config = config(&[&ill]);
        // Longer than this test may take.
        config.timeouts.commit = Time::secs(600);
        config.timeouts.backend = Time::millis(200);
        let (pools, pool) = pools(&build(&config)).await;
        let lease = pools.lease(pool, b"joe@example.net", &[], soon()).await;
        let mut lease = lease.unwrap();
        let broken = carry(&mut lease).await.unwrap_err();
        assert_eq!(broken.trouble, Trouble::Timeout);
        assert!(broken.uncertain, "the whole message may lie there");
    });
}

#[test]
fn where_all_are_silent_each_is_used() {
    on_each_engine(|| async {
        let (one, two) = (Peer::new(), Peer::new());
        let mail = Mail::new(&build(&config(&[&one, &two]))).await;
        one.hold(true);
        two.hold(true);
        for _ in 0..2 {
            mail.send(2).await;
        }
        mail.until_silent(0).await;
        mail.until_silent(1).await;
        for _ in 0..4 {
            mail.send(2).await;
        }
        assert_eq!(mail.hanging(2), 6);
        one.hold(false);
        two.hold(false);
        until(|| mail.taken.get() == 6).await;
    });
}

#[test]
fn one_that_does_not_greet_is_asked_and_left_out_long_before_its_time_is_over() {
    on_each_engine(|| async {
        let (ill, well) = (Peer::new(), Peer::new());
        let mut config = config(&[&ill, &well]);
        config.pool[0].balance = Balance::FirstAvailable;
        config.pool[0].health.timeout = Time::millis(200);
        config.timeouts.connect = Time::secs(300);
        let mail = Mail::new(&build(&config)).await;
        ill.set(Mode::Silent);
        mail.send(1).await;
        until(|| mail.backends[0].health.is_ejected()).await;
        mail.send(1).await;
        assert_eq!(well.messages(), 1);
    });
}

#[test]
fn what_a_long_wait_came_to_is_noted_when_it_ends() {
    on_each_engine(|| async {
        let (ill, well) = (Peer::with(Mode::HangsAtEnd), Peer::new());
        let mut config = config(&[&ill, &well]);
        config.pool[0].balance = Balance::FirstAvailable;
        config.timeouts.commit = Time::millis(60_100);
        let backends = build(&config);
        let (pools, pool) = pools(&backends).await;
        let all = backends.pool(pool).unwrap();
        let [bad, good] = [0, 1].map(|place| &all.backends[place]);
        for _ in 0..6 {
            let lease = pools.lease(pool, b"", &[bad.id], soon()).await;
            let mut lease = lease.unwrap();
            carry(&mut lease).await.unwrap();
            lease.give_back();
        }
        for _ in 0..5 {
            let lease = pools.lease(pool, b"", &[good.id], soon()).await;
            let mut lease = lease.unwrap();
            let envelope = envelope(&["joe@example.net"]);
            lease.open(&envelope, To::All, Load::default()).unwrap();
            while lease.next().await.unwrap() != Event::Go {}
            lease.body(&[b"x\r\n"], true);
            // As after a wait of a minute, longer than what is counted and than the time for which it is left out.
            let began = Tick(now().0 - 60_000_000);
            lease.conn_mut().now = began;
            let broken = lease.next().await.unwrap_err();
            assert!(broken.uncertain && broken.trouble == Trouble::Timeout);
            assert!(lease.now().since(began) > Duration::from_secs(59));
        }
        let change = backends.changes().latest().pop().unwrap();
        assert_eq!(change.ejected, Some(Trouble::Outlier));
        let until = bad.outcomes.held(now()).unwrap();
        assert!(until.since(now()) > Duration::from_secs(30));
    });
}
