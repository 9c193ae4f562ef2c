//! DMARC reports: what a domain is told of the mail in its name, read by programs of others.

use crate::{
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{Gatepost, free_address, leave_out, need, wait_until},
    nameservers::Nameservers,
    postfix::runs,
};
use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Command,
};

/// Its domain asks to reject what fails, and for reports at three addresses (`unbound.conf`).
const SIGNED: &str = include_str!("../data/dkim/rfc8463.eml");
const SCHEMA: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/data/dmarc/aggregate.xsd"
);
/// Where `tests/run` installs a reader of reports.
const READER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/dmarc-report");

/// Prints what a report says in the reader's own words.
const READ: &str = "
import sys
from dmarc_report.parser import DMARCParser
report = DMARCParser.parse_file(sys.argv[1])
print(report)
";

fn edge(
    engine: &str,
    backend: &Backend,
    dns: &Nameservers,
    folder: &Path,
    interval: &str,
) -> Gatepost {
    let policy = format!(
        "[policy.dmarc]\nreject = \"reject\"\n[policy.dmarc.reports]\ndirectory = \"{}\"\n\
         org_name = \"Edge & Sons\"\nemail = \"postmaster@edge.example\"\ninterval = \"{interval}\"\n",
        folder.display()
    );
    Gatepost::start(engine, &(pool(&[backend], "") + &dns.config("") + &policy))
}

fn send(gatepost: &Gatepost, message: &str) -> String {
    let client = IpAddr::from([127, 0, 0, 9]);
    let message = message.replace('\n', "\r\n");
    Client::hello_from(client, gatepost.smtp).send("a@sender.example", &["b@example.net"], &message)
}

/// The files in a folder that end so.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| path.to_string_lossy().ends_with(end))
        .collect()
}

/// A report's XML, which fits the schema.
fn unpacked(report: &Path) -> String {
    let text = runs(Command::new("gzip").arg("-dc").arg(report));
    if let Some(xmllint) = need("xmllint") {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("report.xml");
        fs::write(&file, &text).expect("written");
        let mut command = Command::new(xmllint);
        runs(
            command
                .args(["--noout", "--nonet", "--schema", SCHEMA])
                .arg(file),
        );
    }
    text
}

crate::on_all_engines! {
    fn a_domain_is_told_what_became_of_its_mail(engine) {
        let Some(dns) = Nameservers::start() else { return };
        let backend = Backend::good(free_address());
        let folder = tempfile::tempdir().expect("a folder");
        let gatepost = edge(engine, &backend, &dns, folder.path(), "3s");
        assert!(send(&gatepost, SIGNED).starts_with("250"));
        for _ in 0..2 {
            assert!(send(&gatepost, &SIGNED.replace("hungry", "thirsty")).starts_with("550"));
        }
        // Its domain asks for nothing.
        assert!(send(&gatepost, "From: joe@nowhere.example\n\nx\n").starts_with("250"));
        // The messages may lie in two intervals.
        let counted = |text: &str| -> u64 {
            let counts = text.lines().filter_map(|line| line.strip_prefix("<count>")?.strip_suffix("</count>"));
            counts.map(|count| count.parse::<u64>().expect("a number")).sum()
        };
        let texts = wait_until("all are reported, with notes for their sender", || {
            let notes = files(folder.path(), ".json");
            let reports = notes.iter().map(|note| note.with_extension(""));
            let texts: Vec<(PathBuf, String)> = reports.map(|report| (report.clone(), unpacked(&report))).collect();
            (texts.iter().map(|(_, text)| counted(text)).sum::<u64>() >= 3).then_some(texts)
        });
        let all: String = texts.iter().map(|(_, text)| text.replace('\n', "")).collect();
        for part in [
            "<org_name>Edge &amp; Sons</org_name>",
            "<domain>football.example.com</domain><discovery_method>treewalk</discovery_method><p>reject</p>",
            "<disposition>pass</disposition><dkim>pass</dkim><spf>fail</spf>",
            "<disposition>reject</disposition><dkim>fail</dkim><spf>fail</spf></policy_evaluated>",
            "<envelope_from>sender.example</envelope_from>",
            "<source_ip>127.0.0.9</source_ip>",
            "<selector>brisbane</selector><result>pass</result>",
            "<domain>sender.example</domain><scope>mfrom</scope><result>none</result>",
        ] {
            assert!(all.contains(part), "{part} in {all}");
        }
        assert!(!all.contains("nowhere.example"), "{all}");
        let note = fs::read_to_string(&files(folder.path(), ".json")[0]).expect("there");
        let note: String = note.split_whitespace().collect();
        for part in [
            r#"{"uri":"mailto:own@example.com","consent":"own"}"#,
            r#"{"uri":"mailto:a@given.example","consent":"given","instead":["mailto:b@given.example"]}"#,
            r#"{"uri":"mailto:a@refused.example","consent":"refused"}"#,
        ] {
            assert!(note.contains(part), "{part} in {note}");
        }
        assert!(gatepost.metric("gatepost_dmarc_reports_total", "") >= 1.0);
        if !Path::new(READER).is_dir() {
            return leave_out("a reader of DMARC reports: pip did not install dmarc-report");
        }
        let mut reader = Command::new(need("python3").expect("it has installed the reader"));
        let said = runs(reader.env("PYTHONPATH", READER).args(["-c", READ]).arg(&texts[0].0));
        for part in ["org_name='Edge & Sons'", "ReportFormat.RFC_9990", "football.example.com", "errors=[]"] {
            assert!(said.contains(part), "{part} in {said}");
        }
    }

    fn what_has_no_effect_is_reported(engine) {
        let Some(dns) = Nameservers::start() else { return };
        let backend = Backend::good(free_address());
        let folder = tempfile::tempdir().expect("a folder");
        let policy = format!(
            "[policy.dmarc]\nreject = \"accept\"\nfail = \"accept\"\n[policy.dmarc.reports]\ndirectory = \"{}\"\n\
             email = \"postmaster@edge.example\"\ninterval = \"1d\"\n",
            folder.path().display()
        );
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + &dns.config("") + &policy));
        assert!(send(&gatepost, &SIGNED.replace("hungry", "thirsty")).starts_with("250"));
        gatepost.process.signal("TERM");
        let kept = wait_until("it is collected", || fs::read_to_string(folder.path().join("collecting")).ok());
        assert!(kept.contains("\"source\":\"127.0.0.9\""), "{kept}");
        assert!(kept.contains("\"author\":\"football.example.com\""), "{kept}");
    }

    fn what_was_seen_outlives_the_process(engine) {
        let Some(dns) = Nameservers::start() else { return };
        let backend = Backend::good(free_address());
        let folder = tempfile::tempdir().expect("a folder");
        let mut gatepost = edge(engine, &backend, &dns, folder.path(), "1d");
        assert!(send(&gatepost, SIGNED).starts_with("250"));
        gatepost.process.signal("TERM");
        gatepost.process.0.wait().expect("a child");
        let kept = fs::read_to_string(folder.path().join("collecting")).expect("it is written at the end");
        assert_eq!(kept.matches("\"author\":\"football.example.com\"").count(), 1, "{kept}");
        // The next one goes on with it.
        let gatepost = edge(engine, &backend, &dns, folder.path(), "1d");
        assert!(send(&gatepost, SIGNED).starts_with("250"));
        gatepost.process.signal("TERM");
        let both = wait_until("both are counted", || {
            let kept = fs::read_to_string(folder.path().join("collecting")).ok()?;
            kept.contains("\"count\":2").then_some(kept)
        });
        assert_eq!(both.lines().next(), kept.lines().next(), "the same interval");
    }
}
