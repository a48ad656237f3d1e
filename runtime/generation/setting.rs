//! What all stores of a generation have in common: what they are made of, their limits, and who is told
//! of their end. Knows neither how many there are nor who calls them.

use std::{sync::Arc, time::Instant};

use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use wasmtime::PoolConcurrencyLimitError;

use super::{
    GenerationId, Incident, Observer, RequestError,
    breaker::{Breakers, Change, IN_A_ROW},
    call::{Call, Death, Live},
    pace::Pace,
    traces::Traces,
};
use crate::{
    artifact::{Artifact, Entry},
    diagnostic::Diagnostic,
    host::{CallName, Handler, Provision},
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
    pub breakers: Breakers,
    pub traces: Traces,
    pub pace: Arc<Pace>,
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

    /// Waits for one of `turns`, in order of arrival. `None` where the generation is ended meanwhile.
    pub async fn turn(&self, turns: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            () = self.end.cancelled() => None,
            turn = turns.clone().acquire_owned() => turn.ok(),
        }
    }

    /// The call, unless its page rests: then it is answered here.
    pub fn admit(&self, call: Call) -> Option<Call> {
        match self.breakers.admit(&call.name.component, Instant::now()) {
            Ok(()) => Some(call),
            Err(left) => {
                // Its client may be gone, which is all the same here.
                let _ = call.reply.send(Err(RequestError::Resting(left)));
                None
            }
        }
    }

    /// True where calls of this page are refused for now.
    pub fn rests(&self, page: &ComponentId) -> bool {
        self.breakers.rests(page)
    }

    /// A call of this page ended well.
    pub fn succeeded(&self, page: &ComponentId) {
        if self.breakers.succeeded(page).is_some() {
            tracing::info!(generation = %self.id, component = %page, "the component answers again");
        }
    }

    /// A new store of this page did not live to the end of its first call.
    pub fn failed_at_once(&self, page: &ComponentId) {
        if self.breakers.failed(page, Instant::now()) == Some(Change::Rests) {
            tracing::error!(
                generation = %self.id,
                component = %page,
                "the component trapped at once in {IN_A_ROW} new stores, one after another: its requests are \
                 answered with 503, and one is tried from time to time"
            );
        }
    }

    /// Answers the call of a store that did not start, and says why.
    pub fn give_up(&self, call: Call, death: Death) {
        if !matches!(death, Death::Ended) && !death.is_for_want_of_memory() {
            self.failed_at_once(&call.name.component);
        }
        let error = if death.is_for_want_of_memory() {
            RequestError::NoMemory
        } else {
            death.as_request_error()
        };
        // Its client may be gone, which is all the same here.
        let _ = call.reply.send(Err(error));
        self.tell(call.name, &death, self.refusal(&death).message);
    }

    /// Says why a store died in a call.
    pub fn report(&self, name: CallName, death: &Death) {
        self.tell(name, death, death.to_string());
    }

    fn tell(&self, mut name: CallName, death: &Death, message: String) {
        if matches!(death, Death::Ended) {
            return;
        }
        if let Some(blamed) = self.blamed(death) {
            name.component = blamed.clone();
        }
        if let Death::Trap(error, _) = death {
            let find = || self.artifacts().find_map(|artifact| artifact.backtrace(error));
            self.traces.tell(&self.id, &name.component, find);
        }
        (self.observer)(&self.id, Incident::Trapped { name, message });
    }

    fn blamed(&self, death: &Death) -> Option<&ComponentId> {
        match death {
            Death::Trap(error, _) => self.artifacts().find_map(|artifact| artifact.component_of(error)),
            Death::TimeOver(_) | Death::Ended => None,
        }
    }

    /// What its stores may be made of.
    fn artifacts(&self) -> impl Iterator<Item = &Arc<Artifact>> {
        [Some(&self.artifact), self.on_demand.get()].into_iter().flatten()
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
        if death.is_for_want_of_memory() {
            let help = "wait until others need less, or raise `memory` in [server.limits]";
            return diagnostic.help(help);
        }
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
