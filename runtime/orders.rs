//! What operators ask of the control plane. Knows neither who asks nor how it is carried out.

use std::collections::BTreeMap;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::status::ReadyGroup;

/// Orders that may wait at once; who brings another waits to hand it in.
const MAX_WAITING: usize = 64;

pub type Reply<T> = oneshot::Sender<T>;

/// One order. Whoever gave it may be gone when it is answered.
pub enum Order {
    /// Tell what runs.
    Status(Reply<BTreeMap<String, GroupStatus>>),
    /// Serve what lies on disk now; answered when it is served or refused.
    Swap {
        /// `None` for every group.
        group: Option<String>,
        reply: Reply<()>,
    },
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

impl Orders {
    pub async fn status(&self) -> Result<BTreeMap<String, GroupStatus>, NoControl> {
        self.give(Order::Status).await
    }

    pub async fn swap(&self, group: Option<String>) -> Result<(), NoControl> {
        self.give(|reply| Order::Swap { group, reply }).await
    }

    async fn give<T>(&self, order: impl FnOnce(Reply<T>) -> Order) -> Result<T, NoControl> {
        let (reply, answer) = oneshot::channel();
        self.0.send(order(reply)).await.map_err(|_| NoControl)?;
        answer.await.map_err(|_| NoControl)
    }
}
