//! What a message adds to the DMARC report of its author's domain, once it has had its final reply.

use super::{session::Session, transaction::Transaction};
use crate::{
    metrics::{Counter, Scope},
    policy::{Inquiry, authentication::dmarc::Policy},
    record::Outcome,
    reports::{Found, Seen},
    smtp::envelope::Path,
};

/// Tells of a message that was taken or refused. One that is deferred comes again, and one that its client gave up never
/// came.
pub(super) fn tell(
    session: &Session,
    transaction: &Transaction,
    outcome: Outcome,
    inquiry: Option<&Inquiry>,
) {
    let Some(reports) = &session.current.site.reports else {
        return;
    };
    let Some(message) = inquiry.and_then(Inquiry::message) else {
        return;
    };
    let has_come = transaction.times.complete.is_some();
    let Some(dmarc) = message.dmarc().filter(|_| has_come) else {
        return;
    };
    let asks = dmarc
        .requested
        .is_some_and(|(policy, _)| policy > Policy::None);
    let applied = match outcome {
        Outcome::Quarantine if is_by_dmarc(session, transaction, asks) => Policy::Quarantine,
        Outcome::Accept | Outcome::Quarantine | Outcome::Discard => Policy::None,
        Outcome::Reject if is_by_dmarc(session, transaction, asks) => Policy::Reject,
        Outcome::Reject => Policy::None,
        Outcome::Defer | Outcome::Abandon => return,
    };
    let seen = Seen::of(&Found {
        client: session.peer.address,
        sender: Path::split(&transaction.sender).domain,
        dmarc,
        dkim: message.dkim(),
        spf: inquiry.and_then(Inquiry::spf),
        applied,
        vouched: message.is_vouched_for(),
    });
    if let Some(seen) = seen
        && !reports.give(seen)
    {
        session
            .context
            .recorder
            .count(Counter::ReportQueue, Scope::NONE, 1);
    }
}

/// Whether DMARC is why a message was refused: by its check, or where the domain asks for something, by a rule or by the sum
/// of scores, which may rest on it.
fn is_by_dmarc(session: &Session, transaction: &Transaction, asks: bool) -> bool {
    let check = transaction.told.as_ref().and_then(|told| told.check);
    let info = check.and_then(|check| session.current.site.policy.check(check));
    info.is_some_and(|info| {
        let kind = info.name.split('.').next().unwrap_or("");
        kind == "dmarc" || asks && matches!(kind, "rule" | "reject_score" | "quarantine_score")
    })
}
