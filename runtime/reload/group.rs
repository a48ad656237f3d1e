//! What is known of one group that serves, or would.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::causes::Contents;
use crate::{
    generation::{Generation, Retirement},
    project::{ComponentId, Digest, Known, Route, StaticFile},
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
    pub digest: Digest,
    pub contents: Contents,
    /// The contents of its components' files, which need not be held.
    pub known: Known,
    pub files: BTreeMap<String, StaticFile>,
    pub routes: Vec<Route>,
    pub exports: Vec<String>,
    pub drain: Duration,
    pub waits: Option<Duration>,
}

impl Group {
    pub fn routes<'a>(&'a self, name: &'a str) -> GroupRoutes<'a> {
        match &self.running {
            Some(Running {
                generation,
                routes,
                waits,
                ..
            }) => GroupRoutes {
                name,
                serving: Serving::Live(generation.clone()),
                waits: *waits,
                routes,
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
