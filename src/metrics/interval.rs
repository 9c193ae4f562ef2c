//! The HdrHistogram interval log: what each stage took in each interval, whole, to be looked at later with
//! any tool that reads the format (version 1.3, tags by stage and scope, values in microseconds).

use super::{
    scope::Scope,
    snapshot::{Distribution, View},
    stage::Stage,
};
use crate::files;
use hdrhistogram::serialization::{
    V2DeflateSerializer,
    interval_log::{IntervalLogWriterBuilder, Tag},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Of a file that is made, before the umask: it tells of no client.
const MODE: u32 = 0o666;

/// Appends intervals to a file. To rotate: move the file away, then [`IntervalLog::reopen`].
pub struct IntervalLog {
    path: PathBuf,
    file: File,
    last: SystemTime,
    previous: BTreeMap<(Stage, Scope), Distribution>,
}

impl IntervalLog {
    /// Opens the file for appending, made when missing. The first interval begins `now`.
    ///
    /// # Errors
    /// Those of opening and writing, with the path.
    pub fn open(path: &Path, now: SystemTime) -> io::Result<IntervalLog> {
        Ok(IntervalLog {
            path: path.to_owned(),
            file: begin(path, now)?,
            last: now,
            previous: BTreeMap::new(),
        })
    }

    /// Opens the file again by its name. On failure the old file stays in use.
    ///
    /// # Errors
    /// Those of opening and writing, with the path.
    pub fn reopen(&mut self, now: SystemTime) -> io::Result<()> {
        self.file = begin(&self.path, now)?;
        Ok(())
    }

    /// Appends what came since the last call: a line for each stage and scope that has any. Gives the
    /// number of lines. The lines of an interval go to the file in one write.
    ///
    /// # Errors
    /// Those of writing, with the path; the interval is lost then.
    pub fn write(&mut self, view: &View, now: SystemTime) -> io::Result<usize> {
        let begin = self
            .last
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let length = now.duration_since(self.last).unwrap_or_default();
        self.last = now;

        let (mut text, mut serializer, mut lines) = (Vec::new(), V2DeflateSerializer::new(), 0);
        let mut writer =
            IntervalLogWriterBuilder::new().begin_log_with(&mut text, &mut serializer)?;
        for (key, distribution) in &view.distributions {
            let recent = distribution.since(self.previous.get(key));
            if recent.is_empty() {
                continue;
            }
            let tag = tag(view, key.0, key.1);
            writer
                .write_histogram(&recent, begin, length, Tag::new(&tag))
                .map_err(|error| named(&self.path, io::Error::other(error.to_string())))?;
            lines += 1;
        }
        self.previous.clone_from(&view.distributions);
        self.file
            .write_all(&text)
            .map_err(|error| named(&self.path, error))?;
        Ok(lines)
    }
}

/// The tag of a stage in a scope: `commit/cluster/10.0.0.1:25`, `command_mail/mx`.
fn tag(view: &View, stage: Stage, scope: Scope) -> String {
    let (_, name) = view.scope(scope);
    let slash = if name.is_empty() { "" } else { "/" };
    format!("{}{slash}{name}", stage.name()).replace(
        |c: char| c == ',' || c.is_whitespace() || c.is_control(),
        "_",
    )
}

/// Opens the file and writes the head. A head in the middle of a file is as good as at its beginning:
/// timestamps are absolute.
fn begin(path: &Path, now: SystemTime) -> io::Result<File> {
    let open = || -> io::Result<File> {
        let mut head = Vec::new();
        IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .add_comment(concat!(
                "[Gatepost ",
                env!("CARGO_PKG_VERSION"),
                ", values in microseconds]"
            ))
            .with_start_time(now)
            .begin_log_with(&mut head, &mut V2DeflateSerializer::new())?;
        head.extend_from_slice(
            b"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
        );
        let mut file = files::append(path, MODE)?;
        file.write_all(&head)?;
        Ok(file)
    };
    open().map_err(|error| named(path, error))
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("histogram log {}: {error}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::metrics::{Recorder, Registry};
    use base64::{Engine, engine::general_purpose::STANDARD};
    use hdrhistogram::{
        Histogram,
        serialization::{
            Deserializer,
            interval_log::{IntervalLogIterator, LogEntry},
        },
    };
    use std::{fs, time::Duration};

    fn read(path: &Path) -> Vec<(String, f64, Histogram<u64>)> {
        let bytes = fs::read(path).unwrap();
        let mut found = Vec::new();
        for entry in IntervalLogIterator::new(&bytes) {
            if let LogEntry::Interval(line) = entry.unwrap() {
                let raw = STANDARD.decode(line.encoded_histogram()).unwrap();
                let histogram = Deserializer::new().deserialize(&mut &raw[..]).unwrap();
                let tag = line.tag().unwrap().as_str().to_owned();
                found.push((tag, line.duration().as_secs_f64(), histogram));
            }
        }
        found
    }

    fn view(recorder: &Recorder, registry: &Registry) -> View {
        registry.view([&recorder.snapshot()])
    }

    #[test]
    fn each_interval_holds_what_came_in_it_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stages.hlog");
        let recorder = Recorder::alone();
        let registry = recorder.registry().clone();
        let backend = registry.backend("the pool, of two words", "[::1]:25");
        let start = SystemTime::now();
        let mut log = IntervalLog::open(&path, start).unwrap();

        recorder.record(Stage::Commit, backend, 700);
        recorder.record(Stage::Banner, Scope::NONE, 5);
        let then = start + Duration::from_secs(10);
        assert_eq!(log.write(&view(&recorder, &registry), then).unwrap(), 2);
        recorder.record(Stage::Commit, backend, 900_000);
        recorder.record(Stage::Commit, backend, 900_000);
        let then = then + Duration::from_secs(5);
        assert_eq!(log.write(&view(&recorder, &registry), then).unwrap(), 1);
        assert_eq!(
            log.write(&view(&recorder, &registry), then).unwrap(),
            0,
            "nothing new"
        );

        let lines = read(&path);
        assert_eq!(lines[0].0, "banner");
        assert_eq!(lines[1].0, "commit/the_pool__of_two_words/[::1]:25");
        assert_eq!((lines[1].2.len(), lines[1].2.max()), (1, 700));
        assert!((lines[1].1 - 10.0).abs() < 0.01);
        assert_eq!(lines[2].2.len(), 2);
        assert!(
            lines[2].2.equivalent(lines[2].2.min(), 900_000),
            "not those of the first interval"
        );
    }

    #[test]
    fn a_file_moved_away_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("log"), folder.path().join("log.1"));
        let recorder = Recorder::alone();
        let registry = recorder.registry().clone();
        let now = SystemTime::now();
        let mut log = IntervalLog::open(&path, now).unwrap();
        recorder.record(Stage::Banner, Scope::NONE, 5);
        log.write(&view(&recorder, &registry), now).unwrap();
        fs::rename(&path, &old).unwrap();
        log.reopen(now).unwrap();
        recorder.record(Stage::Banner, Scope::NONE, 6);
        log.write(&view(&recorder, &registry), now).unwrap();
        assert_eq!((read(&old).len(), read(&path).len()), (1, 1));
        assert_eq!(read(&path)[0].2.max(), 6);
    }

    #[test]
    fn an_error_names_the_file() {
        let error = IntervalLog::open(Path::new("/nowhere/at/all"), SystemTime::now())
            .err()
            .unwrap();
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
