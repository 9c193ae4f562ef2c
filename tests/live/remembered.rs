//! What is remembered from one session to the next, and over a restart: the greylist, rates, leases, locks, who has waited.

use crate::{
    auth::user,
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{Gatepost, free_address, wait_until},
    postfix::Postfix,
};
use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    thread::sleep,
    time::Duration,
};

/// A DNS that says nothing, quickly.
const NO_DNS: &str = "[dns]\nservers = [\"127.0.0.1:9\"]\ntimeout = \"100ms\"\n[timeouts]\nlookups = \"200ms\"\nauth_delay = \"1ms\"\n";
const GREYLIST: &str = "[policy.greylist]\nmode = \"on\"\nscore = 0.0\ndelay = \"1s\"\n";

fn state(folder: &Path) -> String {
    let folder = folder.display();
    format!("[state]\ndirectory = \"{folder}\"\ninterval = \"1s\"\n")
}

/// The reply to a recipient of a message from this sender.
fn rcpt(address: SocketAddr, sender: &str) -> String {
    let mut client = Client::hello(address);
    client.expect(&format!("MAIL FROM:<{sender}>"), "250");
    let reply = client.command("RCPT TO:<b@example.net>");
    client.expect("QUIT", "221");
    reply
}

fn wait_to_pass(gatepost: &Gatepost, sender: &str) {
    assert!(rcpt(gatepost.smtp, sender).starts_with("451 4.7.1 "));
    wait_until("it passes", || {
        let reply = rcpt(gatepost.smtp, sender);
        reply.starts_with("250").then_some(())
    });
}

/// Waits for a snapshot that was begun after now.
fn wait_for_snapshot(gatepost: &Gatepost) {
    let written = || gatepost.metric("gatepost_state_writes_total", "result=\"written\"");
    let before = written();
    wait_until("a snapshot", || (written() >= before + 2.0).then_some(()));
}

