//! The record of a transaction, or of a session outside its transactions, put together and written to the log.

use super::{
    candidate::Candidate,
    login::claimed_login,
    message_id::MessageId,
    peer::Postponed,
    remember, report,
    session::Session,
    signed::Signed,
    transaction::{Fate, Transaction},
};
use crate::{
    dns::Unknown,
    log::say,
    metrics::{Counter, Scope},
    policy::{
        At, Inquiry,
        authentication::{Message, arc::Chain, dkim::Dkim},
        dns::reverse::{self, Names},
    },
    record::{
        BackendSaid, Client, End, Findings, ForwardedOrigin, Front, Mail, Outcome, Record, Refusal,
        Shadowed, Tls, line,
    },
    smtp::server::{Answer, Phase, XclientAttributes},
    upstream::BackendReply,
};

/// A transaction is over: it got its final reply, or it ended without one, perhaps with its session (`end`).
pub(super) fn transaction(session: &Session, transaction: &Transaction, end: Option<End>) {
    let (told, recipients) = (transaction.told.as_ref(), transaction.recipients.count());
    let done = transaction.times.done.is_some();
    let outcome = match (Outcome::of(told, done, recipients > 0), transaction.fate) {
        (Outcome::Accept, Fate::Quarantine(_)) => Outcome::Quarantine,
        (Outcome::Accept, Fate::Discard) => Outcome::Discard,
        (outcome, _) => outcome,
    };
    let counter = match outcome {
        Outcome::Accept => Some(Counter::MessageAccepted),
        Outcome::Quarantine => Some(Counter::MessageQuarantined),
        Outcome::Discard => Some(Counter::MessageDiscarded),
        Outcome::Defer => Some(Counter::MessageDeferred),
        Outcome::Reject => Some(Counter::MessageRejected),
        Outcome::Abandon => (recipients > 0).then_some(Counter::MessageAbandoned),
    };
    if let Some(counter) = counter {
        session.context.recorder.count(counter, session.scope, 1);
    }
    report::tell(session, transaction, outcome, asked(session));
    // A message that was broken off before its end has no verdict.
    let is_decided = done || recipients == 0;
    let shadow = is_decided.then(|| shadowed(session)).flatten();
    remember::outcome(session, transaction, outcome);
    let message = asked(session).and_then(Inquiry::message);
    let mail = Mail {
        origin: transaction.forwarded.as_deref().map(origin),
        sender: &transaction.sender,
        spf: asked(session)
            .and_then(Inquiry::spf)
            .map(|spf| spf.code.as_str()),
        dkim: message.and_then(Message::dkim).map(Dkim::as_str),
        dmarc: message
            .and_then(Message::dmarc)
            .map(|dmarc| dmarc.conclusion.as_str()),
        arc: message.and_then(arc),
        signed: transaction.signed.as_ref().map(Signed::as_str),
        recipients: &transaction.recipients,
        size: transaction.times.body.map(|_| transaction.size),
        outcome,
        told,
        backend: transaction.backend.as_ref().map(|backend| &*backend.label),
        backend_tls: transaction.backend_tls,
        backend_said: transaction.said.as_ref().map(said),
        started: transaction.started,
        times: transaction.times,
    };
    write(
        session,
        &Record {
            mail: Some(mail),
            refusals: &transaction.refusals,
            shadow,
            ..record(session, transaction.id, end)
        },
    );
}

/// A session is over: told where it had no transaction, or was refused something outside of them.
pub(super) fn session(session: &mut Session, end: End) {
    // That of a sender stands in the line of its transaction, among the checks.
    let untold = |put_off: &mut Box<Postponed>| !put_off.told && put_off.at != At::Mail;
    if let Some(postponed) = session.peer.postponed.take_if(untold) {
        let (Answer::Refuse(reply) | Answer::Close(reply)) = &postponed.answer else {
            return;
        };
        let hello = session.server.hello();
        let subject = match (postponed.at, hello) {
            (At::Hello, Some(hello)) => hello.name,
            _ => b"",
        };
        let refusal = Refusal::new(postponed.command, subject, reply, postponed.check);
        session.refusals.push(refusal);
    }
    if session.transactions > 0 && session.refusals.count() == 0 {
        return;
    }
    if is_health_check(session, end) {
        let recorder = &session.context.recorder;
        recorder.count(Counter::HealthChecks, session.scope, 1);
        say!(Debug, "health check from {}", session.peer.address);
        return;
    }
    let candidate = session.peer.candidate.as_deref();
    let is_alone = session.transactions == 0 && candidate.is_some_and(Candidate::refuses_client);
    let shadow = is_alone.then(|| shadowed(session)).flatten();
    let micros = session.context.dates.micros(session.now);
    let id = session.context.ids.next(micros);
    let record = Record {
        shadow,
        ..record(session, id, Some(end))
    };
    write(session, &record);
}

/// What a candidate's policy came to beside the one in force; counted here.
fn shadowed(session: &Session) -> Option<Shadowed<'_>> {
    let shadow = session.current.site.shadow.as_deref()?;
    let compared = session.peer.candidate.as_deref()?.compare();
    let recorder = &session.context.recorder;
    recorder.count(compared.counter(), Scope::NONE, 1);
    let check = compared
        .candidate
        .check
        .and_then(|check| shadow.policy.check(check));
    Some(Shadowed {
        verdict: compared.candidate.word.as_str(),
        check: check.map(|info| &*info.name),
        late: compared.late,
        differs: compared.differs(),
    })
}

