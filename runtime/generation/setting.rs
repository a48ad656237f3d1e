//! What all stores of a generation have in common: what they are made of, their limits, and who is told
//! of their end. Knows neither how many there are nor who calls them.

use std::sync::Arc;

use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use wasmtime::PoolConcurrencyLimitError;

use super::{
    Failure, GenerationId, Incident, Observer, RequestError, Snapshots, Step,
    breaker::{Breakers, Change, IN_A_ROW},
    call::{Call, Death, Live},
    gate::Gate,
    lifecycle::Terms,
    memory::Memory,
    pace::Pace,
    probation::{Probationer, Verdict},
    traces::Traces,
};
use crate::{
    artifact::{Artifact, Entry},
    clock,
    diagnostic::Diagnostic,
    host::{CallName, Handler, Provision},
    project::{ComponentId, Limits},
};

/// A generation that did not start, and the component at fault where one is known to be.
pub struct FailedStart {
    pub component: Option<ComponentId>,
    pub diagnostic: Diagnostic,
}

/// Nobody's fault in particular.
impl From<Diagnostic> for FailedStart {
    fn from(diagnostic: Diagnostic) -> Self {
        Self {
            component: None,
            diagnostic,
        }
    }
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
    pub gate: Arc<Gate>,
    pub probation: Option<Arc<Probationer>>,
    /// What its components remember is handed over, and taken over.
    pub migrates: bool,
    /// It does not begin before it was given what the generation before hands over.
    pub inherits: bool,
    pub memory: Memory,
    /// The drain deadline.
    pub end: CancellationToken,
}

impl Setting {
    /// A new store for a slice of the artifact, told of its start.
    /// Errors: a start that traps, fails, takes longer than the start-time, or is ended.
    pub async fn start(&self, slice: usize) -> Result<Live, Death> {
        let mut live = self.instantiate(slice).await?;
        self.begin(&mut live).await.map_err(died)?;
        Ok(live)
    }

    /// A new store in the place of one that died. It begins with the newest that is known of its state;
    /// without, where it cannot load that.
    /// Errors: as for `start`.
    pub async fn start_again(&self, slice: usize) -> Result<Live, Death> {
        match self.start(slice).await {
            Err(Death::Lifecycle(failure)) if failure.step == Step::Load => {
                tracing::error!(generation = %self.id, "the new store begins without what was saved: {failure}");
                self.memory.forget();
                self.start(slice).await
            }
            started => started,
        }
    }

    /// Where there is no place in the pool, a store that is made on demand.
    async fn instantiate(&self, slice: usize) -> Result<Live, Death> {
        match self.instantiate_of(&self.artifact, slice).await {
            Err(Death::Trap(error, _)) if error.is::<PoolConcurrencyLimitError>() => {
                let artifact = Box::pin(self.artifact_on_demand(error)).await?;
                self.instantiate_of(artifact, slice).await
            }
            started => started,
        }
    }

