//! `shadow_config`: a candidate's policy, judged beside the one in force, which decides nothing.

use crate::{
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{Gatepost, check, free_address, http, wait_until},
    nameservers::{Nameservers, silent},
};
use std::{fs, net::IpAddr, process::Command};

const LIVE: &str = "[[policy.sender_list]]\nname = \"spammers\"\nentries = [\"spam.example\"]\n\
    [policy.client_rate]\nmessages = 5\nper = \"1h\"\n";

const CANDIDATE: &str = "hostname = \"other.example\"\ntrusted = []\n\
    [[listener]]\nname = \"mx\"\naddress = [\"127.0.0.1:2525\"]\n\
    [[pool]]\nname = \"none\"\nbackends = [\"127.0.0.1:26\"]\n\
    [[route]]\ndomains = [\"example.net\"]\npool = \"none\"\n";

fn start(
    engine: &str,
    backend: &Backend,
    live: &str,
    candidate: &str,
) -> (Gatepost, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("candidate.toml");
    fs::write(&file, format!("{CANDIDATE}{candidate}")).expect("written");
    let config = format!(
        "shadow_config = \"{}\"\n{}{live}",
        file.display(),
        pool(&[backend], "")
    );
    (Gatepost::start(engine, &config), folder)
}

fn count(gatepost: &Gatepost, live: &str, candidate: &str) -> f64 {
    let labels = format!("live=\"{live}\",candidate=\"{candidate}\"");
    gatepost.metric("gatepost_shadow_config_total", &labels)
}

