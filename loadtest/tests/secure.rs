//! `run` and `sink` over TLS and with AUTH: what arrives, what is counted, and what goes wrong on request.
#![allow(clippy::unwrap_used)]

use gatepost_load::{
    ledger::{Ledger, reconcile},
    result::RunResult,
    run::{Hooks, Plan, execute},
    sink::{self, Behaviour, Handle, Options},
    tls::{KeyKind, Mode, make},
};
use std::{fs, path::Path};

fn sink_with(tls: Mode, changes: &str, change: impl FnOnce(&mut Options)) -> Handle {
    let mut options = Options {
        behaviour: Behaviour::of(serde_json::from_str(changes).unwrap()),
        tls,
        ..Options::default()
    };
    change(&mut options);
    sink::start(options).unwrap()
}

fn sink(tls: Mode, changes: &str) -> Handle {
    sink_with(tls, changes, |_| {})
}

fn run(sink: &Handle, text: &str) -> (RunResult, Ledger) {
    let text = format!(
        "targets = ['{}']\nclosed = true\n{text}",
        sink.addresses()[0]
    );
    let plan = Plan::new(toml::from_str(&text).unwrap()).unwrap();
    execute(&plan, &Hooks::default()).unwrap()
}

/// The only error of a run of which nothing came through.
fn error(sink: &Handle, text: &str) -> String {
    let (result, _) = run(sink, &format!("sessions = 1\nmessages = 1\n{text}"));
    assert_eq!((result.totals.failed, result.errors.len()), (1, 1));
    result.errors.into_keys().next().unwrap()
}

#[test]
fn what_is_sent_over_tls_arrives() {
    for (mode, more) in [
        (Mode::Implicit, ""),
        (Mode::StartTls, ""),
        (Mode::Implicit, "io = 'epoll'\nsize = '700KiB'"),
        (
            Mode::StartTls,
            "pipelining = 'off'\nmessages_per_session = 3",
        ),
        (Mode::Implicit, "workers = 2\nmessages_per_session = 1"),
    ] {
        let sink = sink_with(mode, "{}", |options| options.workers = 2);
        let text = format!("sessions = 4\nmessages = 60\ntls = '{mode}'\n{more}");
        let (result, ledger) = run(&sink, &text);
        let found = reconcile(&ledger, &sink.tally(ledger.run).unwrap());
        assert_eq!(found.acknowledged, 60, "{text}: {:?}", result.errors);
        assert!(found.is_whole() && found.twice == 0, "{text}: {found:?}");
        let totals = result.totals;
        assert_eq!((totals.handshakes, totals.resumed), (totals.connections, 0));
        assert_eq!(result.steps["tls"].count, totals.handshakes);
        let summary = sink.stop();
        assert_eq!(summary.handshakes, totals.handshakes);
        assert!(summary.faults.is_empty(), "{summary:?}");
    }
}

#[test]
fn a_share_of_the_handshakes_is_resumed_by_any_worker() {
    let sink = sink_with(Mode::Implicit, "{}", |options| options.workers = 2);
    let load = "sessions = 1\nmessages = 100\nmessages_per_session = 1\ntls = 'implicit'";
    let (result, _) = run(&sink, &format!("{load}\ntls_resume = '50%'"));
    let totals = result.totals;
    // The first of those that would resume has no ticket yet.
    assert_eq!((totals.handshakes, totals.resumed), (100, 49));
    assert_eq!(
        (result.steps["tls"].count, result.steps["tls-resumed"].count),
        (51, 49)
    );
    assert_eq!(sink.summary().handshakes_resumed, 49);
    let (result, _) = run(&sink, load);
    assert_eq!(result.totals.resumed, 0, "nobody asked for it");
}

