//! The works that the peers are put to, and the project's bars for them.
//!
//! CPU bars are ratios to HAProxy (to nginx where HAProxy can't do the work) in the same run, and were set with Postfix's smtp-source and smtp-sink at the ends. Ours
//! answer in fewer and cheaper steps, which makes a send cheaper for everybody: there the proxies are closer. A work says what the source does and what the backend offers;
//! everything else is equal in all of them.

use crate::tls::Mode;

/// The source and the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Our own source and sink, which verify each message.
    Own,
    /// Postfix's smtp-source and smtp-sink: what the bars were first measured with.
    Postfix,
}

/// What is held against HAProxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// CPU of the peer for each message.
    Cpu,
    /// CPU of peer and backend together.
    CpuWithBackend,
    /// Messages a second.
    Throughput,
    /// What the peer adds to the latency that the source sees without it, at half of the rate it can do.
    Latency,
    /// Resident memory of each of many sessions that wait after EHLO.
    Idle,
}

/// How TLS is spoken in a work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// By the source.
    pub front: Mode,
    /// Whether the source resumes sessions.
    pub resumes: bool,
    /// Whether the backend speaks it from the first octet on.
    pub behind: bool,
}

impl Tls {
    const NONE: Tls = Tls {
        front: Mode::None,
        resumes: false,
        behind: false,
    };
    const IMPLICIT: Tls = Tls {
        front: Mode::Implicit,
        ..Tls::NONE
    };
    const STARTTLS: Tls = Tls {
        front: Mode::StartTls,
        ..Tls::NONE
    };

    /// Its part of [`Work::modes`].
    fn modes(self) -> Vec<&'static str> {
        let front = Some(self.front.as_str()).filter(|_| self.front != Mode::None);
        let behind = self.behind.then_some("behind");
        front.into_iter().chain(behind).collect()
    }
}

/// The bars of a work. `None`: there is no such bar.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bars {
    /// The ratio to HAProxy, for `io = "uring"`.
    pub uring: Option<f64>,
    /// The ratio to HAProxy, for the best of the engines.
    pub best: Option<f64>,
    /// CPU µs a message on the best of the engines, whatever HAProxy takes.
    pub cpu_us: Option<f64>,
    /// Latency that is added, in µs: median, 0.99, 0.999.
    pub latency_us: Option<[f64; 3]>,
    /// Octets of memory a session.
    pub memory: Option<f64>,
}

impl Bars {
    const NONE: Bars = Bars {
        uring: None,
        best: None,
        cpu_us: None,
        latency_us: None,
        memory: None,
    };

    const fn ratios(uring: f64, best: f64) -> Bars {
        Bars {
            uring: Some(uring),
            best: Some(best),
            ..Bars::NONE
        }
    }

    const fn absolute(cpu_us: f64) -> Bars {
        Bars {
            cpu_us: Some(cpu_us),
            ..Bars::NONE
        }
    }
}

/// One row group of the table.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// As on the command line.
    pub name: &'static str,
    /// As in the table.
    pub title: &'static str,
    /// The source and the backend.
    pub ends: Ends,
    /// What counts.
    pub measure: Measure,
    /// Sessions at a time.
    pub sessions: u32,
    /// Messages a session; 0: all.
    pub per_session: u32,
    /// Octets of a message.
    pub size: u64,
    /// Messages of a run, before it is cut to what the slowest peers do in a few seconds.
    pub messages: u32,
    /// Whether the source pipelines.
    pub pipelining: bool,
    /// Whether the source uses BDAT where it is offered.
    pub bdat: bool,
    /// Whether the backend offers CHUNKING.
    pub chunking: bool,
    /// How TLS is spoken.
    pub tls: Tls,
    /// Whether a policy with rules and answers from the DNS is on, where the peer has one.
    pub policy: bool,
    /// The peer that the others are held against.
    pub base: &'static str,
    /// The bars.
    pub bars: Bars,
    /// Whether the slow peers are put to it too; else HAProxy and Gatepost alone.
    pub all_peers: bool,
}

const KEPT: Work = Work {
    name: "kept",
    title: "many messages a connection",
    ends: Ends::Own,
    measure: Measure::Cpu,
    sessions: 32,
    per_session: 0,
    size: 4096,
    messages: 20_000,
    pipelining: false,
    bdat: false,
    chunking: false,
    tls: Tls::NONE,
    policy: false,
    base: "haproxy",
    bars: Bars::NONE,
    all_peers: true,
};

impl Work {
    /// The names of what a peer must be able to do: keys of `when` in its file.
    #[must_use]
    pub fn modes(&self) -> Vec<&'static str> {
        let mut modes = self.tls.modes();
        modes.extend(self.policy.then_some("policy"));
        modes
    }
}

/// A handshake for each message.
const HANDSHAKES: Work = Work {
    name: "tls-implicit",
    title: "implicit TLS, a full handshake for each message",
    per_session: 1,
    messages: 5_000,
    tls: Tls::IMPLICIT,
    bars: Bars::ratios(0.80, 0.80),
    all_peers: false,
    ..KEPT
};

