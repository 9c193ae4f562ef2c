//! Whether what a client was let in by still holds: its login, its place among the trusted, a proxy's right to speak for it. A session
//! keeps the configuration that it began with, but a reload that takes one of these away means the sessions that are open, too: a
//! client that logged in with a stolen password would keep its session as long as it likes.
//!
//! Asked at MAIL, so that a message under way is finished. A client that has lost something hears 421 and comes again as what it is now.
//! Rejected: to forget the login and go on (530 at MAIL). Mail programs log in at the start of a connection only, and tell their users
//! that the message was refused.

use super::session::Session;
use std::rc::Rc;

impl Session {
    /// Looks, and takes over what the account owns now.
    pub fn renew_access(&mut self) -> bool {
        let Some((current, listener)) = self.in_force() else {
            return false;
        };
        if Rc::ptr_eq(&current, &self.current) {
            return true;
        }
        let (site, address) = (&current.site, self.peer.address);
        let listener = &site.listeners[listener];
        // Either certificate may have made it trusted: the one of its PROXY header, and that of TLS with us later.
        let is_named = self.server.xclient_attributes().is_some();
        let via = self.peer.via.as_deref().filter(|_| !is_named);
        let by_proxy = via.map_or(&[][..], |via| via.secured().1);
        let shown = [self.certificate(), by_proxy];
        let by_name = || shown.iter().any(|names| listener.trusts_certificate(names));
        let trusted = || site.trusts(address) || by_name();
        if self.peer.trusted && !trusted() {
            return false;
        }
        // Where a PROXY header came before XCLIENT, its client is the proxy that said XCLIENT, and its address is not kept.
        let via = self.peer.via.as_deref().filter(|via| via.origin.is_none());
        let proxy = via.filter(|_| self.server.xclient_attributes().is_some());
        if proxy.is_some_and(|via| !listener.speaks_for_others(via.proxy)) {
            return false;
        }
        let authenticated = self.server.is_authenticated();
        let Some(login) = self.login.as_mut().filter(|_| authenticated) else {
            return true;
        };
        match (&login.grant, &listener.auth) {
            (Some(grant), _) if site.auth.has_granted(grant) => true,
            (Some(grant), Some(auth)) => match site.auth.renew(auth.source, grant) {
                Some(grant) => {
                    login.grant = Some(grant);
                    true
                }
                // The one before stays, for the log.
                None => false,
            },
            _ => false,
        }
    }
}
