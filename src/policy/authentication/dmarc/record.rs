//! Policy records: `_dmarc.domain` (RFC 9989 §4.7, §4.8).
//!
//! A record is known by its first tag. What is wrong in the rest is left out, tag by tag; `pct`, `rf` and `ri` of earlier
//! versions are tags like others that mean nothing.

use crate::dns::{Answer, Record as DnsRecord};
use crate::policy::authentication::tags;

/// Octets of a record that are read. One that is longer counts as none.
pub const RECORD_MAX: usize = 4096;
/// Addresses of each kind that are kept.
pub const URIS_MAX: usize = 8;
/// Octets of one address.
pub const URI_MAX: usize = 512;

/// What a domain asks for mail that fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// Nothing.
    #[default]
    None,
    /// Suspicion.
    Quarantine,
    /// Refusal.
    Reject,
}

impl Policy {
    /// The word for it in records and results.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Policy::None => "none",
            Policy::Quarantine => "quarantine",
            Policy::Reject => "reject",
        }
    }

    /// What is applied in its place in test mode: one level less (`t=y`).
    #[must_use]
    pub const fn in_test(self) -> Policy {
        match self {
            Policy::Reject => Policy::Quarantine,
            Policy::Quarantine | Policy::None => Policy::None,
        }
    }

    fn read(value: &[u8]) -> Option<Policy> {
        let all = [Policy::None, Policy::Quarantine, Policy::Reject];
        let is = |policy: &Policy| value.eq_ignore_ascii_case(policy.as_str().as_bytes());
        all.into_iter().find(is)
    }
}

/// `psd=`: what kind of domain has the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Suffix {
    /// `y`: a public suffix.
    Yes,
    /// `n`: the organizational domain, whatever is above it.
    No,
    /// `u`, or not said.
    #[default]
    Unsaid,
}

/// When failure reports are asked for (`fo=`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FailureOptions {
    /// `1`: where anything has not passed. Else (`0`) where all have not.
    pub any: bool,
    /// `d`: for each signature that fails.
    pub dkim: bool,
    /// `s`: where SPF fails.
    pub spf: bool,
}

/// One record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// `p=`. `None`: it can't be used (RFC 9989 §4.10.1: no valid policy, and no address that would like to know).
    pub policy: Option<Policy>,
    /// `sp=`: for names below, where they exist.
    pub subdomains: Option<Policy>,
    /// `np=`: for names below that don't exist.
    pub nonexistent: Option<Policy>,
    /// `adkim=s`.
    pub dkim_strict: bool,
    /// `aspf=s`.
    pub spf_strict: bool,
    /// `t=y`.
    pub testing: bool,
    /// `psd=`.
    pub suffix: Suffix,
    /// `rua=`: where aggregate reports go. A size after `!` is left out.
    pub aggregate_uris: Vec<Box<str>>,
    /// `ruf=`: where failure reports go.
    pub failure_uris: Vec<Box<str>>,
    /// `fo=`.
    pub failure_options: FailureOptions,
}

/// The record in an answer, if there is exactly one (RFC 9989 §4.10 steps 2 and 7).
pub fn find(answer: &Answer) -> Option<Record> {
    let Answer::Found(records) = answer else {
        return None;
    };
    let mut found = records.iter().filter_map(|record| match record {
        DnsRecord::Txt(text) => tags_of(text),
        _ => None,
    });
    let tags = found.next()?;
    found.next().is_none().then(|| read(tags))
}

/// The consent of a host to reports about another's domain, if the answer has it: the addresses that it wants them at, where
/// it names some (RFC 9990 §4 steps 6 to 9).
pub fn consents(answer: &Answer) -> Option<Vec<Box<str>>> {
    let Answer::Found(records) = answer else {
        return None;
    };
    let tags = records.iter().filter_map(|record| match record {
        DnsRecord::Txt(text) => tags_of(text),
        _ => None,
    });
    tags.map(|tags| read(tags).aggregate_uris)
        .reduce(|first, other| if first.is_empty() { other } else { first })
}

/// What follows `v=DMARC1`, if the text is a record.
fn tags_of(text: &[u8]) -> Option<&[u8]> {
    let end = memchr::memchr(b';', text).unwrap_or(text.len());
    let (first, rest) = text.split_at(end);
    let equals = memchr::memchr(b'=', first)?;
    let (name, value) = (
        first[..equals].trim_ascii_end(),
        first[equals + 1..].trim_ascii(),
    );
    let is_record =
        name.eq_ignore_ascii_case(b"v") && value == b"DMARC1" && text.len() <= RECORD_MAX;
    is_record.then_some(rest)
}

fn read(tags: &[u8]) -> Record {
    let mut record = Record::default();
    // Of each tag the first counts.
    let mut seen: Vec<&[u8]> = Vec::new();
    let mut bad_policy = false;
    for entry in tags.split(|octet| *octet == b';') {
        let Some((name, value)) = tags::pair(entry.trim_ascii()) else {
            continue;
        };
        if seen.len() == tags::TAGS_MAX || seen.iter().any(|other| other.eq_ignore_ascii_case(name))
        {
            continue;
        }
        seen.push(name);
        let mut policy = || {
            let policy = Policy::read(value);
            bad_policy |= policy.is_none();
            policy
        };
        let is = |word: &str| value.eq_ignore_ascii_case(word.as_bytes());
        match name.to_ascii_lowercase().as_slice() {
            b"p" => record.policy = policy(),
            b"sp" => record.subdomains = policy(),
            b"np" => record.nonexistent = policy(),
            b"adkim" => record.dkim_strict = is("s"),
            b"aspf" => record.spf_strict = is("s"),
            b"t" => record.testing = is("y"),
            b"psd" if is("y") => record.suffix = Suffix::Yes,
            b"psd" if is("n") => record.suffix = Suffix::No,
            b"rua" => record.aggregate_uris = uris(value),
            b"ruf" => record.failure_uris = uris(value),
            b"fo" => record.failure_options = failure_options(value),
            _ => {}
        }
    }
    if bad_policy || record.policy.is_none() {
        let reports = !record.aggregate_uris.is_empty();
        record.policy = reports.then_some(Policy::None);
        record.subdomains = None;
        record.nonexistent = None;
    }
    record
}

