//! Hostile records, and the published suite.

mod hostile;
mod suite;
