//! `compare` with the real HAProxy and the gatepost beside it: a short round through each, and the tables it writes.

#![allow(clippy::unwrap_used)]

use std::{fs, io::Write as _, path::Path, process::Command};

/// Notes for the run's summary that this test left something out.
fn leave_out(what: &str) {
    eprintln!("left out: {what}");
    if let Some(path) = std::env::var_os("GATEPOST_LEFT_OUT")
        && let Ok(mut file) = fs::OpenOptions::new().append(true).create(true).open(path)
    {
        let _ = writeln!(file, "{what}");
    }
}

#[test]
fn a_round_through_haproxy_and_gatepost_fills_the_tables_and_loses_nothing() {
    let load = Path::new(env!("CARGO_BIN_EXE_gatepost-load"));
    let gatepost = load.with_file_name("gatepost");
    if !gatepost.is_file() {
        return leave_out("compare: gatepost is not built (tests/run builds it)");
    }
    if !["/usr/sbin/haproxy", "/usr/bin/haproxy"]
        .iter()
        .any(|path| Path::new(path).is_file())
    {
        return leave_out("compare: haproxy is not installed");
    }
    if gatepost::net::allowed_cores().len() < 2 {
        return leave_out("compare: it needs two cores");
    }
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.md");
    fs::write(
        &page,
        "before\n<!-- compare -->\nthe last table\n<!-- end -->\nbehind\n",
    )
    .unwrap();
    let output = Command::new(load)
        .args([
            "compare",
            "--works",
            "kept,latency,tls-resumed",
            "--rounds",
            "1",
        ])
        .args(["--seconds", "0.2", "--peers", "gatepost-epoll"])
        .arg("--write")
        .arg(&page)
        .arg("--out")
        .arg(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = fs::read_to_string(&page).unwrap();
    assert!(text.starts_with("before\n") && text.ends_with("behind\n"));
    assert!(!text.contains("the last table"), "{text}");
    for work in ["### kept: ", "### latency: ", "### tls-resumed: "] {
        assert!(text.contains(work), "{text}");
    }
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| HAProxy") || line.starts_with("| Gatepost"))
        .collect();
    assert_eq!(rows.len(), 6, "{text}");
    for row in rows {
        assert!(row.ends_with("| 0 |"), "nothing is lost: {row}");
    }
    let html = fs::read_to_string(folder.path().join("compare.html")).unwrap();
    assert!(html.contains("Gatepost, epoll"));
    let figures = fs::read_to_string(folder.path().join("compare.json")).unwrap();
    let figures: serde_json::Value = serde_json::from_str(&figures).unwrap();
    assert!(figures["tables"][0]["rows"][1]["ratio"]["median"].as_f64() > Some(0.0));
}

#[test]
fn an_unknown_peer_or_work_is_told_with_those_that_are_known() {
    let load = env!("CARGO_BIN_EXE_gatepost-load");
    // Any file stands for the binary: nothing is started.
    for (arguments, known) in [
        (["--peers", "sendmail"], "haproxy, gatepost-ring"),
        (["--works", "everything"], "kept-postfix"),
    ] {
        let output = Command::new(load)
            .args(["compare", "--gatepost", load])
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(known), "{said}");
    }
}
