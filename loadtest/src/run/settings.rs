//! What a run can be told: one list for flags and scenario files, so that each key is a flag of the same name and any
//! flag overrides its key. What is not set has its default in [`super::plan`].

use super::{
    shape::{Burst, Ramp, Steps},
    value::{Extension, Many, Mechanism, ProxyVersion, Share, Sizes, Spacing},
};
use crate::tls::Mode;
use gatepost::config::{Io, Size, Time};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Keys and flags.
#[derive(Clone, Debug, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What the run is called in reports.
    #[arg(long, value_name = "TEXT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where the mail goes: one address or several, in turns [default: 127.0.0.1:2525].
    #[arg(value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,

    /// Messages a second; each has its moment, and latency counts from it [default: 1000].
    #[arg(long, value_name = "RATE", help_heading = LOAD)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// A rate that grows evenly, as in 1000..20000:60s.
    #[arg(long, value_name = "FROM..TO:TIME", help_heading = LOAD)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Ramp>,
    /// Rates that are held one after the other: 1000,2000,5000:10s or 1000..20000+1000:5s.
    #[arg(long, value_name = "RATES:TIME", help_heading = LOAD)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Steps>,
    /// Bursts on top of --rate: 5000:1s/10s is 5000 a second for 1 s in each 10 s.
    #[arg(long, value_name = "RATE:TIME/EVERY", help_heading = LOAD)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<Burst>,
    /// How messages follow each other: even, or poisson as from independent senders [default: even].
    #[arg(long, value_name = "HOW", help_heading = LOAD)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrivals: Option<Spacing>,
    /// Closed loop: no rate, each session sends its next message when it has the reply to the last one.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL",
        help_heading = LOAD)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<bool>,
    /// Sessions of a closed loop [default: 32].
    #[arg(long, value_name = "N", help_heading = LOAD)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u32>,
    /// The most sessions of an open loop; a message that finds none free waits, and the wait counts [default: 1000].
    #[arg(long, value_name = "N", help_heading = LOAD)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions_max: Option<u32>,
    /// End after this many messages.
    #[arg(long, short = 'n', value_name = "N", help_heading = LOAD)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<u32>,
    /// End after this time [default: 30s, or the length of --ramp or --steps; none with --messages].
    #[arg(long, short = 'd', value_name = "TIME", help_heading = LOAD)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Time>,
    /// Find the knee: end once p99 of the latency is above this, and print the last rate that held.
    #[arg(long, value_name = "TIME", help_heading = LOAD)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knee_p99: Option<Time>,
    /// Find the knee: end once this share of messages is not acknowledged.
    #[arg(long, value_name = "SHARE", help_heading = LOAD)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knee_errors: Option<Share>,

    /// Messages of a session before QUIT; `all` keeps it for ever [default: all].
    #[arg(long, value_name = "N|all", help_heading = SESSION)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_per_session: Option<Many>,
    /// Speak LMTP.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL",
        help_heading = SESSION)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lmtp: Option<bool>,
    /// The name in EHLO [default: load.example].
    #[arg(long, value_name = "NAME", help_heading = SESSION)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hello: Option<String>,
    /// Send commands ahead where the server offers it: auto or off [default: auto].
    #[arg(long, value_name = "auto|off", help_heading = SESSION)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipelining: Option<Extension>,
    /// Send bodies by BDAT where the server offers it: auto or off [default: auto].
    #[arg(long, value_name = "auto|off", help_heading = SESSION)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunking: Option<Extension>,
    /// Connect from the addresses of this network in turns, such as 127.1.0.0/16.
    #[arg(long, value_name = "NETWORK", help_heading = SESSION)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<IpNet>,
    /// Send a PROXY header first: v1 or v2.
    #[arg(long, value_name = "v1|v2", help_heading = SESSION)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_header: Option<ProxyVersion>,
    /// The clients that the PROXY headers tell of [default: 198.18.0.0/15].
    #[arg(long, value_name = "NETWORK", help_heading = SESSION)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_from: Option<IpNet>,
    /// How long each connect, reply or write may take [default: 60s].
    #[arg(long, value_name = "TIME", help_heading = SESSION)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Time>,

    /// When TLS begins: none, starttls (and nothing is sent where that is not offered) or implicit [default: none].
    #[arg(long, value_name = "MODE", help_heading = SECURITY)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Mode>,
    /// Hold the server's certificate against this machine's trust anchors and the server's name.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL",
        help_heading = SECURITY)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_verify: Option<bool>,
    /// Hold it against the certificates of this PEM file instead.
    #[arg(long, value_name = "FILE", help_heading = SECURITY)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<PathBuf>,
    /// The name to ask for (SNI), and to find in the certificate [default: the target's host].
    #[arg(long, value_name = "NAME", help_heading = SECURITY)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_name: Option<String>,
    /// The share of connections that resume a session where they have a ticket; the others shake hands in full
    /// [default: 0%].
    #[arg(long, value_name = "SHARE", help_heading = SECURITY)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_resume: Option<Share>,
    /// Authenticate after EHLO: plain or login.
    #[arg(long, value_name = "MECHANISM", help_heading = SECURITY)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Mechanism>,
    /// As whom.
    #[arg(long, value_name = "NAME", help_heading = SECURITY)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// With which password. No report shows it.
    #[arg(long, value_name = "TEXT", help_heading = SECURITY)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// The share of connections that authenticate [default: 100%].
    #[arg(long, value_name = "SHARE", help_heading = SECURITY)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_share: Option<Share>,

    /// Octets of a message: 4KiB, uniform:1KiB..64KiB or lognormal:median=8KiB,sigma=1.2 [default: 4KiB].
    #[arg(long, value_name = "SIZE", help_heading = MESSAGE)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Sizes>,
    /// Send the messages of an mbox file, or of the .eml files of a folder, in turns.
    #[arg(long, value_name = "PATH", help_heading = MESSAGE)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
    /// Recipients of each message [default: 1].
    #[arg(long, value_name = "N", help_heading = MESSAGE)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipients: Option<u16>,
    /// Addresses of recipients, in turns; % becomes the number of a user [default: user%@load.example].
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', help_heading = MESSAGE)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recipient: Vec<String>,
    /// The sender's address; % becomes the number of a user, an empty one is <> [default: sender%@source.example].
    #[arg(long, value_name = "PATTERN", help_heading = MESSAGE)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// How many different users there are [default: 1000].
    #[arg(long, value_name = "N", help_heading = MESSAGE)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<u32>,

    /// The share of recipients that are not there.
    #[arg(long, value_name = "SHARE", help_heading = TROUBLE)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bad_recipients: Option<Share>,
    /// The address of those [default: bad%@load.example].
    #[arg(long, value_name = "PATTERN", help_heading = TROUBLE)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bad_recipient: Option<String>,
    /// The share of messages that are spam.
    #[arg(long, value_name = "SHARE", help_heading = TROUBLE)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spam: Option<Share>,
    /// The line by which spam is told [default: the GTUBE test string].
    #[arg(long, value_name = "TEXT", help_heading = TROUBLE)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spam_phrase: Option<String>,
    /// The share of messages that are left: after RCPT, in the middle of the body, or before its end.
    #[arg(long, value_name = "SHARE", help_heading = TROUBLE)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort: Option<Share>,
    /// The share of messages that trickle in, each on a session of its own beside the others.
    #[arg(long, value_name = "SHARE", help_heading = TROUBLE)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow: Option<Share>,
    /// Octets a second of those [default: 10].
    #[arg(long, value_name = "SIZE", help_heading = TROUBLE)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_pace: Option<Size>,
    /// How many of those at most at the same time; more are sent as any other [default: 1000].
    #[arg(long, value_name = "N", help_heading = TROUBLE)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_max: Option<u32>,
    /// Sessions that say EHLO and then nothing, held while the rest runs.
    #[arg(long, value_name = "N", help_heading = TROUBLE)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<u32>,

    /// Threads [default: one for each of --cores, else half of the cores, at most 8].
    #[arg(long, value_name = "N", help_heading = MACHINE)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<u32>,
    /// Pin the workers to these cores, in turns.
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = MACHINE)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cores: Vec<usize>,
    /// The I/O engine: auto, ring, uring or epoll [default: auto].
    #[arg(long, value_name = "ENGINE", help_heading = MACHINE)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io: Option<Io>,
    /// Everything that is drawn follows from this number [default: 1].
    #[arg(long, value_name = "N", help_heading = MACHINE)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u32>,
}

