//! Everything of a swap that can fail, for one group: parts, artifact, first store. Nothing that serves
//! is touched. Knows not whether the generation will serve: `check` prepares, and lets go.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::{
    artifact::{
        Artifact, Builder, Cost, Parts,
        graph::{Members, Resolution, Surroundings, resolve_all, same_interface},
    },
    diagnostic::Diagnostic,
    files::Files,
    generation::{FailedStart, Generation, GenerationId, Observer, Plan, Retirement, Snapshots},
    host,
    project::{ComponentId, GroupSpec, PartialGroup, State},
};

/// A group's next generation, complete, and served by nobody yet.
pub struct Prepared {
    pub spec: GroupSpec,
    pub generation: Arc<Generation>,
    pub retirement: Retirement,
    /// What it runs.
    pub artifact: Arc<Artifact>,
    /// What its components export, for hints to other groups.
    pub exports: Vec<String>,
    pub cost: Cost,
    pub instantiate: Duration,
    /// It has still to be given what the generation before hands over.
    pub inherits: bool,
}

/// A group whose files were read, ready to be built. Cheap to clone.
#[derive(Clone)]
pub struct Readable {
    pub spec: GroupSpec,
    pub parts: Parts,
    /// What taking apart took.
    pub took: Duration,
}

/// A group that is refused, and why.
pub type Refused = (GroupSpec, Vec<Diagnostic>);

/// Takes the components of a group apart.
pub async fn read(builder: Arc<Builder>, spec: GroupSpec) -> Result<Readable, Refused> {
    let began = Instant::now();
    let (spec, parts) = contained(spec, move |spec| builder.read(spec)).await?;
    Ok(Readable {
        spec,
        parts,
        took: began.elapsed(),
    })
}

/// Takes the components of many groups apart, and adds what they export to what others do: then each can
/// be told which group has what it lacks.
pub async fn read_all(
    builder: &Arc<Builder>,
    specs: Vec<GroupSpec>,
    mut exports: Exports,
) -> (Vec<Result<Readable, Refused>>, Arc<Exports>) {
    let mut groups = Vec::new();
    for spec in specs {
        groups.push(read(builder.clone(), spec).await);
    }
    for Readable { spec, parts, .. } in groups.iter().flatten() {
        exports.insert(spec.name.clone(), exported(&parts.interfaces()));
    }
    (groups, Arc::new(exports))
}

impl Readable {
    /// Who imports what from whom, as far as it fits, and what does not.
    pub fn resolve(&self, exports: &Exports, unread: &BTreeSet<ComponentId>) -> Resolution {
        let Self { spec, parts, .. } = self;
        let world = World {
            group: &spec.name,
            exports,
            unread: Some(unread),
        };
        resolve_all(&spec.name, &parts.interfaces(), &spec.wire, &world)
    }
}

/// A group as far as it can be read.
pub struct PartlyReadable {
    pub readable: Readable,
    /// The components that cannot be, and why the group is refused, as far as it is known.
    pub unread: BTreeSet<ComponentId>,
    pub diagnostics: Vec<Diagnostic>,
}

/// Takes those components of a group apart that can be.
pub async fn read_partly(builder: &Arc<Builder>, group: PartialGroup) -> PartlyReadable {
    let PartialGroup {
        spec,
        mut unread,
        mut diagnostics,
    } = group;
    let began = Instant::now();
    let each = builder.clone();
    let (spec, parts) = match contained(spec, move |spec| Ok(each.read_each(spec))).await {
        Ok((spec, (parts, torn))) => {
            for (id, diagnostic) in torn {
                unread.insert(id);
                diagnostics.push(diagnostic);
            }
            (spec, parts)
        }
        Err((spec, failed)) => {
            diagnostics.extend(failed);
            (spec, Parts::default())
        }
    };
    let took = began.elapsed();
    PartlyReadable {
        readable: Readable { spec, parts, took },
        unread,
        diagnostics,
    }
}

impl PartlyReadable {
    /// What its components export, as far as it is known.
    pub fn exported(&self) -> Vec<String> {
        exported(&self.readable.parts.interfaces())
    }

    /// All that does not fit together in a group that is refused. Blocks no less than a build.
    pub async fn diagnose(&self, builder: &Arc<Builder>, exports: &Arc<Exports>) -> Vec<Diagnostic> {
        let Readable { spec, parts, .. } = &self.readable;
        let (builder, exports) = (builder.clone(), exports.clone());
        let (parts, unread) = (parts.clone(), self.unread.clone());
        let work = move |spec: &GroupSpec| {
            let world = World {
                group: &spec.name,
                exports: &exports,
                unread: Some(&unread),
            };
            Ok(builder.diagnose(spec, &parts, &world))
        };
        match contained(spec.clone(), work).await {
            Ok((_, diagnostics)) | Err((_, diagnostics)) => diagnostics,
        }
    }
}

/// What a group's next generation follows.
#[derive(Clone)]
pub struct Succession {
    /// The number of the next one.
    pub number: u64,
    /// Where its group migrates, it is given what another one hands over, or has handed over.
    pub inherits: bool,
    /// Where it does not, it is given what was saved in another life.
    pub begins_with: Option<Arc<Snapshots>>,
    /// Where its group has a probation, it may be reverted.
    pub on_probation: bool,
}

