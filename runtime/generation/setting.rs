//! What all stores of a generation have in common: what they are made of, their limits, and who is told
//! of their end. Knows neither how many there are nor who calls them.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{
    GenerationId, Incident, Observer, RequestError,
    call::{Call, Death, Live},
};
use crate::{
    artifact::Artifact,
    diagnostic::Diagnostic,
    host,
    project::{ComponentId, Limits},
};

pub struct Setting {
    pub id: GenerationId,
    pub artifact: Arc<Artifact>,
    pub limits: Limits,
    pub observer: Observer,
    /// The drain deadline.
    pub end: CancellationToken,
}

impl Setting {
    /// A new store for a slice of the artifact.
    /// Errors: a start that traps, takes longer than the start-time, or is ended.
    pub async fn start(&self, slice: usize) -> Result<Live, Death> {
        let slice = &self.artifact.slices[slice];
        let store = host::store(slice.engine(), &self.id.group, self.limits.memory);
        Live::start(store, slice, self.limits.start_time, &self.end).await
    }

    /// Starts a store of each slice before the generation serves, whether or not it is kept: so a
    /// component that cannot start is refused, however its group's stores are made.
    pub async fn start_each(&self) -> Result<Vec<Live>, Diagnostic> {
        let mut started = Vec::new();
        for slice in 0..self.artifact.slices.len() {
            started.push(self.start(slice).await.map_err(|death| self.refusal(&death))?);
        }
        Ok(started)
    }

    /// Waits for one of `turns`, in order of arrival. Errors: the generation is ended meanwhile.
    pub async fn turn(&self, turns: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, RequestError> {
        tokio::select! {
            biased;
            () = self.end.cancelled() => Err(RequestError::Ended),
            turn = turns.clone().acquire_owned() => turn.map_err(|_| RequestError::Ended),
        }
    }

    /// Answers the call of a store that did not start, and says why.
    pub fn give_up(&self, call: Call, death: Death) {
        // Its client may be gone, which is all the same here.
        let _ = call.reply.send(Err(death.as_request_error()));
        match death {
            Death::Ended => {}
            Death::TimeOver(_) | Death::Trap(_) => {
                let (component, message) = (
                    self.blamed(&death).cloned().unwrap_or(call.component),
                    self.refusal(&death).message,
                );
                (self.observer)(&self.id, Incident::Trapped { component, message });
            }
        }
    }

    /// Says why a store died in a call of `component`.
    pub fn report(&self, component: ComponentId, death: &Death) {
        if matches!(death, Death::Ended) {
            return;
        }
        let component = self.blamed(death).cloned().unwrap_or(component);
        let message = death.to_string();
        (self.observer)(&self.id, Incident::Trapped { component, message });
    }

    fn blamed(&self, death: &Death) -> Option<&ComponentId> {
        match death {
            Death::Trap(error) => self.artifact.component_of(error),
            Death::TimeOver(_) | Death::Ended => None,
        }
    }

    /// What is told of a store that did not start.
    pub fn refusal(&self, death: &Death) -> Diagnostic {
        let group = &self.id.group;
        if matches!(death, Death::TimeOver(_)) {
            let limit = humantime::format_duration(self.limits.start_time);
            let message = format!("the group {group} did not start within {limit}");
            return Diagnostic::new("start-time-over", message)
                .help("look for a loop in a start function, or raise `start-time` in [groups.NAME.limits]");
        }
        let who = self
            .blamed(death)
            .map_or_else(|| format!("the group {group}"), ToString::to_string);
        let message = format!("{who} failed while it was instantiated: {death}");
        Diagnostic::new("start-trapped", message)
    }
}
