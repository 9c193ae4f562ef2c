//! Values of flags and scenario files: shares, sizes of messages, shapes of load. Each is text that is read and written
//! back alike, so that a plan printed by `--dry-run` is a scenario.

use crate::tls::Mode;
use gatepost::{config::Size, proxy_protocol::Version};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};
use std::{fmt, marker::PhantomData, str::FromStr};

/// A share, written `5%`, `0.5%` or `0.005`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share(pub f64);

impl Share {
    /// Nothing.
    pub const NONE: Share = Share(0.0);
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Share, String> {
        let (number, scale) = match text.trim().strip_suffix('%') {
            Some(number) => (number, 100.0),
            None => (text.trim(), 1.0),
        };
        match number.trim().parse::<f64>() {
            Ok(share) if (0.0..=scale).contains(&share) => Ok(Share(share / scale)),
            _ => Err(format!("`{text}` is no share; write one as \"5%\" or 0.05")),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded: 0.07 × 100 is not quite 7.
        write!(f, "{}%", (self.0 * 1e8).round() / 1e6)
    }
}

/// How large messages are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sizes {
    /// All alike.
    Fixed(Size),
    /// Any size between the two alike.
    Uniform(Size, Size),
    /// As sizes of mail are spread: many small ones, few huge ones.
    LogNormal {
        /// Half of them are smaller.
        median: Size,
        /// Of the logarithm: how wide they spread.
        sigma: f64,
    },
}

/// The largest message.
pub const SIZE_MAX: Size = Size::mib(1024);

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Sizes, String> {
        let size = |text: &str| {
            let size = text.parse::<Size>()?;
            if size > SIZE_MAX {
                return Err(format!("`{text}` is more than {SIZE_MAX}"));
            }
            Ok(size)
        };
        let Some((kind, rest)) = text.split_once(':') else {
            return size(text).map(Sizes::Fixed);
        };
        match kind.trim() {
            "uniform" => {
                let (low, high) = rest.split_once("..").ok_or("write `uniform:1KiB..64KiB`")?;
                let (low, high) = (size(low)?, size(high)?);
                if low > high {
                    return Err(format!("{low} is more than {high}"));
                }
                Ok(Sizes::Uniform(low, high))
            }
            "lognormal" => {
                let (mut median, mut sigma) = (None, 1.0);
                for part in rest.split(',') {
                    match part.split_once('=') {
                        Some(("median", value)) => median = Some(size(value)?),
                        Some(("sigma", value)) => {
                            sigma = value
                                .parse::<f64>()
                                .ok()
                                .filter(|sigma| (0.0..=4.0).contains(sigma))
                                .ok_or(format!("`{value}` is no number from 0 to 4"))?;
                        }
                        _ => return Err("write `lognormal:median=8KiB,sigma=1.2`".into()),
                    }
                }
                let median = median.ok_or("`lognormal` needs `median=`")?;
                Ok(Sizes::LogNormal { median, sigma })
            }
            _ => Err(format!(
                "`{text}` is no size; write `4KiB`, `uniform:1KiB..64KiB` or `lognormal:median=8KiB,sigma=1.2`"
            )),
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sizes::Fixed(size) => write!(f, "{size}"),
            Sizes::Uniform(low, high) => write!(f, "uniform:{low}..{high}"),
            Sizes::LogNormal { median, sigma } => {
                write!(f, "lognormal:median={median},sigma={sigma}")
            }
        }
    }
}

/// A number, or as many as it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Many {
    /// No limit.
    All,
    /// So many.
    Count(u32),
}

impl FromStr for Many {
    type Err = String;

    fn from_str(text: &str) -> Result<Many, String> {
        match text {
            "all" | "0" => Ok(Many::All),
            text => match text.parse() {
                Ok(count) => Ok(Many::Count(count)),
                Err(_) => Err(format!("`{text}` is neither a number nor \"all\"")),
            },
        }
    }
}

impl fmt::Display for Many {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Many::All => f.write_str("all"),
            Many::Count(count) => write!(f, "{count}"),
        }
    }
}

macro_rules! choice {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant),+ }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<$name, String> {
                match text {
                    $($word => Ok($name::$variant),)+
                    _ => Err(format!("`{text}` is none of {}", [$($word),+].join(", "))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($name::$variant => $word),+ })
            }
        }
    };
}

choice! {
    /// Whether an extension is used.
    Extension {
        /// Where the server offers it.
        Auto = "auto",
        /// Never.
        Off = "off",
    }
}

choice! {
    /// How messages follow each other in an open loop.
    Spacing {
        /// At equal distances.
        Even = "even",
        /// As independent senders come: now close together, now far apart.
        Poisson = "poisson",
    }
}

choice! {
    /// A mechanism of AUTH.
    Mechanism {
        /// All in one response (RFC 4616).
        Plain = "plain",
        /// The name, then the password.
        Login = "login",
    }
}

choice! {
    /// A PROXY header.
    ProxyVersion {
        /// A line of text.
        V1 = "v1",
        /// Binary.
        V2 = "v2",
    }
}

impl From<ProxyVersion> for Version {
    fn from(version: ProxyVersion) -> Version {
        match version {
            ProxyVersion::V1 => Version::V1,
            ProxyVersion::V2 => Version::V2,
        }
    }
}

/// Serialises and deserialises through `Display` and `FromStr`; a bare number in a file is text too.
macro_rules! as_text {
    ($($name:ty),+ $(,)?) => { $(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'a> Deserialize<'a> for $name {
            fn deserialize<D: Deserializer<'a>>(from: D) -> Result<$name, D::Error> {
                from.deserialize_any(Text(PhantomData))
            }
        }
    )+ };
}
pub(super) use as_text;

as_text!(
    Share,
    Sizes,
    Many,
    Extension,
    Spacing,
    ProxyVersion,
    Mechanism,
    Mode
);

/// Reads text, or a number as if it were text.
pub(super) struct Text<T>(pub(super) PhantomData<T>);

impl<T: FromStr<Err = String>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or a number")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn comes_back<T: FromStr<Err = String> + fmt::Display + PartialEq + fmt::Debug>(text: &str) {
        let value: T = text.parse().unwrap();
        assert_eq!(value.to_string(), text);
        assert_eq!(value.to_string().parse::<T>().unwrap(), value);
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["5%", "0%", "100%", "0.1%", "7%"] {
            comes_back::<Share>(text);
        }
        assert_eq!("0.05".parse::<Share>().unwrap(), Share(0.05));
        for text in [
            "4KiB",
            "uniform:1KiB..64KiB",
            "lognormal:median=8KiB,sigma=1.2",
        ] {
            comes_back::<Sizes>(text);
        }
        comes_back::<Many>("all");
        comes_back::<Many>("7");
        comes_back::<Spacing>("poisson");
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for text in ["101%", "-1", "x", "2"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
        for text in [
            "uniform:2KiB..1KiB",
            "uniform:1KiB",
            "lognormal:sigma=1",
            "lognormal:median=8KiB,sigma=9",
            "normal:1",
            "2000GiB",
        ] {
            assert!(text.parse::<Sizes>().is_err(), "{text}");
        }
        let error = "sometimes".parse::<Spacing>().unwrap_err();
        assert!(error.contains("even, poisson"), "{error}");
    }
}
