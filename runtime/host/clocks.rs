//! The clocks of WASI by the clock that guests are shown.

use std::time::Duration;

use wasmtime_wasi::{
    HostMonotonicClock, HostWallClock,
    clocks::{MonotonicClock, WallClock},
};

use crate::clock;

/// One of the system's clocks, moved on.
pub struct Moved<C>(pub C);

impl HostWallClock for Moved<WallClock> {
    fn resolution(&self) -> Duration {
        self.0.resolution()
    }

    fn now(&self) -> Duration {
        self.0.now() + clock::ahead()
    }
}

impl HostMonotonicClock for Moved<MonotonicClock> {
    fn resolution(&self) -> u64 {
        self.0.resolution()
    }

    fn now(&self) -> u64 {
        let ahead = u64::try_from(clock::ahead().as_nanos()).unwrap_or(u64::MAX);
        self.0.now().saturating_add(ahead)
    }
}
