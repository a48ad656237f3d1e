//! Whether a build may be committed when it is done, or has to wait until that is asked for. Pure.

use std::{collections::BTreeSet, time::Instant};

use super::{Control, Deed, Subject};

#[derive(Debug, Default)]
pub struct Hold {
    holds: bool,
    /// The build that is done may be committed.
    lets_go: bool,
    /// The build of which it was said that it is held.
    said: Option<u64>,
    /// Groups that are gone, and go on serving until then.
    gone: BTreeSet<String>,
}

impl Hold {
    pub fn begin(&mut self) {
        self.holds = true;
    }

    pub fn holds(&self) -> bool {
        self.holds
    }

    pub fn holds_back(&self) -> bool {
        self.holds && !self.lets_go
    }

    /// True once for each build that is held.
    pub fn is_new(&mut self, build: u64) -> bool {
        self.holds_back() && self.said.replace(build) != Some(build)
    }

    /// Those of the groups that may be removed at once.
    pub fn keep(&mut self, gone: BTreeSet<String>) -> BTreeSet<String> {
        if !self.holds {
            return gone;
        }
        self.gone = gone;
        BTreeSet::new()
    }

    /// Returns the groups that are to be removed now.
    pub fn let_go(&mut self) -> BTreeSet<String> {
        self.lets_go = true;
        std::mem::take(&mut self.gone)
    }

    /// What comes next is held again.
    pub fn again(&mut self) {
        self.lets_go = false;
        self.gone.clear();
    }
}

impl Control {
    /// From here on nothing is committed before that is asked for.
    pub fn hold(&mut self) {
        self.hold.begin();
    }

    pub fn holds(&self) -> bool {
        self.hold.holds()
    }

    /// What was refused before, or taken back, is judged anew.
    pub fn forget(&mut self) {
        self.forgive(None);
        self.tree = Subject::default();
        self.groups
            .values_mut()
            .for_each(|group| group.subject = Subject::default());
    }

    /// True where the build may not be committed yet; says so when nothing else is left to do.
    pub(super) fn holds_back(&mut self, deeds: &mut Vec<Deed>) -> bool {
        let whole = self.build.as_ref().filter(|build| build.is_whole());
        if let Some(build) = whole.filter(|build| self.hold.is_new(build.number)) {
            deeds.push(Deed::Held { build: build.number });
        }
        self.hold.holds_back()
    }

    /// What was held back is committed, and what is gone is removed with it.
    pub(super) fn let_go(&mut self, now: Instant, deeds: &mut Vec<Deed>) {
        let remove = self.hold.let_go();
        self.hand_over(deeds);
        self.commit(now, deeds);
        self.groups.retain(|name, _| !remove.contains(name));
        if !remove.is_empty() {
            deeds.push(Deed::Remove(remove));
        }
        if self.build.is_none() {
            self.hold.again();
        }
    }

    pub(super) fn give_up(&mut self, deeds: &mut Vec<Deed>) {
        self.hold.again();
        self.passed_over.clear();
        if let Some(build) = self.build.take_if(|build| !build.handing_over) {
            deeds.push(Deed::GiveUp { build: build.number });
        }
    }
}
