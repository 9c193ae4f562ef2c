//! Files of certificates and keys: what is wrong with them is told before anything runs.

use crate::{
    backend::{Act, Backend, EXTENSIONS},
    certificates::Authority,
    client::Client,
    delivery::pool,
    harness::{Gatepost, free_address, http, wait_until},
};
use std::{fs, path::Path, process::Command};

/// `gatepost check` or `run` of a file with this certificate: exit code, and what it said.
fn judged(command: &str, folder: &Path, chain: &str, key: &str) -> (Option<i32>, String) {
    let (smtp, admin) = (free_address(), free_address());
    let backend = Backend::start(free_address(), EXTENSIONS, |_, _| Act::Usual);
    let text = format!(
        "hostname = \"edge.example\"\n[admin]\nlisten = \"{admin}\"\n[[listener]]\nname = \"mx\"\naddress = [\"{smtp}\"]\ntls = \"starttls\"\n[[certificate]]\nchain = \"{chain}\"\nkey = \"{key}\"\n{}",
        pool(&[&backend], "")
    );
    said(command, folder, &text)
}

/// The same of any file.
fn said(command: &str, folder: &Path, text: &str) -> (Option<i32>, String) {
    let file = folder.join("gatepost.toml");
    fs::write(&file, text).expect("written");
    let out = Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .args([command, "-c"])
        .arg(&file)
        .output()
        .expect("runs");
    (
        out.status.code(),
        String::from_utf8_lossy(&out.stderr).into_owned(),
    )
}

