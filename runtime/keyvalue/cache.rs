//! Values in memory, those too that are not there, so that most reads do not meet the disk. What is found
//! here is what was committed last: a read that was overtaken by a change is not remembered.

use std::sync::Arc;

use bytes::Bytes;
use quick_cache::{Weighter, sync::Cache as QuickCache};

use super::Result;

/// Bytes that it takes.
const CAPACITY: u64 = 64 << 20;
/// Entries that it is laid out for.
const ENTRIES: usize = 100_000;
/// Values that are larger are read anew each time.
const MAX_VALUE: usize = 64 << 10;
/// What an entry costs beside its key and value.
const ENTRY: usize = 128;

type Key = (Arc<str>, Box<str>);

pub struct Cache(QuickCache<Key, Option<Bytes>, Size>);

#[derive(Clone)]
struct Size;

impl Weighter<Key, Option<Bytes>> for Size {
    fn weight(&self, (_, key): &Key, value: &Option<Bytes>) -> u64 {
        (ENTRY + key.len() + value.as_ref().map_or(0, Bytes::len)) as u64
    }
}

fn is_held(value: Option<&Bytes>) -> bool {
    value.is_none_or(|value| value.len() <= MAX_VALUE)
}

impl Default for Cache {
    fn default() -> Self {
        Self(QuickCache::with_weighter(ENTRIES, CAPACITY, Size))
    }
}

impl Cache {
    pub fn get(&self, group: &Arc<str>, key: &str) -> Option<Option<Bytes>> {
        self.0.get(&(group.clone(), key.into()))
    }

    /// The value, from where `read` has it unless it is here. One read goes on at a time for each key.
    pub async fn get_or_read(
        &self,
        group: &Arc<str>,
        key: &str,
        read: impl Future<Output = Result<Option<Bytes>>>,
    ) -> Result<Option<Bytes>> {
        let key = (group.clone(), key.into());
        match self.0.get_value_or_guard_async(&key).await {
            Ok(value) => Ok(value),
            Err(place) => {
                let value = read.await?;
                if is_held(value.as_ref()) {
                    // Refused where the key was written meanwhile.
                    let _ = place.insert(value.clone());
                }
                Ok(value)
            }
        }
    }

    /// The value was committed.
    pub fn set(&self, group: &Arc<str>, key: &str, value: Option<Bytes>) {
        let key = (group.clone(), key.into());
        if is_held(value.as_ref()) {
            self.0.insert(key, value);
        } else {
            self.0.remove(&key);
        }
    }

    pub fn clear(&self) {
        self.0.clear();
    }
}