const LOAD: &str = "Load";
const SESSION: &str = "Sessions";
const SECURITY: &str = "TLS and AUTH";
const MESSAGE: &str = "Messages";
const TROUBLE: &str = "Trouble";
const MACHINE: &str = "This machine";

impl Settings {
    /// These, with what they don't say from `below`. The load is one thing: who says how it is, says all of it.
    #[must_use]
    pub fn over(self, mut below: Settings) -> Settings {
        if self.says_load() {
            below.rate = below.rate.filter(|_| self.burst.is_some());
            (below.ramp, below.steps, below.burst) = (None, None, None);
            below.closed = None;
        }
        if self.duration.is_some() != self.messages.is_some() {
            (below.duration, below.messages) = (None, None);
        }
        let table = |settings: &Settings| {
            toml::Table::try_from(settings).expect("settings are text, numbers and lists of them")
        };
        let mut merged = table(&below);
        merged.extend(table(&self));
        merged
            .try_into()
            .expect("each value came from settings and is read as it is written")
    }

    fn says_load(&self) -> bool {
        let Settings {
            rate,
            ramp,
            steps,
            burst,
            closed,
            ..
        } = self;
        rate.is_some() || ramp.is_some() || steps.is_some() || burst.is_some() || closed.is_some()
    }

    /// The names of all keys.
    #[must_use]
    pub fn keys() -> Vec<String> {
        let command = <Settings as clap::Args>::augment_args(clap::Command::new("keys"));
        let keys = command.get_arguments().map(|arg| arg.get_id().to_string());
        keys.collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Settings {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn every_key_is_a_flag() {
        let all = Settings {
            rate: Some(1.0),
            ..Settings::default()
        };
        for key in toml::Table::try_from(&all).unwrap().keys() {
            assert!(Settings::keys().contains(key), "{key}");
        }
        assert!(Settings::keys().contains(&"messages_per_session".to_owned()));
    }

    #[test]
    fn what_is_said_last_wins_and_the_rest_stays() {
        let file = read("size = 512\nrate = 10\nusers = 3\nduration = '5s'");
        let flags = read("rate = 20\nsize = '1KiB'");
        let both = flags.over(file);
        assert_eq!(both.rate, Some(20.0));
        assert_eq!(both.users, Some(3));
        assert_eq!(both.size.unwrap().to_string(), "1KiB");
        assert_eq!(both.duration, Some(Time::secs(5)));
    }

    #[test]
    fn another_load_takes_the_place_of_the_whole_load() {
        let ramp = read("ramp = '1..2:10s'\nknee_p99 = '1s'");
        let both = read("closed = true").over(ramp.clone());
        assert_eq!((both.closed, both.ramp), (Some(true), None));
        let both = read("messages = 7").over(read("duration = '5s'\nrate = 3"));
        assert_eq!((both.messages, both.duration), (Some(7), None));
        let both = read("burst = '9:1s/2s'").over(read("rate = 3"));
        assert_eq!(both.rate, Some(3.0));
    }
}
