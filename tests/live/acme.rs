//! Certificates by ACME, from Pebble: ordered, stored, renewed, and what happens when that fails.

use crate::{
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{Gatepost, Running, free_address, leave_out, program, wait_until},
    pebble::Pebble,
    rights::{NOBODY, is_root, nobodys_folder},
};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

const DAY: i64 = 86_400;

/// A listener, an `[acme]` with this authority and these names, and `more` keys in it.
fn config(backend: &Backend, directory: &str, ca: &Path, store: &Path, more: &str) -> String {
    let listener =
        "[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\ntls = \"starttls\"\n";
    format!(
        "{listener}[acme]\ndirectory = \"{directory}\"\nca = \"{}\"\nstore = \"{}\"\nagree = true\n\
         contact = [\"mailto:postmaster@example.net\"]\n{more}\n{}",
        ca.display(),
        store.display(),
        pool(&[backend], "")
    )
}

/// The `[acme]` keys of a site that answers where Pebble asks.
fn answering(pebble: &Pebble, domains: &str) -> String {
    format!("domains = [{domains}]\nlisten = [\"{}\"]\n", pebble.asks_at)
}

/// Waits for a line on standard error.
fn says(gatepost: &Gatepost, part: &str) -> String {
    wait_until(
        &format!("it says {part:?}; so far:\n{}", gatepost.errors()),
        || {
            let errors = gatepost.errors();
            let line = errors.lines().find(|line| line.contains(part));
            line.map(str::to_string)
        },
    )
}

/// Who issued the stored certificate, its names and its end, as openssl reads it.
fn stored(store: &Path) -> Option<String> {
    let openssl = program("openssl")?;
    let out = Command::new(openssl)
        .args(["x509", "-noout", "-issuer", "-ext", "subjectAltName", "-in"])
        .arg(store.join("certificate.pem"))
        .stderr(Stdio::null())
        .output()
        .expect("runs");
    Some(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// A TLS session of openssl's with STARTTLS, or with TLS from the start; what it is told goes to its output.
fn session(address: SocketAddr, more: &[&str]) -> Option<Command> {
    let mut command = Command::new(program("openssl")?);
    command
        .args(["s_client", "-servername", "mx.example.net", "-connect"])
        .arg(address.to_string())
        .args(more)
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .stdin(Stdio::null());
    Some(command)
}

/// The issuer of the certificate that a handshake shows; `wanted` itself where there is no openssl.
fn shown(address: SocketAddr, more: &[&str], wanted: &str) -> String {
    let Some(mut command) = session(address, more) else {
        leave_out("what handshakes show of ACME's certificates: openssl is not installed");
        return wanted.into();
    };
    let out = command.output().expect("runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with("issuer="));
    line.map_or_else(|| format!("no issuer: {text}"), str::to_string)
}

#[track_caller]
fn shows(gatepost: &Gatepost, wanted: &str) {
    let shown = shown(gatepost.smtp, &["-starttls", "smtp"], wanted);
    assert!(shown.contains(wanted), "{shown}");
}

fn delivers(gatepost: &Gatepost, backend: &Backend) {
    let before = backend.messages().len();
    let mut client = Client::hello(gatepost.smtp);
    let reply = client.send("a@sender.example", &["b@example.net"], "Subject: x\r\n\r\n");
    assert!(reply.starts_with("250"), "{reply}");
    assert_eq!(backend.messages().len(), before + 1);
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs() as i64
}

/// Puts a certificate into a store as if `directory` had issued it `age` days ago, for ninety days.
fn plant(store: &Path, directory: &str, name: &str, age: i64) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec![name.into()]).expect("a name");
    let date = |offset: i64| {
        let at = jiff::Timestamp::from_second(now() + offset * DAY).expect("in range");
        let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
        rcgen::date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8)
    };
    (params.not_before, params.not_after) = (date(-age), date(90 - age));
    let mut subject = rcgen::DistinguishedName::new();
    subject.push(rcgen::DnType::CommonName, "planted");
    params.distinguished_name = subject;
    let made = params.self_signed(&key).expect("signed");
    let text = format!(
        "Directory: {directory}\n{}{}",
        key.serialize_pem(),
        made.pem()
    );
    fs::create_dir_all(store).expect("made");
    fs::set_permissions(store, fs::Permissions::from_mode(0o700)).expect("set");
    fs::write(store.join("certificate.pem"), text).expect("written");
}

