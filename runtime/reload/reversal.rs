//! Which groups are to serve a content again that served before: reverted, or rolled back. Pure.

use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub struct Reversals {
    wanted: BTreeSet<String>,
    under_way: BTreeSet<String>,
}

impl Reversals {
    /// One that is under way stands for all that are wanted meanwhile.
    pub fn want(&mut self, group: String) {
        if !self.under_way.contains(&group) {
            self.wanted.insert(group);
        }
    }

    pub fn wanted(&self) -> BTreeSet<String> {
        self.wanted.clone()
    }

    pub fn begin(&mut self, group: &str) {
        self.under_way.extend(self.wanted.take(group));
    }

    pub fn end(&mut self, group: &str) {
        self.under_way.remove(group);
    }

    /// True where nothing else may become of the group.
    pub fn concern(&self, group: &str) -> bool {
        self.wanted.contains(group) || self.under_way.contains(group)
    }
}
