//! TLS with a client: before the first word on a listener with implicit TLS, else after STARTTLS.
//!
//! A PROXY header, which names the client, comes before this, in the clear. On a listener with implicit TLS the address is
//! judged before the handshake: a handshake costs far more than a refusal, and a client that never begins one would hold
//! its place without ever having been counted. Its refusal is a close without a word, because an SMTP reply would need the
//! handshake. Only where a certificate may lift what is held against the address, the refusal waits for it, and for a few
//! clients of an address and a network at a time: connections that never begin a handshake would otherwise take every place,
//! and the limit that they are above would be none.

use super::session::Session;
use crate::{
    metrics::{Counter, Stage},
    net::now,
    policy::SessionTicket,
    record::End,
    smtp::{
        Tick,
        server::{Answer, Phase, Question},
    },
    tls::{self, TlsFacts},
};
use std::{io, rc::Rc};

impl Session {
    /// TLS from the first octet on. `Some` ends the session.
    pub(super) async fn secure_at_once(&mut self) -> Option<End> {
        let admitted = self.admit();
        let mut wait = None;
        if let Answer::Close(reply) | Answer::Refuse(reply) = &admitted {
            wait = self.wait_for_certificate();
            if wait.is_none() {
                self.note_answer(Question::Connect, reply);
                return Some(End {
                    by: "gatepost",
                    phase: Phase::Connect,
                    why: "refused",
                    lingers: false,
                });
            }
        }
        self.admitted = Some(Box::new(admitted));
        let end = self.secure().await;
        drop(wait);
        if end.is_some() {
            let recorder = &self.context.recorder;
            recorder.count(Counter::RefusedHandshake, self.scope, 1);
        }
        end
    }

    /// A place among the refused clients whose certificates are waited for, where one may lift the refusal. What is full or
    /// going down stays so, and the last places are for clients that are let in.
    fn wait_for_certificate(&self) -> Option<SessionTicket> {
        let listener = &self.current.site.listeners[self.listener];
        let liftable = !listener.client_trusted.is_empty()
            && self.has_place()
            && !self.is_stressed()
            && !self.context.draining.get();
        let shared = &self.current.shared;
        liftable
            .then(|| shared.wait_for_certificate(self.peer.address))
            .flatten()
    }

    /// Shakes hands. `Some` ends the session: there is no way back to plaintext.
    pub(super) async fn secure(&mut self) -> Option<End> {
        let current = Rc::clone(&self.current);
        let Some(acceptor) = current.site.front.acceptor(self.listener) else {
            // STARTTLS is offered only where there is one.
            return Some(End::client(Phase::Tls));
        };
        let begun = now();
        let timeouts = &current.site.config.timeouts;
        let patience = match self.is_stressed() {
            true => timeouts.handshake.0.min(timeouts.stress.0),
            false => timeouts.handshake.0,
        };
        self.io.stream.set_idle_deadline(begun.after(patience));
        let result = self.io.stream.accept_tls(acceptor).await;
        self.io.stream.set_deadline(Tick::FAR);
        self.now = now();
        let took = self.now.micros_since(begun);
        let recorder = &self.context.recorder;
        match (result, self.io.stream.tls()) {
            (Ok(()), Some(facts)) => {
                recorder.record(Stage::Handshake, self.scope, took);
                recorder.count(counter(facts), self.scope, 1);
                let listener = &current.site.listeners[self.listener];
                // After XCLIENT the certificate is the proxy's, and the client another.
                if self.server.xclient_attributes().is_none() {
                    self.peer.trusted |= listener.trusts_certificate(&facts.peer_names);
                }
                if self.peer.trusted {
                    // What was found of a stranger is not told of a client that is trusted, and nothing is waited for.
                    self.peer.asking = None;
                }
                self.server.trust(self.peer.trusted);
                self.server.secured();
                self.server.set_bindable(facts.exporter.is_some());
                None
            }
            (result, _) => {
                recorder.count(Counter::HandshakeFailed, self.scope, 1);
                Some(self.failed(result.err().unwrap_or_else(|| io::ErrorKind::Other.into())))
            }
        }
    }

    fn failed(&self, error: io::Error) -> End {
        let timed_out = error.kind() == io::ErrorKind::TimedOut;
        if timed_out {
            self.context.recorder.timed_out(Phase::Tls.as_str());
        }
        let busy = error.kind() == io::ErrorKind::ResourceBusy;
        // An alert is on its way.
        let alerted = error.kind() == io::ErrorKind::InvalidData;
        End {
            by: match timed_out || alerted || busy {
                true => "gatepost",
                false => "client",
            },
            phase: Phase::Tls,
            why: tls::failure(&error),
            lingers: alerted,
        }
    }
}

fn counter(facts: &TlsFacts) -> Counter {
    match (facts.resumed, facts.version) {
        (false, "TLSv1.3") => Counter::HandshakeFull13,
        (false, _) => Counter::HandshakeFull12,
        (true, "TLSv1.3") => Counter::HandshakeResumed13,
        (true, _) => Counter::HandshakeResumed12,
    }
}
