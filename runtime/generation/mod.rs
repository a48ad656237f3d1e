//! Runs one artifact: its stores, who is admitted to it, and its end. Knows neither trees nor routes,
//! nor whether it is the newest.
//!
//! ```text
//!  start ──▶ serving ──▶ (last Arc gone) ──▶ store task ends ──▶ retired
//!               │ trap: the store is replaced       ▲
//!               └────────── drain deadline ─────────┘
//! ```
//! In flight is who holds an `Arc<Generation>`: the table, and the [`Lease`] of each request.

mod breaker;
mod call;
mod concurrent;
mod drain;
mod gate;
mod handover;
mod held;
mod intake;
mod interleaved;
mod isolated;
mod lasting;
mod lease;
mod lifecycle;
mod line;
mod memory;
mod pace;
mod paused;
mod pool;
mod probation;
mod registry;
mod setting;
mod shared;
mod stores;
mod tasks;
mod traces;
mod turns;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{OnceCell, Semaphore},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use self::{
    breaker::Breakers, call::Waits, gate::Gate, memory::Memory, pace::Pace, probation::Probationer,
    setting::Setting, stores::Stores, traces::Traces,
};
pub use self::{
    drain::{Drained, drain},
    handover::{HandedOver, Unwilling, hand_over, load, save},
    held::HeldBody,
    lease::{Lease, LeasedBody},
    lifecycle::{Failure, Snapshot, Snapshots, Step},
    paused::Paused,
    probation::Verdict,
    setting::FailedStart,
};
use crate::{
    artifact::{Artifact, Entry},
    engine::TotalMemory,
    files::Files,
    host::{CallName, Provision, body::Body},
    project::{ComponentId, Grants, GroupSpec, Instances, Limits, Probation, State},
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
    Trapped { name: CallName, message: String },
    /// A new store of the same generation took over.
    Recovered,
    /// Its probation is over. Where it failed, nothing begins before it is told to go on, or is replaced.
    Judged(Verdict),
}

/// Who is told of incidents.
pub type Observer = Arc<dyn Fn(&GenerationId, Incident) + Send + Sync>;

/// Why a request got no answer from its guest.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The request is whole: it can be led to a newer generation.
    #[error("the generation was ended before the request began")]
    NotBegun(Box<http::Request<Body>>),
    #[error("the component trapped")]
    Trapped,
    #[error("the component trapped at once again and again; it is tried again in {0:?}")]
    Resting(Duration),
    #[error("the component gave no valid response: {0}")]
    BadResponse(String),
    #[error("the request took longer than the group's request-time")]
    TimeOver,
    #[error("the stores and bodies of all groups take all the memory that the server may have")]
    NoMemory,
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
    files: Files,
    limits: Limits,
    stores: Stores,
    /// One for each request in flight.
    in_flight: Semaphore,
    /// Bytes that its stores take.
    memory: Arc<AtomicU64>,
    /// What stores and bodies of all groups take their memory from.
    server_memory: Arc<TotalMemory>,
    /// One for each request that is in flight or waits to be: whoever was given a permit and does not know it yet
    /// takes no place of the queue from others.
    room: AtomicUsize,
    /// Held by what no store has taken yet.
    waits: Waits,
    gate: Arc<Gate>,
    probation: Option<Arc<Probationer>>,
    end: CancellationToken,
}

/// What a generation is made from, beside its code.
#[derive(Clone, Default)]
pub struct Plan {
    pub instances: Instances,
    pub limits: Limits,
    pub grants: Grants,
    pub state: State,
    /// It begins with what the generation before hands over, and not before.
    pub inherits: bool,
    /// Where it does not inherit, it begins with what was saved in another life.
    pub begins_with: Option<Arc<Snapshots>>,
    /// What its first requests have to show.
    pub probation: Option<Probation>,
}

impl Plan {
    pub fn of(spec: &GroupSpec) -> Self {
        Self {
            instances: spec.instances,
            limits: spec.limits.clone(),
            grants: spec.grants.clone(),
            state: spec.state,
            inherits: false,
            begins_with: None,
            probation: None,
        }
    }
}

