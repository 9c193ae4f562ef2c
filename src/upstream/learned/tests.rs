//! Limits on recipients: what they count for, and how they end.

use super::*;

fn source(client: u128, sender: &str) -> Option<MessageSource> {
    // As the keys of 10.0.CLIENT.1.
    let key = 0xffff_0a00_0001 | client << 8;
    MessageSource::new(Some(key), sender.as_bytes())
}

fn learn(limit: &LearnedLimit, recipients: u32, by: Option<MessageSource>, now: Tick) {
    let by = by.expect("not the null sender");
    let is_named = true;
    limit.learn(
        Limit {
            recipients,
            by,
            is_named,
        },
        now,
    );
}

#[test]
fn what_one_message_shows_holds_for_its_like_alone() {
    let (limit, now) = (LearnedLimit::default(), Tick(5));
    let amy = source(1, "amy@a.example");
    assert_eq!(limit.get(amy, now), 0);
    learn(&limit, 2, amy, now);
    assert_eq!(limit.get(amy, now), 2);
    for other in [None, source(1, "bob@a.example"), source(2, "amy@a.example")] {
        assert_eq!(limit.get(other, now), 0, "{other:?}");
    }
    // However many senders of one network there are.
    for n in 0..100 {
        learn(&limit, 1, source(1, &format!("{n}@a.example")), now);
    }
    assert_eq!(limit.get(source(2, "amy@a.example"), now), 0);
    assert!(limit.lock().len() <= NETWORK_MAX);
}

#[test]
fn a_sender_that_tries_again_after_a_quarter_of_an_hour_meets_the_limit() {
    const QUARTER: Duration = Duration::from_secs(15 * 60);
    let (limit, now) = (LearnedLimit::default(), Tick(5));
    let (amy, bob) = (source(1, "amy@a.example"), source(2, "bob@a.example"));
    learn(&limit, 107, amy, now);
    assert_eq!(limit.get(amy, now.after(QUARTER)), 107);
    // Networks agree only on what both were shown within minutes.
    learn(&limit, 7, bob, now.after(QUARTER));
    assert_eq!(
        limit.get(source(3, "joe@a.example"), now.after(USUAL_COUNTS)),
        0
    );
    // A usual one is kept for a day after its last use, and for days at most.
    let (day, used) = (KEPT, now.after(KEPT / 2));
    assert_eq!(limit.get(amy, used), 107);
    assert_eq!(limit.get(amy, used.after(day / 2)), 107);
    assert_eq!(limit.get(bob, now.after(QUARTER).after(day)), 0);
    for n in 2..10 {
        let _ = limit.get(amy, now.after(day / 2 * n));
    }
    assert_eq!(limit.get(amy, now.after(KEPT_MOST)), 0);
}

/// It may have been a rate: too many recipients in this hour.
#[test]
fn a_low_one_lets_one_more_through_each_hour_and_is_not_renewed_by_use() {
    let (limit, now) = (LearnedLimit::default(), Tick(5));
    let amy = source(1, "amy@a.example");
    let hours = |n: u32| now.after(ONE_MORE * n);
    learn(&limit, 1, amy, now);
    assert_eq!(limit.get(amy, hours(0)), 1);
    assert_eq!(limit.get(amy, hours(1)), 2);
    // The server is well: that ends it.
    limit.has_taken(|| 2, amy, hours(1));
    assert_eq!(limit.get(amy, hours(1)), 0);
    // Where it shows it again, the next one comes later.
    learn(&limit, 1, amy, now);
    learn(&limit, 1, amy, hours(1));
    assert_eq!((limit.get(amy, hours(2)), limit.get(amy, hours(3))), (1, 2));
    for n in 0..25 {
        let _ = limit.get(amy, hours(n));
    }
    assert_eq!(limit.get(amy, hours(25)), 0, "a day is over");
}

#[test]
fn where_it_is_full_the_network_that_has_most_loses() {
    let (limit, now) = (LearnedLimit::default(), Tick(5));
    let joe = source(1, "joe@a.example");
    learn(&limit, 9, joe, now);
    for network in 2..40 {
        for n in 0..NETWORK_MAX {
            learn(
                &limit,
                9,
                source(network, &format!("{n}@a.example")),
                now.after(KEPT / 9),
            );
        }
    }
    assert_eq!(limit.get(joe, now), 9);
    assert!(limit.lock().len() <= SHOWN_MAX);
}

#[test]
fn what_two_networks_show_holds_for_all() {
    let (limit, now) = (LearnedLimit::default(), Tick(5));
    learn(&limit, 1, source(1, "x@a.example"), now);
    learn(&limit, 50, source(2, "amy@a.example"), now);
    assert_eq!(limit.get(None, now), 50, "they agree on no less");
    assert_eq!(limit.get(source(1, "x@a.example"), now), 1);
    learn(&limit, 20, source(3, "bob@a.example"), now);
    assert_eq!(limit.get(source(4, "joe@a.example"), now), 20);
}

/// Two networks whose recipients' mailboxes are full, or strangers that name such recipients.
#[test]
fn what_a_bare_452_shows_counts_for_its_own_source_alone() {
    let (limit, now) = (LearnedLimit::default(), Tick(5));
    for (network, recipients) in [(1, 1), (2, 1), (3, 150), (4, 150)] {
        let by = source(network, "x@a.example");
        let bare = Limit {
            recipients,
            by: by.expect("not the null sender"),
            is_named: false,
        };
        limit.learn(bare, now);
        assert_eq!(limit.get(by, now), recipients);
    }
    for other in [None, source(9, "amy@a.example")] {
        assert_eq!(limit.get(other, now), 0);
    }
}

