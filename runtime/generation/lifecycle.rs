//! The lifecycle functions of the components in one store: what they hand over, and what they are told of
//! the beginning and the end. Knows neither whose store it is nor what follows from a failure.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use http::HeaderMap;
use tokio_util::sync::CancellationToken;
use wasmtime::component::{ComponentType, Instance, Lift, Lower, TypedFunc};

use super::call::{Death, Live, within};
use crate::{
    artifact::{HooksExport, Lifecycle, Lifecycles, StateExport},
    clock,
    diagnostic::Diagnostic,
    host::CallName,
    project::{ComponentId, Limits},
};

/// `wasmhost:lifecycle/state.snapshot`
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Snapshot {
    pub schema: String,
    pub bytes: Vec<u8>,
}

/// What the components of a store hand over, by component.
pub type Snapshots = BTreeMap<ComponentId, Arc<Snapshot>>;

/// The functions of one component, their types checked.
pub struct Functions {
    component: ComponentId,
    state: Option<(Save, Load)>,
    hooks: Option<(Start, Stop)>,
}

type Save = TypedFunc<(), (Result<Snapshot, String>,)>;
type Load = TypedFunc<(Arc<Snapshot>,), (Result<(), String>,)>;
type Start = TypedFunc<(), (Result<(), String>,)>;
type Stop = TypedFunc<(), ()>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Save,
    Load,
    Start,
    Stop,
}

impl Step {
    fn function(self) -> &'static str {
        match self {
            Self::Save => "wasmhost:lifecycle/state.save",
            Self::Load => "wasmhost:lifecycle/state.load",
            Self::Start => "wasmhost:lifecycle/hooks.start",
            Self::Stop => "wasmhost:lifecycle/hooks.stop",
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::Save => "state-save-failed",
            Self::Load => "state-load-failed",
            Self::Start => "start-refused",
            Self::Stop => "stop-failed",
        }
    }
}

/// A lifecycle function that did not do what it is for.
pub struct Failure {
    pub component: ComponentId,
    pub step: Step,
    pub reason: Reason,
}

pub enum Reason {
    /// In the component's own words.
    Said(String),
    /// The store is dead.
    Died(Death),
    TooLarge {
        bytes: u64,
        limit: u64,
    },
    /// The function is one by name alone.
    Mismatch(wasmtime::Error),
}

/// What the functions are called under.
pub struct Terms<'a> {
    pub limits: &'a Limits,
    /// All of them together have until then.
    pub deadline: Instant,
    pub end: &'a CancellationToken,
}

impl<'a> Terms<'a> {
    /// From now on, for as long as a start may take.
    pub fn new(limits: &'a Limits, end: &'a CancellationToken) -> Self {
        Self {
            limits,
            deadline: clock::now() + limits.start_time,
            end,
        }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(clock::now())
    }
}

impl Live {
    /// Finds the functions of the slice's components. Errors: one that is not of its interface's type.
    pub fn find_lifecycle(&mut self, lifecycles: &Lifecycles) -> Result<(), Failure> {
        for (component, lifecycle) in lifecycles {
            let functions = self.functions_of(component, lifecycle)?;
            self.lifecycle.push(Arc::new(functions));
        }
        Ok(())
    }

    fn functions_of(&mut self, component: &ComponentId, exports: &Lifecycle) -> Result<Functions, Failure> {
        let Self { store, instance, .. } = self;
        let instance: Instance = *instance;
        let failed = |step| {
            move |error| Failure {
                component: component.clone(),
                step,
                reason: Reason::Mismatch(error),
            }
        };
        let mut state = None;
        if let Some(StateExport { save, load }) = exports.state {
            let save = instance.get_typed_func(&mut *store, save);
            let load = instance.get_typed_func(&mut *store, load);
            state = Some((
                save.map_err(failed(Step::Save))?,
                load.map_err(failed(Step::Load))?,
            ));
        }
        let mut hooks = None;
        if let Some(HooksExport { start, stop }) = exports.hooks {
            let start = instance.get_typed_func(&mut *store, start);
            let stop = instance.get_typed_func(&mut *store, stop);
            hooks = Some((
                start.map_err(failed(Step::Start))?,
                stop.map_err(failed(Step::Stop))?,
            ));
        }
        Ok(Functions {
            component: component.clone(),
            state,
            hooks,
        })
    }

