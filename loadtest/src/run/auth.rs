//! AUTH after EHLO (RFC 4954): a few lines and their replies, of which the protocol machine knows nothing.

use super::{
    link::{Link, LinkError},
    record::{Recorder, Step},
    secure::Auth,
};
use gatepost::smtp::{
    Extensions, ReplyLimits,
    reply_parse::{ReplyHead, ReplyReader},
};
use std::cell::RefCell;

/// Authenticates, and notes the time that it took.
///
/// # Errors
/// The server refused, or the connection is of no more use.
pub async fn authenticate(
    link: &mut Link,
    auth: &Auth,
    notes: &RefCell<Recorder>,
) -> Result<(), LinkError> {
    if !link.session.capabilities().extensions.has(Extensions::AUTH) {
        return Err(LinkError::NotOffered);
    }
    let begun = link.at;
    let mut replies = ReplyReader::new(ReplyLimits::default());
    let lines = auth.lines();
    for (at, line) in lines.iter().enumerate() {
        let ReplyHead { code, .. } = link.ask(line, &mut replies).await?;
        let last = at + 1 == lines.len();
        if code != if last { 235 } else { 334 } {
            return Err(LinkError::Refused(replies.reply().head));
        }
    }
    let mut notes = notes.borrow_mut();
    notes.step(Step::Auth, link.at.micros_since(begun));
    notes.totals().authenticated += 1;
    Ok(())
}
