//! Contents that serve once more: what stands by for a probation, what was decided about a group beside its
//! content, and the swaps that go back.

use std::time::Instant;

use super::{Candidate, Serving, Swapped};
use crate::{
    clock,
    diagnostic::Diagnostic,
    generation::GenerationId,
    kept::{Change, Standing, Withdrawn},
    orders::RolledBack,
    prepare::Refused,
    project::Digest,
    reload::{
        group::Standby,
        past::{Choice, Past},
    },
    status::Event,
};

impl Serving {
    /// What stands by for this generation, as long as it serves.
    pub fn standby(&self, group: &str, generation: u64) -> Option<Standby> {
        let running = self.groups.get(group)?.running.as_ref()?;
        (running.generation.id().number == generation).then(|| running.standby.clone())?
    }

    /// Nobody goes back from this generation any more.
    pub fn forget_standby(&mut self, id: &GenerationId) {
        let running = self
            .groups
            .get_mut(&*id.group)
            .and_then(|group| group.running.as_mut());
        if let Some(running) = running.filter(|running| running.generation.id() == id) {
            running.standby = None;
        }
    }

    /// What serves goes on: nothing takes its place.
    pub fn go_on(&mut self, group: &str) {
        if let Some(running) = self
            .groups
            .get_mut(group)
            .and_then(|group| group.running.as_mut())
        {
            running.generation.go_on();
        }
    }

    /// The content that serves for a group.
    pub fn content(&self, group: &str) -> Option<Digest> {
        Some(self.groups.get(group)?.running.as_ref()?.built.spec.digest)
    }

    /// What serves goes on as it was.
    pub fn reject(&mut self, (spec, diagnostics): Refused) {
        self.report_rejection(Some(spec.name), diagnostics);
    }

    /// The groups whose content stays as it is.
    pub fn pinned(&self) -> impl Iterator<Item = &String> {
        let pinned = self.standings.iter().filter(|(_, standing)| standing.pinned);
        pinned.map(|(group, _)| group)
    }

    pub fn standing(&self, group: &str) -> Standing {
        self.standings.get(group).copied().unwrap_or_default()
    }

    /// What was decided about a group in another life.
    pub fn begin_standing(&mut self, group: &str, standing: Standing) {
        self.standings.insert(group.to_owned(), standing);
    }

    /// True where the group serves, or something was decided about it.
    pub fn knows(&self, group: &str) -> bool {
        self.groups.contains_key(group) || self.standings.contains_key(group)
    }

    /// The groups that serve.
    pub fn names(&self) -> Vec<&str> {
        let names = self.groups.keys().map(String::as_str);
        names.filter(|name| self.running(name).is_some()).collect()
    }

    /// What was taken back, by content.
    pub fn withdrawn(&self) -> impl Iterator<Item = (&String, Digest)> {
        self.standings
            .iter()
            .filter_map(|(name, standing)| match standing.withdrawn {
                Some(Withdrawn::Content(content)) => Some((name, content)),
                _ => None,
            })
    }

    pub fn pin(&mut self, group: &str, pinned: bool) {
        self.standings.entry(group.to_owned()).or_default().pinned = pinned;
        self.keeper.pin(group, pinned);
    }

    /// The kept content that a group is to go back to. Errors: there is none, or not the one that is wanted.
    pub fn choose(&self, group: &str, wanted: Option<&str>) -> Result<Digest, Diagnostic> {
        let withdrawn = match self.standing(group).withdrawn {
            Some(Withdrawn::Content(content)) => Some(content),
            _ => None,
        };
        let nothing = Past::default();
        let choice = Choice {
            group,
            wanted,
            past: self.past.get(group).unwrap_or(&nothing),
            kept: &self.keeper.folder().kept.digests(group),
            serves: self.content(group),
            withdrawn,
        };
        choice.make()
    }

    /// Has a candidate's content kept, and says what is not served for it.
    pub(super) fn keep(&mut self, candidate: &Candidate) {
        let spec = &candidate.prepared.spec;
        let withdrawn = candidate.instead.map(|instead| instead.withdrawn);
        self.standings.entry(spec.name.clone()).or_default().withdrawn = withdrawn;
        let change = Change {
            spec: Some(spec.clone()),
            withdrawn,
            is_bad: candidate.instead.is_some_and(|instead| instead.is_bad),
        };
        self.keeper.change(&spec.name, change);
    }

    /// Puts what served before in the place of a generation that failed its probation.
    pub fn revert(&mut self, candidate: Candidate, failed: u64, reason: String) {
        let swaps = self.install(vec![candidate], clock::now());
        let committed = clock::now();
        for (
            Swapped {
                group, generation, ..
            },
            old,
        ) in swaps
        {
            self.reporter.publish(Event::Reverted {
                group,
                generation,
                from: failed,
                to: generation,
                reason: reason.clone(),
            });
            old.into_iter().for_each(|old| self.retire(old, committed));
        }
    }

    /// Puts a content in the place of what serves that served before. `since`: when that was wanted.
    pub fn roll_back(&mut self, candidate: Candidate, since: Instant) -> RolledBack {
        let prepared = &candidate.prepared;
        let done = RolledBack {
            group: prepared.spec.name.clone(),
            from: self.running(&prepared.spec.name).map(|serves| serves.id().number),
            generation: prepared.generation.id().number,
            digest: prepared.spec.digest.to_string(),
        };
        self.swap(vec![candidate], Vec::new(), since);
        done
    }
}
