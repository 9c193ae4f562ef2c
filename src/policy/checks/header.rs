//! Rules on header fields: there, missing, or with a body that matches a pattern.
//!
//! The header is walked once, whatever the number of rules: a field's name is looked up among the few that
//! rules ask for (most are dismissed by their length), and only a body that has a pattern waiting is
//! unfolded. Where a field stands several times, each is looked at. Then the rules speak in their order.

use super::{Check, Whom};
use crate::{
    config::{HeaderRule, HeaderTest},
    policy::{
        At, Facts, Shared,
        build::Builder,
        lists::names::{explain, pattern},
        replies,
        rule::{Rule, Say},
    },
    smtp::header::{self, Field},
};
use regex::bytes::Regex;
use std::{borrow::Cow, sync::Arc};

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
        (HeaderTest::Matches, Some(text)) => pattern(text)
            .build()
            .map(Test::Matches)
            .map_err(|error| format!("`pattern` {text:?}: {}", explain(&error))),
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

impl Header {
    /// Bit `i`: rule `i` has found its field (and a body that matches, where it asks for one).
    fn found(&self, header: &[u8]) -> u64 {
        let mut found = 0;
        for field in header::fields(header) {
            if self.lengths & length_bit(field.name.len()) == 0 {
                continue;
            }
            let mut body = None;
            for (i, one) in self.rules.iter().enumerate().take(RULES_MAX) {
                if found & (1 << i) == 0 && field.is(&one.field) {
                    let hit = match &one.test {
                        Test::Present | Test::Absent => true,
                        Test::Matches(regex) => {
                            regex.is_match(body.get_or_insert_with(|| unfolded(&field)))
                        }
                    };
                    found |= u64::from(hit) << i;
                }
            }
        }
        found
    }
}

/// The body on one line: as it lies there, unless it has folds.
fn unfolded<'a>(field: &Field<'a>) -> Cow<'a, [u8]> {
    let body = field.body.trim_ascii();
    if memchr::memchr3(b'\r', b'\n', 0, body).is_none() {
        return Cow::Borrowed(body);
    }
    let mut line = Vec::with_capacity(body.len());
    field.unfold(&mut line);
    Cow::Owned(line)
}

impl Check for Header {
    fn stages(&self) -> &'static [At] {
        &[At::Body]
    }

    fn whom(&self) -> Whom {
        Whom::Everybody
    }

    fn look(&self, _: At, facts: &Facts<'_>, _: &Shared, say: &mut Say<'_>) {
        let found = self.found(facts.header);
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
