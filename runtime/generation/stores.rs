//! The stores of a generation, as its group's policy has them: who is started, and where a call goes.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::{
    RequestError,
    call::Call,
    interleaved::{self, Interleaved},
    isolated::Isolated,
    paused::Paused,
    pool::Pools,
    setting::{FailedStart, Setting},
    shared::Shared,
    tasks::Caller,
};
use crate::project::Instances;

pub enum Stores {
    Shared(Caller<Shared>),
    Interleaved(Interleaved),
    Pool(Caller<Pools>),
    Isolated(Caller<Isolated>),
}

impl Stores {
    /// Starts a store of each slice, and the task that ends when the last store is gone.
    /// Errors: a start that traps, or that takes longer than the start-time.
    pub async fn start(
        instances: Instances,
        setting: Arc<Setting>,
    ) -> Result<(Self, JoinHandle<()>), FailedStart> {
        Ok(match instances {
            Instances::Shared if interleaved::is_for(&setting) => {
                let (interleaved, over) = Interleaved::start(setting).await?;
                (Self::Interleaved(interleaved), over)
            }
            Instances::Shared => {
                let (shared, over) = Shared::start(setting).await?;
                (Self::Shared(shared), over)
            }
            Instances::Pool(most) => {
                let (pools, over) = Pools::start(setting, most).await?;
                (Self::Pool(pools), over)
            }
            Instances::Isolated => {
                let (isolated, over) = Isolated::start(setting).await?;
                (Self::Isolated(isolated), over)
            }
        })
    }

    /// Gives a call to a store, which answers it whether or not its client waits.
    /// Errors: the generation was ended before a store took it.
    pub async fn hand_over(&self, call: Box<Call>) -> Result<(), RequestError> {
        match self {
            Self::Interleaved(stores) => return stores.hand_over(call).await,
            Self::Shared(shared) => {
                if let Some(shared) = shared.owner() {
                    return shared.hand_over(call).await;
                }
            }
            Self::Pool(pools) => {
                if let Some(pools) = pools.owner() {
                    return pools.hand_over(call).await;
                }
            }
            Self::Isolated(isolated) => {
                if let Some(isolated) = isolated.owner() {
                    return isolated.hand_over(call).await;
                }
            }
        }
        Err(call.not_begun())
    }

    /// Has the one store answer nobody, once what was there before has ended. `None` where that takes longer
    /// than a call may, or where there is more than one store.
    pub async fn pause(&self) -> Option<Paused> {
        match self {
            Self::Interleaved(stores) => stores.pause().await,
            Self::Shared(shared) => shared.owner()?.pause().await,
            Self::Pool(_) | Self::Isolated(_) => None,
        }
    }

    /// True where there is one for the whole group.
    pub fn is_one(&self) -> bool {
        matches!(self, Self::Shared(_) | Self::Interleaved(_))
    }
}
