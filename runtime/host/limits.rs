//! The memory limits of a store: the linear memories and tables of all its components together, within its
//! group's limit and within what is left of the server's.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytesize::ByteSize;
use wasmtime::ResourceLimiter;

use crate::engine::{Exhausted, Taker, TotalMemory};

/// Bytes that a table's entry is counted as.
const TABLE_ENTRY: usize = 8;

/// What the stores of one generation take their memory from.
#[derive(Clone)]
pub struct MemorySource {
    /// Bytes of one store.
    pub limit: u64,
    /// Core instances of one store, and as many memories and tables.
    pub instances: usize,
    pub total: Arc<TotalMemory>,
    /// Bytes that all stores of the generation take.
    pub taken: Arc<AtomicU64>,
    /// The generation has started.
    pub serves: Arc<AtomicBool>,
}

pub struct StoreMemory {
    source: MemorySource,
    used: u64,
    /// Why the store was refused memory, since that was asked last.
    refused: Option<OverLimit>,
}

/// A growth over a limit that was refused. The guest may have got along without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverLimit {
    /// Bytes in all that were wanted, and those that there may be.
    pub wanted: u64,
    pub limit: u64,
    pub of: Whose,
}

/// Whose limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Store,
    Server,
}

impl StoreMemory {
    pub fn new(source: MemorySource) -> Self {
        Self {
            source,
            used: 0,
            refused: None,
        }
    }

    /// What all stores of the server take their memory from.
    pub fn total(&self) -> &Arc<TotalMemory> {
        &self.source.total
    }

    /// The last growth that was refused since this was asked.
    pub fn take_refused(&mut self) -> Option<OverLimit> {
        self.refused.take()
    }

    /// Counts a growth in bytes; refuses the one that would pass a limit.
    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let growth = desired.saturating_sub(current) as u64;
        let taken = self.take(growth);
        match taken {
            Ok(()) => {
                self.used += growth;
                self.source.taken.fetch_add(growth, Ordering::Relaxed);
            }
            Err(over) => self.refused = Some(over),
        }
        taken.is_ok()
    }

    fn take(&self, growth: u64) -> Result<(), OverLimit> {
        let MemorySource {
            limit, total, serves, ..
        } = &self.source;
        let wanted = self.used.saturating_add(growth);
        if wanted > *limit {
            let (limit, of) = (*limit, Whose::Store);
            return Err(OverLimit { wanted, limit, of });
        }
        let taker = if serves.load(Ordering::Relaxed) {
            Taker::Serving
        } else {
            Taker::New
        };
        total
            .take(growth, taker)
            .map_err(|Exhausted { wanted, limit }| OverLimit {
                wanted,
                limit,
                of: Whose::Server,
            })
    }
}

impl Drop for StoreMemory {
    fn drop(&mut self) {
        self.source.total.give_back(self.used);
        self.source.taken.fetch_sub(self.used, Ordering::Relaxed);
    }
}

impl fmt::Display for OverLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wanted, limit) = (ByteSize::b(self.wanted), ByteSize::b(self.limit));
        match self.of {
            Whose::Store => write!(
                f,
                "it wanted {wanted} of memory, and its group's limit is {limit}"
            ),
            Whose::Server => write!(
                f,
                "all stores together would have taken {wanted} of memory, and {limit} are left to it by the server's limit"
            ),
        }
    }
}

impl ResourceLimiter for StoreMemory {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(
            current.saturating_mul(TABLE_ENTRY),
            desired.saturating_mul(TABLE_ENTRY),
        ))
    }

    fn instances(&self) -> usize {
        self.source.instances
    }

    fn tables(&self) -> usize {
        self.source.instances
    }

    fn memories(&self) -> usize {
        self.source.instances
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(limit: u64, total: &Arc<TotalMemory>) -> MemorySource {
        MemorySource {
            limit,
            instances: 1,
            total: total.clone(),
            taken: Arc::default(),
            serves: Arc::new(AtomicBool::new(true)),
        }
    }

    #[test]
    fn all_memories_of_a_store_count_together() {
        let mut memory = StoreMemory::new(source(100, &Arc::default()));
        assert!(memory.grow(0, 60));
        assert!(!memory.grow(0, 50), "60 + 50 is over the limit");
        let over = OverLimit {
            wanted: 110,
            limit: 100,
            of: Whose::Store,
        };
        assert_eq!(memory.take_refused(), Some(over));
        assert!(memory.grow(0, 40), "a refused growth counts for nothing");
        assert_eq!(memory.take_refused(), None, "said once");
        assert!(!memory.grow(40, 41));
    }

    #[test]
    fn what_a_store_took_comes_back_with_its_end() {
        let total = Arc::new(TotalMemory::new());
        total.set_limit(150);
        let mut first = StoreMemory::new(source(100, &total));
        let mut second = StoreMemory::new(source(100, &total));
        assert!(first.grow(0, 100));
        assert!(!second.grow(0, 51), "100 + 51 is over the server's limit");
        assert_eq!(second.take_refused().map(|over| over.of), Some(Whose::Server));
        drop(first);
        assert!(second.grow(0, 100));
        drop(second);
        assert_eq!(total.used(), 0);
    }
}
