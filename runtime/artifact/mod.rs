//! One `GroupSpec` into one [`Artifact`]: taken apart, wired, composed, compiled, checked against the
//! host, ready to be instantiated. Knows neither what is running nor HTTP.
//!
//! `parts` -> `graph` -> `compose` -> `modules`: the first three are pure.

mod backtrace;
mod cache;
mod compose;
mod data;
mod describe;
mod faults;
mod globals;
pub mod graph;
mod lifecycle;
mod limits;
mod mismatch;
mod module_type;
mod modules;
mod parts;
mod probe;
mod renumber;
mod segments;
mod slices;
mod split;
mod types;
pub mod wit;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use rayon::prelude::*;
use tokio_util::sync::CancellationToken;
use wasmtime::{
    Module,
    component::{Component, ComponentExportIndex, InstancePre, Linker},
};

use self::{
    backtrace::Code,
    cache::Cache,
    compose::{Composer, Mismatch},
    graph::{Graph, Surroundings},
    modules::{Compiler, Job},
    parts::{Member, Reader},
    slices::Slice,
};
pub use self::{
    backtrace::{Backtrace, explain_trap},
    describe::{CoreModule, Description, Producer},
    faults::with_files,
    lifecycle::{HooksExport, Lifecycle, Lifecycles, StateExport, is_state},
    mismatch::{Side, explain},
    modules::Effort,
    parts::Parts,
    split::Splitting,
};
use crate::{
    diagnostic::Diagnostic,
    engine::{Caches, Engines, Kind},
    host::{self, Handler, Host},
    project::{ComponentId, Digest, GroupSpec, Instances},
};

/// One linked and compiled set of all components of a group; stores are instantiated from it.
pub struct Artifact {
    kind: Kind,
    /// What stores are made of: one of all components for a `shared` group, else one for each page
    /// component and what it reaches. What no page reaches is the last, which nobody calls.
    pub slices: Vec<InstancePre<Host>>,
    /// The page components, and where each one's handler is found in an instance.
    pub entries: BTreeMap<ComponentId, Entry>,
    /// What is called at the beginning and the end of a store, for each slice.
    pub lifecycles: Vec<Lifecycles>,
    /// Builds it anew for when the pool of stores is exhausted, where its stores are from a pool.
    pub on_demand: Option<OnDemand>,
    /// What its stores run on.
    pub engines: Engines,
    /// The code of each core module and whose it is.
    modules: Vec<Code>,
    /// With the modules, what stays in the builder's caches as long as this artifact lives.
    parts: (Arc<Composition>, Vec<Arc<Member>>),
}

/// Builds an artifact whose stores are made on demand, from the same parts. Blocks.
pub type OnDemand = Box<dyn Fn() -> Result<Artifact, Vec<Diagnostic>> + Send + Sync>;

impl Artifact {
    /// True where its stores are from a pool.
    pub fn is_pooled(&self) -> bool {
        self.kind.pooled
    }

    /// The component whose code trapped, as far as the error has a backtrace.
    pub fn component_of(&self, error: &wasmtime::Error) -> Option<&ComponentId> {
        backtrace::component_of(error, &self.modules)
    }

    /// The components of the group, each once.
    pub fn components(&self) -> impl Iterator<Item = &ComponentId> {
        self.parts.1.iter().map(|member| &member.id)
    }

    /// What was running when a guest trapped.
    pub fn backtrace(&self, error: &wasmtime::Error) -> Option<Backtrace> {
        Backtrace::of(error, &self.modules)
    }
}

/// The handler of one page component.
#[derive(Clone)]
pub struct Entry {
    pub handler: Handler,
    /// The slice in whose stores it is called: an index of [`Artifact::slices`].
    pub slice: usize,
    /// Which of the slice's handlers it is, counted from 0.
    pub place: usize,
    /// The handler's function in an instance of the slice.
    pub function: ComponentExportIndex,
}

/// What a build cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Taking apart, resolving, composing.
    pub link: Duration,
    /// Machine code for modules and skeleton.
    pub compile: Duration,
    pub effort: Effort,
}

