//! What operators ask of the control plane. Knows neither who asks nor how it is carried out.

use std::collections::BTreeMap;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::{diagnostic::Diagnostic, kept::Taken, status::ReadyGroup};

/// Orders that may wait at once; who brings another waits to hand it in.
const MAX_WAITING: usize = 64;

pub type Reply<T> = oneshot::Sender<T>;

/// One order. Whoever gave it may be gone when it is answered.
pub enum Order {
    /// Tell what runs.
    Status(Reply<Running>),
    /// Take no change before it is asked for, or, thawed, follow the tree again.
    Freeze {
        frozen: bool,
        reply: Reply<Result<(), NoWatch>>,
    },
    /// Serve what lies on disk now; answered when it is served or refused.
    Swap {
        /// `None` for every group that is not pinned.
        group: Option<String>,
        reply: Reply<Result<(), Vec<Diagnostic>>>,
    },
    /// Serve a content that served before.
    RollBack {
        group: String,
        /// A generation, or the beginning of a content's digest; `None` for the newest other one.
        to: Option<String>,
        reply: Reply<Result<RolledBack, Vec<Diagnostic>>>,
    },
    /// Have what serves of a group stay, whatever lies on disk; or not any more.
    Pin {
        group: String,
        pinned: bool,
        reply: Reply<Result<(), Vec<Diagnostic>>>,
    },
    /// Have all that lies on disk ready but the commit; answered when it is, or refused.
    Prepare(Reply<Result<(), Vec<Diagnostic>>>),
    /// Serve what was prepared, in one step.
    Commit(Reply<Result<(), Uncommitted>>),
    /// What was prepared is not wanted any more.
    GiveUp(Reply<()>),
}

/// Why what was prepared is not served.
#[derive(Debug)]
pub enum Uncommitted {
    /// It is not there any more.
    Lost,
    /// It could not be committed after all.
    Refused(Vec<Diagnostic>),
}

/// What became of a roll-back.
#[derive(Debug, Serialize)]
pub struct RolledBack {
    pub group: String,
    /// The generation that served.
    pub from: Option<u64>,
    pub generation: u64,
    /// Of the content that serves.
    pub digest: String,
}

/// What runs.
#[derive(Debug, Default)]
pub struct Running {
    /// No change is taken before it is asked for.
    pub frozen: bool,
    pub groups: BTreeMap<String, GroupStatus>,
}

/// What runs of one group.
#[derive(Debug, Serialize)]
pub struct GroupStatus {
    #[serde(flatten)]
    pub serving: ReadyGroup,
    /// Requests that its generation answers.
    pub in_flight: usize,
    /// Requests that wait to be in flight.
    pub queued: usize,
    /// Bytes that the stores of its generation take.
    pub memory: u64,
    /// Older generations, oldest first, that still answer requests.
    pub draining: Vec<DrainingStatus>,
    /// Its generation may still be reverted.
    pub on_probation: bool,
    /// What serves stays, whatever lies on disk.
    pub pinned: bool,
    /// The last one of its generation.
    pub checkpoint: Option<Taken>,
}

#[derive(Debug, Serialize)]
pub struct DrainingStatus {
    pub generation: u64,
    pub in_flight: usize,
}

/// Where orders go.
#[derive(Clone)]
pub struct Orders(mpsc::Sender<Order>);

pub fn orders() -> (Orders, mpsc::Receiver<Order>) {
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    (Orders(sender), receiver)
}

/// The control plane failed.
#[derive(Debug, thiserror::Error)]
#[error("the control plane failed: nothing is swapped any more")]
pub struct NoControl;

/// A server that was started without watching cannot begin to.
#[derive(Debug, thiserror::Error)]
#[error("the server was started with --frozen, and has no watch")]
pub struct NoWatch;

impl Orders {
    pub async fn status(&self) -> Result<Running, NoControl> {
        self.give(Order::Status).await
    }

    pub async fn swap(&self, group: Option<String>) -> Result<Result<(), Vec<Diagnostic>>, NoControl> {
        self.give(|reply| Order::Swap { group, reply }).await
    }

    pub async fn freeze(&self, frozen: bool) -> Result<Result<(), NoWatch>, NoControl> {
        self.give(|reply| Order::Freeze { frozen, reply }).await
    }

    pub async fn roll_back(
        &self,
        group: String,
        to: Option<String>,
    ) -> Result<Result<RolledBack, Vec<Diagnostic>>, NoControl> {
        self.give(|reply| Order::RollBack { group, to, reply }).await
    }

    pub async fn pin(&self, group: String, pinned: bool) -> Result<Result<(), Vec<Diagnostic>>, NoControl> {
        let order = |reply| Order::Pin { group, pinned, reply };
        self.give(order).await
    }

    pub async fn prepare(&self) -> Result<Result<(), Vec<Diagnostic>>, NoControl> {
        self.give(Order::Prepare).await
    }

    pub async fn commit(&self) -> Result<Result<(), Uncommitted>, NoControl> {
        self.give(Order::Commit).await
    }

    pub async fn give_up(&self) -> Result<(), NoControl> {
        self.give(Order::GiveUp).await
    }

    async fn give<T>(&self, order: impl FnOnce(Reply<T>) -> Order) -> Result<T, NoControl> {
        let (reply, answer) = oneshot::channel();
        self.0.send(order(reply)).await.map_err(|_| NoControl)?;
        answer.await.map_err(|_| NoControl)
    }
}
