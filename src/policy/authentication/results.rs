//! Authentication-Results (RFC 8601): what was found, for programs down the line.
//!
//! Every value that comes from outside is written so that no reader can take a part of it for something else: names and
//! addresses as they are where they are tokens, else as quoted strings; what can't be said in a quoted string is left out.

use super::arc::{Arc, ArcFault, Chain};
use super::dkim::{Dkim, Outcome, Reason, SignatureResult};
use super::dmarc::{Conclusion, Dmarc, Policy};
use crate::{
    log::field::push_address,
    policy::spf::{SpfResult, write_method_result},
};
use std::net::IpAddr;

/// Octets of one line, its end not counted (RFC 5322 §2.1.1).
pub const LINE_MAX: usize = 998;
/// Octets of one value. What is longer is cut.
pub const VALUE_MAX: usize = 320;
/// Octets of the whole field. Results that would make it longer are left out.
pub const FIELD_MAX: usize = 16 * 1024;

/// Columns after which a line is folded.
const COLUMNS: usize = 78;

/// A field that is being written.
#[derive(Debug)]
pub struct Results {
    text: String,
    column: usize,
    any: bool,
    utf8: bool,
}

impl Results {
    /// For the server `own`: a domain name, or another token. `utf8`: the message is one of RFC 6532, so values may have
    /// other characters than ASCII; else each becomes a question mark.
    #[must_use]
    pub fn new(own: &str, utf8: bool) -> Results {
        let mut results = Results {
            text: "Authentication-Results:".into(),
            column: 23,
            any: false,
            utf8,
        };
        results.word(&value(own, utf8));
        results
    }

    /// SPF, as its own room writes it: in one piece, shorter than a line may be.
    pub fn spf(&mut self, spf: &SpfResult) {
        let mut text = Vec::new();
        write_method_result(&mut text, spf);
        self.result(|entry| {
            entry
                .words
                .push(String::from_utf8_lossy(&text).into_owned())
        });
    }

    /// DKIM: one result a signature, or `none`.
    pub fn dkim(&mut self, dkim: &Dkim) {
        if dkim.signatures.is_empty() {
            self.result(|entry| entry.method("dkim", "none"));
        }
        for signature in &dkim.signatures {
            self.result(|entry| entry.signature(signature));
        }
        if dkim.skipped > 0 {
            let comment = format!("{} more signatures not looked at", dkim.skipped);
            self.result(|entry| {
                entry.method("dkim", Outcome::Policy.as_str());
                entry.comment(&comment);
            });
        }
    }

    /// DMARC. `override_reason`: why its policy is not applied (`trusted_forwarder`, `local_policy`; RFC 9990).
    pub fn dmarc(&mut self, dmarc: &Dmarc, override_reason: Option<&str>) {
        self.result(|entry| {
            entry.method("dmarc", dmarc.conclusion.as_str());
            if let Some((policy, _)) = dmarc.requested {
                let applied = match override_reason {
                    Some(_) => Policy::None,
                    None => dmarc.disposition,
                };
                let mut comment = format!("p={} dis={}", policy.as_str(), applied.as_str());
                if let Some(reason) = override_reason {
                    comment.push_str(" override=");
                    comment.push_str(reason);
                }
                entry.comment(&comment);
            }
            if dmarc.conclusion == Conclusion::PermError {
                entry.comment("no single author domain");
            }
            if !dmarc.author.is_empty() {
                entry.property("header", "from", &dmarc.author);
            }
            if let (Some((policy, _)), Conclusion::Fail) = (dmarc.requested, dmarc.conclusion) {
                entry.property("policy", "dmarc", policy.as_str());
            }
        });
    }

    /// ARC. `client`: the address that the message came from (RFC 8617 §10.2).
    pub fn arc(&mut self, arc: &Arc, client: Option<IpAddr>) {
        self.result(|entry| {
            entry.method("arc", arc.chain.as_str());
            match arc.fault {
                None => {}
                Some(ArcFault::Structure) => entry.comment("malformed chain"),
                Some(ArcFault::BrokenBefore) => entry.comment("broken before"),
                Some(ArcFault::Message(reason)) => entry.comment(reason.as_str()),
                Some(ArcFault::Seal(number, reason)) => {
                    entry.comment(&format!("seal {number}: {}", reason.as_str()));
                }
            }
            if arc.chain != Chain::None
                && let Some(client) = client
            {
                entry.address("smtp", "remote-ip", client);
            }
        });
    }

    /// Reverse DNS (RFC 8601 §2.7.3): `pass`, `fail`, `temperror` or `permerror`, the address, and the name where there is one.
    pub fn iprev(&mut self, result: &str, client: IpAddr, name: Option<&str>) {
        self.result(|entry| {
            entry.method("iprev", result);
            if let Some(name) = name {
                entry.comment(name);
            }
            entry.address("policy", "iprev", client);
        });
    }

    /// The field with its line end. `None`: there is no result to tell of.
    #[must_use]
    pub fn finish(mut self) -> Option<String> {
        self.text.push_str("\r\n");
        self.any.then_some(self.text)
    }

    /// Adds one result, on a line of its own, if it fits.
    fn result(&mut self, write: impl FnOnce(&mut Entry)) {
        let mut entry = Entry {
            words: Vec::new(),
            utf8: self.utf8,
        };
        write(&mut entry);
        let length: usize = entry.words.iter().map(|word| word.len() + 3).sum();
        if self.text.len() + length + 8 > FIELD_MAX {
            return;
        }
        self.any = true;
        self.text.push_str(";\r\n\t");
        self.column = 8;
        for (place, word) in entry.words.iter().enumerate() {
            match place {
                0 => {
                    self.text.push_str(word);
                    self.column += word.len();
                }
                _ => self.word(word),
            }
        }
    }

