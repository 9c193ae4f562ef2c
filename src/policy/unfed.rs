//! Rules that read what lists in the DNS say, where no list of the policy can say anything to them. They would never match, or always.

use super::{
    At,
    condition::{Condition, RuleMistake},
    expression::{Fact, Need, Template, span_of},
};
use crate::config::{self, Dnsbl, DnsblOf, Mode};

/// What a rule reads so; worth a warning.
pub(super) fn unfed(
    rule: &config::Rule,
    condition: &Condition,
    lists: &[Dnsbl],
) -> Option<RuleMistake> {
    let is_unfed = |fact: &&Fact| {
        fact.need == Some(Need::Dnsbl) && !lists.iter().any(|list| feeds(list, fact, condition.at))
    };
    let told = |key, fact: &Fact| RuleMistake {
        key,
        span: match key {
            "when" => span_of(&rule.when, fact.name),
            _ => None,
        },
        message: format!("`{}` is always {}", fact.name, nothing(fact)),
        hint: Some(advice(lists, fact, condition.at)),
    };
    let mut read = condition.when.reads();
    let mut said = condition.reply.iter().flat_map(Template::reads);
    let in_condition = read.find(is_unfed).map(|fact| told("when", fact));
    in_condition.or_else(|| said.find(is_unfed).map(|fact| told("reply", fact)))
}

/// What the fact is where no list has the client.
fn nothing(fact: &Fact) -> &'static str {
    match fact.name {
        "dnsbl_hits" | "dnsbl.score" => "0",
        _ => "empty",
    }
}

/// Whether a listing can change the fact by then.
fn feeds(list: &Dnsbl, fact: &Fact, at: At) -> bool {
    is_asked(list) && is_asked_by(list, at) && counts(list, fact)
}

fn is_asked(list: &Dnsbl) -> bool {
    list.mode != Mode::Off
}

/// A list of senders is asked once there is one.
fn is_asked_by(list: &Dnsbl, at: At) -> bool {
    let waits = |of: &DnsblOf| *of == DnsblOf::Sender;
    at >= At::Mail || list.of.is_empty() || !list.of.iter().all(waits)
}

/// Lists with a negative score let in: they are in the sum of the scores alone.
fn counts(list: &Dnsbl, fact: &Fact) -> bool {
    let own = [list.score];
    let entries: Vec<f64> = list.entries.iter().map(|entry| entry.score).collect();
    let scores = match entries.is_empty() {
        true => &own[..],
        false => &entries,
    };
    match fact.name {
        "dnsbl.score" => scores.iter().any(|score| *score != 0.0),
        _ => scores.iter().any(|score| *score >= 0.0),
    }
}

fn advice(lists: &[Dnsbl], fact: &Fact, at: At) -> String {
    let name = fact.name;
    let mut asked = lists.iter().filter(|list| is_asked(list)).peekable();
    if asked.peek().is_none() {
        return match lists.is_empty() {
            true => format!("add a list as a `[[policy.dnsbl]]`, or leave out `{name}`"),
            false => "all lists of `policy.dnsbl` are off: write mode = \"on\", or mode = \"shadow\" to only watch".into(),
        };
    }
    if !asked.any(|list| is_asked_by(list, at)) {
        return format!(
            "the lists are asked about the sender, and the rule is judged at {}",
            at.as_str()
        );
    }
    match name {
        "dnsbl.score" => "give a list of `policy.dnsbl` a `score`".into(),
        _ => "lists with a negative `score` are not counted: add one that lists bad clients".into(),
    }
}
