//! `gatepost explain` and the proxy say the same of clients that log in, that don't, and that were refused before they could.

use crate::{
    auth::{plain, user},
    backend::Backend,
    client::Client,
    harness::{Gatepost, free_address},
};
use serde_json::Value;
use std::{fs, net::SocketAddr, path::Path, process::Command};

const POLICY: &str = r#"
[limits]
auth_failures_client = 1000
auth_failures_account = 1000
[timeouts]
auth_delay = "1ms"
[policy]
log_rejected = "delayed"
[policy.client_rate]
mode = "off"
[policy.prefix_rate]
mode = "off"
[policy.helo.unqualified]
then = "reject"
[[policy.client_list]]
name = "dynamic"
entries = ["127.0.0.4"]
then = "reject"
[[policy.client_list]]
name = "banned"
entries = ["127.0.0.5"]
then = "close"
[[policy.rule]]
name = "all"
at = "connect"
when = 'client.address in cidr("127.0.0.6")'
then = "defer"
reply = "450 4.7.1 Not you"
[[policy.sender_list]]
name = "spammers"
entries = ["spam.example"]
[[policy.recipient_list]]
name = "closed"
entries = ["gone@example.net"]
"#;

/// The listeners, with whether they have AUTH.
const LISTENERS: &[(&str, &str)] = &[
    ("sub", "role = \"submission\"\nAUTH"),
    ("sub-at-once", "role = \"submission\"\nAUTH\nAT_ONCE"),
    (
        "sub-domain",
        "role = \"submission\"\nsender_identity = \"domain\"\nAUTH",
    ),
    (
        "sub-tls",
        "role = \"submission\"\ntls = \"starttls\"\nauth = [\"plain\"]\ncredentials = \"staff\"",
    ),
    ("trusted-alone", "role = \"submission\""),
    ("both", "AUTH"),
    ("both-at-once", "AUTH\nAT_ONCE"),
    (
        "behind-a-proxy",
        "xclient_from = [\"127.0.0.4\", \"127.0.0.6\", \"127.0.0.8\"]",
    ),
    ("mx", ""),
    ("mx-at-once", "AT_ONCE"),
];

/// Who logs in (nobody, an account, one that there is not), with which sender.
const SENDERS: &[(Option<&str>, &str)] = &[
    (None, "a@a.example"),
    (None, "a@spam.example"),
    (Some("ben@example.net"), "ben@example.net"),
    (Some("BEN@example.net"), "amy@example.net"),
    (Some("eve"), "eve@example.net"),
];

const RECIPIENTS: [&str; 4] = [
    "gone@example.net",
    "b@example.net",
    "c@second.example",
    "d@far.example",
];

/// One message, as both are asked about it.
#[derive(Debug)]
struct Case {
    listener: &'static str,
    client: &'static str,
    helo: &'static str,
    login: Option<&'static str>,
    sender: &'static str,
    author: &'static str,
}

/// What it came to: what each recipient was told, and then the message; before that, what ended it.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    recipients: Vec<Option<String>>,
    last: Option<String>,
}

/// A reply that refuses.
fn refusal(reply: &str) -> Option<String> {
    (!reply.starts_with(['2', '3'])).then(|| reply.trim_end().to_string())
}

/// What the proxy says.
fn heard(case: &Case, address: SocketAddr) -> Heard {
    let ended = |reply: String| Heard {
        recipients: Vec::new(),
        last: Some(reply),
    };
    let xclient = match (case.listener, case.login) {
        ("behind-a-proxy", Some(login)) => {
            Some(format!("XCLIENT ADDR={} LOGIN={login}", case.client))
        }
        _ => None,
    };
    let client = if xclient.is_some() {
        "127.0.0.8"
    } else {
        case.client
    };
    let mut session = Client::silent_from(client.parse().expect("an address"), address);
    if let Some(refusal) = refusal(&session.reply()) {
        return ended(refusal);
    }
    let hello = format!("EHLO {}", case.helo);
    let login = case.login.filter(|_| xclient.is_none());
    let login = login.map(|name| plain(name, "secret"));
    let mail = format!("MAIL FROM:<{}>", case.sender);
    for command in [xclient, Some(hello), login, Some(mail)]
        .into_iter()
        .flatten()
    {
        if let Some(refusal) = refusal(&session.command(&command)) {
            return ended(refusal);
        }
    }
    let mut told = Vec::new();
    for to in RECIPIENTS {
        let reply = session.command(&format!("RCPT TO:<{to}>"));
        // After a reply that closes nothing follows.
        if !reply.is_empty() {
            told.push(refusal(&reply));
        }
    }
    let last = match told.contains(&None) {
        false => told.last().cloned().flatten(),
        true => {
            session.expect("DATA", "354");
            refusal(&session.command(&format!("From: {}\r\n\r\nx\r\n.", case.author)))
        }
    };
    Heard {
        recipients: told,
        last,
    }
}

