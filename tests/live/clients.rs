//! The programs that people send mail with, each with every mechanism that it knows, under STARTTLS and under TLS from
//! the first octet.

use crate::{
    backend::Backend,
    certificates::Authority,
    delivery::pool,
    endpoint::Dovecot,
    harness::{Gatepost, free_address, home, leave_out, need},
};
use std::{
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const MESSAGE: &str = "From: amy@example.net\r\nSubject: hello\r\n\r\nIt works.\r\n";
const PASSWORD: &str = "amys-secret";

/// A submission listener with STARTTLS and one with implicit TLS, before a backend.
struct Site {
    gatepost: Gatepost,
    backend: Backend,
    implicit: SocketAddr,
    ca: PathBuf,
    _folder: tempfile::TempDir,
}

/// How a client begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    StartTls,
    Implicit,
}

const DOORS: [Door; 2] = [Door::StartTls, Door::Implicit];

impl Site {
    /// `mechanisms` as they are offered, `credentials` the keys of the source.
    fn start(engine: &str, mechanisms: &[&str], credentials: &str) -> Site {
        let (backend, implicit) = (Backend::good(free_address()), free_address());
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, authority.pem()).expect("written");
        let (chain, key) = authority
            .issue(&["mx.example.net", &home().to_string()])
            .write(folder.path(), "own");
        let text = format!(
            "[[listener]]\nname = \"mx\"\nrole = \"submission\"\naddress = [\"SMTP_ADDRESS\"]\ntls = \"required\"\n\
             auth = {mechanisms:?}\n\
             [[listener]]\nname = \"submissions\"\nrole = \"submission\"\naddress = [\"{implicit}\"]\n\
             tls = \"implicit\"\nauth = {mechanisms:?}\n\
             [[certificate]]\nchain = \"{}\"\nkey = \"{}\"\n\
             [[credentials]]\nname = \"staff\"\n{credentials}\n{}",
            chain.display(),
            key.display(),
            pool(&[&backend], "")
        );
        let gatepost = Gatepost::start(engine, &text);
        Site {
            gatepost,
            backend,
            implicit,
            ca,
            _folder: folder,
        }
    }

    fn address(&self, door: Door) -> SocketAddr {
        match door {
            Door::StartTls => self.gatepost.smtp,
            Door::Implicit => self.implicit,
        }
    }

    fn host(&self, door: Door) -> (String, String) {
        let address = self.address(door);
        (address.ip().to_string(), address.port().to_string())
    }

    /// Runs a client, which must be content; its message must have come with this mechanism.
    #[track_caller]
    fn sends(&self, door: Door, mechanism: &str, command: &mut Command) {
        let before = self.backend.messages().len();
        let (fine, said) = run(command);
        assert!(fine, "{door:?} {mechanism}: {command:?}: {said}");
        let messages = self.backend.messages();
        assert_eq!(messages.len(), before + 1, "{door:?} {mechanism}: {said}");
        let text = messages[before].text();
        assert!(
            text.contains("by edge.example (Gatepost) with ESMTPSA id "),
            "{text}"
        );
        assert!(
            text.contains("\r\nMessage-ID: ") || text.contains("\r\nMessage-Id: "),
            "{text}"
        );
        let name = match door {
            Door::StartTls => "listener=mx",
            Door::Implicit => "listener=submissions",
        };
        let auth = format!("auth={mechanism}");
        self.gatepost
            .log_line(&[name, &auth, "user=amy", "tls=TLSv1.", "verdict=accept"]);
    }
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
    let _ = input.write_all(MESSAGE.as_bytes());
    drop(input);
    let out = child.wait_with_output().expect("ends");
    let said = [out.stdout, out.stderr].concat();
    (
        out.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// A file source with Amy in it.
fn accounts(folder: &Path) -> String {
    let file = folder.join("accounts");
    let mut child = Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .args(["user", "add", "amy", "-a", "amy@example.net", "-f"])
        .arg(&file)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("runs");
    let mut input = child.stdin.take().expect("a pipe");
    writeln!(input, "{PASSWORD}").expect("read");
    drop(input);
    assert!(child.wait().expect("ends").success());
    format!("source = \"file\"\nfile = \"{}\"", file.display())
}

fn swaks(site: &Site, door: Door, mechanism: &str) -> Option<Command> {
    let (host, port) = site.host(door);
    let mut command = Command::new(need("swaks")?);
    command
        .args(["--server", &host, "--port", &port])
        .arg(match door {
            Door::StartTls => "--tls",
            Door::Implicit => "--tls-on-connect",
        })
        .args(["--auth", mechanism, "--auth-user", "amy"])
        .args(["--auth-password", PASSWORD])
        .args(["--from", "amy@example.net", "--to", "you@example.net"]);
    Some(command)
}

fn curl(site: &Site, door: Door, mechanism: &str) -> Option<Command> {
    let mut command = Command::new(need("curl")?);
    let scheme = match door {
        Door::StartTls => "smtp",
        Door::Implicit => "smtps",
    };
    let url = format!("{scheme}://{}/client.example", site.address(door));
    command
        .args(["-sS", "--ssl-reqd", "--url", &url, "--cacert"])
        .arg(&site.ca)
        .args(["--mail-from", "amy@example.net"])
        .args(["--mail-rcpt", "you@example.net", "-T", "-"])
        .args(["--login-options", &format!("AUTH={mechanism}")]);
    match mechanism {
        "OAUTHBEARER" | "XOAUTH2" => command.args(["--user", "amy", "--oauth2-bearer", PASSWORD]),
        _ => command.args(["--user", &format!("amy:{PASSWORD}")]),
    };
    Some(command)
}

fn msmtp(site: &Site, door: Door, mechanism: &str) -> Option<Command> {
    let (host, port) = site.host(door);
    let mut command = Command::new(need("msmtp")?);
    command
        .args(["--file=/dev/null", "--tls=on", "--user=amy"])
        .arg(match door {
            Door::StartTls => "--tls-starttls=on",
            Door::Implicit => "--tls-starttls=off",
        })
        .arg(format!("--tls-trust-file={}", site.ca.display()))
        .arg(format!("--host={host}"))
        .arg(format!("--port={port}"))
        .arg(format!("--auth={}", mechanism.to_ascii_lowercase()))
        .arg(format!("--passwordeval=echo {PASSWORD}"))
        .args(["--from=amy@example.net", "you@example.net"]);
    Some(command)
}

fn smtplib(site: &Site, door: Door, mechanism: &str) -> Option<Command> {
    let (host, port) = site.host(door);
    let open = match door {
        Door::StartTls => {
            format!("s = smtplib.SMTP('{host}', {port})\ns.starttls(context=trust)\n")
        }
        Door::Implicit => format!("s = smtplib.SMTP_SSL('{host}', {port}, context=trust)\n"),
    };
    let script = format!(
        "import smtplib, ssl\ntrust = ssl.create_default_context(cafile='{}')\n{open}s.ehlo()\n\
         s.user, s.password = 'amy', '{PASSWORD}'\ns.auth('{mechanism}', s.auth_{})\n\
         s.sendmail('amy@example.net', ['you@example.net'], {MESSAGE:?})\ns.quit()\n",
        site.ca.display(),
        mechanism.to_ascii_lowercase()
    );
    let mut command = Command::new(need("python3")?);
    command.args(["-c", &script]);
    Some(command)
}

/// Where `tests/run` installs it.
fn nodemailer(site: &Site, door: Door, mechanism: &str) -> Option<Command> {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/node/node_modules");
    if !modules.join("nodemailer").is_dir() {
        leave_out("tests with nodemailer: npm has not installed it (tests/run does)");
        return None;
    }
    let (host, port) = site.host(door);
    let auth = match mechanism {
        "XOAUTH2" => format!("{{ type: 'OAuth2', user: 'amy', accessToken: '{PASSWORD}' }}"),
        _ => format!("{{ user: 'amy', pass: '{PASSWORD}' }}"),
    };
    let script = format!(
        "const fs = require('fs');\n\
         const transport = require('nodemailer').createTransport({{\n\
         host: '{host}', port: {port}, secure: {}, requireTLS: true, authMethod: '{mechanism}',\n\
         auth: {auth}, tls: {{ ca: fs.readFileSync('{}') }} }});\n\
         transport.sendMail({{ from: 'amy@example.net', to: 'you@example.net', subject: 'hello', text: 'It works.' }})\n\
         .then(() => transport.close(), (why) => {{ console.error(why); process.exit(1); }});\n",
        door == Door::Implicit,
        site.ca.display()
    );
    let mut command = Command::new(need("node")?);
    command.args(["-e", &script]).env("NODE_PATH", modules);
    Some(command)
}

/// Those that this curl was built with.
fn curl_knows(mechanism: &str) -> bool {
    let (_, said) = run(Command::new("curl").arg("--version"));
    mechanism != "SCRAM-SHA-256" || said.to_lowercase().contains("gsasl")
}

crate::on_all_engines! {
    fn every_client_sends_by_every_door(engine) {
        let folder = tempfile::tempdir().expect("a folder");
        let credentials = accounts(folder.path());
        let all = ["plain", "login", "scram-sha-256", "scram-sha-256-plus", "oauthbearer", "xoauth2"];
        let site = Site::start(engine, &all, &credentials);
        for door in DOORS {
            for mechanism in ["PLAIN", "LOGIN"] {
                for client in [swaks, smtplib, nodemailer, curl, msmtp] {
                    if let Some(mut command) = client(&site, door, mechanism) {
                        site.sends(door, mechanism, &mut command);
                    }
                }
            }
            for mechanism in ["SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2"] {
                if let Some(mut command) = msmtp(&site, door, mechanism) {
                    site.sends(door, mechanism, &mut command);
                }
            }
            if let Some(mut command) = nodemailer(&site, door, "XOAUTH2") {
                site.sends(door, "XOAUTH2", &mut command);
            }
            // curl takes OAUTHBEARER wherever it is offered, whatever it is told.
            for mechanism in ["OAUTHBEARER", "SCRAM-SHA-256"] {
                if curl_knows(mechanism) && let Some(mut command) = curl(&site, door, mechanism) {
                    site.sends(door, mechanism, &mut command);
                }
            }
        }
    }

    fn dovecot_says_who_sends(engine) {
        let accounts = format!("amy:{PASSWORD}:::::: addresses=amy@example.net\n");
        let Some(dovecot) = Dovecot::start(&accounts, None) else { return };
        let socket = dovecot.socket();
        let credentials = format!("source = \"dovecot\"\nsocket = \"{}\"", socket.display());
        let site = Site::start(engine, &["plain", "login"], &credentials);
        for door in DOORS {
            if let Some(mut command) = smtplib(&site, door, "PLAIN") {
                site.sends(door, "PLAIN", &mut command);
            }
        }
        // What it owns is what Dovecot said.
        if let Some(mut command) = swaks(&site, Door::StartTls, "LOGIN") {
            let (fine, said) = run(command.args(["--from", "eve@example.net"]));
            assert!(!fine && said.contains("553 5.7.1"), "{said}");
        }
    }
}
