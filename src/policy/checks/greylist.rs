//! `[policy.greylist]`: a message whose score is high enough is put off when it comes for the first time. What is remembered
//! is in `memory/greylist.rs`.
//!
//! No client or sender that is known waits: clients that are trusted or have authenticated, clients that a client list or a
//! list in the DNS lets in, and senders that our users have written to. A domain that answers for the client by SPF stands for
//! all its servers, so that a message that comes again from another of them passes; otherwise the client's network does.

use super::{Check, Whom};
use crate::{
    client_key,
    config::{Then, Time},
    policy::{
        At, Facts, HitKind, Shared, What,
        builder::{Builder, RuleSettings},
        dns::tally,
        lists::lower,
        memory::{
            greylist::{Outcome, Pass, Terms, Triple},
            shown_domain,
        },
        replies,
        rule::{Rule, Say},
        spf::ResultCode,
        wants::{Want, Wants},
    },
    smtp::envelope::Path,
};
use std::{
    hash::BuildHasher,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

/// Octets of a domain that are shown.
const SHOWN_MAX: usize = 80;

struct Greylist {
    rule: Rule,
    score: f64,
    terms: Terms,
}

pub fn build(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    let settings = &builder.config.greylist;
    let rule = RuleSettings {
        then: Then::Defer,
        score: 0.0,
        reply: settings.reply.as_deref(),
        mode: settings.mode,
    };
    let doc = "The message came for the first time, and has a score.";
    let rule = builder.rule("greylist".into(), doc, "greylist", rule, &replies::GREYLIST)?;
    Some(Arc::new(Greylist {
        rule,
        score: settings.score,
        terms: Terms {
            delay: settings.delay.0.as_secs(),
            window: settings.window.0.as_secs(),
            lifetime: settings.lifetime.0.as_secs(),
            allow_after: settings.allow_after.into(),
        },
    }))
}

impl Check for Greylist {
    fn name(&self) -> &'static str {
        "greylist"
    }

    fn stages(&self) -> &[At] {
        &[At::Rcpt]
    }

    fn wants(&self, wants: &mut Wants, welcome: bool) {
        if welcome {
            return;
        }
        wants.spf = Want::Decides;
        wants.waits |= 1 << At::Answers as u16;
    }

    fn reads_answers(&self, _: At) -> bool {
        true
    }

    fn reads_scores(&self) -> bool {
        true
    }

    fn whom(&self) -> Whom {
        Whom::Strangers
    }

    fn finds(&self) -> HitKind {
        HitKind::Finding
    }

    fn look(&self, _: At, facts: &Facts<'_>, shared: &Shared, say: &mut Say<'_>) {
        let is_due = say.score() >= self.score || say.has_asked(What::Greylist);
        if !is_due || is_vouched_for(facts, shared) {
            return;
        }
        let (client, shown) = client(facts, shared);
        let triple = triple(client, facts, shared);
        let greylist = &shared.memory.greylist;
        let outcome = greylist.ask(triple, &self.terms, facts.unix_seconds, facts.now);
        let time = Time::secs;
        let (what, detail) = match outcome {
            Outcome::Wait { left, first: true } => {
                (What::Defer, format!("{shown} is new, {}", time(left)))
            }
            Outcome::Wait { left, first: false } => {
                (What::Defer, format!("{shown} waits, {} left", time(left)))
            }
            Outcome::Pass(pass) => {
                let why = match pass {
                    Pass::Allowed => "has come again often".to_string(),
                    Pass::Known => "is known".into(),
                    Pass::Again(after) => format!("has come again after {}", time(after)),
                    Pass::NoRoom => "could not be remembered".into(),
                };
                (What::Accept, format!("{shown} {why}"))
            }
        };
        let _ = say.hit_as(&self.rule, what, detail, |rule| rule.reply.clone());
    }
}

/// Whether somebody answers for the client or the sender.
fn is_vouched_for(facts: &Facts<'_>, shared: &Shared) -> bool {
    let spf = facts.inquiry.and_then(|inquiry| inquiry.spf());
    // Anybody can write an address that SPF speaks against.
    let is_denied =
        spf.is_some_and(|spf| matches!(spf.code, ResultCode::Fail | ResultCode::SoftFail));
    if !is_denied && shared.is_correspondent(facts.sender, facts.unix_seconds) {
        return true;
    }
    let Some(inquiry) = facts.inquiry else {
        return false;
    };
    let proven = inquiry.proven();
    inquiry.listings().any(|(zone, listing)| {
        zone.is_allow_list()
            && listing.is_ok_and(|listing| tally::weight(zone, listing, &proven) < 0.0)
    })
}

/// The hash of what stands for the client, and what it is in the log.
fn client(facts: &Facts<'_>, shared: &Shared) -> (u64, String) {
    if let Some(domain) = shown_domain(facts, facts.inquiry) {
        let shown = &domain[..domain.len().min(SHOWN_MAX)];
        let shown = String::from_utf8_lossy(shown).into_owned();
        return (shared.domain_hash(domain), shown);
    }
    let (network, shown) = network(facts.client);
    (shared.secret.hash_one(("network", network)), shown)
}

/// The network of an address: a /24 or a /64, as one server's machines mostly share it.
fn network(client: IpAddr) -> (u128, String) {
    match client.to_canonical() {
        IpAddr::V4(v4) => {
            let network = Ipv4Addr::from(u32::from(v4) & 0xffff_ff00);
            (client_key::prefix(client), format!("{network}/24"))
        }
        IpAddr::V6(_) => {
            let network = client_key::address(client);
            (network, format!("{}/64", Ipv6Addr::from(network)))
        }
    }
}

fn triple(client: u64, facts: &Facts<'_>, shared: &Shared) -> Triple {
    let recipient = facts.recipient.unwrap_or(Path::split(b""));
    let whole = (
        client,
        sender(facts.sender),
        shared.domain_hash(facts.sender.domain),
        plain(recipient.local),
        shared.domain_hash(recipient.domain),
    );
    Triple {
        client,
        whole: shared.secret.hash_one(whole),
        address: client_key::address(facts.client),
        network: client_key::prefix(facts.client),
    }
}

/// A local part without its extension, in lower case.
fn plain(local: &[u8]) -> Vec<u8> {
    let mut room = [0; lower::ROOM];
    let local = lower::text(local, &mut room);
    let end = local.iter().skip(1).position(|octet| *octet == b'+');
    local[..end.map_or(local.len(), |end| end + 1)].to_vec()
}

/// The local part of a sender without what differs from message to message: mailing lists write the recipient or a number
/// into it (VERP), and BATV a checksum.
fn sender(sender: Path<'_>) -> Vec<u8> {
    let local = plain(sender.local);
    let local = match local.strip_prefix(b"prvs=") {
        Some(rest) => rest
            .iter()
            .position(|octet| *octet == b'=')
            .map_or(rest, |at| &rest[at + 1..]),
        None => &local,
    };
    let mut out = Vec::with_capacity(local.len());
    for word in local.split_inclusive(|octet| !octet.is_ascii_alphanumeric()) {
        let end = word
            .iter()
            .position(|octet| !octet.is_ascii_alphanumeric())
            .unwrap_or(word.len());
        let (word, mark) = word.split_at(end);
        match !word.is_empty() && word.iter().all(u8::is_ascii_digit) {
            true => out.push(b'#'),
            false => out.extend_from_slice(word),
        }
        out.extend_from_slice(mark);
    }
    out
}

#[cfg(test)]
mod tests;
