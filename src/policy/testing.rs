//! What the tests of the checks share: a policy from a few lines of TOML, asked in words.

use super::*;
use crate::{
    config,
    smtp::{Tick, envelope::Path},
};
use std::net::IpAddr;

/// A policy with its tables and one session.
pub struct Rig {
    pub policy: Policy,
    pub shared: Shared,
    pub judgement: Judgement,
    pub inquiry: Inquiry,
}

/// Reads `[policy]` keys; what they don't say of HELO rules and client rates is off, to keep tests apart.
pub fn config(toml: &str) -> config::Policy {
    let mut read: config::Policy = toml::from_str(toml).expect("a policy in TOML");
    let written = |key: &str| toml.contains(key);
    if !written("helo.") {
        let off = config::Outcome {
            mode: config::Mode::Off,
            ..Default::default()
        };
        read.helo = config::HeloRules {
            unqualified: off.clone(),
            address: off.clone(),
            ours: off,
        };
    }
    for (rate, key) in [
        (&mut read.client_rate, "client_rate"),
        (&mut read.prefix_rate, "prefix_rate"),
    ] {
        if !written(key) {
            *rate = config::Rate::default();
        }
    }
    read
}

pub fn rig(toml: &str) -> Rig {
    let config = config(toml);
    let policy =
        Policy::build(&config, "mx.example.net").unwrap_or_else(|faults| panic!("{faults:?}"));
    policy.take_lists_for_probed();
    Rig {
        policy,
        shared: Shared::new(&config),
        judgement: Judgement::new(),
        inquiry: Inquiry::default(),
    }
}

/// The mistakes in these keys.
pub fn faults(toml: &str) -> Vec<String> {
    match Policy::build(&config(toml), "mx.example.net") {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}

/// A stranger at 192.0.2.7, at the start of time.
pub fn stranger() -> Facts<'static> {
    Facts::of(ip("192.0.2.7"), Tick(0))
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

impl Rig {
    /// `accept`, or what is done and the reply: `reject 550 5.7.1 …`.
    pub fn ask(&mut self, at: At, facts: &Facts<'_>) -> String {
        match self
            .policy
            .ask(at, facts, &self.shared, &mut self.judgement)
        {
            verdict if verdict.is_accept() => verdict.as_str().into(),
            Verdict::Defer(reply) => format!("defer {reply}"),
            Verdict::Reject(reply) => format!("reject {reply}"),
            Verdict::Close(reply) => format!("close {reply}"),
            _ => unreachable!("it refuses"),
        }
    }

    /// Asks what the policy wants to know of a client that says this, of a DNS that says `lines`: see
    /// [`dns::testing::dns`]. Then what it judges at each point up to the first refusal.
    pub fn judge_with(&mut self, facts: &Facts<'_>, lines: &[(&str, &str)]) -> String {
        let mut inquiry = std::mem::take(&mut self.inquiry);
        let mut resolve = dns::testing::dns(lines);
        let mut table = dns::testing::Table::default();
        let mut need = Vec::new();
        for at in [At::Connect, At::Hello, At::Mail] {
            self.policy
                .begin_inquiry(at, facts, &self.judgement, &mut inquiry);
            for _ in 0..20 {
                self.policy
                    .inquire(facts.profile, &mut inquiry, &table, facts.now, &mut need);
                for question in need.drain(..) {
                    let answer = resolve(&question);
                    table.0.insert(question, answer);
                }
            }
        }
        let mut verdict = "accept".to_string();
        for at in [At::Connect, At::Greeting, At::Hello, At::Mail, At::Answers] {
            let facts = Facts {
                inquiry: Some(&inquiry),
                ..*facts
            };
            verdict = self.ask(at, &facts);
            if verdict != "accept" {
                break;
            }
        }
        self.inquiry = inquiry;
        verdict
    }

    pub fn connect(&mut self, client: &str) -> String {
        self.ask(
            At::Connect,
            &Facts {
                client: ip(client),
                ..stranger()
            },
        )
    }

    pub fn hello(&mut self, hello: &str) -> String {
        self.ask(
            At::Hello,
            &Facts {
                hello: hello.as_bytes(),
                ..stranger()
            },
        )
    }

    pub fn mail(&mut self, sender: &str) -> String {
        self.ask(
            At::Mail,
            &Facts {
                sender: Path::split(sender.as_bytes()),
                ..stranger()
            },
        )
    }

    /// Of a recipient whose domain is ours.
    pub fn rcpt(&mut self, recipient: &str) -> String {
        let recipient = Some(Path::split(recipient.as_bytes()));
        self.ask(
            At::Rcpt,
            &Facts {
                recipient,
                recipient_is_ours: true,
                ..stranger()
            },
        )
    }

    /// Of a message that has come whole: its header, then all of it.
    pub fn body(&mut self, header: &str) -> String {
        let facts = Facts {
            header: header.as_bytes(),
            size: header.len() as u64,
            ..stranger()
        };
        match self.ask(At::Header, &facts) {
            refused if refused.contains(' ') => refused,
            _ => self.ask(At::Body, &facts),
        }
    }

    /// The hits, as `name deed(detail)`, those in shadow in brackets.
    pub fn hits(&self) -> String {
        let word = |hit: &Hit| {
            let name = &self
                .policy
                .check(hit.check)
                .expect("an id of this policy")
                .name;
            let detail = if hit.detail.is_empty() {
                String::new()
            } else {
                format!("({})", hit.detail)
            };
            let text = format!("{name} {}{detail}", hit.what.as_str());
            if hit.shadow {
                format!("[{text}]")
            } else {
                text
            }
        };
        self.judgement
            .hits()
            .iter()
            .map(word)
            .collect::<Vec<_>>()
            .join(", ")
    }
}
