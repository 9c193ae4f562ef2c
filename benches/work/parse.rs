//! Command and reply lines, read by our parsers and by `smtp-proto` (Stalwart's parser), from the first octet
//! of the line to all of its parts.
//!
//! The two don't do quite the same. `smtp-proto` copies a name or an address only where it has to, and so do
//! we. It takes paths that we refuse (what is no domain, an `@` too many), because a proxy must not hand on
//! what a backend may read in another way. Its replies own their text, ours lies in a buffer that is used again.

use gatepost::smtp::{
    Extensions, ReplyLimits,
    backend_session::capabilities,
    command::{Command, Verb},
    params,
    path::{self, is_clean_utf8},
    reply_parse::{Progress, ReplyReader},
};
use smtp_proto::{EhloResponse, Request, response::parser::ResponseReceiver};
use std::hint::black_box;

/// EHLO.
pub const EHLO: &[u8] = b"EHLO mail.client.example\r\n";
/// MAIL as most clients say it.
pub const MAIL: &[u8] = b"MAIL FROM:<someone@client.example> SIZE=4096 BODY=8BITMIME\r\n";
/// RCPT as most clients say it.
pub const RCPT: &[u8] = b"RCPT TO:<somebody.else@ours.example>\r\n";
/// RCPT with all that DSN adds.
pub const RCPT_DSN: &[u8] =
    b"RCPT TO:<somebody.else@ours.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;somebody.else@ours.example\r\n";
/// A reply of one line.
pub const REPLY: &[u8] = b"250 2.0.0 Ok: queued as 4ZxY7k1qW2z5vQk\r\n";
/// Postfix's reply to EHLO.
pub const CAPABILITIES: &[u8] =
    b"250-mx.ours.example\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-ETRN\r\n\
    250-STARTTLS\r\n250-AUTH PLAIN LOGIN\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n\
    250-SMTPUTF8\r\n250 CHUNKING\r\n";

/// All that we announce.
const OFFERED: Extensions = Extensions(u32::MAX);

/// Reads a command of ours: its line, its verb, and for the commands above what follows it.
///
/// # Panics
/// If it is none of them, or not sound: then the bench would measure something else.
pub fn command(input: &[u8]) -> usize {
    let end = memchr::memchr2(b'\r', b'\n', input).expect("a line");
    let Command { verb, arguments } = Command::parse(&input[..end]);
    match verb {
        Verb::Ehlo => assert!(is_clean_utf8(arguments)),
        Verb::Mail => {
            let path = path::sender(&arguments[b"FROM:".len()..]).expect("a path");
            black_box(params::mail(path.rest, OFFERED).expect("parameters"));
            black_box(path);
        }
        Verb::Rcpt => {
            let path = path::recipient(&arguments[b"TO:".len()..]).expect("a path");
            black_box(params::rcpt(path.rest, OFFERED, false).expect("parameters"));
            black_box(path);
        }
        _ => panic!("no command that is measured"),
    }
    end
}

/// The same by `smtp-proto`.
///
/// # Panics
/// If it can't read the command.
pub fn command_theirs(input: &[u8]) {
    black_box(Request::parse(&mut input.iter()).expect("a command"));
}

/// Reads one reply.
///
/// # Panics
/// If it is none.
pub fn reply(reader: &mut ReplyReader, input: &[u8]) -> u16 {
    assert_eq!(reader.read(input), Ok(Progress::Done(input.len())));
    reader.reply().head.code
}

/// Reads a reply to EHLO, and what it offers.
///
/// # Panics
/// If it is none.
pub fn offer(reader: &mut ReplyReader, input: &[u8]) -> Extensions {
    assert_eq!(reader.read(input), Ok(Progress::Done(input.len())));
    capabilities::parse(reader.reply().text()).extensions
}

/// A reader that has its buffers.
pub fn reader() -> ReplyReader {
    let mut reader = ReplyReader::new(ReplyLimits::default());
    offer(&mut reader, CAPABILITIES);
    reader
}

/// One reply, by `smtp-proto`.
///
/// # Panics
/// If it can't read it.
pub fn reply_theirs(reader: &mut ResponseReceiver, input: &[u8]) -> u16 {
    let reply = reader.parse(&mut input.iter()).expect("a reply");
    reader.reset();
    black_box(reply).code
}

/// A reply to EHLO, by `smtp-proto`.
///
/// # Panics
/// If it can't read it.
pub fn offer_theirs(input: &[u8]) -> u32 {
    let reply = EhloResponse::parse(&mut input.iter()).expect("a reply");
    black_box(reply).capabilities
}
