//! Which requests are let in: under which names, from which pages, with which token. Without a token, of which user of this
//! machine: `routes` asks the kernel for that ([`may_change`]).
//!
//! A web page can make the browser of its reader send requests to this endpoint: directly, with an `Origin` that
//! names the page, or under a name of its own that it lets resolve to this machine's address (DNS rebinding), and then it
//! can read the answers as well. The first is met by [`Rules::origin_is_ours`], the second by [`Rules::host_is_ours`].

use crate::config::Config;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::http::{HeaderMap, Uri, header, uri::Authority};
use rustix::process::geteuid;
use std::net::IpAddr;

/// What a configuration says of requests.
#[derive(Clone, Default)]
pub struct Rules {
    /// Names that the endpoint is asked under, in lower case.
    names: Vec<String>,
    token: Option<Vec<u8>>,
    /// There is a token, and it is not known.
    is_closed: bool,
}

impl Rules {
    /// Takes `hostname` and `[admin]`, and reads the token. Blocks. Errors, in words: the token can't be read.
    pub fn build(config: &Config) -> Result<Rules, String> {
        let secret = &config.admin.token;
        let token = match secret.is_empty() {
            true => None,
            false => Some(secret.read().map_err(|why| format!("admin.token: {why}"))?),
        };
        Ok(Rules {
            names: names(config),
            token,
            is_closed: false,
        })
    }

    /// The same where the token can't be read: no token is right, so nothing is changed over the network.
    #[must_use]
    pub fn closed(config: &Config) -> Rules {
        Rules {
            names: names(config),
            token: None,
            is_closed: true,
        }
    }

    /// Whether a request asks for a name of ours; else the name that it asks for. An IP address is ours whichever it is,
    /// and so is a name without a dot, as containers have: no page on the internet can have one, or make it point elsewhere. HTTP/1.0 knows requests without a name, which no browser sends.
    pub(super) fn host_is_ours(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
        let named = headers.get_all(header::HOST).iter();
        let named = named.map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
        let target = uri.authority().map(ToString::to_string);
        for name in named.chain(target) {
            if !self.is_ours(&name) {
                return Err(name);
            }
        }
        Ok(())
    }

    fn is_ours(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else {
            return false;
        };
        let name = plain_name(authority.host());
        let literal = name.trim_start_matches('[').trim_end_matches(']');
        literal.parse::<IpAddr>().is_ok()
            || (!name.is_empty() && !name.contains('.'))
            || name.ends_with(".localhost")
            || self.names.contains(&name)
    }

    /// Whether a token is asked for.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some() || self.is_closed
    }

    /// Whether a request that changes something may have been meant: it carries the token, or none is asked for and no
    /// page of another site sent it.
    pub(super) fn allows_change(
        &self,
        headers: &HeaderMap,
        over_network: bool,
    ) -> Result<(), Refusal> {
        if self.is_closed && over_network {
            return Err(Refusal::Token);
        }
        if let Some(token) = &self.token
            && over_network
        {
            let shown = headers
                .get(header::AUTHORIZATION)
                .map(|value| value.as_bytes());
            let shown = shown.and_then(bearer).unwrap_or_default();
            // The time of the comparison tells nothing of the token but its length.
            return verify_slices_are_equal(shown, token).map_err(|_| Refusal::Token);
        }
        match origin_is_ours(headers) {
            true => Ok(()),
            false => Err(Refusal::Origin),
        }
    }
}

fn names(config: &Config) -> Vec<String> {
    let names = config.admin.hosts.iter().chain([&config.hostname]);
    names.map(|name| plain_name(name)).collect()
}

/// Why a change is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The token is missing or wrong.
    Token,
    /// A page of another site sent the request.
    Origin,
}

/// A browser names the page in `Origin` with every request that may change something. `curl` sends none.
fn origin_is_ours(headers: &HeaderMap) -> bool {
    let other_site = headers
        .get("sec-fetch-site")
        .is_some_and(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"));
    let Some(origin) = headers.get(header::ORIGIN) else {
        return !other_site;
    };
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| {
        origin
            .strip_prefix("http://")
            .map(|place| place.strip_suffix(":80").unwrap_or(place))
    });
    let host = host.map(|host| host.strip_suffix(":80").unwrap_or(host));
    match (origin, host) {
        (Some(origin), Some(host)) => !other_site && origin.eq_ignore_ascii_case(host),
        _ => false,
    }
}

