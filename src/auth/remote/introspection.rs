//! OAuth token introspection (RFC 7662): the server that made a token says whether it still holds, and for whom.

use super::{owned::Owned, web::Web};
use crate::{
    auth::{Attempt, Credential, Outcome, names},
    config::Credentials,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::Full;
use hyper::{
    Method, Request,
    body::Bytes,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use serde_json::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Octets of a token at most; a longer one is refused unasked.
const TOKEN_MAX: usize = 8192;

/// An introspection endpoint as a source.
#[derive(Debug)]
pub struct Introspection {
    web: Web,
    authorization: Option<HeaderValue>,
    scope: String,
    claim: String,
    owned: Owned,
}

impl Introspection {
    /// Reads the secret; connects to nothing yet.
    ///
    /// # Errors
    /// In words for the operator.
    pub fn build(credentials: &Credentials, owned: Owned) -> Result<Introspection, String> {
        let authorization = match credentials.client.is_empty() {
            true => None,
            false => Some(basic(&credentials.client, &credentials.secret.read()?)?),
        };
        let web = Web::build(
            &credentials.url,
            &credentials.ca,
            credentials.concurrency as usize,
        )?;
        Ok(Introspection {
            web,
            authorization,
            scope: credentials.scope.clone(),
            claim: credentials.claim.clone(),
            owned,
        })
    }

    /// Asks the endpoint. With its answer: until when the token holds, at most.
    pub async fn check(&self, attempt: &Attempt) -> (Outcome, Duration) {
        match self.claims(attempt).await {
            Err(outcome) => (outcome, Duration::MAX),
            Ok(claims) => {
                let Credential::Token { user, .. } = &attempt.credential else {
                    return (Outcome::Denied, Duration::MAX);
                };
                let now = now();
                let outcome = self.judge(&claims, user.as_deref(), now);
                (outcome, left(&claims, now))
            }
        }
    }

    /// What the endpoint says of the token.
    async fn claims(&self, attempt: &Attempt) -> Result<Value, Outcome> {
        let Credential::Token { token, .. } = &attempt.credential else {
            return Err(Outcome::Unavailable(
                "it takes tokens only: offer oauthbearer and xoauth2 alone".into(),
            ));
        };
        // RFC 6750 §2.1: what has other octets is no token.
        let sound = (1..=TOKEN_MAX).contains(&token.octets().len())
            && token.octets().iter().all(u8::is_ascii_graphic);
        if !sound {
            return Err(Outcome::Denied);
        }
        let reply = match self.request(token.octets()) {
            Ok(request) => self.web.ask(request).await,
            Err(why) => Err(why),
        };
        let why = match reply {
            Err(why) => why,
            Ok((head, body)) if head.status.is_success() => match serde_json::from_slice(&body) {
                Ok(claims) => return Ok(claims),
                Err(_) => "its answer is no JSON".into(),
            },
            Ok((head, _)) => match head.status.as_u16() {
                401 | 403 => format!("it refuses us ({}): see `client` and `secret`", head.status),
                _ => format!("it answered {}", head.status),
            },
        };
        Err(Outcome::Unavailable(why))
    }

    fn request(&self, token: &[u8]) -> Result<Request<Full<Bytes>>, String> {
        let body = [b"token=", &*form(token), b"&token_type_hint=access_token"].concat();
        let mut request = self
            .web
            .request(Method::POST)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(Bytes::from(body)));
        request.map_err(|why| why.to_string())
    }

    /// RFC 7662 §2.2, `now` in seconds since 1970.
    fn judge(&self, claims: &Value, user: Option<&str>, now: f64) -> Outcome {
        match claims["active"] {
            Value::Bool(true) => {}
            Value::Bool(false) => return Outcome::Denied,
            _ => return Outcome::Unavailable("its answer has no `active`".into()),
        }
        let past = |claim: &Value| claim.as_f64().is_some_and(|time| time <= now);
        let early = claims["nbf"].as_f64().is_some_and(|from| from > now);
        if past(&claims["exp"]) || early {
            return Outcome::Denied;
        }
        let scopes = claims["scope"].as_str().unwrap_or_default();
        if !self.scope.is_empty() && !scopes.split(' ').any(|scope| scope == self.scope) {
            return Outcome::Denied;
        }
        let name = match &*self.claim {
            "" => claims["username"].as_str().or(claims["sub"].as_str()),
            claim => claims[claim].as_str(),
        };
        let Some(name) = name else {
            let claim = match &*self.claim {
                "" => "`username` or `sub`".into(),
                claim => format!("`{claim}`"),
            };
            return Outcome::Unavailable(format!("its answer has no {claim}"));
        };
        // A name beside the token must be the token's own.
        let own = |user: &str| {
            let is = |claim: &str| claims[claim].as_str().is_some_and(|v| same(v, user));
            same(name, user) || is("username") || is("email")
        };
        if user.is_some_and(|user| !user.is_empty() && !own(user)) {
            return Outcome::Denied;
        }
        self.owned.grant(name, addresses(claims).as_deref())
    }
}

/// How long a token holds from `now` on, in seconds since 1970; for ever where its claims don't say.
fn left(claims: &Value, now: f64) -> Duration {
    let left = claims["exp"].as_f64().map(|until| (until - now).max(0.0));
    left.map_or(Duration::MAX, |left| {
        Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX)
    })
}

