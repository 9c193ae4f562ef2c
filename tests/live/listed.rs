//! Routes that take the recipients of a list, and nobody else.

use crate::{
    backend::{Act, Backend},
    client::Client,
    harness::{Gatepost, checked, free_address, wait_until},
};
use std::{fs, path::Path};

/// Two routes to one backend: that of `example.net` and `bücher.example` takes what the file lists.
fn routes(backend: &Backend, file: &Path) -> String {
    format!(
        "[[pool]]\nname = \"cluster\"\nbackends = [\"{}\"]\n\
         [[route]]\ndomains = [\"example.net\", \"b\u{fc}cher.example\"]\npool = \"cluster\"\n\
         recipients = {{ file = \"{}\", delimiter = \"+\" }}\n\
         [[route]]\ndomains = [\"other.example\"]\npool = \"cluster\"\nrecipients = \"accept\"\n",
        backend.address,
        file.display()
    )
}

crate::on_all_engines! {
    fn only_listed_recipients_are_taken(engine) {
        let backend = Backend::good(free_address());
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("recipients");
        fs::write(&file, "\u{feff}# those of example.net\r\nAmy@Example.net OK\r\ninfo\r\n@xn--bcher-kva.example\r\n").expect("written");
        let gatepost = Gatepost::start(engine, &routes(&backend, &file));
        let mut client = Client::hello(gatepost.smtp);
        client.expect("MAIL FROM:<a@sender.example>", "250");
        for (recipient, code) in [
            ("nobody@example.net", "550 5.1.1"),
            ("amy@EXAMPLE.net", "250"),
            ("\"amy\"@example.net", "250"),
            ("amy+list@example.net", "250"),
            ("amy-list@example.net", "550 5.1.1"),
            ("info@example.net", "250"),
            ("anyone@XN--BCHER-KVA.example", "250"),
            ("postmaster@example.net", "250"),
            ("Postmaster", "250"),
            ("nobody@other.example", "250"),
            ("amy@elsewhere.example", "550 5.7.1"),
        ] {
            client.expect(&format!("RCPT TO:<{recipient}>"), code);
        }
        client.expect("DATA", "354");
        client.expect("Subject: x\r\n\r\nx\r\n.", "250");
        client.expect("QUIT", "221");
        assert!(!backend.commands().iter().any(|(_, line)| line.contains("nobody@example.net")));
        gatepost.log_line(&["nobody@example.net", "550 5.1.1 There is no such recipient here (recipients)", "verdict=accept"]);
        let mut client = Client::hello(gatepost.smtp);
        client.expect("MAIL FROM:<one@sender.example>", "250");
        client.expect("RCPT TO:<nobody@example.net>", "550 5.1.1");
        client.expect("QUIT", "221");
        gatepost.log_line(&["from=one@sender.example", "verdict=reject", "check=recipients"]);
        // A list with a mistake changes nothing; one without is in force for new sessions.
        let taken = || {
            let mut client = Client::hello(gatepost.smtp);
            client.expect("MAIL FROM:<a@sender.example>", "250");
            client.command("RCPT TO:<bob@example.net>").starts_with("250").then_some(())
        };
        fs::write(&file, "bob@example.net\n.example.net\n").expect("written");
        gatepost.process.signal("HUP");
        wait_until("the mistake is told", || gatepost.errors().contains("recipients:2").then_some(()));
        assert!(taken().is_none());
        fs::write(&file, "bob@example.net\n").expect("written");
        gatepost.process.signal("HUP");
        wait_until("the new list is in force", taken);
    }

    fn a_backend_that_refuses_questions_is_named_on_ready(engine) {
        let backend = Backend::start(free_address(), &["PIPELINING"], |_, line| match line.starts_with("MAIL FROM:<>") {
            true => Act::say("554 5.7.1 no bounces here"),
            false => Act::Usual,
        });
        let gatepost = Gatepost::start(engine, &crate::delivery::pool(&[&backend], ""));
        assert!(gatepost.get("/ready").1.contains("\"question_refused\":\"\""));
        let mut client = Client::hello(gatepost.smtp);
        client.expect("MAIL FROM:<a@sender.example>", "250");
        client.expect("RCPT TO:<b@example.net>", "250");
        let (status, body) = gatepost.get("/ready");
        assert!(status == 200 && body.contains("\"question_refused\":\"554 5.7.1 no bounces here\""), "{body}");
    }
}

#[test]
fn check_tells_what_is_wrong_with_a_list() {
    let backend = Backend::good(free_address());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("recipients");
    let text = format!(
        "[[listener]]\nname = \"mx\"\naddress = [\"{}\"]\n{}",
        free_address(),
        routes(&backend, &file)
    );
    let told = |text: &str| {
        let output = checked(text, folder.path());
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        (output.status.code(), said)
    };
    let (code, said) = told(&text);
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains("can't read") && said.contains("checked.toml:10:23"),
        "{said}"
    );
    fs::write(&file, "amy@example.net\n\n*@example.net\n").expect("written");
    let (code, said) = told(&text);
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains("recipients:3") && said.contains("write \"@example.net\""),
        "{said}"
    );
    fs::write(&file, "amy@example.net\n").expect("written");
    assert_eq!(told(&text).0, Some(0));
    let (code, said) = told(&text.replace("\"+\"", "\"a\""));
    assert!(
        code == Some(78) && said.contains("can't begin a subaddress"),
        "{said}"
    );
    let (code, said) = told(&text.replace("file =", "path ="));
    assert!(
        code == Some(78) && said.contains("unknown key `path`"),
        "{said}"
    );
}
