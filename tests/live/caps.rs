//! What one client may take of what all share: places, memory, connections to backends. Whatever it does with them, mail
//! from others passes.

use crate::{
    backend::Backend,
    certificates::Authority,
    client::Client,
    delivery::pool,
    harness::{Gatepost, free_address, wait_until},
    resources::config,
    secure_client::Secure,
};
use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

/// Sends one message that must be accepted.
fn passes(gatepost: &Gatepost) {
    let mut client = Client::hello(gatepost.smtp);
    let reply = client.send(
        "a@sender.example",
        &["b@example.net"],
        "Subject: x\r\n\r\nx\r\n",
    );
    assert!(reply.starts_with("250"), "{reply}");
}

/// Opens a body of a declared size.
fn declared(gatepost: &Gatepost, size: usize) -> Client {
    let mut client = Client::hello(gatepost.smtp);
    client.expect(&format!("MAIL FROM:<a@sender.example> SIZE={size}"), "250");
    client.expect("RCPT TO:<b@example.net>", "250");
    client.expect("DATA", "354");
    client
}

/// A client that streams a message from an address of its own: 40 kB at once, and then next to nothing.
fn stream_slowly(gatepost: &Gatepost, number: u8) -> Client {
    let source = IpAddr::V4(Ipv4Addr::new(127, 0, 2, number));
    let mut client = Client::hello_from(source, gatepost.smtp);
    client.expect("MAIL FROM:<slow@sender.example>", "250");
    client.expect("RCPT TO:<b@example.net>", "250");
    client.expect("DATA", "354");
    client.raw(b"Subject: slow\r\n\r\n");
    client.raw(
        "a line of thirty-two octets ....\r\n"
            .repeat(1_200)
            .as_bytes(),
    );
    client
}

/// Strangers before a backend with so many connections, and a small window.
fn streaming(engine: &str, backend: &Backend, connections: usize) -> Gatepost {
    let pool = pool(&[backend], &format!("connections = {connections}"));
    let limits = "[limits]\nwindow = \"16KiB\"\nheader = \"8KiB\"\n";
    Gatepost::start(engine, &(pool + limits))
}

fn streams(backend: &Backend) -> usize {
    let data = |(_, command): &(usize, String)| command.starts_with("DATA");
    backend
        .commands()
        .iter()
        .filter(|command| data(command))
        .count()
}

const NAME: &str = "mx.example.net";

/// More of a listener: a client with a certificate of this name is trusted.
const TRUSTS: &str = "client_certificates = \"optional\"\nclient_ca = \"FOLDER/ca.pem\"\nclient_trusted = [\"relay.partner.example\"]\n";

/// Gatepost with one listener with implicit TLS, and the authority of its certificate.
struct Implicit {
    gatepost: Gatepost,
    backend: Backend,
    authority: Authority,
    _folder: tempfile::TempDir,
}

impl Implicit {
    /// `listener` is more of the listener, `tables` more of the file. `FOLDER/ca.pem` is the authority.
    fn start(engine: &str, listener: &str, tables: &str) -> Implicit {
        let (authority, backend) = (Authority::new(), Backend::good(free_address()));
        let folder = tempfile::tempdir().expect("a folder");
        let (chain, key) = authority.issue(&[NAME]).write(folder.path(), "own");
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).expect("written");
        let listener = listener.replace("FOLDER", &folder.path().display().to_string());
        let text = format!(
            "{}[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\ntls = \"implicit\"\n{listener}\n\
             [[certificate]]\nchain = \"{}\"\nkey = \"{}\"\n{tables}",
            pool(&[&backend], ""),
            chain.display(),
            key.display()
        );
        Implicit {
            gatepost: Gatepost::start(engine, &text),
            backend,
            authority,
            _folder: folder,
        }
    }

    fn secure(&self, client: Client) -> Secure {
        client.into_tls(&self.authority.der(), NAME)
    }

    fn open(&self) -> f64 {
        self.gatepost.metric("gatepost_sessions_open", "")
    }

    /// A message from another address than the others use.
    fn passes(&self) {
        let stranger =
            Client::silent_from(IpAddr::V4(Ipv4Addr::new(127, 0, 1, 9)), self.gatepost.smtp);
        let mut client = self.secure(stranger);
        let greeting = client.reply();
        assert!(greeting.starts_with("220 "), "{greeting}");
        for (command, code) in [
            ("EHLO client.example", "250"),
            ("MAIL FROM:<a@sender.example>", "250"),
            ("RCPT TO:<b@example.net>", "250"),
            ("DATA", "354"),
            ("Subject: x\r\n\r\nx\r\n.", "250"),
        ] {
            let reply = client.command(command);
            assert!(reply.starts_with(code), "{command}: {reply}");
        }
    }

    fn refused(&self, why: &str) -> f64 {
        let reason = format!("reason=\"{why}\"");
        self.gatepost
            .metric("gatepost_connections_refused_total", &reason)
    }

    fn handshakes(&self) -> f64 {
        self.gatepost
            .metric("gatepost_tls_handshakes_total", "outcome=\"full\"")
    }
}