    /// True where some component has a state to hand over.
    pub fn has_state(&self) -> bool {
        self.lifecycle.iter().any(|functions| functions.state.is_some())
    }

    /// What its components hand over. Errors: one that fails; the store lives on unless it died.
    pub async fn save(&mut self, terms: &Terms<'_>) -> Result<Snapshots, Failure> {
        let mut snapshots = Snapshots::new();
        let mut bytes = 0;
        // What it returns lies in its memory, so that is the bound; and the limit can be named.
        let most = terms.limits.memory.saturating_mul(2);
        self.store
            .set_hostcall_fuel(usize::try_from(most).unwrap_or(usize::MAX));
        let saved = async {
            for functions in self.lifecycle.clone() {
                let Some((save, _)) = functions.state else {
                    continue;
                };
                let call = self.call_lifecycle(&functions.component, Step::Save, save, (), terms);
                let snapshot = call.await?.0;
                let failed = |reason| functions.failed(Step::Save, reason);
                let snapshot = snapshot.map_err(|words| failed(Reason::Said(words)))?;
                bytes += (snapshot.bytes.len() + snapshot.schema.len()) as u64;
                let limit = terms.limits.snapshot;
                if bytes > limit {
                    return Err(failed(Reason::TooLarge { bytes, limit }));
                }
                snapshots.insert(functions.component.clone(), Arc::new(snapshot));
            }
            Ok(snapshots)
        };
        let saved = saved.await;
        let usual = usize::try_from(terms.limits.call_size).unwrap_or(usize::MAX);
        self.store.set_hostcall_fuel(usual);
        saved
    }

    /// Hands each component what the one with its id saved. Errors: one that fails.
    pub async fn load(&mut self, snapshots: &Snapshots, terms: &Terms<'_>) -> Result<(), Failure> {
        for functions in self.lifecycle.clone() {
            let (Some((_, load)), Some(snapshot)) = (functions.state, snapshots.get(&functions.component))
            else {
                continue;
            };
            let snapshot = (snapshot.clone(),);
            let call = self.call_lifecycle(&functions.component, Step::Load, load, snapshot, terms);
            let loaded = call.await?.0;
            loaded.map_err(|words| functions.failed(Step::Load, Reason::Said(words)))?;
        }
        Ok(())
    }

    /// Tells the components that requests are to come. Errors: one that fails.
    pub async fn tell_start(&mut self, terms: &Terms<'_>) -> Result<(), Failure> {
        for functions in self.lifecycle.clone() {
            let Some((start, _)) = functions.hooks else {
                continue;
            };
            let call = self.call_lifecycle(&functions.component, Step::Start, start, (), terms);
            let started = call.await?.0;
            started.map_err(|words| functions.failed(Step::Start, Reason::Said(words)))?;
        }
        self.is_started = true;
        Ok(())
    }

    /// Tells the components that no request is to come, where they were told of the start.
    /// Errors: one that fails; the others are told all the same, as long as the store lives.
    pub async fn tell_stop(&mut self, terms: &Terms<'_>) -> Result<(), Failure> {
        if !std::mem::take(&mut self.is_started) {
            return Ok(());
        }
        for functions in self.lifecycle.clone() {
            let Some((_, stop)) = functions.hooks else {
                continue;
            };
            self.call_lifecycle(&functions.component, Step::Stop, stop, (), terms)
                .await?;
        }
        Ok(())
    }

