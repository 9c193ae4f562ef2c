//! Questions and records as the library has them, and as [`crate::dns`] has them.
//!
//! A record becomes text only where it is kept: an answer may have hundreds of long names, of which [`RECORDS_MAX`] are looked
//! at.

use crate::dns::{Answer, Record, RecordType, Unknown};
use hickory_resolver::{
    net::{DnsError, NetError},
    proto::{
        op::{Message, ResponseCode},
        rr::{self, Name, RData},
    },
};
use rustc_hash::FxHasher;
use std::{
    cmp::{Ordering, Reverse},
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use super::transport::TOO_LARGE;

/// Records of one answer that are looked at, the first ones in their order; a name with more is not worth it.
pub(super) const RECORDS_MAX: usize = 128;
/// Octets of one TXT record that are kept.
pub(super) const TXT_MAX: usize = 8192;
/// What a record costs beside its names and texts, in octets.
const RECORD_OCTETS: usize = 32;

/// Octets as they are, because a macro of SPF may make a name that has a backslash in it; and as it stands, without the list of
/// search domains.
pub(super) fn library_name(name: &str) -> Option<Name> {
    let mut name = Name::from_labels(name.split('.').map(str::as_bytes)).ok()?;
    name.set_fqdn(true);
    Some(name)
}

pub(super) fn library_type(record_type: RecordType) -> rr::RecordType {
    match record_type {
        RecordType::A => rr::RecordType::A,
        RecordType::Aaaa => rr::RecordType::AAAA,
        RecordType::Mx => rr::RecordType::MX,
        RecordType::Ptr => rr::RecordType::PTR,
        RecordType::Txt => rr::RecordType::TXT,
        RecordType::Srv => rr::RecordType::SRV,
    }
}

/// The records of this type that are kept: at most [`RECORDS_MAX`].
pub(super) fn records(answers: &[rr::Record], wanted: RecordType) -> Arc<[Record]> {
    let data = answers.iter().map(|record| &record.data);
    let kept = kept(data.filter(|data| data.record_type() == library_type(wanted)));
    kept.into_iter().filter_map(record_of).collect()
}

/// At most [`RECORDS_MAX`] of them: those that are used first, then those that are used most. The rest of the order has no
/// meaning, and makes it the same whatever the server's was: many rotate their answers.
fn kept<'a>(data: impl Iterator<Item = &'a RData>) -> Vec<&'a RData> {
    let mut data: Vec<&RData> = data.collect();
    if data.len() > RECORDS_MAX {
        // A hash, because two names of many labels take long to compare.
        data.sort_by_cached_key(|data| {
            let mut hasher = FxHasher::default();
            let rank = match data {
                RData::SRV(srv) => (srv.priority, Reverse(srv.weight)),
                RData::MX(mx) => (mx.preference, Reverse(0)),
                _ => (0, Reverse(0)),
            };
            data.hash(&mut hasher);
            (rank, hasher.finish())
        });
        data.truncate(RECORDS_MAX);
    }
    data
}

/// The order in which records are used: by priority, then by weight. The rest of it has no meaning.
pub(super) fn by_rank(a: &Record, b: &Record) -> Ordering {
    let rank = |record: &Record| match record {
        Record::Srv {
            priority, weight, ..
        } => (*priority, Reverse(*weight)),
        Record::Mx { preference, .. } => (*preference, Reverse(0)),
        _ => (0, Reverse(0)),
    };
    rank(a).cmp(&rank(b)).then_with(|| a.cmp(b))
}

fn record_of(data: &RData) -> Option<Record> {
    Some(match data {
        RData::A(address) => Record::A(address.0),
        RData::AAAA(address) => Record::Aaaa(address.0),
        RData::MX(mx) => Record::Mx {
            preference: mx.preference,
            exchange: plain(&mx.exchange),
        },
        RData::PTR(name) => Record::Ptr(plain(&name.0)),
        RData::SRV(srv) => Record::Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: plain(&srv.target),
        },
        RData::TXT(text) => {
            let mut octets = Vec::new();
            for string in &text.txt_data {
                let room = TXT_MAX - octets.len();
                octets.extend_from_slice(&string[..string.len().min(room)]);
            }
            Record::Txt(octets.into())
        }
        _ => return None,
    })
}

/// A name as [`crate::dns::Question::name`] is written.
fn plain(name: &Name) -> Arc<str> {
    let is_simple = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    let mut text = String::with_capacity(name.len());
    for label in name {
        if !label.iter().all(is_simple) {
            // The library knows what must be escaped.
            text = name.to_ascii();
            break;
        }
        text.extend(label.iter().copied().map(char::from));
        text.push('.');
    }
    text.make_ascii_lowercase();
    text.strip_suffix('.').unwrap_or(&text).into()
}

