//! Logins and trust of sessions that are open while a reload takes them away.

use crate::{
    auth::{plain, user},
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{Gatepost, free_address, home, http},
    on_all_engines,
};
use std::{fs, path::Path};

const GONE: &str = "421 4.7.0 Your login no longer holds";

fn start(engine: &str, backend: &Backend, accounts: &Path, identity: &str) -> Gatepost {
    let listener = format!(
        "[[listener]]\nname = \"mx\"\nrole = \"submission\"\naddress = [\"SMTP_ADDRESS\"]\nauth = [\"plain\"]\n\
         auth_requires_tls = false\nsender_identity = \"{identity}\"\n\
         [[credentials]]\nname = \"staff\"\nsource = \"file\"\nfile = \"{}\"\n[timeouts]\nauth_delay = \"10ms\"\n",
        accounts.display()
    );
    Gatepost::start(engine, &format!("{listener}{}", pool(&[backend], "")))
}

fn reload(gatepost: &Gatepost) {
    let (status, answer) = http(gatepost.admin, "POST", "/reload");
    assert_eq!(status, 200, "{answer}");
}

fn change(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).expect("there");
    assert!(text.contains(from), "{text}");
    fs::write(file, text.replace(from, to)).expect("written");
}

fn logged_in(gatepost: &Gatepost, name: &str) -> Client {
    let mut client = Client::hello(gatepost.smtp);
    client.expect(&plain(name, "one"), "235");
    client
}

#[track_caller]
fn mails(client: &mut Client, from: &str) {
    let body = format!("From: {from}\r\n\r\nx\r\n");
    let reply = client.send(from, &["b@example.net"], &body);
    assert!(reply.starts_with("250"), "{reply}");
}

#[track_caller]
fn is_sent_away(client: &mut Client, from: &str) {
    let reply = client.expect(&format!("MAIL FROM:<{from}>"), GONE);
    assert!(reply.ends_with("\r\n"), "{reply}");
    assert_eq!(client.reply(), "", "the connection ends");
}

on_all_engines! {
    fn a_login_ends_with_its_account_and_its_password(engine) {
        let backend = Backend::good(free_address());
        let folder = tempfile::tempdir().expect("a folder");
        let accounts = folder.path().join("accounts");
        for name in ["amy@a.example", "ben@a.example", "cid@a.example", "dora@a.example"] {
            let (fine, said) = user(&accounts, &["add", "--no-scram", name], "one");
            assert!(fine, "{said}");
        }
        let gatepost = start(engine, &backend, &accounts, "strict");
        let [mut amy, mut ben, mut cid, mut dora] =
            ["amy@a.example", "ben@a.example", "cid@a.example", "dora@a.example"]
                .map(|name| logged_in(&gatepost, name));
        mails(&mut amy, "amy@a.example");
        dora.expect("MAIL FROM:<dora@a.example>", "250");
        let mut silent = Client::hello(gatepost.smtp);
        let mut halfway = Client::hello(gatepost.smtp);
        halfway.expect("AUTH PLAIN", "334");

        for (words, password) in [
            (&["remove", "amy@a.example"][..], ""),
            (&["remove", "dora@a.example"], ""),
            (&["passwd", "--no-scram", "ben@a.example"], "two"),
        ] {
            let (fine, said) = user(&accounts, words, password);
            assert!(fine, "{said}");
        }
        change(&accounts, "cid@a.example -", "cid@a.example cid@other.example");
        reload(&gatepost);

        is_sent_away(&mut amy, "amy@a.example");
        is_sent_away(&mut ben, "ben@a.example");
        gatepost.log_line(&["user=ben@a.example", "421 4.7.0 Your login"]);
        // Its password is the same, and what it owns is what the file says now.
        cid.expect("MAIL FROM:<cid@a.example>", "553 5.7.1");
        mails(&mut cid, "cid@other.example");
        // A message under way is finished.
        dora.expect("RCPT TO:<b@example.net>", "250");
        dora.expect("DATA", "354");
        dora.raw(b"From: dora@a.example\r\n\r\nx\r\n.\r\n");
        assert!(dora.reply().starts_with("250"));
        is_sent_away(&mut dora, "dora@a.example");

        // Sessions from before ask the file that is in force.
        for (name, password, code) in [("amy@a.example", "one", "535"), ("ben@a.example", "one", "535"), ("ben@a.example", "two", "235")] {
            silent.expect(&plain(name, password), code);
        }
        mails(&mut silent, "ben@a.example");
        let response = plain("ben@a.example", "one").replace("AUTH PLAIN ", "");
        halfway.expect(&response, "535");
        // A reload that changes nothing of it leaves a login alone.
        reload(&gatepost);
        mails(&mut cid, "cid@other.example");
        mails(&mut silent, "ben@a.example");
    }

    fn the_rule_for_senders_is_the_one_in_force(engine) {
        let backend = Backend::good(free_address());
        let folder = tempfile::tempdir().expect("a folder");
        let accounts = folder.path().join("accounts");
        assert!(user(&accounts, &["add", "--no-scram", "amy@a.example"], "one").0);
        let gatepost = start(engine, &backend, &accounts, "off");
        let mut amy = logged_in(&gatepost, "amy@a.example");
        mails(&mut amy, "boss@a.example");
        change(&gatepost.file(), "sender_identity = \"off\"", "sender_identity = \"strict\"");
        reload(&gatepost);
        amy.expect("MAIL FROM:<boss@a.example>", "553 5.7.1");
        mails(&mut amy, "amy@a.example");
        // A listener that has no AUTH any more.
        change(&gatepost.file(), "auth = [\"plain\"]", "auth = []");
        reload(&gatepost);
        is_sent_away(&mut amy, "amy@a.example");
    }

    fn trust_ends_with_the_reload_that_takes_it_away(engine) {
        let backend = Backend::good(free_address());
        let trusted = format!("trusted = [\"{}/32\"]\n", home());
        let gatepost = Gatepost::start(engine, &format!("{trusted}{}", pool(&[&backend], "")));
        let mut client = Client::hello_from(home(), gatepost.smtp);
        mails(&mut client, "a@a.example");
        reload(&gatepost);
        mails(&mut client, "a@a.example");
        change(&gatepost.file(), trusted.trim_end(), "trusted = []");
        reload(&gatepost);
        is_sent_away(&mut client, "a@a.example");
    }

    fn all_spellings_of_a_name_that_a_proxy_tells_have_one_quota(engine) {
        let backend = Backend::good(free_address());
        let rule = "[[policy.rule]]\nname = \"quota\"\nat = \"mail\"\nthen = \"defer\"\n\
                    when = 'has(auth.account) && rate(auth.account, 2, \"1d\")'\n";
        let listener = "[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\nxclient_from = [\"127.0.0.0/8\"]\n";
        let gatepost = Gatepost::start(engine, &format!("{listener}{rule}{}", pool(&[&backend], "")));
        for (login, code) in [("bob", "250"), ("BOB", "250"), ("bOb", "451 4.7.1"), ("boB", "451 4.7.1"), ("ben", "250")] {
            let mut client = Client::hello(gatepost.smtp);
            client.expect(&format!("XCLIENT ADDR=203.0.113.9 LOGIN={login}"), "220");
            client.expect("EHLO client.example", "250");
            let reply = client.command("MAIL FROM:<bob@a.example>");
            let reply = match reply.starts_with("250") {
                true => client.command("RCPT TO:<b@example.net>"),
                false => reply,
            };
            assert!(reply.starts_with(code), "{login}: {reply}");
        }
    }
}