#[test]
fn certificates_are_verified_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let sink = sink(Mode::StartTls, "{}");
    let own = write("own.pem", sink.certificate().unwrap());
    let other = make(&["mx.example".into()], KeyKind::Rsa).unwrap();
    let strange = write("other.pem", &other.chain);
    let verified = |path: &Path, more: &str| {
        format!("tls = 'starttls'\ntls_ca = '{}'\n{more}", path.display())
    };
    let (result, _) = run(&sink, &format!("messages = 1\n{}", verified(&own, "")));
    assert_eq!(result.totals.acknowledged, 1, "{:?}", result.errors);
    assert_eq!(
        error(&sink, &verified(&own, "tls_name = 'mx.example'")),
        "tls certificate of another name"
    );
    let unknown = error(&sink, &verified(&strange, ""));
    assert_eq!(unknown, "tls certificate of an unknown issuer");
    let given = sink_with(Mode::Implicit, "{}", |options| {
        options.certificate = Some((strange.clone(), write("key.pem", &other.key)));
    });
    assert!(given.certificate().is_none());
    let text = format!(
        "tls = 'implicit'\ntls_name = 'mx.example'\ntls_ca = '{}'",
        strange.display()
    );
    let (result, _) = run(&given, &format!("messages = 1\n{text}"));
    assert_eq!(result.totals.acknowledged, 1, "{:?}", result.errors);
}

#[test]
fn starttls_is_stripped_refused_and_broken_on_request() {
    let sink = sink(Mode::StartTls, r#"{"no": "starttls"}"#);
    let change = |changes: &str| sink.change(serde_json::from_str(changes).unwrap());
    let told = || error(&sink, "tls = 'starttls'");
    assert_eq!(told(), "starttls not offered");
    change(
        r#"{"capabilities": "starttls,enhancedstatuscodes", "refuse": "starttls=454 4.7.0 Not now:100%"}"#,
    );
    assert_eq!(told(), "starttls 454 4.7.0");
    change(r#"{"refuse": "", "drop": "starttls:100%"}"#);
    assert_eq!(told(), "starttls connection lost");
    change(r#"{"drop": "handshake:100%"}"#);
    assert_eq!(told(), "tls connection lost");
    change(r#"{"drop": "", "garble": "handshake:100%"}"#);
    assert_eq!(told(), "tls what came is no TLS");
    change(r#"{"garble": "", "delay": "handshake=1m"}"#);
    let hung = error(&sink, "tls = 'starttls'\ntimeout = '300ms'");
    assert_eq!(hung, "tls timed out");
    change(r#"{"delay": ""}"#);
    let (result, _) = run(&sink, "messages = 1\ntls = 'starttls'");
    assert_eq!(result.totals.acknowledged, 1, "{:?}", result.errors);
}

#[test]
fn sessions_authenticate_or_are_refused() {
    let offer = r#"{"auth": "plain,login", "account": "me:secret", "auth_required": true}"#;
    let sink = sink(Mode::StartTls, offer);
    for mechanism in ["plain", "login"] {
        let auth = format!("tls = 'starttls'\nauth = '{mechanism}'\nuser = 'me'");
        let text = format!("sessions = 2\nmessages = 10\n{auth}\npassword = 'secret'");
        let (result, _) = run(&sink, &text);
        let totals = result.totals;
        assert_eq!(totals.acknowledged, 10, "{:?}", result.errors);
        assert_eq!(totals.authenticated, totals.connections);
        assert_eq!(result.steps["auth"].count, totals.authenticated);
        assert!(!result.plan.contains("secret"), "{}", result.plan);
        let wrong = error(&sink, &format!("{auth}\npassword = 'guess'"));
        assert_eq!(wrong, "auth 535 5.7.8");
    }
    let (result, _) = run(&sink, "sessions = 1\nmessages = 2\ntls = 'starttls'");
    assert_eq!(result.errors["mail 530 5.7.0"], 2, "{:?}", result.errors);
    // Every second connection says who it is.
    let text = "sessions = 1\nmessages = 4\nmessages_per_session = 1\nauth = 'plain'\nuser = 'me'\n\
                password = 'secret'\nauth_share = '50%'";
    let (result, _) = run(&sink, text);
    assert_eq!(result.totals.acknowledged, 2, "{:?}", result.errors);
    sink.change(serde_json::from_str(r#"{"auth": "none"}"#).unwrap());
    let none = error(&sink, "auth = 'plain'\nuser = 'me'\npassword = 'secret'");
    assert_eq!(none, "auth not offered");
}
