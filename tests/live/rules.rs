//! Rules that the operator wrote, as a client, the log and `gatepost check` see them.

use crate::{
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{Gatepost, free_address, http, wait_until},
};
use std::{fs, process::Command};

const RULES: &str = r#"
[[policy.list]]
name    = "ours"
entries = ["example.net", "198.51.100.0/24"]
[[policy.rule]]
name  = "pretends"
when  = 'helo == "mx.example.net" && !(client.address in list("ours"))'
then  = "reject"
reply = "550 5.7.1 {helo} is our name, {client.address}"
[[policy.rule]]
name  = "watched"
when  = 'sender.domain == "sender.example" && header("Subject").contains("lottery")'
then  = "reject"
mode  = "shadow"
[[policy.rule]]
name  = "often"
when  = 'recipient.local == "often" && rate(sender, 1, "1h")'
then  = "defer"
"#;

crate::on_all_engines! {
    fn rules_refuse_watch_and_change_with_a_reload(engine) {
        let backend = Backend::good(free_address());
        // The client is trusted otherwise, as all on this machine.
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + RULES));
        let greet = |name: &str| {
            let (mut client, _) = Client::greeted(gatepost.smtp);
            client.expect(&format!("EHLO {name}"), "250");
            client.expect("MAIL FROM:<a@sender.example>", "250");
            client
        };
        let mut client = greet("MX.Example.net");
        client.expect("RCPT TO:<b@example.net>", "550 5.7.1 MX.Example.net is our name, 127.");
        client.expect("QUIT", "221");
        gatepost.log_line(&["b@example.net", "rule.pretends"]);
        let mut client = greet("client.example");
        client.expect("RCPT TO:<often@example.net>", "250");
        client.expect("RCPT TO:<often@example.net>", "451 4.7.1");
        client.expect("DATA", "354");
        client.expect("Subject: =?utf-8?q?a_lottery?=\r\n\r\nx\r\n.", "250");
        gatepost.log_line(&["verdict=accept", "rule.watched:reject(shadow)"]);
        let shadow = "check=\"rule.watched\",shadow=\"true\",verdict=\"reject\"";
        assert_eq!(gatepost.metric("gatepost_check_hits_total", shadow), 1.0);
        // A file with a mistake changes nothing, and says where it is.
        let text = fs::read_to_string(gatepost.file()).expect("there");
        fs::write(gatepost.file(), text.replace("!(client.address", "!(client.adress")).expect("written");
        let (status, told) = http(gatepost.admin, "POST", "/reload");
        assert!(status != 200 && told.contains("did you mean `client.address`?"), "{status} {told}");
        greet("mx.example.net").expect("RCPT TO:<b@example.net>", "550 5.7.1 mx.example.net is our name");
        let changed = text.replace("helo == \"mx.example.net\"", "helo == \"mx.example.org\"");
        fs::write(gatepost.file(), changed).expect("written");
        assert_eq!(http(gatepost.admin, "POST", "/reload").0, 200);
        greet("mx.example.net").expect("RCPT TO:<b@example.net>", "250");
        wait_until("the new rule holds", || {
            let mut client = greet("mx.example.org");
            client.command("RCPT TO:<b@example.net>").starts_with("550").then_some(())
        });
    }
}

#[test]
fn check_tells_the_place_of_a_mistake() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("edge.toml");
    let text = "hostname = \"mx.example\"\n[[listener]]\nname = \"mx\"\naddress = [\"127.0.0.1:25\"]\n\
        [[pool]]\nname = \"mta\"\nbackends = [\"127.0.0.2:25\"]\n\
        [[route]]\ndomains = [\"example.net\"]\npool = \"mta\"\n\
        [[policy.rule]]\nname = \"x\"\nscore = 1.0\nwhen = \"dnsbl_hits > 'x'\"\n";
    fs::write(&file, text).expect("written");
    let told = |command: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_gatepost"))
            .args([command, "-c"])
            .arg(&file)
            .output()
            .expect("runs");
        let said = String::from_utf8_lossy(&output.stderr);
        // `check` parts its errors by empty lines.
        let lines: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
        (output.status.code(), lines.join("\n"))
    };
    let (code, said) = told("check");
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains("error: int and string can't be compared with `>`"),
        "{said}"
    );
    assert!(said.contains("edge.toml:14:9"), "{said}");
    let (code, same) = told("run");
    assert_eq!((code, same), (Some(78), said));
}
