//! What we found of a message, told to those that read it: Authentication-Results (RFC 8601), and Received-SPF where the
//! operator wants it.

use crate::policy::{
    Inquiry,
    dns::reverse::Outcome,
    spf::{Subject, write_method_result, write_received_spf},
};
use std::net::IpAddr;

/// What the fields say beside the findings.
pub(super) struct About<'a> {
    /// Our name, which is the authserv-id.
    pub hostname: &'a str,
    /// The client.
    pub client: IpAddr,
    /// What was asked, and what came of it.
    pub inquiry: &'a Inquiry,
    /// The sender, the HELO name and the time, for Received-SPF; `None`: it is not wanted.
    pub received_spf: Option<Subject<'a>>,
}

/// Appends the fields, each with its CRLF. Nothing where nothing was asked.
pub(super) fn write(about: &About<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(b"Authentication-Results: ");
    out.extend_from_slice(about.hostname.as_bytes());
    let empty = out.len();
    if let Some(names) = about.inquiry.reverse() {
        let result = match names.outcome {
            Outcome::Confirmed => "pass",
            Outcome::Unconfirmed => "fail",
            // RFC 8601 section 2.7.3: without PTR records it is a permanent error.
            Outcome::None => "permerror",
            Outcome::Unknown(_) => "temperror",
        };
        out.extend_from_slice(b";\r\n\tiprev=");
        out.extend_from_slice(result.as_bytes());
        if let Some(name) = names.confirmed_name() {
            // It is a host name of letters, digits, hyphens and underscores: it can't end the comment.
            out.extend_from_slice(b" (");
            out.extend_from_slice(name.as_bytes());
            out.push(b')');
        }
        out.extend_from_slice(b" policy.iprev=");
        let text = about.client.to_string();
        // An IPv6 address has colons, which only a quoted string may hold.
        let quote: &[u8] = if text.contains(':') { b"\"" } else { b"" };
        out.extend_from_slice(quote);
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(quote);
    }
    if let Some(spf) = about.inquiry.spf() {
        out.extend_from_slice(b";\r\n\t");
        write_method_result(out, spf);
    }
    if out.len() == empty {
        out.truncate(start);
        return;
    }
    out.extend_from_slice(b"\r\n");
    if let (Some(subject), Some(spf)) = (&about.received_spf, about.inquiry.spf()) {
        write_received_spf(out, spf, subject);
    }
}
