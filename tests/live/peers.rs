//! Other people's programs on both sides: Postfix as the backend, swaks, Python and curl as clients.

use crate::{
    backend::{Act, Backend, EXTENSIONS},
    harness::{Gatepost, free_address, leave_out, need, program, wait_until},
    postfix::{Postfix, runs},
    resources::config,
};
use std::{fs, path::PathBuf, process::Command};

fn swaks(gatepost: &Gatepost) -> Option<Command> {
    let mut command = Command::new(need("swaks")?);
    let (host, port) = (
        gatepost.smtp.ip().to_string(),
        gatepost.smtp.port().to_string(),
    );
    command.args([
        "--server",
        &host,
        "--port",
        &port,
        "--ehlo",
        "swaks.example",
    ]);
    command.args(["--from", "a@sender.example", "--to", "b@example.net"]);
    Some(command)
}

fn python(gatepost: &Gatepost, script: &str) -> Option<String> {
    // The system's own first: what else is called so may be a wrapper that looks for one.
    let python = Some(PathBuf::from("/usr/bin/python3"))
        .filter(|file| file.is_file())
        .or_else(|| need("python3"))?;
    let before = format!(
        "import smtplib\nclient = smtplib.SMTP('{}', {}, 'python.example', timeout=60)\n",
        gatepost.smtp.ip(),
        gatepost.smtp.port()
    );
    Some(runs(Command::new(python).arg("-c").arg(before + script)))
}

fn chunking() -> Backend {
    Backend::start(
        free_address(),
        &[EXTENSIONS, &["CHUNKING"]].concat(),
        |_, _| Act::Usual,
    )
}

crate::on_all_engines! {
    fn postfix_gets_mail_by_bdat_and_delivers_it(engine) {
        let Some(postfix) = Postfix::start() else { return };
        let config = format!(
            "trusted = [\"127.0.0.0/8\"]\n[[pool]]\nname = \"postfix\"\nbackends = [\"{}\"]\nmessages = 3\n\
             [[route]]\ndomains = [\"example.net\"]\npool = \"postfix\"\nrecipients = \"accept\"\n",
            postfix.address
        );
        let gatepost = Gatepost::start(engine, &config);
        let mut client = crate::client::Client::hello(gatepost.smtp);
        let body = |number: usize| format!("From: a@sender.example\r\nSubject: {number}\r\n\r\n..\r\ngr\u{fc}n {number}\r\n");
        for number in 0..3 {
            let to = [&*format!("one{number}@example.net"), "two@example.net"];
            let reply = client.send("a@sender.example", &to[..1 + number % 2], &body(number));
            assert!(reply.starts_with("250"), "{reply}\n{}", postfix.log());
        }
        let messages = wait_until("all are delivered", || Some(postfix.messages()).filter(|all| all.len() == 4));
        for number in 0..3 {
            let message = messages.iter().find(|m| m.contains(&format!("Subject: {number}\n"))).expect("it is there");
            assert!(message.ends_with(&format!("\n\n.\ngr\u{fc}n {number}\n")), "{message}");
            let hops: Vec<&str> = message.lines().filter(|line| line.starts_with("Received: ")).collect();
            assert_eq!(hops.len(), 2, "{message}");
            assert!(hops[0].starts_with("Received: from edge.example (") , "{message}");
            assert!(hops[1].starts_with("Received: from client.example ("), "{message}");
            assert!(message.contains("by postfix.example (Postfix) with ESMTP"), "{message}");
            assert!(message.contains("by edge.example (Gatepost) with ESMTP id "), "{message}");
        }
        wait_until("Postfix counts the commands", || postfix.log().contains(" bdat=3 ").then_some(()));
        assert!(!postfix.log().contains(" data="), "{}", postfix.log());
        for complaint in ["warning:", "error:", "fatal:", "improper command pipelining"] {
            assert!(!postfix.log().contains(complaint), "{}", postfix.log());
        }
    }

    fn postfix_takes_internationalised_addresses_and_large_mail(engine) {
        let Some(postfix) = Postfix::start() else { return };
        let config = format!(
            "trusted = [\"127.0.0.0/8\"]\n[[pool]]\nname = \"postfix\"\nbackends = [\"{}\"]\n\
             [[route]]\ndomains = [\"example.net\"]\npool = \"postfix\"\n",
            postfix.address
        );
        let gatepost = Gatepost::start(engine, &config);
        let mut client = wait_until("SMTPUTF8 is offered", || {
            let mut client = crate::client::Client::hello(gatepost.smtp);
            client.command("EHLO client.example").contains("SMTPUTF8").then_some(client)
        });
        client.expect("MAIL FROM:<j\u{f6}rg@sender.example> SMTPUTF8 BODY=8BITMIME", "250");
        client.expect("RCPT TO:<m\u{fc}ller@example.net>", "250");
        client.expect("DATA", "354");
        client.raw("Subject: gr\u{fc}n\r\n\r\n".as_bytes());
        // Above the window, so it streams in chunks.
        client.raw("the line of a large message\r\n".repeat(40_000).as_bytes());
        client.raw(b".\r\n");
        let reply = client.reply();
        assert!(reply.starts_with("250"), "{reply}\n{}", postfix.log());
        let messages = wait_until("it is delivered", || Some(postfix.messages()).filter(|all| all.len() == 1));
        assert!(messages[0].contains("with UTF8SMTP"), "{}", &messages[0][..800]);
        assert_eq!(messages[0].matches("the line of a large message\n").count(), 40_000);
        assert_eq!(gatepost.metric("gatepost_messages_streamed_total", ""), 1.0);
    }

    fn swaks_sends(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &config(&backend, "", ""));
        let Some(mut plain) = swaks(&gatepost) else { return };
        let said = runs(plain.args(["--body", "hello\n.\n..two dots"]));
        assert!(said.contains("250 2.0.0 Ok: "), "{said}");
        let message = backend.messages()[0].payload();
        assert!(message.contains("hello\r\n.\r\n..two dots\r\n"), "{message}");
        let mut pipelined = swaks(&gatepost).expect("it is installed");
        let said = runs(pipelined.args(["--pipeline", "--to", "b@example.net,c@example.net"]));
        assert!(said.contains("250 2.0.0 Ok: ") && said.contains("221 2.0.0"), "{said}");
        assert_eq!(backend.messages()[1].rcpt.len(), 2);
    }

    fn swaks_sends_an_attachment(engine) {
        let backend = chunking();
        let gatepost = Gatepost::start(engine, &config(&backend, "", ""));
        let file = gatepost.folder.path().join("attached");
        let octets: Vec<u8> = (0..1_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        fs::write(&file, &octets).expect("written");
        let Some(mut command) = swaks(&gatepost) else { return };
        // Without --silent it shows every line that it sends.
        runs(command.args(["--silent", "2", "--attach"]).arg(format!("@{}", file.display())));
        let message = backend.messages()[0].clone();
        assert!(message.bdat);
        let text = message.text();
        let (_, attached) = text.split_once("filename=\"attached\"").expect("an attachment");
        let (_, attached) = attached.split_once("\r\n\r\n").expect("its header ends");
        let base64: String = attached.lines().take_while(|line| !line.is_empty() && !line.starts_with("--")).collect();
        let decoded = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, base64).expect("base64");
        assert!(decoded == octets, "{} octets", decoded.len());
    }

    fn python_sends(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &config(&backend, "", ""));
        wait_until("SMTPUTF8 is offered", || {
            let mut client = crate::client::Client::hello(gatepost.smtp);
            client.command("EHLO client.example").contains("SMTPUTF8").then_some(())
        });
        let script = "
