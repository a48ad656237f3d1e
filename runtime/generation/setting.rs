//! What all stores of a generation have in common: what they are made of, their limits, and who is told
//! of their end. Knows neither how many there are nor who calls them.

use std::sync::Arc;

use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use wasmtime::PoolConcurrencyLimitError;

use super::{
    GenerationId, Incident, Observer, RequestError,
    call::{Call, Death, Live},
};
use crate::{
    artifact::{Artifact, Entry},
    diagnostic::Diagnostic,
    host::{Handler, Provision},
    project::{ComponentId, Limits},
};

/// A generation that did not start, and the component at fault where one is known to be.
pub struct FailedStart {
    pub component: Option<ComponentId>,
    pub diagnostic: Diagnostic,
}

pub struct Setting {
    pub id: GenerationId,
    pub artifact: Arc<Artifact>,
    /// The same for stores that are made on demand; built when the pool was first exhausted.
    pub on_demand: OnceCell<Arc<Artifact>>,
    pub limits: Limits,
    pub provision: Provision,
    pub observer: Observer,
    /// The drain deadline.
    pub end: CancellationToken,
}

impl Setting {
    /// A new store for a slice of the artifact.
    /// Errors: a start that traps, takes longer than the start-time, or is ended.
    pub async fn start(&self, slice: usize) -> Result<Live, Death> {
        match self.start_of(&self.artifact, slice).await {
            Err(Death::Trap(error, _)) if error.is::<PoolConcurrencyLimitError>() => {
                let artifact = Box::pin(self.artifact_on_demand(error)).await?;
                self.start_of(artifact, slice).await
            }
            started => started,
        }
    }

    async fn start_of(&self, artifact: &Arc<Artifact>, slice: usize) -> Result<Live, Death> {
        let engine = artifact.slices[slice].engine();
        let store = self.provision.store(engine).map_err(Death::trap)?;
        Live::start(store, artifact, slice, self.limits.start_time, &self.end).await
    }

    /// Errors: `exhausted` where there is none, and what keeps it from being built.
    async fn artifact_on_demand(&self, exhausted: wasmtime::Error) -> Result<&Arc<Artifact>, Death> {
        let build = || async {
            tracing::warn!(generation = %self.id, "no place in the pool: stores are made on demand");
            let artifact = self.artifact.clone();
            let built = tokio::task::spawn_blocking(move || artifact.on_demand.as_ref().map(|build| build()));
            match built.await {
                Ok(Some(Ok(artifact))) => Ok(Arc::new(artifact)),
                Ok(Some(Err(diagnostics))) => {
                    let reasons: Vec<_> = diagnostics.iter().map(ToString::to_string).collect();
                    Err(Death::trap(wasmtime::Error::msg(reasons.join("; "))))
                }
                Ok(None) | Err(_) => Err(Death::trap(exhausted)),
            }
        };
        self.on_demand.get_or_try_init(build).await
    }

    /// Starts a store of each slice before the generation serves, whether or not it is kept: so a
    /// component that cannot start is refused, however its group's stores are made.
    pub async fn start_each(&self) -> Result<Vec<Live>, FailedStart> {
        let mut started = Vec::new();
        for slice in 0..self.artifact.slices.len() {
            let mut live = self.start(slice).await.map_err(|death| FailedStart {
                component: self.blamed(&death).cloned(),
                diagnostic: self.refusal(&death),
            })?;
            for (component, entry) in self
                .artifact
                .entries
                .iter()
                .filter(|(_, entry)| entry.slice == slice)
            {
                live.check(component, entry).map_err(|error| FailedStart {
                    component: Some(component.clone()),
                    diagnostic: handler_mismatch(component, entry, &error),
                })?;
            }
            started.push(live);
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
            Death::TimeOver(_) | Death::Trap(..) => {
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
            Death::Trap(error, _) => {
                let mut artifacts = [Some(&self.artifact), self.on_demand.get()].into_iter().flatten();
                artifacts.find_map(|artifact| artifact.component_of(error))
            }
            Death::TimeOver(_) | Death::Ended => None,
        }
    }

    /// What is told of a store that did not start.
    pub fn refusal(&self, death: &Death) -> Diagnostic {
        let group = &self.id.group;
        if matches!(death, Death::TimeOver(_)) {
            let limit = humantime::format_duration(self.limits.start_time);
            let message = format!("the group {group} did not start within {limit}");
            return Diagnostic::new("start-time-over", message).help(format!(
                "look for a loop in a start function, or raise `start-time` in [groups.{group}.limits]"
            ));
        }
        let who = self
            .blamed(death)
            .map_or_else(|| format!("the group {group}"), ToString::to_string);
        let message = format!("{who} failed while it was instantiated: {death}");
        let diagnostic = Diagnostic::new("start-trapped", message);
        if matches!(death, Death::Trap(_, Some(_))) {
            return diagnostic.help(format!("raise `memory` in [groups.{group}.limits]"));
        }
        diagnostic
    }
}

/// A page component whose handler is one by name alone.
fn handler_mismatch(component: &ComponentId, entry: &Entry, error: &wasmtime::Error) -> Diagnostic {
    let (interface, source) = match entry.handler {
        Handler::Page => ("wasmhost:page/handler@0.1.0", "wit/page.wit"),
        Handler::WasiHttp02 => (
            "wasi:http/incoming-handler@0.2",
            "the WIT of wasi:http that its toolchain comes with",
        ),
        Handler::WasiHttp03 => (
            "wasi:http/handler@0.3",
            "the WIT of wasi:http that its toolchain comes with",
        ),
    };
    let message =
        format!("the function `handle` that {component} exports is not that of {interface}: {error:#}");
    Diagnostic::new("handler-mismatch", message).help(format!("build it against {source}"))
}
