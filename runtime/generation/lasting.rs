//! A store that goes on from call to call, and that a new one of the same generation replaces when it
//! dies. Knows not how many others there are.

use std::sync::Arc;

use super::{
    Incident,
    call::{Call, Death, Live},
    paused::{Pause, attend},
    setting::Setting,
};
use crate::project::ComponentId;

pub struct LastingStore {
    setting: Arc<Setting>,
    slice: usize,
    /// `None` after a trap, until the next store is there.
    live: Option<Live>,
    /// A call has ended well in it.
    has_served: bool,
}

impl LastingStore {
    pub fn new(setting: Arc<Setting>, slice: usize, live: Live) -> Self {
        Self {
            setting,
            slice,
            live: Some(live),
            has_served: false,
        }
    }

    pub async fn answer(&mut self, call: Box<Call>) {
        let page = call.name.component.clone();
        let setting = self.setting.clone();
        let live = match self.living().await {
            Ok(live) => live,
            Err(death) => return self.setting.give_up(*call, death),
        };
        let fell = |name, death: &Death| setting.report(name, death);
        let called = live.call(call, setting.limits.request_time, &setting.end, &fell);
        match called.await {
            Ok(()) => {
                self.has_served = true;
                self.setting.succeeded(&page);
            }
            Err(death) => Box::pin(self.replace(&page, &death)).await,
        }
    }

    /// Answers nobody for a while.
    pub async fn pause(&mut self, pause: Pause) {
        let lived = self.live.is_some();
        attend(&mut self.live, &self.setting, pause).await;
        if lived && self.live.is_none() && !self.setting.end.is_cancelled() {
            self.renew().await;
        }
    }

    /// Tells its components that no request is to come.
    pub async fn stop(&mut self) {
        if let Some(live) = &mut self.live {
            self.setting.stop(live).await;
        }
    }

    /// A new store in the place of one that died in a call; later, where no call can begin now.
    async fn replace(&mut self, page: &ComponentId, death: &Death) {
        self.live = None;
        if death.is_trap() && !self.has_served {
            self.setting.failed_at_once(page);
        }
        let Setting { gate, end, .. } = &*self.setting;
        // Where nothing may begin, perhaps nothing ever does.
        if self.setting.rests(page) || !gate.is_open() || end.is_cancelled() {
            return;
        }
        self.renew().await;
    }

    async fn renew(&mut self) {
        if let Err(death) = self.living().await {
            let reason = self.setting.refusal(&death).message;
            tracing::error!(generation = %self.setting.id, "no new store: {reason}");
        }
    }

    /// The store, or a new one of the same generation where the last one died.
    async fn living(&mut self) -> Result<&mut Live, Death> {
        let live = match self.live.take() {
            Some(live) => live,
            None => {
                let live = Box::pin(self.setting.start_again(self.slice)).await?;
                self.has_served = false;
                (self.setting.observer)(&self.setting.id, Incident::Recovered);
                live
            }
        };
        Ok(self.live.insert(live))
    }
}
