//! `instances = "shared"`: one store for the whole group. Calls run one after another, in order of
//! arrival, on the thread of whoever found the store free.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::{
    RequestError,
    call::Call,
    lasting::LastingStore,
    line::{Line, Turn},
    paused::Paused,
    setting::{FailedStart, Setting},
    tasks::{self, Alive, Caller},
};
use crate::{clock, engine::Work};

/// Calls of others that a connection's thread answers before its own connections have a turn.
const AT_ONCE: usize = 16;

pub struct Shared {
    setting: Arc<Setting>,
    /// `None` where no page component is.
    line: Option<Arc<Line>>,
    _alive: Alive,
}

impl Shared {
    /// Errors: a start that traps, or that takes longer than the start-time.
    pub async fn start(setting: Arc<Setting>) -> Result<(Caller<Self>, JoinHandle<()>), FailedStart> {
        let live = setting.start_each().await?.pop();
        let line = live.map(|live| Line::new(LastingStore::new(setting.clone(), 0, live)));
        let (end, last) = (setting.end.clone(), line.clone());
        let stop = async move {
            let Some(line) = last else { return };
            // Nobody else waits any more.
            let (held, _) = line.ask();
            if let Ok(mut held) = held.await
                && let Some(store) = held.store()
            {
                store.stop().await;
            }
        };
        let shared = |alive| Self {
            setting,
            line,
            _alive: alive,
        };
        Ok(tasks::start(end, shared, stop))
    }

    /// Answers the call, where nobody has the store, and those that come meanwhile; where somebody has, it is
    /// answered there.
    pub async fn hand_over(self: Arc<Self>, call: Box<Call>) -> Result<(), RequestError> {
        let Some(line) = &self.line else {
            return Err(call.not_begun());
        };
        if let Some(turn) = line.enter(call) {
            self.serve(line, turn).await;
        }
        Ok(())
    }

    /// Answers one call after another, as far as they end at once.
    async fn serve(self: &Arc<Self>, line: &Arc<Line>, turn: Turn) {
        let mut next = Some(turn);
        for _ in 0..AT_ONCE {
            let Some(turn) = next else { return };
            next = self.serve_one(line, turn).await;
        }
        if let Some(turn) = next {
            tokio::spawn(self.clone().serving(turn));
        }
    }

    /// The turn after this one, where this one ended at once.
    async fn serve_one(self: &Arc<Self>, line: &Arc<Line>, (mut held, mut call): Turn) -> Option<Turn> {
        let Setting { gate, end, pace, .. } = &*self.setting;
        if end.is_cancelled() || (!gate.is_open() && gate.is_over()) {
            held.keep();
            call.refuse();
            return line.next();
        }
        if !gate.is_open() {
            held.put_back(call);
            self.watch(line);
            return None;
        }
        call.begin();
        let page = (call.entry.slice, call.entry.place);
        let shared = self.clone();
        let answer = Box::pin(async move {
            if let Some(call) = shared.setting.admit(call)
                && let Some(store) = held.store()
            {
                store.answer(call).await;
            }
            held.keep();
        });
        let rest = pace.begin(page, answer).await;
        let Some(rest) = rest else {
            return line.next();
        };
        let (shared, line) = (self.clone(), line.clone());
        rest.go_on(move || shared.go_on(line.next()));
        None
    }

    /// Has those who wait be answered when the gate opens, and be led elsewhere when it does not.
    fn watch(self: &Arc<Self>, line: &Arc<Line>) {
        if !line.is_to_be_watched() {
            return;
        }
        let (shared, line) = (self.clone(), line.clone());
        self.setting.pace.spawn(async move {
            let Setting { gate, end, .. } = &*shared.setting;
            tokio::select! {
                () = end.cancelled() => {}
                _ = gate.passed() => {}
            }
            line.is_watched_no_more();
            shared.go_on(line.resume());
        });
    }

    /// Goes on with those who wait, on the threads that serve.
    fn go_on(self: &Arc<Self>, turn: Option<Turn>) {
        if let Some(turn) = turn {
            self.setting.pace.spawn(self.clone().serving(turn));
        }
    }

    /// As [`Self::serve`], by itself.
    fn serving(self: Arc<Self>, turn: Turn) -> Work {
        Box::pin(async move {
            if let Some(line) = &self.line {
                self.serve(line, turn).await;
            }
        })
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
        let Some(line) = self.line.clone() else {
            return Some(Paused::nothing(id.clone(), gate.clone()));
        };
        let _unheld = Unheld {
            shared: &self,
            line: &line,
        };
        let (held, turn) = line.ask();
        self.go_on(turn);
        let mut held = tokio::select! {
            () = end.cancelled() => return None,
            held = clock::timeout(limits.request_time, held) => held.ok()?.ok()?,
        };
        let (paused, pause, begins) = Paused::new(id.clone(), gate.clone());
        let shared = self.clone();
        let kept = line.clone();
        tokio::spawn(async move {
            if let Some(store) = held.store() {
                store.pause(pause).await;
            }
            held.keep();
            shared.go_on(kept.next());
        });
        begins.await.ok()?;
        Some(paused)
    }
}

/// One who waits for the store and may give up: where the store has come meanwhile, those behind go on.
struct Unheld<'a> {
    shared: &'a Arc<Shared>,
    line: &'a Arc<Line>,
}

impl Drop for Unheld<'_> {
    fn drop(&mut self) {
        self.shared.go_on(self.line.resume());
    }
}
