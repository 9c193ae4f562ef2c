//! Address fields as they come, and as they are forged.

use super::*;
use crate::smtp::header;
use proptest::prelude::*;

/// Mailboxes, then what is mentioned; `?`: it can't be read.
fn told(body: &str) -> String {
    let Some(found) = read(body.as_bytes()) else {
        return "?".into();
    };
    let list = |list: &[Vec<u8>]| {
        let list: Vec<_> = list.iter().map(|a| String::from_utf8_lossy(a)).collect();
        list.join(" ")
    };
    let (mailboxes, mentioned) = (list(&found.mailboxes), list(&found.mentioned));
    match mentioned.is_empty() {
        true => mailboxes,
        false => format!("{mailboxes} | {mentioned}"),
    }
}

#[test]
fn forms_that_are_in_use() {
    for body in [
        "amy@x.example",
        "Amy <amy@x.example>",
        "<amy@x.example>",
        "< amy@x.example >",
        "Amy<amy@x.example>",
        "\"Doe, Amy\" <amy@x.example>",
        "Doe, Amy <amy@x.example>",
        "Care Team, Billing <amy@x.example>",
        "Doe, Amy, Dr. <amy@x.example>",
        "Amy (at work) <amy@x.example>",
        "amy@x.example (Amy (the boss) Doe)",
        "amy@x.example (\\(: Amy)",
        "Dö, Amy <amy@x.example>",
        "=?utf-8?Q?D=C3=B6,_Amy?= <amy@x.example>",
        "=?utf-8?Q?D=C3=B6_(Amy?= <amy@x.example>",
        "=?utf-8?Q?\"Amy?= <amy@x.example>",
        "=?utf-8?B?RMO2LCBBbXk=?= =?utf-8?Q?_D?= <amy@x.example>",
        "\"=?utf-8?Q?Amy?=\" <amy@x.example>",
        "Amy @ Example <amy@x.example>",
        "Amy @ Example Inc. <amy@x.example>",
        "Amy @work <amy@x.example>",
        "Jane Doe @ Booking.example <amy@x.example>",
        "Amy [IT] <amy@x.example>",
        "Amy. D <amy@x.example>",
        "O'Brien <amy@x.example>",
        "Amy <amy@x.example>,",
        "Amy <amy@x.example> ",
        ", Amy <amy@x.example>;",
        "Amy <amy@x.example",
        "<amy@x.example> Amy",
        "Amy <amy@x.example.>",
        "Amy <@relay.example,@b.example:amy@x.example>",
        "Team: amy@x.example;",
        "Team: Amy <amy@x.example>;",
        "amy @ x.example",
        "amy@x . example",
        "amy(Amy)@(here)x.example",
        "\"amy\"@x.example",
    ] {
        assert_eq!(told(body), "amy@x.example", "{body}");
    }
    assert_eq!(told("amy@[192.0.2.1]"), "amy@[192.0.2.1]");
    assert_eq!(told("Amy <amy@[IPv6:::1]>"), "amy@[IPv6:::1]");
    assert_eq!(told("ámy@müller.example"), "ámy@müller.example");
    assert_eq!(
        told("a@b.example, C <c@d.example>"),
        "a@b.example c@d.example"
    );
    assert_eq!(
        told("us: a@b.example, c@d.example;"),
        "a@b.example c@d.example"
    );
    assert_eq!(told("\"a b\"@x.example"), "a b@x.example");
}

