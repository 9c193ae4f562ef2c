//! What our own clients send is signed: dkimpy and opendkim verify the message as the backend got it.

use crate::{
    backend::{Act, Backend, EXTENSIONS},
    client::Client,
    delivery::{CHUNKING, pool},
    harness::{Gatepost, free_address, http, wait_until},
    keys::{Keys, dkim},
    rights::is_root,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{
    fs,
    io::Write,
    net::IpAddr,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

/// A relay for `client` networks before `backend`.
fn edge(engine: &str, backend: &Backend, listener: &str, more: &str) -> Gatepost {
    Gatepost::start(
        engine,
        &format!(
            "trusted = [\"127.0.0.0/8\"]\n[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\n{listener}\n\
         [[pool]]\nname = \"cluster\"\nbackends = [\"{}\"]\n\
         [[route]]\ndomains = [\"*\", \"example.net\"]\npool = \"cluster\"\nrecipients = \"accept\"\n{more}",
            backend.address,
        ),
    )
}

#[track_caller]
fn send(gatepost: &Gatepost, message: &str) -> String {
    let reply = Client::hello(gatepost.smtp).send("a@example.org", &["b@example.net"], message);
    assert!(reply.starts_with("250"), "{reply}");
    reply
}

fn last(backend: &Backend) -> Vec<u8> {
    backend.messages().pop().expect("it arrived").body
}

const TO_AND_SUBJECT: &str = "To: b@example.net\r\nSubject: x\r\n";

crate::on_all_engines! {
    fn a_message_is_signed_by_every_key_of_its_domain(engine) {
        let mut keys = Keys::new();
        let tables = keys.make("r", "rsa") + &keys.make("e", "ed25519");
        for extensions in [EXTENSIONS, CHUNKING] {
            let backend = Backend::start(free_address(), extensions, |_, _| Act::Usual);
            let gatepost = edge(engine, &backend, "role = \"submission\"", &tables);
            // Without Date and Message-ID, with results that claim to be ours, and with dots.
            let header = format!("From: A <a@sub.example.org>\r\n{TO_AND_SUBJECT}");
            send(&gatepost, &format!(
                "Authentication-Results: edge.example; spf=pass\r\n{header}\r\n..dot \t \r\n...\r\n\r\n \r\n\r\n"));
            let got = last(&backend);
            keys.all_hold(&got, 2);
            let text = String::from_utf8_lossy(&got);
            assert!(text.starts_with("DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;"), "{text}");
            assert!(!text.contains("spf=pass") && text.contains("\r\n.dot \t \r\n..\r\n"), "{text}");
            let unfolded = text.replace("\r\n\t", "");
            assert!(unfolded.contains(":date:date:") && unfolded.contains(":message-id:message-id:"), "{unfolded}");
            if let Some(said) = keys.opendkim(&got) {
                assert!(said.contains("verification (s=r, d=example.org, 2048-bit key) succeeded"), "{said}");
            }
            gatepost.log_line(&["verdict=accept", "signed=example.org/r,example.org/e"]);
            // Nothing in the body at all, nor a line end.
            send(&gatepost, &format!("{header}\r\n"));
            keys.all_hold(&last(&backend), 2);
            send(&gatepost, &header);
            keys.all_hold(&last(&backend), 2);
            assert!(gatepost.metric("gatepost_dkim_messages_total", "result=\"signed\"") >= 3.0);
        }
    }

    fn only_our_own_clients_and_domains_are_signed(engine) {
        let mut keys = Keys::new();
        let table = keys.make_plain("e", "ed25519");
        let backend = Backend::good(free_address());
        let gatepost = edge(engine, &backend, "", &(table.clone() + "clients = [\"trusted\"]\nsubdomains = false\n"));
        for (from, why) in [
            ("From: a@example.com\r\n", "no_key"),
            ("From: a@sub.example.org\r\n", "no_key"),
            ("", "no_author"),
            ("From: a@example.org, b@example.com\r\n", "no_author"),
            ("From: a@example.org\r\nno field\r\n", "no_author"),
        ] {
            send(&gatepost, &format!("{from}{TO_AND_SUBJECT}\r\nx\r\n"));
            keys.all_hold(&last(&backend), 0);
            gatepost.log_line(&["verdict=accept", &format!("signed={why}")]);
        }
        send(&gatepost, &format!("From: a@EXAMPLE.org\r\n{TO_AND_SUBJECT}\r\nx\r\n"));
        keys.all_hold(&last(&backend), 1);
        drop(gatepost);
        // A stranger that claims to be of ours, and a trusted client where only accounts are signed for.
        let message = format!("From: a@example.org\r\n{TO_AND_SUBJECT}\r\nx\r\n");
        let trusting = "clients = [\"authenticated\", \"trusted\"]\n";
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + &table + trusting));
        let mut stranger = Client::hello_from(IpAddr::from([127, 0, 0, 9]), gatepost.smtp);
        assert!(stranger.send("a@example.org", &["b@example.net"], &message).starts_with("250"));
        keys.all_hold(&last(&backend), 0);
        let gatepost = edge(engine, &backend, "", &table);
        send(&gatepost, &message);
        keys.all_hold(&last(&backend), 0);
        gatepost.log_line(&["verdict=accept", "signed=no_key"]);
    }

    fn an_account_is_signed_for(engine) {
        let mut keys = Keys::new();
        let table = keys.make_plain("r", "rsa");
        let accounts = keys.folder.path().join("accounts");
        let mut user = Command::new(env!("CARGO_BIN_EXE_gatepost"))
            .args(["user", "add", "amy", "-a", "@example.org", "-f"])
            .arg(&accounts)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("runs");
        writeln!(user.stdin.take().expect("piped"), "secret").expect("it reads");
        assert!(user.wait().expect("ends").success());
        let backend = Backend::good(free_address());
        let more = format!("{table}\
            [[credentials]]\nname = \"staff\"\nsource = \"file\"\nfile = \"{}\"\n[limits]\nwindow = \"64KiB\"\nheader = \"16KiB\"\n",
            accounts.display());
        let listener = "role = \"submission\"\nauth = [\"plain\"]\nauth_requires_tls = false\n";
        let config = format!(
            "trusted = []\n[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\n{listener}\n\
             [[pool]]\nname = \"cluster\"\nbackends = [\"{}\"]\n\
             [[route]]\ndomains = [\"*\"]\npool = \"cluster\"\nrecipients = \"accept\"\n{more}", backend.address);
        let gatepost = Gatepost::start(engine, &config);
        let mut client = Client::hello(gatepost.smtp);
        client.expect(&format!("AUTH PLAIN {}", STANDARD.encode("\0amy\0secret")), "235");
        let header = format!("From: amy@example.org\r\n{TO_AND_SUBJECT}\r\n");
        for body in ["x\r\n".to_string(), "a line of a larger message \r\n".repeat(5_000)] {
            let reply = client.send("amy@example.org", &["b@example.com"], &(header.clone() + &body));
            assert!(reply.starts_with("250"), "{reply}");
            keys.all_hold(&last(&backend), 1);
        }
    }

    fn a_message_larger_than_the_window_is_held_and_signed(engine) {
        let mut keys = Keys::new();
        let tables = keys.make("r", "rsa") + &keys.make("e", "ed25519");
        let limits = "[limits]\nsigning_window = \"2MiB\"\nbody_memory = \"6MiB\"\n";
        for extensions in [EXTENSIONS, CHUNKING] {
            let backend = Backend::start(free_address(), extensions, |_, _| Act::Usual);
            let gatepost = edge(engine, &backend, "", &format!("{tables}{limits}"));
            let header = format!("From: a@example.org\r\n{TO_AND_SUBJECT}\r\n");
            let body = ".a line of a large message  \r\n\r\n".repeat(40_000);
            let message = format!("{header}{body}");
            send(&gatepost, &message.replace("\r\n.", "\r\n.."));
            let got = last(&backend);
            keys.all_hold(&got, 2);
            assert!(got.ends_with(body.as_bytes()), "as it came");
            assert_eq!(gatepost.metric("gatepost_messages_streamed_total", ""), 0.0);
            assert_eq!(gatepost.metric("gatepost_body_memory_bytes", ""), 0.0, "given back");
            // What is larger than may be held goes on as before, and is counted.
            let body = body.repeat(2);
            send(&gatepost, &format!("{header}{body}").replace("\r\n.", "\r\n.."));
            let got = last(&backend);
            keys.all_hold(&got, 0);
            assert!(got.ends_with(body.as_bytes()), "as it came");
            gatepost.log_line(&["verdict=accept", "signed=too_large"]);
            assert_eq!(gatepost.metric("gatepost_dkim_messages_total", "result=\"too_large\""), 1.0);
            // Another author's is not held at all.
            send(&gatepost, &message.replace("a@example.org", "a@example.com").replace("\r\n.", "\r\n.."));
            assert_eq!(gatepost.metric("gatepost_messages_streamed_total", ""), 2.0);
        }
    }

    fn a_message_that_finds_no_memory_comes_again(engine) {
        let mut keys = Keys::new();
        let limits = "[limits]\nbody_memory = \"2MiB\"\nmessage_size = \"1MiB\"\n";
        let backend = Backend::good(free_address());
        let gatepost = edge(engine, &backend, "", &(keys.make("e", "ed25519") + limits));
        let header = format!("From: a@example.org\r\n{TO_AND_SUBJECT}\r\n");
        let half = "a line of a large message\r\n".repeat(25_000);
        // One that is under way holds most of what all of them may.
        let mut slow = Client::in_data(gatepost.smtp);
        slow.raw(format!("{header}{half}").as_bytes());
        wait_until("it is held", || {
            (gatepost.metric("gatepost_body_memory_bytes", "") > 600_000.0).then_some(())
        });
        let reply = Client::hello(gatepost.smtp).send("a@example.org", &["b@example.net"], &format!("{header}{half}"));
        assert!(reply.starts_with("452 4.3.1"), "{reply}");
        slow.raw(b".\r\n");
        assert!(slow.reply().starts_with("250"));
        keys.all_hold(&last(&backend), 1);
        send(&gatepost, &format!("{header}{half}"));
        keys.all_hold(&last(&backend), 1);
    }

    fn bare_newlines_are_signed_as_they_leave(engine) {
        let mut keys = Keys::new();
        let more = "canonicalization = \"simple/simple\"\nexpires_after = \"7d\"\nsign_also = [\"X-Ticket\"]\n[limits]\nbare_newline = \"normalize\"\n";
        let backend = Backend::good(free_address());
        let gatepost = edge(engine, &backend, "", &(keys.make("r", "rsa") + more));
        send(&gatepost, &format!("From: a@example.org\r\nX-Ticket: 7\r\n{TO_AND_SUBJECT}\nx\ny  \r\n z\r\n"));
        let got = last(&backend);
        keys.all_hold(&got, 1);
        let text = String::from_utf8_lossy(&got);
        assert!(text.ends_with("\r\n\r\nx\r\ny  \r\n z\r\n"), "{text}");
        assert!(text.contains("c=simple/simple;") && text.contains("x-ticket") && text.contains(" x="), "{text}");
        if let Some(said) = keys.opendkim(&got) {
            assert!(said.contains("verification (s=r, d=example.org, 2048-bit key) succeeded"), "{said}");
        }
    }

    fn keys_change_with_a_reload_and_a_broken_one_changes_nothing(engine) {
        if !is_root() { return }
        let mut keys = Keys::new();
        let backend = Backend::good(free_address());
        let process = "[process]\nuser = \"nobody\"\n[log]\nto = \"off\"\n";
        let first = keys.make("one", "ed25519");
        let gatepost = edge(engine, &backend, "", &format!("{first}{process}"));
        let message = format!("From: a@example.org\r\n{TO_AND_SUBJECT}\r\nx\r\n");
        let signed_by = |selector: &str| {
            send(&gatepost, &message);
            let got = last(&backend);
            keys_of(&got).contains(&format!("s={selector};")).then_some(got)
        };
        let got = signed_by("one").expect("by the first key");
        // The next one is root's alone, as the first, and the process is nobody's by now.
        let second = keys.make("two", "rsa");
        let text = fs::read_to_string(gatepost.file()).expect("readable");
        fs::write(gatepost.file(), text.replace(&first, &second)).expect("written");
        let (status, said) = http(gatepost.admin, "POST", "/reload");
        assert_eq!(status, 200, "{said}");
        keys.all_hold(&got, 1);
        keys.all_hold(&signed_by("two").expect("by the second key"), 1);
        let path = keys.path("two");
        fs::write(&path, "-----BEGIN PRIVATE KEY-----\nMAAA\n-----END PRIVATE KEY-----\n").expect("written");
        let (status, said) = http(gatepost.admin, "POST", "/reload");
        assert_ne!(status, 200);
        assert!(said.contains("no Ed25519 key and no RSA key") && said.contains("two.pem"), "{said}");
        keys.all_hold(&signed_by("two").expect("still by the second key"), 1);
        fs::remove_file(&path).expect("removed");
        let (status, said) = http(gatepost.admin, "POST", "/reload");
        assert!(status != 200 && said.contains("can't read"), "{said}");
        signed_by("two").expect("still by the second key");
    }
}

