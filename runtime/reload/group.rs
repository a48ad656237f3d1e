//! What the control task knows of one group.

use std::{sync::Arc, time::Duration};

use super::plan::{Contents, Known};
use crate::{
    generation::{Generation, Retirement},
    project::{ComponentId, Digest, Route},
    router::{GroupRoutes, Serving},
};

#[derive(Default)]
pub struct Group {
    pub running: Option<Running>,
    /// The content that was refused last, so that it is said once.
    pub refused: Option<Digest>,
    /// The routes of a group that does not run yet.
    pub routes: Vec<Route>,
    /// The components of a group that does not run yet.
    pub components: Vec<ComponentId>,
}

/// The generation that serves.
pub struct Running {
    pub generation: Arc<Generation>,
    pub retirement: Retirement,
    pub digest: Digest,
    pub contents: Contents,
    pub routes: Vec<Route>,
    pub exports: Vec<String>,
    pub drain: Duration,
}

impl Group {
    pub fn known(&self) -> Known {
        Known {
            serving: self.running.as_ref().map(|running| running.digest),
            refused: self.refused,
        }
    }

    pub fn routes<'a>(&'a self, name: &'a str) -> GroupRoutes<'a> {
        match &self.running {
            Some(Running {
                generation, routes, ..
            }) => GroupRoutes {
                name,
                serving: Serving::Live(generation.clone()),
                routes,
                down: &[],
            },
            None => GroupRoutes {
                name,
                serving: Serving::Down,
                routes: &self.routes,
                down: &self.components,
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