refused = client.sendmail('a@sender.example', ['b@example.net', 'c@example.net'], 'Subject: one\\n\\n.hidden\\n')
assert refused == {}, refused
client.sendmail('a@sender.example', ['b@example.net'], 'Subject: two\\r\\n\\r\\ngr\u{fc}n\\r\\n'.encode(), mail_options=['BODY=8BITMIME'])
from email.message import EmailMessage
message = EmailMessage()
message['From'], message['To'], message['Subject'] = 'j\u{f6}rg@sender.example', 'm\u{fc}ller@example.net', 'three'
message.set_content('gr\u{fc}n')
client.send_message(message)
assert client.quit()[0] == 221
";
        if python(&gatepost, script).is_none() { return }
        let messages = backend.messages();
        assert_eq!(messages.len(), 3);
        assert!(messages[0].payload().ends_with("\r\n.hidden\r\n"));
        assert_eq!(messages[0].rcpt.len(), 2);
        assert!(messages[1].mail.contains("BODY=8BITMIME") && messages[1].payload().ends_with("gr\u{fc}n\r\n"));
        assert!(messages[2].mail.contains("SMTPUTF8"), "{}", messages[2].mail);
        assert_eq!(messages[2].rcpt, ["RCPT TO:<m\u{fc}ller@example.net>"]);
    }

    fn curl_sends(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &config(&backend, "", ""));
        let Some(curl) = program("curl").filter(|curl| runs(Command::new(curl).arg("--version")).contains(" smtp ")) else {
            leave_out("tests with curl: it is not installed, or without SMTP");
            return;
        };
        let file = gatepost.folder.path().join("message");
        fs::write(&file, "Subject: from curl\r\n\r\n.\r\n..\r\nend\r\n").expect("written");
        runs(Command::new(curl)
            .arg("--silent")
            .arg("--show-error")
            .arg(format!("smtp://{}/curl.example", gatepost.smtp))
            .args(["--mail-from", "a@sender.example", "--mail-rcpt", "b@example.net", "--mail-rcpt", "c@example.net"])
            .arg("--upload-file")
            .arg(&file));
        let message = &backend.messages()[0];
        assert_eq!(message.payload(), "Subject: from curl\r\n\r\n.\r\n..\r\nend\r\n");
        assert_eq!(message.rcpt.len(), 2);
    }
}
