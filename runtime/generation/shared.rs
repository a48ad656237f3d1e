//! `instances = "shared"`: one store for the whole group. Calls run one after another, in order of
//! arrival; whoever has the store's lock runs its own.

use std::sync::Arc;

use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    task::JoinHandle,
};

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

type Locked = OwnedMutexGuard<LastingStore>;

/// How often a busy store is looked at before its call waits in line: about as long as a small page takes,
/// which is less than it costs to be woken.
const LOOKS: u32 = 40;

/// The store, where it is free or soon is. It never is as long as others wait in line.
fn try_lock(store: &Arc<Mutex<LastingStore>>) -> Option<Locked> {
    (0..LOOKS).find_map(|look| {
        if look > 0 {
            std::hint::spin_loop();
        }
        store.clone().try_lock_owned().ok()
    })
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
    pub async fn hand_over(self: Arc<Self>, mut call: Box<Call>) -> Result<(), RequestError> {
        let Some(store) = self.store.clone() else {
            return Err(call.not_begun());
        };
        let locked = match try_lock(&store) {
            Some(store) => Some(store),
            None => Box::pin(self.lock(store)).await,
        };
        let Some(mut store) = locked else {
            return Err(call.not_begun());
        };
        call.begin();
        let page = (call.entry.slice, call.entry.place);
        let pace = self.setting.pace.clone();
        let answer = Box::pin(async move {
            if let Some(call) = self.setting.admit(call) {
                store.answer(call).await;
            }
            drop((store, self));
        });
        pace.run(page, answer).await;
        Ok(())
    }

    /// Waits for the store, in order of arrival. `None` where the generation is ended meanwhile.
    async fn lock(&self, store: Arc<Mutex<LastingStore>>) -> Option<Locked> {
        tokio::select! {
            biased;
            () = self.setting.end.cancelled() => None,
            store = store.lock_owned() => Some(store),
        }
    }
}
