//! Authentication-Results (RFC 8601): what was found, for programs down the line.
//!
//! Every value that comes from outside is written so that no reader can take a part of it for something else: names and
//! addresses as they are where they are tokens, else as quoted strings; what can't be said in a quoted string is left out.

use super::arc::{Arc, ArcFault, Chain};
use super::dkim::{Dkim, Outcome, Reason, SignatureResult};
use super::dmarc::{Conclusion, Dmarc, Policy};
use crate::policy::spf::{SpfResult, write_method_result};

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
    pub fn arc(&mut self, arc: &Arc, client: Option<std::net::IpAddr>) {
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
                entry.property("smtp", "remote-ip", &client.to_string());
            }
        });
    }

    /// Reverse DNS (RFC 8601 §2.7.3): `pass`, `fail`, `temperror` or `permerror`, the address, and the name where there is one.
    pub fn iprev(&mut self, result: &str, client: std::net::IpAddr, name: Option<&str>) {
        self.result(|entry| {
            entry.method("iprev", result);
            if let Some(name) = name {
                entry.comment(name);
            }
            entry.property("policy", "iprev", &client.to_string());
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
        self.words
            .push(format!("{}={}", keyword(method), keyword(result)));
    }

    fn property(&mut self, kind: &str, property: &str, text: &str) {
        self.words.push(format!(
            "{}.{}={}",
            keyword(kind),
            keyword(property),
            value(text, self.utf8)
        ));
    }

    fn comment(&mut self, text: &str) {
        let plain =
            |c: &char| (c.is_ascii_graphic() || *c == ' ') && !matches!(c, '(' | ')' | '\\');
        let text: String = text.chars().filter(plain).take(VALUE_MAX).collect();
        self.words.push(format!("({text})"));
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

/// A keyword: letters, digits, hyphens, underscores and dots. Others are left out.
fn keyword(text: &str) -> String {
    let of_keyword = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.chars().filter(of_keyword).take(64).collect()
}

/// A value (RFC 8601 §2.2: a token, a quoted string, or an address) that any reader takes as one. An address is left as it
/// is where local part and domain are dot-atoms. In a quoted string, control characters are left out.
fn value(text: &str, utf8: bool) -> String {
    let token = |part: &str| {
        let of_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`{|}~".contains(c);
        part.chars().all(of_token)
    };
    let fits = text.len() <= VALUE_MAX;
    let plain = match text.rsplit_once('@') {
        Some((local, domain)) => token(local) && token(domain) && !domain.is_empty(),
        None => token(text) && !text.is_empty(),
    };
    if fits && plain {
        return text.into();
    }
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
