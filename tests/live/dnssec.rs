//! DNSSEC with a real resolver: unbound, with zones under a root of the test's own that are signed by BIND's tools.

use crate::{
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{Gatepost, Running, free_address, need, wait_until},
};
use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The zones: how they are signed, where they are, and the policy that each publishes for `mail` in it.
const ZONES: &[(&str, Signed, &str)] = &[
    ("good", Signed::Well, "v=spf1 -all"),
    ("forged", Signed::ThenChanged, "v=spf1 -all"),
    ("expired", Signed::LongAgo, "v=spf1 -all"),
    ("plain", Signed::Not, "v=spf1 -all"),
];

#[derive(Clone, Copy, PartialEq)]
enum Signed {
    Well,
    /// The text that lets all in is not the one that was signed.
    ThenChanged,
    LongAgo,
    Not,
}

/// BIND's tools.
struct Tools {
    keygen: PathBuf,
    signzone: PathBuf,
    dsfromkey: PathBuf,
    unbound: PathBuf,
}

impl Tools {
    fn find() -> Option<Tools> {
        Some(Tools {
            keygen: need("dnssec-keygen")?,
            signzone: need("dnssec-signzone")?,
            dsfromkey: need("dnssec-dsfromkey")?,
            unbound: need("unbound")?,
        })
    }
}

/// What a program prints.
fn run(program: &Path, folder: &Path, words: &[&str]) -> String {
    let done = Command::new(program)
        .args(words)
        .current_dir(folder)
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program:?} {words:?}: {said}");
    String::from_utf8(done.stdout).expect("text")
}

/// Writes a zone, signed where it is to be: its file, its key-signing key, and the DS for its parent.
fn zone(tools: &Tools, folder: &Path, name: &str, records: &str, signed: Signed) -> [String; 3] {
    let (origin, file) = (
        format!("{name}."),
        format!("{}.zone", if name.is_empty() { "root" } else { name }),
    );
    let mut text = format!(
        "$TTL 3600\n@ IN SOA ns.plain. admin.plain. 1 3600 600 86400 60\n@ IN NS ns.plain.\n{records}"
    );
    if signed == Signed::Not {
        fs::write(folder.join(&file), text).expect("written");
        return [file, String::new(), String::new()];
    }
    let key = |more: &[&str]| {
        let words = [&["-q", "-a", "ECDSAP256SHA256"], more, &[&*origin]].concat();
        run(&tools.keygen, folder, &words).trim().to_string() + ".key"
    };
    let (signs_keys, signs_records) = (key(&["-f", "KSK"]), key(&[]));
    for key in [&signs_keys, &signs_records] {
        text += &fs::read_to_string(folder.join(key)).expect("made");
    }
    fs::write(folder.join(&file), text).expect("written");
    let then: &[&str] = match signed {
        Signed::LongAgo => &["-s", "20240101000000", "-e", "20240201000000"],
        _ => &[],
    };
    let words = [&["-q", "-P", "-o", &*origin][..], then, &[&*file]].concat();
    run(&tools.signzone, folder, &words);
    let file = file + ".signed";
    if signed == Signed::ThenChanged {
        let text = fs::read_to_string(folder.join(&file)).expect("made");
        assert!(text.contains(" -all"));
        fs::write(folder.join(&file), text.replace(" -all", " +all")).expect("written");
    }
    let ds = run(&tools.dsfromkey, folder, &["-2", &signs_keys]);
    [file, signs_keys, ds]
}

/// unbound with these zones; it ends with the test.
struct Resolver {
    address: SocketAddr,
    _unbound: Running,
    folder: tempfile::TempDir,
}

