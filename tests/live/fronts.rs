//! Programs in front that tell of the client more than its address: HAProxy of its certificate, Postfix of where a
//! message came from.

use crate::{
    backend::Backend,
    certificates::Authority,
    client::Client,
    delivery::pool,
    harness::{Gatepost, Running, free_address, greets, need, wait_until},
    postfix::Postfix,
    who::{FROM_HERE, binary, introduced, listening},
};
use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

const TRUSTED: &str = "client_trusted = [\"Relay.Partner.example\"]";

/// A route for every domain: only who is trusted gets that far.
const ANYWHERE: &str =
    "[[route]]\ndomains = [\"*\"]\npool = \"cluster\"\nrecipients = \"accept\"\n";

/// A fact of a version 2 header.
fn fact(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("short").to_be_bytes();
    [&[kind][..], &length, value].concat()
}

/// A header of a client under TLS: what it did (§2.2.5), what came of the check of its certificate, the name in it.
fn shown(did: u8, check: u32, name: &str) -> Vec<u8> {
    let facts = [
        &[did][..],
        &check.to_be_bytes(),
        &fact(0x21, b"TLSv1.3"),
        &fact(0x22, name.as_bytes()),
    ];
    let addresses = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 0, 25];
    let body = [&addresses[..], &fact(0x20, &facts.concat())].concat();
    binary(0x21, 0x11, &body)
}

/// What a recipient in a domain of others is told.
fn relayed(client: &mut Client) -> String {
    client.expect("MAIL FROM:<a@sender.example>", "250");
    let reply = client.command("RCPT TO:<b@elsewhere.example>");
    client.expect("RSET", "250");
    reply
}

