//! Groups that are linked and asked in the test's own process.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, LazyLock},
};

use http_body_util::BodyExt;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use wasmhost::{
    artifact::{Artifact, Builder, Cost, Parts, Splitting, graph::Surroundings},
    diagnostic::Diagnostic,
    engine::{self, Ticking},
    files::Files,
    generation::{Generation, GenerationId, Plan, Retirement},
    host::{self, body},
    project::{ComponentId, GroupSpec, Project},
};

use crate::support::Tree;

/// An engine and a builder.
pub struct Workshop {
    pub builder: Builder,
    _ticking: Ticking,
}

/// A group on its own, and the host.
pub struct Alone;

impl Surroundings for Alone {
    fn host_offers(&self, interface: &str) -> bool {
        host::offers(interface)
    }
    fn other_group(&self, _interface: &str) -> Option<String> {
        None
    }
}

impl Workshop {
    pub fn new(splitting: Splitting) -> Self {
        Self::open(splitting, None)
    }

    /// With a folder for compiled code.
    pub fn open(splitting: Splitting, cache: Option<&Path>) -> Self {
        let ticking = engine::start(cache).unwrap();
        let builder = Builder::new(&ticking.engine, ticking.caches.clone()).unwrap();
        Self {
            builder: builder.with_splitting(splitting),
            _ticking: ticking,
        }
    }

    pub fn build(&self, spec: &GroupSpec) -> Result<(Artifact, Cost), Vec<Diagnostic>> {
        let parts = self.builder.read(spec)?;
        self.build_parts(spec, &parts)
    }

    pub fn build_parts(&self, spec: &GroupSpec, parts: &Parts) -> Result<(Artifact, Cost), Vec<Diagnostic>> {
        self.builder.build(spec, parts, &Alone, &CancellationToken::new())
    }

    /// Builds and starts a group that is expected to fit.
    pub fn start(&self, spec: &GroupSpec) -> (Running, Cost) {
        let (artifact, cost) = self
            .build(spec)
            .unwrap_or_else(|diagnostics| refused(&diagnostics));
        (Running::start(spec, artifact), cost)
    }
}

pub fn refused(diagnostics: &[Diagnostic]) -> ! {
    let said: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    panic!("refused: {}", said.join("\n"))
}

/// A generation with a store.
pub struct Running {
    generation: Arc<Generation>,
    _retirement: Retirement,
}

fn runtime() -> &'static Runtime {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(1).enable_all().build().unwrap()
    });
    &RUNTIME
}

impl Running {
    pub fn start(spec: &GroupSpec, artifact: Artifact) -> Self {
        Self::try_start(spec, artifact).unwrap_or_else(|diagnostic| panic!("{diagnostic}"))
    }

    pub fn try_start(spec: &GroupSpec, artifact: Artifact) -> Result<Self, Diagnostic> {
        let id = GenerationId {
            group: spec.name.as_str().into(),
            number: 1,
        };
        let observer = Arc::new(|_: &GenerationId, _| ());
        let artifact = Arc::new(artifact);
        let starting = Generation::start(
            id,
            artifact,
            Plan::of(spec),
            Files::new(&spec.name, spec.files.clone()),
            observer,
        );
        let (generation, retirement) = runtime().block_on(starting).map_err(|failed| failed.diagnostic)?;
        Ok(Self {
            generation,
            _retirement: retirement,
        })
    }

    /// The status and the body that a page answers with; the error's text where it does not.
    pub fn get(&self, component: &str, path: &str) -> Result<(u16, Vec<u8>), String> {
        self.get_with(component, path, &[])
    }

    /// With what the route's pattern captured.
    pub fn get_with(
        &self,
        component: &str,
        path: &str,
        params: &[(&str, &str)],
    ) -> Result<(u16, Vec<u8>), String> {
        let params = params
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let params = params.collect();
        let request = http::Request::get(path).header("host", "test");
        let request = request.body(body::full("")).unwrap();
        let component = ComponentId::parse(component).unwrap();
        runtime().block_on(async {
            let lease = self
                .generation
                .clone()
                .admit()
                .await
                .map_err(|error| error.to_string())?;
            let answer = lease.handle(&component, params, Box::new(request)).await;
            let (head, body) = answer.map_err(|error| error.to_string())?.into_parts();
            let body = body.collect().await.map_err(|error| error.to_string())?;
            Ok((head.status.as_u16(), body.to_bytes().to_vec()))
        })
    }
}

/// The group `shop` with these components by id, as discovery finds it.
pub fn group(files: &BTreeMap<String, Vec<u8>>) -> GroupSpec {
    let tree = Tree::empty();
    for (id, content) in files {
        tree.put(format!("shop/{id}.wasm"), content);
    }
    discovered(tree.root(), "shop")
}

pub fn discovered(root: &Path, group: &str) -> GroupSpec {
    let mut project = Project::discover(root).unwrap_or_else(|diagnostics| refused(&diagnostics));
    let group = project.groups.remove(group).expect("the group is there");
    group.unwrap_or_else(|refusal| refused(&refusal.diagnostics))
}
