//! `instances = "shared"`: one store for the whole group. Calls run one after another, in order of
//! arrival; whoever has the store's lock runs its own.

use std::sync::Arc;

use tokio::{sync::Mutex, task::JoinHandle};

use super::{
    RequestError,
    call::Call,
    lasting::LastingStore,
    setting::{FailedStart, Setting},
    tasks::{self, Alive, Caller},
};

pub struct Shared {
    setting: Arc<Setting>,
    /// `None` where no page component is.
    store: Option<Arc<Mutex<LastingStore>>>,
    _alive: Alive,
}

impl Shared {
    /// Errors: a start that traps, or that takes longer than the start-time.
    pub async fn start(setting: Arc<Setting>) -> Result<(Caller<Self>, JoinHandle<()>), FailedStart> {
        let live = setting.start_each().await?.pop();
        let store = live.map(|live| LastingStore::new(setting.clone(), 0, live));
        let end = setting.end.clone();
        Ok(tasks::start(end, |alive| Self {
            setting,
            store: store.map(|store| Arc::new(Mutex::new(store))),
            _alive: alive,
        }))
    }

    /// Waits for the store, and has it answer the call.
    pub async fn hand_over(self: Arc<Self>, mut call: Call) -> Result<(), RequestError> {
        let Some(store) = self.store.clone() else {
            return Err(call.not_begun());
        };
        let mut store = tokio::select! {
            biased;
            () = self.setting.end.cancelled() => return Err(call.not_begun()),
            store = store.lock_owned() => store,
        };
        call.begin();
        let pace = self.setting.pace.clone();
        pace.run((call.entry.slice, call.entry.place), async move {
            if let Some(call) = self.setting.admit(call) {
                store.answer(call).await;
            }
            drop((store, self));
        })
        .await;
        Ok(())
    }
}