    async fn call_lifecycle<P, R>(
        &mut self,
        component: &ComponentId,
        step: Step,
        function: TypedFunc<P, R>,
        params: P,
        terms: &Terms<'_>,
    ) -> Result<R, Failure>
    where
        P: wasmtime::component::ComponentNamedList + Lower + Send + Sync + 'static,
        R: wasmtime::component::ComponentNamedList + Lift + Send + Sync + 'static,
    {
        let _calling = self
            .store
            .data()
            .calling(&CallName::new(component, &HeaderMap::new()));
        self.store.data_mut().take_refused_memory();
        self.store.set_epoch_deadline(1);
        let guest = function.call_async(&mut self.store, params);
        let done = within(terms.left(), terms.end, std::pin::pin!(guest)).await;
        done.map_err(|death| Failure {
            component: component.clone(),
            step,
            reason: Reason::Died(match death {
                Death::TimeOver(_) => Death::TimeOver(terms.limits.start_time),
                death => death.with_memory(&mut self.store),
            }),
        })
    }
}

impl Functions {
    fn failed(&self, step: Step, reason: Reason) -> Failure {
        Failure {
            component: self.component.clone(),
            step,
            reason,
        }
    }

    /// True where it can take over what a component of its id saved.
    pub fn loads(&self, component: &ComponentId) -> bool {
        self.state.is_some() && self.component == *component
    }
}

impl Failure {
    /// The store in which it happened cannot be used any more.
    pub fn is_fatal(&self) -> bool {
        matches!(self.reason, Reason::Died(_))
    }

    /// What is told of a swap, or a start, that is refused for it.
    pub fn diagnostic(&self, group: &str) -> Diagnostic {
        let diagnostic = Diagnostic::new(self.code(), self.to_string());
        let limits = format!("[groups.{group}.limits]");
        let give_up = format!(
            "; `state = \"fresh\"` in [groups.{group}] gives up what the group remembers, with the next swap"
        );
        let help = match (&self.reason, self.step) {
            (Reason::TooLarge { .. }, _) => {
                format!("hand over less, or raise `snapshot` in {limits}{give_up}")
            }
            (Reason::Died(Death::TimeOver(_)), _) => {
                format!("look for a loop in it, or raise `start-time` in {limits}")
            }
            (Reason::Died(Death::Trap(_, Some(_))), _) => format!("raise `memory` in {limits}"),
            (Reason::Mismatch(_), _) => "build it against wit/lifecycle.wit".to_owned(),
            (_, Step::Load) => {
                format!("have it load what the generation before saves, by its schema{give_up}")
            }
            (_, Step::Save) => format!("mend its save{give_up}"),
            (_, Step::Start | Step::Stop) => "what it says is its own: mend what it asks for".to_owned(),
        };
        diagnostic.help(help)
    }

    fn code(&self) -> &'static str {
        match &self.reason {
            Reason::TooLarge { .. } => "state-too-large",
            Reason::Mismatch(_) => "lifecycle-mismatch",
            Reason::Died(Death::TimeOver(_)) => "start-time-over",
            Reason::Said(_) | Reason::Died(_) => self.step.code(),
        }
    }
}

/// For the log and the events.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            component,
            step,
            reason,
        } = self;
        let function = step.function();
        match reason {
            // `Debug` escapes the guest's own words.
            Reason::Said(words) => write!(f, "{function} of {component} returned an error: {words:?}"),
            Reason::Died(Death::TimeOver(limit)) => {
                let limit = humantime::format_duration(*limit);
                write!(f, "{function} of {component} did not end within {limit}")
            }
            Reason::Died(death) => write!(f, "{function} of {component} failed: {death}"),
            Reason::TooLarge { bytes, limit } => write!(
                f,
                "with {function} of {component}, what the group hands over comes to {bytes} bytes, and {limit} are \
                 the most"
            ),
            Reason::Mismatch(error) => write!(f, "{function} of {component} is not of that type: {error:#}"),
        }
    }
}