/// Whether a session without a transaction is a load balancer's look at the port: it comes from a trusted network or a
/// proxy, asked for nothing but EHLO, NOOP or QUIT, and nothing was wrong with it.
fn is_health_check(session: &Session, end: End) -> bool {
    let peer = &session.peer;
    let listener = &session.current.site.listeners[session.listener];
    // What a proxy says on behalf of a client is that client's.
    let insider = peer.trusted || (peer.via.is_none() && listener.is_proxy(peer.address));
    insider
        && end.by == "client"
        && matches!(end.phase, Phase::Connect | Phase::Hello | Phase::Idle)
        && session.transactions == 0
        && session.refusals.count() == 0
        && session.login.is_none()
        && peer.judgement.hits().is_empty()
}

/// Whether the client was refused at the greeting, also where it heard of that later.
fn is_refused_client(session: &Session) -> bool {
    let turned_away = session.peer.is_turned_away();
    let postponed = session.peer.postponed.as_ref();
    let mut refusals = session.refusals.kept().iter();
    // A certificate that might have lifted the refusal may never have come.
    let unlifted = matches!(
        session.admitted.as_deref(),
        Some(Answer::Refuse(_) | Answer::Close(_))
    );
    unlifted
        || turned_away && postponed.is_some_and(|postponed| postponed.told)
        || refusals.any(|refusal| refusal.command == "connect")
}

/// Whether the client may have one more line. A trusted one has all of them, and so has one that has logged in.
// INV-LIMIT
fn admits(session: &Session, record: &Record<'_>) -> bool {
    let Some(key) = session.client_key() else {
        return true;
    };
    let (context, address, now) = (&session.context, session.peer.address, session.now);
    if is_refused_client(session) {
        return context.admits_refused(key, address, now);
    }
    let accepted = match &record.mail {
        Some(mail) => mail.recipients.count(),
        None => session.server.tally().recipients,
    };
    accepted > 0 || session.known_as().is_some() || context.admits_fruitless(key, address, now)
}

/// Writes the line and keeps the explanation that is found by its id; neither where the client has had too many.
fn write(session: &Session, record: &Record<'_>) {
    let context = &session.context;
    if !admits(session, record) {
        return;
    }
    context.log(|out| {
        context.dates.stamp(record.now, out);
        line::write(record, out);
    });
    context.explain(record);
}

/// The record of the session itself.
fn record(session: &Session, id: MessageId, end: Option<End>) -> Record<'_> {
    Record {
        id: id.text(),
        now: session.now,
        client: client(session),
        mail: None,
        refusals: &session.refusals,
        findings: Findings {
            judgement: &session.peer.judgement,
            policy: &session.current.site.policy,
            listener: session.profile(),
            inquiry: asked(session),
        },
        shadow: None,
        end,
        session_us: session.now.micros_since(session.started),
    }
}

/// Whose session it is.
pub(super) fn client(session: &Session) -> Client<'_> {
    let via = session.peer.via.as_deref();
    Client {
        listener: &session.current.site.listeners[session.listener].name,
        address: session.peer.address,
        name: session.peer.name.as_deref(),
        rdns: asked(session).and_then(Inquiry::reverse).map(rdns),
        via: via.map(|via| via.proxy),
        front: via.and_then(|via| {
            let origin = via.origin.as_ref()?;
            let tls = origin.tls.as_ref()?;
            Some(Front {
                version: tls.version.as_deref(),
                cipher: tls.cipher.as_deref(),
                certificate: tls.name.as_deref(),
                alpn: origin.alpn.as_deref(),
                sni: origin.authority.as_deref(),
            })
        }),
        helo: session.server.hello().map(|hello| hello.name),
        login: claimed_login(&session.server),
        auth: session.logged_in(),
        tls: session.io.stream.tls().map(|tls| Tls {
            version: tls.version,
            cipher: tls.cipher,
            resumed: tls.resumed,
            certificate: tls.peer_names.first().map(|name| &**name),
        }),
    }
}

/// What was asked elsewhere about a stranger.
fn asked(session: &Session) -> Option<&Inquiry> {
    let asking = session.peer.asking.as_ref()?;
    session.known_as().is_none().then_some(&asking.inquiry)
}

/// What came of the chain of a message that has one.
fn arc(message: &Message) -> Option<&'static str> {
    match message.arc()?.chain {
        _ if message.is_vouched_for() => Some("trusted"),
        Chain::None => None,
        chain => Some(chain.as_str()),
    }
}

fn rdns(names: &Names) -> &str {
    match names.outcome {
        reverse::Outcome::Confirmed => names.confirmed_name().map_or("", |name| name),
        reverse::Outcome::Unconfirmed => "unconfirmed",
        reverse::Outcome::None => "none",
        reverse::Outcome::Unknown(Unknown::Bogus) => "bogus",
        reverse::Outcome::Unknown(_) => "unknown",
    }
}

fn said(reply: &BackendReply) -> BackendSaid<'_> {
    BackendSaid {
        code: reply.head.code,
        status: reply.head.status,
        text: reply.shown(),
    }
}

fn origin(attributes: &XclientAttributes) -> ForwardedOrigin<'_> {
    ForwardedOrigin {
        address: attributes.address.value().copied(),
        name: attributes.name.value().map(|name| &**name),
        helo: attributes.hello.value().map(|name| &**name),
        id: attributes.ident.value().map(|id| &**id),
    }
}