/// The members of a group wired together: everything but their code and data.
struct Composition {
    slices: Vec<Arc<Skeleton>>,
    entries: BTreeMap<ComponentId, Entry>,
}

/// The members of one slice wired together, and the handlers that are called in it.
struct Skeleton {
    component: Component,
    handlers: BTreeMap<ComponentId, (Handler, ComponentExportIndex)>,
    lifecycles: Lifecycles,
}

/// Builds artifacts; one for the whole server, so that code is shared.
pub struct Builder {
    engines: Engines,
    reader: Reader,
    compiler: Compiler,
    compositions: Cache<(Kind, Digest), Composition>,
    skeletons: Cache<(Kind, Digest), Skeleton>,
    /// Each made when it is first needed.
    linkers: BTreeMap<Kind, OnceLock<Linker<Host>>>,
}

impl Builder {
    /// Errors: the host's own interfaces cannot be linked, or threads cannot be started.
    pub fn new(engines: &Engines, caches: Caches) -> wasmtime::Result<Self> {
        let linkers = Kind::ALL.map(|kind| (kind, OnceLock::new()));
        let builder = Self {
            engines: engines.clone(),
            reader: Reader::new(Splitting::default()),
            compiler: Compiler::new(engines.clone(), caches)?,
            compositions: Cache::default(),
            skeletons: Cache::default(),
            linkers: linkers.into_iter().collect(),
        };
        builder.linker(Kind::PLAIN)?;
        builder.linker(Kind::CONCURRENT)?;
        Ok(builder)
    }

    /// With components taken apart as far as `splitting` says.
    pub fn with_splitting(self, splitting: Splitting) -> Self {
        Self {
            reader: Reader::new(splitting),
            ..self
        }
    }

    /// Takes the components of a group apart. Errors: all files that are no component, at once.
    pub fn read(&self, spec: &GroupSpec) -> Result<Parts, Vec<Diagnostic>> {
        let (parts, unread) = self.read_each(spec);
        if unread.is_empty() {
            Ok(parts)
        } else {
            Err(unread.into_iter().map(|(_, diagnostic)| diagnostic).collect())
        }
    }

    /// Takes those components of a group apart that can be. The others, and what is wrong with each.
    pub fn read_each(&self, spec: &GroupSpec) -> (Parts, Vec<(ComponentId, Diagnostic)>) {
        let known = |digest| self.compiler.has(digest);
        self.compiler.install(|| self.reader.read_each(spec, &known))
    }

    /// How many compiled modules some artifact uses; others are not kept in memory.
    pub fn live_modules(&self) -> usize {
        self.compiler.live()
    }

    /// Puts what was compiled since the last time on disk. Blocks.
    pub fn save(&self) {
        self.compiler.save();
    }

    /// Links and compiles the parts of one group. Blocks for as long as the compiler needs.
    /// Errors: all that does not fit together, at once.
    pub fn build(
        &self,
        spec: &GroupSpec,
        parts: &Parts,
        world: &impl Surroundings,
        give_up: &CancellationToken,
    ) -> Result<(Artifact, Cost), Vec<Diagnostic>> {
        let kind = kind(spec, parts);
        match self.build_for(kind, spec, parts, world, give_up) {
            // It may be too large for the pool. What was compiled is found in the caches.
            Err(_) if kind.pooled && !give_up.is_cancelled() => {
                self.build_for(kind.on_demand(), spec, parts, world, give_up)
            }
            built => built,
        }
    }

    /// As [`Self::build`], for stores that are not from a pool.
    pub fn build_on_demand(
        &self,
        spec: &GroupSpec,
        parts: &Parts,
        world: &impl Surroundings,
    ) -> Result<Artifact, Vec<Diagnostic>> {
        self.build_for(parts.kind(), spec, parts, world, &CancellationToken::new())
            .map(|(artifact, _)| artifact)
    }

