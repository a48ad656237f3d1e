//! Every limit of a group and of discovery itself, with its unit, default and range.
//! Numbers only: who enforces them is not known here.

use std::{ops::RangeInclusive, time::Duration};

use serde::{Deserialize, Serialize};

const MIB: u64 = 1 << 20;

/// What a group may take: `[groups.NAME.limits]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of memory in one store, all its components together. 64 MiB.
    pub memory: u64,
    /// Wall clock of one request, from dispatch to the last byte of guest work. 10 s.
    pub request_time: Duration,
    /// Wall clock of one store's start: instantiate, load, start. 5 s.
    pub start_time: Duration,
    /// Requests at work at once; more wait in the queue. 1024.
    pub in_flight: usize,
    /// Requests that wait; more get 503. 1024; 0 is no queue.
    pub queue: usize,
    /// Bytes of one request's body. 8 MiB; 0 is no bodies.
    pub body: u64,
}

impl Limits {
    /// What a manifest may write. The upper ends keep sums of sizes and of points in time from overflowing.
    pub(super) const MEMORY: RangeInclusive<u64> = 1..=1 << 40;
    pub(super) const BODY: RangeInclusive<u64> = 0..=1 << 40;
    pub(super) const IN_FLIGHT: RangeInclusive<u64> = 1..=1_000_000;
    pub(super) const QUEUE: RangeInclusive<u64> = 0..=1_000_000;
    /// Stores of one page component in a group with `instances = { pool = N }`.
    pub(super) const POOL: RangeInclusive<u64> = 1..=1024;
    pub(super) const TIME: RangeInclusive<Duration> = Duration::from_millis(1)..=Self::LONGEST;

    pub(super) const DRAIN: RangeInclusive<Duration> = Duration::ZERO..=Self::LONGEST;
    pub(super) const DEFAULT_DRAIN: Duration = Duration::from_secs(30);

    const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 * MIB,
            request_time: Duration::from_secs(10),
            start_time: Duration::from_secs(5),
            in_flight: 1024,
            queue: 1024,
            body: 8 * MIB,
        }
    }
}

/// What discovery takes from a tree; more is an error, never a wait.
#[derive(Clone, Debug)]
pub struct DiscoveryLimits {
    /// Bytes of one component's file.
    pub file: u64,
    /// Bytes of the manifest.
    pub manifest: u64,
    /// Folders between the root and a component.
    pub depth: usize,
    /// Files and folders looked at. Symbolic links can make a small tree very large.
    pub entries: usize,
    /// Component files in the tree.
    pub components: usize,
}

impl DiscoveryLimits {
    pub const DEFAULT: Self = Self {
        file: 256 * MIB,
        manifest: MIB,
        depth: 16,
        entries: 500_000,
        components: 10_000,
    };
}
