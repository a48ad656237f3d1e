//! What the engine of isolated requests sets aside for their stores.
//!
//! It is address space, most of it: a slot of the pool takes memory once it is used. Slots that were used are
//! kept warm, with the memory that the last store had touched, so that the next one of the same component finds
//! its pages there.

use wasmtime::{Enabled, PoolingAllocationConfig};

/// Stores at a time: two generations of a group with the default limit on requests in flight.
const STORES: u32 = 2048;
/// Linear memories at a time; each takes 4 GiB of address space. A store has one for each component that it
/// holds, and most pages hold a few.
const MEMORIES: u32 = 4 * STORES;
/// Each component has some, for its functions and for the host's.
const TABLES: u32 = 4 * MEMORIES;
/// Entries of a table, 8 bytes each.
const TABLE_ENTRIES: usize = 20_000;
/// Slots of each sort that are kept warm.
const WARM: u32 = 128;

/// Bytes of a warm memory that stay. Where the system tells which pages were written, only these are put
/// back; where it does not, all of these bytes are.
const RESIDENT: usize = 1 << 20;
const RESIDENT_UNTOLD: usize = 64 << 10;
const RESIDENT_TABLE: usize = 64 << 10;

pub fn config() -> PoolingAllocationConfig {
    let resident = match PoolingAllocationConfig::is_pagemap_scan_available() {
        true => RESIDENT,
        false => RESIDENT_UNTOLD,
    };
    let mut config = PoolingAllocationConfig::new();
    config
        .total_component_instances(STORES)
        .total_core_instances(8 * MEMORIES)
        .total_memories(MEMORIES)
        .total_tables(TABLES)
        .total_stacks(STORES)
        .table_elements(TABLE_ENTRIES)
        .max_unused_warm_slots(WARM)
        .pagemap_scan(Enabled::Auto)
        .linear_memory_keep_resident(resident)
        .table_keep_resident(RESIDENT_TABLE);
    config
}
