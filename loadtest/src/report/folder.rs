//! A run as files: written after a run, read again by `gatepost-load report`.

use super::{histogram::histogram, run_page, text};
use crate::{
    ledger::{Ledger, Tally},
    result::{RunResult, VERSION},
};
use hdrhistogram::{
    Histogram,
    serialization::{
        V2DeflateSerializer,
        interval_log::{IntervalLogWriterBuilder, Tag},
    },
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs, io,
    path::Path,
    time::{Duration, SystemTime},
};

/// The result, as JSON.
pub const RESULT: &str = "run.json";
/// The source's ledger, as JSON.
pub const LEDGER: &str = "ledger.json";
/// Latencies of each interval: an HdrHistogram log, tags by step.
pub const HISTOGRAMS: &str = "latency.hlog";
/// The summary that was printed.
pub const SUMMARY: &str = "summary.txt";
/// The page.
pub const PAGE: &str = "report.html";

/// Writes everything there is of a run into a folder, made when missing.
///
/// # Errors
/// Those of writing, with the path.
pub fn write_folder(result: &RunResult, ledger: &Ledger, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder).map_err(|error| named(folder, error))?;
    let put = |name: &str, octets: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, octets).map_err(|error| named(&path, error))
    };
    put(RESULT, &json(result)?)?;
    put(LEDGER, &json(ledger)?)?;
    put(HISTOGRAMS, &histogram_log(result)?)?;
    put(SUMMARY, text::plain(result).as_bytes())?;
    put(PAGE, run_page::page(result).map_err(wrong)?.as_bytes())
}

/// Reads a result: a `run.json`, or a folder that holds one.
///
/// # Errors
/// Where there is none, or one of another version, in words that say what to do.
pub fn read_result(path: &Path) -> io::Result<RunResult> {
    let file = if path.is_dir() {
        path.join(RESULT)
    } else {
        path.to_owned()
    };
    let octets = fs::read(&file).map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::NotFound if path.is_dir() => {
                "the folder holds no result; it should be one that `gatepost-load run --out` wrote"
                    .to_owned()
            }
            io::ErrorKind::NotFound => "there is no such file or folder".to_owned(),
            _ => error.to_string(),
        };
        named(&file, io::Error::new(error.kind(), advice))
    })?;
    // The version first: of a later form nothing else can be trusted.
    let value: serde_json::Value = parse(&file, &octets)?;
    match value.get("version").and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(VERSION) => {}
        Some(version) => {
            let advice = if version > u64::from(VERSION) {
                "use a newer gatepost-load, or run the work again"
            } else {
                "use the gatepost-load that wrote it, or run the work again"
            };
            let why = format!(
                "a result of version {version}; this gatepost-load reads version {VERSION}: {advice}"
            );
            return Err(named(&file, wrong(why)));
        }
        None => {
            let why = "not a result of `gatepost-load run`: it has no version";
            return Err(named(&file, wrong(why)));
        }
    }
    let result: RunResult =
        serde_json::from_value(value).map_err(|error| named(&file, wrong(error)))?;
    let intervals = result.intervals.iter().map(|interval| &interval.latency);
    for latency in intervals
        .chain(result.steps.values())
        .chain([&result.latency])
    {
        histogram(latency).map_err(|error| named(&file, wrong(error)))?;
    }
    Ok(result)
}

/// Reads the source's ledger: a `ledger.json`, or a folder that holds one.
///
/// # Errors
/// Where there is none, or it is something else.
pub fn read_ledger(path: &Path) -> io::Result<Ledger> {
    let file = if path.is_dir() {
        path.join(LEDGER)
    } else {
        path.to_owned()
    };
    let octets = fs::read(&file).map_err(|error| named(&file, error))?;
    parse(&file, &octets)
}

/// Reads the sink's tally, as `GET /tally?run=…` of a sink gives it.
///
/// # Errors
/// Where there is none, or it is something else.
pub fn read_tally(path: &Path) -> io::Result<Tally> {
    let octets = fs::read(path).map_err(|error| named(path, error))?;
    parse(path, &octets)
}

/// The latencies as an HdrHistogram log: a line an interval with the tag `message`, and one for each step over the
/// whole run with the tag `step/NAME`.
///
/// # Errors
/// Where a saved histogram can't be read.
pub fn histogram_log(result: &RunResult) -> io::Result<Vec<u8>> {
    let start: SystemTime = result
        .started
        .parse::<jiff::Timestamp>()
        .map_or(SystemTime::UNIX_EPOCH, SystemTime::from);
    let epoch = start
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let mut head = Vec::new();
    IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment(concat!(
            "[gatepost-load ",
            env!("CARGO_PKG_VERSION"),
            ", values in microseconds]"
        ))
        .with_start_time(start)
        .begin_log_with(&mut head, &mut V2DeflateSerializer::new())?;
    head.extend_from_slice(
        b"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
    );

    let (mut lines, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
    let mut writer = IntervalLogWriterBuilder::new().begin_log_with(&mut lines, &mut serializer)?;
    let mut line = |tag: &str, at_s: f64, length_s: f64, saved| -> io::Result<()> {
        let latencies: Histogram<u64> = histogram(saved).map_err(wrong)?;
        if latencies.is_empty() {
            return Ok(());
        }
        writer
            .write_histogram(
                &latencies,
                epoch + span(at_s),
                span(length_s),
                Tag::new(tag),
            )
            .map_err(|error| io::Error::other(error.to_string()))
    };
    for (name, latency) in &result.steps {
        let tag = format!("step/{name}").replace([',', ' ', '\r', '\n'], "_");
        line(&tag, 0.0, result.took_s, latency)?;
    }
    for interval in &result.intervals {
        line(
            "message",
            interval.at_s,
            interval.length_s,
            &interval.latency,
        )?;
    }
    head.append(&mut lines);
    Ok(head)
}

/// Seconds as a duration; what is none (negative, infinite) is nothing.
fn span(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn json<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut octets = serde_json::to_vec(value).map_err(io::Error::other)?;
    octets.push(b'\n');
    Ok(octets)
}

fn parse<T: DeserializeOwned>(path: &Path, octets: &[u8]) -> io::Result<T> {
    serde_json::from_slice(octets).map_err(|error| {
        let why = format!("not the JSON that is expected here: {error}");
        named(path, wrong(why))
    })
}

fn wrong(why: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
