//! How many values a label may have: more become one. A tree that grows and shrinks for ever must not fill
//! the memory of those that watch it.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// Values of a label, at most.
pub const MOST: usize = 1000;

/// What stands for all others.
pub const OTHERS: &str = "(others)";

/// The values that a label has had so far.
#[derive(Default)]
pub struct Labels(Mutex<BTreeSet<String>>);

impl Labels {
    pub fn bound<'n>(&self, name: &'n str) -> &'n str {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.contains(name) || (names.len() < MOST && names.insert(name.to_owned())) {
            return name;
        }
        OTHERS
    }
}