/// All of them, in the order of the table.
pub const WORKS: &[Work] = &[
    Work {
        name: "kept-postfix",
        title: "many messages a connection, smtp-source to smtp-sink",
        ends: Ends::Postfix,
        bars: Bars::ratios(0.85, 0.75),
        all_peers: false,
        ..KEPT
    },
    Work {
        name: "one-postfix",
        title: "one message a connection, smtp-source to smtp-sink",
        ends: Ends::Postfix,
        per_session: 1,
        messages: 10_000,
        bars: Bars::ratios(0.65, 0.52),
        all_peers: false,
        ..KEPT
    },
    Work {
        name: "together",
        title: "one message a connection, CPU of proxy and smtp-sink together",
        ends: Ends::Postfix,
        measure: Measure::CpuWithBackend,
        per_session: 1,
        messages: 10_000,
        bars: Bars::ratios(0.50, 0.50),
        all_peers: false,
        ..KEPT
    },
    Work {
        name: "policy-kept",
        title: "kept-postfix with 20 rules, 5 lists in the DNS, SPF and reverse names, all remembered",
        ends: Ends::Postfix,
        policy: true,
        bars: Bars {
            best: Some(0.75),
            ..Bars::NONE
        },
        all_peers: false,
        ..KEPT
    },
    Work {
        name: "policy-one",
        title: "one-postfix with the same policy",
        ends: Ends::Postfix,
        per_session: 1,
        messages: 10_000,
        policy: true,
        bars: Bars {
            best: Some(0.60),
            ..Bars::NONE
        },
        all_peers: false,
        ..KEPT
    },
    KEPT,
    Work {
        name: "one",
        title: "one message a connection",
        per_session: 1,
        messages: 10_000,
        ..KEPT
    },
    Work {
        name: "pipelined",
        title: "the client pipelines",
        pipelining: true,
        bars: Bars::absolute(40.0),
        ..KEPT
    },
    Work {
        name: "bdat",
        title: "the client pipelines and uses BDAT, the backend takes BDAT",
        pipelining: true,
        bdat: true,
        chunking: true,
        bars: Bars::absolute(40.0),
        all_peers: false,
        ..KEPT
    },
    Work {
        name: "chunking",
        title: "many messages a connection, the backend takes BDAT",
        chunking: true,
        bars: Bars::ratios(0.70, 0.70),
        all_peers: false,
        ..KEPT
    },
    Work {
        name: "few",
        title: "many messages a connection, 4 sessions",
        sessions: 4,
        all_peers: false,
        ..KEPT
    },
    Work {
        name: "large",
        title: "10 MiB messages",
        measure: Measure::Throughput,
        sessions: 8,
        size: 10 << 20,
        messages: 150,
        bars: Bars::ratios(1.0, 1.0),
        all_peers: false,
        ..KEPT
    },
    Work {
        name: "latency",
        title: "latency added at half of HAProxy's rate",
        measure: Measure::Latency,
        bars: Bars {
            latency_us: Some([150.0, 1000.0, 5000.0]),
            ..Bars::NONE
        },
        all_peers: false,
        ..KEPT
    },
    Work {
        name: "idle",
        title: "sessions that wait after EHLO",
        measure: Measure::Idle,
        bars: Bars {
            memory: Some(4096.0),
            ..Bars::NONE
        },
        sessions: 4000,
        all_peers: false,
        ..KEPT
    },
    HANDSHAKES,
    Work {
        name: "tls-resumed",
        title: "implicit TLS, a resumed handshake for each message",
        tls: Tls {
            resumes: true,
            ..Tls::IMPLICIT
        },
        ..HANDSHAKES
    },
    Work {
        name: "tls-kept",
        title: "implicit TLS, many messages a connection",
        per_session: 0,
        messages: 20_000,
        ..HANDSHAKES
    },
    Work {
        name: "tls-starttls",
        title: "STARTTLS, a full handshake for each message",
        tls: Tls::STARTTLS,
        base: "nginx",
        ..HANDSHAKES
    },
    Work {
        name: "tls-starttls-resumed",
        title: "STARTTLS, a resumed handshake for each message",
        tls: Tls {
            resumes: true,
            ..Tls::STARTTLS
        },
        base: "nginx",
        ..HANDSHAKES
    },
    Work {
        name: "tls-behind",
        title: "one message a connection, TLS to the backend",
        tls: Tls {
            behind: true,
            ..Tls::NONE
        },
        bars: Bars::ratios(0.35, 0.35),
        ..HANDSHAKES
    },
    Work {
        name: "idle-tls",
        title: "TLS sessions that wait after EHLO",
        measure: Measure::Idle,
        tls: Tls::IMPLICIT,
        bars: Bars {
            memory: Some(16_384.0),
            ..Bars::NONE
        },
        sessions: 2000,
        ..HANDSHAKES
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_work_has_a_name_of_its_own() {
        for (at, work) in WORKS.iter().enumerate() {
            assert!(
                WORKS[..at].iter().all(|other| other.name != work.name),
                "{}",
                work.name
            );
            assert!(work.messages > 0 && work.sessions > 0);
        }
    }
}
