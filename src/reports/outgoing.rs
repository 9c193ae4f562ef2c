//! The files of one report: the report itself, under the name that it is sent with (RFC 9990 §3.5.2), and beside it the
//! addresses that should get it.
//!
//! The caller syncs the folder once for all files of an interval, before it removes what they were made of.

use super::{
    Settings,
    journal::Interval,
    table::Report,
    xml::{self, Period},
};
use crate::{files, policy::authentication::dmarc::Consent};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use std::io::{self, Write};

/// Octets of a file's name, most file systems' limit less what `.json` and a name of ours while it is written take.
const NAME_MAX: usize = 240;

/// The name that a report is sent under. Host names have no character that a file's name can't have.
fn attachment(settings: &Settings, interval: &Interval, domain: &str) -> String {
    let Interval { begin, end, id } = interval;
    format!("{}!{domain}!{begin}!{end}!{id}.xml.gz", settings.receiver)
}

/// The name of its file: the same, or its beginning and its end where it is too long for a file.
fn file_name(attachment: &str) -> String {
    if attachment.len() <= NAME_MAX {
        return attachment.into();
    }
    let hash = {
        use std::hash::{Hash, Hasher};
        let mut hasher = rustc_hash::FxHasher::default();
        attachment.hash(&mut hasher);
        hasher.finish()
    };
    let begin = &attachment[..attachment.floor_char_boundary(NAME_MAX - 32)];
    format!("{begin}!{hash:016x}.xml.gz")
}

/// Writes a report.
///
/// # Errors
/// The disk is full, or the folder can't be written.
pub fn report(
    settings: &Settings,
    interval: &Interval,
    domain: &str,
    report: &Report,
) -> io::Result<()> {
    let period = Period {
        id: &interval.id,
        begin: interval.begin,
        end: interval.end,
    };
    let text = xml::write(settings, period, report);
    let name = file_name(&attachment(settings, interval, domain));
    let path = settings.directory.join(name);
    let written = files::place(&path, files::GROUP, |file| {
        let mut packed = GzEncoder::new(file, Compression::default());
        packed.write_all(text.as_bytes())?;
        packed.finish().map(drop)
    });
    written.map(drop)
}

/// Writes which addresses should get it. `consents`: what is known of each address that the domain names, in its order.
///
/// # Errors
/// The disk is full, or the folder can't be written.
pub fn recipients(
    settings: &Settings,
    interval: &Interval,
    domain: &str,
    uris: &[Box<str>],
    consents: &[Consent],
) -> io::Result<()> {
    let attachment = attachment(settings, interval, domain);
    let all = uris.iter().zip(consents).map(|(uri, consent)| {
        let instead = match consent {
            Consent::Given(instead) => instead.as_slice(),
            _ => &[],
        };
        let mut value = json!({ "uri": uri, "consent": consent.as_str() });
        if !instead.is_empty() {
            value["instead"] = json!(instead);
        }
        value
    });
    let note = json!({
        "policy_domain": domain,
        "report_id": interval.id,
        "begin": interval.begin,
        "end": interval.end,
        "attachment": attachment,
        "media_type": "application/gzip",
        "subject": format!(
            "Report Domain: {domain} Submitter: {} Report-ID: {}",
            settings.receiver, interval.id
        ),
        "recipients": all.collect::<Vec<Value>>(),
    });
    let name = format!("{}.json", file_name(&attachment));
    let path = settings.directory.join(name);
    let written = files::place(&path, files::GROUP, |file| writeln!(file, "{note:#}"));
    written.map(drop)
}
