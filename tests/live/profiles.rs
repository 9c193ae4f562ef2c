//! Profiles of the policy: by listener, by the recipient's route, by the class of the client.

use crate::{
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{Gatepost, checked, free_address, home},
    scripted_dns::{Said, ScriptedDns},
};

const FROM: &str = "a@sender.example";
const LOUD: &str = "X-Loud: 1\r\n\r\nx\r\n";

fn config(backend: &Backend, more: &str) -> String {
    format!(
        "[[pool]]\nname = \"cluster\"\nbackends = [\"{}\"]\n\
         [[route]]\ndomains = [\"example.net\"]\npool = \"cluster\"\nrecipients = \"accept\"\n\
         [[route]]\ndomains = [\"strict.example\", \"strict.org\"]\npool = \"cluster\"\nrecipients = \"accept\"\nprofile = \"strict\"\n\
         [[route]]\ndomains = [\"mild.example\"]\npool = \"cluster\"\nrecipients = \"accept\"\nprofile = \"mild\"\n\
         [[profile]]\nname = \"strict\"\n[profile.policy]\nreject_score = 2.0\n\
         [[profile]]\nname = \"mild\"\n[profile.policy]\ntag_score = 2.0\n\
         [[profile.policy.rule]]\nname = \"mild\"\nwhen = 'sender.local == \"odd\"'\nthen = \"reject\"\n\
         [[policy.header]]\nname = \"loud\"\nfield = \"X-Loud\"\nwhen = \"present\"\nthen = \"score\"\nscore = 3.0\n{more}",
        backend.address
    )
}

