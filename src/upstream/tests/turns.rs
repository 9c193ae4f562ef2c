//! Senders that come again with what is put off, in the same order, until all is told.

use crate::{
    smtp::{Reply, Status, Tick},
    upstream::turns::{MessageKey, Turns},
};
use std::{collections::HashMap, sync::Arc};

/// What a recipient meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meets {
    /// It is delivered.
    Well,
    /// It is put off in each delivery.
    PutOff,
    /// It is refused in the delivery.
    Dead,
    /// It is put off at RCPT.
    Unverified,
}

/// A pool: it takes so many recipients of a message (0: all), and may be down.
#[derive(Clone, Copy, Debug)]
struct Pool {
    most: usize,
    is_down: bool,
}

#[derive(Clone, Debug)]
struct Case {
    pools: Vec<Pool>,
    recipients: Vec<(Meets, usize)>,
}

/// The edge, as far as it decides on a recipient's turn.
#[derive(Default)]
struct Edge {
    turns: Arc<Turns>,
    /// What a delivery found of a recipient, until the next try.
    found: HashMap<usize, Meets>,
}

const LATER: Reply = Reply::fixed(451, Status(4, 2, 0), "later");

fn name(recipient: usize) -> Vec<u8> {
    format!("{recipient:03}@example.net").into_bytes()
}

impl Edge {
    /// One try with these recipients: which are put off.
    fn tries(&mut self, case: &Case, todo: &[usize]) -> Vec<usize> {
        let key = MessageKey {
            sender: b"a@sender.example",
            size: 1000,
            client: 7,
            network: 7,
        };
        let (mut turn, now) = (self.turns.begin(key), Tick(5));
        let (mut taken, mut later) = (vec![], vec![]);
        for recipient in todo.iter().copied() {
            let (meets, pool) = case.recipients[recipient];
            let most = case.pools[pool].most;
            let first = taken.first().map(|first: &usize| case.recipients[*first].1);
            let is_cut = first.is_some_and(|first| first != pool || taken.len() == most);
            let path = name(recipient);
            if is_cut {
                turn.cut(&path);
                later.push(recipient);
            } else if turn.told(&path, now).is_some() {
                later.push(recipient);
            } else if let Some(found) = self.found.remove(&recipient) {
                if found == Meets::PutOff {
                    turn.put_off_told(&path, &LATER, now);
                    later.push(recipient);
                }
            } else if meets == Meets::Unverified {
                later.push(recipient);
            } else {
                turn.ask(&path);
                taken.push(recipient);
            }
        }
        let Some(first) = taken.first() else {
            return later;
        };
        let is_down = case.pools[case.recipients[*first].1].is_down;
        let of = |meets| {
            taken
                .iter()
                .filter(|one| case.recipients[**one].0 == meets)
                .count()
        };
        let (put_off, dead) = (of(Meets::PutOff), of(Meets::Dead));
        if is_down || put_off == taken.len() {
            let paths: Vec<Vec<u8>> = taken.iter().map(|one| name(*one)).collect();
            turn.put_off(paths.iter().map(|path| &path[..]), &LATER, now);
            later.extend(taken);
        } else if put_off + dead > 0 && dead < taken.len() {
            turn.part();
            let bad = taken.iter().map(|one| (*one, case.recipients[*one].0));
            self.found
                .extend(bad.filter(|(_, meets)| *meets != Meets::Well));
            later.extend(taken);
        }
        later.sort_unstable();
        later
    }
}

/// How many tries it took until nothing is put off but what can't be delivered; of several messages that look alike, each tried in its turn.
fn tries(case: &Case, messages: usize, most: usize) -> Result<usize, Vec<Vec<usize>>> {
    let mut edge = Edge::default();
    let all: Vec<usize> = (0..case.recipients.len()).collect();
    let mut todo = vec![all; messages];
    let is_well = |one: &usize| {
        let (meets, pool) = case.recipients[*one];
        meets == Meets::Well && !case.pools[pool].is_down
    };
    for count in 1..=most {
        for todo in &mut todo {
            *todo = edge.tries(case, todo);
        }
        if !todo.iter().flatten().any(is_well) {
            return Ok(count);
        }
    }
    Err(todo)
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % most
    }

    fn case(&mut self, recipients: usize) -> Case {
        let pools = (0..=self.below(3)).map(|_| Pool {
            most: self.below(4),
            is_down: self.below(4) == 0,
        });
        let pools: Vec<Pool> = pools.collect();
        let ill = self.below(10);
        let recipients = (0..1 + self.below(recipients)).map(|_| {
            let meets = match self.below(10) < ill {
                false => Meets::Well,
                true => {
                    [Meets::PutOff, Meets::PutOff, Meets::Dead, Meets::Unverified][self.below(4)]
                }
            };
            (meets, self.below(pools.len()))
        });
        let recipients = recipients.collect();
        Case { pools, recipients }
    }
}

