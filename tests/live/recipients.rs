//! Recipients that don't exist, in numbers, at the mail servers that stand after Gatepost most often, with the limits
//! that these have by default: Postfix ends a connection after 20 refusals and slows it down after 10 of them or 100
//! RSETs, Exim ends it after 10 RSETs, Dovecot takes one recipient's answer at a time.

use crate::{
    backend::{Act, Backend, EXTENSIONS},
    client::Client,
    dovecot::Dovecot,
    exim::Exim,
    harness::{Gatepost, free_address, wait_until},
    postfix::Postfix,
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    time::Duration,
};

const USERS: &str = "virtual_mailbox_maps = inline:{ {good0@example.net=all/} {good1@example.net=all/} \
                     {good2@example.net=all/} {members@example.net=all/} }\n\
                     smtpd_restriction_classes = members\n\
                     members = check_sender_access inline:{ {amy@sender.example=OK} }, reject\n\
                     smtpd_relay_restrictions = check_recipient_access inline:{ {members@example.net=members} }, \
                     permit_mynetworks, reject\n";

/// A stranger's guesses; not a multiple of anything that counts.
const GUESSES: usize = 130;

fn pool(address: SocketAddr, protocol: &str, recipients: &str) -> String {
    // A backend that is left out once stays so.
    format!(
        "[[pool]]\nname = \"cluster\"\nbackends = [\"{address}\"]\nprotocol = \"{protocol}\"\n\
         [pool.health]\ninterval = \"0s\"\nbackoff = \"1h\"\nbackoff_max = \"1h\"\n\
         [[route]]\ndomains = [\"example.net\"]\npool = \"cluster\"\nrecipients = \"{recipients}\"\n"
    )
}

fn nothing_left_out(gatepost: &Gatepost) {
    assert_eq!(gatepost.metric("gatepost_backend_up", "cluster"), 1.0);
    assert!(
        !gatepost.errors().contains("left out"),
        "{}",
        gatepost.errors()
    );
}

fn stranger(gatepost: &Gatepost) -> Client {
    Client::hello_from(Ipv4Addr::new(127, 0, 0, 66).into(), gatepost.smtp)
}

/// Each guess is told that there is no such user, and honest mail goes through between them.
fn bears_guesses(gatepost: &Gatepost) {
    let mut guessed = 0;
    while guessed < GUESSES {
        let mut client = stranger(gatepost);
        client.expect("MAIL FROM:<x@sender.example>", "250");
        for _ in 0..13 {
            client.expect(&format!("RCPT TO:<nobody{guessed}@example.net>"), "550");
            guessed += 1;
        }
        let mut honest = Client::hello(gatepost.smtp);
        let reply = honest.send(
            "a@sender.example",
            &["good0@example.net"],
            "Subject: x\r\n\r\nx\r\n",
        );
        assert!(reply.starts_with("250"), "after {guessed} guesses: {reply}");
    }
    nothing_left_out(gatepost);
}

/// A mail server with a list: it comes again with those that it is asked to come again for. Gives the recipients that got
/// the message, and how often each was refused for good.
fn send_list(gatepost: &Gatepost, recipients: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut waiting, mut got, mut dead) = (recipients.to_vec(), vec![], vec![]);
    for _ in 0..12 {
        let mut client = Client::hello(gatepost.smtp);
        client.expect("MAIL FROM:<list@sender.example>", "250");
        let (mut taken, mut again) = (vec![], vec![]);
        let mut ended = false;
        for recipient in waiting {
            let reply = match ended {
                true => String::new(),
                false => client.command(&format!("RCPT TO:<{recipient}>")),
            };
            ended |= reply.is_empty() || reply.starts_with("421");
            match reply.get(..1) {
                Some("2") => taken.push(recipient),
                Some("5") => dead.push(recipient),
                _ => again.push(recipient),
            }
        }
        let sent = !taken.is_empty() && !ended && {
            client.expect("DATA", "354");
            client
                .command("Subject: x\r\n\r\nx\r\n.")
                .starts_with("250")
        };
        match sent {
            true => got.append(&mut taken),
            false => again.append(&mut taken),
        }
        waiting = again;
        if waiting.is_empty() {
            break;
        }
    }
    assert_eq!(waiting, [""; 0], "these got no answer");
    (got, dead)
}

/// One message to 30 addresses that don't exist and three that do.
fn delivers_a_list(gatepost: &Gatepost) {
    let name = |name: &str, n: usize| format!("{name}{n}@example.net");
    let mut recipients: Vec<String> = (0..30).map(|n| name("gone", n)).collect();
    for n in 0..3 {
        recipients.insert(n * 11, name("good", n));
    }
    let (mut got, mut dead) = send_list(gatepost, &recipients);
    got.sort();
    assert_eq!(got, [name("good", 0), name("good", 1), name("good", 2)]);
    assert_eq!(dead.len(), 30);
    dead.sort();
    dead.dedup();
    assert_eq!(dead.len(), 30, "each is refused once");
    nothing_left_out(gatepost);
}

