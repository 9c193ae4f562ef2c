//! A login that was granted, and what it was granted by: after a reload it holds only while the sources in force would grant it
//! for the same reason.

use super::{Account, Verifier};
use crate::config::Credentials;
use std::sync::Arc;

/// A login.
#[derive(Clone, Debug)]
pub struct Grant {
    pub(super) account: Account,
    /// The configuration that granted it, or that was last found to.
    pub(super) generation: u64,
    pub(super) by: By,
}

/// What a login was granted by.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum By {
    /// The verifiers of an account file's line, all of them: a new password gives new ones.
    Verifiers(Box<[Verifier]>),
    /// The word of a source that is asked over a wire, which can't be asked again without the password. So the login holds while the
    /// source's table says the same.
    Source(Table),
}

impl Grant {
    /// The account.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }
}

/// What of a `[[credentials]]` table says whose passwords are right, and what an account owns; and our own name, where that is the
/// domain of accounts for want of `domains`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Table(Arc<(Credentials, Option<String>)>);

impl Table {
    pub fn new(credentials: &Credentials, hostname: &str) -> Table {
        let usual = Credentials::default();
        let domain = credentials.domains.is_empty().then(|| hostname.into());
        let credentials = Credentials {
            timeout: usual.timeout,
            concurrency: usual.concurrency,
            cache: usual.cache,
            cache_negative: usual.cache_negative,
            ..credentials.clone()
        };
        Table(Arc::new((credentials, domain)))
    }
}
