//! Something that may be refused, a group or the tree, and how long it is given before it is. Pure.

use std::time::{Duration, Instant};

use crate::project::Digest;

/// Something that may be refused, and what is known of that.
#[derive(Debug, Default)]
pub struct Subject {
    /// The content that was refused last.
    pub refused: Option<Digest>,
    /// Content that is given time, `None` for what is gone, and since when.
    pub patience: Option<(Option<Digest>, Instant)>,
}

impl Subject {
    /// Gives `content` time: until when, or `None` where its time is over.
    pub fn wait(&mut self, now: Instant, content: Option<Digest>, patience: Duration) -> Option<Instant> {
        let since = match self.patience {
            Some((same, since)) if same == content => since,
            _ => now,
        };
        let until = since + patience;
        self.patience = (until > now).then_some((content, since));
        (until > now).then_some(until)
    }

    pub fn refuse(&mut self, content: Digest) {
        *self = Self {
            refused: Some(content),
            patience: None,
        };
    }
}
