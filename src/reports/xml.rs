//! A report as XML (RFC 9990 appendix A).
//!
//! It is written so that readers of RFC 7489 take it too: the elements that both have stand in the order of both, and `sp`
//! is always there. What is new (`np`, `testing`, `discovery_method`, `generator`, the disposition `pass`) is what RFC 9990 asks
//! for; `pct`, which it takes away, is not written.

use super::{
    Settings,
    seen::{Published, Row},
    table::Report,
};
use std::fmt::Write;

/// When, and under which name, a report is made.
#[derive(Clone, Copy, Debug)]
pub struct Period<'a> {
    /// Its id.
    pub id: &'a str,
    /// The first second.
    pub begin: u64,
    /// The last second.
    pub end: u64,
}

/// Writes one report.
#[must_use]
pub fn write(settings: &Settings, period: Period<'_>, report: &Report) -> String {
    let mut out = Xml(String::with_capacity(1024 + report.rows.len() * 1024));
    out.0.push_str(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<feedback xmlns=\"urn:ietf:params:xml:ns:dmarc-2.0\">\n",
    );
    out.text("version", "1.0");
    out.within("report_metadata", |out| {
        out.text("org_name", &settings.organization);
        out.text("email", &settings.email);
        out.text("report_id", period.id);
        out.within("date_range", |out| {
            out.text("begin", &period.begin.to_string());
            out.text("end", &period.end.to_string());
        });
        out.text("generator", concat!("Gatepost ", env!("CARGO_PKG_VERSION")));
    });
    published(&mut out, &report.published);
    // In an order that is the same each time, so that a report that is written again is the same file.
    let mut rows: Vec<(&Row, u64)> = report
        .rows
        .iter()
        .map(|(row, count)| (row, *count))
        .collect();
    rows.sort_by_cached_key(|&(row, _)| key(row));
    for (row, count) in rows {
        record(&mut out, row, count);
    }
    out.0.push_str("</feedback>\n");
    out.0
}

/// What rows are sorted by: the rest of equal ones is compared as it is shown.
fn key(row: &Row) -> (std::net::IpAddr, &str, String) {
    (row.source, &row.author, format!("{row:?}"))
}

fn published(out: &mut Xml, published: &Published) {
    let mode = |strict: bool| if strict { "s" } else { "r" };
    let [policy, subdomains, nonexistent] = &published.policies;
    out.within("policy_published", |out| {
        out.text("domain", &published.domain);
        out.text("discovery_method", "treewalk");
        out.text("p", policy);
        out.text("sp", subdomains);
        out.text("np", nonexistent);
        out.text("fo", &published.failure_options);
        out.text("adkim", mode(published.dkim_strict));
        out.text("aspf", mode(published.spf_strict));
        out.text("testing", if published.testing { "y" } else { "n" });
    });
}

fn record(out: &mut Xml, row: &Row, count: u64) {
    let result = |passes: bool| if passes { "pass" } else { "fail" };
    out.within("record", |out| {
        out.within("row", |out| {
            out.text("source_ip", &row.source.to_string());
            out.text("count", &count.to_string());
            out.within("policy_evaluated", |out| {
                out.text("disposition", &row.disposition);
                out.text("dkim", result(row.dkim));
                out.text("spf", result(row.spf));
                if let Some(reason) = &row.reason {
                    out.within("reason", |out| out.text("type", reason));
                }
            });
        });
        out.within("identifiers", |out| {
            out.text("header_from", &row.author);
            out.text("envelope_from", &row.sender);
        });
        out.within("auth_results", |out| {
            for signature in &row.signatures {
                out.within("dkim", |out| {
                    out.text("domain", &signature.domain);
                    out.text("selector", &signature.selector);
                    out.text("result", &signature.result);
                    if let Some(why) = &signature.why {
                        out.text("human_result", why);
                    }
                });
            }
            if let Some((domain, result)) = &row.spf_result {
                out.within("spf", |out| {
                    out.text("domain", domain);
                    // The one value that there is: also the null path's domain is taken for that of MAIL FROM (RFC 7208 §2.4).
                    out.text("scope", "mfrom");
                    out.text("result", result);
                });
            }
        });
    });
}

struct Xml(String);

impl Xml {
    fn within(&mut self, name: &str, write: impl FnOnce(&mut Xml)) {
        // Writing to a string can't fail.
        let _ = writeln!(self.0, "<{name}>");
        write(self);
        let _ = writeln!(self.0, "</{name}>");
    }

    fn text(&mut self, name: &str, text: &str) {
        let _ = write!(self.0, "<{name}>");
        for c in text.chars() {
            match c {
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '&' => self.0.push_str("&amp;"),
                // No XML 1.0 can hold these, in no form (§2.2).
                c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => self.0.push('?'),
                c => self.0.push(c),
            }
        }
        let _ = writeln!(self.0, "</{name}>");
    }
}
