//! Backends that hang when they are asked about recipients: another one is asked, and they are found out.

use super::*;
use crate::config::Balance;
use std::{cell::Cell, net::IpAddr};

/// Asks about so many recipients at the same time, each in the name of another client.
async fn ask(
    pools: &Rc<Pools>,
    pool: PoolId,
    clients: &[&str],
    time: Duration,
) -> Vec<Verification> {
    let answers = Rc::new(RefCell::new(Vec::new()));
    for client in clients {
        let (pools, answers) = (Rc::clone(pools), Rc::clone(&answers));
        let key = crate::client_key::address(client.parse::<IpAddr>().unwrap());
        let path = format!(
            "user{}@example.net",
            NEXT.with(|next| next.replace(next.get() + 1))
        );
        net::spawn(async move {
            let asking = pools.verify(
                pool,
                (b"a@a.example", Some(key)),
                Path::split(path.as_bytes()),
                now().after(time),
            );
            let answer = asking.await;
            answers.borrow_mut().push(answer);
        });
    }
    until(|| answers.borrow().len() == clients.len()).await;
    answers.take()
}

thread_local! {
    static NEXT: Cell<u32> = const { Cell::new(0) };
}

#[test]
fn a_question_that_hangs_leaves_time_for_another_backend() {
    on_each_engine(|| async {
        for balance in [
            Balance::FirstAvailable,
            Balance::HashRecipient,
            Balance::LeastLoaded,
        ] {
            let (ill, well) = (Peer::with(Mode::HangsAtRecipient), Peer::new());
            let mut config = config(&[&ill, &well]);
            config.pool[0].balance = balance;
            let (pools, pool) = pools(&build(&config)).await;
            let answers = ask(&pools, pool, &["192.0.2.1"; 6], Duration::from_secs(4)).await;
            assert_eq!(answers, vec![Verification::Accepted; 6], "{balance:?}");
        }
    });
}

#[test]
fn one_that_answers_no_question_is_left_out_while_another_answers() {
    on_each_engine(|| async {
        let (ill, well) = (Peer::with(Mode::HangsAtRecipient), Peer::new());
        let mut config = config(&[&ill, &well]);
        config.pool[0].balance = Balance::FirstAvailable;
        let backends = build(&config);
        let (pools, pool) = pools(&backends).await;
        let time = Duration::from_secs(5);
        // Odd names that one network asks for cost a backend nothing but other questions.
        let answers = ask(&pools, pool, &["192.0.2.1", "192.0.2.2", "192.0.2.3"], time).await;
        assert_eq!(answers, vec![Verification::Accepted; 3]);
        let first = &backends.pool(pool).unwrap().backends[0];
        assert!(!first.health.is_ejected());
        ask(&pools, pool, &["198.51.100.1", "203.0.113.1"], time).await;
        assert!(first.health.is_ejected());
        let change = backends.changes().latest().pop().unwrap();
        assert_eq!(change.ejected, Some(Trouble::Unanswered));
        assert_eq!(backends.changes().latest().len(), 1);
    });
}

#[test]
fn one_of_which_all_backends_hang_alike_is_not_left_out() {
    on_each_engine(|| async {
        let (one, two) = (Mode::HangsAtRecipient, Mode::HangsAtRecipient);
        let (one, two) = (Peer::with(one), Peer::with(two));
        let mut config = config(&[&one, &two]);
        config.pool[0].balance = Balance::FirstAvailable;
        let backends = build(&config);
        let (pools, pool) = pools(&backends).await;
        let clients = ["192.0.2.1", "198.51.100.1", "203.0.113.1"];
        let answers = ask(&pools, pool, &clients, Duration::from_secs(5)).await;
        let is_unknown = |answer: &Verification| matches!(answer, Verification::Unknown(_));
        assert!(answers.iter().all(is_unknown));
        assert_eq!(backends.changes().latest(), []);
    });
}

#[test]
fn one_that_is_silent_over_questions_is_asked_one_at_a_time_and_keeps_its_messages() {
    on_each_engine(|| async {
        let (ill, well) = (Peer::new(), Peer::new());
        let mut config = config(&[&ill, &well]);
        config.pool[0].balance = Balance::FirstAvailable;
        let backends = build(&config);
        let (pools, pool) = pools(&backends).await;
        let first = &backends.pool(pool).unwrap().backends[0];
        let silence = &first.answers.silence;
        let asked =
            |peer: &Peer| std::mem::take(&mut *peer.seen().recipients.lock().unwrap()).len();
        silence
            .wait(Tick(now().0 - 20_000_000), false)
            .give_up(now());
        silence.prolong_trials();
        let trial = silence.try_it(now()).unwrap();
        let time = Duration::from_secs(60);
        ask(&pools, pool, &["192.0.2.1"; 3], time).await;
        assert_eq!((asked(&ill), asked(&well)), (0, 3));
        assert_eq!(deliver(&pools, pool).await, first.id);
        assert_eq!(asked(&ill), 1);
        // The next one is the trial, and its answer ends the silence.
        drop(trial);
        ask(&pools, pool, &["192.0.2.1"], time).await;
        ask(&pools, pool, &["192.0.2.1"; 3], time).await;
        assert_eq!((asked(&ill), asked(&well)), (4, 0));
    });
}
