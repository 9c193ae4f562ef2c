//! TLS on the way to the backends: a real Postfix with good and bad certificates, and backends that play tricks.

use crate::{
    backend::{Act, Backend, EXTENSIONS},
    certificates::{Authority, of_its_own},
    client::Client,
    delivery::pool,
    harness::{Gatepost, free_address, home},
    postfix::Postfix,
};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::Arc,
    thread,
};

pub const QUICK: &str =
    "recipients = \"accept\"\n[timeouts]\nconnect = \"2s\"\nbackend = \"2s\"\ncommit = \"2s\"\n";

pub fn send(gatepost: &Gatepost) -> String {
    let body = "Subject: x\r\n\r\nx\r\n";
    Client::hello(gatepost.smtp).send("a@sender.example", &["b@example.net"], body)
}

/// Gatepost before the server at `backend`.
pub fn before(engine: &str, backend: SocketAddr, keys: &str) -> Gatepost {
    let config = format!(
        "[[pool]]\nname = \"cluster\"\nbackends = [\"{backend}\"]\n{keys}\n\
         [[route]]\ndomains = [\"example.net\"]\npool = \"cluster\"\n{QUICK}"
    );
    Gatepost::start(engine, &config)
}

/// A Postfix with this certificate and more lines of main.cf.
pub fn postfix(pem: &crate::certificates::Pem, more: &str) -> Option<Postfix> {
    let lines = |folder: &Path| {
        let (chain, key) = pem.write(folder, "server");
        format!(
            "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\n\
             smtpd_tls_loglevel = 1\n{}",
            chain.display(),
            key.display(),
            more.replace("FOLDER", &folder.display().to_string())
        )
    };
    Postfix::start_as(lines, "-o smtpd_client_port_logging=yes")
}

pub fn ca(gatepost_folder: &Path, authority: &Authority) -> String {
    let file = gatepost_folder.join("ca.pem");
    fs::write(&file, authority.pem()).expect("written");
    file.display().to_string()
}

/// A server of one connection after another: STARTTLS, TLS, and then what `tls` does with the connection.
fn secured(
    config: ServerConfig,
    tls: impl Fn(StreamOwned<ServerConnection, TcpStream>) + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind(free_address()).expect("the address is free");
    let address = listener.local_addr().expect("bound");
    let config = Arc::new(config);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut plain = BufReader::new(stream);
            let mut line = String::new();
            let _ = plain.get_mut().write_all(b"220 backend.example\r\n");
            while plain.read_line(&mut line).is_ok_and(|octets| octets > 0) {
                let reply: &[u8] = match line.get(..4) {
                    Some("EHLO") => b"250-backend.example\r\n250 STARTTLS\r\n",
                    Some("STAR") => b"220 go\r\n",
                    _ => b"221 bye\r\n",
                };
                let _ = plain.get_mut().write_all(reply);
                if line.starts_with("STAR") {
                    let server = ServerConnection::new(Arc::clone(&config)).expect("a server");
                    tls(StreamOwned::new(server, plain.into_inner()));
                    break;
                }
                line.clear();
            }
        }
    });
    address
}

