//! TLS in front: the programs that people use, and what goes wrong.

use crate::{
    backend::{Act, Backend, EXTENSIONS},
    certificates::{Authority, Pem},
    client::Client,
    delivery::pool,
    harness::{Gatepost, free_address, http, need, wait_until},
};
use std::{
    fs,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Gatepost with two listeners, `mx` with STARTTLS and `submissions` with implicit TLS, and a certificate.
struct Site {
    gatepost: Gatepost,
    backend: Backend,
    implicit: SocketAddr,
    authority: Authority,
    folder: tempfile::TempDir,
}

impl Site {
    /// `listener` is more of the STARTTLS one, `config` more tables.
    fn start(engine: &str, listener: &str, config: &str) -> Site {
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

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `openssl s_client` with what it is to send: what it showed, standard error behind it.
    fn openssl(&self, implicit: bool, arguments: &[&str], input: &str) -> String {
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

    fn handshakes(&self, labels: &str) -> f64 {
        self.gatepost
            .metric("gatepost_tls_handshakes_total", labels)
    }
}

/// Runs a program with some input: both of its outputs.
fn talk(command: &mut Command, input: &str) -> String {
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

    fn a_session_is_resumed_by_another_worker_and_after_a_reload(engine) {
        if need("openssl").is_none() { return; }
        let site = Site::start(engine, "", "");
        let (kept, kept_2) = (site.path("session"), site.path("session2"));
        for (version, file, outcome) in [("-tls1_3", &kept, "version=\"1.3\""), ("-tls1_2", &kept_2, "version=\"1.2\"")] {
            let file = file.to_str().expect("UTF-8");
            let seen = site.openssl(true, &[version, "-sess_out", file], "EHLO client.example\nQUIT\n");
            assert!(seen.contains("New, "), "{seen}");
            let seen = site.openssl(false, &[version, "-sess_in", file], "EHLO client.example\nQUIT\n");
            assert!(seen.contains("Reused, "), "the other listener takes it: {seen}");
            assert_eq!(site.handshakes(&format!("outcome=\"resumed\",{outcome}")), 1.0);
        }
        let (status, body) = http(site.gatepost.admin, "POST", "/reload");
        assert_eq!(status, 200, "{body}");
        let file = kept.to_str().expect("UTF-8");
        let seen = site.openssl(true, &["-tls1_3", "-sess_in", file], "EHLO client.example\nQUIT\n");
        assert!(seen.contains("Reused, "), "{seen}");
        site.gatepost.log_line(&["tls=TLSv1.3", "resumed=yes"]);
    }

    fn tickets_pass_between_two_workers(engine) {
        if need("openssl").is_none() { return; }
        // Each connection has a port of its own to come from, so the kernel spreads them over the two.
        let site = Site::start(engine, "", "");
        let text = fs::read_to_string(site.gatepost.file()).expect("there").replace("workers = 1", "workers = 2");
        let twin = Twin::start(&text, site.gatepost.smtp, site.implicit, site.gatepost.admin);
        let file = site.path("session");
        let file = file.to_str().expect("UTF-8");
        let seen = twin.openssl(&site, &["-tls1_3", "-sess_out", file]);
        assert!(seen.contains("New, "), "{seen}");
        // Of sixteen, all go to the worker of the first one in one run out of 65,536.
        for _ in 0..16 {
            let seen = twin.openssl(&site, &["-tls1_3", "-sess_in", file]);
            assert!(seen.contains("Reused, "), "{seen}");
        }
        // The id of a transaction tells the worker: it was another one that took the ticket than the one that gave it.
        let workers = |resumed: bool| -> Vec<u64> {
            let log = site.gatepost.log();
            let lines = log.lines().filter(|line| line.contains("resumed=yes") == resumed);
            lines.filter_map(worker_of).collect()
        };
        wait_until("seventeen lines", || (workers(false).len() == 1 && workers(true).len() == 16).then_some(()));
        let (giver, takers) = (workers(false)[0], workers(true));
        assert!(takers.iter().any(|taker| *taker != giver), "{giver} {takers:?}");
        let metrics = http(twin.admin, "GET", "/metrics").1;
        let resumed = |line: &&str| line.starts_with("gatepost_tls_handshakes_total{outcome=\"resumed\",version=\"1.3\"") && line.contains("submissions");
        assert!(metrics.lines().find(resumed).is_some_and(|line| line.ends_with(" 16")), "{metrics}");
    }

    fn clients_may_or_must_show_a_certificate(engine) {
        if need("openssl").is_none() { return; }
        for (word, anonymous) in [("optional", true), ("required", false)] {
            let listener = format!("client_certificates = \"{word}\"\nclient_ca = \"FOLDER/ca.pem\"\nclient_trusted = [\"relay.partner.example\"]\n");
            let site = Site::start(engine, &listener, "");
            let (chain, key) = site.authority.issue(&["relay.partner.example"]).write(site.folder.path(), "client");
            let shown = ["-cert", chain.to_str().expect("UTF-8"), "-key", key.to_str().expect("UTF-8")];
            let script = "EHLO client.example\nMAIL FROM:<a@sender.example>\nRCPT TO:<b@elsewhere.example>\nQUIT\n";
            let seen = site.openssl(false, &shown, script);
            assert!(!seen.contains("550 5.7.1 Relaying denied"), "its name is trusted: {seen}");
            assert!(seen.contains("221 2.0.0"), "{seen}");
            site.gatepost.log_line(&["certificate=relay.partner.example"]);
            let seen = site.openssl(false, &[], script);
            assert_eq!(seen.contains("550 5.7.1 Relaying denied"), anonymous, "{seen}");
            if !anonymous {
                site.gatepost.log_line(&["why=tls_no_client_certificate", "end=gatepost@tls"]);
            }
            // Somebody else's authority.
            let (chain, key) = Authority::new().issue(&["relay.partner.example"]).write(site.folder.path(), "forged");
            let forged = ["-cert", chain.to_str().expect("UTF-8"), "-key", key.to_str().expect("UTF-8")];
            let seen = site.openssl(false, &forged, script);
            assert!(!seen.contains("250 2.1.0"), "{seen}");
            site.gatepost.log_line(&["why=tls_bad_certificate"]);
        }
    }

    fn a_ticket_is_no_way_around_a_certificate(engine) {
        if need("openssl").is_none() { return; }
        let listener = "tls = \"implicit\"\nclient_certificates = \"required\"\nclient_ca = \"FOLDER/ca.pem\"\n";
        let site = Site::start(engine, listener, "");
        let file = site.path("session");
        let file = file.to_str().expect("UTF-8");
        let seen = site.openssl(true, &["-sess_out", file], "EHLO client.example\nQUIT\n");
        assert!(seen.contains("New, "), "{seen}");
        let to = site.gatepost.smtp.to_string();
        let seen = talk(Command::new("openssl").args(["s_client", "-connect", &to, "-servername", "mx.example.net", "-crlf",
            "-ign_eof", "-sess_in", file]), "EHLO client.example\nQUIT\n");
        assert!(!seen.contains("Reused, ") && !seen.contains("250-"), "{seen}");
        site.gatepost.log_line(&["why=tls_no_client_certificate"]);
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

/// A second Gatepost on the sockets of the first, which has gone.
struct Twin {
    admin: SocketAddr,
    implicit: SocketAddr,
    _process: crate::harness::Running,
    _folder: tempfile::TempDir,
}

impl Twin {
    fn start(text: &str, smtp: SocketAddr, implicit: SocketAddr, admin: SocketAddr) -> Twin {
        let (new_smtp, new_implicit, new_admin) = (free_address(), free_address(), free_address());
        let text = text
            .replace(&smtp.to_string(), &new_smtp.to_string())
            .replace(&implicit.to_string(), &new_implicit.to_string())
            .replace(&admin.to_string(), &new_admin.to_string());
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("twin.toml");
        fs::write(&file, text).expect("written");
        let process = crate::harness::Running::start(
            Command::new(env!("CARGO_BIN_EXE_gatepost"))
                .args(["run", "-c"])
                .arg(&file)
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        wait_until("the twin greets", || crate::harness::greets(new_smtp));
        Twin {
            admin: new_admin,
            implicit: new_implicit,
            _process: process,
            _folder: folder,
        }
    }

    fn openssl(&self, site: &Site, arguments: &[&str]) -> String {
        let mut command = Command::new("openssl");
        command.args([
            "s_client",
            "-connect",
            &self.implicit.to_string(),
            "-servername",
            "mx.example.net",
            "-crlf",
            "-ign_eof",
            "-CAfile",
        ]);
        command.arg(site.path("ca.pem")).args(arguments);
        let said = "EHLO client.example\nMAIL FROM:<a@sender.example>\nRSET\nQUIT\n";
        talk(&mut command, said)
    }
}

/// The worker that a log line's id names: thirteen digits of Crockford's base 32, of whose number the six bits above the
/// lowest fourteen are the worker.
fn worker_of(line: &str) -> Option<u64> {
    let id = line.split(' ').find_map(|word| word.strip_prefix("id="))?;
    let digit = |c| "0123456789ABCDEFGHJKMNPQRSTVWXYZ".find(c);
    let number = id
        .chars()
        .try_fold(0, |sum: u64, c| Some(sum << 5 | digit(c)? as u64))?;
    Some(number >> 14 & 63)
}

/// `gatepost check` or `run` of a file with this certificate: exit code, and what it said.
fn judged(command: &str, folder: &Path, chain: &str, key: &str) -> (Option<i32>, String) {
    let file = folder.join("gatepost.toml");
    let (smtp, admin) = (free_address(), free_address());
    let backend = Backend::start(free_address(), EXTENSIONS, |_, _| Act::Usual);
    let text = format!(
        "hostname = \"edge.example\"\n[admin]\nlisten = \"{admin}\"\n[[listener]]\nname = \"mx\"\naddress = [\"{smtp}\"]\ntls = \"starttls\"\n[[certificate]]\nchain = \"{chain}\"\nkey = \"{key}\"\n{}",
        pool(&[&backend], "")
    );
    fs::write(&file, text).expect("written");
    let out = Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .args([command, "-c"])
        .arg(&file)
        .output()
        .expect("runs");
    (
        out.status.code(),
        String::from_utf8_lossy(&out.stderr).into_owned(),
    )
}

#[test]
fn a_certificate_that_can_not_be_used_is_told_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let authority = Authority::new();
    authority
        .issue(&["mx.example.net"])
        .write(folder.path(), "good");
    authority
        .issue(&["mx.example.net"])
        .write(folder.path(), "other");
    authority
        .expired(&["mx.example.net"])
        .write(folder.path(), "old");
    fs::write(path("empty.pem"), "").expect("written");
    fs::write(
        path("broken.pem"),
        "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
    )
    .expect("written");
    fs::write(
        path("nonsense.pem"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .expect("written");
    for (chain, key, line, parts) in [
        (
            "good.pem",
            "other.key",
            10,
            &["other.key", "does not belong to the certificate"][..],
        ),
        ("old.pem", "old.key", 9, &["old.pem", "has expired on"]),
        (
            "missing.pem",
            "good.key",
            9,
            &["missing.pem", "can't be read"],
        ),
        (
            "good.pem",
            "missing.key",
            10,
            &["missing.key", "can't be read"],
        ),
        (
            "empty.pem",
            "good.key",
            9,
            &["empty.pem", "no certificate in it"],
        ),
        ("broken.pem", "good.key", 9, &["broken.pem", "no sound PEM"]),
        ("nonsense.pem", "good.key", 10, &["can't be read"]),
        (
            "good.pem",
            "good.pem",
            10,
            &["good.pem", "no private key in it"],
        ),
    ] {
        for command in ["check", "run"] {
            let (code, text) = judged(command, folder.path(), &path(chain), &path(key));
            assert_eq!(code, Some(78), "{chain} {key}: {text}");
            assert!(
                text.contains(&format!("gatepost.toml:{line}:")),
                "{chain} {key}: {text}"
            );
            assert!(
                parts.iter().all(|part| text.contains(part)),
                "{chain} {key}: {text}"
            );
        }
    }
    let (code, text) = judged("check", folder.path(), &path("good.pem"), &path("good.key"));
    assert_eq!(code, Some(0), "{text}");
    authority
        .ending(&["mx.example.net"])
        .write(folder.path(), "ending");
    let (code, text) = judged(
        "check",
        folder.path(),
        &path("ending.pem"),
        &path("ending.key"),
    );
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("warning") && text.contains("the certificate of mx.example.net ends on"),
        "{text}"
    );
}