    fn build_for(
        &self,
        kind: Kind,
        spec: &GroupSpec,
        parts: &Parts,
        world: &impl Surroundings,
        give_up: &CancellationToken,
    ) -> Result<(Artifact, Cost), Vec<Diagnostic>> {
        self.compiler.check_caches();
        let linking = Instant::now();
        let compose = || self.compose(kind, spec, parts, world);
        let key = (kind, parts.composition(&spec.wire, is_sliced(spec)));
        let (composition, _) = self.compositions.get_or_make(key, compose)?;
        let link = linking.elapsed();

        let compiling = Instant::now();
        let (compiled, effort) = self.compile(kind, spec, parts, give_up)?;
        let compile = compiling.elapsed();

        let slices = self
            .instantiate_pre(kind, &composition, parts, &compiled)
            .map_err(|error| self.host_mismatch(spec, parts, world, &error))?;
        let artifact = Artifact {
            kind,
            on_demand: None,
            slices,
            entries: composition.entries.clone(),
            lifecycles: composition
                .slices
                .iter()
                .map(|skeleton| skeleton.lifecycles.clone())
                .collect(),
            engines: self.engines.clone(),
            modules: parts
                .modules()
                .zip(compiled)
                .map(|((part, split), module)| Code {
                    module,
                    component: part.origin(),
                    range: split.range(),
                })
                .collect(),
            parts: (
                composition,
                parts.members.iter().map(|part| part.member.clone()).collect(),
            ),
        };
        Ok((
            artifact,
            Cost {
                link,
                compile,
                effort,
            },
        ))
    }

    fn compose(
        &self,
        kind: Kind,
        spec: &GroupSpec,
        parts: &Parts,
        world: &impl Surroundings,
    ) -> Result<Composition, Vec<Diagnostic>> {
        let graph = graph::resolve(&spec.name, &parts.interfaces(), &spec.wire, world)
            .map_err(|findings| with_files(findings, spec))?;
        let pages: BTreeSet<_> = parts.pages().collect();
        let is_page = |id: &ComponentId| pages.contains(id);
        let slices = if is_sliced(spec) {
            slices::per_page(&graph, is_page)
        } else {
            slices::whole(&graph, is_page)
        };
        if slices.len() > 1 {
            // Components that never meet in one store are of one group all the same: what they share by
            // name has to be of one type. This composes bytes only; what is compiled are the slices.
            for whole in slices::whole(&graph, is_page) {
                compose_slice(spec, parts, &whole, &graph)?;
            }
        }
        let skeletons: Result<Vec<_>, _> = self.compiler.install(|| {
            let slices = slices.par_iter();
            slices
                .map(|slice| self.skeleton(kind, spec, parts, slice, &graph))
                .collect()
        });
        let slices = skeletons?;
        let entries = entries(&slices);
        Ok(Composition { slices, entries })
    }

    fn skeleton(
        &self,
        kind: Kind,
        spec: &GroupSpec,
        parts: &Parts,
        slice: &Slice,
        graph: &Graph,
    ) -> Result<Arc<Skeleton>, Vec<Diagnostic>> {
        let edges = slice.edges(graph);
        let make = || {
            let (composed, exports) = compose_slice(spec, parts, slice, &edges)?;
            let component = self
                .compiler
                .skeleton(kind, &composed)
                .map_err(|reason| self.blame(spec, parts, &reason))?;
            let handlers = handlers(&component, &exports);
            let lifecycles = lifecycle::lifecycles(&component, &exports);
            Ok::<_, Vec<Diagnostic>>(Skeleton {
                component,
                handlers,
                lifecycles,
            })
        };
        let (skeleton, _) = self
            .skeletons
            .get_or_make((kind, parts.slice(slice, &edges)), make)?;
        Ok(skeleton)
    }

    /// Puts the modules into their slots and the host's interfaces beside them.
    fn instantiate_pre(
        &self,
        kind: Kind,
        composition: &Composition,
        parts: &Parts,
        compiled: &[Arc<Module>],
    ) -> wasmtime::Result<Vec<InstancePre<Host>>> {
        let mut linker = self.linker(kind)?.clone();
        for ((_, module), compiled) in parts.modules().zip(compiled) {
            linker.root().module(&module.slot, compiled)?;
        }
        let slices = composition.slices.iter();
        slices
            .map(|skeleton| linker.instantiate_pre(&skeleton.component))
            .collect()
    }

