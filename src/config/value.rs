//! Values that TOML has no type for: durations (`30s`), sizes (`25MiB`), a number or a word.

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::{borrow::Cow, fmt, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

/// A duration, written `250ms`, `30s`, `5m`, `1h`, `7d`, or a sum of them: `1h30m`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub Duration);

/// Milliseconds of each unit, largest first.
const TIME_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

impl Time {
    /// So many seconds.
    #[must_use]
    pub const fn secs(secs: u64) -> Time {
        Time(Duration::from_secs(secs))
    }

    /// So many milliseconds.
    #[must_use]
    pub const fn millis(millis: u64) -> Time {
        Time(Duration::from_millis(millis))
    }

    /// Is it `0s`? Many keys take that for "off".
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Time, String> {
        let wrong = || {
            format!(
                "`{text}` is no duration; write one as \"250ms\", \"30s\", \"5m\", \"1h30m\" or \"7d\""
            )
        };
        let mut millis = 0u64;
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let (number, behind) = split_number(rest).ok_or_else(wrong)?;
            let end = behind
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(behind.len());
            let (unit, next) = behind.split_at(end);
            let (_, factor) = TIME_UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or_else(wrong)?;
            millis = number
                .checked_mul(*factor)
                .and_then(|part| millis.checked_add(part))
                .ok_or_else(wrong)?;
            rest = next.trim_start();
        }
        Ok(Time::millis(millis))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.pad("0s");
        }
        let mut text = String::new();
        for (unit, factor) in TIME_UNITS {
            if rest >= factor {
                text += &format!("{}{unit}", rest / factor);
                rest %= factor;
            }
        }
        f.pad(&text)
    }
}

/// A size in octets, written `512`, `64KiB`, `25MiB`, `1GiB` (or with `KB`, `MB`, `GB` for powers of 1000).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

/// Octets of each unit; the powers of 1024 first, from the largest, as `Display` wants them.
const SIZE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1000),
    ("B", 1),
];

impl Size {
    /// So many KiB.
    #[must_use]
    pub const fn kib(kib: u64) -> Size {
        Size(kib << 10)
    }

    /// So many MiB.
    #[must_use]
    pub const fn mib(mib: u64) -> Size {
        Size(mib << 20)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let wrong =
            || format!("`{text}` is no size; write one as 512, \"64KiB\", \"25MiB\" or \"1GiB\"");
        let (number, unit) = split_number(text.trim()).ok_or_else(wrong)?;
        let factor = match unit {
            "" => 1,
            unit => {
                SIZE_UNITS
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case(unit))
                    .ok_or_else(wrong)?
                    .1
            }
        };
        // The file's integers are i64: what can't be written back is no size.
        number
            .checked_mul(factor)
            .filter(|octets| *octets <= i64::MAX as u64)
            .map(Size)
            .ok_or_else(wrong)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIZE_UNITS
            .iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor))
        {
            Some((unit, factor)) if *factor > 1 => f.pad(&format!("{}{unit}", self.0 / factor)),
            _ => f.pad(&self.0.to_string()),
        }
    }
}

/// Splits `12ab` into 12 and `ab` (spaces between them are skipped).
fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

/// How many workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Workers {
    /// One for each core of the affinity mask.
    #[default]
    Auto,
    /// So many.
    Count(u32),
}

impl FromStr for Workers {
    type Err = String;

    fn from_str(text: &str) -> Result<Workers, String> {
        match text {
            "auto" => Ok(Workers::Auto),
            text => text
                .parse()
                .ok()
                .filter(|count| (1..=Workers::MAX).contains(count))
                .map(Workers::Count)
                .ok_or_else(|| {
                    format!(
                        "`{text}` is neither \"auto\" nor a number from 1 to {}",
                        Workers::MAX
                    )
                }),
        }
    }
}

impl Workers {
    /// The most that a file may ask for.
    pub const MAX: u32 = 1024;
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Workers::Auto => f.pad("auto"),
            Workers::Count(count) => fmt::Display::fmt(count, f),
        }
    }
}

/// An address to listen on, a socket in the file system (`unix:/path`), or `"off"`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AdminListen {
    /// Not at all.
    #[default]
    Off,
    /// A TCP address.
    At(SocketAddr),
    /// On a Unix socket with this path.
    Unix(PathBuf),
}

impl AdminListen {
    /// The network address, if it has one.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        match self {
            AdminListen::Off | AdminListen::Unix(_) => None,
            AdminListen::At(address) => Some(*address),
        }
    }
}

