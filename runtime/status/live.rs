//! What is known of each group at this moment, for those who ask a running server.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Record,
    history::{GroupHistory, Histories},
};
use crate::feed::Feed;

/// The journal's tale so far, held in memory. Whoever is told of an event finds it here.
#[derive(Clone, Default)]
pub struct Live {
    histories: Arc<Mutex<Histories>>,
    feed: Feed,
}

impl Live {
    pub(super) fn tell(&self, record: &Record) {
        match serde_json::to_value(record) {
            Ok(record) => {
                self.lock().tell(&record);
                self.feed.push(record.to_string());
            }
            Err(error) => tracing::error!(%error, "an event cannot be told"),
        }
    }

    /// All groups that are not gone.
    pub fn groups(&self) -> BTreeMap<String, GroupHistory> {
        self.lock().groups().clone()
    }

    /// How this server stands to its fleet: the last that was said of it; `None` outside of a fleet.
    pub fn fleet(&self) -> Option<serde_json::Value> {
        self.lock().fleet().cloned()
    }

    /// The last events, as they are written down, and those to come.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    fn lock(&self) -> MutexGuard<'_, Histories> {
        self.histories.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
