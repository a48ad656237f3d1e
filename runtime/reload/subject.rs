//! Something that may be refused, a group or the tree, and how long it is given before it is. Pure.

use std::time::{Duration, Instant};

use crate::project::Digest;

/// How long content that is no component may stay so: a build tool may be in the middle of writing it.
pub const UNFINISHED: Duration = Duration::from_secs(2);
/// How long something may be gone, or the tree unreadable, before that counts.
pub const GONE: Duration = Duration::from_millis(250);

/// Something that may be refused, and what is known of that.
#[derive(Debug, Default)]
pub struct Subject {
    /// The content that was refused last.
    pub refused: Option<Digest>,
    /// What is given time, and since when.
    pub patience: Option<(Pending, Instant)>,
}

/// What may be about to become something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    Gone,
    /// Some file is being written, perhaps: whatever there is of it by now, its time runs from the first.
    Unfinished,
    Content(Digest),
}

impl Subject {
    /// Gives `pending` time: until when, or `None` where its time is over.
    pub fn wait(&mut self, now: Instant, pending: Pending, patience: Duration) -> Option<Instant> {
        let since = match self.patience {
            Some((same, since)) if same == pending => since,
            _ => now,
        };
        let until = since + patience;
        self.patience = (until > now).then_some((pending, since));
        (until > now).then_some(until)
    }

    pub fn refuse(&mut self, content: Digest) {
        *self = Self {
            refused: Some(content),
            patience: None,
        };
    }
}