/// The signatures of a message, on one line.
fn keys_of(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message).replace("\r\n\t", " ");
    let fields = text
        .lines()
        .filter(|line| line.starts_with("DKIM-Signature:"));
    fields.collect()
}

#[test]
fn a_key_is_made_once_and_for_its_owner_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("s1.pem").display().to_string();
    let new = [
        "new",
        "--domain",
        "Example.org",
        "--selector",
        "s1",
        "-o",
        &file,
    ];
    let (code, said) = dkim(&new);
    assert_eq!(code, 0, "{said}");
    let mode = fs::metadata(&file).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for part in [
        "s1._domainkey.example.org. IN TXT (\n    \"v=DKIM1; k=rsa; p=MII",
        "[[dkim]]\ndomain   = \"Example.org\"\nselector = \"s1\"\nkey      = \"/",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(said.split('"').all(|string| string.len() <= 255), "{said}");
    let before = fs::read(&file).expect("readable");
    let (code, said) = dkim(&new);
    assert!(
        code == 74 && said.contains("never overwritten"),
        "{code} {said}"
    );
    assert_eq!(fs::read(&file).expect("readable"), before);
    for (more, expected) in [
        (&["--bits", "1024"][..], 64),
        (&["--algorithm", "ed25519", "--bits", "2048"], 64),
        (&["--selector", "a b"], 64),
    ] {
        let other = folder.path().join("other.pem");
        let path = other.display().to_string();
        let mut words = vec!["new", "--domain", "example.org", "-o", &path];
        if !more.contains(&"--selector") {
            words.extend(["--selector", "s2"]);
        }
        words.extend(more);
        let (code, said) = dkim(&words);
        assert_eq!(code, expected, "{said}");
        assert!(!other.exists(), "nothing is left of it");
    }
}

