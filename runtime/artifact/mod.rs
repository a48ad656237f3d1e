//! One `GroupSpec` into one [`Artifact`]: taken apart, wired, composed, compiled, checked against the
//! host, ready to be instantiated. Knows neither what is running nor HTTP.
//!
//! `parts` -> `graph` -> `compose` -> `modules`: the first three are pure.

mod compose;
pub mod graph;
mod modules;
mod parts;
mod split;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use wasmtime::{
    Engine, Module, WasmBacktrace,
    component::{Component, ComponentExportIndex, InstancePre, Linker},
};

use self::{
    compose::Mismatch,
    graph::{Finding, Surroundings},
    modules::Job,
};
pub use self::{
    modules::{Compiler, Effort},
    parts::Parts,
};
use crate::{
    diagnostic::Diagnostic,
    host::{self, Handler, Host},
    project::{ComponentId, GroupSpec},
};

/// One linked and compiled set of all components of a group; stores are instantiated from it.
pub struct Artifact {
    pub instance_pre: InstancePre<Host>,
    /// The page components, and where each one's handler is found in an instance.
    pub entries: BTreeMap<ComponentId, Entry>,
    /// The code of each core module and whose it is. With the skeleton's, it stays in the compiler's
    /// caches as long as this artifact lives.
    modules: Vec<(ComponentId, Arc<Module>)>,
    _skeleton: Arc<Component>,
}

impl Artifact {
    /// The component whose code trapped, as far as the error has a backtrace.
    pub fn component_of(&self, error: &wasmtime::Error) -> Option<&ComponentId> {
        let backtrace = error.downcast_ref::<WasmBacktrace>()?;
        let code = backtrace.frames().first()?.module().image_range();
        self.modules
            .iter()
            .find(|(_, module)| module.image_range() == code)
            .map(|(owner, _)| owner)
    }
}

/// The handler of one page component.
#[derive(Clone)]
pub struct Entry {
    pub handler: Handler,
    /// The handler's function in an instance of the composition.
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

/// Builds artifacts; one for the whole server, so that code is shared.
pub struct Builder {
    compiler: Compiler,
    linker: Linker<Host>,
}

impl Builder {
    /// Errors: the host's own interfaces cannot be linked, or threads cannot be started.
    pub fn new(engine: &Engine) -> wasmtime::Result<Self> {
        Ok(Self {
            compiler: Compiler::new(engine.clone())?,
            linker: host::linker(engine)?,
        })
    }

    /// Links and compiles the parts of one group. Blocks for as long as the compiler needs.
    /// Errors: all that does not fit together, at once.
    pub fn build(
        &self,
        spec: &GroupSpec,
        parts: Parts,
        world: &impl Surroundings,
    ) -> Result<(Artifact, Cost), Vec<Diagnostic>> {
        let linking = Instant::now();
        let edges = graph::resolve(&spec.name, parts.interfaces(), &spec.wire, world)
            .map_err(|findings| with_files(findings, spec))?;
        let Parts { composer, modules } = parts;
        let (composed, exports) = composer
            .compose(&edges, |interface| Handler::of(interface).is_some())
            .map_err(|mismatch| match mismatch {
                Mismatch::Edges(findings) => with_files(findings, spec),
                Mismatch::Group(diagnostic) => vec![diagnostic],
            })?;
        let link = linking.elapsed();

        let compiling = Instant::now();
        let (compiled, effort) = self.compile(spec, &modules)?;
        let skeleton = self
            .compiler
            .skeleton(&composed)
            .map_err(|reason| vec![unlinkable(spec, &reason)])?;
        let cost = Cost {
            link,
            compile: compiling.elapsed(),
            effort,
        };

        let mut linker = self.linker.clone();
        for (part, module) in modules.iter().zip(&compiled) {
            linker
                .root()
                .module(&part.module.slot, module)
                .map_err(|error| vec![unlinkable(spec, &format!("{error:#}"))])?;
        }
        let instance_pre = linker
            .instantiate_pre(&skeleton)
            .map_err(|error| vec![unlinkable(spec, &format!("{error:#}"))])?;
        let entries = entries(&skeleton, &exports);
        let modules = modules.into_iter().map(|part| part.owner).zip(compiled).collect();
        Ok((
            Artifact {
                instance_pre,
                entries,
                modules,
                _skeleton: skeleton,
            },
            cost,
        ))
    }

    fn compile(
        &self,
        spec: &GroupSpec,
        parts: &[parts::Part],
    ) -> Result<(Vec<Arc<Module>>, Effort), Vec<Diagnostic>> {
        let jobs: Vec<Job<'_>> = parts
            .iter()
            .map(|part| Job {
                digest: part.module.digest,
                bytes: part.bytes(),
                functions: part.module.functions,
            })
            .collect();
        self.compiler.modules(&jobs).map_err(|refused| {
            refused
                .into_iter()
                .filter_map(|(index, reason)| {
                    let component = spec.components.get(&parts[index].owner)?;
                    Some(parts::invalid(component, &reason))
                })
                .collect()
        })
    }
}

fn entries(skeleton: &Component, exports: &[compose::Export]) -> BTreeMap<ComponentId, Entry> {
    let mut entries: BTreeMap<ComponentId, Entry> = BTreeMap::new();
    for export in exports {
        let function = skeleton
            .get_export_index(None, &export.name)
            .and_then(|instance| skeleton.get_export_index(Some(&instance), "handle"));
        let (Some(handler), Some(function)) = (Handler::of(&export.interface), function) else {
            continue;
        };
        // One that exports both handlers is served by the one that streams.
        let better = entries
            .get(&export.component)
            .is_none_or(|entry| entry.handler < handler);
        if better {
            entries.insert(export.component.clone(), Entry { handler, function });
        }
    }
    entries
}

fn with_files(findings: Vec<Finding>, spec: &GroupSpec) -> Vec<Diagnostic> {
    findings
        .into_iter()
        .map(
            |Finding {
                 component,
                 diagnostic,
             }| match spec.components.get(&component) {
                Some(component) => diagnostic.file(&component.path),
                None => diagnostic,
            },
        )
        .collect()
}

fn unlinkable(spec: &GroupSpec, reason: &str) -> Diagnostic {
    Diagnostic::new(
        "link-failed",
        format!("the group {} cannot be linked: {reason}", spec.name),
    )
}