crate::on_all_engines! {
    fn a_certificate_is_ordered_and_comes_into_force_while_it_serves(engine) {
        let Some(pebble) = Pebble::start(0, serde_json::json!({})) else { return };
        let backend = Backend::good(free_address());
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("acme");
        let domains = "\"mx.example.net\", \"Mail.example.net\"";
        let config = config(&backend, &pebble.directory, &pebble.ca(), &store, &answering(&pebble, domains));
        let implicit = free_address();
        let config = format!("{config}[[listener]]\nname = \"smtps\"\naddress = [\"{implicit}\"]\ntls = \"implicit\"\n");
        let gatepost = Gatepost::start(engine, &config);
        let mut session = Client::hello(gatepost.smtp);
        says(&gatepost, "a self-signed one is used until");
        says(&gatepost, "the certificate for mx.example.net, mail.example.net is in force, good until ");
        // The session that was there before goes on.
        session.expect("NOOP", "250");
        shows(&gatepost, "Pebble Intermediate CA");
        let shown = shown(implicit, &[], "Pebble Intermediate CA");
        assert!(shown.contains("Pebble Intermediate CA"), "{shown}");
        if let Some(stored) = stored(&store) {
            assert!(stored.contains("Pebble Intermediate CA"), "{stored}");
            assert!(stored.contains("DNS:mx.example.net") && stored.contains("DNS:mail.example.net"), "{stored}");
        }
        for (name, mode) in [("", 0o700), ("account.json", 0o600), ("certificate.pem", 0o600), ("history.json", 0o600)] {
            let facts = fs::metadata(store.join(name)).expect("it is there");
            assert_eq!(facts.permissions().mode() & 0o7777, mode, "{name}");
        }
        assert_eq!(gatepost.metric("gatepost_acme_orders_total", "result=\"issued\""), 1.0);
        assert_eq!(gatepost.metric("gatepost_acme_orders_total", ""), 1.0);
        let next = || gatepost.metric("gatepost_acme_next_order_timestamp_seconds", "") as i64;
        wait_until("the next order is known", || (next() > now() + 30 * DAY).then_some(()));
        drop(gatepost);
        // What is stored is used at once, and nothing is ordered.
        let gatepost = Gatepost::start(engine, &config);
        says(&gatepost, "the stored certificate for mx.example.net, mail.example.net is good until ");
        let next = || gatepost.metric("gatepost_acme_next_order_timestamp_seconds", "") as i64;
        wait_until("the next order is known", || (next() > now() + 30 * DAY).then_some(()));
        assert_eq!(gatepost.metric("gatepost_acme_orders_total", ""), 0.0);
        assert!(!gatepost.errors().contains("self-signed"), "{}", gatepost.errors());
        shows(&gatepost, "Pebble Intermediate CA");
        delivers(&gatepost, &backend);
    }

    fn another_user_keeps_what_it_was_given_and_finds_it_again(engine) {
        if !is_root() { return }
        let Some(pebble) = Pebble::start(0, serde_json::json!({})) else { return };
        let backend = Backend::good(free_address());
        // As the manual has it: the folder above is the user's, and the store is not there yet.
        let folder = nobodys_folder();
        let store = folder.path().join("acme");
        let one = answering(&pebble, "\"mx.example.net\"");
        let config = config(&backend, &pebble.directory, &pebble.ca(), &store, &one) + "[log]\nto = \"off\"\n[process]\nuser = \"nobody\"\n";
        let gatepost = Gatepost::start(engine, &config);
        says(&gatepost, "user nobody, no capabilities");
        says(&gatepost, "the certificate for mx.example.net is in force");
        shows(&gatepost, "Pebble Intermediate CA");
        for (name, mode) in [("", 0o700), ("account.json", 0o600), ("certificate.pem", 0o600), ("history.json", 0o600)] {
            let facts = fs::metadata(store.join(name)).expect("it is there");
            assert_eq!((facts.uid(), facts.permissions().mode() & 0o7777), (NOBODY, mode), "{name}");
        }
        let account = fs::read_to_string(store.join("account.json")).expect("root may");
        drop(gatepost);
        let gatepost = Gatepost::start(engine, &config);
        says(&gatepost, "the stored certificate for mx.example.net is good until ");
        says(&gatepost, "user nobody, no capabilities");
        shows(&gatepost, "Pebble Intermediate CA");
        assert_eq!(gatepost.metric("gatepost_acme_orders_total", ""), 0.0);
        // A name more: ordered by the user, with the account of before.
        let text = fs::read_to_string(gatepost.file()).expect("there");
        let more = "\"mx.example.net\", \"mail.example.net\"";
        fs::write(gatepost.file(), text.replace("\"mx.example.net\"", more)).expect("written");
        gatepost.process.signal("HUP");
        says(&gatepost, "the certificate for mx.example.net, mail.example.net is in force");
        let kept = fs::read_to_string(store.join("account.json")).expect("root may");
        assert_eq!(kept, account);
        assert_eq!(fs::metadata(store.join("certificate.pem")).expect("there").uid(), NOBODY);
        delivers(&gatepost, &backend);
    }
}