/// What is left to hold of a generation when others own it: enough to see it end, or to end it.
pub struct Retirement {
    pub id: GenerationId,
    generation: Weak<Generation>,
    waits: Weak<()>,
    end: CancellationToken,
    stores: JoinHandle<()>,
}

impl Generation {
    /// Instantiates every component of `artifact`, in stores as `plan` has them. `files` is served beside them.
    /// Errors: a start that traps, fails, or takes longer than the start-time.
    pub async fn start(
        id: GenerationId,
        artifact: Arc<Artifact>,
        plan: Plan,
        files: Files,
        observer: Observer,
    ) -> Result<(Arc<Self>, Retirement), FailedStart> {
        let Plan {
            instances,
            limits,
            grants,
            state,
            inherits,
            begins_with,
            probation,
        } = plan;
        let probation = probation.map(|terms| Arc::new(Probationer::new(terms)));
        let gate = Arc::new(Gate::new());
        let end = CancellationToken::new();
        let entries = artifact.entries.clone();
        let provision = Provision::new(&id.group, &limits, &grants, &artifact.engines)?;
        let memory = provision.memory();
        let server_memory = artifact.engines.memory.clone();
        let setting = Arc::new(Setting {
            provision,
            id: id.clone(),
            pace: Pace::new(&id.group, &artifact),
            artifact,
            on_demand: OnceCell::new(),
            limits: limits.clone(),
            traces: Traces::default(),
            observer,
            breakers: Breakers::new(),
            end: end.clone(),
            gate: gate.clone(),
            probation: probation.clone(),
            migrates: state == State::Migrate,
            inherits,
            memory: Memory::new(begins_with),
        });
        let (stores, over) = Stores::start(instances, setting.clone()).await?;
        setting.provision.serves();
        let generation = Arc::new(Self {
            id: id.clone(),
            entries,
            files,
            stores,
            in_flight: Semaphore::new(limits.in_flight),
            memory,
            server_memory,
            room: AtomicUsize::new(limits.in_flight + limits.queue),
            limits,
            waits: Waits::default(),
            gate,
            probation,
            end: end.clone(),
        });
        let retirement = Retirement {
            id,
            generation: Arc::downgrade(&generation),
            waits: Arc::downgrade(&generation.waits),
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

    /// How many static files it has.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Requests that it answers.
    pub fn in_flight(&self) -> usize {
        self.limits
            .in_flight
            .saturating_sub(self.in_flight.available_permits())
    }

    /// Requests that wait to be in flight.
    pub fn queued(&self) -> usize {
        let all = self.limits.in_flight + self.limits.queue - self.room.load(Relaxed);
        all.saturating_sub(self.in_flight())
    }

    /// Bytes that its stores take.
    pub fn memory(&self) -> u64 {
        self.memory.load(Relaxed)
    }

    /// Calls begin again, after a probation that failed without anything that could take its place.
    pub fn go_on(&self) {
        self.gate.reopen();
    }

    /// What waits to be told whether this generation goes on is led to another one.
    pub fn give_way(&self) {
        self.gate.end_if_closed();
    }

    fn entry(&self, component: &ComponentId) -> Option<&Entry> {
        self.entries.get(component)
    }

    /// Admits a request: at once, or after a wait in the queue.
    /// Errors: a queue that is full, or a wait longer than the request-time.
    pub async fn admit(self: Arc<Self>) -> Result<Lease, RequestError> {
        let take = |left: usize| left.checked_sub(1);
        if self.room.fetch_update(Relaxed, Relaxed, take).is_err() {
            return Err(RequestError::QueueFull);
        }
        let mut lease = Lease::with_room(self);
        if lease.begins() {
            return Ok(lease);
        }
        Box::pin(lease.later()).await
    }
}

impl Retirement {
    /// Of a generation that serves no longer: upgradable as long as a request holds it.
    pub fn generation(&self) -> Weak<Generation> {
        self.generation.clone()
    }

    /// Requests that have begun. Whoever still holds the generation is one in flight: the table let go of it
    /// before.
    fn begun(&self) -> usize {
        let waiting = self.waits.strong_count().saturating_sub(1);
        self.generation.strong_count().saturating_sub(waiting)
    }
}

/// How long a client should wait before it asks again, after a full queue.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
