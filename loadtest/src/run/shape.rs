//! Rates over time, and when each message is meant to begin. Pure: seconds and numbers, no clock.
//!
//! A shape is the rate at each moment. Its integral says how many messages are due by then, and the inverse of the
//! integral when the n-th one is: exactly, however coarse the timer that wakes us. For arrivals as independent senders
//! make them (Poisson), the steps from one message to the next in that integral are drawn instead of being 1.

use super::value::{Text, as_text};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, marker::PhantomData, str::FromStr, time::Duration};

/// A time with one rate, or with a rate that grows or falls evenly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segment {
    /// Seconds.
    pub length_s: f64,
    /// Messages a second at its start.
    pub from: f64,
    /// At its end.
    pub to: f64,
}

impl Segment {
    fn rate(&self, at_s: f64) -> f64 {
        self.from + (self.to - self.from) * at_s / self.length_s
    }

    /// Messages due by `at_s`.
    fn due(&self, at_s: f64) -> f64 {
        (self.from + self.rate(at_s)) / 2.0 * at_s
    }

    /// When so many are due: the inverse of [`Segment::due`].
    fn when(&self, due: f64) -> f64 {
        if due <= 0.0 {
            return 0.0;
        }
        let slope = (self.to - self.from) / self.length_s;
        // from·t + slope/2·t² = due, in the form that stays exact where the slope is nearly none.
        let root = (self.from * self.from + 2.0 * slope * due).max(0.0).sqrt();
        let sum = self.from + root;
        if sum > 0.0 {
            2.0 * due / sum
        } else {
            self.length_s
        }
    }
}

/// Rates over time. Behind the last segment comes the first again, or the last rate stays.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    segments: Vec<Segment>,
    repeats: bool,
    length_s: f64,
    due: f64,
}

impl Shape {
    fn new(segments: Vec<Segment>, repeats: bool) -> Shape {
        Shape {
            length_s: segments.iter().map(|s| s.length_s).sum(),
            due: segments.iter().map(|s| s.due(s.length_s)).sum(),
            segments,
            repeats,
        }
    }

    /// The same rate for ever.
    #[must_use]
    pub fn constant(rate: f64) -> Shape {
        let segment = Segment {
            length_s: 1.0,
            from: rate,
            to: rate,
        };
        Shape::new(vec![segment], true)
    }

    /// How long it is, where it ends by itself.
    #[must_use]
    pub fn length(&self) -> Option<Duration> {
        (!self.repeats).then(|| Duration::from_secs_f64(self.length_s))
    }

    /// Messages a second at this moment.
    #[must_use]
    pub fn rate(&self, at_s: f64) -> f64 {
        let mut at_s = if self.repeats {
            at_s % self.length_s
        } else {
            at_s
        };
        for segment in &self.segments {
            if at_s < segment.length_s {
                return segment.rate(at_s);
            }
            at_s -= segment.length_s;
        }
        self.segments.last().map_or(0.0, |last| last.to)
    }

    /// When so many messages are due, in seconds; infinity where that never comes.
    #[must_use]
    pub fn when(&self, due: f64) -> f64 {
        let (mut left, mut base_s) = (due, 0.0);
        if self.repeats {
            if self.due <= 0.0 {
                return f64::INFINITY;
            }
            let rounds = (due / self.due).floor();
            left = (due - rounds * self.due).max(0.0);
            base_s = rounds * self.length_s;
        }
        for segment in &self.segments {
            let here = segment.due(segment.length_s);
            // At the very end of a segment the next one begins, unless it is a pause.
            if left < here {
                return base_s + segment.when(left);
            }
            left -= here;
            base_s += segment.length_s;
        }
        match self.segments.last() {
            Some(last) if last.to > 0.0 => base_s + left / last.to,
            _ => f64::INFINITY,
        }
    }
}

/// A rate that grows evenly: `1000..20000:60s`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ramp {
    /// Messages a second at the start.
    pub from: f64,
    /// At the end.
    pub to: f64,
    /// Seconds.
    pub length_s: f64,
}

/// Rates that are held, one after the other: `1000,2000,5000:10s` or `1000..20000+1000:5s`.
#[derive(Clone, Debug, PartialEq)]
pub struct Steps {
    /// Messages a second.
    pub rates: Vec<f64>,
    /// Seconds of each.
    pub length_s: f64,
}

