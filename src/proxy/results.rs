//! What we found of a message, told to those that read it: Authentication-Results (RFC 8601), and Received-SPF where the
//! operator wants it.

use crate::policy::{
    Inquiry,
    authentication::results::Results,
    dns::reverse::Outcome,
    spf::{Subject, write_received_spf},
};
use std::net::IpAddr;

/// What the fields say beside the findings.
pub(super) struct About<'a> {
    /// Our name, which is the authserv-id.
    pub hostname: &'a str,
    /// The message is one of RFC 6532, so that its fields may hold UTF-8.
    pub utf8: bool,
    /// The client.
    pub client: IpAddr,
    /// What was asked, and what came of it.
    pub inquiry: &'a Inquiry,
    /// The sender, the HELO name and the time, for Received-SPF; `None`: it is not wanted.
    pub received_spf: Option<Subject<'a>>,
}

/// Appends the fields, each with its CRLF. Nothing where nothing was asked.
pub(super) fn write(about: &About<'_>, out: &mut Vec<u8>) {
    let mut results = Results::new(about.hostname, about.utf8);
    if let Some(names) = about.inquiry.reverse() {
        let result = match names.outcome {
            Outcome::Confirmed => "pass",
            Outcome::Unconfirmed => "fail",
            // RFC 8601 section 2.7.3: without PTR records it is a permanent error.
            Outcome::None => "permerror",
            Outcome::Unknown(_) => "temperror",
        };
        let name = names.confirmed_name().map(|name| &**name);
        results.iprev(result, about.client, name);
    }
    let spf = about.inquiry.spf();
    if let Some(spf) = spf {
        results.spf(spf);
    }
    // Of a message that streams nothing more is known here: its body is still to come.
    if let Some(message) = about.inquiry.message() {
        if let Some(dkim) = message.dkim() {
            results.dkim(dkim);
        }
        if let Some(arc) = message.arc() {
            results.arc(arc, Some(about.client));
        }
        if let Some(dmarc) = message.dmarc() {
            let vouched = message.is_vouched_for();
            results.dmarc(dmarc, vouched.then_some("trusted_forwarder"));
        }
    }
    let Some(field) = results.finish() else {
        return;
    };
    out.extend_from_slice(field.as_bytes());
    if let (Some(subject), Some(spf)) = (&about.received_spf, spf) {
        write_received_spf(out, spf, subject);
    }
}