/// Whether this user of the machine may change something without a token: root, and the one that the process runs as.
pub(super) fn may_change(user: u32) -> bool {
    user == 0 || user == geteuid().as_raw()
}

/// The token in `Bearer TOKEN` (RFC 6750 §2.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

fn plain_name(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use axum::http::HeaderName;

    fn rules() -> Rules {
        Rules {
            names: vec!["mx.example.net".into(), "edge1.internal".into()],
            token: None,
            is_closed: false,
        }
    }

    fn headers(list: &[(&str, &str)]) -> HeaderMap {
        let pairs = list
            .iter()
            .map(|(key, value)| (key.parse::<HeaderName>().unwrap(), value.parse().unwrap()));
        pairs.collect()
    }

    #[test]
    fn only_names_of_ours_are_answered() {
        for (host, ours) in [
            ("127.0.0.1:9025", true),
            ("192.0.2.1", true),
            ("[::1]:9025", true),
            ("localhost:9025", true),
            ("LOCALHOST.", true),
            ("a.localhost", true),
            ("mx.example.net:9025", true),
            ("Edge1.Internal.", true),
            ("evil.example:9025", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
            ("gatepost:9025", true),
            ("mx", true),
            ("user@evil.example", false),
            ("", false),
            ("mx.example.net, evil.example", false),
        ] {
            let asked = headers(&[("host", host)]);
            let answer = rules().host_is_ours(&"/metrics".parse().unwrap(), &asked);
            assert_eq!(answer.is_ok(), ours, "{host}");
        }
        let both: Uri = "http://evil.example/metrics".parse().unwrap();
        assert!(
            rules()
                .host_is_ours(&both, &headers(&[("host", "localhost")]))
                .is_err()
        );
        assert!(
            rules()
                .host_is_ours(&"/".parse().unwrap(), &headers(&[]))
                .is_ok()
        );
    }

    #[test]
    fn a_change_needs_a_page_of_ours_or_none() {
        for (list, allowed) in [
            (&[("host", "127.0.0.1:9025")][..], true),
            (&[("host", "x:9025"), ("origin", "http://x:9025")], true),
            (&[("host", "x"), ("origin", "http://x:80")], true),
            (&[("host", "x:9025"), ("origin", "http://x:9026")], false),
            (&[("host", "x:9025"), ("origin", "https://x:9025")], false),
            (
                &[("host", "x:9025"), ("origin", "http://evil.example")],
                false,
            ),
            (&[("host", "x:9025"), ("origin", "null")], false),
            (
                &[("host", "x:9025"), ("sec-fetch-site", "cross-site")],
                false,
            ),
            (&[("host", "x:9025"), ("sec-fetch-site", "none")], true),
        ] {
            let answer = rules().allows_change(&headers(list), true);
            assert_eq!(answer.is_ok(), allowed, "{list:?}");
        }
    }

    #[test]
    fn a_token_is_asked_for_over_the_network_alone() {
        let rules = Rules {
            token: Some(b"s3cret".to_vec()),
            ..rules()
        };
        for (shown, allowed) in [
            ("Bearer s3cret", true),
            ("bearer s3cret", true),
            ("Bearer s3cre", false),
            ("Bearer ", false),
            ("s3cret", false),
            ("Basic s3cret", false),
        ] {
            let list = headers(&[("authorization", shown), ("origin", "http://evil.example")]);
            assert_eq!(rules.allows_change(&list, true).is_ok(), allowed, "{shown}");
        }
        assert_eq!(
            rules.allows_change(&headers(&[]), true),
            Err(Refusal::Token)
        );
        assert_eq!(rules.allows_change(&headers(&[]), false), Ok(()));
        // A token that can't be read is none that is right.
        let rules = Rules::closed(&Config::default());
        assert!(rules.has_token());
        for shown in ["Bearer s3cret", "Bearer ", ""] {
            let list = headers(&[("authorization", shown)]);
            assert_eq!(rules.allows_change(&list, true), Err(Refusal::Token));
        }
        assert_eq!(rules.allows_change(&headers(&[]), false), Ok(()));
    }
}
