//! A client's side of the SASL mechanisms that hand a credential on: first responses, before base64.

use crate::auth::{Attempt, Credential, Mechanism, Secret};

/// A mechanism's name and its first response.
#[derive(Debug)]
pub struct Saying {
    /// The name on the wire.
    pub mechanism: Mechanism,
    /// What is said first, and last.
    pub response: Secret,
}

/// How a credential is handed on to a server with these mechanisms. A password goes by PLAIN however the client said it; a
/// token goes by the mechanism that it came with, or by the other one.
///
/// # Errors
/// In words, if nothing fits. `Ok(None)`: the credential holds what can't be handed on, so it is refused.
pub fn saying(attempt: &Attempt, offers: impl Fn(&str) -> bool) -> Result<Option<Saying>, String> {
    let first_of = |wanted: &[Mechanism]| {
        let found = wanted.iter().copied().find(|m| offers(m.as_str()));
        found.ok_or_else(|| format!("it offers no {}", wanted[0].as_str()))
    };
    let (mechanism, response) = match &attempt.credential {
        Credential::Password { user, password } => {
            let mechanism = first_of(&[Mechanism::Plain, Mechanism::Login])?;
            (mechanism, plain(user.as_bytes(), password.octets()))
        }
        Credential::Token { user, token } => {
            let mechanism = first_of(match attempt.mechanism {
                Mechanism::Xoauth2 => &[Mechanism::Xoauth2, Mechanism::OauthBearer],
                _ => &[Mechanism::OauthBearer, Mechanism::Xoauth2],
            })?;
            let user = user.as_deref().unwrap_or_default();
            (mechanism, bearer(mechanism, user, token.octets()))
        }
    };
    Ok(response.map(|response| Saying {
        mechanism,
        response,
    }))
}

/// RFC 4616 §2.
fn plain(user: &[u8], password: &[u8]) -> Option<Secret> {
    let sound = !user.is_empty() && !user.contains(&0) && !password.contains(&0);
    sound.then(|| Secret::new([b"\0", user, b"\0", password].concat()))
}

/// RFC 7628 §3.1, or the form that came before it.
fn bearer(mechanism: Mechanism, user: &str, token: &[u8]) -> Option<Secret> {
    // RFC 6750 §2.1: a token is letters, digits and a few signs, all of them visible.
    let sound = !token.is_empty() && token.iter().all(u8::is_ascii_graphic);
    if !sound || user.chars().any(char::is_control) {
        return None;
    }
    let head = match mechanism {
        Mechanism::Xoauth2 => format!("user={user}\x01"),
        _ if user.is_empty() => "n,,\x01".to_string(),
        // RFC 5801 §4: a comma would end the name.
        _ => format!("n,a={},\x01", user.replace('=', "=3D").replace(',', "=2C")),
    };
    let whole = [head.as_bytes(), b"auth=Bearer ", token, b"\x01\x01"].concat();
    Some(Secret::new(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_form() {
        let octets = |secret: Option<Secret>| secret.map(|s| s.octets().to_vec());
        assert_eq!(octets(plain(b"amy", b"pw")), Some(b"\0amy\0pw".to_vec()));
        assert_eq!(octets(plain(b"amy\0eve", b"pw")), None);
        assert_eq!(
            octets(bearer(Mechanism::OauthBearer, "a,b=c", b"tok")),
            Some(b"n,a=a=2Cb=3Dc,\x01auth=Bearer tok\x01\x01".to_vec())
        );
        assert_eq!(
            octets(bearer(Mechanism::Xoauth2, "amy", b"tok")),
            Some(b"user=amy\x01auth=Bearer tok\x01\x01".to_vec())
        );
        for bad in [&b"a b"[..], b"a\x01auth=Bearer x", b""] {
            assert_eq!(octets(bearer(Mechanism::OauthBearer, "amy", bad)), None);
        }
    }
}