/// What `explain` says.
fn explained(case: &Case, file: &Path, folder: &Path) -> Heard {
    let message = folder.join("message.eml");
    fs::write(&message, format!("From: {}\n\nx\n", case.author)).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.args(["explain", "--json", "--listener", case.listener]);
    command.args(["--client", case.client, "--helo", case.helo]);
    command.args(["--from", case.sender]).arg("-c").arg(file);
    for to in RECIPIENTS {
        command.args(["--to", to]);
    }
    if let Some(login) = case.login {
        command.args(["--login", login]);
    }
    let output = command.arg(&message).output().expect("runs");
    let said: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{case:?}: {}", String::from_utf8_lossy(&output.stderr)));
    let reply = |value: &Value| value["reply"].as_str().map(str::to_string);
    let recipients = said["recipients"].as_array().expect("a list");
    Heard {
        recipients: recipients.iter().map(reply).collect(),
        last: reply(&said),
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (listener, keys) in LISTENERS {
        for (login, sender) in SENDERS {
            let serves = ["AUTH", "credentials", "xclient"]
                .map(|key| keys.contains(key))
                .contains(&true);
            if login.is_some() && !serves {
                continue;
            }
            for (client, helo) in [
                ("127.0.0.3", "mx.a.example"),
                ("127.0.0.3", "pc"),
                ("127.0.0.4", "mx.a.example"),
                ("127.0.0.5", "pc"),
                ("127.0.0.6", "mx.a.example"),
                ("127.0.0.7", "mx.a.example"),
            ] {
                // The other clients are about the address alone.
                let is_plain = matches!(*sender, "a@a.example" | "ben@example.net");
                if client != "127.0.0.3" && !is_plain {
                    continue;
                }
                let author = match client {
                    "127.0.0.3" if helo == "pc" => "amy@example.net",
                    _ => sender,
                };
                cases.push(Case {
                    listener,
                    client,
                    helo,
                    login: *login,
                    sender,
                    author,
                });
            }
        }
    }
    cases
}

#[test]
fn explain_and_the_proxy_say_the_same_of_logins() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let added = user(&at("accounts"), &["add", "Ben@example.net"], "secret");
    assert!(added.0, "{}", added.1);
    let made = rcgen::generate_simple_self_signed(["edge.example".to_string()]).expect("made");
    fs::write(at("chain.pem"), made.cert.pem()).expect("written");
    fs::write(at("key.pem"), made.signing_key.serialize_pem()).expect("written");
    let (first, second) = (Backend::good(free_address()), Backend::good(free_address()));
    let mut addresses = Vec::new();
    let mut listeners = String::new();
    for (name, keys) in LISTENERS {
        let address = match *name {
            "mx" => "SMTP_ADDRESS".to_string(),
            _ => free_address().to_string(),
        };
        let keys = keys
            .replace(
                "AUTH",
                "auth = [\"plain\"]\ncredentials = \"staff\"\nauth_requires_tls = false",
            )
            .replace("AT_ONCE", "policy = { log_rejected = \"at-once\" }");
        listeners +=
            &format!("[[listener]]\nname = \"{name}\"\naddress = [\"{address}\"]\n{keys}\n");
        addresses.push(address);
    }
    let tables = format!(
        "trusted = [\"127.0.0.7\"]\n{listeners}[[certificate]]\nchain = \"{}\"\nkey = \"{}\"\n\
         [[credentials]]\nname = \"staff\"\nsource = \"file\"\nfile = \"{}\"\n\
         [[pool]]\nname = \"first\"\nbackends = [\"{}\"]\n[[pool]]\nname = \"second\"\nbackends = [\"{}\"]\n\
         [[route]]\ndomains = [\"example.net\"]\npool = \"first\"\nrecipients = \"accept\"\n\
         [[route]]\ndomains = [\"second.example\"]\npool = \"second\"\nrecipients = \"accept\"\n{POLICY}",
        at("chain.pem").display(),
        at("key.pem").display(),
        at("accounts").display(),
        first.address,
        second.address
    );
    let gatepost = Gatepost::start("epoll", &tables);
    let cases = cases();
    for case in &cases {
        let place = LISTENERS
            .iter()
            .position(|(name, _)| *name == case.listener);
        let address = &addresses[place.expect("it is there")];
        let address = address.parse().unwrap_or(gatepost.smtp);
        let (said, explained) = (
            heard(case, address),
            explained(case, &gatepost.file(), folder.path()),
        );
        assert_eq!(explained, said, "{case:?}");
    }
    // What this was about has come.
    let log = gatepost.log();
    for part in [
        "Authentication required",
        "trusted clients alone",
        "Encryption required",
        "The sender address is not yours",
        "verdict=denied",
        "verdict=accept",
        "Not you",
        "Relaying denied",
    ] {
        assert!(log.contains(part), "{part}");
    }
}
