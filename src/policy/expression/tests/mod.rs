//! What the tests of expressions share, and the tests that go through all of it.

mod evaluation;
mod hostile;
mod mistakes;
mod parsing;

use super::{
    Environment, Expression, Fields, KeyPart, Mistake, NamedList, NamedLists, Rate, Rates, Subject,
    Truth, names,
};
use crate::{
    policy::{
        Facts, Inquiry, Shared,
        dns::testing::{Table, dns},
        inquiry::{self, Want, Wants},
        testing::{config, stranger},
    },
    smtp::{
        envelope::{Envelope, Path, Recipient},
        header,
    },
};
use std::{
    cell::RefCell,
    net::IpAddr,
    sync::{Arc, LazyLock},
};

/// What a test knows.
pub struct Known {
    pub facts: Facts<'static>,
    pub inquiry: Option<Inquiry>,
    pub recipients: Vec<String>,
    pub header: &'static str,
    pub score: f64,
    pub shared: Shared,
}

impl Default for Known {
    fn default() -> Known {
        Known {
            facts: stranger(),
            inquiry: None,
            recipients: Vec::new(),
            header: "",
            score: 0.0,
            shared: Shared::new(&config("")),
        }
    }
}

impl Known {
    /// Hands what is known to `look`, with these header fields.
    pub fn with<T>(&self, headers: &[Box<str>], look: impl FnOnce(&Subject<'_>) -> T) -> T {
        let mut envelope = Envelope::new();
        for recipient in &self.recipients {
            let path = envelope.keep_path(Path::split(recipient.as_bytes()));
            envelope.push_recipient(Recipient {
                path,
                notify: None,
                orcpt: Default::default(),
            });
        }
        let mut fields = Fields::default();
        fields.read(header::fields(self.header.as_bytes()), headers);
        let facts = Facts {
            envelope: Some(&envelope),
            inquiry: self.inquiry.as_ref(),
            ..self.facts
        };
        look(&Subject {
            facts: &facts,
            shared: &self.shared,
            score: self.score,
            welcome: false,
            fields: &fields,
        })
    }

    pub fn judge(&self, rule: &Expression, rates: &dyn Rates) -> Truth {
        self.with(rule.headers(), |subject| rule.judge(subject, rates))
    }
}

/// No list and no name has the client; what SPF says is known where a record is given, and else has not come.
pub fn answers(spf: Option<&str>) -> Inquiry {
    let wants = Wants {
        reverse: Want::Decides,
        spf: Want::Decides,
        ..Wants::default()
    };
    let client = stranger().client;
    let mut inquiry = Inquiry::default();
    inquiry.begin_client(&wants, client, false);
    let line = ("TXT a.example", spf.unwrap_or("nodata"));
    let lines = [line];
    let mut resolve = dns(&lines);
    let mut table = Table::default();
    let mut need = Vec::new();
    let mut settle = |inquiry: &mut Inquiry| {
        for _ in 0..5 {
            inquiry.step(&wants, &table, 0, &mut need);
            for question in need.drain(..) {
                let answer = resolve(&question);
                table.0.insert(question, answer);
            }
        }
    };
    settle(&mut inquiry);
    inquiry.begin_sender(
        &wants,
        &inquiry::Envelope {
            client,
            sender: Path::split(b"a@a.example"),
            receiver: &"mx.example".into(),
            unix_seconds: 0,
        },
    );
    if spf.is_some() {
        settle(&mut inquiry);
    }
    inquiry
}

/// Rates that remember what they were charged with.
#[derive(Default)]
pub struct Charged {
    pub keys: RefCell<Vec<String>>,
    pub accounts: RefCell<Vec<u64>>,
    pub above: bool,
}

impl Rates for Charged {
    fn is_above(&self, rate: &Rate, key: &[KeyPart<'_>]) -> bool {
        let key = format!("{}/{}ms {key:?}", rate.limit, rate.per_ms);
        self.keys.borrow_mut().push(key);
        self.accounts.borrow_mut().push(rate.account);
        self.above
    }
}

/// A list of a few entries.
struct Few(&'static [&'static str]);

impl NamedList for Few {
    fn has_address(&self, address: IpAddr) -> bool {
        self.0.iter().any(|entry| {
            let network = entry.parse::<ipnet::IpNet>();
            network.is_ok_and(|network| network.contains(&address))
        })
    }

    fn has_domain(&self, domain: &[u8]) -> bool {
        self.0
            .iter()
            .any(|entry| names::same(entry.as_bytes(), domain))
    }

    fn has_mailbox(&self, mailbox: &[u8]) -> bool {
        let domain = memchr::memrchr(b'@', mailbox).map_or(b"".as_slice(), |at| &mailbox[at + 1..]);
        self.has_domain(mailbox) || self.has_domain(domain)
    }

    fn has_text(&self, text: &[u8]) -> bool {
        self.0.iter().any(|entry| entry.as_bytes() == text)
    }
}

static LISTS: LazyLock<NamedLists> = LazyLock::new(|| {
    let list: Arc<dyn NamedList> = Arc::new(Few(&[
        "192.0.2.0/24",
        "partner.example",
        "amy@example.com",
        "amy",
    ]));
    [("partners".to_string(), list)].into()
});

pub fn environment() -> Environment<'static> {
    Environment {
        rule: "test",
        lists: &LISTS,
        unread_list: None,
    }
}

/// Compiles, or fails the test.
pub fn compiled(text: &str) -> Expression {
    Expression::compile(text, &environment()).unwrap_or_else(|why| panic!("{text}: {why:#?}"))
}

pub fn judged(text: &str, known: &Known) -> Truth {
    known.judge(&compiled(text), &Charged::default())
}

/// The mistakes of a text that is wrong.
pub fn mistakes(text: &str) -> Vec<Mistake> {
    match Expression::compile(text, &environment()) {
        Ok(_) => panic!("{text} passed"),
        Err(mistakes) => mistakes,
    }
}
