//! How much a group's guests may print: so many bytes a second, and four seconds' worth at once. The rest is
//! counted. Decides by the time that it is told.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// What one line costs beside its bytes: its time, its group, its page.
const LINE: u64 = 64;
/// Seconds without a word that are worth something.
const SAVED: u64 = 4;

pub struct Allowance {
    /// Bytes a second.
    rate: u64,
    state: Mutex<State>,
}

struct State {
    left: u64,
    filled: Instant,
    unsaid: u64,
}

impl Allowance {
    pub fn new(rate: u64, now: Instant) -> Self {
        let state = State {
            left: rate.saturating_mul(SAVED),
            filled: now,
            unsaid: 0,
        };
        Self {
            rate,
            state: Mutex::new(state),
        }
    }

    /// True where a line of so many bytes may be logged, and how many bytes were not since the last one.
    pub fn take(&self, line: usize, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let millis = now.saturating_duration_since(state.filled).as_millis();
        let gained = u64::try_from(millis * u128::from(self.rate) / 1000).unwrap_or(u64::MAX);
        if gained > 0 {
            let most = self.rate.saturating_mul(SAVED);
            state.left = state.left.saturating_add(gained).min(most);
            state.filled = now;
        }
        let cost = LINE + line as u64;
        match state.left.checked_sub(cost) {
            Some(left) => {
                state.left = left;
                Some(std::mem::take(&mut state.unsaid))
            }
            None => {
                state.unsaid += line as u64;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_not_logged_is_counted() {
        let start = Instant::now();
        let allowance = Allowance::new(1000, start);
        let lines = |now| (0..100).filter(|_| allowance.take(936, now).is_some()).count();
        assert_eq!(lines(start), 4, "four seconds' worth at once");
        assert_eq!(allowance.take(936, start + Duration::from_millis(900)), None);
        let unsaid = 97 * 936;
        assert_eq!(allowance.take(936, start + Duration::from_secs(2)), Some(unsaid));
        assert_eq!(lines(start + Duration::from_secs(1000)), 4, "no more is saved");
    }

    #[test]
    fn nothing_may_be_printed_at_all() {
        let start = Instant::now();
        let allowance = Allowance::new(0, start);
        assert_eq!(allowance.take(0, start + Duration::from_secs(1000)), None);
    }
}