/// What it took to decode a message, in octets: its names as they are without compression.
pub(super) fn octets_of(message: &Message) -> usize {
    let sections = [&message.answers, &message.authorities, &message.additionals];
    let records = sections.into_iter().flatten();
    records
        .map(|record| RECORD_OCTETS + record.name.len() + data_octets(&record.data))
        .sum()
}

fn data_octets(data: &RData) -> usize {
    match data {
        RData::MX(mx) => mx.exchange.len(),
        RData::PTR(name) => name.0.len(),
        RData::NS(name) => name.0.len(),
        RData::CNAME(name) => name.0.len(),
        RData::SRV(srv) => srv.target.len(),
        RData::SOA(soa) => soa.mname.len() + soa.rname.len(),
        RData::TXT(text) => text.txt_data.iter().map(|string| string.len()).sum(),
        _ => RECORD_OCTETS,
    }
}

/// What an error of the library means.
pub(super) fn failure(error: &NetError) -> (Answer, Option<Duration>) {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            let ttl = none
                .negative_ttl
                .map(|secs| Duration::from_secs(secs.into()));
            match none.response_code {
                ResponseCode::NXDomain => (Answer::NoName, ttl),
                ResponseCode::NoError => (Answer::NoRecords, ttl),
                _ => (Answer::Unknown(Unknown::Broken), None),
            }
        }
        NetError::Dns(DnsError::ResponseCode(ResponseCode::NXDomain)) => (Answer::NoName, None),
        NetError::Dns(DnsError::ResponseCode(code)) if *code == TOO_LARGE => {
            (Answer::Unknown(Unknown::TooLarge), None)
        }
        NetError::Dns(_) | NetError::Proto(_) => (Answer::Unknown(Unknown::Broken), None),
        // No server said a word.
        _ => (Answer::Unknown(Unknown::Timeout), None),
    }
}

/// What it took to decode an answer that the library has as an error, in octets.
pub(super) fn octets_of_failure(error: &NetError) -> usize {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            let records = none.authorities.iter().flat_map(|records| records.iter());
            records
                .map(|record| RECORD_OCTETS + record.name.len() + data_octets(&record.data))
                .sum()
        }
        NetError::Dns(DnsError::ResponseCode(code)) if *code == TOO_LARGE => {
            super::transport::MESSAGE_MAX.into()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::rr::rdata::{MX, SRV};

    fn name(text: &str) -> Name {
        Name::from_ascii(text).expect("a name")
    }

    #[test]
    fn of_a_huge_answer_the_same_records_are_kept_in_whatever_order_they_come() {
        let most = u16::try_from(RECORDS_MAX).expect("small");
        let record = |priority, weight, host: u16| {
            RData::SRV(SRV::new(
                priority,
                weight,
                25,
                name(&format!("mx{host}.example.")),
            ))
        };
        // In the wrong order: what is used last comes first.
        let light = (0..most).map(|host| record(1, 1, host));
        let heavy: Vec<RData> = (0..most).map(|host| record(1, 9, host)).collect();
        let first = [record(0, 0, 0), record(0, 7, 1)];
        let mut all: Vec<RData> = light.chain(heavy.clone()).chain(first.clone()).collect();
        let chosen: Vec<RData> = kept(all.iter()).into_iter().cloned().collect();
        assert_eq!(chosen.len(), RECORDS_MAX);
        assert_eq!(chosen[..2], [first[1].clone(), first[0].clone()]);
        assert!(chosen[2..].iter().all(|record| heavy.contains(record)));
        all.rotate_left(RECORDS_MAX / 2);
        let again: Vec<RData> = kept(all.iter()).into_iter().cloned().collect();
        assert_eq!(again, chosen);
    }

    #[test]
    fn a_name_is_written_as_the_library_writes_it() {
        let labels: [&[&[u8]]; 5] = [
            &[],
            &[b"Mail-1", b"_x", b"Example"],
            &[b"a.b", b"example"],
            &[b"*", b"a b", b"Example"],
            &[b"a\xc3\xa4", b"example"],
        ];
        for labels in labels {
            let mut name = Name::from_labels(labels.iter().copied()).expect("a name");
            name.set_fqdn(true);
            let expected = name.to_ascii().to_ascii_lowercase();
            assert_eq!(
                &*plain(&name),
                expected.strip_suffix('.').expect("absolute")
            );
        }
    }

    #[test]
    fn what_decoding_took_counts_names_without_compression() {
        let long = name(&format!("{}example.", "a.".repeat(100)));
        let mut message = Message::query();
        for _ in 0..50 {
            let data = RData::MX(MX::new(1, long.clone()));
            message.add_answer(rr::Record::from_rdata(long.clone(), 60, data));
        }
        assert_eq!(octets_of(&message), 50 * (RECORD_OCTETS + 2 * long.len()));
    }
}
