//! Who the client is: PROXY headers, XCLIENT and XFORWARD, by hand and by the programs that send them.

use crate::{
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{Gatepost, Running, free_address, greets, need, wait_until},
};
use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    process::{Command, Stdio},
};

const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 25\r\n";

/// A version 2 header: command and family, and what stands after the length.
pub fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("short").to_be_bytes();
    [
        b"\r\n\r\n\0\r\nQUIT\n",
        &[command, family][..],
        &length,
        body,
    ]
    .concat()
}

/// Gatepost whose one listener has these keys; what else it has stands in front of them.
pub fn listening(engine: &str, backend: &Backend, more: &str, keys: &str) -> Gatepost {
    let listener = format!("[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\n{keys}\n");
    Gatepost::start(
        engine,
        &format!("{more}\n{}{listener}", pool(&[backend], "")),
    )
}

pub const FROM_HERE: &str = "proxy_protocol_from = [\"127.0.0.0/8\"]";
const BLOCKED: &str =
    "[[policy.client_list]]\nname = \"blocked\"\nentries = [\"203.0.113.0/24\"]\n";

/// A connection that begins with these bytes, after its greeting and EHLO.
pub fn introduced(address: SocketAddr, pieces: &[&[u8]]) -> Client {
    let mut client = Client::silent(address);
    for piece in pieces {
        client.raw(piece);
    }
    let greeting = client.reply();
    assert!(greeting.starts_with("220"), "{greeting:?}");
    client.expect("EHLO client.example", "250");
    client
}

