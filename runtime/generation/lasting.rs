//! A store that goes on from call to call, and that a new one of the same generation replaces when it
//! dies. Knows not how many others there are.

use std::sync::Arc;

use super::{
    Incident, RequestError,
    call::{Call, Live},
    setting::Setting,
};

pub struct LastingStore {
    setting: Arc<Setting>,
    slice: usize,
    /// `None` after a trap, until the next store is there.
    live: Option<Live>,
}

impl LastingStore {
    pub fn new(setting: Arc<Setting>, slice: usize, live: Live) -> Self {
        Self {
            setting,
            slice,
            live: Some(live),
        }
    }

    pub async fn answer(&mut self, call: Call) {
        let name = call.name.clone();
        let (limit, end) = (self.setting.limits.request_time, self.setting.end.clone());
        if self.live.is_none() {
            Box::pin(self.restart()).await;
        }
        let Some(live) = &mut self.live else {
            // Its client may be gone, which is all the same here.
            let _ = call.reply.send(Err(RequestError::Trapped));
            return;
        };
        if let Err(death) = live.call(call, limit, &end).await {
            self.live = None;
            self.setting.report(name, &death);
            Box::pin(self.restart()).await;
        }
    }

    /// A new store of the same generation where the last one died.
    async fn restart(&mut self) {
        if self.setting.end.is_cancelled() {
            return;
        }
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