crate::on_all_engines! {
    fn what_is_new_hears_451_and_passes_when_it_comes_again(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + GREYLIST + NO_DNS));
        wait_to_pass(&gatepost, "a@sender.example");
        let mut client = Client::hello(gatepost.smtp);
        let reply = client.send("a@sender.example", &["b@example.net"], "Subject: x\r\n\r\nx\r\n");
        assert!(reply.starts_with("250"), "{reply}");
        gatepost.log_line(&["greylist:defer", "127.0.0.0/24 is new, 1s"]);
        gatepost.log_line(&["greylist:accept", "127.0.0.0/24 has come again after"]);
        gatepost.log_line(&["verdict=accept", "127.0.0.0/24 is known"]);
        // Its network is /24: from another it is new, and so is another sender.
        let other: IpAddr = [127, 0, 7, 1].into();
        let mut client = Client::hello_from(other, gatepost.smtp);
        client.expect("MAIL FROM:<a@sender.example>", "250");
        client.expect("RCPT TO:<b@example.net>", "451 4.7.1");
        assert!(rcpt(gatepost.smtp, "c@sender.example").starts_with("451"));
        assert_eq!(backend.messages().len(), 1);
    }

    fn what_is_known_outlives_a_kill(engine) {
        let (backend, folder) = (Backend::good(free_address()), tempfile::tempdir().expect("a folder"));
        let rules = "[[policy.rule]]\nname = \"often\"\nwhen = 'sender.local == \"often\" && rate(sender, 1, \"1h\")'\nthen = \"reject\"\n\
            [[policy.rule]]\nname = \"window\"\nwhen = 'sender.local == \"window\" && rate_window(sender, 1, \"1h\")'\nthen = \"reject\"\n";
        let config = pool(&[&backend], "") + GREYLIST + rules + &state(folder.path()) + NO_DNS;
        let mut gatepost = Gatepost::start(engine, &config);
        let senders = ["a@sender.example", "often@sender.example", "window@sender.example"];
        for sender in &senders[1..] {
            assert!(rcpt(gatepost.smtp, sender).starts_with("451"), "{sender}");
        }
        wait_to_pass(&gatepost, senders[0]);
        let known = |gatepost: &Gatepost| {
            assert!(rcpt(gatepost.smtp, senders[0]).starts_with("250"));
            for sender in &senders[1..] {
                let reply = rcpt(gatepost.smtp, sender);
                assert!(reply.starts_with("550"), "{sender}: {reply}");
            }
        };
        known(&gatepost);
        // A reload changes nothing of it.
        gatepost.process.signal("HUP");
        wait_until("it is reloaded", || gatepost.errors().contains("reloaded:").then_some(()));
        known(&gatepost);
        wait_for_snapshot(&gatepost);
        gatepost.process.signal("KILL");
        drop(gatepost);
        gatepost = Gatepost::start(engine, &config);
        known(&gatepost);
        wait_until("it is told", || gatepost.errors().contains("entries read from").then_some(()));
        // What came since the last snapshot is written at the end.
        wait_to_pass(&gatepost, "late@sender.example");
        gatepost.process.signal("TERM");
        assert!(gatepost.process.0.wait().expect("it ends").success());
        gatepost = Gatepost::start(engine, &config);
        known(&gatepost);
        assert!(rcpt(gatepost.smtp, "late@sender.example").starts_with("250"));
        drop(gatepost);
        // A file that is damaged stops no start, and is kept aside.
        let file = folder.path().join("state");
        let mut octets = fs::read(&file).expect("there");
        let middle = octets.len() / 2;
        octets[middle] ^= 1;
        fs::write(&file, octets).expect("written");
        gatepost = Gatepost::start(engine, &config);
        assert!(rcpt(gatepost.smtp, senders[0]).starts_with("451"));
        let errors = gatepost.errors();
        assert_eq!(errors.matches("can't be used").count(), 1, "{errors}");
        assert!(folder.path().join("state.unusable").exists());
    }

    fn who_is_locked_is_locked_after_a_restart(engine) {
        let (backend, folder) = (Backend::good(free_address()), tempfile::tempdir().expect("a folder"));
        let accounts = folder.path().join("accounts");
        let added = user(&accounts, &["add", "amy", "-a", "amy@example.net"], "secret");
        assert!(added.0, "{}", added.1);
        let listener = format!(
            "[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\nauth = [\"login\"]\nauth_requires_tls = false\n\
             [[credentials]]\nname = \"all\"\nfile = \"{}\"\n[limits]\nauth_failures_client = 2\n",
            accounts.display()
        );
        let config = pool(&[&backend], "") + &listener + &state(&folder.path().join("state")) + NO_DNS;
        let login = |gatepost: &Gatepost, password: &str| {
            let mut client = Client::hello(gatepost.smtp);
            client.expect("AUTH LOGIN YW15", "334");
            client.command(password)
        };
        let gatepost = Gatepost::start(engine, &config);
        for _ in 0..2 {
            assert!(login(&gatepost, "d3Jvbmc=").starts_with("535"));
        }
        assert!(login(&gatepost, "c2VjcmV0").starts_with("535"), "it is locked");
        wait_for_snapshot(&gatepost);
        gatepost.process.signal("KILL");
        drop(gatepost);
        let gatepost = Gatepost::start(engine, &config);
        assert!(login(&gatepost, "c2VjcmV0").starts_with("535"), "it is locked still");
        drop(gatepost);
        // Without what was kept it isn't.
        fs::remove_dir_all(folder.path().join("state")).expect("there");
        let gatepost = Gatepost::start(engine, &config);
        assert!(login(&gatepost, "c2VjcmV0").starts_with("235"));
    }

    fn a_disk_that_takes_nothing_stops_no_mail(engine) {
        let (backend, folder) = (Backend::good(free_address()), tempfile::tempdir().expect("a folder"));
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + &state(folder.path()) + NO_DNS));
        wait_for_snapshot(&gatepost);
        // Nobody can write a file where there is a folder, not even root.
        let in_the_way = folder.path().join("state.new");
        wait_until("it is in the way", || fs::create_dir(&in_the_way).ok());
        let failed = || gatepost.metric("gatepost_state_writes_total", "result=\"failed\"");
        wait_until("writes fail", || (failed() >= 2.0).then_some(()));
        let mut client = Client::hello(gatepost.smtp);
        let reply = client.send("a@sender.example", &["b@example.net"], "Subject: x\r\n\r\nx\r\n");
        assert!(reply.starts_with("250"), "{reply}");
        fs::remove_dir(&in_the_way).expect("there");
        wait_until("it is well again", || gatepost.errors().contains("is written again").then_some(()));
        assert_eq!(gatepost.errors().matches("can't be written").count(), 1, "once, and not each time");
    }

    fn a_flood_of_first_messages_takes_no_memory_and_makes_nobody_unknown(engine) {
        let backend = Backend::good(free_address());
        let small = GREYLIST.to_owned() + "table = 500\n";
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + &small + NO_DNS));
        wait_to_pass(&gatepost, "a@sender.example");
        for round in 0..100 {
            // A session may not be refused more than `limits.errors`.
            let mut client = Client::hello(gatepost.smtp);
            let mut batch = String::new();
            for letter in 'a'..='j' {
                batch += &format!("MAIL FROM:<x{round}{letter}@sender.example>\r\nRCPT TO:<b@example.net>\r\nRSET\r\n");
            }
            client.raw(batch.as_bytes());
            for _ in 0..10 {
                assert!(client.reply().starts_with("250"));
                // Where there is no room it is let in.
                let told = client.reply();
                assert!(told.starts_with("451") || told.starts_with("250"), "{told}");
                assert!(client.reply().starts_with("250"));
            }
        }
        assert!(rcpt(gatepost.smtp, "a@sender.example").starts_with("250"));
    }

    fn who_has_waited_for_the_greeting_is_spared_it(engine) {
        let backend = Backend::good(free_address());
        let listener = "[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\ngreeting_delay = \"500ms\"\n";
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + listener + NO_DNS));
        let early = |last: u8| {
            let source: IpAddr = [127, 0, 0, last].into();
            let mut client = Client::silent_from(source, gatepost.smtp);
            client.raw(b"EHLO client.example\r\n");
            client.reply()
        };
        // One that never waits is told so each time.
        for _ in 0..2 {
            assert!(early(2).starts_with("554 5.5.1"));
        }
        let source: IpAddr = [127, 0, 0, 3].into();
        Client::hello_from(source, gatepost.smtp).expect("QUIT", "221");
        assert!(early(3).starts_with("220"), "it has waited before");
        assert!(early(4).starts_with("554 5.5.1"));
    }

    fn leases_count_what_is_under_way(engine) {
        let backend = Backend::good(free_address());
        let rule = "[[policy.rule]]\nname = \"one\"\nwhen = 'leases(sender.domain, 1, \"10m\")'\nthen = \"defer\"\n";
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + rule + NO_DNS));
        let begin = || {
            let mut client = Client::hello(gatepost.smtp);
            client.expect("MAIL FROM:<a@sender.example>", "250");
            client
        };
        let (mut one, mut two) = (begin(), begin());
        one.expect("RCPT TO:<b@example.net>", "250");
        one.expect("RCPT TO:<c@example.net>", "250");
        two.expect("RCPT TO:<b@example.net>", "451");
        one.expect("RSET", "250");
        two.expect("RCPT TO:<b@example.net>", "250");
        one.expect("MAIL FROM:<a@sender.example>", "250");
        one.expect("RCPT TO:<b@example.net>", "451");
        two.expect("DATA", "354");
        two.expect("Subject: x\r\n\r\nx\r\n.", "250");
        one.expect("RCPT TO:<b@example.net>", "250");
        // One that goes without a word gives it back too.
        one.reset();
        wait_until("it is given back", || two.command("MAIL FROM:<a@sender.example>").starts_with("250").then_some(()));
        wait_until("it is given back", || two.command("RCPT TO:<b@example.net>").starts_with("250").then_some(()));
    }

    fn rules_know_what_came_before(engine) {
        let backend = Backend::good(free_address());
        let rules = "[[policy.rule]]\nname = \"bad-past\"\nwhen = 'reputation.client < -0.4'\nthen = \"reject\"\nreply = \"550 5.7.1 Enough\"\n\
            [[policy.rule]]\nname = \"bad\"\nwhen = 'sender.local == \"bad\"'\nthen = \"reject\"\nreply = \"550 5.7.1 Bad\"\n";
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + rules + NO_DNS));
        for _ in 0..3 {
            assert!(rcpt(gatepost.smtp, "bad@sender.example").contains("Bad"));
        }
        assert!(rcpt(gatepost.smtp, "good@sender.example").contains("Enough"));
    }
}

