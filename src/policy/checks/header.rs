//! Rules on header fields: there, missing, or with a body that matches a pattern.
//!
//! The header is walked once, whatever the number of rules: a field's name is looked up among the few that
//! rules ask for (most are dismissed by their length), and only the body of such a field is unfolded. Where a field
//! stands several times, each is looked at. Then the rules speak in their order.
//!
//! A pattern sees a body twice: as it came, and as mail programs show it, with encoded words decoded (RFC 2047). A body
//! without encoded words is matched once, and nothing is decoded for a field that no pattern asks for.

use super::{Check, Whom};
use crate::{
    config::{HeaderRule, HeaderTest, entry},
    policy::{
        At, Facts, Shared,
        builder::Builder,
        replies,
        rule::{Rule, Say},
    },
    smtp::{
        fields::words,
        header::{self, Field},
    },
};
use regex::bytes::Regex;
use std::{cell::RefCell, sync::Arc};

/// Rules at most: what has been found is kept in one word of bits.
const RULES_MAX: usize = 64;

enum Test {
    Present,
    Absent,
    Matches(Regex),
}

struct One {
    rule: Rule,
    field: String,
    test: Test,
}

struct Header {
    rules: Vec<One>,
    /// Bit `n`: a rule asks for a field whose name has `n` octets (63: or more).
    lengths: u64,
}

pub fn build(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    let mut rules = Vec::new();
    for wish in &builder.config.header {
        let key = format!("header {:?}", wish.name);
        if wish.field.is_empty()
            || !wish
                .field
                .bytes()
                .all(|o| o.is_ascii_graphic() && o != b':')
        {
            builder.fault(
                &key,
                format!(
                    "`field` {:?} is no field name (write \"Subject\")",
                    wish.field
                ),
            );
        }
        let test = match test(wish) {
            Ok(test) => test,
            Err(why) => {
                builder.fault(&key, why);
                continue;
            }
        };
        let name = format!("header.{}", wish.name);
        let doc =
            "A field of the message's header is there, is missing, or matches the rule's pattern.";
        if let Some(rule) = builder.rule(name, doc, &key, wish.into(), &replies::HEADER) {
            rules.push(One {
                rule,
                field: wish.field.clone(),
                test,
            });
        }
    }
    if rules.len() > RULES_MAX {
        builder.fault(
            "header",
            format!("there are {} rules, at most {RULES_MAX}", rules.len()),
        );
    }
    if rules.is_empty() {
        return None;
    }
    let lengths = rules
        .iter()
        .fold(0, |bits, one| bits | length_bit(one.field.len()));
    Some(Arc::new(Header { rules, lengths }))
}

fn test(wish: &HeaderRule) -> Result<Test, String> {
    match (wish.when, &wish.pattern) {
        (HeaderTest::Present, None) => Ok(Test::Present),
        (HeaderTest::Absent, None) => Ok(Test::Absent),
        (HeaderTest::Matches, Some(text)) => {
            entry::regex(text).map_err(|why| format!("`pattern` {text:?}: {why}"))?;
            let regex = entry::pattern(text)
                .build()
                .map_err(|why| why.to_string())?;
            Ok(Test::Matches(regex))
        }
        (HeaderTest::Matches, None) => Err("`when = \"matches\"` needs a `pattern`".into()),
        (when, Some(_)) => Err(format!(
            "`when = {:?}` has no use for a `pattern`",
            when.as_str()
        )),
    }
}

fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}

/// Octets that each buffer keeps from one message to the next.
const KEPT: usize = 8 * 1024;
/// Octets of a body that are decoded; what comes after them is seen as it came. `limits.header` can be larger.
const DECODED_MAX: usize = 64 * 1024;

/// A body on one line, and the same decoded.
#[derive(Default)]
struct Lines {
    unfolded: Vec<u8>,
    decoded: Vec<u8>,
}

thread_local! {
    /// One a worker, not one a session.
    static LINES: RefCell<Lines> = RefCell::default();
}

impl Header {
    /// Bit `i`: rule `i` has found its field (and a body that matches, where it asks for one).
    fn found<'a>(&self, fields: impl Iterator<Item = Field<'a>>, lines: &mut Lines) -> u64 {
        let mut found = 0;
        for field in fields {
            if self.lengths & length_bit(field.name.len()) != 0 {
                self.look_at(&field, lines, &mut found);
            }
        }
        found
    }

    fn look_at(&self, field: &Field<'_>, lines: &mut Lines, found: &mut u64) {
        if !self.rules.iter().any(|one| field.is(&one.field)) {
            return;
        }
        let Lines { unfolded, decoded } = lines;
        let body = on_one_line(field, unfolded);
        let mut is_decoded = false;
        for (i, one) in self.rules.iter().enumerate().take(RULES_MAX) {
            if *found & (1 << i) == 0 && field.is(&one.field) {
                let hit = match &one.test {
                    Test::Present | Test::Absent => true,
                    Test::Matches(regex) if regex.is_match(body) => true,
                    Test::Matches(regex) => {
                        if !std::mem::replace(&mut is_decoded, true) {
                            decode(body, decoded);
                        }
                        !decoded.is_empty() && regex.is_match(decoded)
                    }
                };
                *found |= u64::from(hit) << i;
            }
        }
    }
}

