//! Every refusal that a client can get is in the log: with the words that the client heard, the command, the recipient
//! where there is one, and the check where one decided. The list of them is `docs/replies.md`; each row is provoked here,
//! or named among those that can't be, with the reason.

use crate::{
    auth::user,
    backend::{Act, Backend},
    certificates::Authority,
    client::Client,
    delivery::pool,
    harness::{Gatepost, PATIENCE, free_address},
};
use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// Refusals that no client can get from this binary as it is set up here.
#[rustfmt::skip]
const NOT_PROVOKED: &[(&str, &str)] = &[
    ("421 4.3.2 Service is too busy", "no caller of the core says so yet"),
    ("503 5.7.0 Access denied", "a session that is refused at connect is closed at once"),
    ("550 5.5.4 The envelope can't be passed on", "the core takes no envelope that would be malformed"),
    ("550 5.1.1 There is no such recipient here", "takes a route with a list (tests/live/listed.rs)"),
    ("550 5.1.2 No mail system is known", "a domain without a route is refused by relay control"),
    ("452 4.3.1 Out of memory", "takes as many open bodies as `limits.body_memory` holds"),
    ("454 4.7.0 Temporary authentication failure", "takes a credential source that doesn't answer (tests/live/credentials.rs)"),
    ("421 4.7.0 Too many failed logins", "takes `limits.auth_slowed` sessions (tests/live/auth.rs)"),
    ("421 4.7.0 Your login no longer holds", "takes a reload (tests/live/logins.rs)"),
    ("554 5.5.1 TLS is active already", "takes a client with TLS (tests/transcripts)"),
    ("421 4.3.2 Going down", "takes a client that connects in the very moment in which a drain begins"),
    ("553 5.6.7 The mail system", "SMTPUTF8 is offered only where a backend has it: takes two pools (delivery/tests/limits.rs)"),
    ("451 4.3.5 The mail system behind this one can't take such", "takes a backend that loses what it offered (delivery/tests/limits.rs)"),
    ("451 4.3.5 The mail system behind this one takes no 8-bit", "takes a backend that loses what it offered (delivery/tests/limits.rs)"),
    ("552 5.3.4 The message is too large for this recipient", "takes two pools of different sizes (tests/live/offers.rs)"),
    ("550 5.7.1 Message refused: too large for", "takes a quarantine and a large message (tests/live/verdicts.rs)"),
    ("450 4.1.8 No mail can be sent to the sender's domain", DNS),
    ("450 4.7.1 Service unavailable; blocked", DNS),
    ("450 4.7.1 A list that your server", DNS),
    ("450 4.7.25 Your address has no valid name", DNS),
    ("450 4.7.25 The name of your address", DNS),
    ("451 4.7.24 The sender's domain could not be checked", DNS),
    ("550 5.1.8 No mail can be sent to the sender's domain", DNS),
    ("550 5.7.23 The sender's domain does not allow", DNS),
    ("550 5.7.24 The SPF record", DNS),
    ("550 5.7.25 Your address has no valid name", DNS),
    ("550 5.7.27 The sender's domain says", DNS),
    ("554 5.7.1 Service unavailable; blocked", DNS),
    ("554 5.7.1 A list that your server", DNS),
    ("550 5.7.20 No valid DKIM signature", DNS),
    ("451 4.7.20 The DKIM signature", DNS),
    ("550 5.7.1 Refused by the DMARC policy", DNS),
    ("451 4.7.1 The DMARC policy", DNS),
    ("451 4.7.1 We don't know you yet", "takes a DNS server that says something soon (tests/live/remembered.rs)"),
    ("450 4.5.1 Protocol error", "the same check as 554 5.5.1, set to defer"),
];

const DNS: &str =
    "takes a DNS server (tests/live/lookups.rs, tests/live/authentic.rs, policy/checks)";

const EHLO: &str = "EHLO client.example";
/// After another message.
const AGAIN: &str = "MAIL FROM:<second@sender.example>";
const MAIL: &str = "MAIL FROM:<a@sender.example>";
const RCPT: &str = "RCPT TO:<b@example.net>";

/// A site, the refusal that a client meets there, what it says, and what of that is in the log beside the reply. What
/// begins with `@` goes out without the `@` and a line end, and its reply is not waited for; `?` waits for another.
type Case = (
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static str,
);