#[test]
fn a_certificate_that_can_not_be_used_is_told_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let authority = Authority::new();
    authority
        .issue(&["mx.example.net"])
        .write(folder.path(), "good");
    authority
        .issue(&["mx.example.net"])
        .write(folder.path(), "other");
    fs::write(path("empty.pem"), "").expect("written");
    fs::write(
        path("broken.pem"),
        "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
    )
    .expect("written");
    fs::write(
        path("nonsense.pem"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .expect("written");
    for (chain, key, line, parts) in [
        (
            "good.pem",
            "other.key",
            10,
            &["other.key", "does not belong to the certificate"][..],
        ),
        (
            "missing.pem",
            "good.key",
            9,
            &["missing.pem", "can't be read"],
        ),
        (
            "good.pem",
            "missing.key",
            10,
            &["missing.key", "can't be read"],
        ),
        (
            "empty.pem",
            "good.key",
            9,
            &["empty.pem", "no certificate in it"],
        ),
        ("broken.pem", "good.key", 9, &["broken.pem", "no sound PEM"]),
        ("nonsense.pem", "good.key", 10, &["can't be read"]),
        (
            "good.pem",
            "good.pem",
            10,
            &["good.pem", "no private key in it"],
        ),
    ] {
        for command in ["check", "run"] {
            let (code, text) = judged(command, folder.path(), &path(chain), &path(key));
            assert_eq!(code, Some(78), "{chain} {key}: {text}");
            assert!(
                text.contains(&format!("gatepost.toml:{line}:")),
                "{chain} {key}: {text}"
            );
            assert!(
                parts.iter().all(|part| text.contains(part)),
                "{chain} {key}: {text}"
            );
        }
    }
    let (code, text) = judged("check", folder.path(), &path("good.pem"), &path("good.key"));
    assert_eq!(code, Some(0), "{text}");
    for (name, made, says) in [
        ("ending", authority.ending(&["mx.example.net"]), "ends on"),
        (
            "old",
            authority.expired(&["mx.example.net"]),
            "has expired on",
        ),
        (
            "early",
            authority.coming(&["mx.example.net"]),
            "is not good before",
        ),
    ] {
        let (chain, key) = made.write(folder.path(), name);
        let (chain, key) = (chain.display().to_string(), key.display().to_string());
        let (code, text) = judged("check", folder.path(), &chain, &key);
        assert_eq!(code, Some(0), "{text}");
        let told = format!("warning: the certificate of mx.example.net {says}");
        assert!(
            text.contains(&told) && text.contains("gatepost.toml:9:"),
            "{text}"
        );
    }
}

/// A day that is wrong is often the clock's fault, and mail servers take such certificates: mail goes on, and so do reloads.
#[test]
fn certificates_whose_days_are_wrong_stop_neither_mail_nor_reloads() {
    let authority = Authority::new();
    for (made, says) in [
        (authority.expired(&["mx.example.net"]), "has expired on"),
        (authority.coming(&["mx.example.net"]), "is not good before"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let (chain, key) = made.write(folder.path(), "own");
        let (chain, key) = (chain.display(), key.display());
        let backend = Backend::good(free_address());
        let shown = format!("tls_certificate = \"{chain}\"\ntls_key = \"{key}\"\n");
        let gatepost = Gatepost::start(
            "epoll",
            &format!(
                "[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\ntls = \"starttls\"\n\
                 [[certificate]]\nchain = \"{chain}\"\nkey = \"{key}\"\n{}",
                pool(&[&backend], &shown)
            ),
        );
        let told = || gatepost.errors().matches(says).count();
        let twice = "of the listener and of the pool";
        wait_until(twice, || (told() >= 2).then_some(()));
        // A handshake gets it: what it is worth is for the client to judge.
        let offered = Client::hello(gatepost.smtp).command("STARTTLS");
        assert!(offered.starts_with("220"), "{offered}");
        let mut client = Client::hello(gatepost.smtp);
        let reply = client.send("a@sender.example", &["b@example.net"], "x\r\n");
        assert!(reply.starts_with("250"), "{reply}");
        let before = told();
        let text = fs::read_to_string(gatepost.file()).expect("there");
        fs::write(
            gatepost.file(),
            text.replace("edge.example", "next.example"),
        )
        .expect("written");
        let (status, answer) = http(gatepost.admin, "POST", "/reload");
        assert_eq!(status, 200, "{answer}");
        wait_until("it is told again", || (told() > before).then_some(()));
        let greeting = Client::silent(gatepost.smtp).reply();
        assert!(greeting.contains("next.example"), "{greeting}");
        let ends = gatepost.metric("gatepost_certificate_ends_timestamp_seconds", "");
        assert!(ends > 0.0, "{ends}");
    }
}

/// `gatepost check` or `run` of a file with these pools, `one` and `two`, whose `tls` keys are given: exit code, and what
/// it said.
fn judged_pools(command: &str, folder: &Path, one: &str, two: &str) -> (Option<i32>, String) {
    let (smtp, admin) = (free_address(), free_address());
    let backend = Backend::good(free_address());
    let pool = |name: &str, keys: &str| {
        format!(
            "[[pool]]\nname = \"{name}\"\nbackends = [\"{}\"]\n{keys}\n[[route]]\ndomains = [\"{name}.example\"]\npool = \"{name}\"\n",
            backend.address
        )
    };
    let text = format!(
        "hostname = \"edge.example\"\n[admin]\nlisten = \"{admin}\"\n[[listener]]\nname = \"mx\"\naddress = [\"{smtp}\"]\n{}{}",
        pool("one", one),
        pool("two", two)
    );
    said(command, folder, &text)
}

#[test]
fn what_a_pool_needs_for_tls_is_read_before_it_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let authority = Authority::new();
    for name in ["good", "other"] {
        authority
            .issue(&["edge.example"])
            .write(folder.path(), name);
    }
    authority
        .expired(&["edge.example"])
        .write(folder.path(), "old");
    fs::write(path("ca.pem"), authority.pem()).expect("written");
    fs::write(path("empty.pem"), "").expect("written");
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(path("nonsense.pem"), nonsense).expect("written");
    let verify = |ca: &str| format!("tls = \"verify\"\ntls_ca = \"{}\"\n", path(ca));
    let shows = |chain: &str, key: &str| {
        let (chain, key) = (path(chain), path(key));
        format!("tls = \"required\"\ntls_certificate = \"{chain}\"\ntls_key = \"{key}\"\n")
    };
    let alone = |file: &str| format!("tls = \"required\"\ntls_certificate = \"{}\"\n", path(file));
    let told = |keys: &str, places: &[(usize, &str, &str, &str)]| {
        // The same keys in the second pool have the same faults once more.
        for command in ["check", "run"] {
            let (code, text) = judged_pools(command, folder.path(), keys, keys);
            assert_eq!(code, Some(78), "{command} {keys}: {text}");
            let faults = 2 * places.len();
            assert!(text.contains(&format!("{faults} errors in")), "{text}");
            for (line, key, file, why) in places {
                for (pool, first) in [("one", 10), ("two", 10 + 7 + keys.lines().count())] {
                    let place = format!("gatepost.toml:{}:", first + line);
                    let message = format!("pool \"{pool}\": {}: {why}", path(file));
                    assert!(text.contains(&place) && text.contains(key), "{text}");
                    assert!(text.contains(&message), "{message}: {text}");
                }
            }
        }
    };
    told(
        &verify("missing.pem"),
        &[(1, "tls_ca", "missing.pem", "it can't be read")],
    );
    told(
        &verify("empty.pem"),
        &[(1, "tls_ca", "empty.pem", "there is no certificate in it")],
    );
    let anchor = "certificate 1 is no trust anchor";
    told(
        &verify("nonsense.pem"),
        &[(1, "tls_ca", "nonsense.pem", anchor)],
    );
    let another = "the key does not belong to the certificate";
    told(
        &shows("good.pem", "other.key"),
        &[(2, "tls_key", "other.key", another)],
    );
    told(
        &shows("good.pem", "missing.key"),
        &[(2, "tls_key", "missing.key", "it can't be read")],
    );
    told(
        &alone("good.pem"),
        &[(
            1,
            "tls_certificate",
            "good.pem",
            "there is no private key in it",
        )],
    );
    let (code, text) = judged_pools("check", folder.path(), &shows("old.pem", "old.key"), "");
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("warning: the certificate of edge.example has expired on")
            && text.contains("gatepost.toml:11:"),
        "{text}"
    );
    // All that is wrong with a pool is told at once.
    told(
        &(verify("empty.pem")
            + &shows("missing.pem", "good.key").replace("tls = \"required\"\n", "")),
        &[
            (1, "tls_ca", "empty.pem", "there is no certificate in it"),
            (2, "tls_certificate", "missing.pem", "it can't be read"),
        ],
    );
    let sound =
        verify("ca.pem") + &shows("good.pem", "good.key").replace("tls = \"required\"\n", "");
    let (code, text) = judged_pools(
        "check",
        folder.path(),
        &sound,
        &shows("good.pem", "good.key"),
    );
    assert_eq!(code, Some(0), "{text}");
    // What isn't used is not read.
    let unused = format!(
        "tls = \"none\"\ntls_certificate = \"{}\"\n",
        path("missing.pem")
    );
    let (code, text) = judged_pools("check", folder.path(), &unused, &unused);
    assert_eq!(code, Some(0), "{text}");
}
