//! TLS in front: the programs that people use, and what goes wrong.

use crate::{
    backend::Backend,
    certificates::{Authority, Pem},
    client::Client,
    delivery::pool,
    harness::{Gatepost, free_address, http, need},
};
use std::{
    fs,
    io::Write,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
};

/// Gatepost with two listeners, `mx` with STARTTLS and `submissions` with implicit TLS, and a certificate.
pub struct Site {
    pub gatepost: Gatepost,
    backend: Backend,
    pub implicit: SocketAddr,
    pub authority: Authority,
    pub folder: tempfile::TempDir,
}

impl Site {
    /// `listener` is more of the STARTTLS one, `config` more tables.
    pub fn start(engine: &str, listener: &str, config: &str) -> Site {
        let authority = Authority::new();
        let own = authority.issue(&["mx.example.net"]);
        Site::start_with(engine, listener, config, authority, &[own])
    }

    fn start_with(
        engine: &str,
        listener: &str,
        config: &str,
        authority: Authority,
        own: &[Pem],
    ) -> Site {
        let folder = tempfile::tempdir().expect("a folder");
        let backend = Backend::good(free_address());
        let implicit = free_address();
        fs::write(folder.path().join("ca.pem"), authority.pem()).expect("written");
        let mut text = pool(&[&backend], "");
        let more = if listener.contains("tls =") {
            ""
        } else {
            "tls = \"starttls\"\n"
        };
        text += &format!(
            "[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\n{more}{listener}\n"
        );
        text += &format!(
            "[[listener]]\nname = \"submissions\"\naddress = [\"{implicit}\"]\ntls = \"implicit\"\n"
        );
        for (i, pem) in own.iter().enumerate() {
            let (chain, key) = pem.write(folder.path(), &format!("own{i}"));
            text += &format!(
                "[[certificate]]\nchain = \"{}\"\nkey = \"{}\"\n",
                chain.display(),
                key.display()
            );
        }
        // The programs' scripts don't wait for replies.
        text += "[policy.early_talk]\nmode = \"off\"\n";
        let text = text.replace("FOLDER", &folder.path().display().to_string()) + config;
        let gatepost = Gatepost::start(engine, &text);
        Site {
            gatepost,
            backend,
            implicit,
            authority,
            folder,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `openssl s_client` with what it is to send: what it showed, standard error after it.
    pub fn openssl(&self, implicit: bool, arguments: &[&str], input: &str) -> String {
        let to = if implicit {
            self.implicit
        } else {
            self.gatepost.smtp
        };
        let mut command = Command::new("openssl");
        command
            .args(["s_client", "-connect", &to.to_string(), "-CAfile"])
            .arg(self.path("ca.pem"));
        if !implicit {
            command.args(["-starttls", "smtp", "-name", "client.example"]);
        }
        if !arguments.iter().any(|given| given.ends_with("servername")) {
            command.args(["-servername", "mx.example.net"]);
        }
        command.args(["-crlf", "-ign_eof"]).args(arguments);
        talk(&mut command, input)
    }

    pub fn handshakes(&self, labels: &str) -> f64 {
        self.gatepost
            .metric("gatepost_tls_handshakes_total", labels)
    }
}

/// Runs a program with some input: both of its outputs.
pub fn talk(command: &mut Command, input: &str) -> String {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|why| panic!("{command:?}: {why}"));
    // It may have ended by now; then the output says why.
    let _ = child
        .stdin
        .take()
        .expect("piped")
        .write_all(input.as_bytes());
    let out = child.wait_with_output().expect("ends");
    let text = [out.stdout, out.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

const QUIT: &str = "QUIT\n";

crate::on_all_engines! {
    fn starttls_and_implicit_tls_carry_a_message(engine) {
        if need("openssl").is_none() { return; }
        let site = Site::start(engine, "", "");
        let message = "EHLO client.example\nMAIL FROM:<a@sender.example>\nRCPT TO:<b@example.net>\nDATA\nSubject: safe\n\nhello\n.\nQUIT\n";
        for implicit in [false, true] {
            for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
                let seen = site.openssl(implicit, &[version], message);
                assert!(seen.contains("Verify return code: 0 (ok)"), "{seen}");
                assert!(seen.contains(name), "{seen}");
                assert!(seen.contains("250 2.0.0 Ok: "), "{seen}");
                assert!(seen.contains("221 2.0.0"), "{seen}");
                let last = site.backend.messages().pop().expect("delivered");
                assert_eq!(last.payload(), "Subject: safe\r\n\r\nhello\r\n");
                assert!(last.text().contains(&format!("(using {name} with cipher TLS_")), "{}", last.text());
                assert!(last.text().contains(" with ESMTPS id "), "{}", last.text());
            }
        }
        assert_eq!(site.handshakes("outcome=\"full\",version=\"1.3\""), 2.0);
        assert_eq!(site.handshakes("outcome=\"full\",version=\"1.2\""), 2.0);
        site.gatepost.log_line(&["listener=submissions", "tls=TLSv1.3 cipher=TLS_", "verdict=accept"]);
        assert!(site.gatepost.get("/stages").1.contains("\"tls_handshake\""));
        assert!(site.gatepost.metric("gatepost_certificate_ends_timestamp_seconds", "certificate=\"mx.example.net\"") > 1e9);
    }

    fn swaks_curl_and_python_send_through_both(engine) {
        let site = Site::start(engine, "", "");
        let (starttls, implicit) = (site.gatepost.smtp.to_string(), site.implicit.to_string());
        let ca = site.path("ca.pem");
        let mut expected = 0;
        if need("swaks").is_some() {
            for (flag, to) in [("--tls", &starttls), ("--tls-on-connect", &implicit)] {
                let seen = talk(Command::new("swaks").args(["--server", to, flag, "--from", "a@sender.example",
                    "--to", "b@example.net", "--helo", "client.example", "--body", "x"]), "");
                if seen.contains("requires Net::SSLeay") {
                    crate::harness::leave_out("swaks with TLS: its Net::SSLeay is not installed");
                    break;
                }
                assert!(seen.contains("TLS started with cipher"), "{seen}");
                assert!(seen.contains("<~  250 2.0.0 Ok: "), "{seen}");
                expected += 1;
            }
        }
        if need("curl").is_some() {
            for (scheme, to) in [("smtp", &starttls), ("smtps", &implicit)] {
                let port = to.rsplit(':').next().expect("a port");
                let address = to.trim_end_matches(port).trim_end_matches(':');
                let seen = talk(Command::new("curl").args(["-sS", "--ssl-reqd", "--cacert"]).arg(&ca)
                    .args(["--resolve", &format!("mx.example.net:{port}:{address}"), "--mail-from", "a@sender.example",
                        "--mail-rcpt", "b@example.net", "-T", "-", &format!("{scheme}://mx.example.net:{port}/client.example")]),
                    "Subject: x\r\n\r\nx\r\n");
                assert_eq!(seen, "");
                expected += 1;
            }
        }
        if need("python3").is_some() {
            let program = "import smtplib, ssl, sys\n\
                host, start, implicit, ca = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]\n\
                context = ssl.create_default_context(cafile=ca); context.check_hostname = False\n\
                a = smtplib.SMTP(host, start); a.starttls(context=context)\n\
                b = smtplib.SMTP_SSL(host, implicit, context=context)\n\
                for s in (a, b): s.sendmail('a@sender.example', ['b@example.net'], 'Subject: x\\r\\n\\r\\n' + 'y' * 900 + '\\r\\n'); s.quit()\n";
            let (host, start) = starttls.split_once(':').expect("an address");
            let implicit = implicit.split_once(':').expect("an address").1;
            let seen = talk(Command::new("python3").args(["-c", program, host, start, implicit]).arg(&ca), "");
            assert_eq!(seen, "");
            expected += 2;
        }
        assert_eq!(site.backend.messages().len(), expected);
    }

    fn a_name_gets_its_certificate(engine) {
        if need("openssl").is_none() { return; }
        let authority = Authority::new();
        let own = [authority.issue(&["mx.example.net"]), authority.issue(&["mail.example.org", "*.example.com"])];
        let site = Site::start_with(engine, "", "", authority, &own);
        for (name, subject) in [
            ("mx.example.net", "mx.example.net"), ("mail.example.org", "mail.example.org"), ("a.example.com", "mail.example.org"),
            ("nobody.example", "mx.example.net"),
        ] {
            let seen = site.openssl(true, &["-servername", name], QUIT);
            assert!(seen.contains(&format!("subject=CN = {subject}")), "{name}: {seen}");
        }
        let seen = site.openssl(false, &["-noservername"], QUIT);
        assert!(seen.contains("subject=CN = mx.example.net"), "{seen}");
    }

    fn ecdsa_and_rsa_stand_side_by_side(engine) {
        if need("openssl").is_none() { return; }
        let authority = Authority::new();
        let own = [authority.issue_rsa(&["mx.example.net"]), authority.issue(&["mx.example.net"])];
        let site = Site::start_with(engine, "", "", authority, &own);
        for (arguments, kind) in [
            (&["-tls1_3"][..], "ECDSA"),
            (&["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], "RSA"),
            (&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], "ECDSA"),
            (&["-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256"], "RSA-PSS"),
        ] {
            let seen = site.openssl(true, arguments, QUIT);
            assert!(seen.contains(&format!("Peer signature type: {kind}")), "{arguments:?}: {seen}");
        }
    }

    fn a_flood_of_new_keys_ends_the_session(engine) {
        let site = Site::start(engine, "", "");
        let mut flood = Client::hello(site.gatepost.smtp).secured(&site.authority.der(), "mx.example.net");
        flood.command("EHLO client.example");
        assert!(flood.renew_keys(31), "some are fine");
        let rounds = (0..10_000).take_while(|_| flood.renew_keys(31));
        assert!(rounds.count() < 10_000);
        site.gatepost.log_line(&["why=tls_empty_records", "end=gatepost@idle"]);
        let mut next = Client::hello(site.gatepost.smtp).secured(&site.authority.der(), "mx.example.net");
        assert!(next.command("EHLO client.example").starts_with("250"));
    }

    fn after_xclient_the_certificate_is_the_proxys(engine) {
        let keys = "xclient_from = [\"127.0.0.0/8\"]\nclient_certificates = \"optional\"\nclient_ca = \"FOLDER/ca.pem\"\nclient_trusted = [\"relay.partner.example\"]\n";
        let site = Site::start(engine, keys, "");
        let own = site.authority.issue(&["relay.partner.example"]);
        for named in [false, true] {
            let mut client = Client::hello(site.gatepost.smtp);
            if named {
                client.expect("XCLIENT ADDR=192.0.2.99", "220");
                client.expect("EHLO other.example", "250");
            }
            client.expect("STARTTLS", "220");
            let mut tls = client.into_tls_as(&site.authority.der(), "mx.example.net", &own);
            assert!(tls.command("EHLO other.example").starts_with("250"));
            assert!(tls.command("MAIL FROM:<a@sender.example>").starts_with("250"));
            let reply = tls.command("RCPT TO:<b@elsewhere.example>");
            // Nothing leads there; a client that may relay hears so.
            assert_eq!(reply.starts_with("550 5.7.1 Relaying denied"), named, "{reply}");
        }
    }

    fn another_protocol_by_alpn_is_refused(engine) {
        if need("openssl").is_none() { return; }
        let site = Site::start(engine, "", "");
        let seen = site.openssl(true, &["-alpn", "smtp"], QUIT);
        assert!(seen.contains("ALPN protocol: smtp") && seen.contains("221 2.0.0"), "{seen}");
        for others in ["http/1.1", "h2,imap"] {
            let seen = site.openssl(true, &["-alpn", others], QUIT);
            assert!(seen.contains("no application protocol"), "{seen}");
            assert!(!seen.contains("220 "), "{seen}");
        }
        assert_eq!(site.handshakes("outcome=\"failed\""), 2.0);
        assert_eq!(site.gatepost.metric("gatepost_connections_refused_total", "reason=\"tls\""), 2.0);
        site.gatepost.log_line(&["verdict=none", "why=tls_alpn", "end=gatepost@tls"]);
    }

    // INV-CLEAR
    fn what_follows_starttls_in_the_clear_is_thrown_away(engine) {
        let site = Site::start(engine, "", "");
        let mut client = Client::hello(site.gatepost.smtp);
        client.raw(b"STARTTLS\r\nMAIL FROM:<injected@evil.example>\r\nRCPT TO:<b@example.net>\r\n");
        assert!(client.reply().starts_with("220 2.0.0"));
        let mut tls = client.into_tls(&site.authority.der(), "mx.example.net");
        // The session is as new: no EHLO, no sender, and not a reply to what was injected.
        assert!(tls.command("RCPT TO:<b@example.net>").starts_with("503"));
        let hello = tls.command("EHLO client.example");
        assert!(hello.starts_with("250-") && !hello.contains("STARTTLS"), "{hello}");
        assert!(tls.command("STARTTLS").starts_with("5"));
        assert!(tls.command("RCPT TO:<b@example.net>").starts_with("503"));
        assert!(tls.command("MAIL FROM:<a@sender.example>").starts_with("250"));
        assert!(tls.command("QUIT").starts_with("221"));
        assert!(tls.ends_cleanly(), "a close_notify goes with the 221");
    }

    // INV-CUT
    fn a_stream_cut_in_a_body_delivers_nothing(engine) {
        let site = Site::start(engine, "", "");
        let mut client = Client::hello(site.gatepost.smtp);
        client.expect("STARTTLS", "220");
        let mut tls = client.into_tls(&site.authority.der(), "mx.example.net");
        for command in ["EHLO client.example", "MAIL FROM:<a@sender.example>", "RCPT TO:<b@example.net>"] {
            assert!(tls.command(command).starts_with("250"), "{command}");
        }
        assert!(tls.command("DATA").starts_with("354"));
        tls.raw(b"Subject: half\r\n\r\nhalf\r\n");
        tls.cut();
        site.gatepost.log_line(&["from=a@sender.example", "verdict=abandon", "end=client@body"]);
        assert!(site.backend.messages().is_empty());
    }

    fn tls_can_be_required(engine) {
        let site = Site::start(engine, "tls = \"required\"\n", "");
        let mut client = Client::hello(site.gatepost.smtp);
        client.expect("MAIL FROM:<a@sender.example>", "530 5.7.0");
        client.expect("NOOP", "250");
        client.expect("STARTTLS", "220");
        let mut tls = client.into_tls(&site.authority.der(), "mx.example.net");
        assert!(tls.command("EHLO client.example").starts_with("250"));
        assert!(tls.command("MAIL FROM:<a@sender.example>").starts_with("250"));
    }

    fn who_says_nothing_or_nonsense_at_the_handshake_goes(engine) {
        let site = Site::start(engine, "", "[timeouts]\nhandshake = \"300ms\"\n");
        let mut silent = Client::silent(site.implicit);
        assert_eq!(silent.rest(), "");
        site.gatepost.log_line(&["listener=submissions", "why=tls_timeout", "end=gatepost@tls"]);
        let mut plain = Client::silent(site.implicit);
        plain.raw(b"EHLO client.example\r\n");
        assert!(!plain.rest().contains("220"));
        site.gatepost.log_line(&["listener=submissions", "why=tls_nonsense"]);
        let mut client = Client::hello(site.gatepost.smtp);
        client.expect("STARTTLS", "220");
        client.raw(b"MAIL FROM:<a@sender.example>\r\n");
        assert!(!client.rest().contains("250"));
        site.gatepost.log_line(&["listener=mx", "why=tls_nonsense"]);
        assert!(site.gatepost.metric("gatepost_timeouts_total", "phase=\"tls\"") == 1.0);
    }

    fn a_renewed_certificate_comes_with_a_reload_and_a_broken_one_does_not(engine) {
        let site = Site::start(engine, "", "");
        let mut open = Client::hello(site.gatepost.smtp);
        open.expect("STARTTLS", "220");
        let mut open = open.into_tls(&site.authority.der(), "mx.example.net");
        assert!(open.command("EHLO client.example").starts_with("250"));
        let before = open.certificate();
        site.authority.issue(&["mx.example.net"]).write(site.folder.path(), "own0");
        assert_eq!(http(site.gatepost.admin, "POST", "/reload").0, 200);
        let renewed = Client::hello(site.gatepost.smtp).secured(&site.authority.der(), "mx.example.net").certificate();
        assert_ne!(before, renewed);
        fs::write(site.path("own0.key"), site.authority.issue(&["mx.example.net"]).key).expect("written");
        let (status, body) = http(site.gatepost.admin, "POST", "/reload");
        assert_eq!(status, 422, "{body}");
        assert!(body.contains("own0.key") && body.contains("does not belong"), "{body}");
        let kept = Client::hello(site.gatepost.smtp).secured(&site.authority.der(), "mx.example.net").certificate();
        assert_eq!(kept, renewed);
        assert!(open.command("MAIL FROM:<a@sender.example>").starts_with("250"), "the old session goes on");
        assert!(open.command("QUIT").starts_with("221"));
    }

    fn sslscan_shows_nothing_old(engine) {
        if need("sslscan").is_none() { return; }
        let site = Site::start(engine, "", "");
        let (starttls, implicit) = (site.gatepost.smtp.to_string(), site.implicit.to_string());
        for arguments in [vec!["--starttls-smtp", &starttls], vec![&*implicit]] {
            let seen = talk(Command::new("sslscan").arg("--no-colour").args(arguments), "");
            for (version, state) in [("SSLv2", "disabled"), ("SSLv3", "disabled"), ("TLSv1.0", "disabled"),
                ("TLSv1.1", "disabled"), ("TLSv1.2", "enabled"), ("TLSv1.3", "enabled")] {
                assert!(seen.lines().any(|line| line.starts_with(version) && line.contains(state)), "{version}: {seen}");
            }
            let suites: Vec<&str> = seen.lines().filter(|line| line.starts_with("Accepted") || line.starts_with("Preferred")).collect();
            assert!(suites.len() >= 5, "{seen}");
            for suite in suites {
                let sane = suite.contains("TLS_") || suite.contains("ECDHE-");
                let aead = suite.contains("GCM") || suite.contains("CHACHA20");
                assert!(sane && aead, "{suite}");
            }
        }
        // It is still there for others.
        let mut client = Client::hello(site.gatepost.smtp);
        client.expect("QUIT", "221");
    }
}
