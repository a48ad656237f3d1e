//! `instances = { pool = N }`: for each page component up to N stores of its own, each with its own state.
//! The first is there from the start, another is made when all are busy, and a call that finds N busy
//! waits for its turn, in order of arrival. The task of a call owns its store until it gives it back.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{sync::Semaphore, task::JoinHandle};

use super::{
    RequestError,
    call::Call,
    lasting::LastingStore,
    setting::{FailedStart, Setting},
    tasks::{self, Alive, Caller},
};

/// The stores of all page components.
pub struct Pools {
    setting: Arc<Setting>,
    /// One for each slice.
    pools: Arc<Vec<Pool>>,
    _alive: Alive,
}

/// The stores of one page component.
struct Pool {
    /// One for each store that there may be.
    turns: Arc<Semaphore>,
    /// The last one used is the first to be used again: so there are no more than are needed.
    idle: Mutex<Vec<LastingStore>>,
}

impl Pools {
    /// Errors: a start that traps, or that takes longer than the start-time.
    pub async fn start(
        setting: Arc<Setting>,
        most: usize,
    ) -> Result<(Caller<Self>, JoinHandle<()>), FailedStart> {
        let mut pools = Vec::new();
        for (slice, mut live) in setting.start_each().await?.into_iter().enumerate() {
            let mut entries = setting.artifact.entries.values();
            let mut idle = Vec::new();
            if entries.any(|entry| entry.slice == slice) {
                idle.push(LastingStore::new(setting.clone(), slice, live));
            } else {
                // What no page reaches was started to see that it starts: nobody calls it.
                setting.stop(&mut live).await;
            }
            pools.push(Pool {
                turns: Arc::new(Semaphore::new(most)),
                idle: Mutex::new(idle),
            });
        }
        let pools = Arc::new(pools);
        let (end, last) = (setting.end.clone(), pools.clone());
        let stop = async move {
            for pool in last.iter() {
                while let Some(mut store) = pool.take() {
                    store.stop().await;
                }
            }
        };
        let pools = |alive| Self {
            setting,
            pools,
            _alive: alive,
        };
        Ok(tasks::start(end, pools, stop))
    }

    /// Waits for a store, and has it answer the call.
    pub async fn hand_over(self: Arc<Self>, mut call: Box<Call>) -> Result<(), RequestError> {
        let pool = &self.pools[call.entry.slice];
        let Some(turn) = self.setting.turn(&pool.turns).await else {
            return Err(call.not_begun());
        };
        call.begin();
        let page = (call.entry.slice, call.entry.place);
        let pace = self.setting.pace.clone();
        let answer = Box::pin(async move {
            self.answer(call).await;
            // The store is back before the next one looks for it.
            drop(turn);
        });
        pace.run(page, answer).await;
        Ok(())
    }

    async fn answer(&self, call: Box<Call>) {
        let Some(call) = self.setting.admit(call) else {
            return;
        };
        let slice = call.entry.slice;
        let pool = &self.pools[slice];
        let mut store = match pool.take() {
            Some(store) => store,
            None => match self.setting.start(slice).await {
                Ok(live) => LastingStore::new(self.setting.clone(), slice, live),
                Err(death) => return self.setting.give_up(*call, death),
            },
        };
        store.answer(call).await;
        pool.give_back(store);
    }
}

impl Pool {
    fn take(&self) -> Option<LastingStore> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give_back(&self, store: LastingStore) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(store);
    }
}
