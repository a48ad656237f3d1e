//! Numbers for the places where lists go on, for guests whose cursors are numbers. The newest are remembered.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

/// Lists of a group that may be under way.
const MOST: usize = 4096;

#[derive(Clone, Default)]
pub struct Cursors(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The newest last.
    keys: VecDeque<String>,
    /// Of the oldest that is remembered.
    first: u64,
}

impl Cursors {
    pub fn keep(&self, key: String) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.keys.len() == MOST {
            state.keys.pop_front();
            state.first += 1;
        }
        state.keys.push_back(key);
        state.first + state.keys.len() as u64
    }

    /// `None` where it was never given, or is too old.
    pub fn key(&self, number: u64) -> Option<String> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = number.checked_sub(state.first + 1)?;
        state.keys.get(usize::try_from(index).ok()?).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered() {
        let cursors = Cursors::default();
        assert_eq!(cursors.key(0), None);
        let first = cursors.keep("a".into());
        assert_eq!(cursors.key(first).as_deref(), Some("a"));
        assert_eq!(cursors.key(first + 1), None);
        for _ in 1..MOST {
            cursors.keep("b".into());
        }
        assert_eq!(cursors.key(first).as_deref(), Some("a"));
        let last = cursors.keep("c".into());
        assert_eq!(cursors.key(first), None);
        assert_eq!(cursors.key(last).as_deref(), Some("c"));
    }
}
