//! The clock that guests are shown: the system's, and as far ahead of it as a test has moved it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Shared by all stores.
#[derive(Clone, Debug, Default)]
pub struct GuestClock {
    /// Nanoseconds.
    ahead: Arc<AtomicU64>,
}

impl GuestClock {
    /// Moves it on, for all guests at once. How far it is ahead then.
    pub fn advance(&self, by: Duration) -> Duration {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        let before = self.ahead.fetch_add(by, Ordering::SeqCst);
        Duration::from_nanos(before.saturating_add(by))
    }

    pub fn ahead(&self) -> Duration {
        Duration::from_nanos(self.ahead.load(Ordering::SeqCst))
    }
}
