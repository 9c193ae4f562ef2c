//! Header fields that tell the result: Received-SPF (RFC 7208 section 9.1), and the `spf` method of
//! Authentication-Results (RFC 8601 section 2.7.2).
//!
//! Senders, HELO names and records are a stranger's words. They are written as printable ASCII, cut, and quoted where a
//! reader might take them for syntax; in comments, which some readers decode and nest in their own way, only the characters
//! of domains and addresses stay as they are.

use super::result::printable;
use super::{Identity, ResultCode, SpfResult, Subject};
use std::net::IpAddr;

/// Octets of a value before it is quoted; the rest is cut. The longest local part and domain fit.
const VALUE_OCTETS_MAX: usize = 320;
/// Octets of a value in a comment; the rest is cut.
const COMMENT_VALUE_OCTETS_MAX: usize = 128;

/// Writes a whole Received-SPF field, folded, with its last CRLF. No line is longer than 700 octets.
pub fn write_received_spf(out: &mut Vec<u8>, result: &SpfResult, subject: &Subject<'_>) {
    let text = |out: &mut Vec<u8>, text: &str| out.extend_from_slice(text.as_bytes());
    let client_ip = subject.client_ip.to_canonical();
    text(out, "Received-SPF: ");
    text(out, result.code.as_str());
    text(out, " (");
    push_for_comment(out, subject.receiver);
    text(out, ": ");
    push_comment(out, result, client_ip);
    text(out, ")\r\n\treceiver=");
    push_value(out, subject.receiver.as_bytes(), is_dot_atom);
    text(out, "; identity=");
    text(out, result.identity.as_str());
    text(out, "; client-ip=");
    push_value(out, client_ip.to_string().as_bytes(), is_dot_atom);
    text(out, ";\r\n\thelo=");
    push_value(out, subject.helo, is_dot_atom);
    text(out, ";\r\n\tenvelope-from=");
    let mail_from: &[u8] = match subject.mail_from {
        b"" => b"<>",
        path => path,
    };
    push_value(out, mail_from, is_dot_atom);
    text(out, ";\r\n\tmechanism=");
    // Section 9.1: where no mechanism matched, the word is "default".
    let mechanism = result.mechanism.as_deref().unwrap_or("default");
    push_value(out, mechanism.as_bytes(), is_dot_atom);
    if let Some(problem) = &result.problem {
        text(out, ";\r\n\tproblem=");
        push_value(out, problem.as_bytes(), is_dot_atom);
    }
    text(out, "\r\n");
}

/// Writes `spf=pass smtp.mailfrom=a@b.example`: the part between two `;` of Authentication-Results, in one line without
/// spaces around it.
pub fn write_method_result(out: &mut Vec<u8>, result: &SpfResult) {
    out.extend_from_slice(b"spf=");
    out.extend_from_slice(result.code.as_str().as_bytes());
    if let Some(problem) = &result.problem {
        out.extend_from_slice(b" reason=");
        push_quoted(out, problem.as_bytes());
    }
    if result.domain.is_empty() {
        return;
    }
    out.extend_from_slice(match result.identity {
        Identity::MailFrom => &b" smtp.mailfrom="[..],
        Identity::Helo => b" smtp.helo=",
    });
    let domain = result.domain.as_bytes();
    if !is_domain(domain) {
        push_value(out, domain, is_token);
        return;
    }
    if result.identity == Identity::MailFrom
        && let Some((local, _)) = result.sender.rsplit_once('@')
        && local.len() <= VALUE_OCTETS_MAX - domain.len().min(VALUE_OCTETS_MAX)
        && is_dot_atom(local.as_bytes())
    {
        // RFC 8601 section 2.2: a local part may be left out, as is one that would have to be quoted.
        out.extend_from_slice(local.as_bytes());
        out.push(b'@');
    }
    out.extend_from_slice(domain);
}

