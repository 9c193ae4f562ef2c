//! Writes an envelope as commands (RFC 5321 §4.1.1) with what the backend offers, or says why it can't
//! take the message.
//!
//! A parameter whose extension the backend lacks is dropped where the message arrives the same without it
//! (SIZE, DSN, a BODY=8BITMIME that its body doesn't need); otherwise the message is [`Unsupported`].
//! AUTH= is never passed on: it speaks of an authentication between other parties (RFC 4954 §5).

use super::{
    super::{
        Capabilities,
        envelope::{BodyKind, Envelope, MailParams, Notify, Path, Recipient, Ret},
        extensions::Extensions,
    },
    Load, Unsupported,
};
use crate::decimal::push_decimal;

/// The MAIL command of an envelope. `chunks`: whether the body will go by BDAT.
pub(super) fn mail(
    envelope: &Envelope,
    load: Load,
    chunks: bool,
    capabilities: &Capabilities,
    out: &mut Vec<u8>,
) -> Result<(), Unsupported> {
    let params = envelope.params();
    let offers = |extension| capabilities.extensions.has(extension);
    let size = if load.whole {
        load.size
    } else {
        params.size.max(load.size)
    };
    if capabilities.size_max != 0 && size > capabilities.size_max {
        return Err(Unsupported::Size);
    }
    let body = body_kind(params, load, chunks, capabilities)?;
    if params.smtputf8 && !offers(Extensions::SMTPUTF8) {
        return Err(Unsupported::Utf8);
    }
    if params.requiretls && !offers(Extensions::REQUIRETLS) {
        return Err(Unsupported::RequireTls);
    }
    out.extend_from_slice(b"MAIL FROM:<");
    push_path(envelope.sender(), params.smtputf8, out)?;
    out.push(b'>');
    // A streamed body of undeclared size has none to declare.
    if offers(Extensions::SIZE) && size > 0 && (load.whole || params.size > 0) {
        out.extend_from_slice(b" SIZE=");
        push_decimal(size, out);
    }
    match body {
        BodyKind::SevenBit => {}
        BodyKind::EightBitMime => out.extend_from_slice(b" BODY=8BITMIME"),
        BodyKind::BinaryMime => out.extend_from_slice(b" BODY=BINARYMIME"),
    }
    if params.smtputf8 {
        out.extend_from_slice(b" SMTPUTF8");
    }
    if params.requiretls {
        out.extend_from_slice(b" REQUIRETLS");
    }
    if offers(Extensions::DSN) {
        match params.ret {
            None => {}
            Some(Ret::Full) => out.extend_from_slice(b" RET=FULL"),
            Some(Ret::Hdrs) => out.extend_from_slice(b" RET=HDRS"),
        }
        push_param(b" ENVID=", envelope.text(params.envid), out)?;
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// What BODY says (RFC 6152, RFC 3030 §2): what the body needs, not what the client declared.
fn body_kind(
    params: &MailParams,
    load: Load,
    chunks: bool,
    capabilities: &Capabilities,
) -> Result<BodyKind, Unsupported> {
    let eight = capabilities.extensions.has(Extensions::EIGHTBITMIME);
    match params.body {
        BodyKind::BinaryMime if chunks && capabilities.extensions.has(Extensions::BINARYMIME) => {
            Ok(BodyKind::BinaryMime)
        }
        BodyKind::BinaryMime => Err(Unsupported::Binary),
        BodyKind::EightBitMime if eight => Ok(BodyKind::EightBitMime),
        // Declared, but nothing above 127 came: it goes as it is. Of a stream that can't be known.
        BodyKind::EightBitMime if load.eight_bit || !load.whole => Err(Unsupported::EightBit),
        BodyKind::SevenBit if load.eight_bit && eight => Ok(BodyKind::EightBitMime),
        BodyKind::SevenBit if load.eight_bit => Err(Unsupported::EightBit),
        BodyKind::EightBitMime | BodyKind::SevenBit => Ok(BodyKind::SevenBit),
    }
}

/// The RCPT command of one recipient.
pub(super) fn rcpt(
    envelope: &Envelope,
    recipient: &Recipient,
    capabilities: &Capabilities,
    out: &mut Vec<u8>,
) -> Result<(), Unsupported> {
    out.extend_from_slice(b"RCPT TO:<");
    push_path(
        envelope.path(recipient.path),
        envelope.params().smtputf8,
        out,
    )?;
    out.push(b'>');
    if capabilities.extensions.has(Extensions::DSN) {
        if let Some(notify) = recipient.notify {
            push_notify(notify, out);
        }
        push_param(b" ORCPT=", envelope.text(recipient.orcpt), out)?;
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// MAIL and RCPT that only ask about a recipient.
pub(super) fn probe(
    sender: &[u8],
    recipient: Path<'_>,
    utf8: bool,
    out: &mut Vec<u8>,
) -> Result<(), Unsupported> {
    out.extend_from_slice(b"MAIL FROM:<");
    push_path(Path::split(sender), utf8, out)?;
    out.extend_from_slice(if utf8 { b"> SMTPUTF8\r\n" } else { b">\r\n" });
    out.extend_from_slice(b"RCPT TO:<");
    push_path(recipient, utf8, out)?;
    out.extend_from_slice(b">\r\n");
    Ok(())
}

/// A path without brackets. The server has checked it; that no control character, whatever the way it
/// came, makes two commands of one is checked here too, where it would do the harm.
fn push_path(path: Path<'_>, utf8: bool, out: &mut Vec<u8>) -> Result<(), Unsupported> {
    // Without a way out of the loop it runs on vectors.
    let (mut control, mut seen) = (false, 0);
    for &c in path.whole {
        control |= c < b' ' || c == 0x7f;
        seen |= c;
    }
    if control {
        return Err(Unsupported::Malformed);
    }
    if seen > 0x7f && !utf8 {
        return Err(Unsupported::Utf8);
    }
    out.extend_from_slice(path.whole);
    Ok(())
}

/// A parameter's value as it came; nothing where it is empty. A blank in it would start another one.
fn push_param(name: &[u8], value: &[u8], out: &mut Vec<u8>) -> Result<(), Unsupported> {
    if value.is_empty() {
        return Ok(());
    }
    if value.iter().any(|&c| c <= b' ' || c == 0x7f) {
        return Err(Unsupported::Malformed);
    }
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    Ok(())
}

fn push_notify(notify: Notify, out: &mut Vec<u8>) {
    out.extend_from_slice(b" NOTIFY=");
    if notify == Notify::NEVER {
        out.extend_from_slice(b"NEVER");
        return;
    }
    for (bit, name) in [
        (Notify::SUCCESS, &b"SUCCESS,"[..]),
        (Notify::FAILURE, b"FAILURE,"),
        (Notify::DELAY, b"DELAY,"),
    ] {
        if notify.0 & bit.0 != 0 {
            out.extend_from_slice(name);
        }
    }
    out.pop();
}