/// HAProxy that ends TLS, looks at certificates of this authority, and tells Gatepost of them.
fn haproxy(
    program: &Path,
    folder: &Path,
    authority: &Authority,
    gatepost: &Gatepost,
) -> (Running, std::net::SocketAddr) {
    let front = free_address();
    let own = authority.issue(&["mx.example.net"]);
    fs::write(folder.join("both.pem"), own.chain + &own.key).expect("written");
    fs::write(folder.join("ca.pem"), authority.pem()).expect("written");
    let config = format!(
        "global\n  maxconn 50\ndefaults\n  mode tcp\n  timeout connect 60s\n  timeout client 60s\n  timeout server 60s\n\
         listen front\n  bind {front} ssl crt {folder}/both.pem ca-file {folder}/ca.pem verify optional crt-ignore-err all ca-ignore-err all\n\
         \x20 server gatepost {smtp} send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher\n",
        folder = folder.display(),
        smtp = gatepost.smtp,
    );
    fs::write(folder.join("haproxy.cfg"), config).expect("written");
    let running = Running::start(
        Command::new(program)
            .arg("-db")
            .arg("-f")
            .arg(folder.join("haproxy.cfg"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    );
    wait_until("HAProxy listens", || {
        std::net::TcpStream::connect(front).ok()
    });
    (running, front)
}

/// What `openssl s_client` was told when it sent these lines, with these arguments.
fn openssl(to: std::net::SocketAddr, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-quiet", "-crlf", "-ign_eof", "-connect"])
        .arg(to.to_string())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("runs");
    // It may have ended by now; then the output says why.
    let _ = child
        .stdin
        .take()
        .expect("piped")
        .write_all(input.as_bytes());
    let out = child.wait_with_output().expect("ends");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

crate::on_all_engines! {
    fn a_name_that_a_proxy_has_verified_is_trusted(engine) {
        let backend = Backend::good(free_address());
        let keys = format!("{FROM_HERE}\n{TRUSTED}");
        let gatepost = listening(engine, &backend, ANYWHERE, &keys);
        for (did, check, name, trusted) in [
            // TLS, and a certificate: in this connection, or in its session.
            (1 | 2 | 4, 0, "relay.partner.example", true),
            (1 | 4, 0, "RELAY.partner.example", true),
            (1 | 4, 0, "other.partner.example", false),
            (1 | 4, 0, "relay.partner.example.evil.example", false),
            // It was looked at and found bad; none was shown.
            (1 | 2 | 4, 18, "relay.partner.example", false),
            (1, 0, "relay.partner.example", false),
        ] {
            let mut client = introduced(gatepost.smtp, &[&shown(did, check, name)]);
            let reply = relayed(&mut client);
            let expected = if trusted { "250" } else { "550 5.7.1" };
            assert!(reply.starts_with(expected), "{did} {check} {name}: {reply}");
            client.expect("QUIT", "221");
        }
        // XCLIENT makes it somebody else, whose certificate nobody has seen.
        let keys = format!("{keys}\nxclient_from = [\"192.0.2.0/24\"]");
        let gatepost = listening(engine, &backend, ANYWHERE, &keys);
        let mut client = introduced(gatepost.smtp, &[&shown(1 | 4, 0, "relay.partner.example")]);
        client.expect("XCLIENT ADDR=192.0.2.99", "220");
        client.expect("EHLO client.example", "250");
        let reply = relayed(&mut client);
        assert!(reply.starts_with("550 5.7.1"), "{reply}");
    }

    fn who_is_no_proxy_is_believed_no_name(engine) {
        let backend = Backend::good(free_address());
        let keys = format!("proxy_protocol_from = [\"192.0.2.0/24\"]\n{TRUSTED}");
        let gatepost = listening(engine, &backend, ANYWHERE, &keys);
        let mut client = Client::silent(gatepost.smtp);
        client.try_raw(&shown(1 | 4, 0, "relay.partner.example"));
        client.try_raw(b"EHLO client.example\r\nMAIL FROM:<a@sender.example>\r\nRCPT TO:<b@elsewhere.example>\r\n");
        let said = client.rest();
        assert!(!said.contains("250 2.1.5"), "{said}");
        let mut client = Client::hello(gatepost.smtp);
        let reply = relayed(&mut client);
        assert!(reply.starts_with("550 5.7.1"), "{reply}");
    }

    fn haproxy_tells_of_the_certificate(engine) {
        let Some(program) = need("haproxy") else { return };
        if need("openssl").is_none() { return }
        let backend = Backend::good(free_address());
        let gatepost = listening(engine, &backend, &format!("{ANYWHERE}[policy.early_talk]\nmode = \"off\"\n"), &format!("{FROM_HERE}\n{TRUSTED}"));
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new();
        let (_running, front) = haproxy(&program, folder.path(), &authority, &gatepost);
        let script = "EHLO client.example\nMAIL FROM:<a@sender.example>\nRCPT TO:<b@elsewhere.example>\nQUIT\n";
        for (at, (issuer, name, trusted)) in [
            (&authority, "relay.partner.example", true),
            (&authority, "other.partner.example", false),
            (&Authority::new(), "relay.partner.example", false),
        ].into_iter().enumerate() {
            let (chain, key) = issuer.issue(&[name]).write(folder.path(), &format!("client{at}"));
            let arguments = ["-cert", chain.to_str().expect("UTF-8"), "-key", key.to_str().expect("UTF-8")];
            let seen = openssl(front, &arguments, script);
            assert_eq!(seen.contains("250 2.1.5"), trusted, "{at} {name}: {seen}");
            assert_eq!(seen.contains("550 5.7.1"), !trusted, "{at} {name}: {seen}");
        }
        gatepost.log_line(&["via=127.", "via_tls=TLSv1.3", "via_certificate=relay.partner.example"]);
        let seen = openssl(front, &[], script);
        assert!(seen.contains("550 5.7.1"), "{seen}");
    }

    /// Postfix takes mail, and sends it through Gatepost as a filter, with XFORWARD.
    fn postfix_tells_where_a_message_came_from(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &format!(
            "{}[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\nxforward_from = [\"127.0.0.0/8\"]\n", pool(&[&backend], "")
        ));
        let (ip, port) = (gatepost.smtp.ip(), gatepost.smtp.port());
        let lines = "smtp_send_xforward_command = yes\nsmtp_tls_security_level = none\nsmtpd_authorized_xclient_hosts = 127.0.0.0/8\n";
        let options = format!("-o content_filter=smtp:[{ip}]:{port} -o smtpd_recipient_restrictions=permit_auth_destination,reject");
        let Some(postfix) = Postfix::start_as(|_| lines.to_owned(), &options) else { return };
        wait_until("Postfix greets", || greets(postfix.address));
        for (sender, named) in [("a@sender.example", "NAME=spike.example ADDR=192.0.2.7"), ("c@sender.example", "NAME=nine.example ADDR=198.51.100.9")] {
            let mut client = Client::hello(postfix.address);
            client.expect(&format!("XCLIENT {named} HELO=said.example"), "220");
            client.expect("EHLO said.example", "250");
            let reply = client.send(sender, &["b@example.net"], "Subject: x\r\n\r\nx\r\n");
            assert!(reply.starts_with("250"), "{reply}\n{}", postfix.log());
        }
        wait_until("both have gone through", || (backend.messages().len() == 2).then_some(()));
        for (sender, origin, name) in [("a@sender.example", "192.0.2.7", "spike.example"), ("c@sender.example", "198.51.100.9", "nine.example")] {
            let from = format!("from={sender}");
            let line = gatepost.log_line(&[&from, "verdict=accept"]);
            for part in [&format!("origin={origin} "), &format!("origin_name={name} "), "origin_helo=said.example ", "client=127.", "helo=postfix.example"] {
                assert!(line.contains(part), "{part}: {line}");
            }
            // The message's name there.
            let id = line.split("origin_id=").nth(1).and_then(|rest| rest.split(' ').next()).expect("one");
            assert!(postfix.log().contains(&format!("{id}: client={name}[{origin}]")), "{id}: {}", postfix.log());
            // What is judged, and told to who reads the message, is the client that speaks.
            let messages = backend.messages();
            let message = messages.iter().find(|message| message.mail.contains(sender)).expect("there");
            assert!(message.text().starts_with("Received: from postfix.example ("), "{}", message.text());
        }
    }
}