#[test]
fn postfix_gets_its_message_through() {
    let backend = Backend::good(free_address());
    let gatepost = Gatepost::start("epoll", &(pool(&[&backend], "") + GREYLIST + NO_DNS));
    let relay = format!(
        "relayhost = [{}]:{}\nminimal_backoff_time = 1s\nmaximal_backoff_time = 2s\nqueue_run_delay = 1s\n\
         virtual_mailbox_domains = other.example\nsmtp_host_lookup = native\n",
        gatepost.smtp.ip(),
        gatepost.smtp.port()
    );
    let Some(postfix) = Postfix::start_with(&relay) else {
        return;
    };
    let mut client = Client::hello(postfix.address);
    let body = "Subject: through\r\n\r\nx\r\n";
    let reply = client.send("a@sender.example", &["b@example.net"], body);
    assert!(reply.starts_with("250"), "{reply}");
    wait_until("it comes again and gets through", || {
        let messages = backend.messages();
        let came = messages
            .iter()
            .any(|m| m.text().contains("Subject: through"));
        if !came {
            sleep(Duration::from_millis(200));
        }
        came.then_some(())
    });
    gatepost.log_line(&["greylist:defer", "is new"]);
    assert!(postfix.log().contains("451 4.7.1"), "{}", postfix.log());
}