#[test]
fn what_networks_agree_on_has_a_way_to_end() {
    let (limit, now) = (LearnedLimit::default(), Tick(5));
    let (joe, mal) = (source(7, "joe@a.example"), source(1, "x@a.example"));
    let show = |now| {
        learn(&limit, 1, mal, now);
        learn(&limit, 1, source(2, "y@a.example"), now);
    };
    show(now);
    assert_eq!(limit.get(joe, now), 1);
    assert!(!limit.tries_one_more(joe, 1, now), "it is fresh");
    // However often they show it.
    let due = now.after(TRIED_AGAIN);
    show(due);
    assert!(!limit.tries_one_more(mal, 1, due), "it is its own");
    assert!(!limit.tries_one_more(joe, 2, due), "one more, and not two");
    assert!(limit.tries_one_more(joe, 1, due));
    assert!(!limit.tries_one_more(joe, 1, due), "one message");
    limit.has_taken(|| 2, joe, due);
    assert_eq!(limit.get(joe, due), 0);
}

#[test]
fn where_backends_judge_by_the_client_a_limit_is_its_sources_own() {
    let (limit, now) = (LearnedLimit::default(), Tick(5));
    for network in 1..4 {
        learn(&limit, 100, source(network, "x@a.example"), now);
    }
    let own = |network| limit.own(source(network, "x@a.example"), now);
    assert_eq!((own(1), own(9), limit.own(None, now)), (100, 0, 0));
}

#[test]
fn what_every_server_must_take_is_believed_at_once() {
    let (limit, now) = (LearnedLimit::default(), Tick(5));
    learn(&limit, 100, source(1, "amy@a.example"), now);
    assert_eq!(limit.get(None, now.after(LOW_COUNTS)), 100);
    assert_eq!(limit.get(None, now.after(USUAL_COUNTS)), 0);
    assert_eq!(
        limit.get(source(1, "amy@a.example"), now.after(USUAL_COUNTS)),
        100
    );
}

#[test]
fn a_larger_message_that_is_taken_ends_it() {
    let (limit, now) = (LearnedLimit::default(), Tick(5));
    let amy = |client| source(client, "amy@a.example");
    limit.has_taken(|| panic!("nothing is known"), amy(1), now);
    for n in 1..4 {
        learn(&limit, 9, amy(n), now);
    }
    limit.has_taken(|| 9, amy(1), now);
    assert_eq!(limit.get(None, now), 9);
    limit.has_taken(|| 10, amy(1), now);
    assert_eq!((limit.get(None, now), limit.get(amy(1), now)), (0, 0));
    // The others may have a limit of their own.
    assert_eq!(limit.get(amy(2), now), 9);
}

#[test]
fn it_is_bounded() {
    let (limit, now) = (LearnedLimit::default(), Tick(5));
    for n in 0..250 {
        learn(&limit, 9, source(n, "amy@a.example"), now);
    }
    assert_eq!(limit.lock().len(), SHOWN_MAX);
}

#[test]
fn only_a_refusal_of_more_recipients_shows_a_limit() {
    let head = |code, status| ReplyHead { code, status };
    let (yes, many) = (head(250, Status(2, 1, 5)), head(452, Status(4, 5, 3)));
    let shown = |source, heads: &[ReplyHead]| {
        let (mut tally, mut taken) = (Tally::new(source), 0);
        for head in heads {
            taken += usize::from(head.is_positive());
            tally.hear(*head, || taken);
        }
        tally.shown().map_or(0, |limit| limit.recipients)
    };
    let amy = source(1, "amy@a.example");
    let bare = head(452, Status::NONE);
    for (heads, limit) in [
        (&[yes, many][..], 1),
        (&[yes, yes, head(552, Status(5, 5, 3))], 2),
        (&[yes, bare, bare], 1),
        (&[yes, bare, yes], 0),
        (&[yes, many, yes], 0),
        (&[many, many], 0),
        // Postfix's `reject_multi_recipient_bounce`, of any message.
        (&[yes, head(550, Status(5, 5, 3))], 0),
        (&[yes, head(450, Status(4, 5, 3))], 0),
        (&[yes, head(552, Status(5, 2, 2))], 0),
    ] {
        assert_eq!(shown(amy, heads), limit, "{heads:?}");
        assert_eq!(shown(None, heads), 0, "a bounce has one recipient");
    }
}

/// Two full mailboxes are refused in the same words.
#[test]
fn what_a_bare_452_shows_is_over_soon_however_much_it_is_used() {
    let (limit, start) = (LearnedLimit::default(), Tick(5));
    let amy = source(1, "amy@a.example");
    let mut tally = Tally::new(amy);
    for (code, taken) in [(250, 1), (452, 1), (452, 1)] {
        let status = Status::NONE;
        tally.hear(ReplyHead { code, status }, || taken);
    }
    limit.learn(tally.shown().expect("a limit"), start);
    let half = start.after(LOW_COUNTS / 2);
    assert_eq!((limit.get(amy, start), limit.get(amy, half)), (1, 1));
    assert_eq!(limit.get(amy, start.after(LOW_COUNTS)), 0);
}
