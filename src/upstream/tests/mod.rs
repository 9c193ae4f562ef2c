//! Tests with real peers.
