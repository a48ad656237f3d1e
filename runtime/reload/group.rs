//! What is known of one group that serves, or would.

use std::{sync::Arc, time::Duration};

use super::{causes::Contents, checkpoints::Checkpoints};
use crate::{
    generation::{Generation, Retirement, Snapshots},
    kept::Expected,
    prepare::Built,
    project::{ComponentId, Known, Route},
    router::{GroupRoutes, Serving},
};

#[derive(Default)]
pub struct Group {
    pub running: Option<Running>,
    /// The routes of a group that does not run yet.
    pub routes: Vec<Route>,
    /// The components of a group that does not run yet.
    pub components: Vec<ComponentId>,
    /// Whether a group that does not run yet has static files.
    pub files: bool,
    /// How long requests for a group that does not run yet wait for it, if they do.
    pub waits: Option<Duration>,
}

/// The generation that serves.
pub struct Running {
    pub generation: Arc<Generation>,
    pub retirement: Retirement,
    /// What it was started from, without the bytes of its components.
    pub built: Built,
    pub contents: Contents,
    /// The contents of its components' files, which need not be held.
    pub known: Known,
    /// Its content stays on disk.
    pub expected: Option<Arc<Expected>>,
    /// What serves again where its probation fails, as long as that may be.
    pub standby: Option<Standby>,
    pub waits: Option<Duration>,
    /// Where it has any.
    pub checkpoints: Option<Checkpoints>,
}

/// A generation that was replaced, ready to be started once more.
#[derive(Clone)]
pub struct Standby {
    pub built: Built,
    pub expected: Option<Arc<Expected>>,
    /// What it handed over.
    pub snapshots: Option<Arc<Snapshots>>,
}

impl Running {
    /// This generation as it can be started once more, after it has handed this over. Where it is on probation
    /// itself, it is the one that has proven its worth before.
    pub fn standby(&self, snapshots: Option<Arc<Snapshots>>) -> Standby {
        self.standby.clone().unwrap_or_else(|| Standby {
            built: self.built.clone(),
            expected: self.expected.clone(),
            snapshots,
        })
    }
}

impl Group {
    pub fn routes<'a>(&'a self, name: &'a str) -> GroupRoutes<'a> {
        match &self.running {
            Some(Running {
                generation,
                built,
                waits,
                ..
            }) => GroupRoutes {
                name,
                serving: Serving::Live(generation.clone()),
                waits: *waits,
                routes: &built.spec.routes,
                down: &[],
                files: generation.files() > 0,
            },
            None => GroupRoutes {
                name,
                serving: Serving::Down,
                waits: self.waits,
                routes: &self.routes,
                down: &self.components,
                files: self.files,
            },
        }
    }

    /// The number of the generation that serves.
    pub fn serving(&self) -> Option<u64> {
        self.running
            .as_ref()
            .map(|running| running.generation.id().number)
    }
}