fn config(folder: &Path, tables: &str) -> String {
    let file = folder.join("edge.toml");
    let text = format!(
        "hostname = \"edge.example\"\n[[listener]]\nname = \"mx\"\naddress = [\"127.0.0.1:2525\"]\n\
         [[pool]]\nname = \"cluster\"\nbackends = [\"127.0.0.1:2600\"]\n\
         [[route]]\ndomains = [\"example.net\"]\npool = \"cluster\"\n{tables}"
    );
    fs::write(&file, text).expect("written");
    file.display().to_string()
}

#[test]
fn the_dns_is_compared_with_the_keys() {
    let mut keys = Keys::new();
    let tables = keys.make_plain("r", "rsa") + &keys.make_plain("e", "ed25519");
    let file = config(keys.folder.path(), &tables);
    let answers = keys.folder.path().join("answers");
    let check = |text: &str| {
        fs::write(&answers, text).expect("written");
        let path = answers.display().to_string();
        dkim(&["check", "-c", &file, "--answers", &path])
    };
    let line = |name: &str, record: &str| format!("{name} TXT \"{record}\"\n");
    let good: String = keys
        .records
        .iter()
        .map(|(name, record)| line(name, record))
        .collect();
    let (code, said) = check(&good);
    assert_eq!(code, 0, "{said}");
    assert_eq!(said.matches("good ").count(), 2, "{said}");
    let rsa = &keys.records["r._domainkey.example.org"];
    let e = "e._domainkey.example.org";
    for (text, expected, part) in [
        (good.replace("k=ed25519", "t=y; k=ed25519"), 0, "t=y"),
        (
            line("r._domainkey.example.org", rsa),
            65,
            "there is no record",
        ),
        (good.replace("k=ed25519", "k=rsa"), 65, "can't be used"),
        (
            good.replace(
                &keys.records[e],
                "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
            ),
            65,
            "another key",
        ),
        (
            format!("{}{e} TXT TIMEOUT\n", line("r._domainkey.example.org", rsa)),
            69,
            "in time",
        ),
    ] {
        let (code, said) = check(&text);
        assert_eq!(code, expected, "{said}");
        assert!(said.contains(part), "{part} in {said}");
        assert_eq!(
            said.contains(&keys.records[e]),
            expected == 65,
            "what is due is shown: {said}"
        );
    }
    // A key that is none fails `check` of the whole file too, at its place.
    fs::write(keys.path("e"), "nonsense").expect("written");
    let output = crate::harness::check(Path::new(&file));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(78) && said.contains("no PEM block") && said.contains(":18:"),
        "{said}"
    );
}
