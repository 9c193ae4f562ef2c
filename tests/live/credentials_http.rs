//! Credential sources that are asked over HTTP: endpoints of our own, and nginx's mail proxy, to see that it asks the same.

use crate::{
    client::Client,
    credentials::{ask, introspection, password, source, token},
    endpoint::{Answer, Endpoint, runtime},
    harness::{Gatepost, Running, free_address, greets, need, wait_until},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use gatepost::auth::{Attempt, Mechanism};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

#[test]
fn an_answer_to_one_client_is_none_to_another() {
    let web = Endpoint::start(|seen| {
        let here = seen.field("Client-IP") == "127.0.0.1";
        Answer::fields(&[("Auth-Status", if here { "OK" } else { "Not from there" })])
    });
    let gate = Gatepost::start(
        "epoll",
        &format!(
            "[[listener]]\nname = \"mx\"\nrole = \"submission\"\naddress = [\"SMTP_ADDRESS\"]\n\
             auth = [\"plain\", \"login\"]\nauth_requires_tls = false\n\
             [[credentials]]\nname = \"web\"\nsource = \"http\"\nurl = \"http://{}/\"\n\
             [timeouts]\nauth_delay = \"1ms\"\n[[pool]]\nname = \"mta\"\nbackends = [\"{}\"]\n\
             [[route]]\ndomains = [\"*\"]\npool = \"mta\"\nrecipients = \"accept\"\n",
            web.address,
            free_address()
        ),
    );
    let words = STANDARD.encode("\0amy\0secret");
    // In both orders: neither a yes nor a no goes from one address to another. The last two are remembered.
    for (from, code, asked) in [
        ("127.0.0.1", "235", 1),
        ("127.0.0.3", "535", 2),
        ("127.0.0.1", "235", 2),
        ("127.0.0.3", "535", 2),
    ] {
        let source = from.parse().expect("an address");
        let mut client = Client::hello_from(source, gate.smtp);
        client.expect(&format!("AUTH PLAIN {words}"), code);
        assert_eq!(web.seen().len(), asked, "{from}");
    }
    // Another mechanism is another question.
    let mut client = Client::hello_from("127.0.0.1".parse().expect("an address"), gate.smtp);
    client.expect(&format!("AUTH LOGIN {}", STANDARD.encode("amy")), "334");
    client.expect(&STANDARD.encode("secret"), "235");
    assert_eq!(web.seen().len(), 3);
}

#[test]
fn an_introspection_endpoint_knows_its_tokens() {
    let endpoint = introspection();
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    fs::write(&secret, "p w\n").expect("written");
    let source = source(&format!(
        "source = \"introspection\"\nurl = \"http://{}/introspect\"\nclient = \"gatepost\"\n\
         secret = {{ file = \"{}\" }}\nscope = \"smtp\"\n",
        endpoint.address,
        secret.display()
    ));
    runtime().block_on(async {
        for (user, word, said) in [
            ("amy", "good", "amy: amy@example.net"),
            ("", "good", "amy: amy@example.net"),
            ("eve", "good", "denied"),
            ("amy", "narrow", "denied"),
            ("amy", "bad", "denied"),
            ("amy", "b&token=good", "denied"),
            ("amy", "broken", "unavailable: its answer is no JSON"),
        ] {
            let found = ask(&source, &token(Mechanism::OauthBearer, user, word)).await;
            assert_eq!(found, said, "{word}");
        }
        let found = ask(&source, &password("amy", "good")).await;
        assert!(
            found.starts_with("unavailable: it takes tokens only"),
            "{found}"
        );
    });
    let first = endpoint.seen().remove(0);
    assert_eq!(first.method, "POST");
    assert_eq!(first.body, "token=good&token_type_hint=access_token");
    let pair = STANDARD.encode("gatepost:p+w");
    assert_eq!(first.field("authorization"), format!("Basic {pair}"));
}

#[test]
fn an_endpoint_that_names_no_account_means_the_one_that_was_typed() {
    let endpoint = Endpoint::start(|_| Answer::fields(&[("Auth-Status", "OK")]));
    let source = source(&format!(
        "source = \"http\"\nurl = \"http://{}/auth\"\ndomains = [\"a.example\"]\n",
        endpoint.address
    ));
    runtime().block_on(async {
        for (user, said) in [
            ("amy", "amy: amy@a.example"),
            ("AMY", "amy: amy@a.example"),
            ("Amy@A.example", "amy@a.example: amy@a.example"),
            ("amy@boss.example", "amy@boss.example: "),
        ] {
            assert_eq!(ask(&source, &password(user, "pw")).await, said, "{user}");
        }
    });
}

#[test]
fn an_http_endpoint_says_yes_and_no() {
    let endpoint = Endpoint::start(|seen| match &*seen.field("auth-user") {
        "amy" if seen.field("auth-pass") == "pw%201" => Answer::fields(&[("Auth-Status", "OK")]),
        "alias" => Answer::fields(&[
            ("Auth-Status", "OK"),
            ("Auth-User", "real%20name"),
            ("Auth-Addresses", "a@example.net, @b.example"),
            ("Auth-Server", "127.0.0.1"),
            ("Auth-Port", "25"),
        ]),
        "trouble" => Answer::fields(&[
            ("Auth-Status", "database is down"),
            ("Auth-Error-Code", "451 4.3.0"),
        ]),
        "silent" => Answer::body("hello"),
        "broken" => Answer {
            code: 500,
            ..Answer::default()
        },
        "long" => Answer {
            body: "x".repeat(1 << 20),
            ..Answer::fields(&[("Auth-Status", "OK")])
        },
        "slow" => Answer {
            after: Duration::from_secs(600),
            ..Answer::fields(&[("Auth-Status", "OK")])
        },
        _ => Answer::fields(&[("Auth-Status", "Invalid login"), ("Auth-Wait", "1")]),
    });
    let source = source(&format!(
        "source = \"http\"\nurl = \"http://{}/auth?x=1\"\ntimeout = \"2s\"\n",
        endpoint.address
    ));
    runtime().block_on(async {
        for (user, word, said) in [
            ("amy", "pw 1", "amy: amy@edge.example"),
            ("amy", "pw", "denied"),
            ("alias", "", "real name: a@example.net @b.example"),
            (
                "trouble",
                "",
                "unavailable: it answered 200, Auth-Status: database is down",
            ),
            (
                "silent",
                "",
                "unavailable: it answered 200 without Auth-Status",
            ),
            (
                "broken",
                "",
                "unavailable: it answered 500 without Auth-Status",
            ),
            ("slow", "", "unavailable: no answer in 2s"),
        ] {
            assert_eq!(ask(&source, &password(user, word)).await, said, "{user}");
        }
        let found = ask(&source, &password("long", "")).await;
        assert!(found.starts_with("unavailable: "), "{found}");
    });
    let first = endpoint.seen().remove(0);
    let field = |name| first.field(name);
    assert_eq!(
        (&*field("auth-protocol"), &*field("client-ip")),
        ("smtp", "192.0.2.7")
    );
    assert_eq!(
        (&*field("auth-ssl"), &*field("auth-method")),
        ("on", "plain")
    );
}

#[test]
fn no_more_questions_at_once_than_allowed() {
    let endpoint = Endpoint::start(|_| Answer {
        after: Duration::from_millis(50),
        ..Answer::fields(&[("Auth-Status", "OK")])
    });
    let source = Arc::new(source(&format!(
        "source = \"http\"\nurl = \"http://{}/\"\nconcurrency = 3\n",
        endpoint.address
    )));
    runtime().block_on(async {
        let mut all = Vec::new();
        for network in 1..=20 {
            let source = Arc::clone(&source);
            all.push(tokio::spawn(async move {
                // One address alone would not get all places.
                let client = [192, 0, network, 1].into();
                let attempt = Attempt {
                    client,
                    ..password("amy", "pw")
                };
                ask(&source, &attempt).await
            }));
        }
        for one in all {
            assert_eq!(one.await.expect("it ends"), "amy: amy@edge.example");
        }
    });
    assert_eq!((endpoint.seen().len(), endpoint.most()), (20, 3));
}

/// Says something to an SMTP server and hears its whole reply.
fn say(stream: &mut BufReader<TcpStream>, line: &str) -> String {
    write!(stream.get_mut(), "{line}\r\n").expect("sent");
    hear(stream)
}

fn hear(stream: &mut BufReader<TcpStream>) -> String {
    let mut reply = String::new();
    loop {
        let from = reply.len();
        stream.read_line(&mut reply).expect("a reply");
        if reply.as_bytes().get(from + 3) != Some(&b'-') {
            return reply;
        }
    }
}

#[test]
fn nginx_asks_in_the_same_words() {
    let module = "/usr/lib/nginx/modules/ngx_mail_module.so";
    let Some(nginx) = need("nginx").filter(|_| fs::metadata(module).is_ok()) else {
        return;
    };
    let endpoint = Endpoint::start(|_| Answer::fields(&[("Auth-Status", "no")]));
    let (folder, smtp) = (tempfile::tempdir().expect("a folder"), free_address());
    let root = folder.path().display();
    let text = format!(
        "load_module {module};\ndaemon off;\nmaster_process off;\npid {root}/pid;\nerror_log {root}/log;\n\
         events {{}}\nmail {{\n server_name nginx.example;\n auth_http {}/auth;\n auth_http_header X-Auth-Key our-key;\n\
         server {{\n  listen {smtp};\n  protocol smtp;\n  smtp_auth plain login;\n }}\n}}\n",
        endpoint.address
    );
    let file = folder.path().join("nginx.conf");
    fs::write(&file, text).expect("written");
    fs::write(folder.path().join("key"), "our-key").expect("written");
    let mut command = Command::new(nginx);
    command.arg("-c").arg(&file).stderr(Stdio::null());
    let _nginx = Running::start(&mut command);
    wait_until("nginx greets", || greets(smtp));

    let ours = source(&format!(
        "source = \"http\"\nurl = \"http://{}/auth\"\nsecret = {{ file = \"{root}/key\" }}\n",
        endpoint.address
    ));
    for (user, word) in [
        ("amy", "secret"),
        (
            "amy smith@example.net",
            "100% \u{e4} \"quoted\" a+b&c=d\t\u{1}",
        ),
        ("\u{fc}", ""),
    ] {
        let mut stream = BufReader::new(TcpStream::connect(smtp).expect("it listens"));
        let client = stream.get_ref().local_addr().expect("connected").ip();
        hear(&mut stream);
        say(&mut stream, "EHLO client.example");
        let response = STANDARD.encode(format!("\0{user}\0{word}"));
        let reply = say(&mut stream, &format!("AUTH PLAIN {response}"));
        assert!(reply.starts_with("535"), "{reply}");
        let attempt = Attempt {
            client,
            secured: false,
            ..password(user, word)
        };
        assert_eq!(runtime().block_on(ask(&ours, &attempt)), "denied");
        let seen = endpoint.seen();
        let [.., theirs, own] = &*seen else {
            panic!("{seen:?}");
        };
        assert_eq!(theirs.method, own.method);
        assert!(theirs.fields.len() > 7, "{theirs:?}");
        for name in theirs.fields.keys() {
            // It names its host without the port, and keeps no connection.
            if !matches!(name.as_str(), "connection" | "host") {
                assert_eq!(
                    theirs.field(name.as_str()),
                    own.field(name.as_str()),
                    "{name}"
                );
            }
        }
    }
}

/// An HTTPS server that says yes to everything, with a certificate of this file.
const PYTHON: &str = "
import http.server, ssl, sys
class Yes(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header('Auth-Status', 'OK')
        self.send_header('Content-Length', '0')
        self.end_headers()
server = http.server.HTTPServer((sys.argv[1], int(sys.argv[2])), Yes)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[3])
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
";

#[test]
fn an_https_endpoint_must_show_its_certificate() {
    let Some(python) = need("python3") else {
        return;
    };
    let (folder, address) = (tempfile::tempdir().expect("a folder"), free_address());
    let made = rcgen::generate_simple_self_signed([address.ip().to_string()]).expect("made");
    let ca = folder.path().join("ca.pem");
    let both = folder.path().join("both.pem");
    fs::write(&ca, made.cert.pem()).expect("written");
    let pair = made.cert.pem() + &made.signing_key.serialize_pem();
    fs::write(&both, pair).expect("written");
    let mut command = Command::new(python);
    command
        .args(["-c", PYTHON, &address.ip().to_string()])
        .arg(address.port().to_string())
        .arg(&both)
        .stderr(Stdio::null());
    let _python = Running::start(&mut command);
    wait_until("it listens", || TcpStream::connect(address).ok());
    let keys = format!("source = \"http\"\nurl = \"https://{address}/\"\n");
    let trusting = source(&format!("{keys}ca = \"{}\"\n", ca.display()));
    runtime().block_on(async {
        let found = ask(&trusting, &password("amy", "pw")).await;
        assert_eq!(found, "amy: amy@edge.example");
        let found = ask(&source(&keys), &password("amy", "pw")).await;
        assert!(
            found.starts_with("unavailable: ") && found.contains("certificate"),
            "{found}"
        );
    });
}
