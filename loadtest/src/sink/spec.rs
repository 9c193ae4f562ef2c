//! The small language of the behaviour: `rcpt=450:5%,body=451 4.3.2 Try later:1%`. Every value is text in flags and
//! in JSON, is checked when it is read, and is shown as it may be written.

use super::point::{Cut, Point};
use gatepost::{
    config::Time,
    smtp::{Extensions, Reply, Status},
};
use regex::bytes::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::{fmt, marker::PhantomData, str::FromStr, time::Duration};

/// Serialized as they are shown, read as they are parsed.
macro_rules! as_text {
    ($name:ty $(, $($generic:tt)*)?) => {
        impl$(<$($generic)*>)? Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de, $($($generic)*)?> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(D::Error::custom)
            }
        }
    };
}
pub(super) use as_text;

/// The items of a list, without the blanks around them.
pub(super) fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|one| !one.is_empty())
}

/// Both sides of the first `mark`, without blanks around it.
fn pair<'a>(item: &'a str, mark: char, form: &str) -> Result<(&'a str, &'a str), String> {
    item.split_once(mark)
        .map(|(left, right)| (left.trim(), right.trim()))
        .ok_or_else(|| format!("`{item}` is not of the form {form}"))
}

/// Writes a list.
pub(super) fn list<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    of: impl Iterator<Item = T>,
) -> fmt::Result {
    for (at, one) in of.enumerate() {
        let comma = if at > 0 { "," } else { "" };
        write!(f, "{comma}{one}")?;
    }
    Ok(())
}

/// How likely something is, from 0 (never) to 1 (always). Written `5%`, `0.1%` or `0.05`.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Odds(pub f64);

impl Odds {
    /// Every time.
    pub const ALWAYS: Odds = Odds(1.0);
}

impl FromStr for Odds {
    type Err = String;

    fn from_str(text: &str) -> Result<Odds, String> {
        let (digits, divisor) = match text.strip_suffix('%') {
            Some(digits) => (digits, 100.0),
            None => (text, 1.0),
        };
        digits
            .trim()
            .parse::<f64>()
            .ok()
            .map(|number| number / divisor)
            .filter(|odds| (0.0..=1.0).contains(odds))
            .map(Odds)
            .ok_or_else(|| format!("`{text}` is no odds; write them as 5%, 0.1% or 0.05"))
    }
}

impl fmt::Display for Odds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nobody means more digits than these; the rest is what a binary fraction adds to 0.3 %.
        let percent = (self.0 * 1e10).round() / 1e8;
        write!(f, "{percent}%")
    }
}

/// Waits before replies, by point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delays([Time; Point::COUNT]);

impl Delays {
    /// The wait at a point, where there is one.
    #[must_use]
    pub fn at(&self, point: Point) -> Option<Duration> {
        let Time(wait) = self.0[point as usize];
        (!wait.is_zero()).then_some(wait)
    }
}

impl FromStr for Delays {
    type Err = String;

    fn from_str(text: &str) -> Result<Delays, String> {
        let mut delays = Delays::default();
        for item in items(text) {
            let (point, wait) = pair(item, '=', "POINT=TIME, like body=50ms")?;
            delays.0[point.parse::<Point>()? as usize] = wait.parse()?;
        }
        Ok(delays)
    }
}

impl fmt::Display for Delays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = Point::ALL.iter().filter(|point| self.at(**point).is_some());
        list(
            f,
            set.map(|point| format!("{point}={}", self.0[*point as usize])),
        )
    }
}

as_text!(Delays);

/// Something with odds at places: of [`Point`] or of [`Cut`].
#[derive(Clone, Debug, PartialEq)]
pub struct OddsAt<P> {
    odds: Vec<(u8, Odds)>,
    of: PhantomData<P>,
}

impl<P> Default for OddsAt<P> {
    fn default() -> OddsAt<P> {
        OddsAt {
            odds: Vec::new(),
            of: PhantomData,
        }
    }
}

/// A place with a number and a word.
pub trait Place: FromStr<Err = String> + Copy + 'static {
    /// Its number.
    fn number(self) -> u8;
    /// The word of a number.
    fn word(number: u8) -> &'static str;
}

impl Place for Point {
    fn number(self) -> u8 {
        self as u8
    }
    fn word(number: u8) -> &'static str {
        Point::ALL[usize::from(number)].as_str()
    }
}

