//! What the tests of the schema share: a file of which only the policy and the listeners matter.

use crate::config::{Config, parse};

/// A pool and a route, for files that are about something else.
pub const REST: &str = "
    [[pool]]
    name = 'mta'
    backends = ['127.0.0.1:2600']
    [[route]]
    domains = ['example.net']
    pool = 'mta'";

/// The configuration that these tables and a pool make.
pub fn config(text: &str) -> Config {
    let loaded = parse("test", &format!("{text}\n{REST}"));
    loaded.unwrap_or_else(|found| panic!("{found:?}")).config
}
