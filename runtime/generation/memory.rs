//! The newest snapshots that are known of a generation: what a store of it begins with.

use std::sync::{Arc, Mutex, PoisonError};

use super::Snapshots;

pub struct Memory(Mutex<Option<Arc<Snapshots>>>);

impl Memory {
    pub fn new(newest: Option<Arc<Snapshots>>) -> Self {
        Self(Mutex::new(newest))
    }

    pub fn newest(&self) -> Option<Arc<Snapshots>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn keep(&self, snapshots: Snapshots) -> Arc<Snapshots> {
        let snapshots = Arc::new(snapshots);
        self.keep_shared(snapshots.clone());
        snapshots
    }

    pub fn keep_shared(&self, snapshots: Arc<Snapshots>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshots);
    }

    /// Nothing is known any more: the next store begins without.
    pub fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