impl Place for Cut {
    fn number(self) -> u8 {
        self as u8
    }
    fn word(number: u8) -> &'static str {
        Cut::ALL[usize::from(number)].as_str()
    }
}

impl<P: Place> OddsAt<P> {
    /// The odds at a place; 0 where nothing was said of it.
    #[must_use]
    pub fn at(&self, place: P) -> Odds {
        let number = place.number();
        let found = self.odds.iter().find(|(at, _)| *at == number);
        found.map_or(Odds(0.0), |(_, odds)| *odds)
    }
}

impl<P: Place> FromStr for OddsAt<P> {
    type Err = String;

    fn from_str(text: &str) -> Result<OddsAt<P>, String> {
        let mut found = OddsAt::default();
        for item in items(text) {
            let (place, odds) = pair(item, ':', "PLACE:ODDS, like data:1%")?;
            let number = place.parse::<P>()?.number();
            found.odds.retain(|(at, _)| *at != number);
            found.odds.push((number, odds.parse()?));
        }
        Ok(found)
    }
}

impl<P: Place> fmt::Display for OddsAt<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self
            .odds
            .iter()
            .map(|(at, odds)| format!("{}:{odds}", P::word(*at)));
        list(f, words)
    }
}

as_text!(OddsAt<P>, P: Place);

/// A reply of refusal, where, and how likely.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// Where.
    pub at: Point,
    /// What is said; 421 also hangs up.
    pub reply: Reply,
    /// How likely.
    pub odds: Odds,
}

impl FromStr for Refusal {
    type Err = String;

    fn from_str(item: &str) -> Result<Refusal, String> {
        const FORM: &str = "POINT=REPLY:ODDS, like rcpt=450:5% or body=451 4.3.2 Try later:1%";
        let (at, rest) = pair(item, '=', FORM)?;
        let (said, odds) = match rest.rsplit_once(':') {
            Some((said, odds)) => (said.trim(), odds.trim().parse()?),
            None => (rest, Odds::ALWAYS),
        };
        let (code, text) = said.split_once(' ').unwrap_or((said, ""));
        let code: u16 = code
            .parse()
            .ok()
            .filter(|code| (400..600).contains(code))
            .ok_or_else(|| format!("`{code}` is no code of refusal (400 to 599) in `{item}`"))?;
        let text = text.trim();
        let (status, text) = match Status::parse(text.as_bytes()) {
            Some((status, taken)) => (status, &text[taken..]),
            None => (usual_status(code), text),
        };
        let text = match (text, code) {
            ("", 400..500) => "Not now",
            ("", _) => "No",
            (text, _) => text,
        };
        Ok(Refusal {
            at: at.parse()?,
            reply: Reply::owned(code, status, text.to_string()),
            odds,
        })
    }
}

/// What goes with a code where nothing was said (RFC 3463).
fn usual_status(code: u16) -> Status {
    match code {
        421 => Status(4, 3, 2),
        450 => Status(4, 2, 0),
        451 => Status(4, 3, 0),
        452 => Status(4, 3, 1),
        550 => Status(5, 1, 1),
        552 => Status(5, 3, 4),
        554 => Status(5, 7, 1),
        _ => Status((code / 100) as u8, 0, 0),
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}:{}", self.at, self.reply, self.odds)
    }
}

/// Replies of refusal, asked for in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Refusals(pub Vec<Refusal>);

impl FromStr for Refusals {
    type Err = String;

    fn from_str(text: &str) -> Result<Refusals, String> {
        items(text)
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map(Refusals)
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, self.0.iter())
    }
}

as_text!(Refusals);

/// Pauses of the whole sink: the last `length` of each `every`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stall {
    /// From the begin of one period to that of the next; zero: no pauses.
    pub every: Time,
    /// How long nothing is read and nothing said at the end of it.
    pub length: Time,
}

impl FromStr for Stall {
    type Err = String;

    fn from_str(text: &str) -> Result<Stall, String> {
        let mut stall = Stall::default();
        if matches!(text.trim(), "" | "off") {
            return Ok(stall);
        }
        for item in items(text) {
            match pair(item, '=', "every=10s,for=1s")? {
                ("every", time) => stall.every = time.parse()?,
                ("for", time) => stall.length = time.parse()?,
                (word, _) => return Err(format!("`{word}` is neither `every` nor `for`")),
            }
        }
        if stall.length.is_zero() || stall.length >= stall.every {
            return Err(
                "a stall needs both, as in every=10s,for=1s, and lasts less than its period".into(),
            );
        }
        Ok(stall)
    }
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.every.is_zero() {
            return f.pad("off");
        }
        write!(f, "every={},for={}", self.every, self.length)
    }
}

