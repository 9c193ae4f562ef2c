//! What is asked of the DNS, with real lists (rbldnsd) and a real resolver (unbound).

use crate::{
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{Gatepost, free_address, wait_until},
    nameservers::Nameservers,
};
use std::net::IpAddr;

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
}