crate::on_all_engines! {
    fn a_candidate_differs_in_log_metrics_and_list_and_decides_nothing(engine) {
        let backend = Backend::good(free_address());
        let rules = "[[policy.rule]]\nname = \"no-b\"\nwhen = 'recipient.local == \"b\"'\nthen = \"reject\"\n\
            [[policy.header]]\nname = \"loud\"\nfield = \"X-Loud\"\nwhen = \"present\"\nthen = \"defer\"\n\
            [policy.client_rate]\nmessages = 2\nper = \"1h\"\n";
        let (gatepost, _folder) = start(engine, &backend, LIVE, rules);
        let mut client = Client::hello(gatepost.smtp);
        // The only recipient is refused, one of two is not, and a header defers.
        assert!(client.send("1@a.example", &["b@example.net"], "x\r\n").starts_with("250"));
        assert!(client.send("2@a.example", &["b@example.net", "c@example.net"], "x\r\n").starts_with("250"));
        let line = gatepost.log_line(&["from=1@a.example"]);
        assert!(line.contains(" verdict=accept ") && line.contains(" shadow=reject(rule.no-b) "), "{line}");
        let line = gatepost.log_line(&["from=2@a.example"]);
        assert!(!line.contains("shadow="), "{line}");
        // The candidate's rate counts apart from the one in force, and once a message.
        assert!(client.send("3@a.example", &["c@example.net"], "x\r\n").starts_with("250"));
        let line = gatepost.log_line(&["from=3@a.example"]);
        assert!(line.contains(" shadow=defer(client_rate"), "{line}");
        // What the policy in force refuses, the candidate would have let pass.
        client.expect("MAIL FROM:<4@spam.example>", "550");
        client.expect("QUIT", "221");
        let line = gatepost.log_line(&["from=4@spam.example"]);
        assert!(line.contains(" shadow=defer(client_rate"), "{line}");
        assert_eq!(backend.with_messages(<[_]>::len), 3);
        assert_eq!((count(&gatepost, "accept", "reject"), count(&gatepost, "accept", "accept")), (1.0, 1.0));
        assert_eq!((count(&gatepost, "accept", "defer"), count(&gatepost, "reject", "defer")), (1.0, 1.0));
        let output = Command::new(env!("CARGO_BIN_EXE_gatepost"))
            .args(["explain", "--shadow", "--admin", &gatepost.admin.to_string()])
            .output()
            .expect("runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.starts_with("3 judgements are kept, since 2"), "{said}");
        assert!(said.contains("from=1@a.example  verdict=accept  reply=250") && said.contains("shadow=reject(rule.no-b)"), "{said}");
        assert!(!said.contains("2@a.example"), "{said}");
        let (_, list) = gatepost.get("/shadow");
        let read: serde_json::Value = serde_json::from_str(&list).expect("JSON");
        assert_eq!(read["differences"].as_array().map(Vec::len), Some(3));
    }

    fn a_name_in_ehlo_that_is_refused_leaves_both_policies_with_the_one_before(engine) {
        let backend = Backend::good(free_address());
        let list = "[[policy.helo_list]]\nname = \"bad\"\nentries = [\"bad.example\"]\n";
        let (gatepost, _folder) = start(engine, &backend, list, list);
        let mut client = Client::hello_from(IpAddr::from([127, 0, 0, 3]), gatepost.smtp);
        client.expect("EHLO bad.example", "550");
        assert!(client.send("a@a.example", &["b@example.net"], "x\r\n").starts_with("250"));
        let line = gatepost.log_line(&["from=a@a.example"]);
        assert!(line.contains(" verdict=accept ") && !line.contains("shadow="), "{line}");
        assert_eq!(count(&gatepost, "accept", "accept"), 1.0);
    }

    fn a_header_is_judged_when_the_client_has_its_answer_already(engine) {
        let backend = Backend::good(free_address());
        let rules = "[[policy.header]]\nname = \"loud\"\nfield = \"X-Loud\"\nwhen = \"present\"\n";
        let (gatepost, _folder) = start(engine, &backend, "[limits]\nwindow = \"8KiB\"\nheader = \"4KiB\"\n", rules);
        let mut client = Client::hello(gatepost.smtp);
        assert!(client.send("1@a.example", &["b@example.net"], "X-Loud: 1\r\n\r\nx\r\n").starts_with("250"));
        // One that streams.
        let body = format!("X-Loud: 1\r\n\r\n{}", "0123456789\r\n".repeat(3000));
        assert!(client.send("2@a.example", &["b@example.net"], &body).starts_with("250"));
        for from in ["from=1@a.example", "from=2@a.example"] {
            let line = gatepost.log_line(&[from]);
            assert!(line.contains(" verdict=accept ") && line.contains(" shadow=reject(header.loud) "), "{line}");
        }
    }

    fn a_client_that_one_of_both_refuses_at_connect_is_told_of(engine) {
        let backend = Backend::good(free_address());
        let live = "[[policy.client_list]]\nname = \"blocked\"\nentries = [\"127.0.0.0/8\"]\n";
        let (gatepost, folder) = start(engine, &backend, live, "");
        assert!(Client::greeted(gatepost.smtp).1.starts_with("554"));
        gatepost.log_line(&["verdict=none", "client_list.blocked:reject", "shadow=accept"]);
        // The test's own look at the port is one as well.
        let before = wait_until("it is counted", || Some(count(&gatepost, "reject", "accept")).filter(|count| *count > 0.0));
        // A broken candidate changes nothing, and is told with its place.
        let file = folder.path().join("candidate.toml");
        fs::write(&file, format!("{CANDIDATE}[[policy.rule]]\nname = \"x\"\nwhen = 'no_such_fact == 1'\nthen = \"reject\"\n")).expect("written");
        let output = check(&gatepost.file());
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("no_such_fact") && said.contains("candidate.toml:14:") && said.contains("shadow_config"), "{said}");
        let (status, said) = http(gatepost.admin, "POST", "/reload");
        assert!(status == 422 && said.contains("no_such_fact"), "{status} {said}");
        assert!(Client::greeted(gatepost.smtp).1.starts_with("554"));
        wait_until("the candidate before is judged on", || (count(&gatepost, "reject", "accept") > before).then_some(()));
        // Now it is as strict.
        fs::write(&file, format!("{CANDIDATE}{live}")).expect("written");
        assert_eq!(http(gatepost.admin, "POST", "/reload").0, 200);
        assert!(Client::greeted(gatepost.smtp).1.starts_with("554"));
        wait_until("both refuse", || (count(&gatepost, "reject", "reject") > 0.0).then_some(()));
    }

    fn what_only_the_candidate_asks_is_asked_too(engine) {
        let Some(dns) = Nameservers::start() else { return };
        let backend = Backend::good(free_address());
        let list = "[[policy.dnsbl]]\nzone = \"bl.test\"\nthen = \"reject\"\n";
        let (gatepost, _folder) = start(engine, &backend, &dns.config(""), list);
        // A list is believed once it has been probed.
        wait_until("the candidate knows of the list", || {
            let mut client = Client::hello_from(IpAddr::from([127, 0, 0, 3]), gatepost.smtp);
            assert!(client.send("a@a.example", &["b@example.net"], "x\r\n").starts_with("250"));
            gatepost.log().contains(" shadow=reject(dnsbl.bl.test) ").then_some(())
        });
        gatepost.log_line(&["from=a@a.example", "verdict=accept", "shadow=reject(dnsbl.bl.test)"]);
    }

    fn no_client_waits_for_what_only_the_candidate_asks(engine) {
        let (_socket, resolver) = silent();
        let backend = Backend::good(free_address());
        let list = "[[policy.dnsbl]]\nzone = \"bl.test\"\nthen = \"reject\"\n[policy.sender_domain]\nno_name = \"reject\"\n";
        // Whoever waited for an answer would wait longer than this test does.
        let live = format!("[dns]\nservers = [\"{resolver}\"]\n[timeouts]\nlookups = \"5m\"\n");
        let (gatepost, _folder) = start(engine, &backend, &live, list);
        let mut client = Client::hello(gatepost.smtp);
        assert!(client.send("a@silent.example.org", &["b@example.net"], "x\r\n").starts_with("250"));
        let line = gatepost.log_line(&["from=a@silent.example.org"]);
        let id = line.split(' ').find_map(|word| word.strip_prefix("id=")).expect("an id");
        let (_, told) = gatepost.get(&format!("/explain/{id}"));
        let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        assert_eq!((&told["shadow"], &told["shadow_late"]), (&"accept".into(), &"yes".into()), "{told}");
    }
}
