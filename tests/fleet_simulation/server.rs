//! The server of the simulation: keys with revisions, and compare-and-swap.

use std::collections::BTreeMap;

use wasmhost::fleet::{
    node::Wrote,
    record::{NodeState, Record},
};

#[derive(Default)]
pub struct Server {
    revision: u64,
    pub record: Option<(u64, Record)>,
    pub lead: Option<(u64, String)>,
    pub states: BTreeMap<String, NodeState>,
    /// Nobody is answered.
    pub is_down: bool,
}

impl Server {
    fn next(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    pub fn state(&mut self, id: &str, state: NodeState) -> Wrote {
        self.states.insert(id.to_owned(), state);
        Wrote::Done(self.next())
    }

    /// `overwrites` is a bug.
    pub fn decide(&mut self, expected: u64, record: Record, overwrites: bool) -> Wrote {
        if self.record.as_ref().map_or(0, |(revision, _)| *revision) != expected && !overwrites {
            return Wrote::Conflict;
        }
        let revision = self.next();
        self.record = Some((revision, record));
        Wrote::Done(revision)
    }

    pub fn take_lead(&mut self, expected: u64, id: &str) -> Wrote {
        if self.lead.as_ref().map_or(0, |(revision, _)| *revision) != expected {
            return Wrote::Conflict;
        }
        let revision = self.next();
        self.lead = Some((revision, id.to_owned()));
        Wrote::Done(revision)
    }
}
