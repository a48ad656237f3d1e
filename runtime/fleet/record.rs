//! What the nodes of a fleet share: one record, which is changed by compare-and-swap alone, and what each node
//! says of itself. Pure: a change is a new value.
//!
//! ```text
//!            propose            commit                    propose
//!  committed ───────▶ wanted ──────────▶ committed, number + 1 ──▶ …
//!                       │ refuse                  │ revert
//!                       ▼                         ▼
//!                   committed, as before      the one before is wanted
//! ```

use serde::{Deserialize, Serialize};

use crate::diagnostic::Diagnostic;

/// `sha256:…` of a release.
pub type Release = String;

/// Releases that can be gone back to, and refusals that can be looked up.
const REMEMBERED: usize = 8;

/// What is decided. Missing keys are what they were before there were such keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Of the commit: one more with each.
    pub number: u64,
    /// What every node serves, or is about to.
    pub committed: Option<Release>,
    /// What was committed before, newest first.
    pub before: Vec<Release>,
    /// What is to be committed next.
    pub wanted: Option<Wanted>,
    /// How often something was wanted.
    pub attempts: u64,
    /// Newest first.
    pub refused: Vec<Refusal>,
    /// What the tag that is followed stood for when it was last seen to change.
    pub tag: Option<Release>,
}

/// A release that every node prepares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// A release that is wanted again is another attempt: what nodes said of the last does not count.
    pub attempt: u64,
    pub release: Release,
}