#[test]
fn whatever_fails_each_recipient_that_can_be_delivered_is() {
    let mut numbers = Numbers(1);
    for _ in 0..30_000 {
        let case = numbers.case(12);
        let most = case.recipients.len() + 2;
        let done = tries(&case, 1, most);
        assert!(done.is_ok(), "{case:?}: {done:?}");
    }
}

#[test]
fn many_broken_mailboxes_before_one_that_works_cost_a_try_each() {
    let mut recipients = vec![(Meets::PutOff, 0); 60];
    recipients.push((Meets::Well, 0));
    let pools = vec![Pool {
        most: 1,
        is_down: false,
    }];
    assert_eq!(tries(&Case { pools, recipients }, 1, 99), Ok(61));
}

#[test]
fn messages_that_look_alike_do_not_hold_each_other_up() {
    let mut numbers = Numbers(2);
    for _ in 0..10_000 {
        let case = numbers.case(5);
        for messages in 2..5 {
            let done = tries(&case, messages, 60);
            assert!(done.is_ok(), "{messages}: {case:?}: {done:?}");
        }
    }
}

/// What is put off is asked again soon: of several messages that look alike, a little later.
#[test]
fn a_mailbox_that_works_again_gets_its_mail() {
    let pools = vec![Pool {
        most: 1,
        is_down: false,
    }];
    for ill in 1..4 {
        for messages in 1..4 {
            let mut edge = Edge::default();
            let recipients = vec![(Meets::PutOff, 0); ill];
            let mut case = Case {
                pools: pools.clone(),
                recipients,
            };
            let mut todo = vec![(0..ill).collect::<Vec<_>>(); messages];
            for _ in 0..99 {
                for todo in &mut todo {
                    *todo = edge.tries(&case, todo);
                }
            }
            case.recipients = vec![(Meets::Well, 0); ill];
            let most = if messages == 1 { ill + 2 } else { 20 };
            for _ in 0..most {
                for todo in &mut todo {
                    *todo = edge.tries(&case, todo);
                }
            }
            assert!(todo.iter().all(Vec::is_empty), "{ill} {messages} {todo:?}");
        }
    }
}

fn key(network: u128, size: u64) -> MessageKey<'static> {
    MessageKey {
        sender: b"a@sender.example",
        size,
        client: network,
        network,
    }
}

/// A try of a message whose recipient `joe` is put off while another one waits.
fn put_off(turns: &Arc<Turns>, key: MessageKey<'_>, joe: &[u8], now: Tick) {
    let mut turn = turns.begin(key);
    turn.ask(joe);
    turn.cut(b"jim@example.net");
    turn.put_off([joe].into_iter(), &LATER, now);
}

#[test]
fn it_is_known_again_by_sender_and_size_and_kept_for_a_day() {
    let (turns, joe, now) = (Arc::<Turns>::default(), &b"Joe@Example.NET"[..], Tick(5));
    let day = now.after(std::time::Duration::from_secs(24 * 3600));
    put_off(&turns, key(1, 10), joe, now);
    put_off(&turns, key(1, 0), joe, now);
    let told = |key, recipient: &[u8], now| {
        let mut turn = turns.begin(key);
        let said = turn.told(recipient, now);
        turn.cut(b"jim@example.net");
        said.is_some()
    };
    assert!(told(key(2, 10), b"Joe@example.net", now), "from anywhere");
    assert!(told(key(1, 0), joe, now));
    assert!(
        !told(key(2, 0), joe, now),
        "without a size, from its client"
    );
    assert!(!told(key(1, 11), joe, now));
    assert!(!told(key(1, 10), b"joe@example.net", now));
    assert!(!told(key(1, 10), joe, day));
    // Nothing is put off that holds up no other one.
    let mut turn = turns.begin(key(1, 12));
    turn.ask(joe);
    turn.put_off([joe].into_iter(), &LATER, now);
    drop(turn);
    assert!(!told(key(1, 12), joe, now));
}

#[test]
fn another_network_is_told_once() {
    let (turns, amy, now) = (Arc::<Turns>::default(), &b"amy@a.example"[..], Tick(5));
    let told = |network| {
        let mut turn = turns.begin(key(network, 99));
        let said = turn.told(amy, now);
        turn.cut(b"jim@example.net");
        said.is_some()
    };
    put_off(&turns, key(1, 99), amy, now);
    assert!(told(1) && told(1), "its own tries");
    assert!(told(2), "a large sender's next try");
    assert!(!told(2) && !told(3), "a forger has one wrong answer told");
    assert!(told(1));
    put_off(&turns, key(3, 99), amy, now);
    assert!(told(2), "it was put off anew");
}

#[test]
fn one_network_pushes_out_nothing_of_others() {
    let (turns, joe, now) = (Arc::<Turns>::default(), &b"joe@example.net"[..], Tick(5));
    put_off(&turns, key(1, 10), joe, now);
    for size in 0..40_000 {
        put_off(
            &turns,
            key(2 + u128::from(size % 12), 100 + size),
            joe,
            Tick(6 + size),
        );
    }
    assert!(turns.begin(key(1, 10)).told(joe, now).is_some());
    assert!(turns.count() <= 16_384, "{}", turns.count());
}
