//! An HTTP endpoint, asked as nginx's mail proxy asks its own (`auth_http`): a GET whose header fields name the client,
//! a reply whose fields say yes or no. What the reply says of a backend is nginx's business, not ours.
//!
//! Source: nginx's documentation of `ngx_mail_auth_http_module`, and what nginx sends.

use super::{owned::Owned, web::Web};
use crate::{
    auth::{Attempt, Credential, Mechanism, Outcome},
    config::Credentials,
};
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request,
    body::Bytes,
    header::{HeaderName, HeaderValue},
};
use std::time::Duration;

/// Octets of a user's name, and of a password or token, at most; longer ones are refused unasked.
const CREDENTIAL_MAX: usize = 8192;

/// An HTTP endpoint as a source.
#[derive(Debug)]
pub struct Http {
    web: Web,
    key: Option<HeaderValue>,
    owned: Owned,
}

impl Http {
    /// Reads the secret; connects to nothing yet.
    ///
    /// # Errors
    /// In words for the operator.
    pub fn build(credentials: &Credentials, owned: Owned) -> Result<Http, String> {
        let secret = &credentials.secret;
        let key = match secret.is_empty() {
            true => None,
            false => Some(
                HeaderValue::from_bytes(&secret.read()?)
                    .map_err(|_| "the secret can't stand in a header field".to_string())?,
            ),
        };
        let web = Web::build(
            &credentials.url,
            &credentials.ca,
            credentials.concurrency as usize,
        )?;
        Ok(Http { web, key, owned })
    }

    /// Asks the endpoint; with a no, how long it wants us to wait with it.
    pub async fn ask(&self, attempt: &Attempt) -> (Outcome, Duration) {
        let request = match self.request(attempt) {
            Ok(Some(request)) => request,
            Ok(None) => return (Outcome::Denied, Duration::ZERO),
            Err(why) => return (Outcome::Unavailable(why), Duration::ZERO),
        };
        match self.web.ask(request).await {
            Err(why) => (Outcome::Unavailable(why), Duration::ZERO),
            Ok((head, _)) => self.judge(head.status.as_u16(), &head.headers, attempt),
        }
    }

    /// `None` for a credential that no header field can hold.
    fn request(&self, attempt: &Attempt) -> Result<Option<Request<Full<Bytes>>>, String> {
        let (user, password) = match &attempt.credential {
            Credential::Password { user, password } => (&**user, password),
            Credential::Token { user, token } => (user.as_deref().unwrap_or_default(), token),
        };
        if user.len() > CREDENTIAL_MAX || password.octets().len() > CREDENTIAL_MAX {
            return Ok(None);
        }
        let mut password = HeaderValue::from_bytes(&escaped(password.octets()));
        if let Ok(password) = &mut password {
            password.set_sensitive(true);
        }
        let mut request = self
            .web
            .request(Method::GET)
            .header("Auth-Method", method(attempt.mechanism))
            .header("Auth-User", escaped(user.as_bytes()))
            .header("Auth-Pass", password.map_err(|why| why.to_string())?)
            .header("Auth-Protocol", "smtp")
            .header("Auth-Login-Attempt", "1")
            .header("Client-IP", attempt.client.to_canonical().to_string())
            .header("Client-Host", "[UNAVAILABLE]")
            .header("Auth-SMTP-Helo", escaped(&attempt.helo));
        if attempt.secured {
            request = request.header("Auth-SSL", "on");
        }
        if let Some(key) = &self.key {
            request = request.header("X-Auth-Key", key);
        }
        let request = request.body(Full::default());
        request.map(Some).map_err(|why| why.to_string())
    }

    fn judge(&self, code: u16, fields: &HeaderMap, attempt: &Attempt) -> (Outcome, Duration) {
        let unavailable = |why: String| (Outcome::Unavailable(why), Duration::ZERO);
        let Some(status) = text(fields, "auth-status") else {
            return unavailable(format!("it answered {code} without Auth-Status"));
        };
        if status == "OK" {
            if code / 100 != 2 {
                return unavailable(format!("it answered {code} with Auth-Status: OK"));
            }
            let said = text(fields, "auth-user").map(|name| unescaped(&name));
            let name = match (&said, &attempt.credential) {
                (Some(said), _) => said,
                (None, Credential::Password { user, .. }) => user,
                (
                    None,
                    Credential::Token {
                        user: Some(user), ..
                    },
                ) => user,
                (None, Credential::Token { user: None, .. }) => {
                    return unavailable("it granted a token without Auth-User".into());
                }
            };
            let addresses = text(fields, "auth-addresses");
            return (self.owned.grant(name, addresses.as_deref()), Duration::ZERO);
        }
        // What nginx would say to its client: a 4xx is a trouble of the endpoint's.
        let trouble = text(fields, "auth-error-code").is_some_and(|code| code.starts_with('4'));
        if trouble || code >= 500 {
            return unavailable(format!("it answered {code}, Auth-Status: {status}"));
        }
        let wait = text(fields, "auth-wait").and_then(|wait| wait.parse().ok());
        (
            Outcome::Denied,
            wait.map_or(Duration::ZERO, Duration::from_secs),
        )
    }
}

/// The word of `Auth-Method`: nginx tells PLAIN and LOGIN by the same.
fn method(mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::OauthBearer => "oauthbearer",
        Mechanism::Xoauth2 => "xoauth2",
        _ => "plain",
    }
}

/// A field's value as text, if it is there.
fn text(fields: &HeaderMap, name: &'static str) -> Option<String> {
    let value = fields.get(HeaderName::from_static(name))?;
    Some(String::from_utf8_lossy(value.as_bytes()).trim().to_string())
}

/// nginx's way with what a client said: blanks, percent signs and what no field can hold become `%XX`.
fn escaped(octets: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(octets.len());
    for &octet in octets {
        if octet <= b' ' || octet == b'%' || octet == 0x7f {
            out.extend([
                b'%',
                DIGITS[usize::from(octet >> 4)],
                DIGITS[usize::from(octet & 15)],
            ]);
        } else {
            out.push(octet);
        }
    }
    out
}

/// The way back, for the name that a reply gives.
fn unescaped(text: &str) -> String {
    let octets = text.as_bytes();
    let mut plain = Vec::with_capacity(octets.len());
    let mut at = 0;
    while let Some(&octet) = octets.get(at) {
        let digits = octets.get(at + 1..at + 3);
        let hex = digits
            .filter(|_| octet == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        plain.push(hex.unwrap_or(octet));
        at += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_field_can_t_hold_is_escaped() {
        assert_eq!(escaped(b"a b%\r\n\x7f"), b"a%20b%25%0D%0A%7F");
        assert_eq!(escaped("ä@x".as_bytes()), "ä@x".as_bytes());
        assert_eq!(unescaped("a%20b%25%c3%a4%zz%4"), "a b%ä%zz%4");
    }
}