/// What a Postfix that sends writes in its log of each try: the recipient, and what came of it.
fn tries(sender: &Postfix) -> Vec<(String, String)> {
    let log = sender.log();
    let of_line = |line: &str| {
        let (_, rest) = line.split_once(": to=<")?;
        let (recipient, rest) = rest.split_once('>')?;
        let (_, status) = rest.split_once(" status=")?;
        Some((recipient.to_owned(), status.to_owned()))
    };
    let of_list = |(to, _): &(String, String)| to.ends_with("@example.net");
    log.lines().filter_map(of_line).filter(of_list).collect()
}

/// The same list from a real Postfix, which pipelines its recipients, and tries later what is put off.
fn takes_a_list_of_postfix(gatepost: &Gatepost) {
    let relay = format!(
        "relayhost = [{}]:{}\nvirtual_mailbox_domains =\nmyhostname = sender.example\n",
        gatepost.smtp.ip(),
        gatepost.smtp.port()
    );
    let Some(sender) = Postfix::start_with(&relay) else {
        return;
    };
    let name = |name: &str, n: usize| format!("{name}{n}@example.net");
    let dead: Vec<String> = (0..30).map(|n| name("gone", n)).collect();
    let good: Vec<String> = (0..3).map(|n| name("good", n)).collect();
    let all: Vec<&str> = good.iter().chain(&dead).map(String::as_str).collect();
    let reply = Client::hello(sender.address).send("list@sender.example", &all, "x\r\n");
    assert!(reply.starts_with("250"), "{reply}");
    let of = |recipient: &str, status: &str| {
        let tries = tries(&sender);
        let is = |(to, what): &&(String, String)| to == recipient && what.starts_with(status);
        tries.iter().filter(is).count()
    };
    wait_until("all are told", || {
        let mut pending = all
            .iter()
            .filter(|to| of(to, "sent") + of(to, "bounced") == 0);
        let done = pending.next().is_none();
        if !done {
            // It would try again in five minutes. It complains that it has no pickup, and flushes all the same.
            let mut flush = Command::new("postqueue");
            let flush = flush.arg("-c").arg(sender.path("etc")).arg("-f");
            flush.output().expect("it runs");
            std::thread::sleep(Duration::from_millis(500));
        }
        done.then_some(())
    });
    for to in &dead {
        assert_eq!(of(to, "bounced"), 1, "{}", sender.log());
        assert!(of(to, "deferred") <= 1, "{}", sender.log());
    }
    assert!(
        good.iter().all(|to| of(to, "sent") == 1),
        "{}",
        sender.log()
    );
    nothing_left_out(gatepost);
}

/// An address over which a backend gets into trouble that is not its own: a filter says 421 to it, or a look-up hangs.
/// Honest mail passes meanwhile, so the backend works.
fn bears_an_odd_address(engine: &str, trouble: fn() -> Act) {
    let backend = Backend::start(free_address(), EXTENSIONS, move |_, command| match command
        .contains("<odd@")
    {
        true => trouble(),
        false => Act::Usual,
    });
    for recipients in ["verify", "accept"] {
        let config = pool(backend.address, "smtp", recipients) + "[timeouts]\nbackend = \"2s\"\n";
        let gatepost = Gatepost::start(engine, &config);
        let honest_mail_passes = || {
            let mut honest = Client::hello(gatepost.smtp);
            let reply = honest.send("a@sender.example", &["b@example.net"], "x\r\n");
            assert!(reply.starts_with("250"), "{reply}");
        };
        honest_mail_passes();
        for _ in 0..2 {
            let mut stranger = stranger(&gatepost);
            stranger.expect("MAIL FROM:<x@sender.example>", "250");
            if recipients == "accept" {
                stranger.expect("RCPT TO:<odd@example.net>", "250");
                stranger.expect("DATA", "354");
                stranger.raw(b"Subject: x\r\n\r\nx\r\n.\r\n");
            } else {
                stranger.raw(b"RCPT TO:<odd@example.net>\r\n");
            }
            for _ in 0..20 {
                honest_mail_passes();
                std::thread::sleep(Duration::from_millis(20));
            }
            let told = stranger.reply();
            assert!(told.starts_with("451 4."), "{told}");
        }
        nothing_left_out(&gatepost);
    }
}

