//! One order, from the account to the certificate (RFC 8555 §7.4).

use super::{
    certificate::{Certificate, request},
    client::Web,
    responder::{Answers, Given},
    schedule::Fault,
    store::{Kept, Store},
};
use crate::{
    config::{Acme, read_secret},
    log::say,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, ExternalAccountKey,
    Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use std::time::Duration;

/// How often the authority is asked how far it is: at first, by what factor longer each time, and for how long.
const POLL: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .backoff(1.5)
    .timeout(Duration::from_secs(180));
/// What the authority calls a client that asks for too much, and one that it doesn't know (RFC 8555 §6.7).
const RATE_LIMITED: &str = "urn:ietf:params:acme:error:rateLimited";
const UNKNOWN_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// Why there is no certificate.
#[derive(Debug)]
pub struct Failure {
    /// For the wait before the next try.
    pub fault: Fault,
    /// For the log.
    pub why: String,
    /// The authority asks for patience.
    pub limited: bool,
    /// It doesn't know the stored account.
    pub stranger: bool,
}

impl Failure {
    /// The authority refused something, or gave what is of no use.
    pub fn refused(why: impl Into<String>) -> Failure {
        Failure {
            fault: Fault::Refused,
            why: why.into(),
            limited: false,
            stranger: false,
        }
    }

    /// Nothing was asked of it.
    pub fn unreached(why: impl Into<String>) -> Failure {
        Failure {
            fault: Fault::Unreached,
            ..Failure::refused(why)
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let failure = match &error {
            Error::Api(problem) => {
                let mut failure = Failure::refused(told(problem));
                failure.limited = problem.r#type.as_deref() == Some(RATE_LIMITED);
                if problem.r#type.as_deref() == Some(UNKNOWN_ACCOUNT) {
                    // A new account is made at the next try, which need not wait long.
                    failure.stranger = true;
                    failure.fault = Fault::Unreached;
                }
                failure
            }
            Error::Timeout(_) => Failure::refused("the authority took too long"),
            other => Failure::unreached(words(other)),
        };
        Failure {
            why: bounded(&failure.why),
            ..failure
        }
    }
}

/// What the authority said of a problem.
fn told(problem: &instant_acme::Problem) -> String {
    let kind = problem.r#type.as_deref().unwrap_or("no type");
    let kind = kind
        .strip_prefix("urn:ietf:params:acme:error:")
        .unwrap_or(kind);
    let mut text = format!(
        "{kind}: {}",
        problem.detail.as_deref().unwrap_or("no detail")
    );
    for part in &problem.subproblems {
        text.push_str(&format!("; {part}"));
    }
    text
}

/// An error with its causes: "client error (Connect)" alone says too little.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        below = cause.source();
    }
    text
}

/// A stranger's words in our log have a limit.
fn bounded(text: &str) -> String {
    const WORDS_MAX: usize = 600;
    text.chars().take(WORDS_MAX).collect()
}

/// The account with the authority: the stored one, or a new one that is stored before it is used.
///
/// # Errors
/// It can't be reached, refuses, or the store can't be written.
pub async fn account(acme: &Acme, store: &Store) -> Result<Account, Failure> {
    let web = Web::new(acme.ca.as_deref()).map_err(Failure::unreached)?;
    let builder = Account::builder_with_http(Box::new(web));
    let contact: Vec<&str> = acme.contact.iter().map(String::as_str).collect();
    let kept = store
        .account::<AccountCredentials>()
        .filter(|kept| kept.directory == acme.directory && kept.external == acme.external_account);
    if let Some(kept) = kept {
        let before = kept.contact;
        let again = serde_json::to_value(&kept.credentials).and_then(serde_json::from_value);
        let account = builder.from_credentials(kept.credentials).await?;
        if before != acme.contact {
            account.update_contacts(&contact).await?;
            let credentials = again.map_err(|why| Failure::unreached(why.to_string()))?;
            keep(acme, store, credentials)?;
        }
        return Ok(account);
    }
    let external = external(acme).map_err(Failure::unreached)?;
    let wanted = NewAccount {
        contact: &contact,
        terms_of_service_agreed: acme.agree,
        only_return_existing: false,
    };
    let made = builder.create(&wanted, acme.directory.clone(), external.as_ref());
    let (account, credentials) = made.await?;
    keep(acme, store, credentials)?;
    say!(Info, "acme: registered an account with {}", acme.directory);
    Ok(account)
}

