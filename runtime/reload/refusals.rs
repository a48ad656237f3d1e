//! Whose content on disk is refused, until it is what serves again. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::control::Sight;
use crate::project::Digest;

/// By name; `None` is the tree as a whole.
#[derive(Default)]
pub struct Refusals(BTreeSet<Option<String>>);

impl Refusals {
    pub fn add(&mut self, group: Option<String>) {
        self.0.insert(group);
    }

    pub fn remove(&mut self, group: &str) {
        self.0.remove(&Some(group.to_owned()));
    }

    /// Forgets those whose content is what serves again, and the tree, which was understood: `found` is the
    /// content of each group on disk.
    pub fn mended(
        &mut self,
        found: &BTreeMap<String, Sight>,
        serves: impl Fn(&str) -> Option<Digest>,
    ) -> BTreeSet<Option<String>> {
        let is_mended = |refused: &Option<String>| match refused {
            None => true,
            Some(name) => found.get(name).map(|sight| sight.digest) == serves(name),
        };
        let (mended, left) = std::mem::take(&mut self.0).into_iter().partition(is_mended);
        self.0 = left;
        mended
    }
}
