//! The policy at work: lists, rates, HELO, header rules, scores, shadow mode, early talkers.

use crate::{
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{Gatepost, free_address},
};
use std::{fs, time::Duration};

fn with_policy(engine: &str, backend: &Backend, policy: &str) -> Gatepost {
    Gatepost::start(engine, &(pool(&[backend], "") + policy))
}

crate::on_all_engines! {
    fn a_refusal_of_the_address_outlasts_one_of_the_name(engine) {
        let backend = Backend::good(free_address());
        let policy = "[policy]\nlog_rejected = \"delayed\"\n\
             [[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\nxclient_from = [\"127.0.0.0/8\"]\n\
             [[policy.client_list]]\nname = \"bad\"\nentries = [\"192.0.2.9\"]\n\
             [[policy.helo_list]]\nname = \"names\"\nentries = [\"bad.example\"]\n\
             [[policy.rule]]\nname = \"network\"\nat = \"connect\"\nwhen = 'client.address in cidr(\"198.51.100.0/24\")'\nthen = \"reject\"\n";
        let gatepost = with_policy(engine, &backend, policy);
        let mut client = Client::hello(gatepost.smtp);
        client.expect("XCLIENT ADDR=192.0.2.9 HELO=bad.example", "220");
        client.expect("EHLO filter.example", "250");
        client.expect("MAIL FROM:<a@sender.example>", "250");
        client.expect("RCPT TO:<b@example.net>", "554 5.7.1");
        // Nothing of one that is known already waits for a login.
        let mut client = Client::hello(gatepost.smtp);
        client.expect("XCLIENT ADDR=198.51.100.9 LOGIN=bob", "55");
    }

    fn a_listed_client_is_turned_away_at_connect(engine) {
        let backend = Backend::good(free_address());
        let folder = tempfile::tempdir().expect("a folder");
        let list = folder.path().join("blocked");
        fs::write(&list, "# neighbours\n192.0.2.0/24\n127.0.0.0/8 # everybody here\n").expect("written");
        let policy = format!("[[policy.client_list]]\nname = \"blocked\"\nfiles = [\"{}\"]\nreply = \"550 5.7.1 Go away\"\n", list.display());
        let gatepost = with_policy(engine, &backend, &policy);
        let (mut client, greeting) = Client::greeted(gatepost.smtp);
        assert!(greeting.starts_with("554 5.7.1 Go away"), "{greeting}");
        assert_eq!(client.rest(), "");
        gatepost.log_line(&["verdict=none", "reply=\"Go away\" check=client_list.blocked ", "client_list.blocked:reject", "why=refused"]);
        // The file changes, a reload reads it.
        fs::write(&list, "192.0.2.0/24\n").expect("written");
        assert_eq!(crate::harness::http(gatepost.admin, "POST", "/reload").0, 200);
        assert!(Client::greeted(gatepost.smtp).1.starts_with("220"));
    }

    fn each_listener_says_itself_when_a_client_hears_of_its_refusal(engine) {
        let backend = Backend::good(free_address());
        let other = free_address();
        let listeners = format!(
            "[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\n\
             [[listener]]\nname = \"patient\"\naddress = [\"{other}\"]\n[listener.policy]\nlog_rejected = \"delayed\"\n"
        );
        let policy = format!("[[policy.client_list]]\nname = \"blocked\"\nentries = [\"127.0.0.0/8\"]\nreply = \"550 5.7.1 Go away\"\n{listeners}");
        let gatepost = with_policy(engine, &backend, &policy);
        assert!(Client::greeted(gatepost.smtp).1.starts_with("554 5.7.1 Go away"));
        let mut client = Client::hello(other);
        client.expect("MAIL FROM:<a@sender.example>", "250");
        client.expect("RCPT TO:<b@example.net>", "550 5.7.1 Go away");
    }

    fn a_name_and_a_sender_that_are_refused_hear_of_it_at_rcpt_where_refusals_are_delayed(engine) {
        let backend = Backend::good(free_address());
        let policy = "[policy]\nlog_rejected = \"delayed\"\n[policy.helo.unqualified]\nthen = \"reject\"\n\
            [[policy.helo_list]]\nname = \"bad\"\nentries = [\"bad.example\"]\nthen = \"close\"\n\
            [[policy.sender_list]]\nname = \"spammers\"\nentries = [\"spam.example\"]\n\
            [policy.client_rate]\nmessages = 3\nper = \"1h\"\n";
        let gatepost = with_policy(engine, &backend, policy);
        let mut client = Client::greeted(gatepost.smtp).0;
        for (hello, sender, told) in [
            ("EHLO foo", "a@sender.example", "550 5.7.1 "),
            ("EHLO mail.client.example", "b@sender.example", "250"),
            ("EHLO mail.client.example", "c@spam.example", "550 5.7.1 "),
            // Of the sender before nothing is left.
            ("NOOP", "d@sender.example", "250"),
        ] {
            client.expect(hello, "250");
            client.expect(&format!("MAIL FROM:<{sender}>"), "250");
            client.expect("RCPT TO:<b@example.net>", told);
            client.expect("RSET", "250");
        }
        gatepost.log_line(&["from=a@sender.example", "refused=1", "rcpt <b@example.net>: 550", "(helo.unqualified)", "verdict=reject", "check=helo.unqualified"]);
        gatepost.log_line(&["from=c@spam.example", "rcpt <b@example.net>: 550", "(sender_list.spammers)", "check=sender_list.spammers"]);
        // A rate is told at once.
        client.expect("MAIL FROM:<e@sender.example>", "450 4.7.1");
        client.expect("EHLO bar", "250");
        client.expect("QUIT", "221");
        gatepost.log_line(&["verdict=none", "refusal=\"ehlo bar: 550", "check=helo.unqualified", "why=quit"]);
        let mut closed = Client::greeted(gatepost.smtp).0;
        closed.expect("EHLO bad.example", "250");
        let sent = "MAIL FROM:<f@sender.example>";
        closed.expect(sent, "250");
        closed.expect("RCPT TO:<b@example.net>", "421");
        assert_eq!(closed.rest(), "");
    }

    fn a_refusal_at_helo_names_its_check(engine) {
        let backend = Backend::good(free_address());
        let gatepost = with_policy(engine, &backend, "[policy.helo.unqualified]\nthen = \"reject\"\n");
        let mut client = Client::greeted(gatepost.smtp).0;
        client.expect("EHLO foo", "550");
        client.expect("QUIT", "221");
        gatepost.log_line(&["verdict=none", "refusal=\"ehlo foo: 550", "code=550", " check=helo.unqualified ", "why=quit"]);
    }

    fn shadow_mode_only_watches(engine) {
        let backend = Backend::good(free_address());
        let policy = "[[policy.sender_list]]\nname = \"spammers\"\nentries = [\".sender.example\", \"sender.example\"]\nmode = \"shadow\"\n";
        let gatepost = with_policy(engine, &backend, policy);
        let mut client = Client::hello(gatepost.smtp);
        assert!(client.send("a@sender.example", &["b@example.net"], "x\r\n").starts_with("250"));
        gatepost.log_line(&["verdict=accept", "sender_list.spammers:reject(shadow)"]);
        assert_eq!(gatepost.metric("gatepost_check_hits_total", "check=\"sender_list.spammers\",shadow=\"true\",verdict=\"reject\""), 1.0);
    }

    fn header_rules_reject_and_score(engine) {
        let backend = Backend::good(free_address());
        let policy = "[policy]\nreject_score = 5.0\n\
            [[policy.header]]\nname = \"lottery\"\nfield = \"subject\"\nwhen = \"matches\"\npattern = \"you won\"\nreply = \"550 5.7.1 No lotteries\"\n\
            [[policy.header]]\nname = \"no-date\"\nfield = \"Date\"\nwhen = \"absent\"\nthen = \"score\"\nscore = 3.0\n\
            [[policy.header]]\nname = \"loud\"\nfield = \"X-Loud\"\nwhen = \"present\"\nthen = \"score\"\nscore = 2.5\n";
        let gatepost = with_policy(engine, &backend, policy);
        let mut client = Client::hello(gatepost.smtp);
        let to = ["b@example.net"];
        let reply = client.send("a@sender.example", &to, "Subject: Oh,\r\n YOU WON it\r\nDate: now\r\n\r\nx\r\n");
        assert!(reply.starts_with("550 5.7.1 No lotteries"), "{reply}");
        assert!(client.send("a@sender.example", &to, "Subject: hi\r\n\r\nyou won\r\n").starts_with("250"));
        let reply = client.send("a@sender.example", &to, "X-Loud: 1\r\n\r\nx\r\n");
        assert!(reply.starts_with("550 5.7.1"), "3.0 + 2.5: {reply}");
        gatepost.log_line(&["verdict=reject", "header.no-date:score:3", "header.loud:score:2.5", "score=5.5"]);
        assert_eq!(backend.messages().len(), 1);
    }

    /// The end of a streamed body is held back until the verdict: the backend throws away what it has.
    fn a_rejected_stream_leaves_nothing(engine) {
        for extensions in [&["PIPELINING", "8BITMIME"][..], &["PIPELINING", "8BITMIME", "CHUNKING"]] {
            let backend = Backend::start(free_address(), extensions, |_, _| crate::backend::Act::Usual);
            // What the header says alone is judged before a backend hears of it.
            let policy = "[[policy.rule]]\nname = \"bad\"\nwhen = 'header(\"X-Bad\") != \"\" && message.size > 1000'\nthen = \"reject\"\n";
            let gatepost = with_policy(engine, &backend, policy);
            let mut client = Client::hello(gatepost.smtp);
            let body = "X-Bad: yes\r\n\r\n".to_string() + &"much of it\r\n".repeat(50_000);
            let reply = client.send("a@sender.example", &["b@example.net"], &body);
            assert!(reply.starts_with("550 5.7.1"), "{reply}");
            let streamed = |(_, c): &(usize, String)| c == "DATA" || c.starts_with("BDAT");
            crate::harness::wait_until("it streamed", || {
                backend.commands().iter().any(streamed).then_some(())
            });
            let reply = client.send("a@sender.example", &["b@example.net"], &body.replace("X-Bad", "X-Good"));
            assert!(reply.starts_with("250"), "{reply}");
            assert_eq!(backend.messages().len(), 1);
            assert!(backend.messages()[0].payload().starts_with("X-Good"));
        }
    }

    fn rates_bite_strangers_alone(engine) {
        let backend = Backend::good(free_address());
        let policy = "[policy.client_rate]\nmessages = 3\nper = \"1h\"\n";
        let gatepost = with_policy(engine, &backend, policy);
        let mut client = Client::hello(gatepost.smtp);
        for _ in 0..3 {
            assert!(client.send("a@sender.example", &["b@example.net"], "x\r\n").starts_with("250"));
        }
        client.expect("MAIL FROM:<a@sender.example>", "45");
        let trusting = Gatepost::start(engine, &format!("trusted = [\"127.0.0.0/8\"]\n{}{policy}", pool(&[&backend], "")));
        let mut client = Client::hello(trusting.smtp);
        for _ in 0..6 {
            assert!(client.send("a@sender.example", &["b@example.net"], "x\r\n").starts_with("250"));
        }
    }

    fn sessions_of_one_client_are_bounded(engine) {
        let backend = Backend::good(free_address());
        let gatepost = with_policy(engine, &backend, "[policy.client_rate]\nsessions = 2\n");
        let (one, two) = (Client::hello(gatepost.smtp), Client::hello(gatepost.smtp));
        let (_, greeting) = Client::greeted(gatepost.smtp);
        assert!(greeting.starts_with("421 4.7"), "{greeting}");
        drop((one, two));
        crate::harness::wait_until("a place", || Client::greeted(gatepost.smtp).1.starts_with("220").then_some(()));
    }

    fn who_talks_before_the_greeting_is_hung_up_on(engine) {
        let backend = Backend::good(free_address());
        let config = pool(&[&backend], "") + "[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\ngreeting_delay = \"300ms\"\n";
        let gatepost = Gatepost::start(engine, &config);
        let mut hasty = Client::silent(gatepost.smtp);
        hasty.raw(b"EHLO client.example\r\n");
        let said = hasty.rest();
        assert!(said.starts_with("554 5.") || said.starts_with("421 4."), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        let mut patient = Client::hello(gatepost.smtp);
        assert!(patient.send("a@sender.example", &["b@example.net"], "x\r\n").starts_with("250"));
    }

    fn a_client_that_a_list_accepts_waits_for_no_greeting(engine) {
        let backend = Backend::good(free_address());
        let config = pool(&[&backend], "") + "[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\ngreeting_delay = \"59s\"\n\
             [[policy.client_list]]\nname = \"good\"\nentries = [\"127.0.0.8\"]\nthen = \"accept\"\n";
        let gatepost = Gatepost::start(engine, &config);
        let mut stranger = Client::silent_from([127, 0, 0, 9].into(), gatepost.smtp);
        let mut good = Client::silent_from([127, 0, 0, 8].into(), gatepost.smtp);
        assert!(good.reply().starts_with("220 "));
        assert!(!stranger.hears(Duration::from_millis(1)), "it came before, and waits still");
    }

    fn who_talks_past_ehlo_is_judged(engine) {
        let backend = Backend::good(free_address());
        let gatepost = with_policy(engine, &backend, "");
        let (mut hasty, _) = Client::greeted(gatepost.smtp);
        hasty.raw(b"EHLO client.example\r\nMAIL FROM:<a@sender.example>\r\n");
        let said = hasty.rest();
        assert!(said.lines().last().is_some_and(|l| l.starts_with("421 4.7") || l.starts_with("554 5.")), "{said}");
        assert!(!said.contains("2.1.0"), "{said}");
    }

    fn too_many_errors_end_the_session(engine) {
        let backend = Backend::good(free_address());
        let gatepost = with_policy(engine, &backend, "[limits]\nerrors = 3\n");
        let mut client = Client::hello(gatepost.smtp);
        client.expect("WHAT", "500");
        client.expect("WHAT", "500");
        let last = client.command("WHAT");
        assert!(last.starts_with("421") || client.rest().starts_with("421"), "{last}");
    }

    fn a_submission_listener_is_for_trusted_clients(engine) {
        let backend = Backend::good(free_address());
        let listener = "[[listener]]\nname = \"mx\"\nrole = \"submission\"\naddress = [\"SMTP_ADDRESS\"]\n";
        let strange = with_policy(engine, &backend, listener);
        Client::hello(strange.smtp).expect("MAIL FROM:<a@example.net>", "530 5.7.0");
        let trusting = Gatepost::start(engine, &format!("trusted = [\"127.0.0.0/8\"]\n{}{listener}", pool(&[&backend], "")));
        let mut client = Client::hello(trusting.smtp);
        assert!(client.send("a@example.net", &["b@other.example"], "x\r\n").starts_with("250"));
    }

    fn a_crowd_makes_silent_clients_short_lived(engine) {
        let backend = Backend::good(free_address());
        let config = "[limits]\nsessions = 10\n[timeouts]\nstress = \"1s\"\n";
        let gatepost = with_policy(engine, &backend, config);
        let mut patient: Vec<Client> = (0..9).map(|_| Client::hello(gatepost.smtp)).collect();
        let (mut tenth, _) = Client::greeted(gatepost.smtp);
        assert!(tenth.reply().starts_with("421 4.4.2"), "a session that came under stress");
        for client in &mut patient {
            assert!(client.reply().starts_with("421 4.4.2"), "one that was there before");
        }
        drop((patient, tenth));
        crate::harness::wait_until("ease", || {
            (gatepost.metric("gatepost_sessions_open", "") == 0.0).then_some(())
        });
        let mut client = Client::hello(gatepost.smtp);
        std::thread::sleep(Duration::from_millis(1500));
        client.expect("NOOP", "250");
    }

    /// Whoever found it dead, core or proxy, in the window or beyond it: the log says reject, and why.
    fn a_dead_body_is_logged_as_rejected(engine) {
        let backend = Backend::good(free_address());
        let gatepost = with_policy(engine, &backend, "[limits]\nwindow = \"8KiB\"\nheader = \"8KiB\"\n");
        let to = ["b@example.net"];
        let mut client = Client::hello(gatepost.smtp);
        assert!(client.send("one@sender.example", &to, "bare\nnewline\r\n").starts_with("550 5.6.11"));
        gatepost.log_line(&["from=one@", "verdict=reject", "code=550", "status=5.6.11"]);
        let endless = "X: y\r\n".repeat(5_000);
        assert!(client.send("two@sender.example", &to, &endless).starts_with("552 5.3.4"));
        gatepost.log_line(&["from=two@", "verdict=reject", "code=552", "status=5.3.4"]);
        client.expect("MAIL FROM:<three@sender.example>", "250");
        client.expect("RCPT TO:<b@example.net>", "250");
        client.raw(b"BDAT 4\r\nab\r\n");
        assert!(client.reply().starts_with("250"));
        client.expect("RSET", "250");
        gatepost.log_line(&["from=three@", "verdict=abandon"]);
        assert_eq!(backend.messages(), []);
    }
}
