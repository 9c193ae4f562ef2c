//! Conditions of rules against the `cel` crate's interpreter: what is valid in both comes to the same in both.
//!
//! The expressions are made at random, by type, over facts and functions that both have. Of what differs on purpose
//! (`docs/decisions/0020-language-of-rules.md`) this much is met here:
//!
//! - What has no value (a division by zero, a number beyond 64 bits) is *unknown* in rules and an error in CEL. Both let `&&` and
//!   `||` decide where one side is enough, so the two are the same here.
//! - A constant that has no value is a mistake of `check` in rules. Such expressions are not valid, and are made anew.
//! - Domains and mail addresses are compared in any case; all names here are in lower case.
//! - CEL has no comparison of a fact that is a whole number with a float; the expressions have none.

use cel::{Context, Program, Value};
use gatepost::{
    policy::{
        Facts, SessionCounts, Shared,
        expression::{
            Environment, Expression, Fields, KeyPart, NamedLists, Rate, Rates, Subject, Truth,
        },
    },
    smtp::{
        Tick,
        envelope::{Envelope, MailParams, Path, Recipient},
    },
};
use std::{collections::HashMap, sync::LazyLock};

/// Valid expressions that are compared.
const EXPRESSIONS: usize = 1_000;
/// How deep they are at most.
const DEPTH_MAX: u32 = 5;

/// A fixed sequence that looks random (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.next(of.len() as u64) as usize]
    }
}

/// Makes expressions. `loops` is how many loops are around.
struct Maker {
    random: Random,
    loops: usize,
}

const ITEMS: [&str; 2] = ["r", "s"];
const TEXTS: &[&str] = &[
    r#""""#,
    r#""mx""#,
    r#""mx2""#,
    "'ann'",
    r#""ann+x""#,
    r#""b\u00fccher""#,
    r#""a\"b\\""#,
    r#"r"a\b""#,
    "'bücher'",
];
const NAMES: &[&str] = &[
    r#""""#,
    r#""mx.example.net""#,
    r#""sender.example""#,
    r#""example.net""#,
    r#""localhost""#,
];
const MAILBOXES: &[&str] = &[
    r#""b@example.net""#,
    r#""c@example.net""#,
    r#""d@other.example""#,
    r#""nobody@example.org""#,
];

impl Maker {
    fn is_leaf(&mut self, depth: u32) -> bool {
        depth == 0 || self.random.next(5) == 0
    }

    fn truth(&mut self, depth: u32) -> String {
        if self.is_leaf(depth) {
            let leaf = [
                "client.trusted",
                "client.early_talk",
                "recipient.ours",
                "true",
                "false",
                "has(auth.account)",
            ];
            return self.random.one(&leaf).into();
        }
        let depth = depth - 1;
        match self.random.next(12) {
            0 | 1 => format!("({} && {})", self.truth(depth), self.truth(depth)),
            2 | 3 => format!("({} || {})", self.truth(depth), self.truth(depth)),
            4 => format!("!{}", self.truth(depth)),
            5 => format!(
                "({} ? {} : {})",
                self.truth(depth),
                self.truth(depth),
                self.truth(depth)
            ),
            6 => {
                let operator = self.random.one(&["==", "!=", "<", "<=", ">", ">="]);
                format!("({} {operator} {})", self.whole(depth), self.whole(depth))
            }
            7 => {
                let operator = self.random.one(&["==", "!=", "<", "<=", ">", ">="]);
                format!("({} {operator} {})", self.float(depth), self.float(depth))
            }
            8 => self.of_texts(),
            9 => self.of_names(),
            10 => match self.random.next(2) {
                0 => format!(
                    "({} in [{}, {}])",
                    self.random.one(&["client.sessions", "message.size", "2"]),
                    self.random.next(9),
                    self.random.next(9)
                ),
                _ => format!("({} == {})", self.truth(depth), self.truth(depth)),
            },
            _ => self.of_list(depth),
        }
    }

    fn text(&mut self) -> String {
        match self.random.next(3) {
            0 => self.random.one(TEXTS).into(),
            _ => self
                .random
                .one(&["listener", "sender.local", "recipient.local"])
                .into(),
        }
    }

    fn of_texts(&mut self) -> String {
        let (a, b) = (self.text(), self.text());
        match self.random.next(3) {
            0 => {
                let method = self.random.one(&["startsWith", "endsWith", "contains"]);
                format!("{a}.{method}({})", self.random.one(TEXTS))
            }
            1 => {
                let operator = self.random.one(&["==", "!=", "<", "<=", ">", ">="]);
                format!("({a} {operator} {b})")
            }
            _ => format!(
                "({a} in [{}, {}])",
                self.random.one(TEXTS),
                self.random.one(TEXTS)
            ),
        }
    }