#[rustfmt::skip]
const CASES: &[Case] = &[
    // The protocol.
    ("plain", "500 5.5.2 A line of SMTP ends", &["@NOOP\n", "?"], ""),
    ("plain", "500 5.5.2 Line too long", &["LONG"], ""),
    ("plain", "500 5.5.2 Line too long; closing", &["ENDLESS"], ""),
    ("plain", "500 5.5.2 Empty line", &[""], ""),
    ("plain", "500 5.5.2 Command not recognized", &["XYZZY"], ""),
    ("plain", "501 5.1.3 Bad recipient", &[EHLO, MAIL, "RCPT TO:<b@>"], "rcpt <b@>"),
    ("plain", "501 5.1.7 Bad sender", &[EHLO, "MAIL FROM:<a@>"], "mail <a@>"),
    ("plain", "501 5.5.4 Syntax: EHLO", &["EHLO"], "ehlo"),
    ("plain", "501 5.5.4 Syntax: MAIL", &[EHLO, "MAIL a@sender.example"], "mail"),
    ("plain", "501 5.5.4 Syntax: RCPT", &[EHLO, MAIL, "RCPT b@example.net"], "rcpt"),
    ("plain", "501 5.5.4 Parameter given twice", &[EHLO, "MAIL FROM:<twice@x.example> SIZE=1 SIZE=1"], "twice@x.example"),
    ("plain", "501 5.5.4 Bad parameter value", &[EHLO, "MAIL FROM:<value@x.example> SIZE=x"], "value@x.example"),
    ("plain", "555 5.5.4 Unsupported parameter", &[EHLO, MAIL, "RCPT TO:<param@example.net> FOO=1"], "param@example.net"),
    ("plain", "501 5.5.4 Command takes no argument", &[EHLO, "RSET x"], "rset"),
    ("plain", "501 5.5.4 Syntax: VRFY", &["VRFY"], "vrfy"),
    ("plain", "501 5.5.4 Syntax: BDAT", &[EHLO, "BDAT x"], "bdat"),
    ("plain", "502 5.5.1 Command not implemented", &["EXPN x"], "expn"),
    ("plain", "503 5.5.1 A message is being received", &[EHLO, MAIL, RCPT, "@BDAT 1\r\nx", "?", "RCPT TO:<late@example.net>"], "late@example.net"),
    ("plain", "503 5.5.1 Send EHLO or HELO first", &[MAIL], "mail"),
    ("plain", "503 5.5.1 Nested MAIL", &[EHLO, MAIL, MAIL], "mail"),
    ("plain", "503 5.5.1 Need MAIL", &[EHLO, "RCPT TO:<early@example.net>"], "early@example.net"),
    ("plain", "503 5.5.1 Need RCPT", &[EHLO, MAIL, "DATA"], "data"),
    ("plain", "503 5.5.1 This transaction needs BDAT", &[EHLO, MAIL, RCPT, "@BDAT 1\r\nx", "?", "DATA"], "data"),
    ("plain", "503 5.5.1 An earlier chunk failed", &[EHLO, MAIL, RCPT, "@BDAT 2\r\n\nx", "?", "@BDAT 1\r\nx", "?"], "bdat"),
    ("plain", "503 5.5.1 Authentication not enabled", &[EHLO, "AUTH PLAIN"], "auth"),
    ("plain", "550 5.7.0 You may not speak", &[EHLO, "XCLIENT ADDR=192.0.2.7"], "xclient"),
    ("plain", "550 5.6.0 Message has a line", &[EHLO, MAIL, RCPT, "DATA", "@LONG", "."], "to=b@example.net"),
    ("plain", "550 5.6.11 Message has a bare", &[EHLO, MAIL, RCPT, "DATA", "@x\ny\r\n", "."], "to=b@example.net"),
    ("plain", "552 5.3.4 Message size exceeds", &[EHLO, "MAIL FROM:<a@sender.example> SIZE=90000"], "mail <a@sender.example>"),
    ("plain", "552 5.3.4 Message too large", &[EHLO, MAIL, RCPT, "DATA", "@BODY", "."], "to=b@example.net"),
    ("plain", "552 5.3.4 The header section", &[EHLO, MAIL, RCPT, "DATA", "@HEADER", "."], "checks=header_size:reject"),
    ("plain", "554 5.4.6 Too many hops", &[EHLO, MAIL, RCPT, "DATA", "@Received: x\r\nReceived: y\r\n\r\nx\r\n", "."], "checks=loop:reject"),
    ("plain", "553 5.6.7 Non-ASCII address", &[EHLO, MAIL, "RCPT TO:<\u{fc}@example.net>"], "rcpt <"),
    ("plain", "452 4.5.3 Too many recipients", &[EHLO, MAIL, RCPT, "RCPT TO:<c@example.net>", "RCPT TO:<third@example.net>"], "third@example.net"),
    ("plain", "550 5.7.1 Relaying denied", &[EHLO, MAIL, "RCPT TO:<c@other.example>"], "Relaying denied (relay)"),
    ("plain", "554 5.5.1 No valid recipients", &[EHLO, MAIL, "RCPT TO:<c@other.example>", "DATA"], "data"),
    ("pools", "452 4.5.3 Send to this recipient", &[EHLO, MAIL, RCPT, "RCPT TO:<b@list.example>"], "b@list.example"),
    ("junk", "421 4.7.0 Too many commands", &["NOOP", "NOOP", "?"], "noop"),
    ("junk", "421 4.7.0 Too many errors", &["XYZZY", "@XYZZY\r\n", "?", "?"], "421 4.7.0"),
    ("junk", "421 4.7.0 Too many messages", &[EHLO, MAIL, RCPT, "DATA", ".", MAIL], "mail"),
    ("slow", "421 4.4.2 Timeout exceeded", &["?"], "session: 421"),
    ("drain", "421 4.3.2 Service is shutting down", &[EHLO, "DRAIN"], "421 4.3.2"),
    ("full", "421 4.3.2 Too many sessions", &["FULL"], "connect: 421"),
    ("tls", "530 5.7.0 Must issue a STARTTLS", &[EHLO, MAIL], "mail"),
    ("offered", "503 5.5.1 STARTTLS is not allowed", &[EHLO, MAIL, "STARTTLS"], "starttls"),
    ("xclient", "501 5.5.4 Bad attribute", &[EHLO, "XCLIENT FOO=1"], "xclient"),
    ("xclient", "503 5.5.1 XCLIENT and XFORWARD come before", &[EHLO, MAIL, "XCLIENT ADDR=192.0.2.7"], "xclient"),
    // AUTH.
    ("auth", "500 5.5.6 Authentication exchange line", &[EHLO, "AUTH PLAIN", "ENDLESS LINE"], "auth"),
    ("auth", "501 5.5.2 That is no base64", &[EHLO, "AUTH PLAIN", "!"], "auth"),
    ("auth", "501 5.5.4 Syntax: AUTH", &[EHLO, "AUTH"], "auth"),
    ("auth", "501 5.7.0 Authentication cancelled", &[EHLO, "AUTH PLAIN", "*"], "auth"),
    ("auth", "503 5.5.1 Send EHLO first", &["HELO client.example", "AUTH PLAIN"], "auth"),
    ("trusting", "503 5.5.1 AUTH is not allowed in a transaction", &[EHLO, MAIL, "AUTH PLAIN"], "auth"),
    ("auth", "503 5.5.1 Already authenticated", &[EHLO, "AMY", "AUTH PLAIN"], "auth"),
    ("auth", "504 5.5.4 Unrecognized", &[EHLO, "AUTH FOO"], "auth"),
    ("auth", "535 5.7.8 Authentication failed", &[EHLO, "AUTH PLAIN AGFteQB3cm9uZw=="], "auth: 535"),
    ("auth", "530 5.7.0 Authentication required", &[EHLO, "MAIL FROM:<stranger@x.example>"], "stranger@x.example"),
    ("auth", "553 5.7.1 The sender address is not yours", &[EHLO, "AMY", MAIL], "(identity.sender)"),
    ("auth", "550 5.7.1 An address in From is not yours", &[EHLO, "AMY", "MAIL FROM:<amy@example.net>", RCPT, "DATA", "@From: ben@example.net\r\n\r\n", "."], "check=identity.from"),
    ("auth-tls", "538 5.7.11 Encryption required", &[EHLO, "AUTH PLAIN"], "auth"),
    ("submission", "530 5.7.0 This listener takes", &[EHLO, MAIL], "mail <a@sender.example>"),
    // The policy.
    ("close", "421 4.7.0 Closing the connection", &[], "(client_list.x)"),
    ("block", "554 5.7.1 Your address is on our list", &[], "(client_list.x)"),
    ("put-off", "450 4.7.1 Your address is not served", &[EHLO, MAIL, "RCPT TO:<put@example.net>"], "rcpt <put@example.net>"),
    ("crowd", "421 4.7.0 Too many connections from you", &["CROWD"], "(client_rate)"),
    ("early", "554 5.5.1 Protocol error", &["@EHLO x\r\nMAIL FROM:<a@sender.example>\r\n", "?"], "(early_talk)"),
    ("helo", "550 5.7.1 The name you said", &["EHLO one.bad"], "ehlo one.bad"),
    ("helo", "450 4.7.1 The name you said", &["EHLO one.odd"], "ehlo one.odd"),
    ("paths", "550 5.7.1 Sender refused", &[EHLO, "MAIL FROM:<a@bad.example>"], "(sender_list.bad)"),
    ("paths", "450 4.7.1 Sender refused for now", &[EHLO, "MAIL FROM:<a@odd.example>"], "(sender_list.odd)"),
    ("paths", "550 5.7.1 Recipient refused", &[EHLO, MAIL, "RCPT TO:<bad@example.net>"], "rcpt <bad@example.net>"),
    ("paths", "450 4.7.1 Recipient refused for now", &[EHLO, MAIL, "RCPT TO:<odd@example.net>"], "rcpt <odd@example.net>"),
    ("paths", "450 4.7.1 Relaying denied", &[EHLO, MAIL, "RCPT TO:<x@other.example>"], "rcpt <x@other.example>"),
    ("rate", "450 4.7.1 Too much mail", &[EHLO, MAIL, "RSET", AGAIN], "(client_rate)"),
    ("rate", "421 4.7.0 Too much mail from you", &[EHLO, MAIL, "RSET", AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN], "(client_rate)"),
    ("rate-hard", "550 5.7.1 Too much mail", &[EHLO, MAIL, "RSET", AGAIN], "(client_rate)"),
    ("header", "550 5.7.1 Message refused for what", &[EHLO, MAIL, RCPT, "DATA", "@X-Bad: x\r\n\r\n", "."], "check=header.bad"),
    ("header", "451 4.7.1 Message refused for now for what", &[EHLO, MAIL, RCPT, "DATA", "@X-Odd: x\r\n\r\n", "."], "check=header.odd"),
    ("rules", "550 5.7.1 Message refused by a rule", &[EHLO, MAIL, RCPT, "DATA", "@X-Bad: x\r\n\r\n", "."], "check=rule.bad"),
    ("rules", "451 4.7.1 Message refused for now by a rule", &[EHLO, MAIL, RCPT, "DATA", "@X-Odd: x\r\n\r\n", "."], "check=rule.odd"),
    ("header", "550 5.7.1 Message refused: too much", &[EHLO, MAIL, RCPT, "DATA", "@X-Nine: x\r\n\r\n", "."], "check=reject_score"),
    ("header", "451 4.7.1 Message refused for now: much", &[EHLO, MAIL, RCPT, "DATA", "@X-Five: x\r\n\r\n", "."], "check=defer_score"),
    ("own", "451 4.7.1 Message refused for now by a rule", &[EHLO, MAIL, RCPT, "DATA", "@Received: x\r\nReceived: y\r\n\r\nx\r\n", "."], "check=loop"),
    // What the backends say, or don't.
    ("dead", "451 4.4.1 The mail system behind", &[EHLO, MAIL, RCPT, "DATA", "."], "to=b@example.net"),
    ("unasked", "451 4.4.3 The recipient can't be verified", &[EHLO, MAIL, RCPT], "rcpt <b@example.net>"),
    ("busy", "451 4.3.2 The mail system behind", &["BUSY"], "to=b@example.net"),
    ("lost", "451 4.4.2 The connection to the mail", &[EHLO, MAIL, RCPT, "DATA", "."], "to=b@example.net"),
    ("uncertain", "451 4.4.2 The mail system behind", &[EHLO, MAIL, RCPT, "DATA", "."], "to=b@example.net"),
    ("confused", "451 4.3.5 The mail system behind this one does not", &[EHLO, MAIL, RCPT, "DATA", "."], "530"),
    ("some", "451 4.5.3 A recipient was refused", &[EHLO, MAIL, RCPT, "RCPT TO:<no@example.net>", "DATA", "."], "no@example.net"),
    ("narrow", "552 5.3.4 The mail system behind", &[EHLO, MAIL, RCPT, "DATA", "@NEARLY", "."], "to=b@example.net"),
    ("narrow", "554 5.6.3 The mail system behind", &[EHLO, MAIL, RCPT, "DATA", "@\u{fc}\r\n", "."], "to=b@example.net"),
];

