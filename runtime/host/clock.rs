//! The clocks of WASI by the clock that guests are shown.

use std::time::Duration;

use wasmtime_wasi::{
    HostMonotonicClock, HostWallClock,
    clocks::{MonotonicClock, WallClock},
};

use crate::engine::GuestClock;

/// One of the system's clocks, moved on.
pub struct Moved<C> {
    pub real: C,
    pub clock: GuestClock,
}

impl HostWallClock for Moved<WallClock> {
    fn resolution(&self) -> Duration {
        self.real.resolution()
    }

    fn now(&self) -> Duration {
        self.real.now() + self.clock.ahead()
    }
}

impl HostMonotonicClock for Moved<MonotonicClock> {
    fn resolution(&self) -> u64 {
        self.real.resolution()
    }

    fn now(&self) -> u64 {
        let ahead = u64::try_from(self.clock.ahead().as_nanos()).unwrap_or(u64::MAX);
        self.real.now().saturating_add(ahead)
    }
}