#[test]
fn what_is_shown_beside_an_address_counts() {
    let twice = "amy@x.example | amy@x.example";
    for body in [
        "amy@x.example <amy@x.example>",
        "\"amy@x.example\" <amy@x.example>",
        "'amy@x.example' <amy@x.example>",
        "“amy@x.example” <amy@x.example>",
        "amy@x.example: amy@x.example;",
        "amy@x.example (mailto:amy@x.example)",
        "\"Amy <amy@x.example>\" <amy@x.example>",
        "=?utf-8?Q?amy=40x.example?= <amy@x.example>",
    ] {
        assert_eq!(told(body), twice, "{body}");
    }
    for body in [
        "boss@bank.example <amy@x.example>",
        "boss@bank.example Amy <amy@x.example>",
        "\"boss@bank.example\" <amy@x.example>",
        "\"Boss <boss@bank.example>\" <amy@x.example>",
        "\"boss\\@bank.example\" <amy@x.example>",
        "\"boss\"@bank.example <amy@x.example>",
        "boss@bank.example: amy@x.example;",
        "\"boss@bank.example\": amy@x.example;",
        "boss@bank.example (The Boss): amy@x.example;",
        "(boss@bank.example) amy@x.example",
        "amy@x.example (boss@bank.example)",
        "amy@x.example (The (boss\\@bank.example) Boss)",
        "Amy (boss@bank.example) <amy@x.example>",
        "<amy@x.example> boss@bank.example",
        "<amy@x.example> (boss@bank.example)",
        "boss(really)@bank.example <amy@x.example>",
        "boss @ bank.example <amy@x.example>",
        "boss@ bank.example <amy@x.example>",
        "\"boss @ bank.example\" <amy@x.example>",
        "boss＠bank.example <amy@x.example>",
        "[boss@bank.example] <amy@x.example>",
        "=?utf-8?Q?boss=40bank.example?= <amy@x.example>",
        "=?utf-8?B?Ym9zc0BiYW5rLmV4YW1wbGU=?= <amy@x.example>",
        "=?utf-7?Q?boss+AEA-bank.example?= <amy@x.example>",
        "=?hz-gb-2312?Q?boss=40bank.example?= <amy@x.example>",
        "=?utf-16?B?/v8AYgBvAHMAcwBAAGIAYQBuAGsALgBlAHgAYQBtAHAAbABl?= <amy@x.example>",
        "=?utf-8?Q?boss?= =?utf-8?Q?=40bank.example?= <amy@x.example>",
        "boss=?utf-8?Q?=40?=bank.example <amy@x.example>",
        "\"=?utf-8?Q?boss=40bank.example?=\" <amy@x.example>",
        "(=?utf-8?Q?boss=40bank.example?=) amy@x.example",
        "=?utf-8?Q?Boss_=3Cboss=40bank.example=3E,?= <amy@x.example>",
        "=?utf-8?Q?boss@bank.example?= <amy@x.example>",
        "=?utf-8?Q?boss=40bank.example=00?= <amy@x.example>",
    ] {
        assert_eq!(told(body), "amy@x.example | boss@bank.example", "{body}");
    }
}

#[test]
fn several_addresses_are_all_found() {
    for (body, found) in [
        (
            "boss@bank.example, Amy <amy@x.example>",
            "boss@bank.example amy@x.example",
        ),
        (
            "Amy <amy@x.example> <boss@bank.example>",
            "amy@x.example boss@bank.example",
        ),
        (
            "amy@x.example boss@bank.example",
            "amy@x.example boss@bank.example",
        ),
        (
            "\"amy@x.example\" <boss@bank.example>",
            "boss@bank.example | amy@x.example",
        ),
        (
            "\"boss@bank.example\"@x.example",
            "boss@bank.example@x.example | boss@bank.example",
        ),
        ("boss@corp <amy@x.example>", "amy@x.example | boss@corp"),
        (
            "boss@bank.example\u{200b} <amy@x.example>",
            "amy@x.example | boss@bank.example\u{200b}",
        ),
        ("am y@x.example", "y@x.example"),
    ] {
        assert_eq!(told(body), found, "{body}");
    }
}

