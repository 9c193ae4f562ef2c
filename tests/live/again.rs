//! Messages that come again after a recipient was refused: what is remembered of that, and whom it must not harm.

use crate::{
    backend::{Act, Backend, EXTENSIONS},
    client::Client,
    delivery::pool,
    harness::{Gatepost, free_address},
    postfix::Postfix,
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

const BODY: &str = "Subject: x\r\n\r\nx\r\n";
const BOTH: &[&str] = &["bob@example.net", "alice@example.net"];

fn stranger(gatepost: &Gatepost) -> Client {
    Client::hello_from(Ipv4Addr::new(127, 0, 0, 66).into(), gatepost.smtp)
}

fn accepting(backend: &Backend) -> String {
    pool(&[backend], "") + "recipients = \"accept\"\n"
}

/// The replies to the recipients, as codes, and to the message; `mail` is what stands after `MAIL FROM:`.
fn send(address: SocketAddr, mail: &str, to: &[&str]) -> (Vec<String>, String) {
    let mut client = Client::hello(address);
    client.expect(&format!("MAIL FROM:{mail}"), "250");
    let codes = to.iter().map(|to| {
        let reply = client.command(&format!("RCPT TO:<{to}>"));
        reply[..3].to_owned()
    });
    let codes: Vec<String> = codes.collect();
    client.expect("DATA", "354");
    client.raw(format!("{BODY}.\r\n").as_bytes());
    (codes, client.reply())
}

crate::on_all_engines! {
    fn dead_recipients_that_had_been_accepted_are_no_errors_of_the_client(engine) {
        let backend = Backend::start(free_address(), EXTENSIONS, |_, command| {
            match command.starts_with("RCPT TO:<dead") {
                true => Act::say("550 5.1.1 no such user"),
                false => Act::Usual,
            }
        });
        let gatepost = Gatepost::start(engine, &accepting(&backend));
        // More than `limits.errors`.
        let list: Vec<String> = (0..30).map(|n| format!("dead{n}@example.net")).collect();
        let mut list: Vec<&str> = list.iter().map(String::as_str).collect();
        list.push("alice@example.net");
        let (codes, reply) = send(gatepost.smtp, "<boss@partner.example> SIZE=20", &list);
        assert!(codes.iter().all(|code| code == "250"), "{codes:?}");
        assert!(reply.starts_with("451"), "{reply}");
        let (codes, reply) = send(gatepost.smtp, "<boss@partner.example> SIZE=20", &list);
        assert!(codes[..30].iter().all(|code| code == "550") && codes[30] == "250", "{codes:?}");
        assert!(reply.starts_with("250"), "{reply}");
        // A guess is one: it was never accepted.
        let mut guesser = stranger(&gatepost);
        guesser.expect("MAIL FROM:<guess@partner.example>", "250");
        for n in 0..30 {
            guesser.expect(&format!("RCPT TO:<dead{n}@example.net>"), "250");
        }
    }

    fn what_a_large_message_met_refuses_no_other_one(engine) {
        let full = Arc::new(AtomicBool::new(true));
        let is_full = Arc::clone(&full);
        let backend = Backend::start(free_address(), EXTENSIONS, move |_, command| {
            match command.starts_with("RCPT TO:<bob@") && is_full.load(SeqCst) {
                true => Act::say("552 5.2.2 it would not fit into this mailbox"),
                false => Act::Usual,
            }
        });
        let gatepost = Gatepost::start(engine, &accepting(&backend));
        // A stranger's, under a forged name.
        let reply = stranger(&gatepost).send("boss@partner.example", BOTH, BODY);
        assert!(reply.starts_with("451 4.5.3"), "{reply}");
        full.store(false, SeqCst);
        let (codes, reply) = send(gatepost.smtp, "<boss@partner.example>", BOTH);
        assert!(codes == ["250", "250"] && reply.starts_with("250"), "{codes:?} {reply}");
        // The sender's own, which declares no size: the next one is heard by the backend.
        full.store(true, SeqCst);
        let (_, reply) = send(gatepost.smtp, "<amy@partner.example>", BOTH);
        assert!(reply.starts_with("451 4.5.3"), "{reply}");
        full.store(false, SeqCst);
        let (codes, reply) = send(gatepost.smtp, "<amy@partner.example>", &BOTH[..1]);
        assert!(codes == ["250"] && reply.starts_with("250"), "{codes:?} {reply}");
        // Of one that declares it, the others get the message at its next try.
        full.store(true, SeqCst);
        let large = "<joe@partner.example> SIZE=4000";
        let (_, reply) = send(gatepost.smtp, large, BOTH);
        assert!(reply.starts_with("451 4.5.3"), "{reply}");
        let (codes, reply) = send(gatepost.smtp, large, BOTH);
        assert!(codes == ["452", "250"] && reply.starts_with("250"), "{codes:?} {reply}");
        let (_, reply) = send(gatepost.smtp, large, &BOTH[..1]);
        assert!(reply.starts_with("552 5.2.2"), "{reply}");
    }

    fn what_a_refused_mailbox_met_is_told_to_its_message_alone(engine) {
        let backend = Backend::start(free_address(), EXTENSIONS, |_, command| {
            match command.starts_with("RCPT TO:<bob@") {
                true => Act::say("550 5.7.1 not from you"),
                false => Act::Usual,
            }
        });
        let gatepost = Gatepost::start(engine, &accepting(&backend));
        for mail in ["<amy@partner.example>", "<joe@partner.example> SIZE=400"] {
            let (_, reply) = send(gatepost.smtp, mail, BOTH);
            assert!(reply.starts_with("451 4.5.3"), "{reply}");
            let mut other = stranger(&gatepost);
            other.expect(&format!("MAIL FROM:{}", mail.replace("400", "500")), "250");
            other.expect("RCPT TO:<bob@example.net>", "250");
            let (codes, reply) = send(gatepost.smtp, mail, BOTH);
            assert!(codes == ["550", "250"] && reply.starts_with("250"), "{codes:?} {reply}");
        }
    }

    fn a_list_that_goes_to_quarantine_gets_through(engine) {
        let backend = Backend::good(free_address());
        let other = Backend::start(free_address(), EXTENSIONS, |_, command| {
            match command.starts_with("RCPT TO:<bob@") {
                true => Act::say("550 5.1.1 no such user here"),
                false => Act::Usual,
            }
        });
        let config = accepting(&backend) + &format!(
            "[policy.quarantine]\npool = \"suspicious\"\n[[pool]]\nname = \"suspicious\"\nbackends = [\"{}\"]\n\
             [[policy.rule]]\nname = \"bad\"\nwhen = 'sender.local == \"bad\"'\nthen = \"quarantine\"\n",
            other.address
        );
        let gatepost = Gatepost::start(engine, &config);
        let (_, reply) = send(gatepost.smtp, "<bad@partner.example>", BOTH);
        assert!(reply.starts_with("451 4.5.3"), "{reply}");
        let (codes, reply) = send(gatepost.smtp, "<bad@partner.example>", BOTH);
        assert!(codes == ["550", "250"] && reply.starts_with("250"), "{codes:?} {reply}");
        assert_eq!(other.messages()[0].rcpt, ["RCPT TO:<alice@example.net>"]);
        // Its pool has other mailboxes.
        let (codes, reply) = send(gatepost.smtp, "<amy@partner.example>", BOTH);
        assert!(codes == ["250", "250"] && reply.starts_with("250"), "{codes:?} {reply}");
        assert_eq!(backend.messages().len(), 1);
    }

    fn what_quarantine_was_shown_limits_no_other_mail(engine) {
        let backend = Backend::good(free_address());
        let other = Backend::start(free_address(), EXTENSIONS, |_, command| {
            match command.starts_with("RCPT TO:<alice@") {
                true => Act::say("452 4.5.3 too many recipients"),
                false => Act::Usual,
            }
        });
        let config = accepting(&backend) + &format!(
            "[policy.quarantine]\npool = \"suspicious\"\n[[pool]]\nname = \"suspicious\"\nbackends = [\"{}\"]\n\
             [[policy.header]]\nname = \"bad\"\nfield = \"Subject\"\npattern = \"bad\"\nthen = \"quarantine\"\n",
            other.address
        );
        let gatepost = Gatepost::start(engine, &config);
        let mut client = Client::hello(gatepost.smtp);
        let reply = client.send("amy@partner.example", BOTH, "Subject: bad\r\n\r\nx\r\n");
        assert!(reply.starts_with("451 4.5.3"), "{reply}");
        // Also of the same sender, once that has split its message.
        let (codes, _) = send(gatepost.smtp, "<amy@partner.example>", BOTH);
        assert_eq!(codes, ["250", "452"]);
        let (codes, reply) = send(gatepost.smtp, "<amy@partner.example>", BOTH);
        assert!(codes == ["250", "250"] && reply.starts_with("250"), "{codes:?} {reply}");
    }

    fn a_bounce_to_several_at_postfix_limits_no_other_mail(engine) {
        let restrictions = "smtpd_recipient_restrictions = reject_multi_recipient_bounce, permit_mynetworks, reject\n";
        let Some(postfix) = Postfix::start_with(restrictions) else { return };
        let config = format!(
            "[[pool]]\nname = \"cluster\"\nbackends = [\"{}\"]\n[[route]]\ndomains = [\"example.net\"]\npool = \"cluster\"\nrecipients = \"accept\"\n",
            postfix.address
        );
        let gatepost = Gatepost::start(engine, &config);
        let four = ["a@example.net", "b@example.net", "c@example.net", "d@example.net"];
        let (_, reply) = send(gatepost.smtp, "<list@partner.example>", &four);
        assert!(reply.starts_with("250"), "{reply}");
        let reply = stranger(&gatepost).send("", BOTH, BODY);
        assert!(reply.starts_with("451 4.5.3") && reply.contains("5.5.3"), "{reply}");
        for sender in ["<list@partner.example>", "<other@partner.example>"] {
            let (codes, reply) = send(gatepost.smtp, sender, &four);
            assert!(codes == ["250"; 4] && reply.starts_with("250"), "{codes:?} {reply}");
        }
        let mut client = Client::greeted(gatepost.smtp).0;
        let offered = client.command("EHLO client.example");
        assert!(!offered.contains("RCPTMAX=1\r") && !offered.ends_with("RCPTMAX=1"), "{offered}");
        // The bounce gets through in two messages.
        let mut client = stranger(&gatepost);
        client.expect("MAIL FROM:<>", "250");
        client.expect("RCPT TO:<bob@example.net>", "250");
        client.expect("RCPT TO:<alice@example.net>", "452");
        client.expect("DATA", "354");
        client.raw(format!("{BODY}.\r\n").as_bytes());
        let reply = client.reply();
        assert!(reply.starts_with("250"), "{reply}");
        assert!(client.send("", &BOTH[1..], BODY).starts_with("250"));
    }
}