#[test]
fn a_stored_certificate_near_its_end_is_used_and_renewed() {
    // As many nonces are refused as Pebble does by itself: a client must try again.
    let Some(pebble) = Pebble::start(5, serde_json::json!({})) else {
        return;
    };
    let backend = Backend::good(free_address());
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("acme");
    plant(&store, &pebble.directory, "mx.example.net", 80);
    let keys = answering(&pebble, "\"mx.example.net\"");
    let config = config(&backend, &pebble.directory, &pebble.ca(), &store, &keys);
    let gatepost = Gatepost::start("epoll", &config);
    says(
        &gatepost,
        "the stored certificate for mx.example.net is good until ",
    );
    says(&gatepost, "the certificate for mx.example.net is in force");
    if let Some(stored) = stored(&store) {
        assert!(stored.contains("Pebble Intermediate CA"), "{stored}");
    }
    // A name more is a certificate more.
    let text = fs::read_to_string(gatepost.file()).expect("there");
    let more = "\"mx.example.net\", \"mail.example.net\"";
    fs::write(gatepost.file(), text.replace("\"mx.example.net\"", more)).expect("written");
    gatepost.process.signal("HUP");
    says(
        &gatepost,
        "the certificate for mx.example.net, mail.example.net is in force",
    );
    assert_eq!(
        gatepost.metric("gatepost_acme_orders_total", "result=\"issued\""),
        2.0
    );
}

#[test]
fn one_that_is_young_is_not_ordered_again() {
    let backend = Backend::good(free_address());
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("acme");
    let directory = format!("https://{}/dir", free_address());
    plant(&store, &directory, "mx.example.net", 10);
    let keys = format!(
        "domains = [\"mx.example.net\"]\nlisten = [\"{}\"]\n",
        free_address()
    );
    let ca = store.join("certificate.pem");
    let config = config(&backend, &directory, &ca, &store, &keys);
    let gatepost = Gatepost::start("epoll", &config);
    says(
        &gatepost,
        "the stored certificate for mx.example.net is good until ",
    );
    let next = || gatepost.metric("gatepost_acme_next_order_timestamp_seconds", "") as i64;
    let next = wait_until("the next order is known", || {
        Some(next()).filter(|at| *at > 0)
    });
    shows(&gatepost, "planted");
    assert!((49..=51).contains(&((next - now()) / DAY)), "{next}");
}

#[test]
fn a_challenge_that_fails_is_told_and_waits_also_over_a_restart() {
    let Some(pebble) = Pebble::start(0, serde_json::json!({})) else {
        return;
    };
    let backend = Backend::good(free_address());
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("acme");
    // The name leads to an address where nobody answers.
    let elsewhere = free_address();
    let keys = format!("domains = [\"mx.example.net\"]\nlisten = [\"{elsewhere}\"]\n");
    let config = config(&backend, &pebble.directory, &pebble.ca(), &store, &keys);
    let gatepost = Gatepost::start("epoll", &config);
    let told = says(&gatepost, "no certificate for mx.example.net: ");
    assert!(told.contains("next try in 1"), "{told}");
    assert!(
        told.contains("mx.example.net: ") && told.contains("refused"),
        "{told}"
    );
    assert_eq!(
        gatepost.metric("gatepost_acme_orders_total", "result=\"refused\""),
        1.0
    );
    delivers(&gatepost, &backend);
    let orders = || pebble.log().matches("There are now ").count();
    let before = orders();
    drop(gatepost);
    let gatepost = Gatepost::start(
        "epoll",
        &config.replace(&elsewhere.to_string(), &pebble.asks_at.to_string()),
    );
    let next = || gatepost.metric("gatepost_acme_next_order_timestamp_seconds", "") as i64;
    let next = wait_until("the next order is known", || {
        Some(next()).filter(|at| *at > 0)
    });
    assert!(next > now() + 300, "{next}");
    delivers(&gatepost, &backend);
    assert_eq!(orders(), before, "{}", pebble.log());
    // Who has mended something says so with a reload.
    gatepost.process.signal("HUP");
    says(&gatepost, "the certificate for mx.example.net is in force");
}

/// A session of openssl's that is held.
type Open = (Running, BufReader<std::process::ChildStdout>);

