//! The build that is under way, as `control` knows it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::control::{Readiness, Sight};

#[derive(Debug)]
pub struct Build {
    pub number: u64,
    pub groups: BTreeMap<String, Sight>,
    /// A look that began after the build did found the same.
    pub confirmed: bool,
    /// The look from which on others confirm.
    pub began_after: u64,
    pub ready: Option<BTreeMap<String, Readiness>>,
    pub handing_over: bool,
}

impl Build {
    pub fn is_done(&self) -> bool {
        self.is_whole() && self.heirs().is_empty()
    }

    pub fn is_whole(&self) -> bool {
        self.confirmed && self.ready.is_some()
    }

    /// The groups that wait for the state of what serves.
    pub fn heirs(&self) -> BTreeSet<String> {
        let ready = self.ready.iter().flatten();
        let heirs = ready.filter(|(_, readiness)| **readiness == Readiness::Inherits);
        heirs.map(|(name, _)| name.clone()).collect()
    }

    pub fn handed_over(&mut self, taken: &BTreeMap<String, bool>) {
        let heirs = self.heirs();
        for (name, readiness) in self.ready.iter_mut().flatten() {
            if heirs.contains(name) {
                let is_taken = taken.get(name).copied().unwrap_or(false);
                *readiness = if is_taken {
                    Readiness::Ready
                } else {
                    Readiness::Refused
                };
            }
        }
    }
}
