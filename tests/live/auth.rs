//! AUTH with the programs that people use, against the account file.

use crate::{
    client::Client,
    harness::{Gatepost, Sink, free_address, need, wait_until},
    on_all_engines,
};
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const ALL: &str =
    r#"["plain", "login", "scram-sha-256", "scram-sha-256-plus", "oauthbearer", "xoauth2"]"#;

/// Runs `gatepost user` with a password on its standard input.
pub fn user(file: &Path, words: &[&str], password: &str) -> (bool, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .arg("user")
        .args(words)
        .arg("-f")
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    let mut input = child.stdin.take().expect("a pipe");
    // `list` reads none, and may be gone already.
    let _ = writeln!(input, "{password}");
    drop(input);
    let out = child.wait_with_output().expect("ends");
    let said = [out.stdout, out.stderr].concat();
    (
        out.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// A submission listener with accounts for Amy and Ben in front of smtp-sink.
struct Site {
    gate: Gatepost,
    accounts: PathBuf,
    _sink: Sink,
    _folder: tempfile::TempDir,
}

fn site(engine: &str, listener: &str, more: &str) -> Option<Site> {
    let sink = Sink::start(free_address(), &[])?;
    let folder = tempfile::tempdir().expect("a folder");
    let accounts = folder.path().join("accounts");
    let added = user(
        &accounts,
        &["add", "amy", "-a", "amy@example.net,@amy.example"],
        "amys secret",
    );
    assert!(added.0, "{}", added.1);
    let added = user(&accounts, &["add", "Ben@example.net", "--bcrypt"], "bens");
    assert!(added.0, "{}", added.1);
    let config = format!(
        r#"
[[listener]]
name = "mx"
role = "submission"
address = ["SMTP_ADDRESS"]
auth = {ALL}
auth_requires_tls = false
{listener}
[[credentials]]
name = "staff"
source = "file"
file = "{}"
[[pool]]
name = "sink"
backends = ["{}"]
[[route]]
domains = ["*"]
pool = "sink"
recipients = "accept"
{more}"#,
        accounts.display(),
        sink.address
    );
    let gate = Gatepost::start(engine, config.trim_start());
    Some(Site {
        gate,
        accounts,
        _sink: sink,
        _folder: folder,
    })
}

/// Runs a program with a message on its standard input: whether it is content, and all that it said.
fn run(command: &mut Command) -> (bool, String) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    let mut input = child.stdin.take().expect("a pipe");
    // One that has no use for it may be gone already.
    let _ = input.write_all(b"From: amy@example.net\r\nSubject: hello\r\n\r\nIt works.\r\n");
    drop(input);
    let out = child.wait_with_output().expect("ends");
    let said = [out.stdout, out.stderr].concat();
    (
        out.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn swaks(site: &Site, mechanism: &str, password: &str) -> Option<(bool, String)> {
    Some(run(Command::new(need("swaks")?)
        .args(["--server", &site.gate.smtp.ip().to_string()])
        .args(["--port", &site.gate.smtp.port().to_string()])
        .args(["--auth", mechanism, "--auth-user", "amy"])
        .args(["--auth-password", password])
        .args([
            "--from",
            "amy@example.net",
            "--to",
            "you@far.example",
        ])))
}

fn curl(site: &Site, mechanism: &str) -> Option<(bool, String)> {
    let mut command = Command::new(need("curl")?);
    command
        .args([
            "-sS",
            "--url",
            &format!("smtp://{}/client.example", site.gate.smtp),
        ])
        .args([
            "--mail-from",
            "amy@example.net",
            "--mail-rcpt",
            "you@far.example",
        ])
        .args(["--login-options", &format!("AUTH={mechanism}"), "-T", "-"]);
    match mechanism {
        "OAUTHBEARER" | "XOAUTH2" => {
            command.args(["--user", "amy", "--oauth2-bearer", "amys secret"])
        }
        _ => command.args(["--user", "amy:amys secret"]),
    };
    Some(run(&mut command))
}

fn msmtp(site: &Site, mechanism: &str, password: &str) -> Option<(bool, String)> {
    Some(run(Command::new(need("msmtp")?)
        .args(["--file=/dev/null", "--tls=off", "--user=amy"])
        .arg(format!("--host={}", site.gate.smtp.ip()))
        .arg(format!("--port={}", site.gate.smtp.port()))
        .arg(format!("--auth={mechanism}"))
        .arg(format!("--passwordeval=echo '{password}'"))
        .args(["--from=amy@example.net", "you@far.example"])))
}

fn smtplib(site: &Site, password: &str) -> Option<(bool, String)> {
    let script = format!(
        "import smtplib\ns = smtplib.SMTP('{}', {})\ns.login('amy', '{password}')\n\
         s.sendmail('amy@example.net', ['you@far.example'], 'From: amy@example.net\\r\\n\\r\\nHi.\\r\\n')\ns.quit()\n",
        site.gate.smtp.ip(),
        site.gate.smtp.port()
    );
    Some(run(Command::new(need("python3")?).args(["-c", &script])))
}

#[track_caller]
fn sent(site: &Site, mechanism: &str, outcome: Option<(bool, String)>) {
    let Some((fine, said)) = outcome else {
        return;
    };
    assert!(fine, "{mechanism}: {said}");
    let named = format!("auth={mechanism}");
    site.gate.log_line(&[&named, "user=amy", "verdict=accept"]);
}

/// SASL in one line.
fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

pub fn plain(user: &str, password: &str) -> String {
    format!("AUTH PLAIN {}", base64(&format!("\0{user}\0{password}")))
}

on_all_engines! {
    fn mail_programs_log_in(engine) {
        let Some(site) = site(engine, "", "[timeouts]\nauth_delay = \"10ms\"") else {
            return;
        };
        sent(&site, "PLAIN", swaks(&site, "PLAIN", "amys secret"));
        sent(&site, "LOGIN", swaks(&site, "LOGIN", "amys secret"));
        // curl takes OAUTHBEARER wherever it is offered, whatever it is told.
        for mechanism in ["PLAIN", "LOGIN", "OAUTHBEARER"] {
            sent(&site, mechanism, curl(&site, mechanism));
        }
        for mechanism in ["PLAIN", "LOGIN", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2"] {
            let name = mechanism.to_ascii_lowercase();
            sent(&site, mechanism, msmtp(&site, &name, "amys secret"));
            if let Some((fine, said)) = msmtp(&site, &name, "amys secrets") {
                assert!(!fine && said.contains("535"), "{mechanism}: {said}");
            }
            let labels = format!("mechanism=\"{mechanism}\",outcome=\"rejected\"");
            assert_eq!(site.gate.metric("gatepost_authentications_total", &labels), 1.0);
        }
        sent(&site, "PLAIN", smtplib(&site, "amys secret"));
    }

    fn strangers_send_nothing_and_nobody_sends_as_another(engine) {
        let Some(site) = site(engine, "", "") else {
            return;
        };
        let mut client = Client::hello(site.gate.smtp);
        let reply = client.command("MAIL FROM:<amy@example.net>");
        assert_eq!(reply, "530 5.7.0 Authentication required\r\n");
        client.expect(&plain("ben@example.net", "bens"), "235 2.7.0");
        let reply = client.command("MAIL FROM:<amy@example.net>");
        assert_eq!(reply, "553 5.7.1 The sender address is not yours\r\n");
        client.expect("MAIL FROM:<>", "250");
        client.expect("RSET", "250");
        client.expect("MAIL FROM:<BEN+list=you=far.example@Example.net>", "250");
        client.expect("RSET", "250");
        let to = ["you@far.example"];
        for (from, code) in [
            ("Ben <ben@example.net>", "250"),
            ("Ben <ben+news@example.net>", "250"),
            ("Amy <amy@example.net>", "550 5.7.1"),
            ("ben@example.net, amy@example.net", "550 5.7.1"),
        ] {
            let reply = client.send("ben@example.net", &to, &format!("From: {from}\r\n\r\nHi.\r\n"));
            assert!(reply.starts_with(code), "{from}: {reply}");
        }
        // Larger than the window, so streamed: the verdict holds its end back.
        let line = format!("{}\r\n", "x".repeat(998));
        let body = format!("From: amy@example.net\r\n\r\n{}", line.repeat(400));
        let reply = client.send("ben@example.net", &to, &body);
        assert!(reply.starts_with("550 5.7.1"), "{reply}");
        site.gate.log_line(&["auth=PLAIN", "user=ben@example.net", "code=550"]);
    }

    fn rules_for_strangers_keep_no_account_from_logging_in(engine) {
        let rules = "[policy.helo.unqualified]\nthen = \"reject\"\n[policy.helo.address]\nthen = \"reject\"\n\
            [policy.helo.ours]\nthen = \"close\"\n\
            [[policy.client_list]]\nname = \"dynamic\"\nentries = [\"127.0.0.0/8\"]\nthen = \"reject\"\n";
        let Some(site) = site(engine, "", rules) else {
            return;
        };
        for hello in ["DESKTOP-N7L10I2", "[192.168.1.33]", "edge.example"] {
            let (mut client, greeting) = Client::greeted(site.gate.smtp);
            assert!(greeting.starts_with("220"), "{greeting}");
            client.expect(&format!("EHLO {hello}"), "250");
            client.expect(&plain("ben@example.net", "bens"), "235");
            let body = "From: ben@example.net\r\n\r\nHi.\r\n";
            let reply = client.send("ben@example.net", &["you@far.example"], body);
            assert!(reply.starts_with("250"), "{hello}: {reply}");
        }
    }

    fn a_refusal_that_was_put_off_spares_no_check_of_a_login(engine) {
        let policy = "[policy]\nlog_rejected = \"delayed\"\n[[policy.rule]]\nname = \"all\"\nat = \"connect\"\n\
            when = '!client.trusted'\nthen = \"reject\"\n";
        let Some(site) = site(engine, "", policy) else {
            return;
        };
        let mut client = Client::hello(site.gate.smtp);
        client.expect(&plain("ben@example.net", "bens"), "235");
        client.expect("MAIL FROM:<amy@example.net>", "553 5.7.1");
        client.expect("MAIL FROM:<ben@example.net>", "250");
        client.expect("RCPT TO:<you@far.example>", "250");
    }

    fn a_domain_is_shared_where_it_may_be(engine) {
        let Some(site) = site(engine, "sender_identity = \"domain\"", "") else {
            return;
        };
        let mut client = Client::hello(site.gate.smtp);
        client.expect(&plain("ben@example.net", "bens"), "235");
        client.expect("MAIL FROM:<amy@example.net>", "250");
        client.expect("RSET", "250");
        client.expect("MAIL FROM:<amy@amy.example>", "553 5.7.1");
    }

    fn who_guesses_is_slowed_then_locked_out_and_told_nothing(engine) {
        let more = "[limits]\nauth_failures_client = 4\n[timeouts]\nauth_delay = \"100ms\"";
        let Some(site) = site(engine, "", more) else {
            return;
        };
        let failure = "535 5.7.8 Authentication failed\r\n";
        let mut took = Vec::new();
        // Unknown, wrong, and, once it is locked out, right: all the same.
        for (user, password) in [
            ("nobody", "x"),
            ("amy", "x"),
            ("ben@example.net", ""),
            ("amy", "amys secrets"),
            ("amy", "amys secret"),
            ("amy", "amys secret"),
        ] {
            let mut client = Client::hello(site.gate.smtp);
            let begun = Instant::now();
            assert_eq!(client.command(&plain(user, password)), failure, "{user}");
            took.push(begun.elapsed());
        }
        // Each waits at least as long as the one before was told to: 100, 200, 400, 800 ms and so on.
        for (place, took) in took.iter().enumerate() {
            let least = 100u128 << place.min(3);
            assert!(took.as_millis() >= least, "{place}: {took:?}");
        }
        let denied = || site.gate.log().matches("verdict=denied").count();
        wait_until("all are in the log", || (denied() >= 6).then_some(()));
        assert_eq!(denied(), 6);
        let labels = "mechanism=\"PLAIN\",outcome=\"accepted\"";
        assert_eq!(site.gate.metric("gatepost_authentications_total", labels), 0.0);
    }

    fn an_office_is_not_locked_out_by_one_of_its_programs(engine) {
        let more = "[limits]\nauth_failures_client = 4\n[timeouts]\nauth_delay = \"1ms\"";
        let Some(site) = site(engine, "", more) else {
            return;
        };
        let login = |user: &str, password: &str| {
            let mut client = Client::hello(site.gate.smtp);
            client.command(&plain(user, password))[..3].to_string()
        };
        assert_eq!(login("ben@example.net", "bens"), "235");
        for _ in 0..5 {
            assert_eq!(login("amy", "an old one"), "535");
        }
        assert_eq!(login("Ben@Example.net", "bens"), "235");
        assert_eq!(login("ben@example.net", "a guess"), "535");
        // Amy never got in from here: for her, and for strangers, the address is locked.
        assert_eq!(login("amy", "amys secret"), "535");
    }

    fn a_name_is_known_in_all_its_forms(engine) {
        let Some(site) = site(engine, "", "[timeouts]\nauth_delay = \"1ms\"") else {
            return;
        };
        let (composed, combining) = ("jos\u{e9}", "jose\u{301}");
        let added = user(&site.accounts, &["add", combining, "-a", "jose@example.net"], "joses");
        assert!(added.0, "{}", added.1);
        let (status, said) = crate::harness::http(site.gate.admin, "POST", "/reload");
        assert_eq!(status, 200, "{said}");
        for name in [composed, combining, "JOS\u{c9}", "\u{ff2a}os\u{e9}"] {
            for line in [
                plain(name, "joses"),
                format!("AUTH XOAUTH2 {}", base64(&format!("user={name}\u{1}auth=Bearer joses\u{1}\u{1}"))),
                format!("AUTH OAUTHBEARER {}", base64(&format!("n,a={name},\u{1}auth=Bearer joses\u{1}\u{1}"))),
            ] {
                let mut client = Client::hello(site.gate.smtp);
                client.expect(&line, "235");
                client.expect("MAIL FROM:<jose@example.net>", "250");
            }
        }
        let mut client = Client::hello(site.gate.smtp);
        let reply = client.command(&plain("jos\u{200e}\u{e9}", "joses"));
        assert_eq!(reply, "535 5.7.8 Authentication failed\r\n");
        let refused = user(&site.accounts, &["add", "a\u{202e}b"], "x");
        assert!(!refused.0 && refused.1.contains("SASLprep"), "{}", refused.1);
    }

    fn a_login_told_by_a_proxy_is_held_to_its_addresses(engine) {
        let Some(site) = site(engine, "xclient_from = [\"127.0.0.0/8\"]", "") else {
            return;
        };
        for (login, fine, foreign) in [
            ("amy", "any@amy.example", "ben@example.net"),
            ("BEN@example.net", "ben+list@example.net", "amy@example.net"),
            // As nginx writes it, and an account that the file doesn't know.
            ("cid+x=y@example.net", "cid+x=y@example.net", "cid@example.net"),
            ("dora", "dora@edge.example", "amy@example.net"),
        ] {
            let mut client = Client::hello(site.gate.smtp);
            client.expect(&format!("XCLIENT ADDR=203.0.113.9 LOGIN={login}"), "220");
            client.expect("EHLO client.example", "250");
            client.expect(&format!("MAIL FROM:<{foreign}>"), "553 5.7.1");
            client.expect(&format!("MAIL FROM:<{fine}>"), "250");
            client.expect("RSET", "250");
            let to = ["you@far.example"];
            let reply = client.send(fine, &to, &format!("From: {foreign}\r\n\r\nHi.\r\n"));
            assert!(reply.starts_with("550 5.7.1"), "{login}: {reply}");
            let reply = client.send(fine, &to, &format!("From: {fine}\r\n\r\nHi.\r\n"));
            assert!(reply.starts_with("250"), "{login}: {reply}");
        }
    }

    fn too_many_who_guess_at_once_are_sent_away(engine) {
        let more = "[limits]\nauth_slowed = 16\n[timeouts]\nauth_delay = \"60s\"";
        let Some(site) = site(engine, "", more) else {
            return;
        };
        let mut clients: Vec<Client> = (0..8).map(|_| Client::hello(site.gate.smtp)).collect();
        for client in &mut clients {
            client.raw(format!("{}\r\n", plain("nobody", "x")).as_bytes());
        }
        let waits = |client: &mut Client| !client.hears(Duration::from_millis(1));
        // An address has an eighth of the places, a network a quarter.
        wait_until("six have been sent away", || {
            clients.retain_mut(|client| {
                let waits = waits(client);
                assert!(waits || client.reply().starts_with("421"));
                waits
            });
            (clients.len() <= 2).then_some(())
        });
        // A client that knows the password doesn't wait for those that don't.
        let mut client = Client::hello(site.gate.smtp);
        client.expect(&plain("amy", "amys secret"), "235");
        assert!(clients.iter_mut().all(waits));
        let mut elsewhere = Client::hello_from([127, 0, 1, 1].into(), site.gate.smtp);
        elsewhere.raw(format!("{}\r\n", plain("nobody", "x")).as_bytes());
        site.gate.log_line(&["client=127.0.1.1", "verdict=denied"]);
        assert!(waits(&mut elsewhere));
    }

    fn a_guesser_that_closes_gives_its_place_back(engine) {
        // One place for an address, and no lock that would end the growth of the delay.
        let more = "[limits]\nauth_slowed = 8\nauth_failures_client = 0\n[timeouts]\nauth_delay = \"500ms\"";
        let Some(site) = site(engine, "", more) else {
            return;
        };
        let login = |user: &str, password: &str| {
            Client::hello(site.gate.smtp).command(&plain(user, password))[..3].to_string()
        };
        assert_eq!(login("amy", "amys secret"), "235");
        // Each failure is told later than the one before it, the last after half a minute; amy's own after a moment.
        for i in 0..16 {
            let mut client = Client::hello(site.gate.smtp);
            client.raw(format!("{}\r\nNOOP\r\n", plain(&format!("guess{i}"), "x")).as_bytes());
            site.gate.log_line(&[&format!("user=guess{i}"), "verdict=denied"]);
        }
        let told = (0..5).any(|_| {
            std::thread::sleep(Duration::from_millis(500));
            login("amy", "wrong") == "535"
        });
        assert!(told, "there is a place for one who waits");
    }

    fn a_reload_takes_the_file_over_and_refuses_a_bad_one(engine) {
        let Some(site) = site(engine, "", "[timeouts]\nauth_delay = \"10ms\"") else {
            return;
        };
        let reload = || crate::harness::http(site.gate.admin, "POST", "/reload");
        let login = |password: &str| {
            let mut client = Client::hello(site.gate.smtp);
            client.command(&plain("amy", password))[..3].to_string()
        };
        assert_eq!(login("amys secret"), "235");
        let changed = user(&site.accounts, &["passwd", "amy"], "another");
        assert!(changed.0, "{}", changed.1);
        let (status, said) = reload();
        assert_eq!(status, 200, "{said}");
        // What was remembered of the old password is forgotten.
        assert_eq!(login("amys secret"), "535");
        assert_eq!(login("another"), "235");
        let text = std::fs::read_to_string(&site.accounts).expect("readable");
        std::fs::write(&site.accounts, format!("{text}nonsense\n")).expect("written");
        let (status, said) = reload();
        assert!(status != 200 && said.contains("accounts:5:"), "{status} {said}");
        assert_eq!(login("another"), "235");
    }
}

#[test]
fn the_file_is_kept_by_the_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("accounts");
    let done = |words: &[&str], password: &str| {
        let (fine, said) = user(&file, words, password);
        assert!(fine, "{words:?}: {said}");
        said
    };
    done(&["add", "amy", "-a", "amy@example.net"], "one");
    done(&["add", "ben@example.net", "--no-scram"], "two");
    let shown = done(&["list"], "");
    assert!(
        shown.contains("amy@example.net  (argon2 scram-sha-256)"),
        "{shown}"
    );
    assert!(
        shown.contains("ben@example.net  ben@example.net  (argon2)"),
        "{shown}"
    );
    done(&["remove", "amy"], "");
    assert!(!done(&["list"], "").contains("amy"));
    let (fine, said) = user(&file, &["passwd", "amy"], "x");
    assert!(!fine && said.contains("no account"), "{said}");
    let (fine, said) = user(&file, &["add", "cid"], "");
    assert!(!fine && said.contains("1 to 1024"), "{said}");
}