/// `members@example.net` takes mail from amy alone.
fn knows_members(gatepost: &Gatepost) {
    let mut client = Client::hello(gatepost.smtp);
    for (sender, code) in [("amy", "250"), ("bob", "55"), ("amy", "250")] {
        client.expect(&format!("MAIL FROM:<{sender}@sender.example>"), "250");
        client.expect("RCPT TO:<members@example.net>", code);
        client.expect("RSET", "250");
    }
    nothing_left_out(gatepost);
}

crate::on_all_engines! {
    fn postfix_bears_a_stranger_and_a_list_with_dead_addresses(engine) {
        let Some(postfix) = Postfix::start_with(USERS) else { return };
        let gatepost = Gatepost::start(engine, &pool(postfix.address, "smtp", "verify"));
        bears_guesses(&gatepost);
        delivers_a_list(&gatepost);
        takes_a_list_of_postfix(&gatepost);
        knows_members(&gatepost);
        assert!(!postfix.log().contains("too many errors"), "{}", postfix.log());
        // Here all are refused in one message, and Postfix ends that connection.
        let gatepost = Gatepost::start(engine, &pool(postfix.address, "smtp", "accept"));
        delivers_a_list(&gatepost);
    }

    fn exim_bears_a_stranger_and_a_list_with_dead_addresses(engine) {
        let Some(exim) = Exim::start() else { return };
        let gatepost = Gatepost::start(engine, &pool(exim.address, "smtp", "verify"));
        bears_guesses(&gatepost);
        delivers_a_list(&gatepost);
        knows_members(&gatepost);
        let gatepost = Gatepost::start(engine, &pool(exim.address, "smtp", "accept"));
        delivers_a_list(&gatepost);
        let log = std::fs::read_to_string(exim.folder.path().join("log/mainlog")).unwrap_or_default();
        // Exim counts a process among its connections until that has ended, so one that follows at once may be refused:
        // that holds no mail up. What it must not see are clients that it takes for guessers.
        let complaints = log.lines().filter(|line| line.contains("too many"));
        let mut complaints = complaints.filter(|line| !line.contains("too many connections"));
        assert_eq!(complaints.next(), None, "{log}");
    }

    fn trouble_over_one_address_leaves_no_backend_out(engine) {
        bears_an_odd_address(engine, || Act::say("421 4.3.0 the filter has gone"));
        bears_an_odd_address(engine, || Act::Hang);
    }

    fn messages_over_which_a_backend_hangs_leave_connections_for_others(engine) {
        let backend = Backend::start(free_address(), EXTENSIONS, |_, command| match command.contains("<hang@") {
            true => Act::Hang,
            false => Act::Usual,
        });
        let config = pool(backend.address, "smtp", "accept")
            .replace("protocol", "connections = 24\nlease_wait = \"2s\"\nprotocol");
        let gatepost = Gatepost::start(engine, &config);
        let mut waiting = vec![];
        for n in 0..20 {
            let stranger = Ipv4Addr::new(127, 0, 0, 71 + n % 5);
            let mut client = Client::hello_from(stranger.into(), gatepost.smtp);
            client.expect("MAIL FROM:<x@sender.example>", "250");
            client.expect("RCPT TO:<hang@example.net>", "250");
            client.expect("DATA", "354");
            client.raw(b"Subject: x\r\n\r\nx\r\n.\r\n");
            waiting.push(client);
        }
        // Each of the five has one.
        wait_until("the backend hangs", || {
            let commands = backend.commands();
            let hangs = commands.iter().filter(|(_, command)| command.contains("<hang@"));
            (hangs.count() >= 5).then_some(())
        });
        for _ in 0..5 {
            let mut honest = Client::hello(gatepost.smtp);
            let reply = honest.send("a@sender.example", &["b@example.net"], "x\r\n");
            assert!(reply.starts_with("250"), "{reply}");
        }
    }

    fn dovecot_bears_a_stranger_and_a_list_with_dead_addresses(engine) {
        let Some(dovecot) = Dovecot::start() else { return };
        let gatepost = Gatepost::start(engine, &pool(dovecot.address, "lmtp", "verify"));
        bears_guesses(&gatepost);
        delivers_a_list(&gatepost);
        let gatepost = Gatepost::start(engine, &pool(dovecot.address, "lmtp", "accept"));
        // Each recipient in a message of its own: the refusal of one is that message's.
        let mut client = Client::hello(gatepost.smtp);
        for (name, code) in [("good0", "250"), ("gone", "550"), ("good1", "250")] {
            let reply = client.send("a@sender.example", &[&format!("{name}@example.net")], "Subject: x\r\n\r\nx\r\n");
            assert!(reply.starts_with(code), "{name}: {reply}");
        }
        drop(dovecot.folder);
    }
}
