//! What is to become of one group: judged by what serves, what was refused, and what a look found. Pure.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::{
    control::{GONE, Sight, State, UNFINISHED},
    subject::{Pending, Subject},
    unsettled::Unsettled,
};
use crate::{
    kept::Withdrawn,
    project::{ContentId, Digest},
};

#[derive(Debug, Default)]
pub struct Group {
    pub serving: Option<Content>,
    pub subject: Subject,
    pub unsettled: Unsettled,
    /// What lies on disk and is not taken: what serves was chosen instead.
    pub withdrawn: Option<Withdrawn>,
}

#[derive(Debug)]
pub struct Content {
    digest: Digest,
    contents: BTreeSet<ContentId>,
}

/// What is to become of a group.
pub enum Verdict {
    Rest,
    /// Look again then.
    Wait(Instant),
    Build,
    Refuse,
    Remove,
}

impl Group {
    /// `patient` where what lies on disk may be half made.
    pub fn judge(&mut self, now: Instant, sight: Option<&Sight>, patient: bool) -> Verdict {
        let given = |time| if patient { time } else { Duration::ZERO };
        if self
            .withdrawn
            .is_some_and(|withdrawn| withdrawn.is(sight.map(|sight| sight.digest)))
        {
            self.subject.patience = None;
            return Verdict::Rest;
        }
        let Some(sight) = sight else {
            return match self.subject.wait(now, Pending::Gone, given(GONE)) {
                Some(until) => Verdict::Wait(until),
                None => Verdict::Remove,
            };
        };
        if self
            .serving
            .as_ref()
            .is_some_and(|serving| serving.digest == sight.digest)
        {
            self.subject = Subject::default();
            self.withdrawn = None;
            return Verdict::Rest;
        }
        if self.subject.refused == Some(sight.digest) {
            self.subject.patience = None;
            return Verdict::Rest;
        }
        let (pending, patience) = match sight.state {
            State::Whole if self.lacks_nothing(sight) => {
                // What comes after it is given time anew.
                self.subject.patience = None;
                return Verdict::Build;
            }
            State::Whole | State::Wrong => (Pending::Content(sight.digest), GONE),
            State::Unfinished => (Pending::Unfinished, UNFINISHED),
        };
        match (self.subject.wait(now, pending, given(patience)), sight.state) {
            (Some(until), _) => Verdict::Wait(until),
            (None, State::Whole) => Verdict::Build,
            (None, State::Unfinished | State::Wrong) => {
                self.refuse(sight.digest);
                Verdict::Refuse
            }
        }
    }

    /// False where a component that serves is gone: build tools delete before they write.
    fn lacks_nothing(&self, sight: &Sight) -> bool {
        self.serving
            .as_ref()
            .is_none_or(|serving| serving.contents.is_subset(&sight.contents))
    }

    pub fn serve(&mut self, sight: Sight) {
        self.serving = Some(Content {
            digest: sight.digest,
            contents: sight.contents,
        });
        self.subject = Subject::default();
        self.withdrawn = None;
    }

    pub fn refuse(&mut self, content: Digest) {
        self.subject.refuse(content);
        self.withdrawn = None;
    }

    /// `content` serves in the place of what lies on disk, which is not taken before it changes.
    pub fn go_back(&mut self, content: Sight) {
        let before = self.serving.take();
        // Nothing is said thereby of what lies on disk.
        let (subject, withdrawn) = (std::mem::take(&mut self.subject), self.withdrawn);
        self.serve(content);
        self.subject = subject;
        // Where it went back before, what lies on disk is older than what served.
        self.withdrawn = withdrawn.or(Some(Withdrawn::of(before.map(|before| before.digest))));
    }

    /// Neither served nor refused nor there.
    pub fn is_nothing(&self, sight: Option<&Sight>) -> bool {
        sight.is_none() && self.serving.is_none() && self.subject.refused.is_none()
    }
}
