//! Tells the log where guests trapped: at most once a second for each generation, since to find the lines takes
//! longer than to trap.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::GenerationId;
use crate::{artifact::Backtrace, project::ComponentId};

const PAUSE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct Traces {
    last: Mutex<Option<Instant>>,
}

impl Traces {
    /// Logs it later, by a thread that may block.
    pub fn tell(&self, id: &GenerationId, component: &ComponentId, find: impl FnOnce() -> Option<Backtrace>) {
        if !self.is_due(Instant::now()) {
            return;
        }
        let Some(backtrace) = find() else { return };
        let (generation, component) = (id.clone(), component.clone());
        tokio::task::spawn_blocking(move || {
            let lines = backtrace.resolve();
            tracing::error!(%generation, %component, "the component trapped in{lines}");
        });
    }

    fn is_due(&self, now: Instant) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= PAUSE);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traps_of_the_same_second_are_traced_once() {
        let (traces, start) = (Traces::default(), Instant::now());
        let due: Vec<_> = [0, 1, 999, 1000, 1500, 2000]
            .map(|millis| traces.is_due(start + Duration::from_millis(millis)))
            .into();
        assert_eq!(due, [true, false, false, true, false, true]);
    }
}