fn say(open: &mut Open, command: &str) {
    let input = open.0.0.stdin.as_mut().expect("piped");
    write!(input, "{command}\r\n").expect("it runs");
}

/// Reads one line, which begins so.
#[track_caller]
fn hears(open: &mut Open, begin: &str) {
    let mut line = String::new();
    open.1.read_line(&mut line).expect("it runs");
    assert!(line.starts_with(begin), "{line:?} instead of {begin:?}");
}

#[test]
fn an_authority_that_is_not_there_stops_no_mail() {
    let Some(pebble) = Pebble::start(0, serde_json::json!({})) else {
        return;
    };
    let backend = Backend::good(free_address());
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("acme");
    let nowhere = format!("https://{}/dir", free_address());
    let keys = answering(&pebble, "\"mx.example.net\"");
    let config = config(&backend, &nowhere, &pebble.ca(), &store, &keys);
    let gatepost = Gatepost::start("epoll", &config);
    let told = says(&gatepost, "no certificate for mx.example.net: ");
    assert!(told.contains("onnection refused"), "{told}");
    assert!(
        told.contains("next try in 1m") || told.contains("next try in 5"),
        "{told}"
    );
    assert_eq!(
        gatepost.metric("gatepost_acme_orders_total", "result=\"unreached\""),
        1.0
    );
    delivers(&gatepost, &backend);
    shows(&gatepost, "mx.example.net");
    // A session under the certificate of our own goes on when the real one comes.
    let mut open = session(gatepost.smtp, &["-quiet", "-starttls", "smtp"]).map(|mut command| {
        let mut running = Running::start(command.stdin(Stdio::piped()));
        let said = BufReader::new(running.0.stdout.take().expect("piped"));
        let mut open = (running, said);
        say(&mut open, "NOOP");
        hears(&mut open, "250 2.0.0");
        open
    });
    let text = fs::read_to_string(gatepost.file()).expect("there");
    fs::write(gatepost.file(), text.replace(&nowhere, &pebble.directory)).expect("written");
    gatepost.process.signal("HUP");
    says(&gatepost, "the certificate for mx.example.net is in force");
    shows(&gatepost, "Pebble Intermediate CA");
    if let Some(open) = &mut open {
        say(open, "NOOP");
        hears(open, "250 2.0.0");
    }
    delivers(&gatepost, &backend);
}

#[test]
fn an_account_from_elsewhere_is_bound() {
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let settings = serde_json::json!({
        "externalAccountBindingRequired": true,
        "externalAccountMACKeys": { "kid-1": key },
    });
    let Some(pebble) = Pebble::start(0, settings) else {
        return;
    };
    let backend = Backend::good(free_address());
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("acme");
    let file = folder.path().join("key");
    fs::write(&file, format!("{}\n", key.to_lowercase())).expect("written");
    let keys = format!(
        "{}external_account = \"kid-1\"\nexternal_key = \"{}\"\n",
        answering(&pebble, "\"mx.example.net\""),
        file.display()
    );
    let config = config(&backend, &pebble.directory, &pebble.ca(), &store, &keys);
    let gatepost = Gatepost::start("epoll", &config);
    let told = says(&gatepost, "no certificate for mx.example.net: ");
    assert!(!store.join("account.json").exists(), "{told}");
    fs::write(&file, format!("{key}\n")).expect("written");
    gatepost.process.signal("HUP");
    says(&gatepost, "the certificate for mx.example.net is in force");
}

#[test]
fn a_port_that_is_taken_and_a_certificate_that_has_ended_stop_no_mail() {
    let backend = Backend::good(free_address());
    let folder = tempfile::tempdir().expect("a folder");
    let taken = std::net::TcpListener::bind(free_address()).expect("bound");
    let address = taken.local_addr().expect("bound");
    let keys = format!("domains = [\"mx.example.net\"]\nlisten = [\"{address}\"]\n");
    let ca = folder.path().join("ca.pem");
    plant(folder.path(), "", "mx.example.net", 100);
    fs::copy(folder.path().join("certificate.pem"), &ca).expect("copied");
    let directory = format!("https://{}/", free_address());
    let text = config(&backend, &directory, &ca, folder.path(), &keys);
    let gatepost = Gatepost::start("epoll", &text);
    says(&gatepost, &format!("acme.listen = \"{address}\""));
    says(&gatepost, "it is used until another is issued");
    assert!(
        !gatepost.errors().contains("self-signed"),
        "{}",
        gatepost.errors()
    );
    delivers(&gatepost, &backend);
    drop(taken);
    says(
        &gatepost,
        &format!("acme: challenges are answered on {address}"),
    );
}
