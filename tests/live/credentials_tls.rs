//! Passwords that a pool's backends check, over TLS as the pool has it: a real Postfix that asks Dovecot, and backends
//! that play tricks.

use crate::{
    backend::{Act, Backend},
    certificates::Authority,
    client::Client,
    credentials::{ACCOUNTS, ask, password, source_of},
    endpoint::{Dovecot, runtime},
    harness::{Gatepost, free_address, home, http, wait_until},
    on_all_engines,
    postfix::Postfix,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use gatepost::auth::remote::Remote;
use std::{fs, net::SocketAddr, path::Path};

const KEYS: &str =
    "source = \"backend\"\npool = \"mta\"\ndomains = [\"a.example\"]\ntimeout = \"4s\"\n";

/// STARTTLS is offered and not required.
const MAY: &str = "smtpd_tls_security_level = may\n";

const YES: &str = "amy: amy@a.example";

/// A Postfix that offers AUTH under TLS alone, and its Dovecot.
struct Mailboxes {
    postfix: Postfix,
    _dovecot: Dovecot,
}

impl Mailboxes {
    /// Its certificate is for its address and `mta.example.net`; `more` are lines of its main.cf, where FOLDER is its own.
    fn start(authority: &Authority, more: &str) -> Option<Mailboxes> {
        let dovecot = Dovecot::start(ACCOUNTS, None)?;
        let own = home().to_string();
        let pem = authority.issue(&[&own, "mta.example.net"]);
        let lines = |folder: &Path| {
            let (chain, key) = pem.write(folder, "server");
            fs::write(folder.join("ca.pem"), authority.pem()).expect("written");
            format!(
                "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = {}\n\
                 smtpd_tls_auth_only = yes\nsmtpd_tls_cert_file = {}\n\
                 smtpd_tls_key_file = {}\nsmtpd_tls_loglevel = 1\n{}",
                dovecot.socket().display(),
                chain.display(),
                key.display(),
                more.replace("FOLDER", &folder.display().to_string())
            )
        };
        let postfix = Postfix::start_as(lines, "-o smtpd_client_port_logging=yes")?;
        Some(Mailboxes {
            postfix,
            _dovecot: dovecot,
        })
    }

    fn source(&self, pool: &str) -> Remote {
        source_of(&[self.postfix.address], pool, KEYS)
    }

    /// Handshakes that came to their end.
    fn handshakes(&self) -> usize {
        let log = self.postfix.log();
        log.matches("TLS connection established from").count()
    }
}

/// A file with this authority's certificate.
fn ca(folder: &Path, authority: &Authority) -> String {
    let file = folder.join("ca.pem");
    fs::write(&file, authority.pem()).expect("written");
    file.display().to_string()
}

#[test]
fn postfix_is_asked_over_starttls() {
    let authority = Authority::new();
    let Some(mailboxes) = Mailboxes::start(&authority, MAY) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let others = tempfile::tempdir().expect("a folder");
    let anchors = ca(folder.path(), &authority);
    let foreign = ca(others.path(), &Authority::new());
    runtime().block_on(async {
        for pool in [
            "",
            "tls = \"required\"",
            &format!("tls = \"verify\"\ntls_ca = \"{anchors}\""),
            &format!("tls = \"verify\"\ntls_ca = \"{anchors}\"\ntls_name = \"mta.example.net\""),
        ] {
            let (source, before) = (mailboxes.source(pool), mailboxes.handshakes());
            for (user, word, said) in [
                ("amy", "pw 1", YES),
                ("amy", "pw 2", "denied"),
                ("bob@b.example", "secret", "bob@b.example: "),
            ] {
                let found = ask(&source, &password(user, word)).await;
                assert_eq!(found, said, "{pool}: {}", mailboxes.postfix.log());
            }
            // Postfix's log is written by a process of its own.
            let made = || mailboxes.handshakes() - before;
            wait_until("all are logged", || (made() >= 3).then_some(()));
            assert_eq!(made(), 3, "{pool}");
        }
        let logins = || mailboxes.postfix.log().matches("sasl_method=").count();
        let before = logins();
        for (pool, why) in [
            (
                format!("tls = \"verify\"\ntls_ca = \"{anchors}\"\ntls_name = \"mtb.example.net\""),
                "name",
            ),
            (
                format!("tls = \"verify\"\ntls_ca = \"{foreign}\""),
                "certificate",
            ),
        ] {
            let found = ask(&mailboxes.source(&pool), &password("amy", "pw 1")).await;
            assert!(
                found.starts_with("unavailable: ")
                    && found.contains("no TLS: ")
                    && found.contains(why),
                "{found}"
            );
        }
        let found = ask(
            &mailboxes.source("tls = \"none\""),
            &password("amy", "pw 1"),
        )
        .await;
        assert!(found.ends_with("it offers no PLAIN"), "{found}");
        assert_eq!(logins(), before, "{}", mailboxes.postfix.log());
    });
}

#[test]
fn postfix_is_asked_over_implicit_tls() {
    let authority = Authority::new();
    let more = MAY.to_owned() + "smtpd_tls_wrappermode = yes\n";
    let Some(mailboxes) = Mailboxes::start(&authority, &more) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let anchors = ca(folder.path(), &authority);
    let verify = format!("tls = \"verify\"\ntls_ca = \"{anchors}\"\ntls_implicit = true");
    runtime().block_on(async {
        for pool in ["tls = \"required\"\ntls_implicit = true", &verify] {
            let source = mailboxes.source(pool);
            for (word, said) in [("pw 1", YES), ("pw 2", "denied")] {
                let found = ask(&source, &password("amy", word)).await;
                assert_eq!(found, said, "{pool}: {}", mailboxes.postfix.log());
            }
        }
        let wrong = verify + "\ntls_name = \"mtb.example.net\"";
        let found = ask(&mailboxes.source(&wrong), &password("amy", "pw 1")).await;
        assert!(found.contains("no TLS: "), "{found}");
    });
    wait_until("all are logged", || {
        (mailboxes.handshakes() >= 4).then_some(())
    });
}

#[test]
fn postfix_is_shown_our_certificate_when_it_is_asked() {
    let authority = Authority::new();
    let more = "smtpd_tls_security_level = encrypt\nsmtpd_tls_req_ccert = yes\n\
                smtpd_tls_CAfile = FOLDER/ca.pem\n";
    let Some(mailboxes) = Mailboxes::start(&authority, more) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let (chain, key) = authority
        .issue(&["edge.example"])
        .write(folder.path(), "client");
    let with = format!(
        "tls = \"required\"\ntls_certificate = \"{}\"\ntls_key = \"{}\"",
        chain.display(),
        key.display()
    );
    runtime().block_on(async {
        let found = ask(&mailboxes.source(&with), &password("amy", "pw 1")).await;
        assert_eq!(found, YES, "{}", mailboxes.postfix.log());
        let without = mailboxes.source("tls = \"required\"");
        let found = ask(&without, &password("amy", "pw 1")).await;
        assert!(found.starts_with("unavailable: "), "{found}");
    });
}

/// A backend that takes every password; `offers` and the answer to STARTTLS are the test's.
fn takes_all(offers: &[&'static str], starttls: &'static str) -> Backend {
    Backend::start(free_address(), offers, move |_, command| match command {
        "STARTTLS" => Act::say(starttls),
        command if command.starts_with("AUTH") => Act::say("235 2.7.0 yes"),
        // What isn't SMTP is the beginning of a handshake.
        command if command.starts_with(|c: char| c.is_ascii_uppercase()) => Act::Usual,
        _ => Act::Hang,
    })
}

const BOTH: &[&str] = &["STARTTLS", "AUTH PLAIN"];

/// What a source with this pool says of a password, and whether the backend heard that.
fn asked(backend: &Backend, pool: &str) -> (String, bool) {
    let source = source_of(&[backend.address], pool, KEYS);
    let found = runtime().block_on(ask(&source, &password("amy", "pw 1")));
    let commands = backend.commands();
    let heard = commands.iter().any(|(_, said)| said.starts_with("AUTH"));
    (found, heard)
}

#[test]
// INV-SECURE
fn no_password_goes_in_the_clear_where_tls_is_a_must() {
    for (backend, why) in [
        (takes_all(&["AUTH PLAIN"], ""), "no TLS: offers no STARTTLS"),
        (
            takes_all(BOTH, "454 4.7.0 not today"),
            "no TLS: refused STARTTLS: 454 not today",
        ),
        // A handshake that hangs; whose patience ends first doesn't matter.
        (takes_all(BOTH, "220 go"), ""),
    ] {
        for word in ["required", "verify"] {
            let (found, heard) = asked(&backend, &format!("tls = \"{word}\""));
            assert!(found.starts_with("unavailable: "), "{word}: {found}");
            assert!(found.contains(why), "{word}: {found}");
            assert!(!heard, "{word}: {:?}", backend.commands());
        }
    }
}

#[test]
fn where_it_is_opportunistic_a_password_goes_as_a_message_does() {
    for (backend, connections) in [
        (takes_all(&["AUTH PLAIN"], ""), 1),
        (takes_all(BOTH, "454 4.7.0 not today"), 1),
        // The handshake hangs, and there is time for a connection without it.
        (takes_all(BOTH, "220 go"), 2),
    ] {
        let (found, heard) = asked(&backend, "tls = \"opportunistic\"");
        assert_eq!(found, YES);
        assert!(heard);
        assert_eq!(backend.connections(), connections);
    }
}

/// An attacker on the path puts replies after the 220, to be read as the backend's after the handshake.
#[test]
fn replies_injected_after_starttls_are_no_login() {
    let injected = "220 go\r\n250-backend.example\r\n250 AUTH PLAIN\r\n235 2.7.0 yes";
    for word in ["opportunistic", "required", "verify"] {
        let backend = takes_all(BOTH, injected);
        let (found, heard) = asked(&backend, &format!("tls = \"{word}\""));
        assert!(
            found.ends_with("said more than it was asked around STARTTLS"),
            "{word}: {found}"
        );
        assert!(!heard, "{word}: {:?}", backend.commands());
    }
}

#[test]
fn a_backend_that_cannot_be_had_over_tls_leaves_it_to_the_next() {
    let authority = Authority::new();
    let Some(mailboxes) = Mailboxes::start(&authority, MAY) else {
        return;
    };
    let stripped = takes_all(&["AUTH PLAIN"], "");
    let both: [SocketAddr; 2] = [stripped.address, mailboxes.postfix.address];
    let source = source_of(&both, "tls = \"required\"", KEYS);
    runtime().block_on(async {
        for _ in 0..2 {
            let found = ask(&source, &password("amy", "pw 1")).await;
            assert_eq!(found, YES, "{}", mailboxes.postfix.log());
        }
    });
}

on_all_engines! {
    fn a_wrong_certificate_is_no_wrong_password_and_a_reload_mends_it(engine) {
        let authority = Authority::new();
        let Some(mailboxes) = Mailboxes::start(&authority, MAY) else {
            return;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let anchors = ca(folder.path(), &Authority::new());
        let gate = Gatepost::start(engine, &format!(
            "[[listener]]\nname = \"mx\"\nrole = \"submission\"\naddress = [\"SMTP_ADDRESS\"]\nauth = [\"plain\"]\n\
             auth_requires_tls = false\n[[pool]]\nname = \"mta\"\nbackends = [\"{}\"]\ntls = \"verify\"\n\
             tls_ca = \"{anchors}\"\n[[route]]\ndomains = [\"example.net\"]\npool = \"mta\"\nrecipients = \"accept\"\n\
             [[credentials]]\nname = \"mailboxes\"\n{KEYS}[timeouts]\nauth_delay = \"10ms\"\n",
            mailboxes.postfix.address
        ));
        let login = |word: &str| {
            let mut client = Client::hello(gate.smtp);
            let response = STANDARD.encode(format!("\0amy\0{word}"));
            client.command(&format!("AUTH PLAIN {response}"))
        };
        for word in ["pw 1", "pw 2"] {
            let reply = login(word);
            assert!(reply.starts_with("454 4.7.0"), "{word}: {reply}");
        }
        wait_until("it is told", || gate.errors().contains("no TLS: invalid peer certificate").then_some(()));

        // A file that can't be used changes nothing.
        fs::write(&anchors, "nonsense").expect("written");
        let (status, said) = http(gate.admin, "POST", "/reload");
        assert!(status != 200 && said.contains("tls_ca"), "{status} {said}");
        ca(folder.path(), &authority);
        let (status, said) = http(gate.admin, "POST", "/reload");
        assert_eq!(status, 200, "{said}");
        let reply = login("pw 1");
        assert!(reply.starts_with("235"), "{reply}\n{}", gate.errors());
        let reply = login("pw 2");
        assert!(reply.starts_with("535"), "{reply}\n{}", gate.errors());
    }
}