fn keep(acme: &Acme, store: &Store, credentials: AccountCredentials) -> Result<(), Failure> {
    let kept = Kept {
        directory: acme.directory.clone(),
        external: acme.external_account.clone(),
        contact: acme.contact.clone(),
        credentials,
    };
    store.keep_account(&kept).map_err(Failure::unreached)
}

/// The account from elsewhere, if one is configured.
fn external(acme: &Acme) -> Result<Option<ExternalAccountKey>, String> {
    let (Some(name), Some(file)) = (&acme.external_account, &acme.external_key) else {
        return Ok(None);
    };
    let wrong = |why: String| format!("acme.external_key = \"{}\": {why}", file.display());
    let octets = read_secret(file).map_err(|why| wrong(why.to_string()))?;
    let text = String::from_utf8(octets).map_err(|why| wrong(why.to_string()))?;
    let key = URL_SAFE_NO_PAD
        .decode(text.trim().trim_end_matches('='))
        .map_err(|why| wrong(why.to_string()))?;
    Ok(Some(ExternalAccountKey::new(name.clone(), &key)))
}

/// Orders a certificate for the configured domains, proves that they are ours, and fetches it.
///
/// # Errors
/// What the authority said, or that it was not to be reached.
pub async fn certificate(
    acme: &Acme,
    account: &Account,
    answers: &Answers,
) -> Result<Certificate, Failure> {
    let names = acme.domains.iter().cloned();
    let names: Vec<Identifier> = names.map(Identifier::Dns).collect();
    let mut order = account.new_order(&NewOrder::new(&names)).await?;
    let given = prove(&mut order, answers).await?;
    if !given.is_empty() || order.state().status == OrderStatus::Pending {
        let status = order.poll_ready(&POLL).await;
        let refused = match status {
            Ok(OrderStatus::Ready | OrderStatus::Valid) => None,
            Ok(_) => Some("the order became invalid".to_string()),
            Err(Error::Api(problem)) => Some(told(&problem)),
            Err(other) => return Err(other.into()),
        };
        if let Some(otherwise) = refused {
            let why = reason(&mut order).await.unwrap_or(otherwise);
            return Err(Failure::refused(bounded(&why)));
        }
    }
    drop(given);
    let (key, request) = request(&acme.domains).map_err(Failure::refused)?;
    order.finalize_csr(&request).await?;
    let chain = order.poll_certificate(&POLL).await?;
    let useless = |why: String| Failure::refused(format!("what the authority sent: {why}"));
    let certificate = Certificate::parse(&(key.serialize_pem() + &chain)).map_err(useless)?;
    if !certificate.fits(&acme.domains) {
        let names = certificate.names().join(", ");
        return Err(useless(format!("it is for {names}")));
    }
    Ok(certificate)
}

/// Gives the answers to the challenges of an order, and says so. They are given as long as the result is kept.
async fn prove(order: &mut Order, answers: &Answers) -> Result<Vec<Given>, Failure> {
    let mut given = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let name = authorization.identifier().to_string();
        match authorization.status {
            // Proved not long ago: authorities remember it for days.
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            AuthorizationStatus::Invalid => return Err(unusable(&name, "invalid")),
            AuthorizationStatus::Revoked => return Err(unusable(&name, "revoked")),
            AuthorizationStatus::Expired => return Err(unusable(&name, "expired")),
            AuthorizationStatus::Deactivated => return Err(unusable(&name, "deactivated")),
        }
        let Some(mut challenge) = authorization.challenge(ChallengeType::Http01) else {
            let why = format!("the authority offers no http-01 challenge for {name}");
            return Err(Failure::refused(why));
        };
        let proof = challenge.key_authorization();
        given.push(answers.give(&challenge.token, proof.as_str()));
        challenge.set_ready().await?;
    }
    Ok(given)
}

/// The authority gave an authorization that can't be proved any more.
fn unusable(name: &str, state: &str) -> Failure {
    Failure::refused(format!(
        "the authority's authorization for {name} is {state} already"
    ))
}

/// What the authority found wrong with a name: an order that failed says it there, not itself.
async fn reason(order: &mut Order) -> Option<String> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.ok()?;
        let name = authorization.identifier().to_string();
        let state = authorization.refresh().await.ok()?;
        let mut problems = state.challenges.iter().filter_map(|c| c.error.as_ref());
        if let Some(problem) = problems.next() {
            return Some(format!("{name}: {}", told(problem)));
        }
    }
    None
}
