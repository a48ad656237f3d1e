//! A `shared` group with a WASI HTTP 0.3 page: one store after another in its event loop. A store that a
//! guest has stopped takes no new calls, and sees its others to their end beside its successor.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};

use super::{
    Incident, RequestError,
    call::{Call, Live},
    concurrent::{self, Calls, Intake, Terms},
    setting::{FailedStart, Setting},
};
use crate::host::Handler;

/// Where the stores take their calls from; the last one ends when this is gone, or at the drain deadline.
pub struct Interleaved {
    calls: mpsc::Sender<Box<Call>>,
}

impl Interleaved {
    /// Errors: a start that traps, or that takes longer than the start-time.
    pub async fn start(setting: Arc<Setting>) -> Result<(Self, JoinHandle<()>), FailedStart> {
        let (calls, inbox) = mpsc::channel(setting.limits.in_flight.max(1));
        let live = setting.start_each().await?.pop();
        Ok((Self { calls }, tokio::spawn(run(setting, live, inbox))))
    }

    pub async fn hand_over(&self, call: Box<Call>) -> Result<(), RequestError> {
        self.calls.send(call).await.map_err(|unsent| unsent.0.not_begun())
    }
}

/// True where the group needs an event loop: it costs, so other groups do without.
pub fn is_for(setting: &Setting) -> bool {
    let mut entries = setting.artifact.entries.values();
    entries.any(|entry| entry.handler == Handler::WasiHttp03)
}

/// Answers calls until nobody can send another, or the generation is ended.
async fn run(setting: Arc<Setting>, mut live: Option<Live>, inbox: mpsc::Receiver<Box<Call>>) {
    let gate = setting.clone();
    let calls = Calls::new(inbox, move |call| gate.admit(call));
    let mut stores = JoinSet::new();
    loop {
        let intake = tokio::select! {
            biased;
            () = setting.end.cancelled() => break,
            // It is free when the last store takes no calls any more.
            intake = calls.clone().lock_owned() => intake,
        };
        if intake.are_over() {
            break;
        }
        while stores.try_join_next().is_some() {}
        let next = match live.take() {
            Some(live) => Some(live),
            None => successor(&setting).await,
        };
        match next {
            Some(live) => {
                let (pace, setting) = (setting.pace.clone(), setting.clone());
                stores.spawn(async move { pace.carry(serve(setting, live, intake)).await });
            }
            None => refuse(&setting, intake).await,
        }
    }
    while stores.join_next().await.is_some() {}
}

async fn serve(setting: Arc<Setting>, mut live: Live, intake: Intake) {
    let has_served = AtomicBool::new(false);
    let terms = Terms {
        request_time: setting.limits.request_time,
        most: setting.limits.in_flight,
        end: &setting.end,
        answered: &|component| {
            has_served.store(true, Ordering::Relaxed);
            setting.succeeded(component);
        },
    };
    // It was reported when it came to that.
    let _ = concurrent::serve(&mut live, intake, &terms, &|name, death| {
        if death.is_trap() && !has_served.load(Ordering::Relaxed) {
            setting.failed_at_once(&name.component);
        }
        setting.report(name, death);
    })
    .await;
}

/// A new store of the same generation.
async fn successor(setting: &Setting) -> Option<Live> {
    match setting.start(0).await {
        Ok(live) => {
            (setting.observer)(&setting.id, Incident::Recovered);
            Some(live)
        }
        Err(death) => {
            let reason = setting.refusal(&death).message;
            tracing::error!(generation = %setting.id, "no new store: {reason}");
            None
        }
    }
}

/// Answers the next call in place of a store that did not start.
async fn refuse(setting: &Setting, mut calls: Intake) {
    let call = tokio::select! {
        biased;
        () = setting.end.cancelled() => None,
        call = calls.next(true) => call,
    };
    if let Some(call) = call {
        setting.failed_at_once(&call.name.component);
        // Its client may be gone, which is all the same here.
        let _ = call.reply.send(Err(RequestError::Trapped));
    }
}
