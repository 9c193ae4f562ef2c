//! SCRAM that is bound to the TLS below it (RFC 5802, RFC 7677, RFC 9266): GNU SASL's own client, and one that cheats.

use crate::{
    auth::user,
    backend::Backend,
    certificates::Authority,
    client::Client,
    delivery::pool,
    harness::{Gatepost, free_address, home, http, need},
    on_all_engines,
    secure_client::Secure,
};
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

const NAME: &str = "mx.example.net";
const PLUS: &str = "SCRAM-SHA-256-PLUS";
const BARE: &str = "SCRAM-SHA-256";
const PASSWORD: &str = "amys secret";
const REFUSED: &str = "535 5.7.8 Authentication failed\r\n";

/// A submission listener with an account for Amy.
struct Site {
    gate: Gatepost,
    authority: Authority,
    _backend: Backend,
    folder: tempfile::TempDir,
}

impl Site {
    fn start(engine: &str) -> Site {
        let authority = Authority::new();
        let folder = tempfile::tempdir().expect("a folder");
        let accounts = folder.path().join("accounts");
        let added = user(
            &accounts,
            &["add", "amy", "-a", "amy@example.net"],
            PASSWORD,
        );
        assert!(added.0, "{}", added.1);
        let own = authority.issue(&[NAME, &home().to_string()]);
        let (chain, key) = own.write(folder.path(), "own");
        fs::write(folder.path().join("ca.pem"), authority.pem()).expect("written");
        let backend = Backend::good(free_address());
        let gate = Gatepost::start(
            engine,
            &format!(
                "[[listener]]\nname = \"mx\"\nrole = \"submission\"\naddress = [\"SMTP_ADDRESS\"]\ntls = \"starttls\"\n\
                 auth = [\"scram-sha-256\", \"scram-sha-256-plus\"]\n[[certificate]]\nchain = \"{}\"\nkey = \"{}\"\n\
                 [[credentials]]\nname = \"staff\"\nsource = \"file\"\nfile = \"{}\"\n[timeouts]\nauth_delay = \"10ms\"\n{}",
                chain.display(),
                key.display(),
                accounts.display(),
                pool(&[&backend], "tls = \"none\"")
            ),
        );
        Site {
            gate,
            authority,
            _backend: backend,
            folder,
        }
    }

    /// A client after the handshake and its EHLO, and what that offers.
    fn secured(&self) -> (Secure, String) {
        let client = Client::hello(self.gate.smtp).secured(&self.authority.der(), NAME);
        greeted(client)
    }

    fn count(&self, mechanism: &str, outcome: &str) -> f64 {
        let labels = format!("mechanism=\"{mechanism}\",outcome=\"{outcome}\"");
        self.gate.metric("gatepost_authentications_total", &labels)
    }

    /// GNU SASL's client with these options: whether it is content, and all that was said.
    fn gsasl(&self, program: &PathBuf, password: &str, options: &[&str]) -> (bool, String) {
        let out = Command::new(program)
            .args(["--smtp", "--starttls", "--verbose", "--hostname", NAME])
            .arg(format!("--connect={}", self.gate.smtp))
            .arg("--x509-ca-file")
            .arg(self.folder.path().join("ca.pem"))
            .args(["--authentication-id", "amy", "--password", password])
            .args(options)
            .stdin(Stdio::null())
            .output()
            .expect("runs");
        let said = [out.stdout, out.stderr].concat();
        (
            out.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }
}

fn greeted(mut client: Secure) -> (Secure, String) {
    let offered = client.command("EHLO client.example");
    assert!(offered.starts_with("250"), "{offered}");
    (client, offered)
}

fn mac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
    tag.as_ref().try_into().expect("32 octets")
}

/// What a client says of binding: the header of its first message (RFC 5802 §7, gs2-header), and the octets that it says
/// it is bound by.
struct Says<'a> {
    header: &'a str,
    binding: &'a [u8],
}

