//! Session tickets in front: taken by every worker and over a reload, and never instead of a certificate.

use crate::{
    harness::{Running, free_address, greets, http, need, wait_until},
    tls::{Site, talk},
};
use std::{
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
};

crate::on_all_engines! {
    fn a_session_is_resumed_by_another_worker_and_after_a_reload(engine) {
        if need("openssl").is_none() { return; }
        let site = Site::start(engine, "", "");
        let (kept, kept_2) = (site.path("session"), site.path("session2"));
        for (version, file, outcome) in [("-tls1_3", &kept, "version=\"1.3\""), ("-tls1_2", &kept_2, "version=\"1.2\"")] {
            let file = file.to_str().expect("UTF-8");
            let seen = site.openssl(true, &[version, "-sess_out", file], "EHLO client.example\nQUIT\n");
            assert!(seen.contains("New, "), "{seen}");
            let seen = site.openssl(false, &[version, "-sess_in", file], "EHLO client.example\nQUIT\n");
            assert!(seen.contains("Reused, "), "the other listener takes it: {seen}");
            assert_eq!(site.handshakes(&format!("outcome=\"resumed\",{outcome}")), 1.0);
        }
        let (status, body) = http(site.gatepost.admin, "POST", "/reload");
        assert_eq!(status, 200, "{body}");
        let file = kept.to_str().expect("UTF-8");
        let seen = site.openssl(true, &["-tls1_3", "-sess_in", file], "EHLO client.example\nQUIT\n");
        assert!(seen.contains("Reused, "), "{seen}");
        site.gatepost.log_line(&["tls=TLSv1.3", "resumed=yes"]);
    }

    fn tickets_pass_between_two_workers(engine) {
        if need("openssl").is_none() { return; }
        // Each connection has a port of its own to come from, so the kernel spreads them over the two.
        let site = Site::start(engine, "", "");
        let text = fs::read_to_string(site.gatepost.file()).expect("there").replace("workers = 1", "workers = 2");
        let twin = Twin::start(&text, site.gatepost.smtp, site.implicit, site.gatepost.admin);
        let file = site.path("session");
        let file = file.to_str().expect("UTF-8");
        let seen = twin.openssl(&site, &["-tls1_3", "-sess_out", file]);
        assert!(seen.contains("New, "), "{seen}");
        // Of sixteen, all go to the worker of the first one in one run out of 65,536.
        for _ in 0..16 {
            let seen = twin.openssl(&site, &["-tls1_3", "-sess_in", file]);
            assert!(seen.contains("Reused, "), "{seen}");
        }
        // The id of a transaction tells the worker: it was another one that took the ticket than the one that gave it.
        let workers = |resumed: bool| -> Vec<u64> {
            let log = site.gatepost.log();
            // A session has a line of its own beside that of its transaction.
            let lines = log.lines().filter(|line| !line.contains("session_us="));
            let lines = lines.filter(|line| line.contains("resumed=yes") == resumed);
            lines.filter_map(worker_of).collect()
        };
        wait_until("seventeen lines", || (workers(false).len() == 1 && workers(true).len() == 16).then_some(()));
        let (giver, takers) = (workers(false)[0], workers(true));
        assert!(takers.iter().any(|taker| *taker != giver), "{giver} {takers:?}");
        let metrics = http(twin.admin, "GET", "/metrics").1;
        let resumed = |line: &&str| line.starts_with("gatepost_tls_handshakes_total{outcome=\"resumed\",version=\"1.3\"") && line.contains("submissions");
        assert!(metrics.lines().find(resumed).is_some_and(|line| line.ends_with(" 16")), "{metrics}");
    }

    // INV-TICKET
    fn a_ticket_is_no_way_around_a_certificate(engine) {
        if need("openssl").is_none() { return; }
        let listener = "tls = \"implicit\"\nclient_certificates = \"required\"\nclient_ca = \"FOLDER/ca.pem\"\n";
        let site = Site::start(engine, listener, "");
        let file = site.path("session");
        let file = file.to_str().expect("UTF-8");
        let seen = site.openssl(true, &["-sess_out", file], "EHLO client.example\nQUIT\n");
        assert!(seen.contains("New, "), "{seen}");
        let to = site.gatepost.smtp.to_string();
        let seen = talk(Command::new("openssl").args(["s_client", "-connect", &to, "-servername", "mx.example.net", "-crlf",
            "-ign_eof", "-sess_in", file]), "EHLO client.example\nQUIT\n");
        assert!(!seen.contains("Reused, ") && !seen.contains("250-"), "{seen}");
        site.gatepost.log_line(&["why=tls_no_client_certificate"]);
    }
}

/// A second Gatepost on the sockets of the first, which has gone.
struct Twin {
    admin: SocketAddr,
    implicit: SocketAddr,
    _process: Running,
    _folder: tempfile::TempDir,
}

impl Twin {
    fn start(text: &str, smtp: SocketAddr, implicit: SocketAddr, admin: SocketAddr) -> Twin {
        let (new_smtp, new_implicit, new_admin) = (free_address(), free_address(), free_address());
        let text = text
            .replace(&smtp.to_string(), &new_smtp.to_string())
            .replace(&implicit.to_string(), &new_implicit.to_string())
            .replace(&admin.to_string(), &new_admin.to_string());
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("twin.toml");
        fs::write(&file, text).expect("written");
        let process = Running::start(
            Command::new(env!("CARGO_BIN_EXE_gatepost"))
                .args(["run", "-c"])
                .arg(&file)
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        wait_until("the twin greets", || greets(new_smtp));
        Twin {
            admin: new_admin,
            implicit: new_implicit,
            _process: process,
            _folder: folder,
        }
    }

    fn openssl(&self, site: &Site, arguments: &[&str]) -> String {
        let mut command = Command::new("openssl");
        command.args([
            "s_client",
            "-connect",
            &self.implicit.to_string(),
            "-servername",
            "mx.example.net",
            "-crlf",
            "-ign_eof",
            "-CAfile",
        ]);
        command.arg(site.path("ca.pem")).args(arguments);
        let said = "EHLO client.example\nMAIL FROM:<a@sender.example>\nRSET\nQUIT\n";
        talk(&mut command, said)
    }
}

/// The worker that a log line's id names: thirteen digits of Crockford's base 32, of whose number the six bits above the
/// lowest fourteen are the worker.
fn worker_of(line: &str) -> Option<u64> {
    let id = line.split(' ').find_map(|word| word.strip_prefix("id="))?;
    let digit = |c| "0123456789ABCDEFGHJKMNPQRSTVWXYZ".find(c);
    let number = id
        .chars()
        .try_fold(0, |sum: u64, c| Some(sum << 5 | digit(c)? as u64))?;
    Some(number >> 14 & 63)
}
