//! Texts with a form of their own: networks, domains, list entries, backends, replies. One place says whether
//! such a text is right and what to write instead; the rooms that use them parse what passed here.

use crate::smtp::domain;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// A network, or a lone address for the network of just that one. The error says what to write instead.
///
/// # Errors
/// If it is neither, or has bits set after the prefix (`10.0.0.5/8`).
pub fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let net: IpNet = text.parse().map_err(|_| match text.split_once('/') {
        Some((address, _)) if address.parse::<IpAddr>().is_ok() => {
            format!(
                "the prefix length is 0 to {}",
                if address.contains(':') { 128 } else { 32 }
            )
        }
        _ => "write an address or a network like \"10.0.0.0/8\" or \"2001:db8::/32\"".to_string(),
    })?;
    match net.trunc() {
        whole if whole == net => Ok(net),
        whole => Err(format!(
            "bits are set after the prefix; write \"{whole}\" or \"{}\"",
            net.addr()
        )),
    }
}

/// Whether a text wants to be an address or a network, and nothing else that a list may hold.
#[must_use]
pub fn is_address_or_network(text: &str) -> bool {
    let address = text.split('/').next().unwrap_or(text);
    !text.starts_with('/') && (text.contains('/') || address.parse::<IpAddr>().is_ok())
}

/// What to write instead of a text that is no `ip:port`.
#[must_use]
pub fn instead_of_address(text: &str) -> Option<String> {
    if let Some(hint) = bracketed(text) {
        return Some(hint);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(format!(
            "a port is missing; write \"{}\"",
            SocketAddr::new(address, 25)
        ));
    }
    let (host, port) = text.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    match host {
        "" | "*" => Some(format!(
            "write \"0.0.0.0:{port}\" and \"[::]:{port}\" for every address"
        )),
        "localhost" => Some(format!("write \"127.0.0.1:{port}\"")),
        _ => Some("names are not looked up here; write the address".into()),
    }
}

/// For an IPv6 address without its brackets: the address with them, and with a port.
fn bracketed(text: &str) -> Option<String> {
    let is_v6 = |text: &str| text.parse::<std::net::Ipv6Addr>().is_ok();
    match text.rsplit_once(':') {
        Some((host, port)) if is_v6(host) => Some(format!("write \"[{host}]:{port}\"")),
        _ => is_v6(text).then(|| format!("write \"[{text}]:25\"")),
    }
}

/// A host name: letters, digits, hyphens (and underscores, which SRV names and containers have), dots.
#[must_use]
pub fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 255 && name.split('.').all(label)
}

/// A recipient domain, in UTF-8 or as the `xn--` form of it.
#[must_use]
pub fn is_domain(name: &str) -> bool {
    let form = domain::to_ascii(name.as_bytes());
    form.is_some_and(|form| str::from_utf8(&form).is_ok_and(is_host))
}

/// `host:port` of a backend. The error is a message and what to write instead.
///
/// # Errors
/// If it's not of that form, or a form that isn't there yet.
pub fn backend(text: &str) -> Result<(&str, u16), (String, String)> {
    if text.starts_with("mx:") {
        let hint =
            "name the backends themselves, as \"host:port\"; a host may have several addresses";
        return Err((
            format!("\"{text}\": this version looks up addresses and SRV records, not MX records"),
            hint.to_string(),
        ));
    }
    let wrong = |hint: String| (format!("\"{text}\" is no backend"), hint);
    if let Some(hint) = bracketed(text) {
        return Err(wrong(hint));
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let Some((host, port)) = text.rsplit_once(':').filter(|_| !text.ends_with(']')) else {
        let hint = if is_host(bare) || bare.parse::<IpAddr>().is_ok() {
            format!("a port is missing; write \"{text}:25\"")
        } else {
            "write \"host:port\"".into()
        };
        return Err(wrong(hint));
    };
    let port = port
        .parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| wrong("the port is 1 to 65535".into()))?;
    let inside = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let sound = match inside {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') => {
            host.parse::<std::net::Ipv4Addr>().is_ok()
        }
        None => is_host(host),
    };
    if sound {
        Ok((host, port))
    } else {
        Err(wrong("write \"host:port\"".into()))
    }
}