fn failure_options(value: &[u8]) -> FailureOptions {
    FailureOptions {
        any: tags::has_word(value, &["1"]),
        dkim: tags::has_word(value, &["d"]),
        spf: tags::has_word(value, &["s"]),
    }
}

/// The addresses in a list, those that are none left out.
fn uris(value: &[u8]) -> Vec<Box<str>> {
    let uris = value.split(|octet| *octet == b',').filter_map(|uri| {
        let uri = uri.trim_ascii();
        let size = memchr::memchr(b'!', uri).unwrap_or(uri.len());
        let uri = &uri[..size];
        let scheme = &uri[..memchr::memchr(b':', uri)?];
        let of_scheme = |octet: &u8| octet.is_ascii_alphanumeric() || b"+-.".contains(octet);
        let fits = uri.len() <= URI_MAX && scheme.len() + 1 < uri.len();
        let begins = scheme.first().is_some_and(u8::is_ascii_alphabetic);
        if !fits
            || !begins
            || !scheme.iter().all(of_scheme)
            || !uri.iter().all(u8::is_ascii_graphic)
        {
            return None;
        }
        str::from_utf8(uri).ok().map(Box::from)
    });
    uris.take(URIS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(texts: &[&str]) -> Option<Record> {
        let records = texts
            .iter()
            .map(|text| DnsRecord::Txt(text.as_bytes().into()));
        find(&Answer::Found(records.collect()))
    }

    fn policies(text: &str) -> (Option<Policy>, Option<Policy>, Option<Policy>) {
        let record = record(&[text]).expect("a record");
        (record.policy, record.subdomains, record.nonexistent)
    }

    #[test]
    fn a_record_is_known_by_its_first_tag() {
        for text in ["v=DMARC1", "v=DMARC1;", "v = DMARC1 ;p=none", "V=DMARC1; x"] {
            assert!(record(&[text]).is_some(), "{text}");
        }
        for text in [
            "",
            "v=DMARC2; p=none",
            "v=dmarc1; p=none",
            "p=none; v=DMARC1",
            "v=DMARC1 p=none",
            " v",
            "v=DMARC10",
        ] {
            assert!(record(&[text]).is_none(), "{text}");
        }
        assert!(record(&["v=spf1 -all", "v=DMARC1; p=none"]).is_some());
        assert!(record(&["v=DMARC1; p=none", "v=DMARC1; p=none"]).is_none());
        assert!(record(&[&format!("v=DMARC1; p=none; x={}", "y".repeat(RECORD_MAX))]).is_none());
    }

    #[test]
    fn policies_that_are_wrong_become_none_or_nothing() {
        use Policy::{None as Nothing, Quarantine, Reject};
        assert_eq!(
            policies("v=DMARC1; p=reject; sp=quarantine; np=none"),
            (Some(Reject), Some(Quarantine), Some(Nothing))
        );
        assert_eq!(
            policies("v=DMARC1; P=Reject; p=none; pct=0"),
            (Some(Reject), None, None)
        );
        assert_eq!(policies("v=DMARC1; p=rejct"), (None, None, None));
        assert_eq!(
            policies("v=DMARC1; rua=mailto:a@b"),
            (Some(Nothing), None, None)
        );
        assert_eq!(
            policies("v=DMARC1; p=reject; sp=x; rua=mailto:a@b"),
            (Some(Nothing), None, None)
        );
        assert_eq!(
            policies("v=DMARC1; p=reject; np=x; rua=rubbish"),
            (None, None, None)
        );
        assert_eq!(
            policies("v=DMARC1; ; nonsense; p=quarantine;;"),
            (Some(Quarantine), None, None)
        );
    }

    #[test]
    fn the_other_tags_have_defaults() {
        let text = "v=DMARC1; p=none; adkim=s; aspf=S; t=y; psd=n; fo=1:d:s; ruf=mailto:f@x, x ,https://y/!10m; \
                    rua=mailto:a@b!5k,:c,1x:d,mailto:";
        let found = record(&[text]).expect("a record");
        assert!(found.dkim_strict && found.spf_strict && found.testing);
        assert_eq!(found.suffix, Suffix::No);
        let options = found.failure_options;
        assert!(options.any && options.dkim && options.spf);
        assert_eq!(
            found.failure_uris,
            ["mailto:f@x".into(), Box::from("https://y/")]
        );
        assert_eq!(found.aggregate_uris, [Box::from("mailto:a@b")]);
        let plain = record(&["v=DMARC1; p=none; adkim=x; t=x; psd=x; fo=x"]).expect("a record");
        assert_eq!(
            plain,
            Record {
                policy: Some(Policy::None),
                ..Record::default()
            }
        );
        let many = vec!["mailto:a@b"; 100].join(",");
        assert_eq!(
            record(&[&format!("v=DMARC1; rua={many}")])
                .expect("a record")
                .aggregate_uris
                .len(),
            URIS_MAX
        );
    }
}
