//! What is alive of a kind of thing, by key. It holds nothing alive itself: who uses a thing owns it,
//! and the last one to go frees it. So it needs no bound and no eviction.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

pub struct Cache<K, T>(Mutex<HashMap<K, Weak<T>>>);

impl<K, T> Default for Cache<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, T> Cache<K, T> {
    pub fn get(&self, key: &K) -> Option<Arc<T>> {
        self.lock().get(key).and_then(Weak::upgrade)
    }

    /// The thing with this key, and whether it had to be made. Two who ask at once may both make it.
    pub fn get_or_make<E>(&self, key: K, make: impl FnOnce() -> Result<T, E>) -> Result<(Arc<T>, bool), E> {
        if let Some(found) = self.get(&key) {
            return Ok((found, false));
        }
        let made = Arc::new(make()?);
        let mut things = self.lock();
        things.retain(|_, thing| thing.strong_count() > 0);
        things.insert(key, Arc::downgrade(&made));
        Ok((made, true))
    }

    /// How many are in use.
    pub fn live(&self) -> usize {
        let things = self.lock();
        things.values().filter(|thing| thing.strong_count() > 0).count()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Weak<T>>> {
        // Nothing panics while it is locked that could leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_uses_is_gone() {
        let cache = Cache::default();
        let make = |thing: &'static str| move || Ok::<_, ()>(thing);
        let (first, made) = cache.get_or_make(1, make("a")).unwrap();
        assert!(made);
        assert!(!cache.get_or_make(1, make("b")).unwrap().1);
        assert_eq!(cache.live(), 1);
        drop(first);
        assert!(cache.get(&1).is_none());
        assert_eq!(cache.live(), 0);
        cache.get_or_make(2, make("c")).unwrap();
        assert_eq!(cache.lock().len(), 1, "dead entries are swept");
    }
}