/// A site: its name, keys above its tables, keys of its pool, and tables.
type Site = (&'static str, &'static str, &'static str, &'static str);

#[rustfmt::skip]
const SITES: &[Site] = &[
    ("plain", "", "", "[limits]\nmessage_size = \"64KiB\"\nheader = \"4KiB\"\nwindow = \"8KiB\"\nrecipients = 2\nreceived = 1\nline = 1000"),
    ("pools", "", "", "[[pool]]\nname = \"lists\"\nbackends = [\"BACKEND\"]\n[[route]]\ndomains = [\"list.example\"]\npool = \"lists\""),
    ("junk", "", "", "[limits]\njunk = 2\nerrors = 2\nmessages = 1"),
    ("slow", "", "", "[timeouts]\ncommand = \"300ms\""),
    ("drain", "", "", ""),
    ("full", "", "", "[limits]\nsessions = 1"),
    ("tls", "", "", "[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\ntls = \"required\"\nCERTIFICATE"),
    ("offered", "", "", "[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\ntls = \"starttls\"\nCERTIFICATE"),
    ("xclient", "", "", "[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\nxclient_from = [\"127.0.0.0/8\"]"),
    ("auth", "", "", "[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\nrole = \"submission\"\nauth = [\"plain\"]\nauth_requires_tls = false\nACCOUNTS"),
    ("trusting", "trusted = [\"127.0.0.0/8\"]\n", "", "[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\nrole = \"submission\"\nauth = [\"plain\"]\nauth_requires_tls = false\nACCOUNTS"),
    ("auth-tls", "", "", "[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\nrole = \"submission\"\ntls = \"starttls\"\nauth = [\"plain\"]\nACCOUNTS\nCERTIFICATE"),
    ("submission", "", "", "[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\nrole = \"submission\""),
    ("close", "", "", "[[policy.client_list]]\nname = \"x\"\nentries = [\"127.0.0.0/8\"]\nthen = \"close\""),
    ("block", "", "", "[[policy.client_list]]\nname = \"x\"\nentries = [\"127.0.0.0/8\"]"),
    ("put-off", "", "", "[policy]\nlog_rejected = \"delayed\"\n[[policy.client_list]]\nname = \"x\"\nentries = [\"127.0.0.0/8\"]\nthen = \"defer\""),
    ("crowd", "", "", "[policy.client_rate]\nsessions = 1"),
    ("early", "", "", "[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\ngreeting_delay = \"2s\""),
    ("helo", "", "", "[[policy.helo_list]]\nname = \"bad\"\nentries = [\".bad\"]\n[[policy.helo_list]]\nname = \"odd\"\nentries = [\".odd\"]\nthen = \"defer\""),
    ("paths", "", "", "[[policy.sender_list]]\nname = \"bad\"\nentries = [\"bad.example\"]\n[[policy.sender_list]]\nname = \"odd\"\nentries = [\"odd.example\"]\nthen = \"defer\"\n[[policy.recipient_list]]\nname = \"badr\"\nentries = [\"bad@example.net\"]\n[[policy.recipient_list]]\nname = \"oddr\"\nentries = [\"odd@example.net\"]\nthen = \"defer\"\n[policy.relay]\nthen = \"defer\""),
    ("rate", "", "", "[policy.client_rate]\nmessages = 1"),
    ("rate-hard", "", "", "[policy.client_rate]\nmessages = 1\nthen = \"reject\""),
    ("header", "", "", "[policy]\nreject_score = 8.0\ndefer_score = 4.0\nRULE bad X-Bad reject 0.0\nRULE odd X-Odd defer 0.0\nRULE nine X-Nine score 9.0\nRULE five X-Five score 5.0"),
    ("rules", "", "", "[[policy.rule]]\nname = \"bad\"\nwhen = 'header(\"X-Bad\") == \"x\"'\nthen = \"reject\"\n[[policy.rule]]\nname = \"odd\"\nwhen = 'header(\"X-Odd\") == \"x\"'\nthen = \"defer\""),
    ("own", "", "", "[limits]\nreceived = 1\n[policy.loop]\nthen = \"defer\""),
    ("dead", "", "lease_wait = \"100ms\"", ""),
    ("unasked", "VERIFY", "lease_wait = \"100ms\"", ""),
    ("busy", "", "connections = 1\nlease_wait = \"100ms\"", ""),
    ("lost", "", "", ""),
    ("uncertain", "", "", ""),
    ("confused", "", "", ""),
    ("some", "", "", ""),
    ("narrow", "", "", ""),
];