/// The result in words.
fn push_comment(out: &mut Vec<u8>, result: &SpfResult, client_ip: IpAddr) {
    let text = |out: &mut Vec<u8>, text: &str| out.extend_from_slice(text.as_bytes());
    if result.domain.is_empty() {
        text(out, "no domain to check");
        return;
    }
    let client_ip = client_ip.to_string();
    let (before, after) = match result.code {
        ResultCode::Pass => ("", " allows "),
        ResultCode::Fail => ("", " does not allow "),
        ResultCode::SoftFail => ("", " probably does not allow "),
        ResultCode::Neutral => ("", " does not say if it allows "),
        ResultCode::None => ("no policy of ", ""),
        ResultCode::TempError => ("no answer about ", ""),
        ResultCode::PermError => ("the policy can't be used of ", ""),
    };
    text(out, before);
    push_for_comment(out, &result.domain);
    text(out, after);
    if !after.is_empty() {
        push_for_comment(out, &client_ip);
    }
}

/// A value as it may stand in a comment.
fn push_for_comment(out: &mut Vec<u8>, text: &str) {
    let shown = |octet: u8| match octet {
        octet if octet.is_ascii_alphanumeric() || b".-_:".contains(&octet) => octet,
        _ => b'?',
    };
    out.extend(text.bytes().take(COMMENT_VALUE_OCTETS_MAX).map(shown));
}

/// A value as it is, where its reader takes it as one word; quoted otherwise.
fn push_value(out: &mut Vec<u8>, value: &[u8], is_word: fn(&[u8]) -> bool) {
    match is_word(value) && value.len() <= VALUE_OCTETS_MAX {
        true => out.extend_from_slice(value),
        false => push_quoted(out, value),
    }
}