/// A backend that SRV records name: `srv:_smtp._tcp.mail.internal`. `None` where the text is none of these; else the name that
/// is asked for, and the domain in it.
///
/// # Errors
/// What is wrong with the name, and what to write.
#[allow(clippy::type_complexity, reason = "the form of its neighbours")]
pub fn service(text: &str) -> Option<Result<(&str, &str), (String, String)>> {
    let name = text.strip_prefix("srv:")?;
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |text: &str| text.len() > 1 && text.starts_with('_') && is_host(&text[1..]);
    let mut parts = name.splitn(3, '.');
    let found = match (parts.next(), parts.next(), parts.next()) {
        (Some(service), Some(protocol), Some(domain))
            if label(service) && label(protocol) && is_host(domain) =>
        {
            Ok((name, domain))
        }
        _ => Err((
            format!("\"{text}\" is no service"),
            "write \"srv:_smtp._tcp.mail.internal\"".into(),
        )),
    };
    Some(found)
}

/// A domain of a route: `example.net`, `.example.org`, `*`.
///
/// # Errors
/// With what to write instead.
pub fn route_domain(text: &str) -> Result<(), String> {
    if text == "*" {
        return Ok(());
    }
    if let Some(below) = text.strip_prefix("*.") {
        return Err(format!("write \".{below}\" for every domain below {below}"));
    }
    if let Some((_, domain)) = text.rsplit_once('@') {
        return Err(format!("routes go by domain; write \"{domain}\""));
    }
    // The dot of the root at the end means nothing.
    let domain = text.strip_suffix('.').unwrap_or(text);
    if is_domain(domain.strip_prefix('.').unwrap_or(domain)) {
        Ok(())
    } else {
        Err(
            "write \"example.net\", \".example.net\" for all below it, or \"*\" for every other"
                .into(),
        )
    }
}

/// An entry of a list of names or addresses: `example.net`, `.example.net`, `user@example.net`, `/…/`.
///
/// # Errors
/// With what is wrong or what to write instead.
pub fn name_entry(text: &str) -> Result<(), String> {
    if let Some(rest) = text.strip_prefix('/') {
        let pattern = rest
            .strip_suffix('/')
            .ok_or("a regular expression ends with a slash: \"/…/\"".to_string())?;
        return regex(pattern);
    }
    if let Some(below) = text.strip_prefix("*.") {
        return Err(format!("write \".{below}\" for every domain below {below}"));
    }
    let domain = match text.rsplit_once('@') {
        Some(("", domain)) => {
            return Err(format!(
                "write \"{domain}\" for every address of that domain"
            ));
        }
        Some((_, domain)) => domain,
        None if text == "<>" => return Ok(()),
        None => text.strip_prefix('.').unwrap_or(text),
    };
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let literal = text.starts_with('[') && text.ends_with(']');
    if literal || is_domain(domain) {
        Ok(())
    } else {
        Err("write \"example.net\", \".example.net\", \"user@example.net\" or \"/regular expression/\"".into())
    }
}

/// Reads a regular expression as all of the policy are read: in any case, over octets instead of Unicode (a
/// stranger's octets need not be UTF-8, and `.` must not stop at one that isn't). `(?-i)` and `(?u)` turn that
/// round.
#[must_use]
pub fn pattern(text: &str) -> regex::bytes::RegexBuilder {
    let mut builder = regex::bytes::RegexBuilder::new(text);
    builder.case_insensitive(true).unicode(false);
    builder
}

