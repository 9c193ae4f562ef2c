//! The messages that are sent: rendered before the run starts, with their checksums, so that of each message only the
//! stamp line is made when its turn comes.
//!
//! Sizes that are spread are drawn once, for a library of messages that is then gone through in turns. What stands in
//! them is plain text as in mail: a header, lines below 78 octets, some of them with a dot at their start.

use super::{
    mailbox,
    plan::Plan,
    text,
    value::{SIZE_MAX, Sizes},
};
use crate::stamp::{LINE_MAX, RunId, Stamp, sum};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use rand_distr::{Distribution, LogNormal};
use std::io;

/// Octets of all messages of a library together, unless one alone is larger.
const LIBRARY_MAX: u64 = 64 << 20;
/// Messages of a library.
const MESSAGES_MAX: usize = 512;

/// A message without its stamp line.
#[derive(Debug)]
pub struct Template {
    /// What follows the stamp line: header and body, all lines ending in CRLF.
    pub rest: Box<[u8]>,
    /// The stamp line of its first message, ahead of the number and after it.
    stamp: (Box<[u8]>, Box<[u8]>),
    /// Whether there are octets above 127.
    pub eight_bit: bool,
}

impl Template {
    /// A message of a run; its lines must end in CRLF.
    #[must_use]
    pub fn new(run: RunId, rest: Vec<u8>) -> Template {
        let stamp = Stamp {
            run,
            number: NUMBER,
            sum: sum(&rest),
            octets: rest.len() as u64,
        };
        let mut line = Vec::new();
        stamp.write(&mut line);
        // The word after the version and the run.
        let blanks = line.iter().enumerate().filter(|(_, c)| **c == b' ');
        let from = blanks
            .map(|(at, _)| at + 1)
            .nth(2)
            .expect("a stamp has five words");
        let to = from + itoa::Buffer::new().format(NUMBER).len();
        Template {
            stamp: (line[..from].into(), line[to..].into()),
            eight_bit: !rest.is_ascii(),
            rest: rest.into(),
        }
    }

    /// Writes the stamp line of the message with this number in place of what `out` held.
    pub fn stamp(&self, number: u32, out: &mut Vec<u8>) {
        let (ahead, behind) = &self.stamp;
        out.clear();
        out.reserve(LINE_MAX);
        out.extend_from_slice(ahead);
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        out.extend_from_slice(behind);
    }
}

/// Stands in a template's stamp where a message has its number.
const NUMBER: u32 = 0;

/// All messages of a run.
#[derive(Debug)]
pub struct Library {
    ham: Vec<Template>,
    spam: Vec<Template>,
}

impl Library {
    /// Renders the messages of a plan, or reads them where they are to come from files.
    ///
    /// # Errors
    /// The files can't be read, or hold no message.
    pub fn new(plan: &Plan, run: RunId) -> io::Result<Library> {
        let mut rng = SmallRng::seed_from_u64(plan.seed);
        let ham = match &plan.from {
            Some(path) => mailbox::read(path)?,
            None => render(&plan.sizes, None, &mut rng),
        };
        let spam = if plan.trouble.spam > 0.0 {
            render(&plan.sizes, Some(&plan.spam_phrase), &mut rng)
        } else {
            Vec::new()
        };
        let shelf = |texts: Vec<Vec<u8>>| {
            let made = texts.into_iter().map(|text| Template::new(run, text));
            made.collect()
        };
        Ok(Library {
            ham: shelf(ham),
            spam: shelf(spam),
        })
    }

    /// One of the messages.
    pub fn pick(&self, rng: &mut SmallRng, spam: bool) -> &Template {
        let shelf = if spam && !self.spam.is_empty() {
            &self.spam
        } else {
            &self.ham
        };
        match shelf.len() {
            1 => &shelf[0],
            count => &shelf[rng.random_range(0..count)],
        }
    }
}

fn render(sizes: &Sizes, spam: Option<&str>, rng: &mut SmallRng) -> Vec<Vec<u8>> {
    let mut made = Vec::new();
    let mut octets = 0;
    // Of messages that are all alike a few are enough: their texts differ.
    let count = match sizes {
        Sizes::Fixed(_) => 8,
        Sizes::Uniform(..) | Sizes::LogNormal { .. } => MESSAGES_MAX,
    };
    while made.len() < count && (made.is_empty() || octets < LIBRARY_MAX) {
        let rest = text::message(draw(sizes, rng), made.len(), spam, rng);
        octets += rest.len() as u64;
        made.push(rest);
    }
    made
}

fn draw(sizes: &Sizes, rng: &mut SmallRng) -> usize {
    let size = match *sizes {
        Sizes::Fixed(size) => size.0,
        Sizes::Uniform(low, high) => rng.random_range(low.0..=high.0),
        Sizes::LogNormal { median, sigma } => {
            let spread = LogNormal::new((median.0.max(1) as f64).ln(), sigma)
                .expect("sigma was read as a number from 0 to 4");
            spread.sample(rng) as u64
        }
    };
    size.min(SIZE_MAX.0) as usize
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn library(text: &str) -> Library {
        let plan = Plan::new(toml::from_str(text).unwrap()).unwrap();
        Library::new(&plan, RunId(7)).unwrap()
    }

    #[test]
    fn messages_have_their_size_and_their_sum() {
        let library = library("size = '4KiB'");
        for template in &library.ham {
            assert_eq!(template.rest.len(), 4096);
            for number in [0, 9, u32::MAX] {
                let mut line = Vec::new();
                template.stamp(number, &mut line);
                let stamp = Stamp {
                    run: RunId(7),
                    number,
                    sum: sum(&template.rest),
                    octets: 4096,
                };
                assert_eq!(Stamp::read(&line).unwrap(), stamp);
            }
        }
        assert!(library.spam.is_empty());
    }

    #[test]
    fn sizes_are_spread_as_asked() {
        let sizes = |text: &str| {
            let mut sizes: Vec<usize> = library(text).ham.iter().map(|t| t.rest.len()).collect();
            sizes.sort_unstable();
            sizes
        };
        let uniform = sizes("size = 'uniform:2KiB..4KiB'");
        assert!(uniform[0] >= 2048 && uniform[511] <= 4096);
        assert!(uniform[255].abs_diff(3072) < 300, "{}", uniform[255]);
        let log = sizes("size = 'lognormal:median=8KiB,sigma=1.2'");
        assert!(
            (6000..11_000).contains(&log[log.len() / 2]),
            "{}",
            log[log.len() / 2]
        );
        assert!(log[log.len() - 1] > 60_000 && log[0] < 1500);
        // A library of large ones is short.
        assert_eq!(library("size = '40MiB'").ham.len(), 2);
    }

    #[test]
    fn spam_has_its_phrase() {
        let library = library("spam = '10%'\nspam_phrase = 'cheap watches'");
        let has = |t: &Template| String::from_utf8_lossy(&t.rest).contains("\r\ncheap watches\r\n");
        assert!(library.spam.iter().all(has));
        assert!(!library.ham.iter().any(has));
    }
}
