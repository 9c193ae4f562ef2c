//! What Gatepost measures, and how it tells.
//!
//! A worker records through its [`Recorder`]: a latency into a histogram of a [`Stage`], an event into a
//! [`Counter`], a level into a [`Gauge`], each under a [`Scope`] (a listener, a backend, a check, …).
//! Counters and gauges are atomics that only their worker writes and any thread reads. Histograms belong to
//! the worker alone; another thread asks it for a [`Snapshot`] and merges those of all workers into a
//! [`View`], from which [`export`] writes Prometheus text and exact percentiles, and [`IntervalLog`] the
//! HdrHistogram log.
//!
//! It must not know what a worker, a session or a backend is: it is told names and numbers. It imports
//! nothing of ours.
//!
//! Rejected: one shared histogram with atomic buckets (a cache line that all cores fight for, on every
//! stage of every message); a channel of samples to a collector (a wake-up costs a hundred times what the
//! record does); fixed Prometheus buckets alone (no honest p99.9); labels made from what a client sent
//! (memory without a limit).

pub mod counter;
pub mod export;
pub mod interval;
pub mod process;
pub mod recorder;
pub mod reference;
pub mod registry;
pub mod scope;
pub mod sheet;
pub mod snapshot;
pub mod stage;
mod track;

pub use counter::{Counter, Gauge, Info};
pub use interval::IntervalLog;
pub use process::Process;
pub use recorder::Recorder;
pub use reference::reference;
pub use registry::Registry;
pub use scope::{Kind, SCOPES_MAX, Scope};
pub use snapshot::{Distribution, Snapshot, View};
pub use stage::Stage;
pub use track::MICROS_MAX;