/// Whether a regular expression compiles.
///
/// # Errors
/// With the last line of the compiler's message, which says why.
pub fn regex(text: &str) -> Result<(), String> {
    pattern(text).build().map(drop).map_err(|why| {
        let message = why.to_string();
        let last = message.lines().last().unwrap_or_default();
        last.trim_start_matches("error: ").to_string()
    })
}

/// The entry of a line of a list file, without its comment; empty where there is none. A comment starts with `#`,
/// or with `;` at the start or after a blank, as in public block lists; after a regular expression a blank comes
/// before either.
#[must_use]
pub fn of_line(line: &str) -> &str {
    // Some editors begin a file with a byte-order mark.
    let line = line.strip_prefix('\u{feff}').unwrap_or(line).trim();
    let ends_pattern = |at: usize| {
        let rest = &line[at + 1..];
        let behind = rest.trim_start();
        behind.is_empty() || (behind.len() < rest.len() && behind.starts_with(['#', ';']))
    };
    if line.starts_with('/') {
        let mut slashes = line.match_indices('/').map(|(at, _)| at).skip(1);
        return slashes
            .find(|at| ends_pattern(*at))
            .map_or(line, |at| &line[..=at]);
    }
    let starts_comment = |at: &usize| {
        let before = line[..*at].chars().next_back();
        line[*at..].starts_with('#') || before.is_none_or(char::is_whitespace)
    };
    let mut marks = line.match_indices(['#', ';']).map(|(at, _)| at);
    line[..marks.find(starts_comment).unwrap_or(line.len())].trim_end()
}