crate::on_all_engines! {
    fn the_route_of_the_first_recipient_decides(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &config(&backend, "[limits]\nerrors = 3\n"));
        let mut client = Client::hello(gatepost.smtp);
        assert!(client.send(FROM, &["b@example.net"], LOUD).starts_with("250"));
        assert!(client.send(FROM, &["b@strict.example", "c@strict.org"], LOUD).starts_with("550 5.7.1"));
        assert!(client.send(FROM, &["b@mild.example"], LOUD).starts_with("250"));
        assert!(backend.messages()[1].text().contains("X-Gatepost-Tag: spam\r\n"));
        assert!(!backend.messages()[0].text().contains("X-Gatepost-Tag"));
        // A rule of the profile judges at its recipients alone; one that it refuses fixes nothing.
        client.expect("MAIL FROM:<odd@sender.example>", "250");
        client.expect("RCPT TO:<b@mild.example>", "550 5.7.1");
        client.expect("RCPT TO:<b@example.net>", "250");
        // A recipient of another profile comes by itself, and that is no error of the client's: four, where three are too many.
        for _ in 0..4 {
            client.expect("RCPT TO:<b@strict.example>", "452 4.5.3");
        }
        client.expect("RCPT TO:<nobody@elsewhere.example>", "550 5.7.1");
        client.expect("DATA", "354");
        client.expect("X-Loud: 1\r\n\r\nx\r\n.", "250");
        assert_eq!(backend.messages()[2].rcpt.len(), 1);
        let line = gatepost.log_line(&["refused=6", "b@strict.example>: 452 4.5.3"]);
        assert!(line.contains("verdict=accept"), "{line}");
        // The next message is judged anew, in a stream as well.
        let long = "X-Loud: 1\r\n\r\n".to_string() + &"much of it\r\n".repeat(50_000);
        assert!(client.send(FROM, &["b@mild.example"], &long).starts_with("250"));
        gatepost.log_line(&["b@mild.example", "size=600013", "tag=spam"]);
        assert!(client.send(FROM, &["b@strict.example"], &long).starts_with("550 5.7.1"));
    }

    fn a_refused_recipient_leaves_nothing_on_the_message(engine) {
        let dns = ScriptedDns::start(|_, _| Some(Said::no_name()));
        let backend = Backend::good(free_address());
        let config = "[[route]]\ndomains = [\"lost.example\"]\npool = \"cluster\"\nrecipients = \"accept\"\nprofile = \"lost\"\n".to_string()
            + &pool(&[&backend], "") + &dns.config("") +
            "[policy]\nreject_score = 50.0\n\
             [[policy.rule]]\nname = \"heavy\"\nwhen = 'recipient.local == \"heavy\"'\nscore = 99.0\ntag = \"heavy\"\n\
             [[profile]]\nname = \"lost\"\n\
             [[profile.policy.rule]]\nname = \"unknown\"\nwhen = 'spf == \"none\"'\nthen = \"discard\"\ntag = \"lost\"\n\
             [[profile.policy.rule]]\nname = \"gone\"\nwhen = 'recipient.local == \"gone\"'\nthen = \"reject\"\n\
             [[pool]]\nname = \"other\"\nbackends = [\"127.0.0.1:1\"]\n\
             [[route]]\ndomains = [\"other.example\"]\npool = \"other\"\nrecipients = \"accept\"\n";
        let gatepost = Gatepost::start(engine, &config);
        let mut client = Client::hello(gatepost.smtp);
        // What it would have been discarded for was judged by the profile of a tenant that doesn't get it.
        client.expect("MAIL FROM:<a@sender.example>", "250");
        client.expect("RCPT TO:<gone@lost.example>", "550 5.7.1");
        client.expect("RCPT TO:<b@example.net>", "250");
        // Nor does the score of a recipient count that has to come by itself.
        client.expect("RCPT TO:<heavy@other.example>", "452 4.5.3");
        client.expect("DATA", "354");
        client.expect("Subject: x\r\n\r\nx\r\n.", "250");
        assert_eq!(backend.messages().len(), 1);
        let line = gatepost.log_line(&["b@example.net", "verdict=accept"]);
        assert!(!line.contains("tag="), "{line}");
        // `<Postmaster>` is nobody's tenant.
        client.expect("MAIL FROM:<a@sender.example>", "250");
        client.expect("RCPT TO:<Postmaster>", "250");
        client.expect("DATA", "354");
        client.expect("Subject: x\r\n\r\nx\r\n.", "250");
        assert_eq!(backend.messages().len(), 2);
        // That tenant's own is discarded.
        assert!(client.send(FROM, &["b@lost.example"], LOUD).starts_with("250"));
        gatepost.log_line(&["b@lost.example", "verdict=discard"]);
        assert_eq!(backend.messages().len(), 2);
    }

    fn no_tenant_decides_about_mail_of_known_clients_to_other_domains(engine) {
        let backend = Backend::good(free_address());
        let folder = tempfile::tempdir().expect("a folder");
        let list = folder.path().join("recipients");
        std::fs::write(&list, "bob@acme.example\n").expect("written");
        let text = format!(
            "trusted = [\"127.0.0.0/8\"]\n[[pool]]\nname = \"cluster\"\nbackends = [\"{}\"]\n\
             [[route]]\ndomains = [\"acme.example\"]\npool = \"cluster\"\nprofile = \"acme\"\nrecipients = {{ file = \"{}\" }}\n\
             [[route]]\ndomains = [\"example.net\"]\npool = \"cluster\"\nrecipients = \"accept\"\n\
             [[profile]]\nname = \"acme\"\n[[profile.policy.rule]]\nname = \"mine\"\nwhen = 'sender.local == \"odd\"'\nthen = \"reject\"\n",
            backend.address,
            list.display()
        );
        let gatepost = Gatepost::start(engine, &text);
        let mut client = Client::hello(gatepost.smtp);
        client.expect("MAIL FROM:<odd@example.net>", "250");
        client.expect("RCPT TO:<bob@acme.example>", "550 5.7.1");
        client.expect("RSET", "250");
        let reply = client.send("odd@example.net", &["x@other.example", "y@third.example"], "x\r\n");
        assert!(reply.starts_with("250"), "{reply}");
        assert_eq!(backend.messages()[0].rcpt.len(), 2);
        client.expect("MAIL FROM:<a@example.net>", "250");
        client.expect("RCPT TO:<nobody@acme.example>", "550 5.1.1");
        client.expect("RCPT TO:<postmaster>", "250");
    }

    fn a_class_of_clients_has_its_own(engine) {
        let backend = Backend::good(free_address());
        let more = format!(
            "[[policy.list]]\nname = \"partners\"\nentries = [\"{}\"]\n\
             [[profile]]\nname = \"partner\"\nclass = \"partner\"\nlist = \"partners\"\n[profile.policy]\nreject_score = 50.0\n\
             [profile.policy.early_talk]\nmode = \"off\"\n\
             [[profile]]\nname = \"stranger\"\nclass = \"stranger\"\n[profile.policy]\nreject_score = 3.0\n\
             [[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\nprofile = \"base\"\n\
             [[profile]]\nname = \"base\"\n[profile.policy]\ndefer_score = 2.0\n",
            home()
        );
        let gatepost = Gatepost::start(engine, &config(&backend, &more));
        let to = &["b@example.net"];
        let mut stranger = Client::hello(gatepost.smtp);
        let source = stranger.address().ip();
        let loud = stranger.send(FROM, to, LOUD);
        match source == home() {
            true => assert!(loud.starts_with("451"), "{loud}"),
            false => assert!(loud.starts_with("550"), "{loud}"),
        }
        let mut partner = Client::hello_from(home(), gatepost.smtp);
        assert!(partner.send(FROM, to, LOUD).starts_with("451"), "what the listener's profile says holds below");
        assert!(partner.send(FROM, &["b@strict.example"], LOUD).starts_with("550"), "and the route's above");
    }
}

