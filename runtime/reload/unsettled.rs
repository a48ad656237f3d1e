//! Content that never stays the same from one look to the next. Pure.

use std::time::{Duration, Instant};

use crate::project::Digest;

/// Content that changes for so long without a pause is said to.
pub const UNSETTLED: Duration = Duration::from_secs(5);

/// What is known of one group's rest.
#[derive(Debug, Default)]
pub struct Unsettled {
    last: Option<Digest>,
    /// Since when no two looks in a row found the same.
    since: Option<Instant>,
    said: bool,
}

impl Unsettled {
    /// Tells what a look found, `None` for nothing. True where it is to be said now: once, until the
    /// content comes to rest.
    pub fn seen(&mut self, now: Instant, content: Option<Digest>) -> bool {
        if self.last == content {
            (self.since, self.said) = (None, false);
            return false;
        }
        self.last = content;
        let since = *self.since.get_or_insert(now);
        let is_due = now.duration_since(since) >= UNSETTLED && !self.said;
        self.said |= is_due;
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_for_long_is_said_once() {
        let (start, mut unsettled) = (Instant::now(), Unsettled::default());
        let mut seen = |second: u64, content: &str| {
            let now = start + Duration::from_secs(second);
            unsettled.seen(now, Some(Digest::of(content.as_bytes())))
        };
        let said: Vec<bool> = (0..8).map(|second| seen(second, &second.to_string())).collect();
        assert_eq!(said, [false, false, false, false, false, true, false, false]);
        assert!(!seen(8, "7"), "it came to rest");
        let said: Vec<bool> = (9..15).map(|second| seen(second, &second.to_string())).collect();
        assert_eq!(said, [false, false, false, false, false, true]);
    }
}
