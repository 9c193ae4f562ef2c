//! What is asked of the DNS and what is not, what counts of the answers, and how long a message waits for them.

use crate::{
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{Gatepost, free_address, wait_until},
    nameservers::Nameservers,
    scripted_dns::{Said, ScriptedDns, TXT},
};
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

/// A client on loopback.
fn from(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

/// Questions that went out, or would have if another had not been on its way.
fn asked(gatepost: &Gatepost) -> f64 {
    let all = ["sent", "joined", "cached", "refused"].into_iter();
    all.map(|how| gatepost.metric("gatepost_lookups_total", &format!("how=\"{how}\"")))
        .sum()
}

fn whole(gatepost: &Gatepost, client: IpAddr) -> String {
    let text = "Subject: x\r\n\r\nx\r\n";
    Client::hello_from(client, gatepost.smtp).send("a@sender.example", &["b@example.net"], text)
}

crate::on_all_engines! {
    fn a_client_above_its_rate_causes_no_question(engine) {
        let dns = ScriptedDns::start(|_, _| Some(Said::no_name()));
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + &dns.config("") +
            "[policy.client_rate]\nmessages = 1\nper = \"1h\"\n[policy.sender_domain]\nnull_mx = \"reject\"\n"));
        let mut client = Client::hello_from(from(9), gatepost.smtp);
        client.expect("MAIL FROM:<a@first.example>", "250");
        wait_until("the question", || dns.was_asked("first.example").then_some(()));
        client.expect("RSET", "250");
        let before = asked(&gatepost);
        client.expect("MAIL FROM:<a@second.example>", "450 4.7.1");
        assert_eq!(asked(&gatepost), before);
        client.expect("QUIT", "221");
        assert!(!dns.was_asked("second.example"));
    }

    fn nothing_is_asked_that_no_check_will_read(engine) {
        let dns = ScriptedDns::start(|_, _| Some(Said::no_name()));
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + &dns.config("") +
            "[policy.rdns]\nnone = \"reject\"\n[policy.sender_domain]\nno_name = \"reject\"\n\
             [policy.helo_domain]\nno_name = \"reject\"\n[policy.spf]\nnone = \"reject\"\n\
             [[policy.dnsbl]]\nzone = \"bl.test\"\ntest_entries = false\n\
             [[policy.rule]]\nname = \"listed\"\nwhen = \"dnsbl.score >= 3.0\"\nthen = \"close\"\nat = \"connect\"\n\
             [[policy.client_list]]\nname = \"good\"\nentries = [\"127.0.0.8\"]\nthen = \"accept\"\n\
             [[policy.client_list]]\nname = \"bad\"\nentries = [\"127.0.0.7\"]\n"));
        // Those that looked whether it listens came before this one.
        let mut stranger = Client::hello_from(from(9), gatepost.smtp);
        stranger.expect("MAIL FROM:<a@sender.example>", "250");
        let refused = stranger.command("RCPT TO:<b@example.net>");
        assert!(refused.starts_with('5'), "{refused}");
        let before = asked(&gatepost);
        let mut bad = Client::silent_from(from(7), gatepost.smtp);
        assert!(bad.reply().starts_with("554"));
        assert_eq!(asked(&gatepost), before);
        let reply = whole(&gatepost, from(8));
        assert!(reply.starts_with("250"), "{reply}");
        assert_eq!(asked(&gatepost), before);
    }

    fn answers_are_held_for_a_message_and_no_longer(engine) {
        let dns = ScriptedDns::start(|name, kind| Some(match (name, kind) {
            ("sender.example", TXT) => Said::txt("v=spf1 include:more.example -all"),
            ("more.example", TXT) => Said::txt("v=spf1 ip4:127.0.0.0/8 -all"),
            _ => Said::no_name(),
        }));
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + &dns.config("") +
            "[policy.spf]\nfail = \"reject\"\n"));
        let held = || gatepost.metric("gatepost_lookup_memory_bytes", "");
        let mut client = Client::hello_from(from(9), gatepost.smtp);
        for end in ["message", "RSET", "EHLO again.example", "message"] {
            client.expect("MAIL FROM:<a@sender.example>", "250");
            client.expect("RCPT TO:<b@example.net>", "250");
            wait_until("both answers are held", || (held() > 50.0).then_some(()));
            match end {
                "message" => {
                    client.expect("DATA", "354");
                    client.expect("Subject: x\r\n\r\nx\r\n.", "250");
                }
                _ => drop(client.expect(end, "250")),
            }
            // The session goes on, and holds none.
            wait_until("nothing is held", || (held() == 0.0).then_some(()));
        }
        gatepost.log_line(&["verdict=accept", "spf=pass"]);
    }

    fn a_list_counts_once_its_probe_is_answered(engine) {
        let answers = Arc::new(AtomicBool::new(false));
        let open = Arc::clone(&answers);
        let dns = ScriptedDns::start(move |name, _| match name {
            "1.0.0.127.bl.test" if open.load(SeqCst) => Some(Said::no_name()),
            "2.0.0.127.bl.test" if open.load(SeqCst) => Some(Said::a(&[Ipv4Addr::new(127, 0, 0, 2)])),
            "1.0.0.127.bl.test" | "2.0.0.127.bl.test" => None,
            _ => Some(Said::a(&[Ipv4Addr::new(127, 0, 0, 2)])),
        });
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + &dns.config("timeout = \"1s\"") +
            "[timeouts]\nlookups = \"300ms\"\n\
             [[policy.dnsbl]]\nzone = \"bl.test\"\nfamilies = [\"ipv4\"]\nthen = \"reject\"\non_failure = \"defer\"\n"));
        // It lists this client, but perhaps it lists everything.
        let rcpt = |sender: &str| {
            let mut client = Client::hello_from(from(9), gatepost.smtp);
            client.expect(&format!("MAIL FROM:<{sender}>"), "250");
            let reply = client.command("RCPT TO:<b@example.net>");
            client.expect("QUIT", "221");
            reply
        };
        let reply = rcpt("early@sender.example");
        assert!(reply.starts_with("450"), "{reply}");
        gatepost.log_line(&["from=early@sender.example", "dnsbl.bl.test.unknown:defer"]);
        answers.store(true, SeqCst);
        wait_until("it counts", || rcpt("late@sender.example").starts_with("554").then_some(()));
    }

    fn what_comes_late_in_several_rounds_is_waited_for_once(engine) {
        let late = Duration::from_millis(1600);
        let dns = ScriptedDns::start(move |name, kind| Some(match (name, kind) {
            ("z.y.example", TXT) => Said::txt("v=spf1 +all"),
            // It is asked for the author first, and for the sender's domain once SPF and the signatures are known.
            ("_dmarc.y.example", TXT) => Said::txt("v=DMARC1; p=none").after(late),
            (name, TXT) if name.starts_with("_dmarc") => Said::no_name().after(late),
            _ => Said::no_name(),
        }));
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + &dns.config("timeout = \"30s\"") +
            "[timeouts]\nlookups = \"2s\"\n[policy.dmarc]\nfail = 1.0\n[policy.spf]\nfail = 1.0\n"));
        let text = "From: a@y.example\r\nSubject: x\r\n\r\nx\r\n";
        let reply = Client::hello_from(from(9), gatepost.smtp).send("a@z.y.example", &["b@example.net"], text);
        assert!(reply.starts_with("250"), "{reply}");
        gatepost.log_line(&["spf=pass", "dmarc=temperror"]);
    }

    fn a_resolver_that_stands_still_stops_only_what_needs_it(engine) {
        let Some(dns) = Nameservers::start() else { return };
        let backend = Backend::good(free_address());
        let edge = |patience: &str, lookups: &str| Gatepost::start(engine, &("trusted = [\"127.0.0.20\"]\n".to_owned() +
            &pool(&[&backend], "") + &dns.config(&format!("timeout = \"{patience}\"")) +
            &format!("[timeouts]\nlookups = \"{lookups}\"\n\
             [policy.sender_domain]\nno_name = \"reject\"\nunknown = \"defer\"\n")));
        let (short, long) = (edge("400ms", "2s"), edge("50s", "50s"));
        let begin = |gatepost: &Gatepost, sender: &str| {
            let mut client = Client::hello_from(from(9), gatepost.smtp);
            client.expect(&format!("MAIL FROM:<{sender}>"), "250");
            client
        };
        let told = |gatepost: &Gatepost, sender: &str| begin(gatepost, sender).command("RCPT TO:<b@example.net>");
        wait_until("an answer comes in time", || told(&short, "a@good.mail.test").starts_with("250").then_some(()));
        dns.stand_still();
        // What is known still holds, and what is not known is treated as configured.
        assert!(told(&short, "a@good.mail.test").starts_with("250"));
        let reply = told(&short, "a@onlya.mail.test");
        assert!(reply.starts_with("450"), "{reply}");
        // Mail that needs no answer passes one that waits for an answer.
        let mut waits = begin(&long, "a@onlya.mail.test");
        waits.raw(b"RCPT TO:<b@example.net>\r\n");
        for _ in 0..20 {
            let reply = whole(&long, from(20));
            assert!(reply.starts_with("250"), "{reply}");
        }
        assert!(!waits.hears(Duration::from_millis(1)), "it waits for its answer");
        dns.go_on();
        assert!(waits.reply().starts_with("250"), "the answer comes as soon as the resolver goes on");
        wait_until("the others know again", || told(&short, "a@onlya.mail.test").starts_with("250").then_some(()));
    }
}