/// A burst that comes again and again: `5000:1s/10s` is 5000 a second for 1 s in each 10 s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burst {
    /// Messages a second.
    pub rate: f64,
    /// Seconds it lasts.
    pub length_s: f64,
    /// Seconds from one to the next.
    pub every_s: f64,
}

/// The most steps that are taken from a text.
const STEPS_MAX: usize = 10_000;

impl Ramp {
    /// The shape.
    #[must_use]
    pub fn shape(&self) -> Shape {
        let Ramp { from, to, length_s } = *self;
        Shape::new(vec![Segment { length_s, from, to }], false)
    }
}

impl Steps {
    /// The shape.
    #[must_use]
    pub fn shape(&self) -> Shape {
        let length_s = self.length_s;
        let step = |&rate: &f64| Segment {
            length_s,
            from: rate,
            to: rate,
        };
        Shape::new(self.rates.iter().map(step).collect(), false)
    }
}

impl Burst {
    /// The shape, with what comes between the bursts.
    #[must_use]
    pub fn shape(&self, between: f64) -> Shape {
        let hold = |length_s, rate| Segment {
            length_s,
            from: rate,
            to: rate,
        };
        let calm_s = self.every_s - self.length_s;
        let segments = vec![hold(calm_s, between), hold(self.length_s, self.rate)];
        Shape::new(segments, true)
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(rate) if (0.0..=1e7).contains(&rate) => Ok(rate),
        _ => Err(format!("`{text}` is no rate (messages a second)")),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let time: gatepost::config::Time = text.trim().parse()?;
    if time.is_zero() {
        return Err("a duration must be longer than 0s".into());
    }
    Ok(time.0.as_secs_f64())
}

fn time(seconds: f64) -> gatepost::config::Time {
    gatepost::config::Time::millis((seconds * 1000.0).round() as u64)
}

impl FromStr for Ramp {
    type Err = String;

    fn from_str(text: &str) -> Result<Ramp, String> {
        let wrong = || format!("`{text}` is no ramp; write one as 1000..20000:60s");
        let (rates, length) = text.split_once(':').ok_or_else(wrong)?;
        let (from, to) = rates.split_once("..").ok_or_else(wrong)?;
        Ok(Ramp {
            from: rate(from)?,
            to: rate(to)?,
            length_s: seconds(length)?,
        })
    }
}

impl fmt::Display for Ramp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}:{}", self.from, self.to, time(self.length_s))
    }
}

impl FromStr for Steps {
    type Err = String;

    fn from_str(text: &str) -> Result<Steps, String> {
        let wrong =
            || format!("`{text}` are no steps; write 1000,2000,5000:10s or 1000..20000+1000:5s");
        let (list, length) = text.split_once(':').ok_or_else(wrong)?;
        let rates = if let Some((from, rest)) = list.split_once("..") {
            let (to, by) = rest.split_once('+').ok_or_else(wrong)?;
            let (from, to, by) = (rate(from)?, rate(to)?, rate(by)?);
            if by <= 0.0 || to < from || (to - from) / by > STEPS_MAX as f64 {
                return Err(wrong());
            }
            let count = ((to - from) / by + 1e-9) as usize;
            (0..=count).map(|n| from + by * n as f64).collect()
        } else {
            list.split(',').map(rate).collect::<Result<Vec<_>, _>>()?
        };
        Ok(Steps {
            rates,
            length_s: seconds(length)?,
        })
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rates: Vec<String> = self.rates.iter().map(f64::to_string).collect();
        write!(f, "{}:{}", rates.join(","), time(self.length_s))
    }
}

impl FromStr for Burst {
    type Err = String;

    fn from_str(text: &str) -> Result<Burst, String> {
        let wrong = || format!("`{text}` is no burst; write one as 5000:1s/10s");
        let (high, times) = text.split_once(':').ok_or_else(wrong)?;
        let (length, every) = times.split_once('/').ok_or_else(wrong)?;
        let burst = Burst {
            rate: rate(high)?,
            length_s: seconds(length)?,
            every_s: seconds(every)?,
        };
        if burst.length_s >= burst.every_s {
            return Err(format!("`{text}`: the burst is as long as its period"));
        }
        Ok(burst)
    }
}

impl fmt::Display for Burst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (length, every) = (time(self.length_s), time(self.every_s));
        write!(f, "{}:{length}/{every}", self.rate)
    }
}

as_text!(Ramp, Steps, Burst);