#[test]
fn check_refuses_what_can_have_no_effect() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = |more: &str| {
        let text = format!(
            "hostname = \"mx.example\"\n[[listener]]\nname = \"mx\"\naddress = [\"127.0.0.1:25\"]\n\
             [[pool]]\nname = \"mta\"\nbackends = [\"127.0.0.2:25\"]\n\
             [[route]]\ndomains = [\"example.net\"]\npool = \"mta\"\nprofile = \"acme\"\n\
             [[policy.list]]\nname = \"partners\"\nentries = [\"192.0.2.1\"]\n{more}"
        );
        let output = checked(&text, folder.path());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let acme = |policy: &str| format!("[[profile]]\nname = \"acme\"\n{policy}");
    let class = |rest: &str| {
        acme("[profile.policy]\nreject_score = 1.0\n") + "[[profile]]\nname = \"c\"\n" + rest
    };
    for (more, wanted) in [
        (
            "[[profile]]\nname = \"acne\"\n".to_string(),
            "did you mean \"acne\"?",
        ),
        (
            acme("[profile.policy.helo.ours]\nthen = \"reject\"\n"),
            "`helo` is judged before the recipient is known",
        ),
        (acme("[profile.policy]\npolicy = 1\n"), "unknown key"),
        (
            acme("[profile.policy.spf]\nat = \"mail\"\nfail = \"reject\"\n"),
            "`spf` decides at mail",
        ),
        (
            acme(
                "[[profile.policy.rule]]\nname = \"x\"\nwhen = 'client.trusted'\nscore = 1.0\nat = \"helo\"\n",
            ),
            "this rule is judged at helo",
        ),
        (
            acme("[[profile.policy.rule]]\nname = \"x\"\nwhen = 'client.trusty'\nscore = 1.0\n"),
            "did you mean `client.trusted`?",
        ),
        (
            acme("[profile.policy]\nquarantine_score = 2.0\n"),
            "no pool to send to",
        ),
        (
            acme("class = \"partner\"\nlist = \"partners\"\n"),
            "is that of a class of clients",
        ),
        (class("class = \"partner\"\n"), "no client is a partner"),
        (
            class("class = \"partner\"\nlist = \"partner\"\n"),
            "did you mean \"partners\"?",
        ),
        (
            class("class = \"authenticated\"\nlist = \"partners\"\n"),
            "`list` has no effect",
        ),
        (
            class("class = \"authenticated\"\n[profile.policy.spf]\nfail = \"reject\"\n"),
            "`spf` has no effect on clients that are authenticated",
        ),
        (
            class("class = \"stranger\"\n[profile.policy]\nrate_table = 5\n"),
            "can't differ by profile",
        ),
        (class(""), "no listener and no route names the profile"),
        (
            "[[policy.sender_list]]\nname = \"s\"\nlist = \"partner\"\n".into(),
            "did you mean \"partners\"?",
        ),
    ] {
        let told = said(&more);
        assert!(told.contains(wanted), "{more}\n{told}");
    }
    let sound = class(
        "class = \"partner\"\ncertificates = [\"mx.partner.example\"]\n[profile.policy]\nreject_score = 20.0\n",
    );
    assert_eq!(said(&sound), "");
    let preset = "[policy.helo.ours]\nthen = \"reject\"\n[policy.client_rate]\nsessions = 7\n"
        .to_string()
        + &acme("[profile.policy]\npreset = \"strict\"\n");
    assert_eq!(said(&preset), "", "what [policy] says is not the profile's");
}