impl Resolver {
    /// `None`, and a note, where the programs are missing.
    fn start(validates: bool) -> Option<Resolver> {
        let tools = Tools::find()?;
        let folder = tempfile::tempdir().expect("a folder");
        let (mut root, mut files) = (String::new(), Vec::new());
        for (name, signed, policy) in ZONES {
            let records = format!("mail IN TXT \"{policy}\"\nns IN A 127.0.0.1\n");
            let [file, _, ds] = zone(&tools, folder.path(), name, &records, *signed);
            let _ = writeln!(root, "{name}. IN NS ns.plain.\n{ds}");
            files.push((format!("{name}."), file));
        }
        let [file, anchor, _] = zone(&tools, folder.path(), "", &root, Signed::Well);
        files.push((".".into(), file));
        let address = free_address();
        let module = if validates {
            "validator iterator"
        } else {
            "iterator"
        };
        let mut config = format!(
            "server:\n interface: {}\n port: {}\n do-ip6: no\n num-threads: 1\n username: \"\"\n chroot: \"\"\n \
             directory: \"{folder}\"\n pidfile: \"\"\n use-syslog: no\n logfile: \"unbound.log\"\n \
             access-control: 127.0.0.0/8 allow\n do-not-query-localhost: no\n module-config: \"{module}\"\n \
             trust-anchor-file: \"{anchor}\"\nremote-control:\n control-enable: no\n",
            address.ip(),
            address.port(),
            folder = folder.path().display(),
        );
        for (name, file) in files {
            let _ = writeln!(
                config,
                "auth-zone:\n name: \"{name}\"\n for-downstream: no\n for-upstream: yes\n fallback-enabled: no\n \
                 zonefile: \"{file}\""
            );
        }
        let file = folder.path().join("unbound.conf");
        fs::write(&file, config).expect("written");
        let unbound = Running::start(
            Command::new(&tools.unbound)
                .args(["-d", "-c"])
                .arg(&file)
                .current_dir(folder.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        wait_until("unbound serves", || {
            let log = fs::read_to_string(folder.path().join("unbound.log")).unwrap_or_default();
            log.contains("start of service").then_some(())
        });
        Some(Resolver {
            address,
            _unbound: unbound,
            folder,
        })
    }

    /// `[dns]` for it.
    fn config(&self) -> String {
        format!(
            "[dns]\nservers = [\"{}\"]\ndnssec = \"resolver\"\n",
            self.address
        )
    }
}

/// What the recipient of a message from `mail` in this zone is told.
fn recipient(gatepost: &Gatepost, zone: &str) -> String {
    let mut client = Client::hello_from([127, 0, 0, 7].into(), gatepost.smtp);
    client.expect(&format!("MAIL FROM:<a@mail.{zone}>"), "250");
    let told = client.command("RCPT TO:<b@example.net>");
    client.expect("QUIT", "221");
    told
}

/// SPF, whose policies the zones publish: one that is believed refuses every client.
fn spf(temperror: &str) -> String {
    format!("[policy.spf]\nfail = \"reject\"\ntemperror = \"{temperror}\"\n")
}

crate::on_all_engines! {
    fn what_is_forged_is_not_believed(engine) {
        let Some(dns) = Resolver::start(true) else { return };
        let backend = Backend::good(free_address());
        for (temperror, forged) in [("defer", "45"), ("accept", "250")] {
            let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + &dns.config() + &spf(temperror)));
            for (zone, code) in [("good", "550"), ("plain", "550"), ("forged", forged), ("expired", forged)] {
                let told = recipient(&gatepost, zone);
                assert!(told.starts_with(code), "{zone}: {told}");
            }
            gatepost.log_line(&["from=a@mail.expired", "spf=temperror"]);
            wait_until("both are counted", || {
                gatepost.get("/metrics").1.contains("gatepost_lookups_bogus_total 2").then_some(())
            });
            wait_until("it is told", || gatepost.errors().contains("answers were bogus").then_some(()));
            assert!(!gatepost.errors().contains("does not validate"), "{}", gatepost.errors());
        }
    }
}

#[test]
fn a_server_that_does_not_validate_is_told() {
    let Some(dns) = Resolver::start(false) else {
        return;
    };
    let backend = Backend::good(free_address());
    let gatepost = Gatepost::start("epoll", &(pool(&[&backend], "") + &dns.config()));
    let told = format!("{} does not validate (DNSSEC)", dns.address);
    wait_until("it is told", || {
        gatepost.errors().contains(&told).then_some(())
    });
    wait_until("it is counted", || {
        let metrics = gatepost.get("/metrics").1;
        metrics
            .contains("gatepost_dns_servers_not_validating 1")
            .then_some(())
    });
}

#[test]
fn explain_says_what_was_bogus() {
    let Some(dns) = Resolver::start(true) else {
        return;
    };
    let file = dns.folder.path().join("edge.toml");
    let config = "hostname = \"edge.example\"\n[[listener]]\nname = \"mx\"\naddress = [\"127.0.0.1:2525\"]\n\
        [[pool]]\nname = \"cluster\"\nbackends = [\"127.0.0.1:2600\"]\n\
        [[route]]\ndomains = [\"example.net\"]\npool = \"cluster\"\nrecipients = \"accept\"\n";
    let policy = "[policy.spf]\nfail = \"reject\"\ntemperror = \"defer\"\n";
    fs::write(&file, format!("{config}{policy}{}", dns.config())).expect("written");
    for (zone, code, words) in [
        ("good", 77, "v=spf1 -all"),
        ("plain", 77, "v=spf1 -all"),
        ("forged", 75, "bogus: DNSSEC validation failed"),
        ("expired", 75, "bogus: DNSSEC validation failed"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_gatepost"))
            .arg("explain")
            .arg("-c")
            .arg(&file)
            .args([
                "--client",
                "192.0.2.9",
                "--helo",
                "mail.plain",
                "--to",
                "b@example.net",
                "--from",
            ])
            .arg(format!("a@mail.{zone}"))
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{zone}: {said}");
        assert!(said.contains(words), "{zone}: {said}");
    }
}