/// A release that a node could not serve, so that nobody does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub attempt: u64,
    pub release: Release,
    /// The commit that was taken back thereby, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<u64>,
    /// The node's name.
    pub node: String,
    pub diagnostics: Vec<Diagnostic>,
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeState {
    /// For people: its machine and process.
    pub name: String,
    pub serves: Option<Release>,
    /// The commit that it serves; 0 where it serves none.
    pub number: u64,
    /// How far the attempt is.
    pub attempt: u64,
    pub stage: Stage,
    /// A commit that it cannot serve any more, or never could, and why.
    pub fault: Option<Fault>,
    /// One more with each time that it says something: a sign of life.
    pub beat: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Nothing is wanted of it.
    #[default]
    Rest,
    Preparing,
    /// All but the commit is done.
    Ready,
    /// It cannot be served.
    Refused(Vec<Diagnostic>),
    /// It could not be had yet, and is tried again.
    Failed(Vec<Diagnostic>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub number: u64,
    /// It was ready for it, or served it: so it is no good for any node.
    pub after_all: bool,
    pub diagnostics: Vec<Diagnostic>,
}

impl Record {
    /// With this release wanted; `tag` where the followed tag came to stand for it. `None` where nothing changes.
    pub fn propose(&self, release: &str, tag: bool) -> Option<Self> {
        let mut next = self.clone();
        if tag {
            next.tag = Some(release.to_owned());
        }
        let is_wanted = |wanted: &Wanted| wanted.release == release;
        if self.committed.as_deref() == Some(release) {
            // What else was wanted is not any more.
            next.wanted = None;
        } else if !self.wanted.as_ref().is_some_and(is_wanted) {
            next.want(release.to_owned());
        }
        (next != *self).then_some(next)
    }

    /// With what was committed before wanted again. `None` where there is none.
    pub fn roll_back(&self) -> Option<Self> {
        self.propose(self.before.first()?, false)
    }

    /// With what is wanted committed; `None` where nothing is. Its number is above `served` too: where the record was
    /// lost, numbers go on.
    pub fn commit(&self, served: u64) -> Option<Self> {
        let mut next = self.clone();
        let wanted = next.wanted.take()?;
        next.number = next.number.max(served) + 1;
        next.before.retain(|before| *before != wanted.release);
        let left = next.committed.replace(wanted.release);
        // What was no good is nothing to go back to.
        if let Some(left) = left.filter(|_| !self.is_reverted()) {
            next.before.insert(0, left);
        }
        next.before.truncate(REMEMBERED);
        Some(next)
    }

    /// With what is wanted refused, for all. `None` where nothing is.
    pub fn refuse(&self, node: &str, diagnostics: Vec<Diagnostic>) -> Option<Self> {
        let mut next = self.clone();
        let Wanted { attempt, release } = next.wanted.take()?;
        next.note(Refusal {
            attempt,
            release,
            commit: None,
            node: node.to_owned(),
            diagnostics,
        });
        Some(next)
    }

    /// With what is committed refused after all, and the one before it wanted, if there is one.
    pub fn revert(&self, node: &str, diagnostics: Vec<Diagnostic>) -> Option<Self> {
        let mut next = self.clone();
        next.note(Refusal {
            attempt: self.attempts,
            release: self.committed.clone()?,
            commit: Some(self.number),
            node: node.to_owned(),
            diagnostics,
        });
        // What is wanted already may be what mends it.
        if next.wanted.is_none()
            && let Some(before) = next.before.first().cloned()
        {
            next.want(before);
        }
        Some(next)
    }

    /// True where a fault of the commit was answered already.
    pub fn is_reverted(&self) -> bool {
        let newest = self.refused.first();
        newest.is_some_and(|refusal| refusal.commit == Some(self.number))
    }

    fn want(&mut self, release: Release) {
        self.attempts += 1;
        let attempt = self.attempts;
        self.wanted = Some(Wanted { attempt, release });
    }

    fn note(&mut self, refusal: Refusal) {
        self.refused.insert(0, refusal);
        self.refused.truncate(REMEMBERED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(releases: &[&str]) -> Record {
        releases.iter().fold(Record::default(), |record, release| {
            record.propose(release, true).unwrap().commit(0).unwrap()
        })
    }

    #[test]
    fn what_is_wanted_becomes_what_is_committed() {
        let record = committed(&["a", "b"]);
        assert_eq!((record.number, record.attempts), (2, 2));
        assert_eq!(record.committed.as_deref(), Some("b"));
        assert_eq!(record.before, ["a"]);
        assert_eq!(record.commit(0), None, "nothing is wanted");
        assert_eq!(record.propose("b", true), None, "nothing changes");
    }

    #[test]
    fn numbers_go_on_where_the_record_was_lost() {
        let record = Record::default().propose("a", true).unwrap();
        assert_eq!(record.commit(41).unwrap().number, 42);
    }

    #[test]
    fn what_one_refuses_is_wanted_by_nobody_and_may_be_wanted_again() {
        let record = committed(&["a"]).propose("bad", true).unwrap();
        let refused = record.refuse("n1", Vec::new()).unwrap();
        assert_eq!((refused.wanted.as_ref(), refused.number), (None, 1));
        assert_eq!(refused.refused[0].release, "bad");
        let again = refused.propose("bad", false).unwrap().wanted.unwrap();
        assert_eq!(again.attempt, 3);
    }

    #[test]
    fn who_goes_back_and_forth_has_two_releases() {
        let record = committed(&["a", "b", "c"]);
        let back = record.roll_back().unwrap().commit(0).unwrap();
        assert_eq!((back.committed.as_deref(), back.number), (Some("b"), 4));
        assert_eq!(back.before, ["c", "a"]);
        assert_eq!(back.tag.as_deref(), Some("c"), "the tag still stands for that");
        assert_eq!(Record::default().roll_back(), None);
    }

    #[test]
    fn a_fault_after_the_commit_has_the_one_before_wanted() {
        let record = committed(&["a", "b"]).revert("n1", Vec::new()).unwrap();
        assert!(record.is_reverted());
        assert_eq!(record.wanted.as_ref().unwrap().release, "a");
        let back = record.commit(0).unwrap();
        assert_eq!(
            (back.committed.as_deref(), back.is_reverted()),
            (Some("a"), false)
        );
        assert_eq!(back.before, [""; 0], "nobody goes back to what was no good");
    }

    #[test]
    fn wanting_what_is_committed_ends_what_else_was_wanted() {
        let record = committed(&["a"]).propose("b", true).unwrap();
        assert_eq!(record.propose("a", false).unwrap().wanted, None);
    }
}
