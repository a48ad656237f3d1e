//! The memory limit of a store: the linear memories and tables of all its components together.

use std::fmt;

use bytesize::ByteSize;
use wasmtime::ResourceLimiter;

/// Bytes that a table's entry is counted as.
const TABLE_ENTRY: usize = 8;
/// Core instances, memories and tables of one store: far above any real group, far below harm.
const MAX_ITEMS: usize = 100_000;

pub struct StoreMemory {
    limit: u64,
    used: u64,
    /// What the store wanted in all when it was refused, since that was asked last.
    refused: Option<u64>,
}

/// A growth over the limit that was refused. The guest may have got along without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverLimit {
    /// Bytes in all that the store wanted, and those that it may have.
    pub wanted: u64,
    pub limit: u64,
}

impl StoreMemory {
    /// `limit` in bytes.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            used: 0,
            refused: None,
        }
    }

    /// The last growth that was refused since this was asked.
    pub fn take_refused(&mut self) -> Option<OverLimit> {
        let limit = self.limit;
        self.refused.take().map(|wanted| OverLimit { wanted, limit })
    }

    /// Counts a growth in bytes; refuses the one that would pass the limit.
    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let used = self.used.saturating_add(desired.saturating_sub(current) as u64);
        let fits = used <= self.limit;
        if fits {
            self.used = used;
        } else {
            self.refused = Some(used);
        }
        fits
    }
}

impl fmt::Display for OverLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wanted, limit) = (ByteSize::b(self.wanted), ByteSize::b(self.limit));
        write!(
            f,
            "it wanted {wanted} of memory, and its group's limit is {limit}"
        )
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
        MAX_ITEMS
    }

    fn tables(&self) -> usize {
        MAX_ITEMS
    }

    fn memories(&self) -> usize {
        MAX_ITEMS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_of_a_store_count_together() {
        let mut memory = StoreMemory::new(100);
        assert!(memory.grow(0, 60));
        assert!(!memory.grow(0, 50), "60 + 50 is over the limit");
        assert!(memory.grow(0, 40), "a refused growth counts for nothing");
        assert_eq!(
            memory.take_refused(),
            Some(OverLimit {
                wanted: 110,
                limit: 100
            })
        );
        assert_eq!(memory.take_refused(), None, "said once");
        assert!(!memory.grow(40, 41));
    }
}