/// The backend of a site.
fn backend(site: &str) -> Backend {
    let act = |site: &'static str| {
        move |_: usize, command: &str| match (site, command.split([' ', ':']).next()) {
            ("busy", Some("BODY")) => Act::Hang,
            ("lost", Some("DATA")) => Act::Close,
            ("uncertain", Some("BODY")) => Act::Close,
            ("confused", Some("MAIL")) => Act::say("530 5.7.0 Authentication required"),
            ("some", _) if command.contains("no@example.net") => Act::say("550 5.1.1 No such user"),
            _ => Act::Usual,
        }
    };
    let name = SITES
        .iter()
        .find(|one| one.0 == site)
        .map_or("plain", |one| one.0);
    let narrow = &["PIPELINING", "SIZE 1000"][..];
    let extensions = match name {
        "narrow" => narrow,
        _ => &["PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "DSN"][..],
    };
    Backend::start(free_address(), extensions, act(name))
}

/// The configuration of a site; `folder` holds its files.
fn configuration(site: &Site, backend: &Backend, folder: &Path) -> String {
    let (_, top, pool_keys, tables) = *site;
    let mut text = pool(&[backend], pool_keys);
    if matches!(site.0, "dead" | "unasked") {
        text = text.replace(&backend.address.to_string(), &free_address().to_string());
    }
    if top != "VERIFY" {
        text = text.replace("[[route]]\n", "[[route]]\nrecipients = \"accept\"\n");
    }
    for line in tables.lines() {
        text += &match line.split(' ').collect::<Vec<_>>()[..] {
            ["RULE", name, field, then, score] => format!(
                "[[policy.header]]\nname = \"{name}\"\nfield = \"{field}\"\nwhen = \"present\"\nthen = \"{then}\"\nscore = {score}\n"
            ),
            ["CERTIFICATE"] => {
                let (chain, key) = Authority::new()
                    .issue(&["edge.example"])
                    .write(folder, "edge");
                format!(
                    "[[certificate]]\nchain = \"{}\"\nkey = \"{}\"\n",
                    chain.display(),
                    key.display()
                )
            }
            ["ACCOUNTS"] => {
                let file = folder.join("accounts");
                let added = user(&file, &["add", "amy", "-a", "amy@example.net"], "secret");
                assert!(added.0, "{}", added.1);
                format!(
                    "[[credentials]]\nname = \"staff\"\nsource = \"file\"\nfile = \"{}\"\n",
                    file.display()
                )
            }
            _ => line.replace("BACKEND", &backend.address.to_string()) + "\n",
        };
    }
    let top = top.replace("VERIFY", "");
    format!("{top}{text}")
}