/// Builds and starts a group's next generation. Whoever gives up no longer wants the outcome: it comes early,
/// and means nothing.
pub async fn prepare(
    builder: Arc<Builder>,
    readable: Readable,
    exports: Arc<Exports>,
    succession: Succession,
    observer: Observer,
    give_up: CancellationToken,
) -> Result<Prepared, Refused> {
    let Readable { spec, parts, took } = readable;
    let own_exports = exported(&parts.interfaces());
    let nobody_waits = give_up.clone();
    let build = move |spec: &GroupSpec| {
        let world = World::around(spec, &exports);
        let (mut artifact, cost) = builder.build(spec, &parts, &world, &give_up)?;
        if artifact.is_pooled() {
            let spec = spec.clone();
            artifact.on_demand = Some(Box::new(move || {
                builder.build_on_demand(&spec, &parts, &World::around(&spec, &exports))
            }));
        }
        Ok((artifact, cost))
    };
    let (spec, (artifact, mut cost)) = contained(spec, build).await?;
    cost.link += took;
    let built = Built {
        spec,
        artifact: Arc::new(artifact),
        exports: own_exports,
        cost,
    };
    let spec = built.spec.clone();
    let start = start(built, succession, observer);
    tokio::select! {
        biased;
        // A start may take long, and memory; those of contents that are gone already would pile up.
        () = nobody_waits.cancelled() => Err((spec, Vec::new())),
        started = start => started,
    }
}

/// A group that is linked and compiled.
#[derive(Clone)]
pub struct Built {
    pub spec: GroupSpec,
    pub artifact: Arc<Artifact>,
    pub exports: Vec<String>,
    pub cost: Cost,
}

/// Starts what was built.
pub async fn start(built: Built, succession: Succession, observer: Observer) -> Result<Prepared, Refused> {
    let Built {
        spec,
        artifact,
        exports,
        cost,
    } = built;
    let id = GenerationId {
        group: spec.name.as_str().into(),
        number: succession.number,
    };
    let inherits = succession.inherits && spec.state == State::Migrate;
    let plan = Plan {
        inherits,
        begins_with: succession.begins_with.filter(|_| !inherits),
        probation: spec.probation.filter(|_| succession.on_probation),
        ..Plan::of(&spec)
    };
    let starting = Instant::now();
    let started = Generation::start(
        id,
        artifact.clone(),
        plan,
        Files::new(&spec.name, spec.files.clone()),
        observer,
    );
    match started.await {
        Ok((generation, retirement)) => Ok(Prepared {
            spec,
            generation,
            retirement,
            artifact,
            exports,
            cost,
            instantiate: starting.elapsed(),
            inherits,
        }),
        Err(FailedStart {
            component,
            diagnostic,
        }) => Err(refused(spec, component.as_ref(), diagnostic)),
    }
}

/// A group that is refused for one of its components, where one is known.
pub fn refused(spec: GroupSpec, component: Option<&ComponentId>, diagnostic: Diagnostic) -> Refused {
    let file = component.and_then(|id| Some(spec.components.get(id)?.path.clone()));
    let diagnostic = match file {
        Some(file) => diagnostic.file(file),
        None => diagnostic,
    };
    (spec, vec![diagnostic])
}

/// Runs what blocks where it may. Where it panics, on input that nobody thought of, the group is refused
/// and the server goes on.
async fn contained<T: Send + 'static>(
    spec: GroupSpec,
    work: impl FnOnce(&GroupSpec) -> Result<T, Vec<Diagnostic>> + Send + 'static,
) -> Result<(GroupSpec, T), Refused> {
    let given = spec.clone();
    match tokio::task::spawn_blocking(move || work(&given)).await {
        Ok(Ok(done)) => Ok((spec, done)),
        Ok(Err(diagnostics)) => Err((spec, diagnostics)),
        Err(_) => {
            let message = format!("the group {} cannot be linked: wasmhost itself failed", spec.name);
            let help = "this is a fault of wasmhost: please report it with the components at hand";
            Err((spec, vec![Diagnostic::new("internal", message).help(help)]))
        }
    }
}

/// A tree that nothing can be served from.
pub fn no_page(root: &Path) -> Diagnostic {
    let message = format!("no component under {} answers requests", root.display());
    Diagnostic::new("page-missing", message).file(root).help(
        "add one that exports wasmhost:page/handler@0.1.0, wasi:http/incoming-handler@0.2 or wasi:http/handler@0.3, \
         as the pages of the example site do",
    )
}

/// What each group exports, by group.
pub type Exports = BTreeMap<String, Vec<String>>;

fn exported(members: &Members) -> Vec<String> {
    members
        .values()
        .flat_map(|interface| interface.exports.iter().cloned())
        .collect()
}

/// What a group sees around it.
struct World<'a> {
    group: &'a str,
    exports: &'a Exports,
    unread: Option<&'a BTreeSet<ComponentId>>,
}

impl<'a> World<'a> {
    /// What a group sees that was read as a whole.
    fn around(spec: &'a GroupSpec, exports: &'a Exports) -> Self {
        Self {
            group: &spec.name,
            exports,
            unread: None,
        }
    }
}

impl Surroundings for World<'_> {
    fn host_offers(&self, interface: &str) -> bool {
        host::offers(interface)
    }

    fn has_instead(&self, interface: &str) -> Option<Vec<&'static str>> {
        host::has_instead(interface)
    }

    fn unread(&self) -> Vec<&ComponentId> {
        self.unread.into_iter().flatten().collect()
    }

    fn other_group(&self, interface: &str) -> Option<String> {
        let exports = |names: &[String]| names.iter().any(|name| same_interface(name, interface));
        let others = self.exports.iter().filter(|(group, _)| *group != self.group);
        others
            .filter(|(_, names)| exports(names))
            .map(|(group, _)| group.clone())
            .next()
    }
}