/// The addresses that the claims name: `addresses`, text or a list; `email`, unless it is said to be unverified
/// (OpenID Connect Core §5.1).
fn addresses(claims: &Value) -> Option<String> {
    let mut found: Option<String> = match &claims["addresses"] {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => {
            let words: Vec<_> = list.iter().filter_map(Value::as_str).collect();
            Some(words.join(","))
        }
        _ => None,
    };
    if let Some(email) = claims["email"].as_str()
        && claims["email_verified"] != Value::Bool(false)
    {
        let all = found.get_or_insert_default();
        all.push(',');
        all.push_str(email);
    }
    found
}

fn same(one: &str, two: &str) -> bool {
    names::folded(one) == names::folded(two)
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// RFC 6749 §2.3.1: name and password as in a form, then as in HTTP Basic.
fn basic(client: &str, secret: &[u8]) -> Result<HeaderValue, String> {
    let pair = [&form(client.as_bytes())[..], b":", &form(secret)].concat();
    let text = format!("Basic {}", STANDARD.encode(pair));
    let mut value = HeaderValue::from_str(&text).map_err(|why| why.to_string())?;
    value.set_sensitive(true);
    Ok(value)
}

/// `application/x-www-form-urlencoded`.
fn form(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len());
    for &octet in octets {
        match octet {
            b' ' => out.push(b'+'),
            b'-' | b'.' | b'_' | b'*' => out.push(octet),
            octet if octet.is_ascii_alphanumeric() => out.push(octet),
            octet => out.extend_from_slice(format!("%{octet:02X}").as_bytes()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn source(scope: &str, claim: &str) -> Introspection {
        let credentials = Credentials {
            url: "http://127.0.0.1:1/".into(),
            scope: scope.into(),
            claim: claim.into(),
            ..Credentials::default()
        };
        let owned = Owned::new(&credentials, "edge.example");
        Introspection::build(&credentials, owned).expect("a source")
    }

    fn verdict(source: &Introspection, claims: &Value, user: Option<&str>) -> String {
        match source.judge(claims, user, 1000.0) {
            Outcome::Granted(account) => {
                format!("{} {}", account.name, account.addresses.join(","))
            }
            Outcome::Denied => "denied".into(),
            Outcome::Unavailable(why) => why,
        }
    }

    #[test]
    fn a_token_must_hold_now_and_for_us() {
        let source = source("smtp", "");
        let good = json!({"active": true, "exp": 1001, "nbf": 999, "scope": "imap smtp", "username": "Amy"});
        assert_eq!(verdict(&source, &good, None), "amy amy@edge.example");
        for (claim, value) in [
            ("active", json!(false)),
            ("exp", json!(1000)),
            ("nbf", json!(1001)),
            ("scope", json!("imap smtps")),
        ] {
            let mut bad = good.clone();
            bad[claim] = value;
            assert_eq!(verdict(&source, &bad, None), "denied", "{bad}");
        }
        let mut none = good.clone();
        none["username"] = Value::Null;
        assert_eq!(
            verdict(&source, &none, None),
            "its answer has no `username` or `sub`"
        );
        assert_eq!(
            verdict(&source, &json!({}), None),
            "its answer has no `active`"
        );
        assert_eq!(
            verdict(&source, &json!([1]), None),
            "its answer has no `active`"
        );
    }

    #[test]
    fn an_answer_holds_no_longer_than_its_token() {
        for (exp, seconds) in [
            (json!(1001), Some(1)),
            (json!(999), Some(0)),
            (json!(null), None),
            (json!("soon"), None),
            (json!(1e300), None),
        ] {
            let wanted = seconds.map_or(Duration::MAX, Duration::from_secs);
            assert_eq!(left(&json!({"exp": exp}), 1000.0), wanted, "{exp}");
        }
    }

    #[test]
    fn the_name_beside_a_token_must_be_its_own() {
        let source = source("", "sub");
        let claims =
            json!({"active": true, "sub": "7", "username": "amy", "email": "Amy@a.example"});
        for user in ["7", "AMY", "amy@A.example", ""] {
            assert_eq!(verdict(&source, &claims, Some(user)), "7 amy@a.example");
        }
        assert_eq!(verdict(&source, &claims, Some("eve")), "denied");
    }

    #[test]
    fn claims_name_addresses() {
        let of = |claims: Value| addresses(&claims);
        assert_eq!(of(json!({})), None);
        assert_eq!(
            of(json!({"email": "a@x", "email_verified": false})),
            None,
            "anybody can claim that"
        );
        assert_eq!(
            of(json!({"addresses": ["a@x", 7, "@y"], "email": "b@x"})).as_deref(),
            Some("a@x,@y,b@x")
        );
    }

    #[test]
    fn names_and_passwords_are_those_of_a_form() {
        assert_eq!(form(b"a b:%\xff*"), b"a+b%3A%25%FF*");
        let value = basic("me", b"p:w").expect("ASCII");
        assert_eq!(value.as_bytes(), b"Basic bWU6cCUzQXc=");
    }
}