crate::on_all_engines! {
    fn silent_connections_of_one_address_leave_places_before_a_handshake(engine) {
        let site = Implicit::start(engine, "sessions_max = 20", "[policy.client_rate]\nsessions = 5\n");
        let mut silent: Vec<Client> = (0..40).map(|_| Client::silent(site.gatepost.smtp)).collect();
        // Those above the address's limit are closed, and before any handshake: they never begin one.
        wait_until("the others are closed", || (site.refused("client") >= 35.0).then_some(()));
        let is_open = |client: &mut Client| !client.hears(Duration::from_millis(50));
        wait_until("no more than five are left", || {
            silent.retain_mut(is_open);
            (silent.len() <= 5).then_some(())
        });
        site.passes();
        site.gatepost.log_line(&["code=421", "status=4.7.0", "end=gatepost@connect"]);
    }

    fn few_above_a_limit_wait_for_a_certificate(engine) {
        let tables = "[timeouts]\nhandshake = \"10m\"\nstress = \"10m\"\n[policy.client_rate]\nsessions = 5\n";
        let site = Implicit::start(engine, &format!("sessions_max = 40\n{TRUSTS}"), tables);
        let silent = |count: usize| -> Vec<Client> {
            (0..count).map(|_| Client::silent(site.gatepost.smtp)).collect()
        };
        let _within = silent(5);
        wait_until("they are counted", || (site.open() == 5.0).then_some(()));
        let own = site.authority.issue(&["relay.partner.example"]);
        let above = Client::silent(site.gatepost.smtp);
        let mut trusted = above.into_tls_as(&site.authority.der(), NAME, &own);
        let greeting = trusted.reply();
        assert!(greeting.starts_with("220 "), "{greeting}");
        let _above = silent(60);
        let refused = || site.gatepost.metric("gatepost_connections_refused_total", "");
        wait_until("the excess is refused", || (refused() >= 61.0).then_some(()));
        wait_until("four of it wait", || (site.open() <= 10.0).then_some(()));
        site.passes();
    }

    fn no_certificate_is_waited_for_while_places_are_scarce(engine) {
        let tables = "[timeouts]\nhandshake = \"10m\"\nstress = \"10m\"\n[policy.client_rate]\nsessions = 5\n";
        let site = Implicit::start(engine, &format!("sessions_max = 10\n{TRUSTS}"), tables);
        let other = IpAddr::V4(Ipv4Addr::new(127, 0, 1, 8));
        let others: Vec<Client> = (0..3).map(|_| Client::silent_from(other, site.gatepost.smtp)).collect();
        let within: Vec<Client> = (0..5).map(|_| Client::silent(site.gatepost.smtp)).collect();
        wait_until("they are counted", || (site.open() == 8.0).then_some(()));
        let mut above = Client::silent(site.gatepost.smtp);
        wait_until("it is closed", || above.hears(Duration::from_millis(50)).then_some(()));
        assert_eq!(site.handshakes(), 0.0);
        drop((others, within));
    }

    fn addresses_that_are_shut_out_get_no_handshake(engine) {
        let list = "[[policy.client_list]]\nname = \"pests\"\nentries = [\"127.0.0.64/26\"]\nthen = \"close\"\n";
        let site = Implicit::start(engine, "", list);
        for number in 64..80 {
            let pest = Client::silent_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, number)), site.gatepost.smtp);
            assert!(pest.try_tls(&site.authority.der(), NAME).is_none());
        }
        wait_until("they are counted", || (site.refused("policy") >= 16.0).then_some(()));
        assert_eq!(site.handshakes(), 0.0);
        site.gatepost.log_line(&["client=127.0.0.64", "client_list.pests", "end=gatepost@connect"]);
        site.passes();
        assert_eq!(site.handshakes(), 1.0);
    }

    fn a_limit_is_told_at_once_where_refusals_are_delayed(engine) {
        let backend = Backend::good(free_address());
        let policy = "[policy]\nlog_rejected = \"delayed\"\n[policy.client_rate]\nsessions = 2\n";
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + policy));
        let _held = [Client::hello(gatepost.smtp), Client::hello(gatepost.smtp)];
        let (_, greeting) = Client::greeted(gatepost.smtp);
        assert!(greeting.starts_with("421 4.7.0"), "{greeting}");
    }

    fn a_client_that_is_refused_again_and_again_has_few_lines(engine) {
        let backend = Backend::good(free_address());
        let list = "[[policy.client_list]]\nname = \"pests\"\nentries = [\"127.0.0.64/26\"]\nthen = \"reject\"\n";
        let pest = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 64));
        for delayed in [false, true] {
            let told = if delayed { "[policy]\nlog_rejected = \"delayed\"\n" } else { "" };
            let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + told + list));
            for _ in 0..60 {
                let mut client = Client::silent_from(pest, gatepost.smtp);
                if delayed {
                    assert!(client.reply().starts_with("220 "));
                    client.expect("EHLO client.example", "250");
                    client.expect("MAIL FROM:<a@sender.example>", "250");
                    client.expect("RCPT TO:<b@example.net>", "554");
                    client.expect("QUIT", "221");
                } else {
                    let greeting = client.reply();
                    assert!(greeting.starts_with("554"), "{greeting}");
                }
            }
            let mut other = Client::hello(gatepost.smtp);
            let reply = other.send("a@sender.example", &["b@example.net"], "Subject: x\r\n\r\nx\r\n");
            assert!(reply.starts_with("250"), "{reply}");
            drop(other);
            // The end of the process sums up, as the end of a minute does.
            gatepost.process.signal("TERM");
            gatepost.log_line(&["client=127.0.0.64", "verdict=none", "held_back=40"]);
            let log = gatepost.log();
            assert_eq!(log.matches("client=127.0.0.64 ").count(), 21, "{log}");
            assert_eq!(log.matches("verdict=accept").count(), 1, "{log}");
        }
    }

    fn a_client_whose_mail_goes_nowhere_has_a_bounded_number_of_lines(engine) {
        let backend = Backend::good(free_address());
        let text = "[[policy.sender_list]]\nname = \"pests\"\nentries = [\"pest.example\"]\nthen = \"defer\"\n";
        let text = format!("trusted = [\"127.0.3.3\"]\n{}{text}", pool(&[&backend], ""));
        let gatepost = Gatepost::start(engine, &text);
        let from = |number| Client::hello_from(IpAddr::V4(Ipv4Addr::new(127, 0, 3, number)), gatepost.smtp);
        let (mut pest, mut lazy, mut trusted) = (from(1), from(2), from(3));
        for round in 0..320 {
            pest.expect("MAIL FROM:<a@pest.example>", "450");
            for client in [&mut lazy, &mut trusted] {
                client.expect("MAIL FROM:<a@sender.example>", "250");
                client.expect("RSET", "250");
            }
            if round == 0 {
                let first = pest.send("a@sender.example", &["b@example.net"], "Subject: x\r\n\r\nx\r\n");
                assert!(first.starts_with("250"), "{first}");
            }
        }
        // A message that gets somewhere has its line after all that.
        let last = pest.send("a@sender.example", &["b@example.net"], "Subject: x\r\n\r\nx\r\n");
        assert!(last.starts_with("250"), "{last}");
        drop((pest, lazy, trusted));
        // One that is still there would be told of the drain, which is a refusal more.
        wait_until("the sessions are over", || (gatepost.metric("gatepost_sessions_open", "") == 0.0).then_some(()));
        gatepost.process.signal("TERM");
        gatepost.log_line(&["client=127.0.3.1", "verdict=none", "held_back=20"]);
        gatepost.log_line(&["client=127.0.3.2", "verdict=none", "held_back=20"]);
        let log = gatepost.log();
        let lines = |client: &str| log.matches(&format!("client={client} ")).count();
        assert_eq!(lines("127.0.3.1"), 300 + 2 + 1, "{log}");
        assert_eq!(lines("127.0.3.2"), 300 + 1);
        assert_eq!(lines("127.0.3.3"), 320);
        assert_eq!(log.matches("verdict=accept").count(), 2);
    }

    fn a_session_that_goes_on_after_its_rate_is_over_ends(engine) {
        let backend = Backend::good(free_address());
        let policy = "[policy.client_rate]\nmessages = 1\nper = \"1h\"\n";
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + policy));
        let mut client = Client::hello(gatepost.smtp);
        client.expect("MAIL FROM:<a@sender.example>", "250");
        client.expect("RSET", "250");
        for _ in 1..20 {
            client.expect("MAIL FROM:<a@sender.example>", "450 4.7.1");
        }
        client.expect("MAIL FROM:<a@sender.example>", "421 4.7.0 Too much mail");
        assert_eq!(client.rest(), "");

        let policy = "[policy.client_rate]\nrecipients = 1\nper = \"1h\"\n";
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + policy));
        let mut client = Client::hello(gatepost.smtp);
        client.expect("MAIL FROM:<a@sender.example>", "250");
        client.expect("RCPT TO:<b@example.net>", "250");
        // What goes on beside a recipient costs the message nothing.
        for _ in 0..30 {
            client.expect("RCPT TO:<c@example.net>", "450 4.7.1");
        }
        client.expect("DATA", "354");
        client.expect("Subject: x\r\n\r\nx\r\n.", "250");
        client.expect("MAIL FROM:<a@sender.example>", "250");
        for _ in 1..20 {
            client.expect("RCPT TO:<c@example.net>", "450 4.7.1");
            // A sender that is accepted in between gets nowhere either.
            client.expect("RSET", "250");
            client.expect("MAIL FROM:<a@sender.example>", "250");
        }
        client.expect("RCPT TO:<c@example.net>", "421 4.7.0 Too much mail");
    }

    fn refused_connections_take_no_place_of_their_network(engine) {
        let backend = Backend::good(free_address());
        let policy = "[policy.client_rate]\nsessions = 2\n[policy.prefix_rate]\nsessions = 5\n";
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + policy));
        let from = |number| IpAddr::V4(Ipv4Addr::new(127, 0, 2, number));
        let _held = [Client::hello_from(from(1), gatepost.smtp), Client::hello_from(from(1), gatepost.smtp)];
        // They are told so, and don't close.
        let mut refused: Vec<Client> = (0..20).map(|_| Client::silent_from(from(1), gatepost.smtp)).collect();
        for client in &mut refused {
            let greeting = client.reply();
            assert!(greeting.starts_with("421 4.7.0"), "{greeting}");
        }
        // Long before their connections are given up.
        let greeted = (0..10).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            Client::silent_from(from(2), gatepost.smtp).reply().starts_with("220 ")
        });
        assert!(greeted, "a neighbour is refused");
    }

    fn what_one_listener_admits_uses_up_no_limit_of_another(engine) {
        let backend = Backend::good(free_address());
        let submission = free_address();
        let listeners = format!(
            "[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\n[listener.policy.prefix_rate]\nsessions = 2\n\
             [[listener]]\nname = \"submission\"\nrole = \"submission\"\naddress = [\"{submission}\"]\n"
        );
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + &listeners));
        let from = |number| IpAddr::V4(Ipv4Addr::new(127, 0, 2, number));
        let _held: Vec<Client> = (0..8).map(|_| Client::hello_from(from(1), submission)).collect();
        let _first = Client::hello_from(from(2), gatepost.smtp);
        let _second = Client::hello_from(from(3), gatepost.smtp);
        let third = Client::silent_from(from(4), gatepost.smtp).reply();
        assert!(third.starts_with("421 4.7.0"), "{third}");
    }

    fn a_client_that_shakes_hands_is_no_early_talker(engine) {
        let site = Implicit::start(engine, "greeting_delay = \"300ms\"", "");
        site.passes();
        // What is said after the handshake and before the greeting is early.
        let mut hasty = site.secure(Client::silent(site.gatepost.smtp));
        hasty.raw(b"EHLO client.example\r\n");
        let greeting = hasty.reply();
        assert!(greeting.starts_with("554 5.5.1"), "{greeting}");
        assert_eq!(site.backend.messages().len(), 1);
    }

    fn declared_sizes_take_no_memory(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &config(&backend, "", "[limits]\nbody_memory = \"1MiB\"\n"));
        // Twice the budget is declared, and an octet of each is sent.
        let mut held: Vec<Client> = (0..8).map(|_| declared(&gatepost, 256 * 1024)).collect();
        passes(&gatepost);
        held.iter_mut().for_each(|client| client.raw(b"S"));
        passes(&gatepost);
        // What was declared can still come.
        let mut last = held.pop().expect("eight");
        last.raw(b"ubject: x\r\n\r\n");
        last.raw("a line of thirty-two octets ....\r\n".repeat(7_000).as_bytes());
        last.raw(b".\r\n");
        assert!(last.reply().starts_with("250"));
        assert_eq!(backend.messages().len(), 3);
    }

    fn large_envelopes_are_counted(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + "[limits]\nbody_memory = \"1MiB\"\n"));
        let recipient = format!("RCPT TO:<b@example.net> ORCPT=rfc822;{}\r\n", "x".repeat(480));
        let source = IpAddr::V4(Ipv4Addr::new(127, 0, 2, 1));
        let mut held = Client::hello_from(source, gatepost.smtp);
        held.expect("MAIL FROM:<a@sender.example>", "250");
        held.expect("RCPT TO:<b@example.net>", "250");
        let mut refused = String::new();
        for _ in 0..999 {
            held.raw(recipient.as_bytes());
            let reply = held.reply();
            if !reply.starts_with("250") {
                refused = reply;
                break;
            }
        }
        assert!(refused.starts_with("452 4.3.1"), "{refused}");
        passes(&gatepost);
        // What was taken goes with the transaction.
        held.expect("RSET", "250");
        wait_until("the memory is free", || (gatepost.metric("gatepost_body_memory_bytes", "") == 0.0).then_some(()));
        assert!(held.send("a@sender.example", &["b@example.net"], "x\r\n").starts_with("250"));
    }

    fn slow_streams_leave_connections_to_others(engine) {
        let backend = Backend::good(free_address());
        let gatepost = streaming(engine, &backend, 4);
        let slow: Vec<Client> = (1..=4).map(|number| stream_slowly(&gatepost, number)).collect();
        wait_until("half of the connections stream", || (streams(&backend) == 2).then_some(()));
        passes(&gatepost);
        passes(&gatepost);
        drop(slow);
        assert_eq!(backend.messages().len(), 2);
    }

    fn one_address_streams_over_a_quarter_of_the_connections(engine) {
        let backend = Backend::good(free_address());
        let gatepost = streaming(engine, &backend, 8);
        let slow: Vec<Client> = (0..6).map(|_| stream_slowly(&gatepost, 1)).collect();
        wait_until("a quarter of the connections streams", || (streams(&backend) == 2).then_some(()));
        // Those that wait are why the slow ones are ended in their turn: never more than two are there at once.
        wait_until("some were ended", || (gatepost.metric("gatepost_streams_ended_total", "") >= 1.0).then_some(()));
        assert!(backend.open_max() <= 3, "{}", backend.open_max());
        let other = stream_slowly(&gatepost, 2);
        passes(&gatepost);
        drop((slow, other));
        assert_eq!(backend.messages().len(), 1);
    }

    fn a_slow_stream_gives_the_only_connection_up(engine) {
        let backend = Backend::good(free_address());
        let gatepost = streaming(engine, &backend, 1);
        let mut slow = stream_slowly(&gatepost, 1);
        wait_until("it streams", || (streams(&backend) == 1).then_some(()));
        passes(&gatepost);
        let reply = slow.reply();
        assert!(reply.starts_with("421 4.3.2"), "{reply}");
        assert_eq!(slow.rest(), "");
        let line = gatepost.log_line(&["from=slow@sender.example"]);
        for part in ["code=421", "status=4.3.2", "end=gatepost@body"] {
            assert!(line.contains(part), "{line}");
        }
        assert_eq!(backend.messages().len(), 1, "nothing of the slow one");
    }

    fn a_stream_is_left_in_peace_while_no_other_waits(engine) {
        let backend = Backend::good(free_address());
        let gatepost = streaming(engine, &backend, 2);
        let mut slow = stream_slowly(&gatepost, 1);
        wait_until("it streams", || (streams(&backend) == 1).then_some(()));
        for _ in 0..3 {
            std::thread::sleep(Duration::from_secs(1));
            passes(&gatepost);
        }
        slow.raw(b".\r\n");
        let reply = slow.reply();
        assert!(reply.starts_with("250"), "{reply}");
        assert_eq!(backend.messages().len(), 4);
    }
}