crate::on_all_engines! {
    fn a_proxy_names_the_client(engine) {
        let backend = Backend::good(free_address());
        let gatepost = listening(engine, &backend, BLOCKED, FROM_HERE);
        let (head, tail) = LINE.split_at(9);
        for pieces in [&[LINE][..], &[head, tail], &[&binary(0x21, 0x11, &[192, 0, 2, 7, 1, 1, 1, 1, 0xdc, 4, 0, 25])]] {
            let mut client = introduced(gatepost.smtp, pieces);
            assert!(client.send("a@sender.example", &["b@example.net"], "x\r\n").starts_with("250"));
            client.expect("QUIT", "221");
        }
        for message in backend.messages() {
            assert!(message.text().contains("from client.example ([192.0.2.7])"), "{}", message.text());
        }
        assert_eq!(backend.messages().len(), 3);
        gatepost.log_line(&["verdict=accept", "client=192.0.2.7", "via=127."]);
        // What follows in the same segment is the client's.
        let mut client = Client::silent(gatepost.smtp);
        client.raw(&[LINE, b"EHLO client.example\r\n"].concat());
        assert!(client.reply().starts_with("220"));
        assert!(client.reply().starts_with("250-"));
        client.expect("MAIL FROM:<a@sender.example>", "250");
        // It is the client that is judged.
        let mut client = Client::silent(gatepost.smtp);
        client.raw(b"PROXY TCP4 203.0.113.9 198.51.100.1 56324 25\r\n");
        assert!(client.reply().starts_with("554"));
        gatepost.log_line(&["verdict=none", "client=203.0.113.9", "via=127.", "client_list.blocked:reject"]);
    }

    fn a_proxy_without_a_client_speaks_for_itself(engine) {
        let backend = Backend::good(free_address());
        let gatepost = listening(engine, &backend, "", FROM_HERE);
        for (at, header) in [binary(0x20, 0, b""), binary(0x21, 0, b""), b"PROXY UNKNOWN\r\n".to_vec()].iter().enumerate() {
            let mut client = introduced(gatepost.smtp, &[header]);
            let sender = format!("s{at}@sender.example");
            assert!(client.send(&sender, &["b@example.net"], "x\r\n").starts_with("250"));
            let line = gatepost.log_line(&["verdict=accept", &sender]);
            assert!(line.contains("client=127.") && !line.contains("via="), "{line}");
        }
    }

    fn whatever_is_no_header_ends_the_connection_unanswered(engine) {
        let backend = Backend::good(free_address());
        let gatepost = listening(engine, &backend, "[timeouts]\nproxy_header = \"1s\"\n", FROM_HERE);
        let broken: &[&[u8]] = &[
            b"EHLO client.example\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
            b"PROXY TCP4 2001:db8::1 198.51.100.1 56324 25\r\n",
            &[b'P', b'R', b'O', b'X', b'Y', b' '].iter().chain(&[b'x'; 200]).copied().collect::<Vec<u8>>(),
            &binary(0x21, 0x11, &[0; 5000]),
            &binary(0x21, 0x21, &[0; 12]),
            b"\x16\x03\x01\x02\x00\x01",
        ];
        let refused = |count: usize| {
            let seen = || gatepost.metric("gatepost_connections_refused_total", "reason=\"proxy_header\"") as usize;
            wait_until("the refusals are counted", || (seen() == count).then_some(()));
        };
        for (at, bytes) in broken.iter().enumerate() {
            let mut client = Client::silent(gatepost.smtp);
            client.try_raw(bytes);
            assert_eq!(client.rest(), "", "{bytes:?}");
            refused(at + 1);
        }
        // Cut short, and never finished.
        let mut client = Client::silent(gatepost.smtp);
        client.raw(&LINE[..20]);
        client.half_close();
        assert_eq!(client.rest(), "");
        let mut client = Client::silent(gatepost.smtp);
        client.raw(&LINE[..20]);
        assert_eq!(client.rest(), "");
        refused(broken.len() + 2);
        gatepost.log_line(&["verdict=none", "PROXY header timed out"]);
        gatepost.log_line(&["verdict=none", "PROXY header cut short"]);
        gatepost.log_line(&["verdict=none", "PROXY header missing"]);
        // A look at the port is no fault.
        drop(Client::silent(gatepost.smtp));
        let mut client = introduced(gatepost.smtp, &[LINE]);
        client.expect("QUIT", "221");
        refused(broken.len() + 2);
        wait_until("no session is left", || (gatepost.metric("gatepost_sessions_open", "") == 0.0).then_some(()));
    }

    fn a_strangers_header_is_no_smtp(engine) {
        let backend = Backend::good(free_address());
        let gatepost = listening(engine, &backend, "", "proxy_protocol_from = [\"192.0.2.0/24\"]");
        let (mut client, greeting) = Client::greeted(gatepost.smtp);
        assert!(greeting.starts_with("220"));
        client.raw(LINE);
        assert!(client.reply().starts_with("500"));
        client.expect("EHLO client.example", "250");
        assert!(client.send("a@sender.example", &["b@example.net"], "x\r\n").starts_with("250"));
        let line = gatepost.log_line(&["verdict=accept"]);
        assert!(line.contains("client=127."), "{line}");
    }

    fn xclient_makes_the_session_the_clients(engine) {
        let backend = Backend::good(free_address());
        let gatepost = listening(
            engine, &backend,
            &format!("trusted = [\"192.0.2.200/32\"]\n{BLOCKED}[policy.client_rate]\nsessions = 1\n"),
            // Clients that may name the next one themselves, too.
            "xclient_from = [\"127.0.0.0/8\", \"192.0.2.0/24\", \"0.0.0.0\"]",
        );
        let mut client = Client::hello(gatepost.smtp);
        client.expect("XCLIENT NAME=spike.example ADDR=192.0.2.7 PORT=56324", "220");
        client.expect("EHLO spike.example", "250");
        client.expect("MAIL FROM:<a@sender.example>", "250");
        client.expect("RCPT TO:<x@elsewhere.example>", "550"); // no relay
        client.expect("RSET", "250");
        assert!(client.send("a@sender.example", &["b@example.net"], "x\r\n").starts_with("250"));
        assert!(backend.messages()[0].text().contains("from spike.example ([192.0.2.7])"));
        gatepost.log_line(&["verdict=accept", "client=192.0.2.7", "client_name=spike.example", "via=127."]);
        // The same address once more is one session too many, for all that the proxy's own is free.
        let mut second = Client::hello(gatepost.smtp);
        let reply = second.command("XCLIENT ADDR=192.0.2.7");
        assert!(reply.starts_with("421") || reply.starts_with("450"), "{reply}");
        // Its place is given back when the proxy goes on to another client.
        client.expect("XCLIENT ADDR=192.0.2.200", "220");
        drop(second);
        wait_until("the place is free", || {
            let mut third = Client::hello(gatepost.smtp);
            third.command("XCLIENT ADDR=192.0.2.7").starts_with("220").then_some(())
        });
        // A trusted client's mail may go anywhere, one nobody knows is nobody.
        client.expect("EHLO x.example", "250");
        client.expect("MAIL FROM:<a@sender.example>", "250");
        assert!(!client.command("RCPT TO:<x@elsewhere.example>").starts_with("550 5.7.1"));
        client.expect("RSET", "250");
        client.expect("XCLIENT ADDR=[UNAVAILABLE]", "220");
        client.expect("EHLO x.example", "250");
        client.expect("MAIL FROM:<a@sender.example>", "250");
        client.expect("RCPT TO:<x@elsewhere.example>", "550 5.7.1");
        client.expect("RSET", "250");
        let reply = client.command("XCLIENT ADDR=203.0.113.9");
        assert!(reply.starts_with("554"), "{reply}");
        assert_eq!(client.rest(), "");
    }

    /// What follows an XCLIENT may be the client's own words: some proxies only pass them on.
    fn a_client_that_xclient_named_can_name_no_other(engine) {
        let backend = Backend::good(free_address());
        let gatepost = listening(engine, &backend, "trusted = [\"192.0.2.200\"]\n", "xclient_from = [\"127.0.0.0/8\"]\nxforward_from = [\"127.0.0.0/8\"]");
        for again in ["XCLIENT ADDR=192.0.2.200", "XCLIENT ADDR=127.0.0.1", "XCLIENT LOGIN=boss", "XFORWARD ADDR=192.0.2.200"] {
            let mut client = Client::hello(gatepost.smtp);
            client.expect("XCLIENT ADDR=192.0.2.7", "220");
            client.expect(again, "550 5.7.0");
            let offered = client.expect("EHLO client.example", "250");
            assert!(!offered.contains("XCLIENT") && !offered.contains("XFORWARD"), "{offered}");
            client.expect(again, "550 5.7.0");
            client.expect("MAIL FROM:<a@sender.example>", "250");
            client.expect("RCPT TO:<x@elsewhere.example>", "550 5.7.1 Relaying denied");
        }
        // Without an address it is still the proxy.
        let mut client = Client::hello(gatepost.smtp);
        client.expect("XCLIENT NAME=spike.example", "220");
        client.expect("XCLIENT ADDR=[UNAVAILABLE] NAME=other.example", "220");
        client.expect("XCLIENT ADDR=192.0.2.200", "550 5.7.0");
    }

    fn xclient_and_xforward_are_for_the_listed(engine) {
        let backend = Backend::good(free_address());
        let gatepost = listening(engine, &backend, "", "xforward_from = [\"127.0.0.0/8\"]\nxclient_from = [\"192.0.2.0/24\"]");
        let (mut client, _) = Client::greeted(gatepost.smtp);
        let offered = client.expect("EHLO filter.example", "250");
        assert!(offered.contains("XFORWARD NAME ADDR") && !offered.contains("XCLIENT"), "{offered}");
        client.expect("XCLIENT ADDR=192.0.2.7", "550 5.7.0");
        client.expect("XFORWARD NAME=spike.example ADDR=IPV6:2001:db8::7 IDENT=4bXyz HELO=spike", "250");
        assert!(client.send("a@sender.example", &["b@example.net"], "x\r\n").starts_with("250"));
        gatepost.log_line(&["client=127.", "origin=2001:db8::7", "origin_name=spike.example", "origin_helo=spike", "origin_id=4bXyz"]);
        // It was said of that message.
        assert!(client.send("c@sender.example", &["b@example.net"], "x\r\n").starts_with("250"));
        let line = gatepost.log_line(&["from=c@sender.example"]);
        assert!(!line.contains("origin="), "{line}");
    }

    fn haproxy_in_front(engine) {
        let Some(haproxy) = need("haproxy") else { return };
        let backend = Backend::good(free_address());
        let folder = tempfile::tempdir().expect("a folder");
        let (plain, secured, through, implicit) = (free_address(), free_address(), free_address(), free_address());
        let both = folder.path().join("both.pem");
        certificate(&both);
        let more = format!(
            "[[certificate]]\nchain = \"{0}\"\nkey = \"{0}\"\n[[listener]]\nname = \"smtps\"\naddress = [\"{implicit}\"]\ntls = \"implicit\"\n{FROM_HERE}\n",
            both.display()
        );
        let gatepost = listening(engine, &backend, &more, FROM_HERE);
        let config = format!(
            "global\n  maxconn 50\ndefaults\n  mode tcp\n  timeout connect 60s\n  timeout client 60s\n  timeout server 60s\n\
             listen plain\n  bind {plain}\n  server gatepost {smtp} send-proxy\n\
             listen through\n  bind {through}\n  server gatepost {implicit} send-proxy-v2\n\
             listen secured\n  bind {secured} ssl crt {folder}/both.pem\n  server gatepost {smtp} send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher,authority,crc32c\n",
            smtp = gatepost.smtp, folder = folder.path().display(),
        );
        fs::write(folder.path().join("haproxy.cfg"), config).expect("written");
        let _running = Running::start(
            Command::new(haproxy).arg("-db").arg("-f").arg(folder.path().join("haproxy.cfg"))
                .stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()),
        );
        wait_until("HAProxy passes a greeting on", || greets(plain));
        let mut client = Client::hello(plain);
        assert!(client.send("plain@sender.example", &["b@example.net"], "x\r\n").starts_with("250"));
        gatepost.log_line(&["from=plain@sender.example", "client=127.", "via=127."]);
        let Some(python) = need("python3") else { return };
        // HAProxy ends TLS, or passes it through after its header.
        for (name, address) in [("tls", secured), ("through", through)] {
            let script = format!(
                "import smtplib, ssl\ncontext = ssl._create_unverified_context()\n\
                 client = smtplib.SMTP_SSL('{}', {}, 'python.example', context=context, timeout=60)\n\
                 client.sendmail('{name}@sender.example', ['b@example.net'], 'x')\n",
                address.ip(), address.port()
            );
            let ran = Command::new(&python).args(["-c", &script]).output().expect("runs");
            assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        }
        gatepost.log_line(&["from=through@sender.example", "listener=smtps", "via=127.", "tls=TLSv1.3"]);
        gatepost.log_line(&["from=tls@sender.example", "via=127.", "via_tls=TLSv1.3", "via_cipher=TLS_"]);
    }

    fn nginx_in_front(engine) {
        let Some(nginx) = need("nginx") else { return };
        let module = "/usr/lib/nginx/modules/ngx_mail_module.so";
        if !Path::new(module).is_file() {
            crate::harness::leave_out("nginx's mail proxy: the module is not installed");
            return;
        }
        let backend = Backend::good(free_address());
        let gatepost = listening(engine, &backend, "trusted = [\"192.0.2.200\"]\n", "xclient_from = [\"127.0.0.1\"]");
        let folder = tempfile::tempdir().expect("a folder");
        let (front, service) = (free_address(), free_address());
        let config = format!(
            "load_module {module};\ndaemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/log;\nevents {{}}\n\
             http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n\
             server {{ listen {service}; location / {{ add_header Auth-Status OK; add_header Auth-Server {ip}; add_header Auth-Port {port}; return 200 ''; }} }} }}\n\
             mail {{ server_name nginx.example; auth_http {service}/;\n\
             server {{ listen {front}; protocol smtp; smtp_auth none; xclient on; proxy on; }} }}\n",
            folder = folder.path().display(), ip = gatepost.smtp.ip(), port = gatepost.smtp.port(),
        );
        fs::write(folder.path().join("nginx.conf"), config).expect("written");
        let _running = Running::start(
            Command::new(nginx).arg("-c").arg(folder.path().join("nginx.conf")).arg("-e").arg(folder.path().join("log"))
                .stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()),
        );
        wait_until("nginx greets", || greets(front));
        let mut client = Client::hello_from(IpAddr::from([127, 77, 1, 7]), front);
        assert!(client.send("a@sender.example", &["b@example.net"], "x\r\n").starts_with("250"));
        let line = gatepost.log_line(&["verdict=accept", "from=a@sender.example", "via=127.", "helo=client.example"]);
        assert!(line.contains("client=127.77.1.7 "), "{line}");
        // From here on it passes on whatever its client says.
        let offered = client.expect("EHLO client.example", "250");
        assert!(!offered.contains("XCLIENT"), "{offered}");
        client.expect("XCLIENT ADDR=192.0.2.200", "550 5.7.0");
        client.expect("MAIL FROM:<a@sender.example>", "250");
        client.expect("RCPT TO:<x@elsewhere.example>", "550 5.7.1 Relaying denied");
    }
}

/// A certificate and its key, as HAProxy wants them: in one file.
fn certificate(file: &Path) {
    let made =
        rcgen::generate_simple_self_signed(vec!["mx.example.net".to_string()]).expect("made");
    let both = made.cert.pem() + &made.signing_key.serialize_pem();
    fs::write(file, both).expect("written");
}
