//! Results as text, JSON, HdrHistogram logs and a page.
//!
//! - [`text`](text::text) and [`run_page`] show a run, [`versus`] two; [`folder`] keeps it as files and reads it back.
//! - [`progress`] is the display while it goes on.
//! - [`page`] and [`plots`] are the bricks of any page: charts by plotly.js, which the `plotly` crate carries.
//!
//! Rejected: charts as pictures (no label under the pointer, no zoom); a page that loads its library (a report is read
//! where there is no network, and in ten years); HTML by `format!` (askama escapes what is not markup).

mod command;
pub mod figures;
pub mod folder;
pub mod histogram;
pub mod page;
pub mod plots;
pub mod progress;
pub mod run_page;
pub mod text;
pub mod units;
pub mod verdict;
pub mod versus;

pub use command::{Args, main};
pub use folder::write_folder;
pub use histogram::{histogram, latency, merge};
pub use text::text;