    /// A word after white space, on a new line where the old one is full.
    fn word(&mut self, word: &str) {
        if self.column + 1 + word.len() > COLUMNS && self.column > 8 {
            self.text.push_str("\r\n\t");
            self.column = 8;
        } else {
            self.text.push(' ');
            self.column += 1;
        }
        self.text.push_str(word);
        self.column += word.len();
    }
}

/// One result, in words between which may be folded.
struct Entry {
    words: Vec<String>,
    utf8: bool,
}

impl Entry {
    fn method(&mut self, method: &str, result: &str) {
        let mut word = String::with_capacity(WORD);
        push_keyword(method, &mut word);
        word.push('=');
        push_keyword(result, &mut word);
        self.words.push(word);
    }

    fn property(&mut self, kind: &str, property: &str, text: &str) {
        let mut word = String::with_capacity(WORD);
        push_keyword(kind, &mut word);
        word.push('.');
        push_keyword(property, &mut word);
        word.push('=');
        push_value(text, self.utf8, &mut word);
        self.words.push(word);
    }

    fn address(&mut self, kind: &str, property: &str, address: IpAddr) {
        let mut text = Vec::with_capacity(WORD);
        push_address(address, &mut text);
        self.property(kind, property, &String::from_utf8_lossy(&text));
    }

    fn comment(&mut self, text: &str) {
        let plain = |octet: u8| {
            (octet.is_ascii_graphic() || octet == b' ') && !matches!(octet, b'(' | b')' | b'\\')
        };
        let mut word = String::with_capacity(WORD);
        word.push('(');
        match text.len() <= VALUE_MAX && text.bytes().all(plain) {
            true => word.push_str(text),
            false => {
                let plain = text.chars().filter(|c| c.is_ascii() && plain(*c as u8));
                word.extend(plain.take(VALUE_MAX));
            }
        }
        word.push(')');
        self.words.push(word);
    }

    fn signature(&mut self, signature: &SignatureResult) {
        self.method("dkim", signature.outcome().as_str());
        let mut comment = String::new();
        if let Some(bits) = signature.key_bits {
            comment = format!("{bits}-bit key");
        }
        let notes = [
            (
                signature.reason != Reason::Verified,
                signature.reason.as_str(),
            ),
            (signature.testing, "testing"),
        ];
        for (_, note) in notes.iter().filter(|(holds, _)| *holds) {
            comment.push_str(if comment.is_empty() { "" } else { ", " });
            comment.push_str(note);
        }
        if signature.unsigned_octets > 0 {
            comment.push_str(&format!(
                ", {} octets not signed",
                signature.unsigned_octets
            ));
        }
        if !comment.is_empty() {
            self.comment(&comment);
        }
        let algorithm = signature
            .algorithm
            .map_or("", |algorithm| algorithm.as_str());
        for (property, text) in [
            ("d", &*signature.domain),
            ("i", &*signature.identity),
            ("s", &*signature.selector),
            ("a", algorithm),
            ("b", &*signature.beginning),
        ] {
            if !text.is_empty() {
                self.property("header", property, text);
            }
        }
    }
}

/// Octets that nearly all words have room in.
const WORD: usize = 64;

/// A keyword: letters, digits, hyphens, underscores and dots. Others are left out. All that is written here is in that form
/// mostly, and is looked at once: each message has some ten words.
fn push_keyword(text: &str, out: &mut String) {
    let of_keyword =
        |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    if text.len() <= 64 && text.bytes().all(of_keyword) {
        return out.push_str(text);
    }
    let kept = text
        .chars()
        .filter(|c| c.is_ascii() && of_keyword(*c as u8));
    out.extend(kept.take(64));
}

/// Octets of a token: those of `atext` (RFC 5322 §3.2.3) that a token of MIME may have as well (RFC 2045 §5.1), and the dot.
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut octet = b'!';
    while octet <= b'~' {
        table[octet as usize] = octet.is_ascii_alphanumeric()
            || matches!(
                octet,
                b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'{'..=b'~'
            );
        octet += 1;
    }
    table
};

fn value(text: &str, utf8: bool) -> String {
    let mut out = String::with_capacity(WORD);
    push_value(text, utf8, &mut out);
    out
}

/// A value (RFC 8601 §2.2: a token, a quoted string, or an address) that any reader takes as one. An address is left as it
/// is where local part and domain are dot-atoms. In a quoted string, control characters are left out.
fn push_value(text: &str, utf8: bool, out: &mut String) {
    let token = |part: &[u8]| part.iter().all(|octet| TOKEN[usize::from(*octet)]);
    let fits = text.len() <= VALUE_MAX;
    let octets = text.as_bytes();
    let plain = match memchr::memrchr(b'@', octets) {
        Some(at) => token(&octets[..at]) && token(&octets[at + 1..]) && at + 1 < octets.len(),
        None => token(octets) && !octets.is_empty(),
    };
    if fits && plain {
        return out.push_str(text);
    }
    out.push_str(&quoted(text, utf8));
}

fn quoted(text: &str, utf8: bool) -> String {
    let mut quoted = String::with_capacity(text.len().min(VALUE_MAX) + 2);
    quoted.push('"');
    for c in text.chars().filter(|c| !c.is_control()) {
        if quoted.len() + c.len_utf8() + 1 > VALUE_MAX {
            break;
        }
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(if utf8 || c.is_ascii() { c } else { '?' });
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests;
