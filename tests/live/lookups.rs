//! What is asked of the DNS, with real lists (rbldnsd) and a real resolver (unbound).

use crate::{
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{Gatepost, free_address, wait_until},
    nameservers::{Nameservers, silent},
};
use std::{fs, net::IpAddr, time::Instant};

/// A client on loopback.
fn from(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

/// An edge before `backend` that asks these servers.
fn edge(engine: &str, backend: &Backend, dns: &Nameservers, policy: &str) -> Gatepost {
    let tables = pool(&[backend], "") + &dns.config("") + policy;
    Gatepost::start(engine, &tables)
}

/// MAIL is taken, and what RCPT is told.
fn rcpt(client: &mut Client, sender: &str) -> String {
    client.expect(&format!("MAIL FROM:<{sender}>"), "250");
    client.command("RCPT TO:<b@example.net>")
}

/// A whole message from this client.
fn message(gatepost: &Gatepost, client: IpAddr, sender: &str) -> String {
    Client::hello_from(client, gatepost.smtp).send(
        sender,
        &["b@example.net"],
        "Subject: x\r\n\r\nx\r\n",
    )
}

crate::on_all_engines! {
    fn a_listed_client_is_refused_at_its_recipient(engine) {
        let Some(dns) = Nameservers::start() else { return };
        let backend = Backend::good(free_address());
        let gatepost = edge(engine, &backend, &dns, "[[policy.dnsbl]]\nzone = \"bl.test\"\nthen = \"reject\"\n");
        let mut client = Client::hello_from(from(3), gatepost.smtp);
        let told = "Service unavailable; client [127.0.0.3] blocked using bl.test; open proxy 127.0.0.3";
        let reply = rcpt(&mut client, "a@sender.example");
        assert_eq!(reply, format!("554 5.7.1 {told}\r\n"));
        client.expect("RCPT TO:<second@example.net>", "554 5.7.1");
        client.expect("QUIT", "221");
        let line = gatepost.log_line(&["from=a@sender.example", "rcpt <b@example.net>", told]);
        assert!(line.contains("checks=dnsbl.bl.test:reject") && line.contains("second@example.net"), "{line}");
        assert_eq!(backend.messages().len(), 0);
        // Another client of the same machine is not listed.
        assert!(message(&gatepost, from(9), "a@sender.example").starts_with("250"));
    }

    fn scores_of_lists_add_up(engine) {
        let Some(dns) = Nameservers::start() else { return };
        let backend = Backend::good(free_address());
        let gatepost = edge(engine, &backend, &dns, "[policy]\nreject_score = 6.0\n\
            [[policy.dnsbl]]\nzone = \"bl.test\"\n\
            entries = [{ codes = [\"127.0.0.2-9\"], score = 2.5 }, { codes = [\"127.0.0.[10;11]\"], score = 1.5 }]\n\
            [[policy.dnsbl]]\nzone = \"rhs.test\"\nof = [\"sender\"]\nscore = 4.0\n");
        assert!(message(&gatepost, from(3), "a@sender.example").starts_with("250"));
        gatepost.log_line(&["verdict=accept", "dnsbl.bl.test:score:2.5", "score=2.5"]);
        // 127.0.0.2 has both codes, and each counts.
        assert!(message(&gatepost, from(2), "a@sender.example").starts_with("250"));
        gatepost.log_line(&["verdict=accept", "dnsbl.bl.test:score:4", "score=4"]);
        let reply = message(&gatepost, from(3), "a@mail.wild.example");
        assert!(reply.starts_with("550 5.7.1"), "{reply}");
        gatepost.log_line(&["verdict=reject", "dnsbl.rhs.test:score:4", "score=6.5"]);
        assert_eq!(backend.messages().len(), 2);
    }

    fn a_list_that_lists_everything_is_switched_off(engine) {
        let Some(dns) = Nameservers::start() else { return };
        let backend = Backend::good(free_address());
        let gatepost = edge(engine, &backend, &dns, "[[policy.dnsbl]]\nzone = \"all.test\"\nthen = \"reject\"\n\
            [[policy.dnsbl]]\nzone = \"errors.test\"\nthen = \"reject\"\n\
            [[policy.dnsbl]]\nzone = \"bl.test\"\nthen = \"reject\"\n");
        wait_until("both are switched off", || {
            let said = gatepost.errors();
            let off = |name: &str, why: &str| {
                said.lines().any(|line| line.contains(&format!("dnsbl {name} is not used for now")) && line.contains(why))
            };
            (off("all.test", "it lists 127.0.0.1") && off("errors.test", "127.255.255.254")).then_some(())
        });
        assert!(message(&gatepost, from(9), "a@sender.example").starts_with("250"));
        let mut client = Client::hello_from(from(3), gatepost.smtp);
        let reply = rcpt(&mut client, "a@sender.example");
        assert!(reply.contains("blocked using bl.test"), "a list that is well is used: {reply}");
    }

    fn a_key_is_never_seen(engine) {
        let Some(dns) = Nameservers::start() else { return };
        let backend = Backend::good(free_address());
        let tables = pool(&[&backend], "") + &dns.config("") + "[[policy.dnsbl]]\nzone = \"{key}.dq.test\"\nkey = { env = \"GATEPOST_LIST_KEY\" }\nthen = \"reject\"\n";
        let gatepost = Gatepost::start_behind("export GATEPOST_LIST_KEY=key123", engine, &tables);
        let mut client = Client::hello_from(from(3), gatepost.smtp);
        let reply = rcpt(&mut client, "a@sender.example");
        assert!(reply.starts_with("554 5.7.1 ") && reply.contains("blocked using dq.test"), "{reply}");
        client.expect("QUIT", "221");
        gatepost.log_line(&["check=dnsbl.dq.test"]);
        let pages = ["/metrics", "/stages", "/ready", "/config"].map(|page| gatepost.get(page).1);
        assert!(pages[0].contains("dnsbl.dq.test"), "{}", pages[0]);
        for said in [&reply, &gatepost.log(), &gatepost.errors()].into_iter().chain(&pages) {
            assert!(!said.contains("key123"), "{said}");
        }
    }

    fn names_of_clients_are_judged(engine) {
        let Some(dns) = Nameservers::start() else { return };
        let backend = Backend::good(free_address());
        let gatepost = edge(engine, &backend, &dns, "[policy.rdns]\nnone = \"reject\"\nunconfirmed = \"defer\"\n\
            [[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\nxclient_from = [\"127.0.0.0/8\"]\n");
        for (last, code, told) in [
            (205, "250", ["rdns=client.rdns.test", "verdict=abandon"]),
            (206, "450 4.7.25", ["rdns=unconfirmed", "rdns.unconfirmed:defer"]),
            (207, "450 4.7.25", ["rdns=unconfirmed", "rdns.unconfirmed:defer"]),
            (208, "550 5.7.25", ["rdns=none", "rdns.none:reject"]),
        ] {
            let mut client = Client::hello_from(from(9), gatepost.smtp);
            client.expect(&format!("XCLIENT ADDR=192.0.2.{last}"), "220");
            client.expect("EHLO client.example", "250");
            let reply = rcpt(&mut client, "a@sender.example");
            assert!(reply.starts_with(code), "{last}: {reply} instead of {code}");
            client.expect("QUIT", "221");
            gatepost.log_line(&[&format!("client=192.0.2.{last} "), told[0], told[1]]);
        }
    }

    fn domains_of_senders_are_judged(engine) {
        let Some(dns) = Nameservers::start() else { return };
        let backend = Backend::good(free_address());
        let gatepost = edge(engine, &backend, &dns, "[policy.sender_domain]\nno_name = \"reject\"\nnull_mx = \"reject\"\nunusable = \"reject\"\nno_mail = \"defer\"\n");
        for (domain, code) in [
            ("good.mail.test", "250"),
            ("onlya.mail.test", "250"),
            ("nullmx.mail.test", "550 5.7.27"),
            ("loop.mail.test", "550 5.1.8"),
            ("text.mail.test", "450 4.1.8"),
            ("none.mail.test", "550 5.1.8"),
        ] {
            let mut client = Client::hello_from(from(9), gatepost.smtp);
            let sender = format!("a@{domain}");
            let reply = rcpt(&mut client, &sender);
            assert!(reply.starts_with(code), "{domain}: {reply} instead of {code}");
            client.expect("QUIT", "221");
            if code != "250" {
                gatepost.log_line(&[&sender, &format!("rcpt <b@example.net>: {}", reply.trim_end()), "check=sender_domain."]);
            }
        }
        let mut client = Client::hello_from(from(9), gatepost.smtp);
        assert!(rcpt(&mut client, "").starts_with("250"), "a bounce has no domain");
    }

    fn spf_is_judged_and_told(engine) {
        let Some(dns) = Nameservers::start() else { return };
        let backend = Backend::good(free_address());
        let gatepost = edge(engine, &backend, &dns, "[policy]\nreject_score = 2.0\n[policy.spf]\nfail = \"reject\"\nsoftfail = 2.0\npermerror = \"defer\"\n");
        for (domain, code) in [
            ("other.spf.test", "550 5.7.23"),
            ("wrong.spf.test", "451 4.7.24"),
            ("long.spf.test", "250"),
            ("onlya.mail.test", "250"),
        ] {
            let mut client = Client::hello_from(from(9), gatepost.smtp);
            let sender = format!("a@{domain}");
            let reply = rcpt(&mut client, &sender);
            assert!(reply.starts_with(code), "{domain}: {reply} instead of {code}");
            client.expect("QUIT", "221");
            if code != "250" {
                gatepost.log_line(&[&sender, &format!("rcpt <b@example.net>: {}", reply.trim_end()), "check=spf."]);
            }
        }
        let reply = message(&gatepost, from(9), "a@maybe.spf.test");
        assert!(reply.starts_with("550 5.7.1"), "{reply}");
        gatepost.log_line(&["spf=softfail", "spf.softfail:score:2", "verdict=reject"]);
        let body = "Authentication-Results: edge.example; spf=pass smtp.mailfrom=forged.example\r\nSubject: x\r\n\r\nx\r\n";
        let reply = Client::hello_from(from(9), gatepost.smtp).send("a@ours.spf.test", &["b@example.net"], body);
        assert!(reply.starts_with("250"), "{reply}");
        gatepost.log_line(&["from=a@ours.spf.test", "spf=pass"]);
        let text = backend.messages()[0].text();
        assert!(text.contains("Authentication-Results: edge.example;\r\n\tspf=pass smtp.mailfrom=a@ours.spf.test"), "{text}");
        assert!(!text.contains("forged.example"), "{text}");
    }

    fn a_list_decides_at_connect(engine) {
        let Some(dns) = Nameservers::start() else { return };
        let backend = Backend::good(free_address());
        for (more, waits) in [("", false), ("greeting_delay = \"100ms\"\n", true), ("log_rejected", false)] {
            let (policy, listener) = match more {
                "log_rejected" => ("log_rejected = \"delayed\"\n", ""),
                more => ("", more),
            };
            let gatepost = edge(engine, &backend, &dns, &format!(
                "[policy]\n{policy}[[policy.dnsbl]]\nzone = \"bl.test\"\nthen = \"reject\"\nat = \"connect\"\n\
                 [[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\n{listener}"
            ));
            let begun = Instant::now();
            let mut client = Client::silent_from(from(3), gatepost.smtp);
            let greeting = client.reply();
            if waits {
                assert!(begun.elapsed().as_millis() >= 100);
            }
            if policy.is_empty() {
                assert!(greeting.starts_with("554 5.7.1 Service unavailable; client [127.0.0.3] blocked using bl.test"), "{greeting}");
                assert_eq!(client.rest(), "");
                gatepost.log_line(&["client=127.0.0.3", "verdict=none", "dnsbl.bl.test:reject"]);
            } else {
                assert!(greeting.starts_with("220"), "{greeting}");
                client.expect("EHLO client.example", "250");
                let reply = rcpt(&mut client, "late@sender.example");
                assert!(reply.starts_with("554 5.7.1 Service unavailable"), "{reply}");
                client.expect("QUIT", "221");
                gatepost.log_line(&["from=late@sender.example", "rcpt <b@example.net>", "(dnsbl.bl.test)"]);
            }
            let mut good = Client::hello_from(from(9), gatepost.smtp);
            assert!(rcpt(&mut good, "a@sender.example").starts_with("250"));
        }
    }

    fn a_reload_changes_lists(engine) {
        let Some(dns) = Nameservers::start() else { return };
        let backend = Backend::good(free_address());
        let gatepost = edge(engine, &backend, &dns, "[[policy.dnsbl]]\nzone = \"bl.test\"\nthen = \"reject\"\n");
        assert!(rcpt(&mut Client::hello_from(from(3), gatepost.smtp), "a@sender.example").starts_with("554"));
        let text = fs::read_to_string(gatepost.file()).expect("it is there");
        let text = text.replace("zone = \"bl.test\"\nthen = \"reject\"", "zone = \"rhs.test\"\nof = [\"sender\"]\nthen = \"reject\"");
        fs::write(gatepost.file(), text).expect("written");
        assert_eq!(crate::harness::http(gatepost.admin, "POST", "/reload").0, 200);
        let mut client = Client::hello_from(from(3), gatepost.smtp);
        assert!(rcpt(&mut client, "a@sender.example").starts_with("250"));
        client.expect("RSET", "250");
        let reply = rcpt(&mut client, "a@spam.example");
        assert!(reply.contains("your sender's domain is blocked using rhs.test; domain spam.example"), "{reply}");
    }

    fn the_client_that_xclient_names_is_asked_about(engine) {
        let Some(dns) = Nameservers::start() else { return };
        let backend = Backend::good(free_address());
        let gatepost = edge(engine, &backend, &dns, "[[policy.dnsbl]]\nzone = \"bl.test\"\nthen = \"reject\"\n\
            [[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\nxclient_from = [\"127.0.0.3/32\"]\n");
        for (address, listed) in [
            ("192.0.2.9", "[192.0.2.9] blocked using bl.test"),
            ("IPV6:2001:db8:bad::7", "[2001:db8:bad::7] blocked using bl.test; IPv6 2001:db8:bad::7"),
            ("IPV6:2001:db8:900d::7", ""),
            ("IPV6:::ffff:192.0.2.9", "[192.0.2.9] blocked using bl.test"),
        ] {
            // The proxy's own address is listed.
            let mut client = Client::hello_from(from(3), gatepost.smtp);
            client.expect(&format!("XCLIENT ADDR={address}"), "220");
            client.expect("EHLO client.example", "250");
            let reply = rcpt(&mut client, "a@sender.example");
            match listed {
                "" => assert!(reply.starts_with("250"), "{reply}"),
                text => assert!(reply.starts_with("554") && reply.contains(text), "{address}: {reply}"),
            }
        }
    }

    fn a_client_that_logs_in_is_spared(engine) {
        let Some(dns) = Nameservers::start() else { return };
        let backend = Backend::good(free_address());
        let folder = tempfile::tempdir().expect("a folder");
        let accounts = folder.path().join("accounts");
        let added = crate::auth::user(&accounts, &["add", "amy", "-a", "@sender.example"], "secret");
        assert!(added.0, "{}", added.1);
        let gatepost = edge(engine, &backend, &dns, &format!(
            "[[policy.dnsbl]]\nzone = \"bl.test\"\nthen = \"reject\"\n\
             [[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\nauth = [\"plain\"]\nauth_requires_tls = false\n\
             [[credentials]]\nname = \"staff\"\nsource = \"file\"\nfile = \"{}\"\n", accounts.display()
        ));
        let mut client = Client::hello_from(from(3), gatepost.smtp);
        client.expect("AUTH PLAIN AGFteQBzZWNyZXQ=", "235");
        let reply = client.send("a@sender.example", &["b@example.net"], "From: a@sender.example\r\n\r\nx\r\n");
        assert!(reply.starts_with("250"), "{reply}");
        assert!(rcpt(&mut Client::hello_from(from(3), gatepost.smtp), "a@sender.example").starts_with("554"));
    }

    fn mail_flows_while_the_dns_is_silent(engine) {
        let backend = Backend::good(free_address());
        let (server, address) = silent();
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + &format!(
            "[timeouts]\nlookups = \"300ms\"\n[dns]\nservers = [\"{address}\"]\ntimeout = \"600ms\"\n\
             [policy.spf]\nfail = \"reject\"\n\
             [[policy.dnsbl]]\nzone = \"bl.test\"\nthen = \"reject\"\n\
             [[policy.dnsbl]]\nzone = \"strict.test\"\nthen = \"reject\"\nof = [\"helo\"]\nmode = \"shadow\"\non_failure = \"defer\"\n"
        )));
        let begun = Instant::now();
        let reply = message(&gatepost, from(9), "a@sender.example");
        assert!(reply.starts_with("250"), "{reply}");
        assert!(begun.elapsed().as_secs() < 30);
        gatepost.log_line(&["verdict=accept", "dnsbl.strict.test.unknown:defer(shadow)"]);
        assert!(gatepost.metric("gatepost_lookups_late_total", "") >= 1.0);
        // A question for each client: after sixteen in vain none is asked for a while, and that is said.
        wait_until("it gives up", || {
            for last in 20..30 {
                let _ = Client::hello_from(from(last), gatepost.smtp);
            }
            gatepost.errors().contains("dns: no server answers").then_some(())
        });
        let refused = wait_until("nothing is asked", || {
            assert!(message(&gatepost, from(9), "b@other.example").starts_with("250"));
            Some(gatepost.metric("gatepost_lookups_total", "how=\"refused\"")).filter(|count| *count > 0.0)
        });
        assert!(refused >= 1.0);
        drop(server);
    }

    fn a_check_defers_where_nothing_is_known(engine) {
        let backend = Backend::good(free_address());
        // Nothing listens there: the kernel says so at once.
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + &format!(
            "[timeouts]\nlookups = \"2s\"\n[dns]\nservers = [\"{}\"]\ntimeout = \"1s\"\n\
             [policy.sender_domain]\nunknown = \"defer\"\n\
             [[policy.dnsbl]]\nzone = \"bl.test\"\nthen = \"reject\"\n", free_address()
        )));
        let mut client = Client::hello_from(from(9), gatepost.smtp);
        let reply = rcpt(&mut client, "a@sender.example");
        assert!(reply.starts_with("450 4."), "{reply}");
        client.expect("RSET", "250");
        assert!(rcpt(&mut client, "").starts_with("250"), "nothing is asked about the empty sender");
    }

    fn equal_questions_share_a_flight(engine) {
        let backend = Backend::good(free_address());
        let (_server, address) = silent();
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + &format!(
            "[timeouts]\nlookups = \"100ms\"\n[dns]\nservers = [\"{address}\"]\ntimeout = \"30s\"\n[[policy.dnsbl]]\nzone = \"bl.test\"\ntest_entries = false\n"
        )));
        let asked = || ["sent", "joined"].map(|how| gatepost.metric("gatepost_lookups_total", &format!("how=\"{how}\"")));
        // Those that looked whether it listens came before this one.
        let _first = Client::hello_from(from(10), gatepost.smtp);
        let [sent, joined] = asked();
        let _one = Client::hello_from(from(9), gatepost.smtp);
        let _two = Client::hello_from(from(9), gatepost.smtp);
        assert_eq!(asked(), [sent + 1.0, joined + 1.0]);
    }
}