    /// With what the host offers. Errors: none that a user could cause.
    fn linker(&self, kind: Kind) -> wasmtime::Result<&Linker<Host>> {
        let place = &self.linkers[&kind];
        match place.get() {
            Some(linker) => Ok(linker),
            None => {
                let linker = host::linker(&self.engines, kind)?;
                Ok(place.get_or_init(|| linker))
            }
        }
    }

    fn compile(
        &self,
        kind: Kind,
        spec: &GroupSpec,
        parts: &Parts,
        give_up: &CancellationToken,
    ) -> Result<(Vec<Arc<Module>>, Effort), Vec<Diagnostic>> {
        let jobs: Vec<Job<'_>> = parts
            .modules()
            .map(|(part, module)| Job {
                digest: module.digest,
                is_data: module.is_data(),
                bytes: Box::new(|| match part.binary() {
                    Ok(binary) => Ok(module.bytes(&binary).into_owned()),
                    Err(diagnostic) => Err(diagnostic.message),
                }),
            })
            .collect();
        self.compiler.modules(kind, &jobs, give_up).map_err(|refused| {
            let owners: Vec<&ComponentId> = parts.modules().map(|(part, _)| &part.member.id).collect();
            let components = refused.into_iter().filter_map(|(index, reason)| {
                let component = spec.components.get(owners[index])?;
                Some(parts::invalid(component, &reason))
            });
            components.collect()
        })
    }
}

/// The engine for the stores of a group. Those of isolated requests come and go with each.
fn kind(spec: &GroupSpec, parts: &Parts) -> Kind {
    match spec.instances {
        Instances::Isolated => parts.kind().from_pool(),
        Instances::Shared | Instances::Pool(_) => parts.kind(),
    }
}

/// True where each page component has stores of its own.
fn is_sliced(spec: &GroupSpec) -> bool {
    spec.instances != Instances::Shared
}

/// Composes the members of one slice. Errors: all that do not fit together, at once.
fn compose_slice(
    spec: &GroupSpec,
    parts: &Parts,
    slice: &Slice,
    edges: &Graph,
) -> Result<(Vec<u8>, Vec<compose::Export>), Vec<Diagnostic>> {
    let members = parts.members.iter().map(|part| &*part.member);
    let members = members.filter(|member| slice.members.contains(&member.id));
    let is_called = |id: &ComponentId, interface: &str| {
        let is_handler = slice.serves.contains(id) && Handler::of(interface).is_some();
        is_handler || lifecycle::is_lifecycle(interface)
    };
    Composer::new(members)
        .and_then(|composer| composer.compose(edges, is_called))
        .map_err(|mismatch| match mismatch {
            Mismatch::Components(findings) => with_files(findings, spec),
            Mismatch::Group(diagnostic) => vec![diagnostic],
        })
}

fn handlers(
    skeleton: &Component,
    exports: &[compose::Export],
) -> BTreeMap<ComponentId, (Handler, ComponentExportIndex)> {
    let mut handlers: BTreeMap<ComponentId, (Handler, ComponentExportIndex)> = BTreeMap::new();
    for export in exports {
        let function = skeleton
            .get_export_index(None, &export.name)
            .and_then(|instance| skeleton.get_export_index(Some(&instance), "handle"));
        let (Some(handler), Some(function)) = (Handler::of(&export.interface), function) else {
            continue;
        };
        // One that exports both handlers is served by the one that streams.
        let better = handlers
            .get(&export.component)
            .is_none_or(|(other, _)| *other < handler);
        if better {
            handlers.insert(export.component.clone(), (handler, function));
        }
    }
    handlers
}

fn entries(slices: &[Arc<Skeleton>]) -> BTreeMap<ComponentId, Entry> {
    let of_slice = |(slice, skeleton): (usize, &Arc<Skeleton>)| {
        let handlers = skeleton.handlers.clone().into_iter().enumerate();
        handlers.map(move |(place, (component, (handler, function)))| {
            let entry = Entry {
                handler,
                slice,
                place,
                function,
            };
            (component, entry)
        })
    };
    slices.iter().enumerate().flat_map(of_slice).collect()
}
