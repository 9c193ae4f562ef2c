//! The pages in a real browser: every chart is drawn, nothing fails, nothing is fetched.

#![allow(clippy::unwrap_used)]

use crate::sample;
use gatepost_load::report::{
    page::{Figure, Page},
    plots::{Spread, SpreadSeries, Unit, spreads},
    run_page, versus,
};
use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

/// Notes that tests were left out, for the summary of `tests/run`.
fn leave_out(what: &str) {
    eprintln!("left out: {what}");
    if let Some(path) = std::env::var_os("GATEPOST_LEFT_OUT")
        && let Ok(mut file) = OpenOptions::new().append(true).create(true).open(path)
    {
        let _ = writeln!(file, "{what}");
    }
}

/// The document as it is when all scripts have run; `None` without a browser.
fn rendered(html: &str) -> Option<String> {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("page.html");
    fs::write(&file, html).unwrap();
    let out = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1280,900",
            "--virtual-time-budget=20000",
            "--dump-dom",
        ])
        .arg(format!(
            "--user-data-dir={}",
            place.path().join("profile").display()
        ))
        .arg(format!("file://{}", file.display()))
        .stderr(Stdio::null())
        .output();
    match out {
        Ok(out) => {
            assert!(out.status.success(), "{:?}", out.status);
            Some(String::from_utf8(out.stdout).unwrap())
        }
        Err(_) => {
            leave_out("tests with chromium: it is not installed");
            None
        }
    }
}

/// Asserts that each chart has the traces it should have; gives how many charts there are.
fn assert_drawn(dom: &str, wanted: &[&[(&str, usize)]]) {
    let root = &dom[..dom.find("<head").unwrap()];
    assert!(!root.contains("data-failed"), "a script failed: {root}");
    assert!(
        root.contains(&format!("data-drawn=\"{}\"", wanted.len())),
        "{root}"
    );
    let charts: Vec<_> = dom.split(" id=\"chart-").skip(1).collect();
    assert_eq!(charts.len(), wanted.len());
    for (place, (chart, wanted)) in charts.iter().zip(wanted).enumerate() {
        let chart = &chart[..chart.find("application/json").unwrap()];
        assert!(
            chart.contains("class=\"main-svg\""),
            "chart {place} has no SVG"
        );
        for (mark, number) in *wanted {
            let found = chart.matches(mark).count();
            assert_eq!(found, *number, "chart {place}: {mark}");
        }
    }
}

const LINE: &str = "class=\"trace scatter ";
const HEAT: &str = "class=\"hm\"";
const BARS: &str = "class=\"trace bars\"";

/// What the page would load, its scripts and their text aside.
fn assert_loads_nothing(html: &str) {
    let mut rest = html;
    let mut markup = String::new();
    while let Some(from) = rest.find("<script") {
        let (before, script) = rest.split_at(from);
        markup.push_str(before);
        let (opening, _) = script.split_once('>').unwrap();
        markup.push_str(opening);
        rest = script.split_once("</script>").unwrap().1;
    }
    markup.push_str(rest);
    for wrong in [
        "src=", "href=", "@import", "url(", "http://", "https://", "<link", "<iframe",
    ] {
        assert!(!markup.contains(wrong), "the page has {wrong}");
    }
    assert!(
        markup.contains("default-src 'none'"),
        "and the browser is told to load nothing"
    );
}

#[test]
fn the_page_of_a_run_is_drawn() {
    let html = run_page::page(&sample::run(1.0)).unwrap();
    assert_loads_nothing(&html);
    let Some(dom) = rendered(&html) else { return };
    assert_drawn(
        &dom,
        &[
            &[(LINE, 2)],            // percentiles of the message and of the service
            &[(HEAT, 1), (LINE, 2)], // latency over time, with p50 and p99
            &[(LINE, 6)],            // steps: the spans and five percentiles
            &[(LINE, 4)],            // intended, acknowledged, refused, failed
            &[(LINE, 1)],            // sessions
            &[(BARS, 2)],            // refusals and failures
            &[(LINE, 6)],            // stages
            &[(LINE, 2)],            // CPU of two processes
            &[(LINE, 2)],            // their memory
        ],
    );
    for part in [
        "once each",
        "4711",
        "p99.9",
        "duration = \"60s\"",
        "gatepost",
    ] {
        assert!(dom.contains(part), "{part}");
    }
}

#[test]
fn the_page_of_two_runs_is_drawn() {
    let html = versus::page(&sample::run(1.0), &sample::run(1.5)).unwrap();
    assert_loads_nothing(&html);
    let Some(dom) = rendered(&html) else { return };
    assert_drawn(&dom, &[&[(LINE, 2)], &[(LINE, 2)]]);
    assert!(dom.contains("B is worse in latency p50"));
}

#[test]
fn a_run_of_nothing_has_a_page_too() {
    let html = run_page::page(&Default::default()).unwrap();
    assert_loads_nothing(&html);
    let Some(dom) = rendered(&html) else { return };
    assert_drawn(&dom, &[&[]]);
}

#[test]
fn a_page_of_several_servers_is_drawn() {
    let page = several();
    assert_loads_nothing(&page);
    let Some(dom) = rendered(&page) else { return };
    assert_drawn(&dom, &[&[(BARS, 6), ("class=\"errorbar\"", 8)]]);
}

/// What `compare` may put together.
pub fn several() -> String {
    let groups = ["many a connection", "one a connection", "pipelined"].map(str::to_owned);
    let series = |name: &str, values: [&[f64]; 3]| SpreadSeries {
        name: name.to_owned(),
        values: values.iter().map(|rounds| Spread::of(rounds)).collect(),
    };
    let series = [
        series(
            "gatepost",
            [&[0.64, 0.66, 0.69], &[0.45, 0.46], &[0.3, 0.31]],
        ),
        series("haproxy", [&[0.98, 1.0, 1.03], &[1.0], &[1.0, 1.01]]),
        series("postfix", [&[7.6, 8.0], &[1.6], &[]]),
    ];
    Page::new("Several servers, the same work")
        .fact("2 cores, 5 rounds of 10 s")
        .figure(Figure::new("CPU a message", "0.66 ×", "HAProxy is 1"))
        .section("CPU a message, as a ratio to HAProxy")
        .chart(spreads(Unit::Ratio, &groups, &series, Some(1.0)).caption("Less is better."))
        .render()
}

/// Writes the pages into a folder, to be looked at: `GATEPOST_PAGES=/tmp/pages`.
#[test]
fn pages_to_look_at() {
    let Some(folder) = std::env::var_os("GATEPOST_PAGES") else {
        return;
    };
    let folder = Path::new(&folder);
    fs::create_dir_all(folder).unwrap();
    let (one, other) = (sample::run(1.0), sample::run(1.5));
    fs::write(folder.join("run.html"), run_page::page(&one).unwrap()).unwrap();
    fs::write(folder.join("two.html"), versus::page(&one, &other).unwrap()).unwrap();
    fs::write(folder.join("several.html"), several()).unwrap();
}
