//! What one message adds to a report.

use crate::policy::{
    authentication::{
        dkim::{Dkim, SignatureResult},
        dmarc::{Conclusion, Dmarc, Policy},
        under,
    },
    spf::SpfResult,
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, net::IpAddr};

/// A word of the format.
pub type Word = Cow<'static, str>;

/// Octets of a value that are kept.
const VALUE_MAX: usize = 253;

/// One message: the domain that is told, and what it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// What the domain has published.
    pub published: Published,
    /// What is told of the message.
    pub row: Row,
}

/// The record that applied.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Published {
    /// Whose record it is: the policy domain.
    pub domain: Box<str>,
    /// `p=`, `sp=`, `np=`, with what they are where they are not said.
    pub policies: [Word; 3],
    /// `adkim=s`.
    pub dkim_strict: bool,
    /// `aspf=s`.
    pub spf_strict: bool,
    /// `t=y`.
    pub testing: bool,
    /// `fo=`.
    pub failure_options: Word,
    /// The addresses in `rua=`.
    pub uris: Vec<Box<str>>,
}

/// Messages with the same row are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Row {
    /// The client.
    pub source: IpAddr,
    /// The domain in From.
    pub author: Box<str>,
    /// The domain in MAIL FROM; empty for the null path.
    pub sender: Box<str>,
    /// What was done because of DMARC.
    pub disposition: Word,
    /// A signature of the author's domain holds.
    pub dkim: bool,
    /// SPF passes for the author's domain.
    pub spf: bool,
    /// Why that is not what the domain asks for.
    pub reason: Option<Word>,
    /// What came of the signatures, those first that say most.
    pub signatures: Vec<Signature>,
    /// What SPF said, and for which domain.
    pub spf_result: Option<(Box<str>, Word)>,
}

/// A signature.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Signature {
    /// `d=`
    pub domain: Box<str>,
    /// `s=`
    pub selector: Box<str>,
    /// The result of RFC 8601.
    pub result: Word,
    /// Why, where it does not hold.
    pub why: Option<Word>,
}

/// What a message is told by.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The client.
    pub client: IpAddr,
    /// The domain in MAIL FROM.
    pub sender: &'a [u8],
    /// What DMARC says.
    pub dmarc: &'a Dmarc,
    /// What it rests on.
    pub dkim: Option<&'a Dkim>,
    /// What it rests on.
    pub spf: Option<&'a SpfResult>,
    /// What was done because DMARC fails.
    pub applied: Policy,
    /// A failure was lifted because a trusted forwarder vouches for the message.
    pub vouched: bool,
}

impl Seen {
    /// What is told of a message. `None`: the domain asks for no reports, or there is no result to tell.
    #[must_use]
    pub fn of(found: &Found<'_>) -> Option<Seen> {
        let dmarc = found.dmarc;
        let (owner, record) = dmarc.record.as_ref()?;
        let has_result = matches!(dmarc.conclusion, Conclusion::Pass | Conclusion::Fail);
        if record.aggregate_uris.is_empty() || !has_result {
            return None;
        }
        let policy = record.policy.unwrap_or_default();
        let below = record.subdomains.unwrap_or(policy);
        let policies = [policy, below, record.nonexistent.unwrap_or(below)];
        let (disposition, reason) = evaluated(found);
        let options = record.failure_options;
        let words = [(options.any, "1"), (options.dkim, "d"), (options.spf, "s")];
        let words = words.iter().filter(|(on, _)| *on).map(|(_, word)| *word);
        let words: Vec<&str> = words.collect();
        Some(Seen {
            published: Published {
                domain: owner.clone(),
                policies: policies.map(|policy| policy.as_str().into()),
                dkim_strict: record.dkim_strict,
                spf_strict: record.spf_strict,
                testing: record.testing,
                failure_options: match words.is_empty() {
                    true => "0".into(),
                    false => words.join(":").into(),
                },
                uris: record.aggregate_uris.clone(),
            },
            row: Row {
                source: found.client.to_canonical(),
                author: dmarc.author.clone(),
                sender: value(&String::from_utf8_lossy(found.sender).to_ascii_lowercase()),
                disposition: disposition.into(),
                dkim: dmarc.dkim_aligned,
                spf: dmarc.spf_aligned,
                reason: reason.map(Word::Borrowed),
                signatures: signatures(dmarc, found.dkim),
                spf_result: found
                    .spf
                    .filter(|spf| !spf.domain.is_empty())
                    .map(|spf| (value(&spf.domain), spf.code.as_str().into())),
            },
        })
    }
}

impl Published {
    /// Octets that it takes in memory, about.
    #[must_use]
    pub fn octets(&self) -> usize {
        let uris = self
            .uris
            .iter()
            .map(|uri| size_of::<Box<str>>() + 16 + uri.len());
        // With what the table adds for a domain: it is a key there, and its last labels are.
        size_of::<Published>() + 256 + 4 * self.domain.len() + uris.sum::<usize>()
    }
}

impl Row {
    /// Octets that it takes in memory, about.
    #[must_use]
    pub fn octets(&self) -> usize {
        let signatures = self.signatures.iter();
        let signatures =
            signatures.map(|s| size_of::<Signature>() + s.domain.len() + s.selector.len());
        let spf = self
            .spf_result
            .as_ref()
            .map_or(0, |(domain, _)| domain.len());
        // With what the table adds, and what the allocator adds to each piece.
        size_of::<Row>()
            + 160
            + self.author.len()
            + self.sender.len()
            + spf
            + signatures.sum::<usize>()
    }
}

/// What was done by DMARC (RFC 9990 §3.1.1.8), and the reason where that is not what the domain asks for.
fn evaluated(found: &Found<'_>) -> (&'static str, Option<&'static str>) {
    let dmarc = found.dmarc;
    let requested = dmarc.requested.map_or(Policy::None, |(policy, _)| policy);
    if dmarc.conclusion == Conclusion::Pass {
        return match requested {
            Policy::None => ("none", None),
            _ => ("pass", None),
        };
    }
    let reason = match found.applied {
        applied if applied == requested => None,
        _ if found.vouched => Some("trusted_forwarder"),
        // What test mode asks for, or less: the domain said that it is trying.
        applied if applied <= dmarc.disposition && dmarc.disposition != requested => {
            Some("policy_test_mode")
        }
        _ => Some("local_policy"),
    };
    (found.applied.as_str(), reason)
}

/// The signatures in the order of RFC 9990 §3.1.3: those that hold and are the author's own, those of its organization,
/// others that hold, others.
fn signatures(dmarc: &Dmarc, dkim: Option<&Dkim>) -> Vec<Signature> {
    let all = dkim.map_or(&[][..], |dkim| &dkim.signatures);
    // One that could not be read so far has nothing to tell.
    let named = |signature: &&SignatureResult| !signature.domain.is_empty();
    let mut sorted: Vec<&SignatureResult> = all.iter().filter(named).collect();
    sorted.sort_by_key(|signature| match signature.passed() {
        true if signature.domain == dmarc.author => 0,
        true if under(&signature.domain, &dmarc.organizational) => 1,
        true => 2,
        false => 3,
    });
    let told = |signature: &SignatureResult| Signature {
        domain: value(&signature.domain),
        selector: value(&signature.selector),
        result: signature.outcome().as_str().into(),
        why: (!signature.passed()).then(|| signature.reason.as_str().into()),
    };
    sorted.into_iter().map(told).collect()
}

/// A value that a stranger chose, cut.
fn value(text: &str) -> Box<str> {
    text[..text.floor_char_boundary(VALUE_MAX)].into()
}
