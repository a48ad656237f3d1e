//! Every limit of a group, of the server and of discovery itself, with its unit, default and range.
//! Numbers only: who enforces them is not known here.

use std::{ops::RangeInclusive, path::Path, time::Duration};

use serde::{Deserialize, Serialize};

const KIB: u64 = 1 << 10;
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
    /// Bytes of all static files together; they are held in memory. 64 MiB.
    pub static_files: u64,
    /// Handles of resources in one store, and as many of the host's resources behind them. 10,000.
    pub handles: usize,
    /// Files and folders that one store has open. 256.
    pub files: usize,
    /// Requests that one store has under way to others; more wait for their turn. 64.
    pub connections: usize,
    /// Core instances in one store, and as many memories and tables. 10,000.
    pub instances: usize,
    /// Bytes that a guest hands to its host in one call. 128 MiB.
    pub call_size: u64,
    /// Bytes a second that a group's guests may print; the rest is counted, not logged. 64 KiB.
    pub output: u64,
    /// Bytes of all that the components of a store hand over at a swap, together. 16 MiB.
    pub snapshot: u64,
    /// Bytes of the keys and values that a group has in the state directory. 1 GiB.
    pub keyvalue: u64,
}

impl Limits {
    /// What a manifest may write. The upper ends keep sums of sizes and of points in time from overflowing.
    pub(super) const MEMORY: RangeInclusive<u64> = 1..=1 << 40;
    pub(super) const BODY: RangeInclusive<u64> = 0..=1 << 40;
    pub(super) const STATIC_FILES: RangeInclusive<u64> = 0..=1 << 40;
    pub(super) const IN_FLIGHT: RangeInclusive<u64> = 1..=1_000_000;
    pub(super) const QUEUE: RangeInclusive<u64> = 0..=1_000_000;
    pub(super) const HANDLES: RangeInclusive<u64> = 16..=1_000_000;
    pub(super) const FILES: RangeInclusive<u64> = 1..=1_000_000;
    pub(super) const CONNECTIONS: RangeInclusive<u64> = 1..=10_000;
    pub(super) const INSTANCES: RangeInclusive<u64> = 1..=100_000;
    pub(super) const CALL_SIZE: RangeInclusive<u64> = KIB..=1 << 30;
    pub const SNAPSHOT: RangeInclusive<u64> = 0..=1 << 30;
    pub(super) const OUTPUT: RangeInclusive<u64> = 0..=1 << 30;
    pub(super) const KEYVALUE: RangeInclusive<u64> = 0..=1 << 50;
    /// Stores of one page component in a group with `instances = { pool = N }`.
    pub(super) const POOL: RangeInclusive<u64> = 1..=1024;
    /// Requests of a probation.
    pub(super) const PROBATION: RangeInclusive<u64> = 1..=1_000_000;
    pub(super) const TIME: RangeInclusive<Duration> = Duration::from_millis(1)..=Self::LONGEST;

    /// Each one holds requests up for a moment.
    pub(super) const CHECKPOINT: RangeInclusive<Duration> = Duration::from_secs(1)..=Self::LONGEST;
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
            static_files: 64 * MIB,
            handles: 10_000,
            files: 256,
            connections: 64,
            instances: 10_000,
            call_size: 128 * MIB,
            output: 64 * KIB,
            snapshot: 16 * MIB,
            keyvalue: 1024 * MIB,
        }
    }
}

/// What the server takes from its clients, all listeners together: `[server.limits]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerLimits {
    /// Open connections; more wait to be accepted. 10,000.
    pub connections: usize,
    /// Bytes of a request's head. 64 KiB.
    pub header_size: usize,
    /// From a connection's beginning, or the first byte of a later request, to the end of the head. 30 s.
    pub header_time: Duration,
    /// How long a connection may go without a request. 60 s.
    pub idle_time: Duration,
    /// How long a client may take nothing of a response. 30 s.
    pub write_time: Duration,
    /// How long requests may go on after the server was told to stop. 30 s.
    pub shutdown_time: Duration,
    /// Bytes of memory of all stores together. Where it is not written, three quarters of the machine's.
    pub memory: Option<u64>,
}

impl ServerLimits {
    /// Lines of a request's head.
    pub const HEADERS: usize = 100;
    /// Requests of one HTTP/2 connection at once.
    pub const STREAMS: u32 = 128;

    pub(super) const CONNECTIONS: RangeInclusive<u64> = 1..=1_000_000;
    pub(super) const HEADER_SIZE: RangeInclusive<u64> = 8 * KIB..=MIB;
    pub(super) const MEMORY: RangeInclusive<u64> = MIB..=1 << 50;
    pub(super) const TIME: RangeInclusive<Duration> = Duration::from_millis(100)..=Limits::LONGEST;
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            header_size: 64 << 10,
            header_time: Duration::from_secs(30),
            idle_time: Duration::from_secs(60),
            write_time: Duration::from_secs(30),
            shutdown_time: Duration::from_secs(30),
            memory: None,
        }
    }
}

/// What discovery takes from a tree; more is an error, never a wait.
#[derive(Clone, Debug)]
pub struct DiscoveryLimits {
    /// Bytes of one component's file.
    pub file: u64,
    /// Bytes of one component's text: parsed, it takes many times as much.
    pub text: u64,
    /// Bytes of all components together: they are in memory while the tree is looked at.
    pub total: u64,
    /// Bytes of the manifest.
    pub manifest: u64,
    /// Folders between the root and a component.
    pub depth: usize,
    /// Files and folders looked at. Symbolic links can make a small tree very large.
    pub entries: usize,
    /// Component files in the tree.
    pub components: usize,
    /// Files in one folder `static`.
    pub static_files: usize,
    /// One core is used, however many there are.
    pub one_core: bool,
}

impl DiscoveryLimits {
    /// Bytes that a component's file of this name may have.
    pub fn of_file(&self, path: &Path) -> u64 {
        if super::tree::is_text(path) {
            self.text
        } else {
            self.file
        }
    }

    pub const DEFAULT: Self = Self {
        file: 256 * MIB,
        text: 16 * MIB,
        total: 2048 * MIB,
        manifest: MIB,
        depth: 16,
        entries: 500_000,
        components: 10_000,
        static_files: 10_000,
        one_core: false,
    };
}