    fn of_names(&mut self) -> String {
        let fact = self
            .random
            .one(&["helo", "sender.domain", "recipient.domain"]);
        let (a, b) = (self.random.one(NAMES), self.random.one(NAMES));
        match self.random.next(3) {
            0 => format!("({fact} {} {a})", self.random.one(&["==", "!="])),
            1 => format!("({fact} in [{a}, {b}])"),
            _ => {
                let method = self.random.one(&["startsWith", "endsWith", "contains"]);
                format!(
                    "{fact}.{method}({})",
                    self.random
                        .one(&[r#""mx""#, r#"".example""#, r#""ample""#, r#""""#])
                )
            }
        }
    }

    fn of_list(&mut self, depth: u32) -> String {
        if self.loops == ITEMS.len() || self.random.next(3) == 0 {
            return format!("({} in recipients)", self.random.one(MAILBOXES));
        }
        let item = ITEMS[self.loops];
        self.loops += 1;
        let of_item = match self.random.next(3) {
            0 => format!("{item} == {}", self.random.one(MAILBOXES)),
            1 => format!(
                "{item}.endsWith({})",
                self.random.one(&[r#""example.net""#, r#"".example""#])
            ),
            _ => format!("{item}.size() > {}", self.random.next(20)),
        };
        let condition = match self.random.next(2) {
            0 => of_item,
            _ => format!("{of_item} || {}", self.truth(depth.min(2))),
        };
        self.loops -= 1;
        let method = self.random.one(&["exists", "all"]);
        format!("recipients.{method}({item}, {condition})")
    }

    fn whole(&mut self, depth: u32) -> String {
        if self.is_leaf(depth) {
            return match self.random.next(5) {
                0 => "client.sessions".into(),
                1 => "message.size".into(),
                2 => "message.declared_size".into(),
                // Some that leave the range.
                3 if self.random.next(8) == 0 => i64::MAX.to_string(),
                _ => self.random.next(7).to_string(),
            };
        }
        let depth = depth - 1;
        match self.random.next(6) {
            0 => format!("size({})", self.text()),
            1 => "recipients.size()".into(),
            2 => format!("-{}", self.whole(0)),
            3 => format!(
                "({} ? {} : {})",
                self.truth(depth),
                self.whole(depth),
                self.whole(depth)
            ),
            _ => {
                let operator = self.random.one(&["+", "-", "*", "/", "%"]);
                format!("({} {operator} {})", self.whole(depth), self.whole(depth))
            }
        }
    }

    fn float(&mut self, depth: u32) -> String {
        if self.is_leaf(depth) {
            return match self.random.next(2) {
                0 => "score".into(),
                _ => format!("{}.{}", self.random.next(9), self.random.next(100)),
            };
        }
        let depth = depth - 1;
        match self.random.next(4) {
            0 => format!("double({})", self.whole(depth)),
            1 => format!("-{}", self.float(0)),
            _ => {
                let operator = self.random.one(&["+", "-", "*", "/"]);
                format!("({} {operator} {})", self.float(depth), self.float(depth))
            }
        }
    }
}

/// What both are told.
struct World {
    trusted: bool,
    sessions: u32,
    size: u64,
    declared: u64,
    score: f64,
    helo: &'static str,
    sender: &'static str,
    recipients: &'static [&'static str],
    account: Option<&'static str>,
}

const WORLDS: [World; 3] = [
    World {
        trusted: false,
        sessions: 3,
        size: 5000,
        declared: 0,
        score: 4.5,
        helo: "mx.example.net",
        sender: "ann+x@sender.example",
        recipients: &["b@example.net", "c@example.net"],
        account: None,
    },
    World {
        trusted: true,
        sessions: 0,
        size: 1 << 40,
        declared: 10,
        score: -1.0,
        helo: "localhost",
        sender: "",
        recipients: &["d@other.example"],
        account: Some("ann"),
    },
    World {
        trusted: false,
        sessions: u32::MAX,
        size: 1,
        declared: 1,
        score: 0.0,
        helo: "",
        sender: "mx@example.net",
        recipients: &[],
        account: Some("mx"),
    },
];

struct NoRates;

impl Rates for NoRates {
    fn is_above(&self, _: &Rate, _: &[KeyPart<'_>]) -> bool {
        false
    }
}

/// Nothing is remembered.
static NOTHING: LazyLock<Shared> = LazyLock::new(|| Shared::of_all(&[]));

/// What rules make of it. `None`: it has no value.
fn ours(expression: &Expression, world: &World) -> Option<bool> {
    let mut envelope = Envelope::new();
    let sender = envelope.keep_path(Path::split(world.sender.as_bytes()));
    let params = MailParams {
        size: world.declared,
        ..MailParams::default()
    };
    envelope.set_sender(sender, params);
    for recipient in world.recipients {
        let path = envelope.keep_path(Path::split(recipient.as_bytes()));
        envelope.push_recipient(Recipient {
            path,
            notify: None,
            orcpt: Default::default(),
        });
    }
    let last = world
        .recipients
        .last()
        .map(|last| Path::split(last.as_bytes()));
    let facts = Facts {
        listener: "mx",
        trusted: world.trusted,
        sessions: SessionCounts {
            client: world.sessions,
            prefix: 0,
        },
        hello: world.helo.as_bytes(),
        sender: Path::split(world.sender.as_bytes()),
        recipient: last,
        recipient_is_ours: true,
        envelope: Some(&envelope),
        size: world.size,
        authenticated: world.account,
        ..Facts::of([192, 0, 2, 7].into(), Tick::default())
    };
    let subject = Subject {
        facts: &facts,
        shared: &NOTHING,
        score: world.score,
        welcome: false,
        fields: &Fields::default(),
    };
    match expression.judge(&subject, &NoRates) {
        Truth::True => Some(true),
        Truth::False => Some(false),
        Truth::Unknown(_) => None,
    }
}

/// What the interpreter makes of it. `None`: an error.
fn theirs(program: &Program, world: &World) -> Option<bool> {
    let map = |pairs: Vec<(&str, Value)>| -> Value {
        let pairs = pairs
            .into_iter()
            .map(|(key, value)| (key.to_string(), value));
        pairs.collect::<HashMap<String, Value>>().into()
    };
    let text = |text: &str| Value::from(text.to_string());
    let parts = |address: &str| {
        let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
        [("local", text(local)), ("domain", text(domain))]
    };
    let mut context = Context::default();
    let client = vec![
        ("trusted", world.trusted.into()),
        ("early_talk", false.into()),
        ("sessions", i64::from(world.sessions).into()),
    ];
    let message = vec![
        ("size", (world.size as i64).into()),
        ("declared_size", (world.declared as i64).into()),
    ];
    let last = world.recipients.last().copied().unwrap_or_default();
    let mut recipient = parts(last).to_vec();
    recipient.push(("ours", true.into()));
    let account = world.account.map(|account| ("account", text(account)));
    let all: Vec<Value> = world
        .recipients
        .iter()
        .map(|recipient| text(recipient))
        .collect();
    for (name, value) in [
        ("client", map(client)),
        ("message", map(message)),
        ("sender", map(parts(world.sender).to_vec())),
        ("recipient", map(recipient)),
        ("auth", map(account.into_iter().collect())),
        ("helo", text(world.helo)),
        ("listener", text("mx")),
        ("score", world.score.into()),
        ("recipients", all.into()),
    ] {
        context.add_variable_from_value(name, value);
    }
    match program.execute(&context) {
        Ok(Value::Bool(value)) => Some(value),
        Ok(other) => panic!("a condition of another type: {other:?}"),
        Err(_) => None,
    }
}

#[test]
fn a_thousand_conditions_come_to_the_same_in_cel() {
    let environment = Environment {
        rule: "test",
        lists: &NamedLists::new(),
        unread_list: None,
    };
    let mut maker = Maker {
        random: Random(2026),
        loops: 0,
    };
    let (mut compared, mut made, mut without_value, mut truths) = (0, 0, 0, 0);
    let mut wrong = Vec::new();
    while compared < EXPRESSIONS {
        made += 1;
        assert!(made < 2 * EXPRESSIONS, "most that are made are valid");
        let text = maker.truth(DEPTH_MAX);
        let expression = match Expression::compile(&text, &environment) {
            Ok(expression) => expression,
            Err(mistakes) => {
                for mistake in mistakes {
                    let constant = ["range", "by zero", "always"];
                    let said = format!("{mistake:?}");
                    assert!(
                        constant.iter().any(|part| said.contains(part)),
                        "{text}: {said}"
                    );
                }
                continue;
            }
        };
        let program = Program::compile(&text).unwrap_or_else(|why| panic!("{text}: {why}"));
        compared += 1;
        for world in &WORLDS {
            let (ours, theirs) = (ours(&expression, world), theirs(&program, world));
            without_value += usize::from(ours.is_none());
            truths += usize::from(ours == Some(true));
            if ours != theirs {
                wrong.push(format!("{text}\n  ours {ours:?}, theirs {theirs:?}"));
            }
        }
    }
    println!(
        "{made} made, {truths} true and {without_value} without a value of {}",
        3 * compared
    );
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    // The comparison says something.
    assert!(
        truths > EXPRESSIONS / 2 && truths < 5 * EXPRESSIONS / 2,
        "{truths}"
    );
    assert!(without_value > 10, "{without_value}");
}
