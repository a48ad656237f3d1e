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
    paused::Paused,
    setting::{FailedStart, Setting},
    tasks::{self, Alive, Caller},
};
use crate::clock;

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
        let store = live.map(|live| Arc::new(Mutex::new(LastingStore::new(setting.clone(), 0, live))));
        let (end, last) = (setting.end.clone(), store.clone());
        let stop = async move {
            if let Some(store) = last {
                store.lock().await.stop().await;
            }
        };
        let shared = |alive| Self {
            setting,
            store,
            _alive: alive,
        };
        Ok(tasks::start(end, shared, stop))
    }

    /// Waits for the store, and has it answer the call.
    pub async fn hand_over(self: Arc<Self>, mut call: Box<Call>) -> Result<(), RequestError> {
        let Some(store) = self.store.clone() else {
            return Err(call.not_begun());
        };
        let free = try_lock(&store).filter(|_| self.setting.gate.is_open());
        let mut store = match free {
            Some(store) => store,
            None => match Box::pin(self.wait(store)).await {
                Some(store) => store,
                None => return Err(call.not_begun()),
            },
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

    /// Waits for the store in order of arrival. `None` where nothing begins any more.
    async fn wait(&self, store: Arc<Mutex<LastingStore>>) -> Option<OwnedMutexGuard<LastingStore>> {
        let Setting { gate, end, .. } = &*self.setting;
        loop {
            let turn = tokio::select! {
                biased;
                () = end.cancelled() => return None,
                () = gate.over() => return None,
                turn = store.clone().lock_owned() => turn,
            };
            if gate.is_open() {
                return Some(turn);
            }
            drop(turn);
            if !gate.passed().await {
                return None;
            }
        }
    }

    /// Waits for the store like a call, and has it answer nobody. `None` where that takes longer than a call
    /// may.
    pub async fn pause(self: Arc<Self>) -> Option<Paused> {
        let Setting {
            id,
            gate,
            limits,
            end,
            ..
        } = &*self.setting;
        let Some(store) = self.store.clone() else {
            return Some(Paused::nothing(id.clone(), gate.clone()));
        };
        let turn = clock::timeout(limits.request_time, store.lock_owned());
        let mut store = tokio::select! {
            () = end.cancelled() => return None,
            turn = turn => turn.ok()?,
        };
        let (paused, pause, begins) = Paused::new(id.clone(), gate.clone());
        let alive = self.clone();
        tokio::spawn(async move {
            store.pause(pause).await;
            drop((store, alive));
        });
        begins.await.ok()?;
        Some(paused)
    }
}