/// What `@WORD` stands for.
fn octets(word: &str) -> Vec<u8> {
    match word {
        "LONG" => [b"x".repeat(1500), b"\r\n".to_vec()].concat(),
        "BODY" => [
            b"\r\n".to_vec(),
            b"a line of a long message\r\n".repeat(4000),
        ]
        .concat(),
        "NEARLY" => [b"x".repeat(950), b"\r\n".to_vec()].concat(),
        "HEADER" => b"X-More: and more of it\r\n".repeat(220),
        text => text.as_bytes().to_vec(),
    }
}

/// Says what a case says, and returns all replies.
fn meet(gatepost: &Gatepost, dialogue: &[&str]) -> String {
    // Those that hold a place while the others come.
    let mut held = Vec::new();
    match dialogue.first() {
        // The look that found Gatepost listening may still have its place.
        Some(&("FULL" | "CROWD")) => held.push(loop {
            let (client, greeting) = Client::greeted(gatepost.smtp);
            if greeting.starts_with("220") {
                break client;
            }
        }),
        Some(&"BUSY") => {
            let mut first = Client::in_data(gatepost.smtp);
            first.raw(b".\r\n");
            held.push(first);
            return meet(gatepost, &[EHLO, MAIL, RCPT, "DATA", "."]);
        }
        _ => {}
    }
    let mut client = Client::silent(gatepost.smtp);
    let mut replies = String::new();
    let early = dialogue
        .first()
        .is_some_and(|first| first.starts_with("@EHLO"));
    if !early {
        replies += &client.reply();
    }
    for said in dialogue {
        replies += &match *said {
            "FULL" | "CROWD" => String::new(),
            "?" => client.reply(),
            "LONG" => client.command(&"NOOP ".repeat(400)),
            "ENDLESS" => {
                client.try_raw(&b"x".repeat(400_000));
                client.reply()
            }
            "ENDLESS LINE" => client.command(&"x".repeat(13_000)),
            "AMY" => client.command("AUTH PLAIN AGFteQBzZWNyZXQ="),
            "DRAIN" => {
                gatepost.process.signal("TERM");
                let mut heard = again(&mut client);
                while heard.starts_with("250") {
                    heard = again(&mut client);
                }
                heard
            }
            said => match said.strip_prefix('@') {
                Some(raw) => {
                    client.raw(&octets(raw));
                    String::new()
                }
                None => client.command(said),
            },
        };
    }
    replies
}

