//! When a burst of changes is over: after a quiet time, at the latest after a maximum wait, so that a
//! file which changes for ever cannot keep the others from being read. Pure: the clock is passed in.

use std::time::{Duration, Instant};

/// Nothing changed for so long: one build's files are there.
pub const QUIET: Duration = Duration::from_millis(20);
/// A burst is read after so long, quiet or not.
pub const MAX_WAIT: Duration = Duration::from_millis(500);

/// The burst that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    pub first: Instant,
    last: Instant,
}

impl Burst {
    pub fn begin(now: Instant) -> Self {
        Self {
            first: now,
            last: now,
        }
    }

    pub fn extend(&mut self, now: Instant) {
        self.last = self.last.max(now);
    }

    /// When the burst counts as over, if nothing more comes.
    pub fn over_at(&self) -> Instant {
        (self.last + QUIET).min(self.first + MAX_WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_ends_after_the_quiet_time_or_the_maximum_wait() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let check = |changes: &[u64], over: u64| {
            let mut burst = Burst::begin(at(changes[0]));
            changes[1..].iter().for_each(|ms| burst.extend(at(*ms)));
            assert_eq!(burst.over_at(), at(over), "{changes:?}");
        };
        check(&[0], 20);
        check(&[0, 15, 30], 50);
        check(&[0, 15, 10], 35);
        check(&[0, 495], 500);
        check(&[100, 590], 600);
    }
}
