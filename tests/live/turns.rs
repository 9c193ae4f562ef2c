//! Messages that are cut to some of their recipients, from senders that come again with the rest in the same order: a recipient that is
//! put off holds up no other one.

use crate::{
    backend::{Act, Backend},
    client::Client,
    harness::{Gatepost, free_address, wait_until},
    postfix::Postfix,
};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    process::Command,
    sync::Mutex,
    time::Duration,
};

/// The name of a recipient says what it meets: `full` is put off by RCPT, `broken` at the end of data, `dead` is refused.
fn met(recipient: &str) -> Option<Act> {
    match recipient.split('@').next() {
        Some(name) if name.ends_with("full") => Some(Act::say("452 4.2.2 mailbox full")),
        Some(name) if name.ends_with("bare") => Some(Act::say("452 mailbox full")),
        Some(name) if name.ends_with("dead") => Some(Act::say("550 5.1.1 no such user")),
        _ => None,
    }
}

/// A backend of that kind, which offers this.
fn backend(offers: &[&'static str]) -> Backend {
    let latest = Mutex::new(HashMap::new());
    let lmtp = offers.contains(&"LMTP");
    Backend::start(free_address(), offers, move |connection, command| {
        let mut latest = latest.lock().expect("sound");
        match command.split_once("RCPT TO:<") {
            Some((_, path)) => {
                latest.insert(connection, path.contains("broken"));
                met(path).unwrap_or(Act::Usual)
            }
            None if command == "BODY" && latest.get(&connection) == Some(&true) => {
                Act::say("451 4.2.0 internal error")
            }
            None if lmtp && command.starts_with("LHLO") => {
                Act::say("250-backend.example\r\n250-PIPELINING\r\n250 8BITMIME")
            }
            None => Act::Usual,
        }
    })
}

const PLAIN: &[&str] = &["PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES"];

/// Pools of their own for these domains, whose routes take every recipient.
fn config(pools: &[(&str, String, &str)]) -> String {
    let pools = pools.iter().map(|(domain, address, protocol)| {
        format!(
            "[[pool]]\nname = \"{domain}\"\nbackends = [\"{address}\"]\nprotocol = \"{protocol}\"\n\
             [pool.health]\ninterval = \"0s\"\n\
             [[route]]\ndomains = [\"{domain}\"]\npool = \"{domain}\"\nrecipients = \"accept\"\n"
        )
    });
    pools.collect()
}

/// A sender's queue: a message that is tried again and again.
struct Queue {
    client: IpAddr,
    sender: String,
    size: &'static str,
    left: Vec<String>,
    got: Vec<String>,
}

impl Queue {
    fn new(sender: &str, size: &'static str, recipients: &[&str]) -> Queue {
        Queue {
            client: Ipv4Addr::LOCALHOST.into(),
            sender: sender.to_owned(),
            size,
            left: recipients.iter().map(|&to| to.to_owned()).collect(),
            got: Vec::new(),
        }
    }

    fn tries(&mut self, gatepost: &Gatepost) {
        let mut client = Client::hello_from(self.client, gatepost.smtp);
        client.expect(&format!("MAIL FROM:<{}>{}", self.sender, self.size), "250");
        let (mut taken, mut left) = (vec![], vec![]);
        for to in self.left.drain(..) {
            let reply = client.command(&format!("RCPT TO:<{to}>"));
            match &reply[..1] {
                "2" => taken.push(to),
                "4" => left.push(to),
                _ => {}
            }
        }
        if !taken.is_empty() {
            client.expect("DATA", "354");
            client.raw(b"Subject: x\r\n\r\nx\r\n.\r\n");
            match &client.reply()[..1] {
                "2" => self.got.append(&mut taken),
                "4" => left.append(&mut taken),
                _ => {}
            }
        }
        left.sort();
        self.left = left;
    }

    /// So many tries, after which these have got it.
    #[track_caller]
    fn delivers(&mut self, gatepost: &Gatepost, tries: usize, wanted: &[&str]) {
        for _ in 0..tries {
            self.tries(gatepost);
        }
        self.got.sort();
        assert_eq!(self.got, wanted, "{:?} are left", self.left);
    }
}

const SIZES: [&str; 2] = ["", " SIZE=900"];

crate::on_all_engines! {
    fn a_broken_mailbox_of_an_lmtp_pool_holds_up_no_other_one(engine) {
        let backend = backend(&["LMTP"]);
        let gatepost = Gatepost::start(engine, &config(&[("a.example", backend.address.to_string(), "lmtp")]));
        for (n, size) in SIZES.into_iter().enumerate() {
            let recipients = ["a-broken@a.example", "b-full@a.example", "c-broken@a.example", "m@a.example", "n@a.example"];
            let mut queue = Queue::new(&format!("s{n}@sender.example"), size, &recipients);
            queue.delivers(&gatepost, 5, &["m@a.example", "n@a.example"]);
            // It is asked again and again.
            let asked = |name: &str| backend.commands().iter().filter(|(_, command)| command.contains(name)).count();
            let before = asked("<a-broken@");
            queue.delivers(&gatepost, 8, &["m@a.example", "n@a.example"]);
            assert!(asked("<a-broken@") >= before + 2, "{:?}", backend.commands());
        }
    }

    fn a_pool_that_is_down_holds_up_no_other_one(engine) {
        let (up, down) = (backend(PLAIN), free_address());
        let gatepost = Gatepost::start(engine, &config(&[
            ("a.example", down.to_string(), "smtp"),
            ("b.example", up.address.to_string(), "smtp"),
        ]));
        for (n, size) in SIZES.into_iter().enumerate() {
            let recipients = ["a@a.example", "b@b.example", "c@b.example"];
            let mut queue = Queue::new(&format!("s{n}@sender.example"), size, &recipients);
            queue.delivers(&gatepost, 2, &recipients[1..]);
        }
    }

    fn a_limit_on_recipients_holds_up_no_other_one(engine) {
        let backend = backend(&["LIMITS RCPTMAX=1", "8BITMIME"]);
        let gatepost = Gatepost::start(engine, &config(&[("a.example", backend.address.to_string(), "smtp")]));
        for (n, size) in SIZES.into_iter().enumerate() {
            let recipients = ["a-broken@a.example", "b-full@a.example", "c-dead@a.example", "m@a.example", "n@a.example"];
            let mut queue = Queue::new(&format!("s{n}@sender.example"), size, &recipients);
            queue.delivers(&gatepost, 5, &recipients[3..]);
        }
    }

    /// Where the sender declares no size, the mailbox may be full for any message of its.
    fn a_full_mailbox_holds_up_no_other_one(engine) {
        let backend = backend(PLAIN);
        let gatepost = Gatepost::start(engine, &config(&[("a.example", backend.address.to_string(), "smtp")]));
        for (n, size) in SIZES.into_iter().enumerate() {
            for name in ["a-full", "a-bare"] {
                let full = format!("{name}@a.example");
                let mut queue = Queue::new(&format!("s{n}{name}@sender.example"), size, &[&full, "b@a.example", "c@a.example"]);
                queue.delivers(&gatepost, 2, &["b@a.example", "c@a.example"]);
            }
        }
    }

    /// Two strangers, or lists, whose recipients have full mailboxes.
    fn full_mailboxes_of_others_limit_no_message(engine) {
        let backend = backend(PLAIN);
        let gatepost = Gatepost::start(engine, &config(&[("a.example", backend.address.to_string(), "smtp")]));
        for network in 1..4 {
            let recipients = ["a@a.example", "b-bare@a.example", "c-bare@a.example"];
            let mut queue = Queue::new("x@stranger.example", "", &recipients);
            queue.client = Ipv4Addr::new(127, 0, network, 9).into();
            queue.tries(&gatepost);
        }
        let six = ["a", "b", "c", "d", "e", "f"].map(|name| format!("{name}@a.example"));
        let six: Vec<&str> = six.iter().map(String::as_str).collect();
        let mut queue = Queue::new("joe@sender.example", "", &six);
        queue.client = Ipv4Addr::new(127, 0, 9, 9).into();
        queue.delivers(&gatepost, 1, &six);
        let offered = Client::greeted(gatepost.smtp).0.command("EHLO client.example");
        assert!(offered.contains("RCPTMAX=1000"), "that is our own limit: {offered}");
    }

    /// Postfix sorts the recipients of a message, so their order is always the same.
    fn postfix_gets_its_mail_past_a_broken_mailbox(engine) {
        let backend = backend(&["LMTP"]);
        let gatepost = Gatepost::start(engine, &config(&[("a.example", backend.address.to_string(), "lmtp")]));
        let relay = format!(
            "relayhost = [{}]:{}\nvirtual_mailbox_domains =\nmyhostname = sender.example\n",
            gatepost.smtp.ip(), gatepost.smtp.port()
        );
        let Some(sender) = Postfix::start_with(&relay) else { return };
        let all = ["aa-broken@a.example", "ab-broken@a.example", "m@a.example", "n@a.example"];
        let reply = Client::hello(sender.address).send("list@sender.example", &all, "x\r\n");
        assert!(reply.starts_with("250"), "{reply}");
        let mut runs = 0;
        wait_until("the others have theirs", || {
            let done = backend.messages().len() == 2;
            if !done {
                // It would try again in five minutes.
                let mut flush = Command::new("postqueue");
                flush.arg("-c").arg(sender.path("etc")).arg("-f").output().expect("it runs");
                std::thread::sleep(Duration::from_millis(500));
                runs += 1;
            }
            done.then_some(())
        });
        let got: Vec<String> = backend.messages().into_iter().flat_map(|message| message.rcpt).collect();
        assert!(got[0].contains("<m@") && got[1].contains("<n@"), "{got:?} after {runs} runs");
        let log = sender.log();
        let deferred = |name: &str| log.lines().filter(|line| line.contains(&format!("to=<{name}@")) && line.contains("status=deferred")).count();
        assert!(deferred("m") <= 2 && deferred("n") <= 3, "{log}");
    }
}
