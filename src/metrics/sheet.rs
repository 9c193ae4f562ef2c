//! Counters and gauges of one writer.
//!
//! A sheet has a block of numbers for each scope, made when the scope is first used and never moved, so a
//! reader needs no lock. A worker is the only writer of its sheet: a load and a store, both relaxed, are
//! cheaper than an atomic addition and lose nothing. The process's own sheet has many writers (the log's
//! thread, probes) and adds atomically.

use super::{
    counter::{Counter, Gauge},
    scope::{SCOPES_MAX, Scope},
};
use crossbeam::utils::CachePadded;
use std::sync::{
    OnceLock,
    atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
};

/// The numbers of one scope.
struct Block {
    counters: [AtomicU64; Counter::COUNT],
    gauges: [AtomicI64; Gauge::COUNT],
}

impl Block {
    fn new() -> Box<CachePadded<Block>> {
        Box::new(CachePadded::new(Block {
            counters: [const { AtomicU64::new(0) }; Counter::COUNT],
            gauges: [const { AtomicI64::new(0) }; Gauge::COUNT],
        }))
    }
}

/// Counters and gauges by scope.
pub(super) struct Sheet {
    blocks: Box<[OnceLock<Box<CachePadded<Block>>>]>,
}

impl Sheet {
    pub(super) fn new() -> Sheet {
        Sheet {
            blocks: (0..SCOPES_MAX).map(|_| OnceLock::new()).collect(),
        }
    }

    #[inline]
    fn block(&self, scope: Scope) -> &Block {
        self.blocks[scope.index()].get_or_init(Block::new)
    }

    /// Adds to a counter; for the only writer of this sheet.
    #[inline]
    pub(super) fn count(&self, counter: Counter, scope: Scope, n: u64) {
        let cell = &self.block(scope).counters[counter as usize];
        cell.store(cell.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Adds to a gauge; for the only writer of this sheet.
    #[inline]
    pub(super) fn add(&self, gauge: Gauge, scope: Scope, delta: i64) {
        let cell = &self.block(scope).gauges[gauge as usize];
        cell.store(cell.load(Relaxed).wrapping_add(delta), Relaxed);
    }

    /// Sets a gauge; of several writers the last one wins.
    #[inline]
    pub(super) fn set(&self, gauge: Gauge, scope: Scope, value: i64) {
        self.block(scope).gauges[gauge as usize].store(value, Relaxed);
    }

    /// Sets all gauges to 0.
    pub(super) fn clear_gauges(&self) {
        for block in self.blocks.iter().filter_map(OnceLock::get) {
            block
                .gauges
                .iter()
                .for_each(|gauge| gauge.store(0, Relaxed));
        }
    }

    /// Adds to a counter; for a sheet with many writers.
    pub(super) fn count_shared(&self, counter: Counter, scope: Scope, n: u64) {
        self.block(scope).counters[counter as usize].fetch_add(n, Relaxed);
    }

    /// Value of a counter; 0 where it was never written.
    pub(super) fn counter(&self, counter: Counter, scope: Scope) -> u64 {
        self.blocks[scope.index()]
            .get()
            .map_or(0, |block| block.counters[counter as usize].load(Relaxed))
    }

    /// Value of a gauge; 0 where it was never written.
    pub(super) fn gauge(&self, gauge: Gauge, scope: Scope) -> i64 {
        self.blocks[scope.index()]
            .get()
            .map_or(0, |block| block.gauges[gauge as usize].load(Relaxed))
    }
}
