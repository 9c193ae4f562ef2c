//! What has been seen in one interval, added up.

use super::seen::{Published, Row, Seen};
use std::collections::{BTreeMap, HashMap};

/// Octets of all rows.
pub const TABLE_OCTETS_MAX: usize = 64 << 20;
/// Domains that get a report.
pub const DOMAINS_MAX: usize = 10_000;
/// Rows of one report: a domain whose mail comes from more clients than that learns of these.
pub const ROWS_MAX: usize = 20_000;

/// Reports to be.
#[derive(Debug, Default)]
pub struct Table {
    domains: BTreeMap<Box<str>, Report>,
    octets: usize,
}

/// One of them.
#[derive(Debug)]
pub struct Report {
    /// What the domain has published: what was seen last.
    pub published: Published,
    /// Rows, and how many messages each stands for.
    pub rows: HashMap<Row, u64>,
}

impl Table {
    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// Octets that it takes, about.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// Adds messages. False: there is no room for another row.
    // INV-LIMIT
    pub fn add(&mut self, seen: Seen, count: u64) -> bool {
        let Seen { published, row } = seen;
        let octets = row.octets();
        let has_room = self.octets + octets <= TABLE_OCTETS_MAX;
        if !self.domains.contains_key(&published.domain) {
            if !has_room || self.domains.len() >= DOMAINS_MAX {
                return false;
            }
            let report = Report {
                published: published.clone(),
                rows: HashMap::new(),
            };
            self.domains.insert(published.domain.clone(), report);
        }
        let Some(report) = self.domains.get_mut(&published.domain) else {
            return false;
        };
        // RFC 9990 §3.1.6: a report is about the configuration that was seen last.
        if report.published != published {
            report.published = published;
        }
        if let Some(known) = report.rows.get_mut(&row) {
            *known = known.saturating_add(count);
            return true;
        }
        if !has_room || report.rows.len() >= ROWS_MAX {
            return false;
        }
        self.octets += octets;
        report.rows.insert(row, count);
        true
    }

    /// All rows, each with what its domain has published.
    pub fn rows(&self) -> impl Iterator<Item = (&Published, &Row, u64)> {
        self.domains.values().flat_map(|report| {
            let rows = report.rows.iter();
            rows.map(|(row, count)| (&report.published, row, *count))
        })
    }

    /// The report of a domain.
    #[must_use]
    pub fn report(&self, domain: &str) -> Option<&Report> {
        self.domains.get(domain)
    }

    /// The domains, in their order.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.domains.keys().map(|domain| &**domain)
    }
}