as_text!(Stall);

/// What EHLO announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(pub Extensions);

/// The words, in the order in which they are announced.
pub(super) const CAPABILITIES: [(&str, Extensions); 10] = [
    ("pipelining", Extensions::PIPELINING),
    ("8bitmime", Extensions::EIGHTBITMIME),
    ("chunking", Extensions::CHUNKING),
    ("size", Extensions::SIZE),
    ("smtputf8", Extensions::SMTPUTF8),
    ("enhancedstatuscodes", Extensions::ENHANCEDSTATUSCODES),
    ("starttls", Extensions::STARTTLS),
    ("auth", Extensions::AUTH),
    ("dsn", Extensions::DSN),
    ("binarymime", Extensions::BINARYMIME),
];

impl Default for Capabilities {
    fn default() -> Capabilities {
        let usual = CAPABILITIES.iter().take(8);
        Capabilities(usual.fold(Extensions::NONE, |all, (_, one)| all | *one))
    }
}

impl FromStr for Capabilities {
    type Err = String;

    fn from_str(text: &str) -> Result<Capabilities, String> {
        if text.trim() == "none" {
            return Ok(Capabilities(Extensions::NONE));
        }
        let mut set = Extensions::NONE;
        for item in items(text) {
            let (_, one) = CAPABILITIES
                .iter()
                .find(|(word, _)| word.eq_ignore_ascii_case(item))
                .ok_or_else(|| {
                    let words: Vec<_> = CAPABILITIES.iter().map(|(word, _)| *word).collect();
                    format!("`{item}` is no capability; there are {}", words.join(", "))
                })?;
            set = set | *one;
        }
        Ok(Capabilities(set))
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == Extensions::NONE {
            return f.pad("none");
        }
        let set = CAPABILITIES.iter().filter(|(_, one)| self.0.has(*one));
        list(f, set.map(|(word, _)| *word))
    }
}

as_text!(Capabilities);

/// A regular expression over addresses, or nothing.
#[derive(Clone, Debug, Default)]
pub struct Pattern(pub Option<Regex>);

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.to_string() == other.to_string()
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Pattern, String> {
        if text.is_empty() {
            return Ok(Pattern(None));
        }
        Regex::new(text)
            .map(|regex| Pattern(Some(regex)))
            .map_err(|error| error.to_string())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.as_ref().map_or("", Regex::as_str))
    }
}

as_text!(Pattern);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_value_is_shown_as_it_may_be_written() {
        fn same<T: FromStr<Err = String> + fmt::Display>(text: &str) {
            assert_eq!(
                text.parse::<T>()
                    .unwrap_or_else(|e| panic!("{e}"))
                    .to_string(),
                text
            );
        }
        same::<Odds>("0.1%");
        same::<Odds>("0.3%");
        same::<Odds>("100%");
        same::<Delays>("connect=5ms,body=1m");
        same::<OddsAt<Cut>>("body-middle:1%,before-reply:0.5%");
        same::<OddsAt<Point>>("mail:1%");
        same::<Refusals>("rcpt=450 4.2.1 Busy: later:5%,body=554 5.7.1 No:100%");
        same::<Stall>("every=10s,for=1s");
        same::<Stall>("off");
        same::<Capabilities>("pipelining,dsn");
        same::<Capabilities>("none");
        same::<Pattern>("^(nobody|noone)@");
    }

    #[test]
    fn what_is_wrong_is_said() {
        fn wrong<T: FromStr<Err = String> + fmt::Debug>(text: &str, word: &str) {
            let error = text.parse::<T>().unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        wrong::<Odds>("5", "5%");
        wrong::<Odds>("101%", "101%");
        wrong::<Delays>("body", "POINT=TIME");
        wrong::<Delays>("end=1s", "there are connect");
        wrong::<Delays>("body=1", "duration");
        wrong::<OddsAt<Cut>>("body:1%", "before-reply");
        wrong::<Refusals>("rcpt=250:1%", "400 to 599");
        wrong::<Stall>("every=1s,for=2s", "less");
        wrong::<Stall>("each=1s", "each");
        wrong::<Capabilities>("tls", "pipelining");
        wrong::<Pattern>("(", "(");
    }
}