/// Says NOOP, where the connection still takes it, and reads on.
fn again(client: &mut Client) -> String {
    // The drain may take a moment to begin, and commands that do nothing are counted.
    thread::sleep(Duration::from_millis(50));
    let _ = client.try_raw(b"NOOP\r\n");
    client.reply()
}

/// The rows of `docs/replies.md` that refuse something.
fn rows() -> Vec<String> {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/replies.md"));
    let page = page.expect("the page");
    let replies = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let replies = replies.filter_map(|line| line.split_once('`'));
    let texts = replies.map(|(reply, _)| reply.trim_end_matches(" …").to_string());
    texts.filter(|reply| reply >= &"4".to_string()).collect()
}

/// Whether a log line tells of this reply.
fn tells(line: &str, reply: &str) -> bool {
    let mut words = reply.splitn(3, ' ');
    let mut word = || words.next().unwrap_or_default();
    let (code, status, text) = (word(), word(), word());
    line.contains(reply)
        || (line.contains(&format!("code={code} status={status} ")) && line.contains(text))
}

#[test]
// INV-MANUAL
fn every_refusal_is_in_the_log_with_its_cause() {
    let rows = rows();
    let mut missing: Vec<&str> = rows
        .iter()
        .map(|row| &**row)
        .filter(|row| !CASES.iter().any(|case| row.starts_with(case.1)))
        .filter(|row| !NOT_PROVOKED.iter().any(|(reply, _)| row.starts_with(reply)))
        .collect();
    missing.sort_unstable();
    assert!(missing.is_empty(), "no case for: {missing:#?}");
    let mut silent = Vec::new();
    for site in SITES {
        let folder = tempfile::tempdir().expect("a folder");
        let backend = backend(site.0);
        let gatepost = Gatepost::start("epoll", &configuration(site, &backend, folder.path()));
        for (_, reply, dialogue, named) in CASES.iter().filter(|case| case.0 == site.0) {
            let row = rows
                .iter()
                .find(|row| row.starts_with(reply))
                .unwrap_or_else(|| panic!("no row {reply}"));
            let heard = meet(&gatepost, dialogue).replace("\r\n", "\n");
            if !heard.lines().any(|line| line.starts_with(&**row)) {
                silent.push(format!("{}: {row:?} was not said in {heard:?}", site.0));
                continue;
            }
            let begun = Instant::now();
            while !gatepost
                .log()
                .lines()
                .any(|line| tells(line, row) && line.contains(named))
            {
                if begun.elapsed() > PATIENCE / 6 {
                    silent.push(format!(
                        "{}: {row:?} with {named:?} is not in\n{}",
                        site.0,
                        gatepost.log()
                    ));
                    break;
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}