#[test]
fn what_has_no_address() {
    for body in [
        "",
        " ",
        "amy",
        "undisclosed-recipients:;",
        "\"amy@x.example",
        "us:;",
    ] {
        let found = read(body.as_bytes());
        assert!(
            found.is_none_or(|found| found.mailboxes.is_empty()),
            "{body}"
        );
    }
    for body in [
        "\"amy@x.example",
        "(amy@x.example",
        "amy@x.example>",
        "<<amy@x.example>>",
        "<>",
        "Amy <>",
        "Amy <amy>",
        "Amy <amy@>",
        "Amy <@x.example>",
        "<am y@x.example>",
        "<amy@x.example,boss@bank.example>",
        "<amy@x.example boss@bank.example>",
        "<boss@bank.example:amy@x.example>",
        "<@a,boss@bank.example:amy@x.example>",
        "<=?utf-8?Q?boss?=@x.example>",
        "<amy@\"x.example\">",
    ] {
        assert_eq!(told(body), "?", "{body}");
    }
    assert_eq!(
        told("=?utf-8?Q?boss=40bank.example?=@x.example"),
        "boss@bank.example bank.example@x.example"
    );
    assert_eq!(
        told("boss@bank.example@x.example <amy@x.example>"),
        "amy@x.example | boss@bank.example bank.example@x.example"
    );
}

/// What is read of a From field with this body.
fn of_from(body: &str) -> Option<Addresses> {
    let text = format!("From: {body}\r\n");
    let field = header::fields(text.as_bytes()).next();
    of_field(&field.expect("a field"), &mut Vec::new())
}

#[test]
fn a_field_with_more_than_the_limits_allow_cant_be_read() {
    let most = |mailbox: &str| mailbox.repeat(ADDRESSES_MAX);
    for mailbox in [
        "amy@x.example,",
        "Amy Doe <amy@x.example>,\r\n ",
        "<amy@x.example>",
        "g:amy@x.example;",
    ] {
        let found = of_from(&most(mailbox)).expect(mailbox).mailboxes;
        assert_eq!(found.len(), ADDRESSES_MAX, "{mailbox}");
        let more = most(mailbox) + mailbox;
        assert_eq!(of_from(&more), None, "{mailbox}");
    }
    for shown in [
        "(a@b.cc)",
        "\"a@b.cc\" ",
        "a@b.cc ",
        "a@b.cc: ",
        "\"a@b.cc c@d.ee\"",
    ] {
        let shown = most(shown) + shown;
        assert_eq!(of_from(&format!("{shown}<amy@x.example>")), None, "{shown}");
    }
    let one = format!("({}) amy@x.example", "a@b.cc ".repeat(ADDRESSES_MAX + 1));
    assert_eq!(of_from(&one), None);
    // Nothing that these can be read as takes longer than that.
    for filling in ["@,", ";@", "a,", " ", "()", "\r\n ", "=?a?q?b?= "] {
        let filled = |octets: usize| {
            let count = (octets - " <amy@x.example>".len()) / filling.len();
            of_from(&format!("{}<amy@x.example>", filling.repeat(count)))
        };
        let found = filled(OCTETS_MAX).expect(filling);
        assert_eq!(found.mailboxes, [b"amy@x.example"], "{filling:?}");
        assert_eq!(filled(OCTETS_MAX + 20), None, "{filling:?}");
    }
}

proptest! {
    #[test]
    fn every_at_sign_leads_to_an_address(
        parts in proptest::collection::vec(proptest::sample::select(&[
            "amy@x.example", "boss@bank.example", "Amy", "<", ">", "<", ">", ",", ";", ":", "\"", "(", ")", "\\", " ",
            "=?utf-8?Q?", "?=", "@", ".", "\u{e9}"][..]), 0..14)) {
        let body = parts.concat();
        if let Some(found) = read(body.as_bytes()) {
            let told: Vec<_> = found.all().map(String::from_utf8_lossy).collect();
            let boss = body.contains(" boss@bank.example ") || body == "boss@bank.example";
            prop_assert!(!boss || told.iter().any(|a| a.contains("boss@bank.example")), "{} {:?}", body, told);
        }
    }

    #[test]
    fn no_octets_upset_it(list in proptest::collection::vec(
        proptest::sample::select(&b"a@.,;:<>()\"\\ =?qQ[]\xff"[..]), 0..40)) {
        if let Some(found) = read(&list) {
            // What is not UTF-8 is shown by a character of three octets.
            prop_assert!(found.all().map(<[u8]>::len).sum::<usize>() <= 6 * list.len());
        }
    }
}