/// SCRAM as a client does it, to the last reply; the server's own proof is checked. Its arithmetic is written after
/// RFC 5802 §3 and shares nothing with the server's.
fn scram(client: &mut Secure, mechanism: &str, says: &Says<'_>) -> String {
    scram_while(client, mechanism, says, || ())
}

/// The same; `meanwhile` happens after the challenge.
fn scram_while(
    client: &mut Secure,
    mechanism: &str,
    says: &Says<'_>,
    meanwhile: impl FnOnce(),
) -> String {
    let bare = "n=amy,r=a-nonce-of-ours";
    let first = STANDARD.encode(format!("{}{bare}", says.header));
    let reply = client.command(&format!("AUTH {mechanism} {first}"));
    let Some(challenge) = reply.strip_prefix("334 ") else {
        return reply;
    };
    let challenge = STANDARD.decode(challenge.trim_end()).expect("base64");
    let challenge = String::from_utf8(challenge).expect("text");
    let part = |name: &str| {
        challenge
            .split(',')
            .find_map(|part| part.strip_prefix(name))
    };
    let nonce = part("r=").expect("a nonce");
    let salt = STANDARD
        .decode(part("s=").expect("a salt"))
        .expect("base64");
    let rounds = part("i=")
        .and_then(|text| text.parse().ok())
        .expect("a number");
    let mut salted = [0; 32];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        rounds,
        &salt,
        PASSWORD.as_bytes(),
        &mut salted,
    );
    let bound = STANDARD.encode([says.header.as_bytes(), says.binding].concat());
    let last = format!("c={bound},r={nonce}");
    let all = format!("{bare},{challenge},{last}");
    let client_key = mac(&salted, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, &client_key);
    let signature = mac(stored_key.as_ref(), all.as_bytes());
    let proof: Vec<u8> = client_key
        .iter()
        .zip(signature)
        .map(|(a, b)| a ^ b)
        .collect();
    let last = STANDARD.encode(format!("{last},p={}", STANDARD.encode(proof)));
    meanwhile();
    let reply = client.command(&last);
    let Some(theirs) = reply.strip_prefix("334 ") else {
        return reply;
    };
    let ours = mac(&mac(&salted, b"Server Key"), all.as_bytes());
    let ours = STANDARD.encode(format!("v={}", STANDARD.encode(ours)));
    assert_eq!(theirs.trim_end(), ours, "the server knows the password too");
    client.command("")
}

