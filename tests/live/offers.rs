//! What senders are told in EHLO, and what holds once a backend is known.

use crate::{
    backend::{Act, Backend},
    client::Client,
    delivery::pool,
    harness::{Gatepost, free_address, wait_until},
};

const ACCEPT: &str = "recipients = \"accept\"\n";

crate::on_all_engines! {
    fn before_a_backend_was_seen_the_usual_is_offered(engine) {
        let address = free_address();
        let config = format!(
            "[[pool]]\nname = \"cluster\"\nbackends = [\"{address}\"]\n[pool.health]\nbackoff = \"100ms\"\nbackoff_max = \"200ms\"\n\
             [[route]]\ndomains = [\"example.net\"]\npool = \"cluster\"\n{ACCEPT}"
        );
        let gatepost = Gatepost::start(engine, &config);
        let mut client = Client::silent(gatepost.smtp);
        client.reply();
        let cold = client.command("EHLO client.example");
        assert!(cold.contains("8BITMIME") && cold.contains("SMTPUTF8"), "{cold}");
        // It is not there: come again.
        client.expect("MAIL FROM:<a@sender.example> BODY=8BITMIME", "250");
        client.expect("RCPT TO:<b@example.net>", "250");
        client.expect("DATA", "354");
        let reply = client.command("Subject: x\r\n\r\ngr\u{fc}n\r\n.");
        assert!(reply.starts_with("451 4.4.1"), "{reply}");
        // Now it is, and has no 8BITMIME: a session's next EHLO says so, and what was promised before is put off.
        let backend = Backend::start(address, &["PIPELINING"], |_, _| Act::Usual);
        wait_until("the backend is up", || {
            (gatepost.metric("gatepost_backend_up", "cluster") == 1.0).then_some(())
        });
        client.expect("MAIL FROM:<a@sender.example> BODY=8BITMIME", "250");
        client.expect("RCPT TO:<b@example.net>", "250");
        client.expect("DATA", "354");
        let reply = client.command("Subject: x\r\n\r\ngr\u{fc}n\r\n.");
        assert!(reply.starts_with("451 4.3.5"), "{reply}");
        let warm = client.command("EHLO client.example");
        assert!(!warm.contains("8BITMIME"), "{warm}");
        client.expect("MAIL FROM:<a@sender.example> BODY=8BITMIME", "555");
        assert!(backend.messages().is_empty());
    }

    fn a_small_backend_limits_its_own_pool_alone(engine) {
        let small = Backend::start(free_address(), &["SIZE 1000", "8BITMIME"], |_, _| Act::Usual);
        let large = Backend::start(free_address(), &["SIZE 9000", "8BITMIME"], |_, _| Act::Usual);
        let other = Backend::start(free_address(), &["SIZE 500", "8BITMIME"], |_, _| Act::Usual);
        let lists = format!(
            "{ACCEPT}[[pool]]\nname = \"lists\"\nbackends = [\"{}\"]\n[[route]]\ndomains = [\"lists.example.net\"]\npool = \"lists\"\n{ACCEPT}",
            other.address
        );
        let gatepost = Gatepost::start(engine, &format!("{}{lists}", pool(&[&small, &large], "")));
        let mut client = Client::silent(gatepost.smtp);
        client.reply();
        let offers = client.command("EHLO client.example");
        assert!(offers.contains("SIZE 9000"), "{offers}");
        let body = format!("Subject: x\r\n\r\n{}", "0123456789\r\n".repeat(200));
        for _ in 0..6 {
            let reply = client.send("a@sender.example", &["b@example.net"], &body);
            assert!(reply.starts_with("250"), "{reply}");
        }
        assert_eq!((small.messages().len(), large.messages().len()), (0, 6));
        client.expect("MAIL FROM:<a@sender.example> SIZE=2000", "250");
        client.expect("RCPT TO:<b@lists.example.net>", "552 5.3.4");
        client.expect("RCPT TO:<b@example.net>", "250");
        client.expect("RSET", "250");
        client.expect("MAIL FROM:<a@sender.example> SIZE=9001", "552");
        let reply = client.send("a@sender.example", &["b@lists.example.net"], &body);
        assert!(reply.starts_with("552 5.3.4"), "{reply}");
    }

    fn a_backends_limit_on_recipients_is_kept(engine) {
        let backend = Backend::start(free_address(), &["LIMITS RCPTMAX=2", "8BITMIME"], |_, _| Act::Usual);
        let gatepost = Gatepost::start(engine, &pool(&[&backend], "") .replace("pool = \"cluster\"\n", &format!("pool = \"cluster\"\n{ACCEPT}")));
        let mut client = Client::silent(gatepost.smtp);
        client.reply();
        let offers = client.command("EHLO client.example");
        assert!(offers.contains("LIMITS RCPTMAX=2"), "{offers}");
        client.expect("MAIL FROM:<a@sender.example>", "250");
        client.expect("RCPT TO:<b@example.net>", "250");
        client.expect("RCPT TO:<c@example.net>", "250");
        for n in 0..30 {
            client.expect(&format!("RCPT TO:<d{n}@example.net>"), "452 4.5.3");
        }
        client.expect("DATA", "354");
        let reply = client.command("Subject: x\r\n\r\nx\r\n.");
        assert!(reply.starts_with("250"), "{reply}");
        assert_eq!(backend.messages()[0].rcpt.len(), 2);
    }
}
