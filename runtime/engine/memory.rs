//! The memory of all stores of the server together, and of the bodies that are held as a whole. A generation
//! that does not serve yet, and a body, may take less of it than the stores that serve: so they are refused
//! before a request that runs is.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// What new generations and bodies have to leave to the stores that serve: an eighth.
const KEPT_FREE: u64 = 8;

#[derive(Debug)]
pub struct TotalMemory {
    limit: AtomicU64,
    used: AtomicU64,
}

/// Who takes memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taker {
    Serving,
    /// The stores of a generation that does not serve yet.
    New,
    /// A request's or a response's body that is held as a whole.
    Body,
}

/// A part of the memory that is taken as long as the value lives.
#[derive(Debug)]
pub struct MemoryShare {
    total: Arc<TotalMemory>,
    taker: Taker,
    bytes: u64,
}

/// There is not so much left: bytes in all that would be taken, and those that may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    pub wanted: u64,
    pub limit: u64,
}

impl TotalMemory {
    /// Without a limit until it is told one.
    pub fn new() -> Self {
        Self {
            limit: AtomicU64::new(u64::MAX),
            used: AtomicU64::new(0),
        }
    }

    /// `limit` in bytes. What is taken already stays.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Relaxed);
    }

    /// Bytes that may be taken; `None` without a limit.
    pub fn limit(&self) -> Option<u64> {
        Some(self.limit.load(Relaxed)).filter(|limit| *limit != u64::MAX)
    }

    /// Bytes that are taken.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Takes so many bytes, to be given back. Errors: they are not left for this taker.
    pub fn take(&self, bytes: u64, taker: Taker) -> Result<(), Exhausted> {
        let limit = self.limit.load(Relaxed);
        let limit = match taker {
            Taker::Serving => limit,
            Taker::New | Taker::Body => limit - limit / KEPT_FREE,
        };
        let sum = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        match self.used.fetch_update(Relaxed, Relaxed, sum) {
            Ok(_) => Ok(()),
            Err(used) => Err(Exhausted {
                wanted: used.saturating_add(bytes),
                limit,
            }),
        }
    }

    pub fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Relaxed);
    }
}

impl MemoryShare {
    /// Of no bytes yet.
    pub fn new(total: &Arc<TotalMemory>, taker: Taker) -> Self {
        Self {
            total: total.clone(),
            taker,
            bytes: 0,
        }
    }

    /// Takes what is missing to so many bytes in all. Errors: they are not left; what it has, it keeps.
    pub fn grow_to(&mut self, bytes: u64) -> Result<(), Exhausted> {
        let missing = bytes.saturating_sub(self.bytes);
        self.total.take(missing, self.taker)?;
        self.bytes += missing;
        Ok(())
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.total.give_back(self.bytes);
    }
}

/// Three quarters of what this process may have: of the machine's memory, or of its control group's.
/// `None` where the system does not say.
pub fn by_default() -> Option<u64> {
    let kilobytes = |text: String| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(kilobytes);
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group = group.and_then(|text| text.trim().parse::<u64>().ok());
    let least = machine
        .map(|kilobytes| kilobytes << 10)
        .into_iter()
        .chain(group)
        .min()?;
    Some(least / 4 * 3)
}

impl Default for TotalMemory {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_generation_leaves_room_to_those_that_serve() {
        let memory = TotalMemory::new();
        memory.set_limit(800);
        assert_eq!(memory.take(700, Taker::New), Ok(()));
        let exhausted = Exhausted {
            wanted: 701,
            limit: 700,
        };
        assert_eq!(memory.take(1, Taker::New), Err(exhausted));
        assert_eq!(memory.take(100, Taker::Serving), Ok(()));
        assert!(memory.take(1, Taker::Serving).is_err());
        assert!(memory.take(u64::MAX, Taker::Serving).is_err());
        memory.give_back(800);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_share_comes_back_with_its_end() {
        let total = Arc::new(TotalMemory::new());
        total.set_limit(800);
        let mut share = MemoryShare::new(&total, Taker::Body);
        assert_eq!(share.grow_to(600), Ok(()));
        assert_eq!(share.grow_to(500), Ok(()), "it has them");
        assert_eq!(total.used(), 600);
        assert!(share.grow_to(701).is_err());
        assert_eq!(total.used(), 600, "a growth that was refused takes nothing");
        drop(share);
        assert_eq!(total.used(), 0);
    }
}