on_all_engines! {
    fn a_client_of_gnu_sasl_binds_its_login(engine) {
        let Some(program) = need("gsasl") else { return };
        let site = Site::start(engine);
        let only = ["--mechanism", PLUS];
        let (fine, said) = site.gsasl(&program, PASSWORD, &only);
        assert!(fine && said.contains("Client authentication finished (server trusted)"), "{said}");
        // It says itself what it is bound by.
        assert!(said.contains(&STANDARD.encode("p=tls-exporter,,n=amy,r=")[..30]), "{said}");
        site.gate.log_line(&["auth=SCRAM-SHA-256-PLUS", "user=amy", "tls=TLSv1.3", "why=quit"]);
        // Of its own choice as well.
        let (fine, said) = site.gsasl(&program, PASSWORD, &[]);
        assert!(fine && said.contains("AUTH SCRAM-SHA-256-PLUS"), "{said}");
        assert_eq!(site.count(PLUS, "accepted"), 2.0);
        let (fine, said) = site.gsasl(&program, "another", &only);
        assert!(!fine && said.contains(REFUSED.trim_end()), "{said}");
        assert_eq!(site.count(PLUS, "rejected"), 1.0);
        // One that can't bind at all is welcome all the same.
        let unbound = ["--mechanism", BARE, "--no-cb"];
        let (fine, said) = site.gsasl(&program, PASSWORD, &unbound);
        assert!(fine, "{said}");
        let (fine, said) = site.gsasl(
            &program,
            PASSWORD,
            &["--mechanism", BARE, "--no-cb", "--priority", "NORMAL:-VERS-TLS1.3"],
        );
        assert!(fine && said.contains("(TLS1.2)"), "{said}");
        assert!(!said.contains(PLUS), "it is not offered: {said}");
        assert_eq!(site.count(BARE, "accepted"), 2.0);
    }

    fn a_binding_must_be_that_of_the_connection(engine) {
        let site = Site::start(engine);
        let header = "p=tls-exporter,,";
        let (mut client, offered) = site.secured();
        assert!(offered.contains(" SCRAM-SHA-256-PLUS"), "{offered}");
        let exporter = client.exporter();
        let reply = scram(&mut client, PLUS, &Says { header, binding: &exporter });
        assert!(reply.starts_with("235 2.7.0"), "{reply}");
        let reply = client.command("MAIL FROM:<amy@example.net>");
        assert!(reply.starts_with("250"), "{reply}");

        // Whoever stands between has two connections: what binds one is nothing to the other.
        let (mut other, _) = site.secured();
        assert_ne!(other.exporter(), exporter);
        for binding in [&exporter[..], &[0; 32], b""] {
            let reply = scram(&mut other, PLUS, &Says { header, binding });
            assert_eq!(reply, REFUSED);
        }
        // The password was right each time, and so is it now.
        let own = other.exporter();
        let reply = scram(&mut other, PLUS, &Says { header, binding: &own });
        assert!(reply.starts_with("235"), "{reply}");
        assert_eq!((site.count(PLUS, "accepted"), site.count(PLUS, "rejected")), (2.0, 3.0));
    }

    /// RFC 5802 §6: one that says "y" could bind and saw no offer, so somebody took it away.
    fn an_offer_that_was_taken_away_is_noticed(engine) {
        let site = Site::start(engine);
        let unbound = |header| Says { header, binding: b"" };
        let (mut client, _) = site.secured();
        let reply = scram(&mut client, BARE, &unbound("y,,"));
        assert_eq!(reply, REFUSED);
        // Nor may one that chose to bind leave it, or bind by something else.
        for header in ["y,,", "n,,", "p=tls-unique,,", "p=tls-server-end-point,,"] {
            let reply = scram(&mut client, PLUS, &unbound(header));
            assert_eq!(reply, REFUSED, "{header}");
        }
        // Nor bind by a mechanism that doesn't.
        let binding = client.exporter();
        let reply = scram(&mut client, BARE, &Says { header: "p=tls-exporter,,", binding: &binding });
        assert_eq!(reply, REFUSED);
        let reply = scram(&mut client, BARE, &unbound("n,,"));
        assert!(reply.starts_with("235"), "{reply}");
    }

    fn a_password_that_a_reload_takes_away_proves_nothing(engine) {
        let site = Site::start(engine);
        let (mut client, _) = site.secured();
        let says = Says { header: "n,,", binding: b"" };
        let reply = scram_while(&mut client, BARE, &says, || {
            let accounts = site.folder.path().join("accounts");
            let (fine, said) = user(&accounts, &["passwd", "amy"], "another");
            assert!(fine, "{said}");
            let (status, answer) = http(site.gate.admin, "POST", "/reload");
            assert_eq!(status, 200, "{answer}");
        });
        assert_eq!(reply, REFUSED);
    }

    /// Its exporter is unique only with the extended master secret (RFC 9266 §4.2), so it is no binding here.
    fn tls_1_2_offers_none(engine) {
        let site = Site::start(engine);
        let client = Client::hello(site.gate.smtp).secured_by_old(&site.authority.der(), NAME);
        let (mut client, offered) = greeted(client);
        assert!(offered.contains("AUTH SCRAM-SHA-256\r\n"), "{offered}");
        let binding = client.exporter();
        let reply = scram(&mut client, PLUS, &Says { header: "p=tls-exporter,,", binding: &binding });
        assert!(reply.starts_with("504 5.5.4"), "{reply}");
        // There was no offer to take away.
        let reply = scram(&mut client, BARE, &Says { header: "y,,", binding: b"" });
        assert!(reply.starts_with("235"), "{reply}");
    }
}
