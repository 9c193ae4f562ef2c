//! Files of certificates and keys: what is wrong with them is told before anything runs.

use crate::{
    backend::{Act, Backend, EXTENSIONS},
    certificates::Authority,
    delivery::pool,
    harness::free_address,
};
use std::{fs, path::Path, process::Command};

/// `gatepost check` or `run` of a file with this certificate: exit code, and what it said.
fn judged(command: &str, folder: &Path, chain: &str, key: &str) -> (Option<i32>, String) {
    let file = folder.join("gatepost.toml");
    let (smtp, admin) = (free_address(), free_address());
    let backend = Backend::start(free_address(), EXTENSIONS, |_, _| Act::Usual);
    let text = format!(
        "hostname = \"edge.example\"\n[admin]\nlisten = \"{admin}\"\n[[listener]]\nname = \"mx\"\naddress = [\"{smtp}\"]\ntls = \"starttls\"\n[[certificate]]\nchain = \"{chain}\"\nkey = \"{key}\"\n{}",
        pool(&[&backend], "")
    );
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
    authority
        .expired(&["mx.example.net"])
        .write(folder.path(), "old");
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
        ("old.pem", "old.key", 9, &["old.pem", "has expired on"]),
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
    authority
        .ending(&["mx.example.net"])
        .write(folder.path(), "ending");
    let (code, text) = judged(
        "check",
        folder.path(),
        &path("ending.pem"),
        &path("ending.key"),
    );
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("warning") && text.contains("the certificate of mx.example.net ends on"),
        "{text}"
    );
}