impl FromStr for AdminListen {
    type Err = String;

    fn from_str(text: &str) -> Result<AdminListen, String> {
        if text == "off" {
            return Ok(AdminListen::Off);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') {
                Ok(AdminListen::Unix(path.into()))
            } else {
                Err(format!(
                    "`{text}` needs a whole path, like unix:/run/gatepost/admin.sock"
                ))
            };
        }
        text.parse().map(AdminListen::At).map_err(|_| {
            format!(
                "`{text}` is neither `off` nor an address like 127.0.0.1:9025, [::1]:9025 or unix:/run/gatepost/admin.sock"
            )
        })
    }
}

impl fmt::Display for AdminListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminListen::Off => f.pad("off"),
            AdminListen::At(address) => fmt::Display::fmt(address, f),
            AdminListen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What a value looks like in TOML: text, or a plain integer for those that allow one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Raw {
    Number(u64),
    Text(String),
}

/// Serde and the JSON schema of a type by its `FromStr` and `Display`.
macro_rules! as_text {
    ($name:ident, $schema:expr, $number:expr) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let number: fn(&$name) -> Option<u64> = $number;
                match number(self) {
                    Some(number) => serializer.serialize_u64(number),
                    None => serializer.collect_str(self),
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                match Raw::deserialize(deserializer)? {
                    Raw::Number(number) => number.to_string().parse(),
                    Raw::Text(text) => text.parse(),
                }
                .map_err(D::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

as_text!(
    Time,
    json_schema!({ "type": "string", "format": "duration" }),
    |_| None
);
as_text!(
    Size,
    json_schema!({ "type": ["string", "integer"], "format": "size" }),
    |size| { (size.to_string() == size.0.to_string()).then_some(size.0) }
);
as_text!(
    Workers,
    json_schema!({ "type": ["string", "integer"], "format": "workers" }),
    |workers| match workers {
        Workers::Auto => None,
        Workers::Count(count) => Some(u64::from(*count)),
    }
);
as_text!(
    AdminListen,
    json_schema!({ "type": "string", "format": "listen" }),
    |_| None
);

/// A text that is checked by its `format`: the schema's name for a type from another crate.
macro_rules! format_of {
    ($(#[$meta:meta])* $name:ident, $format:literal) => {
        $(#[$meta])*
        pub struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format })
            }
        }
    };
}

format_of!(
    /// The schema of an `ip:port`.
    SocketText,
    "socket"
);
format_of!(
    /// The schema of a network, or of an address for the network of just that one.
    NetworkText,
    "network"
);

/// Reads networks, lone addresses among them.
///
/// # Errors
/// If a text is neither.
pub fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts
        .iter()
        .map(|text| super::entry::network(text).map_err(D::Error::custom))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("0s", 0),
            ("250ms", 250),
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(text.parse(), Ok(Time::millis(millis)));
            assert_eq!(Time::millis(millis).to_string(), text);
        }
        assert_eq!("1m 30s".parse(), Ok(Time::secs(90)));
        for text in [
            "",
            "30",
            "s",
            "1.5s",
            "-1s",
            "30 sec",
            "99999999999999999999d",
            "9999999999999999d",
        ] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, octets) in [
            ("0", 0),
            ("512", 512),
            ("64KiB", 65_536),
            ("25MiB", 25 << 20),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(text.parse(), Ok(Size(octets)));
            assert_eq!(Size(octets).to_string(), text);
        }
        assert_eq!("10 MB".parse(), Ok(Size(10_000_000)));
        assert_eq!("512b".parse(), Ok(Size(512)));
        for text in ["", "KiB", "1.5MiB", "-1", "1TiB", "99999999999GiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_or_words() {
        assert_eq!("auto".parse(), Ok(Workers::Auto));
        assert_eq!("4".parse(), Ok(Workers::Count(4)));
        assert!("0".parse::<Workers>().is_err());
        assert_eq!("off".parse(), Ok(AdminListen::Off));
        assert!("localhost:80".parse::<AdminListen>().is_err());
        assert!("unix:admin.sock".parse::<AdminListen>().is_err());
        let socket: AdminListen = "unix:/run/a.sock".parse().expect("a path");
        assert_eq!(socket, AdminListen::Unix("/run/a.sock".into()));
        assert_eq!(socket.to_string(), "unix:/run/a.sock");
    }
}