/// A reply: `550 5.7.1 Text`. Returns the first digit of its code.
///
/// # Errors
/// With what is wrong.
pub fn reply(text: &str) -> Result<u8, String> {
    let example = "write one like \"550 5.7.1 Not from there\"";
    let code = text
        .get(..3)
        .filter(|code| code.bytes().all(|b| b.is_ascii_digit()));
    let rest = code.and_then(|_| text[3..].strip_prefix(' '));
    let (Some(code), Some(rest)) = (code, rest) else {
        return Err(example.into());
    };
    let class = code.as_bytes()[0] - b'0';
    if !matches!(class, 4 | 5) || code.as_bytes()[1] > b'5' {
        return Err(format!("{code} is no code for a refusal; {example}"));
    }
    if text.len() > 400 || text.chars().any(|c| !matches!(c, ' '..='~')) {
        return Err("a reply is one line of printable ASCII, 400 characters at most".into());
    }
    if rest.trim().is_empty() {
        return Err(example.into());
    }
    let status = rest.split(' ').next().unwrap_or_default();
    let parts: Vec<&str> = status.split('.').collect();
    let numeric = parts
        .iter()
        .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    if parts.len() == 3 && numeric && rest.trim() == status {
        return Err(format!("there is no text after the codes; {example}"));
    }
    if parts.len() == 3 && numeric && parts[0] != class.to_string() {
        return Err(format!(
            "the enhanced code of {code} starts with {class}, not {}",
            parts[0]
        ));
    }
    Ok(class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        assert_eq!(
            network("::1").map(|net| net.to_string()),
            Ok("::1/128".into())
        );
        assert!(network("10.0.0.0/8").is_ok());
        for (text, hint) in [
            (
                "10.0.0.5/8",
                "bits are set after the prefix; write \"10.0.0.0/8\" or \"10.0.0.5\"",
            ),
            ("10.0.0.0/33", "the prefix length is 0 to 32"),
            ("::/129", "the prefix length is 0 to 128"),
            (
                "ten",
                "write an address or a network like \"10.0.0.0/8\" or \"2001:db8::/32\"",
            ),
        ] {
            assert_eq!(network(text), Err(hint.into()));
        }
    }

    #[test]
    fn comments_and_blanks_go() {
        for (line, entry) in [
            ("  192.0.2.0/24 ; SBL1\r", "192.0.2.0/24"),
            ("192.0.2.1# why", "192.0.2.1"),
            ("# all of it", ""),
            ("\t; x", ""),
            ("", ""),
            ("/a #b;c/ # see http://x/y", "/a #b;c/"),
            ("/a/", "/a/"),
            ("/a", "/a"),
            ("/", "/"),
        ] {
            assert_eq!(of_line(line), entry, "{line:?}");
        }
    }

    #[test]
    fn backends() {
        for text in ["10.0.0.1:25", "[::1]:25", "mail.internal:2525", "mail_1:25"] {
            assert!(backend(text).is_ok(), "{text}");
        }
        for (text, hint) in [
            ("10.0.0.1", "a port is missing; write \"10.0.0.1:25\""),
            ("[::1]", "a port is missing; write \"[::1]:25\""),
            ("::1", "write \"[::1]:25\""),
            ("2001:db8::1:25", "write \"[2001:db8::1]:25\""),
            ("mail:0", "the port is 1 to 65535"),
            ("mail:smtp", "the port is 1 to 65535"),
            ("10.0.0.256:25", "write \"host:port\""),
            ("", "write \"host:port\""),
            (
                "mx:mail.internal",
                "name the backends themselves, as \"host:port\"; a host may have several addresses",
            ),
        ] {
            assert_eq!(
                backend(text).map_err(|(_, hint)| hint),
                Err(hint.into()),
                "{text}"
            );
        }
    }

    #[test]
    fn services() {
        for (text, name) in [
            ("srv:_smtp._tcp.mail.internal", "_smtp._tcp.mail.internal"),
            ("srv:_lmtp._tcp.example.net.", "_lmtp._tcp.example.net"),
        ] {
            let (found, domain) = service(text).expect("a service").expect("a name");
            assert_eq!(found, name);
            assert!(name.ends_with(domain) && !domain.starts_with('_'));
        }
        for text in [
            "srv:",
            "srv:mail.internal",
            "srv:_smtp._tcp",
            "srv:_._tcp.a.example",
        ] {
            assert!(service(text).expect("a service").is_err(), "{text}");
        }
        assert!(service("mail.internal:25").is_none());
    }

    #[test]
    fn names() {
        for text in [
            "example.net",
            ".example.net",
            "a@example.net",
            "/^x/",
            "müller.example",
            "<>",
            "[192.0.2.1]",
        ] {
            assert_eq!(name_entry(text), Ok(()), "{text}");
        }
        assert_eq!(
            name_entry("@example.net"),
            Err("write \"example.net\" for every address of that domain".into())
        );
        assert!(name_entry("/a(/").is_err_and(|why| why == "unclosed group"));
        for text in [
            "*",
            ".example.org",
            "example.org.",
            ".bücher.example.",
            "xn--bcher-kva.example",
        ] {
            assert_eq!(route_domain(text), Ok(()), "{text}");
        }
        for text in [
            "exam\u{200b}ple.org",
            "a／b.example",
            ".",
            "..",
            "example.org..",
        ] {
            assert!(route_domain(text).is_err(), "{text}");
        }
        for (text, hint) in [
            (
                "*.example.org",
                "write \".example.org\" for every domain below example.org",
            ),
            (
                "a@example.org",
                "routes go by domain; write \"example.org\"",
            ),
        ] {
            assert_eq!(route_domain(text), Err(hint.into()));
        }
    }

    #[test]
    fn replies() {
        assert_eq!(reply("550 5.7.1 No"), Ok(5));
        assert_eq!(reply("451 Later"), Ok(4));
        assert_eq!(
            reply("550 4.7.1 No"),
            Err("the enhanced code of 550 starts with 5, not 4".into())
        );
        for text in [
            "",
            "No",
            "55",
            "250 Ok",
            "550",
            "550 é",
            "550 a\r\n250 b",
            "550 5.7.1 ",
            "5é0 x",
            "590 x",
        ] {
            assert!(reply(text).is_err(), "{text}");
        }
    }
}
