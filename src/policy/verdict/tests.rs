//! What becomes of a message by what its checks ask for.

use crate::{
    config,
    policy::{At, Facts, testing::*},
    smtp::envelope::Path,
};

const FATES: &str = "
    reject_score = 9.0
    quarantine_score = 6.0
    defer_score = 5.0
    tag_score = 2.0
    quarantine = { pool = 'suspicious' }
    sender_list = [
        { name = 'q', entries = ['q.example'], then = 'quarantine' },
        { name = 'slow', entries = ['q.example', 'slow.example'], then = 'tarpit' },
        { name = 'much', entries = ['much.example'], then = 'score', score = 6.5 },
    ]
    header = [
        { name = 'two', field = 'Two', when = 'present', then = 'score', score = 2.0 },
        { name = 'three', field = 'Three', when = 'present', then = 'score', score = 3.0 },
        { name = 'four', field = 'Four', when = 'present', then = 'score', score = 4.0 },
    ]
    [[rule]]
    name = 'sink'
    when = 'sender.local == \"sink\"'
    then = 'discard'
    tag = 'sunk'
    [[rule]]
    name = 'watched'
    when = 'sender.local == \"watched\"'
    then = 'discard'
    tag = 'watched'
    mode = 'shadow'";

#[test]
fn the_severest_decides_what_becomes_of_a_message() {
    for (sender, header, verdict, tags) in [
        ("a@x.example", "", "accept", ""),
        ("a@x.example", "Two: 1\r\n", "accept", "spam"),
        ("a@x.example", "Two: 1\r\nThree: 1\r\n", "defer 451", "spam"),
        ("a@x.example", "Two: 1\r\nFour: 1\r\n", "quarantine", "spam"),
        (
            "a@x.example",
            "Two: 1\r\nThree: 1\r\nFour: 1\r\n",
            "reject 550",
            "",
        ),
        ("a@q.example", "", "quarantine", ""),
        (
            "a@q.example",
            "Two: 1\r\nThree: 1\r\n",
            "quarantine",
            "spam",
        ),
        ("sink@x.example", "", "discard", "sunk"),
        (
            "sink@q.example",
            "Two: 1\r\nThree: 1\r\n",
            "discard",
            "sunk,spam",
        ),
        (
            "sink@x.example",
            "Two: 1\r\nThree: 1\r\nFour: 1\r\n",
            "reject 550",
            "sunk",
        ),
        ("watched@x.example", "", "accept", ""),
    ] {
        let mut rig = rig(FATES);
        let facts = Facts {
            sender: Path::split(sender.as_bytes()),
            ..stranger()
        };
        assert_eq!(rig.mail(sender), "accept");
        assert_eq!(rig.ask(At::Answers, &facts), "accept");
        let told = rig.body(header);
        assert!(told.starts_with(verdict), "{sender} {header:?}: {told}");
        let words = rig.judgement.tags().map(|tag| rig.policy.tag(tag));
        assert_eq!(
            words.collect::<Vec<_>>().join(","),
            tags,
            "{sender} {header:?}"
        );
        // The next message is another.
        assert_eq!(rig.mail("a@x.example"), "accept");
        assert_eq!(rig.body(""), "accept");
        assert_eq!(rig.judgement.tags().len(), 0);
    }
}

#[test]
fn what_only_strangers_earn_is_lifted_by_a_login() {
    let mut rig = rig(FATES);
    assert_eq!(rig.mail("sink@q.example"), "accept");
    assert!(rig.judgement.is_slow());
    assert_eq!(rig.body(""), "quarantine");
    let known = Facts {
        authenticated: Some("amy"),
        sender: Path::split(b"sink@q.example"),
        ..stranger()
    };
    assert_eq!(rig.ask(At::Mail, &known), "accept");
    assert!(!rig.judgement.is_slow());
    assert_eq!(rig.ask(At::Answers, &known), "accept");
    assert_eq!(
        rig.ask(At::Body, &known),
        "discard",
        "rules are for every client"
    );
}

#[test]
fn what_streams_is_weighed_before_it_leaves() {
    let mut rig = rig(FATES);
    assert_eq!(rig.mail("a@much.example"), "accept");
    let facts = stranger();
    assert_eq!(rig.ask(At::Header, &facts), "accept");
    let streams = Facts {
        streams: true,
        ..facts
    };
    assert_eq!(rig.ask(At::Header, &streams), "quarantine");
    assert_eq!(rig.judgement.tags().len(), 1);
    assert_eq!(rig.ask(At::Body, &streams), "quarantine");
    assert_eq!(
        rig.hits().matches("quarantine_score").count(),
        1,
        "{}",
        rig.hits()
    );
}

#[test]
// INV-250
fn nothing_but_a_rule_discards() {
    for preset in config::Preset::ALL {
        let shown = toml::to_string(&config::Policy::of(*preset)).expect("it has a form");
        assert!(!shown.contains("discard"), "{preset}");
    }
    for keys in [
        "sender_list = [{ name = 'a', entries = ['x'], then = 'discard' }]",
        "client_list = [{ name = 'a', entries = ['192.0.2.1'], then = 'discard' }]",
        "header = [{ name = 'a', field = 'A', when = 'present', then = 'discard' }]",
        "early_talk = { then = 'discard' }",
        "dnsbl = [{ zone = 'bl.example', then = 'discard' }]",
        "client_rate = { sessions = 1, then = 'discard' }",
        "relay = { then = 'discard' }",
    ] {
        assert!(!faults(keys).is_empty(), "{keys}");
    }
    assert!("discard".parse::<config::Effect>().is_err());
}

#[test]
fn the_greylist_is_asked_by_its_word_whatever_the_score() {
    let list = "sender_list = [{ name = 'g', entries = ['g.example'], then = 'greylist' }]";
    let mut rig = rig(&format!("{list}\n[greylist]\nmode = 'on'\nscore = 50.0"));
    assert_eq!(rig.mail("a@g.example"), "accept");
    let told = rig.rcpt("b@ours.example");
    assert!(told.starts_with("defer 45"), "{told}");
    assert_eq!(rig.mail("a@x.example"), "accept");
    assert_eq!(rig.rcpt("b@ours.example"), "accept");
    let off = faults(list);
    assert!(off[0].contains("the greylist is off"), "{off:?}");
    let late = faults(
        "greylist = { mode = 'on' }\nrule = [{ name = 'r', when = 'header(\"X\") == \"\"', then = 'greylist' }]",
    );
    assert!(
        late[0].contains("the greylist is asked at rcpt"),
        "{late:?}"
    );
}