    async fn instantiate_of(&self, artifact: &Arc<Artifact>, slice: usize) -> Result<Live, Death> {
        let engine = artifact.slices[slice].engine();
        let store = self.provision.store(engine).map_err(Death::trap)?;
        let mut live = Live::start(store, artifact, slice, self.limits.start_time, &self.end).await?;
        live.find_lifecycle(&artifact.lifecycles[slice]).map_err(died)?;
        Ok(live)
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

    /// Gives a store what is known of its state, and tells it of its start.
    async fn begin(&self, live: &mut Live) -> Result<(), Failure> {
        if live.lifecycle.is_empty() {
            return Ok(());
        }
        let terms = Terms::new(&self.limits, &self.end);
        if let Some(newest) = self.memory.newest() {
            live.load(&newest, &terms).await?;
        }
        live.tell_start(&terms).await
    }

    /// Begins the first store. Before it serves it has to show that it can hand over what it remembers: who
    /// cannot could never be replaced without a loss.
    pub async fn begin_first(&self, live: &mut Live) -> Result<(), Failure> {
        self.begin(live).await?;
        if self.migrates && live.has_state() {
            let terms = Terms::new(&self.limits, &self.end);
            self.memory.keep(live.save(&terms).await?);
        }
        Ok(())
    }

    /// Tells a store that no request is to come. It may go on past the drain deadline, for as long as a start
    /// may take.
    pub async fn stop(&self, live: &mut Live) {
        if !live.is_started || live.lifecycle.is_empty() {
            return;
        }
        let end = CancellationToken::new();
        let terms = Terms::new(&self.limits, &end);
        if let Err(failure) = live.tell_stop(&terms).await {
            self.report_failure(&failure);
        }
    }

    /// Says what of the state is not handed over.
    pub fn say_what_is_fresh(&self, live: &Live, snapshots: &Snapshots) {
        let generation = &self.id;
        for component in snapshots.keys() {
            if !live.lifecycle.iter().any(|functions| functions.loads(component)) {
                tracing::warn!(%generation, %component, "what it saved is given up: nothing of that id loads it");
            }
        }
        for component in self.artifact.components() {
            if !snapshots.contains_key(component) {
                tracing::info!(%generation, %component, "it starts fresh: nothing was saved for it");
            }
        }
    }

    /// Starts a store of each slice before the generation serves, whether or not it is kept: so a
    /// component that cannot start is refused, however its group's stores are made.
    pub async fn start_each(&self) -> Result<Vec<Live>, FailedStart> {
        let mut started = Vec::new();
        let failed = |death: Death| FailedStart {
            component: self.blamed(&death).cloned(),
            diagnostic: self.refusal(&death),
        };
        for slice in 0..self.artifact.slices.len() {
            let mut live = self.instantiate(slice).await.map_err(failed)?;
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
            if !self.inherits {
                if let Some(newest) = self.memory.newest() {
                    self.say_what_is_fresh(&live, &newest);
                }
                let begun = self.begin_first(&mut live).await;
                begun.map_err(|failure| failed(died(failure)))?;
            }
            started.push(live);
        }
        Ok(started)
    }

    /// Waits for one of `turns`, in order of arrival. `None` where the generation is ended meanwhile.
    pub async fn turn(&self, turns: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        if let Ok(turn) = turns.clone().try_acquire_owned()
            && self.gate.is_open()
        {
            return Some(turn);
        }
        Box::pin(self.turn_later(turns)).await
    }

    async fn turn_later(&self, turns: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        let turn = async {
            let turn = turns.clone().acquire_owned().await.ok()?;
            self.gate.passed().await.then_some(turn)
        };
        tokio::select! {
            biased;
            () = self.end.cancelled() => None,
            turn = turn => turn,
        }
    }

    /// The call, unless its page rests: then it is answered here.
    pub fn admit(&self, call: Box<Call>) -> Option<Box<Call>> {
        match self.breakers.admit(&call.name.component, clock::now()) {
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
        self.judge(Probationer::answered);
        if self.breakers.succeeded(page).is_some() {
            tracing::info!(generation = %self.id, component = %page, "the component answers again");
        }
    }

    /// A new store of this page did not live to the end of its first call.
    pub fn failed_at_once(&self, page: &ComponentId) {
        if self.breakers.failed(page, clock::now()) == Some(Change::Rests) {
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
        self.tell(call.name, &death, self.refusal(&death).message);
        // Its client may be gone, which is all the same here.
        let _ = call.reply.send(Err(error));
    }

    /// Says why a store died in a call: before its client is answered, who may be asked to try again.
    pub fn report(&self, name: CallName, death: &Death) {
        self.tell(name, death, death.to_string());
    }

    fn tell(&self, mut name: CallName, death: &Death, message: String) {
        if matches!(death, Death::Ended) {
            return;
        }
        if let Some(blamed) = self.blamed(death) {
            name = name.of(blamed);
        }
        if let Death::Trap(error, _) = death {
            let find = || self.artifacts().find_map(|artifact| artifact.backtrace(error));
            self.traces.tell(&self.id, &name.component, find);
        }
        (self.observer)(&self.id, Incident::Trapped { name, message });
        if !death.is_for_want_of_memory() {
            self.judge(Probationer::trapped);
        }
    }

    /// Counts for the probation, if it is on one. Where that has failed, nothing begins from here on.
    fn judge(&self, count: impl FnOnce(&Probationer) -> Option<Verdict>) {
        let Some(verdict) = self.probation.as_deref().and_then(count) else {
            return;
        };
        if verdict != Verdict::Proven {
            self.gate.close();
        }
        (self.observer)(&self.id, Incident::Judged(verdict));
    }

    /// Says that a store died of a failure, or that one failed in its end.
    pub fn report_failure(&self, failure: &Failure) {
        let name = CallName::new(&failure.component, &http::HeaderMap::new());
        let message = failure.to_string();
        (self.observer)(&self.id, Incident::Trapped { name, message });
    }

    fn blamed<'a>(&'a self, death: &'a Death) -> Option<&'a ComponentId> {
        match death {
            Death::Lifecycle(failure) => Some(&failure.component),
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
        if let Death::Lifecycle(failure) = death {
            return failure.diagnostic(group);
        }
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

fn died(failure: Failure) -> Death {
    Death::Lifecycle(Box::new(failure))
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
