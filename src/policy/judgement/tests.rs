//! What a judgement keeps, forgets and takes back.

use super::*;

fn hit(at: At, score: f64) -> Hit {
    Hit {
        check: CheckId(0),
        at,
        kind: HitKind::Finding,
        what: What::Score,
        score,
        shadow: false,
        stranger: false,
        read: None,
        detail: "".into(),
        micros: 0,
    }
}

#[test]
fn what_only_strangers_answer_for_is_taken_back() {
    let mut judgement = Judgement::new();
    for (at, score, stranger) in [
        (At::Connect, 1.0, true),
        (At::Hello, 2.0, true),
        (At::Hello, 4.0, false),
    ] {
        judgement.push(Hit {
            stranger,
            ..hit(at, score)
        });
    }
    judgement.set_waiting(Verdict::Accept, None);
    judgement.acquit();
    assert_eq!((judgement.score(), judgement.hits().len()), (4.0, 1));
    assert_eq!(judgement.refuse_as_waiting(), None);
}

#[test]
fn a_new_message_keeps_what_the_session_earned() {
    let mut judgement = Judgement::new();
    for (at, score) in [
        (At::Connect, 1.0),
        (At::Hello, 2.0),
        (At::Mail, 4.0),
        (At::Rcpt, 8.0),
    ] {
        judgement.begin(at);
        judgement.push(hit(at, score));
    }
    judgement.begin(At::Rcpt);
    judgement.push(hit(At::Rcpt, 8.0));
    assert_eq!(judgement.score(), 23.0);
    judgement.begin(At::Mail);
    assert_eq!((judgement.score(), judgement.hits().len()), (3.0, 2));
    judgement.begin(At::Hello);
    assert_eq!(judgement.score(), 1.0);
}

#[test]
fn what_recipients_earned_outlasts_answers_that_come_later() {
    let mut judgement = Judgement::new();
    for (at, score) in [(At::Mail, 1.0), (At::Rcpt, 2.0), (At::Answers, 4.0)] {
        judgement.begin(at);
        judgement.push(hit(at, score));
    }
    judgement.begin(At::Answers);
    assert_eq!((judgement.score(), judgement.hits().len()), (3.0, 2));
}

#[test]
fn answers_that_another_profile_judged_are_forgotten() {
    let mut judgement = Judgement::new();
    for (at, score) in [(At::Mail, 1.0), (At::Answers, 4.0)] {
        judgement.begin(at);
        judgement.push(hit(at, score));
    }
    let marks = judgement.marks();
    let tag = Some(TagId(0));
    marks.make(At::Answers, false, What::Discard, CheckId(0), tag);
    judgement.end_rules(At::Answers);
    judgement.forget_answers();
    assert_eq!((judgement.score(), judgement.hits().len()), (1.0, 1));
    assert_eq!(judgement.fate(), Verdict::Accept);
    assert_eq!(judgement.tags().len(), 0);
    assert!(!judgement.rules_are_ended(At::Header));
}

#[test]
fn a_recipient_that_is_taken_back_leaves_the_score_of_those_before() {
    let mut judgement = Judgement::new();
    for (score, refused, wanted) in [(1.0, false, 1.0), (8.0, true, 1.0), (-4.0, true, 1.0)] {
        judgement.begin(At::Rcpt);
        judgement.push(hit(At::Rcpt, score));
        judgement.push(Hit {
            stranger: true,
            ..hit(At::Rcpt, score)
        });
        if refused {
            judgement.take_back_recipient();
        }
        assert_eq!(judgement.score(), 2.0 * wanted);
    }
    judgement.acquit();
    judgement.take_back_recipient();
    assert_eq!(
        judgement.score(),
        1.0,
        "what strangers answered for is gone"
    );
}

#[test]
fn the_check_that_asked_is_known_where_its_hit_was_not_kept() {
    let mut judgement = Judgement::new();
    let ask = |judgement: &mut Judgement, check| {
        judgement.begin(At::Rcpt);
        judgement.push(Hit {
            check,
            what: What::Discard,
            ..hit(At::Rcpt, 0.0)
        });
        let marks = judgement.marks();
        marks.make(At::Rcpt, false, What::Discard, check, None);
    };
    ask(&mut judgement, CheckId(1));
    judgement.take_back_recipient();
    assert_eq!(judgement.asked_by(What::Discard), None, "it was refused");
    for _ in 0..HITS_MAX {
        judgement.push(hit(At::Rcpt, 0.0));
    }
    ask(&mut judgement, CheckId(2));
    assert_eq!(judgement.fate(), Verdict::Discard);
    assert_eq!(judgement.asked_by(What::Discard), Some(CheckId(2)));
}

#[test]
fn hits_are_bounded_and_scores_are_not_lost() {
    let mut judgement = Judgement::new();
    for _ in 0..100 {
        judgement.push(hit(At::Rcpt, 1.0));
    }
    let kept = HITS_MAX - HITS_FOR_BODY;
    assert_eq!(judgement.hits().len(), kept);
    assert_eq!(judgement.score(), 100.0);
    judgement.begin(At::Body);
    judgement.push(hit(At::Body, 1.0));
    assert_eq!(
        (judgement.hits().len(), judgement.fresh().len()),
        (kept + 1, 1)
    );
}
