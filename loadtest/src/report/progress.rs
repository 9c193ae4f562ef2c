//! The live display of a run, on stderr: redrawn in place, silent where stderr is no terminal.

use super::units::{count, micros, rate};
use console::{Style, Term, truncate_str};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{collections::VecDeque, time::Duration};

/// The longest sparkline; older values leave it on the left.
const SPARK_MAX: usize = 60;

/// How a run is doing at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Since the run's start.
    pub elapsed: Duration,
    /// How long it is meant to take, where that is known.
    pub planned: Option<Duration>,
    /// Acknowledged messages a second, now.
    pub rate: f64,
    /// The rate that is aimed at; `None` in a closed loop.
    pub intended_rate: Option<f64>,
    /// Acknowledged since the start.
    pub acknowledged: u64,
    /// Refused, failed and uncertain since the start.
    pub errors: u64,
    /// Open sessions.
    pub sessions: u64,
    /// Latencies of late (the last interval), in microseconds.
    pub p50_us: u64,
    /// In microseconds, over the last interval.
    pub p99_us: u64,
    /// In microseconds, over the last interval.
    pub p999_us: u64,
}

/// The display. Gone from the terminal when dropped; what was said with [`Progress::say`] stays.
pub struct Progress {
    title: String,
    bar: ProgressBar,
    rates: VecDeque<f64>,
    p99s: VecDeque<f64>,
}

impl Progress {
    /// A display under a title, such as `steady to 127.0.0.1:2525`.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Progress {
        Progress::on(title, ProgressDrawTarget::stderr())
    }

    /// One that never shows anything.
    #[must_use]
    pub fn hidden() -> Progress {
        Progress::on("", ProgressDrawTarget::hidden())
    }

    fn on(title: impl Into<String>, target: ProgressDrawTarget) -> Progress {
        let bar = ProgressBar::with_draw_target(None, target);
        // A template without keys but its message can't be malformed; the plain one would do too.
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Progress {
            title: title.into(),
            bar,
            rates: VecDeque::new(),
            p99s: VecDeque::new(),
        }
    }

    /// Shows how it goes. Call it once or twice a second: each call is a step of the sparklines.
    pub fn show(&mut self, now: &Snapshot) {
        note(&mut self.rates, now.rate);
        note(&mut self.p99s, now.p99_us as f64);
        if self.bar.is_hidden() {
            return;
        }
        let (_, width) = Term::stderr().size();
        let text = self.lines(now, usize::from(width).max(20));
        self.bar.set_message(text.join("\n"));
        self.bar.tick();
    }

    /// Prints a line above the display; on stderr as it is, where there is none.
    pub fn say(&self, line: &str) {
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.suspend(|| eprintln!("{line}"));
        }
    }

    /// What is shown, each line at most `width` columns.
    fn lines(&self, now: &Snapshot, width: usize) -> Vec<String> {
        let (bold, dim) = (
            Style::new().bold().for_stderr(),
            Style::new().dim().for_stderr(),
        );
        let red = Style::new().red().bold().for_stderr();
        let planned = now
            .planned
            .map_or(String::new(), |planned| format!(" of {}", clock(planned)));
        let aim = now.intended_rate.map_or_else(
            || "as fast as it goes".to_owned(),
            |aim| format!("of {}", rate(aim)),
        );
        let errors = format!("{} errors", count(now.errors));
        let errors = if now.errors > 0 {
            red.apply_to(errors)
        } else {
            dim.apply_to(errors)
        };
        let [p50, p99, p999] =
            [now.p50_us, now.p99_us, now.p999_us].map(|value| micros(value as f64));
        let beside = 32; // What stands left of the sparklines.
        let room = width.saturating_sub(beside).min(SPARK_MAX);
        let lines = [
            format!(
                "{}   {}{}",
                bold.apply_to(&self.title),
                clock(now.elapsed),
                dim.apply_to(planned)
            ),
            format!(
                "  rate {:>10} {:<15}{}",
                rate(now.rate),
                aim,
                sparkline(&self.rates, room)
            ),
            format!("  p99  {p99:>10} {:<15}{}", "", sparkline(&self.p99s, room)),
            format!("  p50 {p50}   p99.9 {p999}"),
            format!(
                "  {} acknowledged   {errors}   {} sessions",
                count(now.acknowledged),
                count(now.sessions)
            ),
        ];
        lines
            .iter()
            .map(|line| truncate_str(line.trim_end(), width.saturating_sub(1), "…").into_owned())
            .collect()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn note(values: &mut VecDeque<f64>, value: f64) {
    if values.len() == SPARK_MAX {
        values.pop_front();
    }
    values.push_back(value);
}

/// The last values as eight heights of bars, from zero to the greatest of them.
#[must_use]
pub fn sparkline<'a>(
    values: impl IntoIterator<Item = &'a f64, IntoIter: ExactSizeIterator>,
    width: usize,
) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let values = values.into_iter();
    let skip = values.len().saturating_sub(width);
    let values: Vec<f64> = values.skip(skip).copied().collect();
    let greatest = values.iter().copied().fold(0.0, f64::max);
    let bar = |value: f64| {
        if greatest <= 0.0 {
            return BARS[0];
        }
        let height = (value.max(0.0) / greatest * (BARS.len() - 1) as f64).round();
        BARS[(height as usize).min(BARS.len() - 1)]
    };
    values.into_iter().map(bar).collect()
}

/// `0:07`, `12:34`, `1:02:03`.
fn clock(duration: Duration) -> String {
    let (s, m, h) = (
        duration.as_secs() % 60,
        duration.as_secs() / 60 % 60,
        duration.as_secs() / 3600,
    );
    if h > 0 {
        format!("{h}:{m:02}:{s:02}")
    } else {
        format!("{m}:{s:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use console::measure_text_width;

    fn busy() -> (Progress, Snapshot) {
        let mut progress = Progress::hidden();
        progress.title = "steady to 127.0.0.1:2525".to_owned();
        let mut now = Snapshot {
            planned: Some(Duration::from_secs(60)),
            intended_rate: Some(1000.0),
            ..Snapshot::default()
        };
        for second in 0..100 {
            now.elapsed = Duration::from_secs(second);
            now.rate = second as f64;
            now.acknowledged += second;
            now.p99_us = 100 * second;
            progress.show(&now);
        }
        (progress, now)
    }

    #[test]
    fn it_tells_how_it_goes() {
        let (progress, now) = busy();
        let text = console::strip_ansi_codes(&progress.lines(&now, 120).join("\n")).into_owned();
        for part in [
            "steady to 127.0.0.1:2525   1:39 of 1:00",
            "99.0/s of 1,000.0/s",
            "p99     9.90 ms",
            "4,950 acknowledged",
            "▄▅",
            "█",
        ] {
            assert!(text.contains(part), "{part} in:\n{text}");
        }
    }

    #[test]
    fn it_is_as_wide_as_the_terminal_and_no_wider() {
        let (progress, now) = busy();
        for width in [20, 40, 80, 200] {
            for line in progress.lines(&now, width) {
                assert!(measure_text_width(&line) < width, "{line}");
            }
        }
        assert_eq!(progress.rates.len(), SPARK_MAX, "and its memory is bounded");
    }

    #[test]
    fn a_sparkline_shows_the_last_values() {
        assert_eq!(sparkline(&[0.0, 1.0, 2.0, 7.0], 10), "▁▂▃█");
        assert_eq!(sparkline(&[7.0, 0.0, 3.0], 2), "▁█");
        assert_eq!(sparkline(&[0.0, 0.0], 9), "▁▁");
        assert_eq!(sparkline(&[], 9), "");
    }
}
