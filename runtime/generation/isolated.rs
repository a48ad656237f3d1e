//! `instances = "isolated"`: a fresh store for each request, made when its call begins and gone after its
//! last byte. As many at once as there may be requests in flight.

use std::sync::Arc;

use tokio::{sync::Semaphore, task::JoinHandle};

use super::{
    RequestError,
    call::{Call, Death},
    setting::{FailedStart, Setting},
    tasks::{self, Alive, Caller},
};

pub struct Isolated {
    setting: Arc<Setting>,
    /// One for each store that there may be: a client that leaves gives up its place in flight, but its
    /// store is still there.
    turns: Arc<Semaphore>,
    _alive: Alive,
}

impl Isolated {
    /// Starts each slice once, to see that it starts.
    /// Errors: a start that traps, or that takes longer than the start-time.
    pub async fn start(setting: Arc<Setting>) -> Result<(Caller<Self>, JoinHandle<()>), FailedStart> {
        for mut live in setting.start_each().await? {
            setting.stop(&mut live).await;
        }
        let (end, most) = (setting.end.clone(), setting.limits.in_flight);
        let isolated = |alive| Self {
            setting,
            turns: Arc::new(Semaphore::new(most)),
            _alive: alive,
        };
        Ok(tasks::start(end, isolated, async {}))
    }

    /// Answers the call in a store of its own, which goes on where its client goes away.
    pub async fn hand_over(self: Arc<Self>, mut call: Box<Call>) -> Result<(), RequestError> {
        let Some(turn) = self.setting.turn(&self.turns).await else {
            return Err(call.not_begun());
        };
        call.begin();
        let page = (call.entry.slice, call.entry.place);
        let pace = self.setting.pace.clone();
        let answer = Box::pin(async move {
            self.answer(call).await;
            drop(turn);
        });
        pace.run(page, answer).await;
        Ok(())
    }

    async fn answer(&self, call: Box<Call>) {
        let Setting { limits, end, .. } = &*self.setting;
        let Some(call) = self.setting.admit(call) else {
            return;
        };
        let name = call.name.clone();
        let mut live = match self.setting.start(call.entry.slice).await {
            Ok(live) => live,
            Err(death) => return self.setting.give_up(*call, death),
        };
        let fell = |name, death: &Death| self.setting.report(name, death);
        match live.call(call, limits.request_time, end, &fell).await {
            Ok(()) => {
                self.setting.succeeded(&name.component);
                self.setting.stop(&mut live).await;
            }
            Err(death) => {
                if death.is_trap() {
                    self.setting.failed_at_once(&name.component);
                }
            }
        }
        live.break_off();
    }
}
