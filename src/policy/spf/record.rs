//! The record of a domain: found among its TXT records, and checked as a whole before its first term counts (RFC 7208
//! sections 4.5 and 4.6).

use super::RECORD_OCTETS_MAX;
use super::term::{self, Fault, Term};
use crate::dns::Record;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

const VERSION: &[u8] = b"v=spf1";

/// A record without mistakes. Its text is that of the answer.
#[derive(Clone, Debug)]
pub(super) struct SpfRecord {
    text: Arc<[u8]>,
    /// Where the first term begins that may match; the end of the record where none may.
    start: usize,
    redirect: Option<Range<usize>>,
    explanation: Option<Range<usize>>,
}

/// Why a domain has no usable record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RecordFault {
    pub(super) what: Fault,
    /// The term that is wrong, as it stands there.
    pub(super) term: Option<Box<[u8]>>,
}

impl RecordFault {
    fn new(what: Fault) -> RecordFault {
        RecordFault { what, term: None }
    }
}

impl SpfRecord {
    /// The one record among these that is of SPF; `None` where there is none.
    pub(super) fn select(
        records: &[Record],
        client_ip: IpAddr,
    ) -> Result<Option<SpfRecord>, RecordFault> {
        let mut texts = records.iter().filter_map(|record| match record {
            Record::Txt(text) if is_spf(text) => Some(text),
            _ => None,
        });
        let Some(text) = texts.next() else {
            return Ok(None);
        };
        if texts.next().is_some() {
            return Err(RecordFault::new("more than one record"));
        }
        SpfRecord::parse(text, client_ip).map(Some)
    }

    /// Checks all terms: one that is wrong makes the whole record wrong, wherever it is (section 4.6).
    fn parse(text: &Arc<[u8]>, client_ip: IpAddr) -> Result<SpfRecord, RecordFault> {
        if text.len() > RECORD_OCTETS_MAX {
            return Err(RecordFault::new("a record that is too long"));
        }
        let mut record = SpfRecord {
            text: Arc::clone(text),
            start: text.len(),
            redirect: None,
            explanation: None,
        };
        let mut at = VERSION.len();
        while let Some(range) = record.range_from(at) {
            at = range.end;
            let fault = |what| RecordFault {
                what,
                term: Some(text[range.clone()].into()),
            };
            let (seen, value) = match term::parse(&text[range.clone()]).map_err(fault)? {
                Term::Redirect(value) => (&mut record.redirect, value),
                Term::Explanation(value) => (&mut record.explanation, value),
                Term::UnknownModifier => continue,
                Term::Directive(_, mechanism) => {
                    if mechanism.matches_alone(client_ip) != Some(false) {
                        record.start = record.start.min(range.start);
                    }
                    continue;
                }
            };
            // Section 6: these two may be there once each.
            if seen.is_some() {
                return Err(fault("a modifier that is there twice"));
            }
            *seen = Some(range.end - value.len()..range.end);
        }
        Ok(record)
    }

    /// Where the evaluation starts: the terms before can't match this client. So most of a long list of networks is read
    /// once, not twice.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// The next term from here. Terms are separated by spaces alone (section 4.6.1).
    pub(super) fn range_from(&self, at: usize) -> Option<Range<usize>> {
        let rest = self.text.get(at..)?;
        let start = at + rest.iter().position(|octet| *octet != b' ')?;
        let octets = self.text[start..].iter().position(|octet| *octet == b' ');
        Some(start..octets.map_or(self.text.len(), |octets| start + octets))
    }

    /// The term at this place; an empty one where there is none.
    pub(super) fn term(&self, range: &Range<usize>) -> &[u8] {
        self.text.get(range.clone()).unwrap_or_default()
    }

    /// The text, to be read while the machine changes: this shares it.
    pub(super) fn text(&self) -> Arc<[u8]> {
        Arc::clone(&self.text)
    }

    /// The domain-spec of `redirect=`.
    pub(super) fn redirect(&self) -> Option<Range<usize>> {
        self.redirect.clone()
    }

    /// The domain-spec of `exp=`.
    pub(super) fn explanation(&self) -> Option<Range<usize>> {
        self.explanation.clone()
    }
}

/// Whether the version is there, in any case, and ends there (section 4.5).
fn is_spf(text: &[u8]) -> bool {
    let version = text.get(..VERSION.len());
    version.is_some_and(|version| version.eq_ignore_ascii_case(VERSION))
        && matches!(text.get(VERSION.len()), None | Some(b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(texts: &[&str]) -> Result<Option<SpfRecord>, RecordFault> {
        let records: Vec<Record> = texts
            .iter()
            .map(|text| Record::Txt(text.as_bytes().into()))
            .collect();
        SpfRecord::select(&records, "192.0.2.1".parse().expect("an address"))
    }

    #[test]
    fn one_record_is_found_among_others() {
        let found = |texts: &[&str]| select(texts).map(|record| record.is_some());
        assert_eq!(
            found(&["x", "V=SPF1 a", "v=spf10", "v=spf2.0 a", "v=spf1\ta"]),
            Ok(true)
        );
        assert_eq!(found(&["x", "v=spf1mx", " v=spf1"]), Ok(false));
        assert_eq!(found(&[]), Ok(false));
        let twice = found(&["v=spf1", "v=spf1 -all"]);
        assert_eq!(twice, Err(RecordFault::new("more than one record")));
    }

    #[test]
    fn every_term_is_checked() {
        let fault = |text: &str| select(&[text]).err().and_then(|fault| fault.term);
        assert_eq!(fault("v=spf1 -all moo a"), Some((*b"moo").into()));
        assert_eq!(fault("v=spf1 exp=a.b exp=c.d"), Some((*b"exp=c.d").into()));
        assert_eq!(fault("v=spf1 a\ra"), Some((*b"a\ra").into()));
        assert_eq!(fault("v=spf1  a  x=1 x=2  "), None);
        let long = format!("v=spf1 {}", "a ".repeat(RECORD_OCTETS_MAX / 2));
        assert_eq!(
            select(&[&long]).err(),
            Some(RecordFault::new("a record that is too long"))
        );
    }

    #[test]
    fn modifiers_are_kept_by_their_place() {
        let record = select(&["v=spf1  redirect=a.b a exp=c.d "]);
        let record = record.expect("is right").expect("is there");
        let text = record.text();
        assert_eq!(record.redirect().map(|at| &text[at]), Some(&b"a.b"[..]));
        assert_eq!(record.explanation().map(|at| &text[at]), Some(&b"c.d"[..]));
        assert_eq!(record.range_from(record.start()), Some(21..22));
        assert_eq!(record.range_from(22), Some(23..30));
        assert_eq!(record.range_from(30), None);
        let record = select(&["v=spf1 ip4:1.1.1.1 x=1 -ip4:192.0.2.1 a"]);
        let record = record.expect("is right").expect("is there");
        assert_eq!(&record.text()[record.start()..], b"-ip4:192.0.2.1 a");
    }
}
