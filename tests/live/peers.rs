//! Other people's programs on both sides: Postfix behind, swaks, Python and curl before.

use crate::{
    backend::{Act, Backend, EXTENSIONS},
    harness::{Gatepost, Running, free_address, greets, leave_out, need, program, wait_until},
    resources::config,
};
use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// A Postfix of its own: configuration, queue, log and mailbox in a folder. Stopped with its master.
pub struct Postfix {
    folder: tempfile::TempDir,
    pub address: SocketAddr,
    master: Option<Running>,
}

const MASTER: &str = "
ADDRESS   inet  n - n - - smtpd
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
error     unix  - - n - - error
retry     unix  - - n - - error
virtual   unix  - n n - - virtual
anvil     unix  - - n - 1 anvil
proxymap  unix  - - n - - proxymap
postlog   unix-dgram n - n - 1 postlogd
";

impl Postfix {
    /// Starts it for `example.net`, all of whose mail goes to one Maildir. `None`, and a note, where it can't.
    pub fn start() -> Option<Postfix> {
        Postfix::start_with("")
    }

    /// The same with more lines of main.cf.
    pub fn start_with(more: &str) -> Option<Postfix> {
        let program = need("postfix")?;
        if fs::metadata("/proc/self").map(|me| me.uid()).ok() != Some(0) {
            leave_out("tests with Postfix: only root can start it");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("set");
        let mut postfix = Postfix {
            address: free_address(),
            folder,
            master: None,
        };
        let (etc, boxes) = (postfix.path("etc"), postfix.path("boxes"));
        for made in [&etc, &boxes, &postfix.path("queue")] {
            fs::create_dir(made).expect("made");
        }
        std::os::unix::fs::chown(&boxes, Some(65534), Some(65534)).expect("root may");
        let root = postfix.folder.path().display();
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {root}/queue\ndata_directory = {root}/data\n\
             maillog_file = {root}/log\nmaillog_file_prefixes = {root}\nmyhostname = postfix.example\n\
             mydestination =\ninet_interfaces = loopback-only\ninet_protocols = ipv4\nmynetworks = 127.0.0.0/8\n\
             alias_maps =\nalias_database =\nlocal_recipient_maps =\nsmtputf8_enable = yes\n\
             virtual_mailbox_domains = example.net\nvirtual_mailbox_base = {root}/boxes\n\
             virtual_mailbox_maps = static:all/\nvirtual_minimum_uid = 1\nvirtual_uid_maps = static:65534\n\
             virtual_gid_maps = static:65534\nsmtpd_recipient_restrictions = permit_mynetworks, reject\n{more}"
        );
        fs::write(etc.join("main.cf"), main).expect("written");
        fs::write(
            etc.join("master.cf"),
            MASTER.replace("ADDRESS", &postfix.address.to_string()),
        )
        .expect("written");
        let checked = runs(Command::new(program).arg("-c").arg(&etc).arg("check"));
        assert_eq!(checked, "", "it makes what the queue lacks");
        let programs = runs(Command::new("postconf").args(["-h", "daemon_directory"]));
        // Not by `postfix start`: in a session of its own it would outlive a test that is broken off.
        let mut master = Command::new(Path::new(programs.trim()).join("master"));
        master.arg("-d").arg("-c").arg(&etc).stdin(Stdio::null());
        postfix.master = Some(Running::start(&mut master));
        wait_until("Postfix greets", || greets(postfix.address));
        Some(postfix)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The delivered messages.
    fn messages(&self) -> Vec<String> {
        let Ok(folder) = fs::read_dir(self.path("boxes/all/new")) else {
            return vec![];
        };
        let read = |file: fs::DirEntry| {
            Some(String::from_utf8_lossy(&fs::read(file.path()).ok()?).into_owned())
        };
        folder.filter_map(|file| read(file.ok()?)).collect()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if let Some(mut master) = self.master.take() {
            master.signal("TERM");
            let _ = master.0.wait();
        }
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs a client to its end; it must end well.
#[track_caller]
fn runs(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("runs");
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    text(&output)
}

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
