//! What is known of each group at this moment, for those who ask a running server.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Record,
    history::{GroupHistory, Histories},
};

/// The journal's tale so far, held in memory. Whoever is told of an event finds it here.
#[derive(Clone, Default)]
pub struct Live(Arc<Mutex<Histories>>);

impl Live {
    pub(super) fn tell(&self, record: &Record) {
        match serde_json::to_value(record) {
            Ok(record) => self.lock().tell(&record),
            Err(error) => tracing::error!(%error, "an event cannot be told"),
        }
    }

    /// All groups that are not gone.
    pub fn groups(&self) -> BTreeMap<String, GroupHistory> {
        self.lock().groups().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Histories> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
