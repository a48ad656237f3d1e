//! A store that goes on from call to call, and that a new one of the same generation replaces when it
//! dies. Knows not how many others there are.

use std::sync::Arc;

use super::{
    Incident, RequestError,
    call::{Call, Death, Live},
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

    pub async fn answer(&mut self, call: Call) {
        let component = call.component.clone();
        let (limit, end) = (self.setting.limits.request_time, self.setting.end.clone());
        if self.live.is_none() {
            Box::pin(self.restart()).await;
        }
        let Some(live) = &mut self.live else {
            // Its client may be gone, which is all the same here.
            let _ = call.reply.send(Err(RequestError::Trapped));
            return self.setting.failed_at_once(&component);
        };
        match live.call(call, limit, &end).await {
            Ok(()) => {
                self.has_served = true;
                self.setting.succeeded(&component);
            }
            Err(death) => Box::pin(self.replace(component, death)).await,
        }
    }

    /// A new store in the place of one that died in a call of `component`; later, where that rests.
    async fn replace(&mut self, component: ComponentId, death: Death) {
        self.live = None;
        if death.is_trap() && !self.has_served {
            self.setting.failed_at_once(&component);
        }
        let rests = self.setting.rests(&component);
        self.setting.report(component, &death);
        if !rests {
            self.restart().await;
        }
    }

    /// A new store of the same generation where the last one died.
    async fn restart(&mut self) {
        if self.setting.end.is_cancelled() {
            return;
        }
        self.has_served = false;
        match self.setting.start(self.slice).await {
            Ok(live) => {
                self.live = Some(live);
                (self.setting.observer)(&self.setting.id, Incident::Recovered);
            }
            Err(death) => {
                let reason = self.setting.refusal(&death).message;
                tracing::error!(generation = %self.setting.id, "no new store: {reason}");
            }
        }
    }
}
