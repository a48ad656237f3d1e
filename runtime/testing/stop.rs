//! Ends a run of scenarios early: what waits for a server waits no longer, and what was made for it goes as
//! it does at any end. Knows nothing of signals.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicBool, Ordering},
};

use super::host::Told;

/// Shared by all that is to end together. Without an order it does nothing.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Stopping>);

#[derive(Debug, Default)]
struct Stopping {
    ordered: AtomicBool,
    /// What those wait for that wait for servers.
    told: Mutex<Vec<Weak<Told>>>,
}

impl Stop {
    /// From now on no step is begun, and none waits.
    pub fn order(&self) {
        self.0.ordered.store(true, Ordering::SeqCst);
        let told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter().filter_map(Weak::upgrade).for_each(|told| told.end());
    }

    pub fn is_ordered(&self) -> bool {
        self.0.ordered.load(Ordering::SeqCst)
    }

    /// Has it end with the others, also where they were told to already.
    pub(super) fn covers(&self, told: &Arc<Told>) {
        let mut all = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|told| told.strong_count() > 0);
        all.push(Arc::downgrade(told));
        drop(all);
        if self.is_ordered() {
            told.end();
        }
    }
}