/// A quoted-string (RFC 5322 section 3.2.4).
fn push_quoted(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    for octet in printable(value, VALUE_OCTETS_MAX).bytes() {
        if matches!(octet, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(octet);
    }
    out.push(b'"');
}

/// RFC 5322 section 3.2.3. A dot-atom that looks like an encoded word (RFC 2047 section 2) is none here.
fn is_dot_atom(value: &[u8]) -> bool {
    let is_text =
        |octet: &u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(octet);
    let mut atoms = value.split(|octet| *octet == b'.');
    atoms.all(|atom| !atom.is_empty() && atom.iter().all(is_text))
        && !value.windows(2).any(|pair| pair == b"=?")
}

/// RFC 2045 section 5.1.
fn is_token(value: &[u8]) -> bool {
    let is_special = |octet: &u8| b"()<>@,;:\\\"/[]?=".contains(octet);
    !value.is_empty() && value.iter().all(|o| o.is_ascii_graphic() && !is_special(o))
}

/// What a reader takes for a domain, whatever its grammar.
fn is_domain(value: &[u8]) -> bool {
    let is_inner = |octet: &u8| octet.is_ascii_alphanumeric() || b".-_".contains(octet);
    !value.is_empty() && value.iter().all(is_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn subject<'a>(mail_from: &'a str, helo: &'a str, receiver: &'a Arc<str>) -> Subject<'a> {
        Subject {
            client_ip: "192.0.2.1".parse().expect("an address"),
            mail_from: mail_from.as_bytes(),
            helo: helo.as_bytes(),
            receiver,
            unix_seconds: 0,
        }
    }

    fn result(code: ResultCode, sender: &str, domain: &str) -> SpfResult {
        SpfResult {
            code,
            identity: Identity::MailFrom,
            sender: sender.into(),
            domain: domain.into(),
            mechanism: None,
            explanation: None,
            problem: None,
            lookups: 0,
            void_lookups: 0,
        }
    }

    fn method_result(result: &SpfResult) -> String {
        let mut out = Vec::new();
        write_method_result(&mut out, result);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn received_spf_of_a_pass() {
        let mut passed = result(ResultCode::Pass, "a@b.example", "b.example");
        passed.mechanism = Some("ip4:192.0.2.0/24".into());
        let mut out = Vec::new();
        let receiver = "mx.example".into();
        write_received_spf(
            &mut out,
            &passed,
            &subject("a@b.example", "h.example", &receiver),
        );
        assert_eq!(
            String::from_utf8_lossy(&out),
            "Received-SPF: pass (mx.example: b.example allows 192.0.2.1)\r\n\
             \treceiver=mx.example; identity=mailfrom; client-ip=192.0.2.1;\r\n\
             \thelo=h.example;\r\n\
             \tenvelope-from=\"a@b.example\";\r\n\
             \tmechanism=\"ip4:192.0.2.0/24\"\r\n"
        );
    }

    #[test]
    fn no_input_leaves_its_quotes() {
        let evil = "a\"b\\)\r\nX: y\u{e9}; =?utf-8?q?x?= ".repeat(100);
        let mut refused = result(ResultCode::PermError, &evil, &evil);
        refused.problem = Some(evil.as_str().into());
        refused.mechanism = Some(evil.as_str().into());
        let mut out = Vec::new();
        let receiver = evil.as_str().into();
        write_received_spf(&mut out, &refused, &subject(&evil, &evil, &receiver));
        let text = String::from_utf8(out).expect("ASCII");
        let lines: Vec<&str> = text.split_terminator("\r\n").collect();
        assert!(
            lines
                .iter()
                .all(|line| line.len() <= 700 && !line.contains(['\r', '\n']))
        );
        assert!(lines[1..].iter().all(|line| line.starts_with('\t')));
        let keys = lines
            .iter()
            .filter_map(|line| line.trim_start().split_once('='));
        let keys: Vec<&str> = keys.skip(1).map(|(key, _)| key).collect();
        assert_eq!(
            keys,
            ["receiver", "helo", "envelope-from", "mechanism", "problem"][1..]
        );
        assert_eq!(lines[0].matches(['(', ')']).count(), 2);
        for line in &lines[2..] {
            let value = line.split_once("=\"").expect("is quoted").1;
            assert_eq!(end_of_quoted(value), value.trim_end_matches(';').len());
        }
        let text = method_result(&refused);
        assert!(text.bytes().all(|octet| matches!(octet, b' '..=b'~')));
        let (_, problem) = text.split_once("reason=\"").expect("has a reason");
        let rest = &problem[end_of_quoted(problem)..];
        let value = rest
            .strip_prefix(" smtp.mailfrom=\"")
            .expect("and a sender");
        assert_eq!(end_of_quoted(value), value.len());
    }

    /// Where the string ends whose first quote has been read.
    fn end_of_quoted(text: &str) -> usize {
        let mut escaped = false;
        for (at, octet) in text.bytes().enumerate() {
            match octet {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => return at + 1,
                _ => {}
            }
        }
        panic!("no end: {text}");
    }

    #[test]
    fn method_results() {
        let of = |sender, domain| method_result(&result(ResultCode::Fail, sender, domain));
        assert_eq!(
            of("a@B.example", "b.example"),
            "spf=fail smtp.mailfrom=a@b.example"
        );
        let quoted = of("\"a b\"@b.example", "b.example");
        assert_eq!(quoted, "spf=fail smtp.mailfrom=b.example");
        assert_eq!(
            of("é@b.example", "b.example"),
            "spf=fail smtp.mailfrom=b.example"
        );
        assert_eq!(
            of("a@[192.0.2.1]", "[192.0.2.1]"),
            "spf=fail smtp.mailfrom=\"[192.0.2.1]\""
        );
        assert_eq!(of("postmaster", ""), "spf=fail");
        let mut helo = result(ResultCode::TempError, "postmaster@h.example", "h.example");
        helo.identity = Identity::Helo;
        helo.problem = Some("TXT records of h.example: no answer in time".into());
        assert_eq!(
            method_result(&helo),
            "spf=temperror reason=\"TXT records of h.example: no answer in time\" smtp.helo=h.example"
        );
    }
}