/// The body on one line: as it lies there, unless it has folds.
fn on_one_line<'a>(field: &Field<'a>, line: &'a mut Vec<u8>) -> &'a [u8] {
    let body = field.body.trim_ascii();
    if memchr::memchr3(b'\r', b'\n', 0, body).is_none() {
        return body;
    }
    line.clear();
    field.unfold(line);
    line
}

/// The body as mail programs show it; nothing where that is as it came.
fn decode(body: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let body = &body[..body.len().min(DECODED_MAX)];
    if words::has_any(body) {
        words::decode(body, out);
        // Hidden in an encoded word, a line end would part two words of a pattern.
        for octet in out.iter_mut().filter(|octet| octet.is_ascii_control()) {
            *octet = b' ';
        }
    }
}

impl Check for Header {
    fn name(&self) -> &'static str {
        "header"
    }

    fn stages(&self) -> &[At] {
        // Before a message that streams is on its way to a pool.
        &[At::Header]
    }

    fn whom(&self) -> Whom {
        Whom::Everybody
    }

    fn look(&self, _: At, facts: &Facts<'_>, _: &Shared, say: &mut Say<'_>) {
        // Of a section that is too long to be kept nothing is known, least of all that a field is missing.
        if facts.header.is_empty() && facts.breaches.header_size {
            return;
        }
        let found = LINES.with_borrow_mut(|lines| {
            let found = match facts.fields {
                Some(index) => self.found(index.fields(), lines),
                None => self.found(header::fields(facts.header), lines),
            };
            for line in [&mut lines.unfolded, &mut lines.decoded] {
                line.clear();
                line.shrink_to(KEPT);
            }
            found
        });
        for (i, one) in self.rules.iter().enumerate() {
            let (wanted, detail) = match one.test {
                Test::Present => (true, "present"),
                Test::Absent => (false, "absent"),
                Test::Matches(_) => (true, "matches"),
            };
            if (found >> i & 1 == 1) == wanted && say.hit(&one.rule, detail).is_break() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::*;

    const RULES: &str = "
        reject_score = 5.0
        [[header]]
        name = 'nodate'
        field = 'Date'
        when = 'absent'
        then = 'score'
        score = 2.0
        [[header]]
        name = 'bulk'
        field = 'Precedence'
        when = 'present'
        mode = 'shadow'
        [[header]]
        name = 'pills'
        field = 'subject'
        pattern = 'cheap +pills'
        then = 'score'
        score = 4.0
        [[header]]
        name = 'list'
        field = 'List-Id'
        pattern = '<good>'
        then = 'accept'
        [[header]]
        name = 'worm'
        field = 'X-Mailer'
        pattern = '^worm'
        reply = '554 5.7.1 A worm'";

    #[test]
    fn rules_speak_in_their_order() {
        let mut rig = rig(RULES);
        for (header, verdict, hits) in [
            ("Date: now\r\nSubject: hello\r\n\r\n", "accept", ""),
            (
                "Subject: hello\r\n",
                "accept",
                "header.nodate score(absent)",
            ),
            (
                "DATE: now\r\nPRECEDENCE: bulk\r\n",
                "accept",
                "[header.bulk reject(present)]",
            ),
            (
                "Date: now\r\nX-Mailer: WORM 1\r\n",
                "reject 554 5.7.1 A worm",
                "header.worm reject(matches)",
            ),
            ("Date: now\r\nX-Mailer: a worm\r\n", "accept", ""),
            (
                "Date: x\r\nX-Mailer: worm\r\nList-ID: a <good>\r\n",
                "accept",
                "header.list accept(matches)",
            ),
            ("Date: now\r\n\r\nX-Mailer: worm\r\n", "accept", ""),
            ("", "accept", "header.nodate score(absent)"),
        ] {
            assert_eq!(rig.body(header), verdict, "{header:?}");
            assert_eq!(rig.hits(), hits, "{header:?}");
        }
    }

    #[test]
    fn every_field_of_the_name_is_looked_at_unfolded() {
        let mut rig = rig(RULES);
        let header = "Date: now\r\nSubject: hello\r\nSubject: very\r\n CHEAP\r\n\tpills\r\n";
        assert_eq!(rig.body(header), "accept");
        assert_eq!(rig.hits(), "", "a tab is no blank");
        let header =
            b"Date: now\r\nSubject: hello\r\nSubject: very\xff\r\n CHEAP\r\n  pills \xff\r\n";
        assert_eq!(
            rig.ask(
                At::Header,
                &Facts {
                    header,
                    ..stranger()
                }
            ),
            "accept"
        );
        assert_eq!(rig.hits(), "header.pills score(matches)");
    }

    #[test]
    fn patterns_see_what_mail_programs_show() {
        let mut rig = rig("
            [[header]]
            name = 'prize'
            field = 'Subject'
            pattern = 'win a prize'
            [[header]]
            name = 'raw'
            field = 'From'
            pattern = '^=\\?gb2312\\?'
            then = 'score'
            score = 1.0
            [[header]]
            name = 'accent'
            field = 'Subject'
            pattern = '(?u)^CAF\u{c9}$'");
        for subject in [
            "Win a PRIZE now",
            "win a\r\n prize",
            "=?utf-8?B?d2luIGEgcHJpemU=?=",
            "=?utf-8?Q?win_a_prize?=",
            "=?UTF-8?q?win_a?=\r\n =?utf-8?Q?_prize?=",
            "Now =?iso-8859-1?Q?you_win?= a =?us-ascii?q?p=72ize?=",
            "=?utf-8?Q?win=0Aa_prize?=",
            "=?windows-1252?Q?win_a_prize_=80?=",
            "caf\u{e9}",
            "=?iso-8859-1?Q?caf=E9?=",
        ] {
            let header = format!("Subject: {subject}\r\n");
            assert!(rig.body(&header).starts_with("reject 550"), "{subject}");
        }
        for subject in ["=?utf-8?Q?winaprize?=", "win =?a prize", "=?utf-8?B?!?="] {
            let header = format!("Subject: {subject}\r\n");
            assert_eq!(rig.body(&header), "accept", "{subject}");
        }
        assert_eq!(rig.body("From: =?gb2312?B?yNWxvg==?= <a@b>\r\n"), "accept");
        assert_eq!(rig.hits(), "header.raw score(matches)");
        let long = "x".repeat(DECODED_MAX);
        let long = format!("Subject: =?utf-8?Q?{long}win_a_prize?=\r\n");
        assert_eq!(rig.body(&long), "accept", "beyond what is decoded");
    }

    #[test]
    fn they_decide_before_a_message_streams() {
        let mut rig = rig("quarantine.pool = 'suspicious'
            header_size.mode = 'off'
            [[header]]
            name = 'prize'
            field = 'Subject'
            pattern = 'prize'
            then = 'quarantine'
            [[header]]
            name = 'nodate'
            field = 'Date'
            when = 'absent'");
        let facts = |header| Facts {
            header,
            streams: true,
            ..stranger()
        };
        let dated = facts(b"Date: now\r\nSubject: a prize\r\n");
        assert_eq!(rig.ask(At::Header, &dated), "quarantine");
        let told = rig.ask(At::Header, &facts(b"Subject: x\r\n"));
        assert!(told.starts_with("reject 550"), "{told}");
        let mut endless = facts(b"");
        endless.breaches.header_size = true;
        assert_eq!(rig.ask(At::Header, &endless), "accept", "nothing is known");
    }

    #[test]
    fn scores_add_up() {
        let mut rig = rig(RULES);
        let verdict = rig.body("Subject: cheap pills\r\n");
        assert_eq!(
            verdict,
            "reject 550 5.7.1 Message refused: too much speaks against it"
        );
        assert_eq!(
            rig.hits(),
            "header.nodate score(absent), header.pills score(matches), reject_score reject(score)"
        );
        assert_eq!(rig.judgement.score(), 6.0);
    }

    #[test]
    fn mistakes() {
        let rule = |keys: &str| faults(&format!("[[header]]\nname = 'x'\n{keys}")).join("; ");
        assert_eq!(rule("field = 'Date'\nwhen = 'absent'"), "");
        assert!(rule("field = 'Date'").contains("needs a `pattern`"));
        assert!(
            rule("field = 'Date'\npattern = '('")
                .contains("header \"x\": `pattern` \"(\": unclosed group")
        );
        assert!(
            rule("field = 'Date'\nwhen = 'present'\npattern = 'x'")
                .contains("no use for a `pattern`")
        );
        assert!(rule("field = 'Date:'\nwhen = 'present'").contains("no field name"));
        let many: String = (0..65)
            .map(|i| format!("[[header]]\nname='{i}'\nfield='A'\nwhen='present'\n"))
            .collect();
        assert!(faults(&many).join("").contains("at most 64"));
        let twice = "[[header]]\nname='a'\nfield='A'\nwhen='present'\n".repeat(2);
        assert!(faults(&twice)[0].contains("\"header.a\" is taken"));
    }
}