fn server_config(alpn: &[&[u8]]) -> ServerConfig {
    let pem = Authority::new().issue(&["backend.example"]);
    let chain = CertificateDer::pem_slice_iter(pem.chain.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain.map(|one| one.expect("PEM")).collect(), key)
        .expect("they belong together");
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

/// Serves SMTP over TLS up to the dot; what follows it is `last`, and then the connection is cut without a farewell.
fn up_to_the_dot(mut stream: StreamOwned<ServerConnection, TcpStream>, last: &[u8]) {
    let (mut seen, mut octet) = (Vec::new(), [0]);
    let mut in_data = false;
    while stream.read(&mut octet).is_ok_and(|octets| octets > 0) {
        seen.push(octet[0]);
        if !seen.ends_with(b"\r\n") || (in_data && !seen.ends_with(b"\r\n.\r\n")) {
            continue;
        }
        if in_data {
            let _ = stream.write_all(last);
            let _ = stream.flush();
            // No close_notify: who cuts the wire can't make one.
            let _ = stream.sock.shutdown(std::net::Shutdown::Both);
            return;
        }
        in_data = seen.starts_with(b"DATA");
        let reply: &[u8] = if in_data {
            b"354 go\r\n"
        } else {
            b"250 fine\r\n"
        };
        let _ = stream.write_all(reply);
        seen.clear();
    }
}

/// Takes a message by BDAT over TLS, says so, and ends its side without a close_notify, as many servers do.
fn takes_and_goes(mut stream: StreamOwned<ServerConnection, TcpStream>) {
    let (mut seen, mut octet) = (Vec::new(), [0]);
    while stream.read(&mut octet).is_ok_and(|octets| octets > 0) {
        seen.push(octet[0]);
        if !seen.ends_with(b"\r\n") {
            continue;
        }
        let line = String::from_utf8_lossy(&seen).into_owned();
        seen.clear();
        let mut words = line.split_whitespace();
        let reply: &[u8] = match words.next() {
            Some("EHLO") => b"250-backend.example\r\n250 CHUNKING\r\n",
            Some("BDAT") => {
                let size = words.next().and_then(|size| size.parse().ok()).unwrap_or(0);
                let _ = stream.read_exact(&mut vec![0; size]);
                b"250 2.0.0 taken\r\n"
            }
            _ => b"250 2.1.0 fine\r\n",
        };
        let _ = stream.write_all(reply);
        let _ = stream.flush();
        if reply.ends_with(b"taken\r\n") {
            let _ = stream.sock.shutdown(std::net::Shutdown::Write);
            // Until the other side closes, so that nothing is reset.
            while stream
                .sock
                .read(&mut [0; 64])
                .is_ok_and(|octets| octets > 0)
            {}
            return;
        }
    }
}

/// A backend that offers STARTTLS and does `act` when it's asked for.
pub fn tricky(act: impl Fn() -> Act + Send + Sync + 'static) -> Backend {
    let offers = [EXTENSIONS, &["STARTTLS"]].concat();
    Backend::start(free_address(), &offers, move |_, command| {
        match command {
            "STARTTLS" => act(),
            // What isn't SMTP is the beginning of a handshake.
            command if command.starts_with(|c: char| c.is_ascii_uppercase()) => Act::Usual,
            _ => Act::Hang,
        }
    })
}

pub fn mode(word: &str) -> String {
    format!("tls = \"{word}\"")
}

/// Nothing but these was said to a backend that could not be had over TLS.
pub fn said_nothing(backend: &Backend) {
    for (_, command) in backend.commands() {
        let fine = command.starts_with("EHLO") || command == "STARTTLS" || command == "QUIT";
        assert!(
            fine || !command.is_ascii() || !command.contains("MAIL"),
            "{command}"
        );
    }
    assert!(backend.messages().is_empty());
}

crate::on_all_engines! {
    fn a_yes_before_the_end_of_tls_without_a_farewell_is_a_yes(engine) {
        let address = secured(server_config(&[]), takes_and_goes);
        let gatepost = before(engine, address, &mode("required"));
        for _ in 0..3 {
            let reply = Client::hello(gatepost.smtp).send("a@sender.example", &["b@example.net"], "Subject: x\r\n\r\nx\r\n");
            assert!(reply.starts_with("250"), "{reply}");
        }
    }

    fn postfix_is_talked_to_over_tls_and_verified(engine) {
        let authority = Authority::new();
        let own = home().to_string();
        let Some(postfix) = postfix(&authority.issue(&[&own, "mta.example.net"]), "") else { return };
        let folder = tempfile::tempdir().expect("a folder");
        let anchors = ca(folder.path(), &authority);
        let others = tempfile::tempdir().expect("a folder");
        let foreign = ca(others.path(), &Authority::new());
        for keys in [
            mode("opportunistic"),
            mode("required"),
            format!("tls = \"verify\"\ntls_ca = \"{anchors}\""),
            format!("tls = \"verify\"\ntls_ca = \"{anchors}\"\ntls_name = \"mta.example.net\""),
        ] {
            let gatepost = before(engine, postfix.address, &keys);
            let reply = send(&gatepost);
            assert!(reply.starts_with("250"), "{keys}: {reply}\n{}{}", gatepost.errors(), postfix.log());
            gatepost.log_line(&["verdict=accept", "backend_tls=TLSv1.3"]);
            assert!(gatepost.metric("gatepost_backend_tls_total", "version=\"TLSv1.3\"") >= 1.0);
        }
        for (keys, why) in [
            (format!("tls = \"verify\"\ntls_ca = \"{anchors}\"\ntls_name = \"other.example.net\""), "name"),
            (format!("tls = \"verify\"\ntls_ca = \"{foreign}\""), "peer certificate"),
        ] {
            let gatepost = before(engine, postfix.address, &keys);
            let reply = send(&gatepost);
            assert!(reply.starts_with("451 4.4.1"), "{keys}: {reply}");
            assert!(gatepost.errors().to_lowercase().contains(why), "{why}: {}", gatepost.errors());
            assert!(gatepost.metric("gatepost_backend_connections_failed_total", "reason=\"tls\"") >= 1.0);
        }
    }

    fn a_certificate_that_the_operator_named_is_good_for_its_own_name(engine) {
        for alternatives in [true, false] {
            let own = of_its_own("localhost", alternatives);
            let Some(postfix) = postfix(&own, "") else { return };
            let folder = tempfile::tempdir().expect("a folder");
            let anchors = own.write(folder.path(), "own").0;
            let anchors = anchors.display();
            for (name, code) in [("localhost", "250"), ("other.example.net", "451")] {
                let keys = format!("tls = \"verify\"\ntls_ca = \"{anchors}\"\ntls_name = \"{name}\"");
                let gatepost = before(engine, postfix.address, &keys);
                let reply = send(&gatepost);
                assert!(reply.starts_with(code), "{name}, alternatives {alternatives}: {reply}");
            }
            // One of the same name that the operator did not name.
            let other = of_its_own("localhost", alternatives).write(folder.path(), "other").0;
            let keys = format!("tls = \"verify\"\ntls_ca = \"{}\"\ntls_name = \"localhost\"", other.display());
            let gatepost = before(engine, postfix.address, &keys);
            assert!(send(&gatepost).starts_with("451"));
        }
    }

    fn an_expired_certificate_is_none(engine) {
        let authority = Authority::new();
        let own = home().to_string();
        let Some(postfix) = postfix(&authority.expired(&[&own]), "") else { return };
        let folder = tempfile::tempdir().expect("a folder");
        let anchors = ca(folder.path(), &authority);
        let gatepost = before(engine, postfix.address, &format!("tls = \"verify\"\ntls_ca = \"{anchors}\""));
        let reply = send(&gatepost);
        assert!(reply.starts_with("451 4.4.1"), "{reply}");
        assert!(gatepost.errors().to_lowercase().contains("expired"), "{}", gatepost.errors());
    }

    fn postfix_is_shown_our_certificate(engine) {
        let authority = Authority::new();
        let asks = "smtpd_tls_security_level = encrypt\nsmtpd_tls_req_ccert = yes\nsmtpd_tls_CAfile = FOLDER/ca.pem\n";
        let folder = tempfile::tempdir().expect("a folder");
        let (chain, key) = authority.issue(&["edge.example"]).write(folder.path(), "client");
        let anchors = authority.pem();
        let lines = |at: &Path| {
            let (server, server_key) = authority.issue(&["mta.example.net"]).write(at, "server");
            fs::write(at.join("ca.pem"), &anchors).expect("written");
            format!("smtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\nsmtpd_tls_loglevel = 1\n{}",
                server.display(), server_key.display(), asks.replace("FOLDER", &at.display().to_string()))
        };
        let Some(postfix) = Postfix::start_as(lines, "") else { return };
        let keys = format!("tls = \"required\"\ntls_certificate = \"{}\"\ntls_key = \"{}\"", chain.display(), key.display());
        let gatepost = before(engine, postfix.address, &keys);
        let reply = send(&gatepost);
        assert!(reply.starts_with("250"), "{reply}\n{}{}", gatepost.errors(), postfix.log());
        assert!(postfix.log().contains("Trusted TLS connection established from"), "{}", postfix.log());
        let gatepost = before(engine, postfix.address, &mode("required"));
        assert!(send(&gatepost).starts_with("451"), "without one nothing goes");
    }

    fn a_stripped_offer_gets_nothing_in_the_clear(engine) {
        let backend = Backend::good(free_address());
        for word in ["required", "verify"] {
            let gatepost = Gatepost::start(engine, &(pool(&[&backend], &mode(word)) + QUICK));
            let reply = send(&gatepost);
            assert!(reply.starts_with("451 4.4.1"), "{word}: {reply}");
            said_nothing(&backend);
        }
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], &mode("opportunistic")) + QUICK));
        assert!(send(&gatepost).starts_with("250"));
        assert!(gatepost.metric("gatepost_backend_tls_total", "version=\"none\"") >= 1.0);
    }

    fn a_refused_starttls_is_a_no(engine) {
        let refuses = || tricky(|| Act::say("454 4.7.0 TLS not available"));
        let backend = refuses();
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], &mode("required")) + QUICK));
        let reply = send(&gatepost);
        assert!(reply.starts_with("451 4.4.1"), "{reply}");
        said_nothing(&backend);
        let backend = refuses();
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], &mode("opportunistic")) + QUICK));
        assert!(send(&gatepost).starts_with("250"));
        assert_eq!(backend.messages().len(), 1);
    }

    /// An attacker on the path puts an answer of his own after the 220, to be read as the backend's after the handshake.
    fn an_answer_behind_the_yes_is_not_interpreted(engine) {
        for word in ["opportunistic", "required"] {
            let backend = tricky(|| Act::say("220 go\r\n250-backend.example\r\n250 CHUNKING"));
            let gatepost = Gatepost::start(engine, &(pool(&[&backend], &mode(word)) + QUICK));
            let reply = send(&gatepost);
            assert!(reply.starts_with("451 4.4.1"), "{word}: {reply}");
            said_nothing(&backend);
        }
    }

    fn a_handshake_that_hangs_ends_and_leaves_time_for_the_clear(engine) {
        let hangs = || tricky(|| Act::say("220 go"));
        let backend = hangs();
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], &mode("required")) + QUICK));
        let reply = send(&gatepost);
        assert!(reply.starts_with("451 4.4.1"), "{reply}");
        said_nothing(&backend);
    }

    fn another_protocol_is_not_talked_to(engine) {
        let address = secured(server_config(&[b"http/1.1"]), |mut stream| {
            let _ = stream.read(&mut [0; 64]);
        });
        let gatepost = before(engine, address, &mode("required"));
        let reply = send(&gatepost);
        assert!(reply.starts_with("451 4.4.1"), "{reply}\n{}", gatepost.errors());
    }

    /// Half a reply, and the end without a QUIT: it can't be known whether the message was taken (INV-ONCE).
    fn a_reply_that_is_cut_off_is_uncertain(engine) {
        let address = secured(server_config(&[]), |stream| up_to_the_dot(stream, b"250 2.0.0 O"));
        let gatepost = before(engine, address, &mode("required"));
        let reply = send(&gatepost);
        assert!(reply.starts_with("451 4.4.2"), "{reply}\n{}", gatepost.errors());
        assert_eq!(gatepost.metric("gatepost_uncertain_total", ""), 1.0);
        let address = secured(server_config(&[b"smtp"]), |stream| up_to_the_dot(stream, b"250 2.0.0 Ok\r\n"));
        let gatepost = before(engine, address, &mode("required"));
        let reply = send(&gatepost);
        assert!(reply.starts_with("250"), "{reply}\n{}", gatepost.errors());
    }
}
