//! `instances = "shared"`: one store for the whole group, and the task that owns it. Calls run one after
//! another, in order of arrival.

use std::sync::Arc;

use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    RequestError,
    call::Call,
    interleaved,
    lasting::LastingStore,
    setting::{FailedStart, Setting},
};

/// Where the store's task takes its calls from; it ends when this is gone, or at the drain deadline.
pub struct Shared {
    calls: mpsc::Sender<Call>,
}

impl Shared {
    /// Errors: a start that traps, or that takes longer than the start-time.
    pub async fn start(setting: Arc<Setting>) -> Result<(Self, JoinHandle<()>), FailedStart> {
        let (calls, inbox) = mpsc::channel(setting.limits.in_flight.max(1));
        let mut started = setting.start_each().await?;
        if interleaved::is_for(&setting) {
            let over = tokio::spawn(interleaved::run(setting, started.pop(), inbox));
            return Ok((Self { calls }, over));
        }
        let store = started
            .pop()
            .map(|live| LastingStore::new(setting.clone(), 0, live));
        Ok((Self { calls }, tokio::spawn(run(setting, store, inbox))))
    }

    pub async fn hand_over(&self, call: Call) -> Result<(), RequestError> {
        self.calls.send(call).await.map_err(|_| RequestError::Ended)
    }
}

/// Answers calls until nobody can send another, or the generation is ended.
async fn run(setting: Arc<Setting>, store: Option<LastingStore>, mut inbox: mpsc::Receiver<Call>) {
    let Some(mut store) = store else { return };
    loop {
        let call = tokio::select! {
            biased;
            () = setting.end.cancelled() => return,
            call = inbox.recv() => call,
        };
        match call {
            Some(call) if call.reply.is_closed() => {}
            Some(call) => store.answer(call).await,
            None => return,
        }
    }
}
