//! Runs one artifact: its stores, who is admitted to it, and its end. Knows neither files nor routes,
//! nor whether it is the newest.
//!
//! ```text
//!  start ──▶ serving ──▶ (last Arc gone) ──▶ store task ends ──▶ retired
//!               │ trap: the store is replaced       ▲
//!               └────────── drain deadline ─────────┘
//! ```
//! In flight is who holds an `Arc<Generation>`: the table, and the [`Lease`] of each request.

mod call;
mod concurrent;
mod drain;
mod interleaved;
mod isolated;
mod lasting;
mod lease;
mod pool;
mod registry;
mod setting;
mod shared;
mod stores;
mod tasks;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::{OnceCell, Semaphore},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub use self::{
    drain::{Drained, drain},
    lease::{Lease, LeasedBody},
    setting::FailedStart,
};
use self::{setting::Setting, stores::Stores};
use crate::{
    artifact::{Artifact, Entry},
    host::Provision,
    project::{ComponentId, Grants, Instances, Limits},
};

/// The name of a generation: `shop@3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerationId {
    pub group: Arc<str>,
    pub number: u64,
}

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.group, self.number)
    }
}

/// What happened to a store while it served.
#[derive(Clone, Debug)]
pub enum Incident {
    /// A guest trapped or ran out of time; its store is gone.
    Trapped { component: ComponentId, message: String },
    /// A new store of the same generation took over.
    Recovered,
}

/// Who is told of incidents.
pub type Observer = Arc<dyn Fn(&GenerationId, Incident) + Send + Sync>;

/// Why a request got no answer from its guest.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("the component trapped")]
    Trapped,
    #[error("the component gave no valid response: {0}")]
    BadResponse(String),
    #[error("the request took longer than the group's request-time")]
    TimeOver,
    #[error("the group's queue is full")]
    QueueFull,
    #[error("the generation was ended at its drain deadline")]
    Ended,
    #[error("the request's body is larger than the group's limit")]
    BodyTooLarge,
    #[error("the request's body could not be read: {0}")]
    BadRequest(String),
}

/// A running generation.
pub struct Generation {
    id: GenerationId,
    /// A copy: the code itself belongs to the tasks of the stores, and goes with them.
    entries: BTreeMap<ComponentId, Entry>,
    limits: Limits,
    stores: Stores,
    /// One for each request in flight.
    in_flight: Arc<Semaphore>,
    /// One for each request that waits to be in flight.
    queue: Arc<Semaphore>,
    end: CancellationToken,
}

/// What is left to hold of a generation when others own it: enough to see it end, or to end it.
pub struct Retirement {
    pub id: GenerationId,
    generation: Weak<Generation>,
    end: CancellationToken,
    stores: JoinHandle<()>,
}

impl Generation {
    /// Instantiates every component of `artifact`, in stores as `instances` has them; they reach what
    /// `grants` says.
    /// Errors: a start that traps, or that takes longer than the start-time.
    pub async fn start(
        id: GenerationId,
        artifact: Arc<Artifact>,
        instances: Instances,
        limits: Limits,
        grants: &Grants,
        observer: Observer,
    ) -> Result<(Arc<Self>, Retirement), FailedStart> {
        let end = CancellationToken::new();
        let entries = artifact.entries.clone();
        let setting = Setting {
            provision: Provision::new(&id.group, limits.memory, grants, limits.request_time),
            id: id.clone(),
            artifact,
            on_demand: OnceCell::new(),
            limits: limits.clone(),
            observer,
            end: end.clone(),
        };
        let (stores, over) = Stores::start(instances, Arc::new(setting)).await?;
        let generation = Arc::new(Self {
            id: id.clone(),
            entries,
            stores,
            in_flight: Arc::new(Semaphore::new(limits.in_flight)),
            queue: Arc::new(Semaphore::new(limits.queue)),
            limits,
            end: end.clone(),
        });
        let retirement = Retirement {
            id,
            generation: Arc::downgrade(&generation),
            end,
            stores: over,
        };
        Ok((generation, retirement))
    }

    pub fn id(&self) -> &GenerationId {
        &self.id
    }

    /// The page components of this generation.
    pub fn pages(&self) -> impl Iterator<Item = &ComponentId> {
        self.entries.keys()
    }

    fn entry(&self, component: &ComponentId) -> Option<&Entry> {
        self.entries.get(component)
    }

    /// Admits a request: at once, or after a wait in the queue.
    /// Errors: a queue that is full, or a wait longer than the request-time.
    pub async fn admit(self: Arc<Self>) -> Result<Lease, RequestError> {
        if let Ok(permit) = self.in_flight.clone().try_acquire_owned() {
            return Ok(Lease::new(self, permit));
        }
        Box::pin(self.admit_later()).await
    }

    async fn admit_later(self: Arc<Self>) -> Result<Lease, RequestError> {
        let _place = self
            .queue
            .clone()
            .try_acquire_owned()
            .map_err(|_| RequestError::QueueFull)?;
        match tokio::time::timeout(self.limits.request_time, self.in_flight.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Lease::new(self, permit)),
            Ok(Err(_)) => Err(RequestError::Ended),
            Err(_) => Err(RequestError::QueueFull),
        }
    }
}

/// How long a client should wait before it asks again, after a full queue.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
