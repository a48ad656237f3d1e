//! A `shared` group with a WASI HTTP 0.3 page: one store after another in its event loop. A store that a
//! guest has stopped takes no new calls, and sees its others to their end beside its successor.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};

use super::{
    Incident, RequestError,
    call::{Call, Death, Live},
    concurrent::{self, Terms, Visit},
    intake::{Calls, Intake, Next},
    paused::{Pause, Paused, attend},
    setting::{FailedStart, Setting},
};
use crate::{
    clock,
    host::{CallName, Handler},
};

/// Where the stores take their calls from; the last one ends when this is gone, or at the drain deadline.
pub struct Interleaved {
    calls: mpsc::Sender<Box<Call>>,
    pauses: mpsc::Sender<Pause>,
    setting: Weak<Setting>,
}

impl Interleaved {
    /// Errors: a start that traps, or that takes longer than the start-time.
    pub async fn start(setting: Arc<Setting>) -> Result<(Self, JoinHandle<()>), FailedStart> {
        let (calls, inbox) = mpsc::channel(setting.limits.in_flight.max(1));
        let (pauses, wanted) = mpsc::channel(1);
        let live = setting.start_each().await?.pop();
        let own = Arc::downgrade(&setting);
        let over = tokio::spawn(run(setting, live, inbox, wanted));
        let interleaved = Self {
            calls,
            pauses,
            setting: own,
        };
        Ok((interleaved, over))
    }

    pub async fn hand_over(&self, call: Box<Call>) -> Result<(), RequestError> {
        self.calls.send(call).await.map_err(|unsent| unsent.0.not_begun())
    }

    /// Waits until no guest is at work, and has the store answer nobody. `None` where that takes longer than
    /// a call may.
    pub async fn pause(&self) -> Option<Paused> {
        let (paused, (pause, begins), limit) = {
            let setting = self.setting.upgrade()?;
            let (paused, pause, begins) = Paused::new(setting.id.clone(), setting.gate.clone());
            (paused, (pause, begins), setting.limits.request_time)
        };
        let begun = async {
            // One after another: a swap waits for a checkpoint.
            self.pauses.send(pause).await.ok()?;
            begins.await.ok()
        };
        clock::timeout(limit, begun).await.ok()??;
        Some(paused)
    }
}

/// True where the group needs an event loop: it costs, so other groups do without.
pub fn is_for(setting: &Setting) -> bool {
    let mut entries = setting.artifact.entries.values();
    entries.any(|entry| entry.handler == Handler::WasiHttp03)
}

/// Answers calls until nobody can send another, or the generation is ended.
async fn run(
    setting: Arc<Setting>,
    mut live: Option<Live>,
    inbox: mpsc::Receiver<Box<Call>>,
    pauses: mpsc::Receiver<Pause>,
) {
    let gate = setting.clone();
    let calls = Calls::new(inbox, pauses, move |call| gate.admit(call));
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
        let goes_on = tokio::select! {
            biased;
            () = setting.end.cancelled() => break,
            goes_on = setting.gate.passed() => goes_on,
        };
        if !goes_on {
            // Dropped, it sends what waits away.
            break;
        }
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

async fn serve(setting: Arc<Setting>, live: Live, intake: Intake) {
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
    let fell = |name: CallName, death: &Death| {
        if death.is_trap() && !has_served.load(Ordering::Relaxed) {
            setting.failed_at_once(&name.component);
        }
        setting.report(name, death);
    };
    let mut visit = Visit::new(&terms);
    let (mut live, mut intake) = (Some(live), Some(intake));
    while let Some(store) = &mut live {
        match concurrent::serve(store, &mut intake, &mut visit, &terms, &fell).await {
            Ok(Some(pause)) => {
                attend(&mut live, &setting, pause).await;
                if setting.gate.is_over()
                    && let Some(mut calls) = intake.take()
                {
                    calls.end();
                }
            }
            Ok(None) => return setting.stop(store).await,
            // It was reported when it came to that.
            Err(_) => return,
        }
    }
    // It died while it was paused, which was reported; clients that still read from it cannot go on.
    visit.fall(&Death::Ended);
}

/// A new store of the same generation.
async fn successor(setting: &Setting) -> Option<Live> {
    let started = setting.start_again(0).await;
    let checked = started.and_then(|mut live| match live.check_all(0) {
        Ok(()) => Ok(live),
        Err(error) => Err(Death::trap(error)),
    });
    match checked {
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

/// Takes the next call, or pause, in place of a store that did not start.
async fn refuse(setting: &Setting, mut calls: Intake) {
    let next = tokio::select! {
        biased;
        () = setting.end.cancelled() => Next::Over,
        next = calls.next(true) => next,
    };
    match next {
        Next::Call(call) => {
            setting.failed_at_once(&call.name.component);
            // Its client may be gone, which is all the same here.
            let _ = call.reply.send(Err(RequestError::Trapped));
        }
        Next::Pause(pause) => {
            attend(&mut None, setting, pause).await;
            if setting.gate.is_over() {
                calls.end();
            }
        }
        Next::Over => {}
    }
}
