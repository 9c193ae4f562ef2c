//! Credential sources that are asked over a wire, against the real thing: Dovecot, and Postfix as a backend.

use crate::{
    endpoint::{Answer, Dovecot, Endpoint, runtime},
    harness::{free_address, wait_until},
    postfix::Postfix,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use gatepost::{
    auth::{Attempt, Credential, Mechanism, Outcome, Secret, remote::Remote},
    config,
};
use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

/// A source from its keys; `backends` are those of the pool `mta`, `pool` its other keys.
pub fn source_of(backends: &[SocketAddr], pool: &str, keys: &str) -> Remote {
    let backends: Vec<String> = backends.iter().map(|b| format!("\"{b}\"")).collect();
    let text = format!(
        "hostname = \"edge.example\"\n[[listener]]\nname = \"mx\"\naddress = [\"127.0.0.1:2525\"]\n\
         [[pool]]\nname = \"mta\"\nbackends = [{}]\n{pool}\n[[route]]\ndomains = [\"example.net\"]\npool = \"mta\"\n\
         [[credentials]]\nname = \"staff\"\n{keys}",
        backends.join(", ")
    );
    let loaded = config::parse("t.toml", &text).unwrap_or_else(|found| panic!("{found:#?}"));
    Remote::build(&loaded.config.credentials[0], &loaded.config).expect("a source")
}

pub fn source(keys: &str) -> Remote {
    source_of(&["127.0.0.1:2600".parse().expect("an address")], "", keys)
}

fn attempt(mechanism: Mechanism, credential: Credential) -> Attempt {
    Attempt {
        listener: "submission".into(),
        client: "192.0.2.7".parse().expect("an address"),
        helo: b"client.example".to_vec(),
        secured: true,
        mechanism,
        credential,
    }
}

pub fn password(user: &str, password: &str) -> Attempt {
    let credential = Credential::Password {
        user: user.into(),
        password: Secret::new(password.as_bytes()),
    };
    attempt(Mechanism::Plain, credential)
}

pub fn token(mechanism: Mechanism, user: &str, token: &str) -> Attempt {
    let credential = Credential::Token {
        user: Some(user.to_string()).filter(|user| !user.is_empty()),
        token: Secret::new(token.as_bytes()),
    };
    attempt(mechanism, credential)
}

/// An outcome in one line.
pub async fn ask(source: &Remote, attempt: &Attempt) -> String {
    match source.check(attempt).await.0 {
        Outcome::Granted(account) => {
            format!("{}: {}", account.name, account.addresses.join(" "))
        }
        Outcome::Denied => "denied".into(),
        Outcome::Unavailable(why) => format!("unavailable: {why}"),
    }
}

pub const ACCOUNTS: &str = "amy:pw 1:::::: addresses=amy@example.net,@amy.example\nbob:secret::::::\n\
                        bob@b.example:secret::::::\n";

#[test]
fn dovecot_knows_its_accounts() {
    let Some(mut dovecot) = Dovecot::start(ACCOUNTS, None) else {
        return;
    };
    let keys = format!(
        "source = \"dovecot\"\nsocket = \"{}\"\ndomains = [\"a.example\", \"b.example\"]\n",
        dovecot.socket().display()
    );
    let by_path = Arc::new(source(&keys));
    let by_port = source(&format!(
        "source = \"dovecot\"\nsocket = \"{}\"\n",
        dovecot.port
    ));
    runtime().block_on(async {
        let yes = "amy: amy@example.net @amy.example";
        for (user, word, said) in [
            ("amy", "pw 1", yes),
            ("amy", "pw 2", "denied"),
            ("amy", "", "denied"),
            ("eve", "pw 1", "denied"),
            ("bob", "secret", "bob: bob@a.example bob@b.example"),
            ("bob@b.example", "secret", "bob@b.example: bob@b.example"),
            ("amy\0eve", "pw 1", "denied"),
            ("amy\tnologin", "pw 1", "denied"),
        ] {
            let found = ask(&by_path, &password(user, word)).await;
            assert_eq!(found, said, "{user}\n{}", dovecot.log());
        }
        assert_eq!(
            ask(&by_port, &password("bob", "secret")).await,
            "bob: bob@edge.example"
        );
        assert_eq!(
            ask(&by_path, &password("amy", &"x".repeat(9000))).await,
            "denied"
        );
        let found = ask(&by_path, &token(Mechanism::OauthBearer, "amy", "t")).await;
        assert_eq!(found, "unavailable: it offers no OAUTHBEARER");

        // Many at once, over the one connection.
        let mut all = Vec::new();
        for i in 0..50 {
            let by_path = Arc::clone(&by_path);
            let asked = password("amy", if i % 2 == 0 { "pw 1" } else { "no" });
            all.push(tokio::spawn(async move { ask(&by_path, &asked).await }));
        }
        for (i, question) in all.into_iter().enumerate() {
            let said = if i % 2 == 0 { yes } else { "denied" };
            assert_eq!(question.await.expect("it ends"), said);
        }

        dovecot.stop();
        let good = password("amy", "pw 1");
        let found = ask(&by_path, &good).await;
        assert!(
            found.starts_with("unavailable: can't connect to "),
            "{found}"
        );
        dovecot.run();
        assert_eq!(ask(&by_path, &good).await, yes, "it comes back");
    });
    assert!(!dovecot.log().contains("BUG"), "{}", dovecot.log());
}

/// An introspection endpoint that knows two tokens.
pub fn introspection() -> Endpoint {
    Endpoint::start(|seen| {
        let token = |name: &str| seen.body.contains(&format!("token={name}"));
        Answer::body(match () {
            () if token("good") => {
                r#"{"active": true, "username": "amy", "scope": "imap smtp", "email": "Amy@example.net"}"#
            }
            () if token("narrow") => r#"{"active": true, "username": "amy", "scope": "imap"}"#,
            () if token("broken") => "{",
            () => r#"{"active": false}"#,
        })
    })
}

#[test]
fn dovecot_takes_tokens() {
    let endpoint = introspection();
    let Some(dovecot) = Dovecot::start(ACCOUNTS, Some(endpoint.address)) else {
        return;
    };
    let socket = dovecot.socket();
    let source = source(&format!(
        "source = \"dovecot\"\nsocket = \"{}\"\n",
        socket.display()
    ));
    runtime().block_on(async {
        for mechanism in [Mechanism::OauthBearer, Mechanism::Xoauth2] {
            let found = ask(&source, &token(mechanism, "amy", "good")).await;
            assert_eq!(found, "amy: amy@edge.example", "{}", dovecot.log());
            let found = ask(&source, &token(mechanism, "amy", "bad")).await;
            assert_eq!(found, "denied", "{}", dovecot.log());
        }
    });
}

#[test]
fn a_backend_checks_passwords_itself() {
    let Some(dovecot) = Dovecot::start(ACCOUNTS, None) else {
        return;
    };
    let sasl = format!(
        "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = {}\n\
         smtpd_sasl_security_options = noanonymous\n",
        dovecot.socket().display()
    );
    let Some(postfix) = Postfix::start_with(&sasl) else {
        return;
    };
    let keys = "source = \"backend\"\npool = \"mta\"\ndomains = [\"a.example\"]\n";
    // The first one is not there: nobody hears of it.
    let source = source_of(&[free_address(), postfix.address], "tls = \"none\"", keys);
    let alone = source_of(&[free_address()], "", keys);
    runtime().block_on(async {
        for _ in 0..2 {
            let found = ask(&source, &password("amy", "pw 1")).await;
            assert_eq!(found, "amy: amy@a.example", "{}", postfix.log());
        }
        let found = ask(&source, &password("bob@b.example", "secret")).await;
        assert_eq!(found, "bob@b.example: ", "none of `domains`");
        let long = "x".repeat(1000);
        for word in ["pw 2", "", &long] {
            let found = ask(&source, &password("amy", word)).await;
            assert_eq!(found, "denied", "{}", postfix.log());
        }
        let found = ask(&source, &token(Mechanism::Xoauth2, "amy", "t")).await;
        assert!(found.ends_with("it offers no XOAUTH2"), "{found}");
        let found = ask(&alone, &password("amy", "pw 1")).await;
        assert!(
            found.starts_with("unavailable: ") && found.contains("can't connect"),
            "{found}"
        );
    });
}

#[test]
fn a_backend_with_proxy_headers_learns_whose_the_password_is() {
    let Some(dovecot) = Dovecot::start(ACCOUNTS, None) else {
        return;
    };
    let sasl = format!(
        "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = {}\n\
         smtpd_sasl_security_options = noanonymous\n",
        dovecot.socket().display()
    );
    let header = "-o smtpd_upstream_proxy_protocol=haproxy";
    let Some(postfix) = Postfix::start_as(|_| sasl, header) else {
        return;
    };
    let keys = "source = \"backend\"\npool = \"mta\"\ndomains = [\"a.example\"]\n";
    for identity in ["proxy-v1", "proxy-v2"] {
        let pool = format!("tls = \"none\"\nidentity = \"{identity}\"");
        let source = source_of(&[postfix.address], &pool, keys);
        runtime().block_on(async {
            let found = ask(&source, &password("amy", "pw 1")).await;
            assert_eq!(found, "amy: amy@a.example", "{identity}: {}", postfix.log());
            let mut wrong = password("amy", "pw 2");
            wrong.client = "198.51.100.7".parse().expect("an address");
            assert_eq!(ask(&source, &wrong).await, "denied", "{}", postfix.log());
        });
    }
    for client in ["192.0.2.7", "198.51.100.7"] {
        let line = format!(": connect from unknown[{client}]");
        let connects = || postfix.log().matches(&line).count();
        // Postfix's log is written by a process of its own.
        wait_until("they are logged", || (connects() >= 2).then_some(()));
        assert_eq!(connects(), 2, "{}", postfix.log());
    }
}

/// A Dovecot of which the first connection falls silent after one answer, without being closed; it never answers for `lost`. How
/// many connections it had.
fn dovecot_that_falls_silent() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(free_address()).expect("free");
    let address = listener.local_addr().expect("bound");
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let number = count.fetch_add(1, SeqCst);
            thread::spawn(move || {
                let greeting = b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nDONE\n";
                stream.write_all(greeting).expect("it greets");
                let lines = BufReader::new(stream.try_clone().expect("a copy")).lines();
                let questions = lines
                    .map_while(Result::ok)
                    .filter(|line| line.starts_with("AUTH"));
                let lost = STANDARD.encode("\0lost\0pw");
                for (at, line) in questions.enumerate() {
                    let id = line.split('\t').nth(1).unwrap_or_default();
                    if (number > 0 || at == 0) && !line.contains(&lost) {
                        let answer = format!("OK\t{id}\tuser=amy\taddresses=a@b.example\n");
                        let _ = stream.write_all(answer.as_bytes());
                    }
                }
            });
        }
    });
    (address, connections)
}

#[test]
fn a_connection_to_dovecot_that_has_fallen_silent_is_given_up() {
    let (address, connections) = dovecot_that_falls_silent();
    let source = source(&format!(
        "source = \"dovecot\"\nsocket = \"{address}\"\ntimeout = \"4s\"\n"
    ));
    let yes = "amy: a@b.example";
    runtime().block_on(async {
        let amy = password("amy", "pw");
        assert_eq!(ask(&source, &amy).await, yes);
        assert_eq!(ask(&source, &amy).await, "unavailable: no answer in 4s");
        assert_eq!(ask(&source, &amy).await, yes, "over another connection");
        // One that answers others is not silent.
        let lost = password("lost", "pw");
        let (first, second) = tokio::join!(ask(&source, &lost), ask(&source, &amy));
        assert_eq!((&*first, &*second), ("unavailable: no answer in 4s", yes));
        assert_eq!(ask(&source, &amy).await, yes);
    });
    assert_eq!(connections.load(SeqCst), 2);
}
