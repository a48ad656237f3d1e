//! The control plane: changes in, swaps out. One task owns all that changes; it builds what is new
//! beside what serves, and publishes all groups of a change in one table. Knows no HTTP and no sockets.
//!
//! ```text
//!  watch ──▶ debounce ──▶ discover ──▶ plan ──▶ prepare ──▶ publish ──▶ drain the old
//!                            └── nothing that fails up to here ──┘ changes what serves
//! ```

mod debounce;
mod group;
mod plan;
mod prepare;
mod watch;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

pub use self::watch::Watch;
use self::{
    debounce::Burst,
    group::{Group, Running},
    plan::{Action, Found, Known},
    prepare::{Prepared, Readable, Refused},
};
use crate::{
    artifact::Builder,
    diagnostic::Diagnostic,
    generation::{GenerationId, Incident, Observer, drain},
    project::{GroupSpec, Project, Refusal},
    router::{Publisher, RouteTable, patterns},
    status::{Event, ReadyGroup, Reporter, RouteLine, Stages, Swapped},
};

/// The control task's state: the only place that changes what is served.
pub struct Reloader {
    root: PathBuf,
    builder: Arc<Builder>,
    publisher: Publisher,
    reporter: Reporter,
    groups: BTreeMap<String, Group>,
    /// The number of each group's newest generation. It outlives the group: a number is never used twice.
    newest: BTreeMap<String, u64>,
    /// Why the tree as a whole could not be understood last time, so that it is said once.
    refused: Option<Vec<Diagnostic>>,
    draining: JoinSet<()>,
}

/// A generation that is ready, and how long its way here took.
struct Candidate {
    prepared: Prepared,
    stages: Stages,
}

/// The outcome of one group's preparation: a candidate, or the content and why it is refused.
type Outcome = Result<Candidate, Refused>;

impl Reloader {
    pub fn new(root: PathBuf, builder: Builder, publisher: Publisher, reporter: Reporter) -> Self {
        Self {
            root,
            builder: Arc::new(builder),
            publisher,
            reporter,
            groups: BTreeMap::new(),
            newest: BTreeMap::new(),
            refused: None,
            draining: JoinSet::new(),
        }
    }

    /// The first generation of every group. Errors: nothing at all can be served, with all reasons.
    pub async fn load(&mut self, project: Project) -> Result<(), Vec<Diagnostic>> {
        let refusals: Vec<_> = project
            .groups
            .values()
            .filter_map(|group| group.as_ref().err())
            .collect();
        if !refusals.is_empty() {
            return Err(refusals
                .into_iter()
                .flat_map(|refusal| refusal.diagnostics.clone())
                .collect());
        }
        let specs = project.groups.into_values().flatten().collect();
        let (mut candidates, mut rejected) = (Vec::new(), Vec::new());
        for outcome in self.prepare_all(specs, Stages::default()).await {
            match outcome {
                Ok(candidate) => candidates.push(candidate),
                Err(refused) => rejected.push(refused),
            }
        }
        if !candidates
            .iter()
            .any(|candidate| candidate.prepared.generation.pages().next().is_some())
        {
            let reasons: Vec<_> = rejected
                .into_iter()
                .flat_map(|(_, diagnostics)| diagnostics)
                .collect();
            return Err(if reasons.is_empty() {
                vec![no_page(&self.root)]
            } else {
                reasons
            });
        }
        for (spec, diagnostics) in rejected {
            self.reject(spec, diagnostics);
        }
        self.install(candidates, Instant::now());
        Ok(())
    }

    /// Follows the tree until the task is dropped.
    pub async fn run(mut self, mut watch: Watch) {
        loop {
            let (first, last) = watch.changed().await;
            let mut burst = Burst::begin(first);
            burst.extend(last);
            while let Ok((_, last)) = tokio::time::timeout_at(burst.over_at().into(), watch.changed()).await {
                burst.extend(last);
            }
            self.reload(burst.first, &mut watch).await;
            while self.draining.try_join_next().is_some() {}
        }
    }

    /// One look at the tree, and what follows from it. `since` is the first sign of the change.
    async fn reload(&mut self, since: Instant, watch: &mut Watch) {
        let mut stages = Stages {
            detect: since.elapsed(),
            ..Stages::default()
        };
        let reading = Instant::now();
        let root = self.root.clone();
        let project = match tokio::task::spawn_blocking(move || Project::discover(&root)).await {
            Ok(Ok(project)) => project,
            Ok(Err(diagnostics)) => return self.reject_tree(diagnostics),
            Err(_) => return,
        };
        self.refused = None;
        watch.also(project.elsewhere.values());
        stages.read = reading.elapsed();

        let (mut specs, mut removed) = (Vec::new(), Vec::new());
        let mut found = project.groups;
        for (name, action) in plan::between(&self.known(), &summary(&found)) {
            match (action, found.remove(&name)) {
                (Action::Build, Some(Ok(spec))) => specs.push(spec),
                (Action::Refuse, Some(Err(refusal))) => self.reject_unread(&name, refusal),
                (Action::Remove, _) => removed.push(name),
                (Action::Keep, Some(Ok(spec))) => self.keep(&spec),
                _ => {}
            }
        }
        let mut candidates = Vec::new();
        let mut down = false;
        for outcome in self.prepare_all(specs, stages).await {
            match outcome {
                Ok(candidate) => candidates.push(candidate),
                Err((spec, diagnostics)) => down |= self.reject(spec, diagnostics).is_none(),
            }
        }
        // A new group that is down gets its routes too: they answer 503.
        if candidates.is_empty() && removed.is_empty() && !down {
            return;
        }
        let removed: Vec<_> = removed
            .iter()
            .filter_map(|name| self.groups.remove(name)?.running)
            .collect();
        for (swapped, old) in self.install(candidates, since) {
            self.reporter.publish(Event::Swapped(Box::new(swapped)));
            old.into_iter().for_each(|old| self.retire(old));
        }
        removed.into_iter().for_each(|running| self.retire(running));
    }

    /// Reads, builds and starts the groups of one change, each on its own.
    async fn prepare_all(&mut self, specs: Vec<GroupSpec>, stages: Stages) -> Vec<Outcome> {
        let mut read = Vec::new();
        for spec in specs {
            read.push(prepare::read(self.builder.clone(), spec).await);
        }
        let mut exports: prepare::Exports = self
            .groups
            .iter()
            .filter_map(|(name, group)| Some((name.clone(), group.running.as_ref()?.exports.clone())))
            .collect();
        for readable in read.iter().flatten() {
            exports.insert(
                readable.spec.name.clone(),
                prepare::exported(&readable.parts.interfaces()),
            );
        }
        let exports = Arc::new(exports);
        let mut outcomes = Vec::new();
        for readable in read {
            outcomes.push(match readable {
                Ok(readable) => self.prepare(readable, exports.clone(), stages).await,
                Err(refused) => Err(refused),
            });
        }
        outcomes
    }

    async fn prepare(&self, readable: Readable, exports: Arc<prepare::Exports>, stages: Stages) -> Outcome {
        let newest = self.newest.get(&readable.spec.name).copied().unwrap_or(0);
        let builder = self.builder.clone();
        let prepared = prepare::prepare(builder, readable, exports, newest + 1, self.observer()).await?;
        let stages = Stages {
            link: prepared.cost.link,
            compile: prepared.cost.compile,
            instantiate: prepared.instantiate,
            ..stages
        };
        Ok(Candidate { prepared, stages })
    }

    /// Publishes one table with all candidates in the place of what served before, which comes back.
    /// `since` is the first sign of the change.
    fn install(&mut self, candidates: Vec<Candidate>, since: Instant) -> Vec<(Swapped, Option<Running>)> {
        let mut swaps = Vec::new();
        for Candidate { prepared, stages } in candidates {
            let Prepared {
                spec,
                generation,
                retirement,
                exports,
                cost,
                ..
            } = prepared;
            let group = self.groups.entry(spec.name.clone()).or_default();
            let contents = plan::contents(&spec);
            let old = group.running.take();
            let before = old.as_ref().map(|old| &old.contents);
            swaps.push((
                Swapped {
                    group: spec.name.clone(),
                    generation: generation.id().number,
                    from: old.as_ref().map(|old| old.generation.id().number),
                    causes: plan::causes(before.unwrap_or(&plan::Contents::new()), &contents),
                    digest: spec.digest.to_string(),
                    modules_compiled: cost.effort.modules_compiled,
                    modules_reused: cost.effort.modules_reused,
                    functions_compiled: cost.effort.functions_compiled,
                    ms: stages,
                },
                old,
            ));
            self.newest.insert(spec.name.clone(), generation.id().number);
            group.refused = None;
            group.running = Some(Running {
                generation,
                retirement,
                digest: spec.digest,
                contents,
                routes: spec.routes,
                exports,
                drain: spec.drain,
            });
        }
        let commit = self.publish();
        for (swapped, _) in &mut swaps {
            swapped.ms.commit = commit;
            swapped.ms.total = since.elapsed();
        }
        swaps
    }

    /// Makes the table anew from all groups; that is the swap. Returns how long it took.
    fn publish(&mut self) -> Duration {
        let began = Instant::now();
        let groups: Vec<_> = self
            .groups
            .iter()
            .map(|(name, group)| group.routes(name))
            .collect();
        let table = RouteTable::new(&groups);
        drop(groups);
        self.publisher.publish(table);
        began.elapsed()
    }

    /// Lets go of a generation that serves no longer and reports its end.
    fn retire(&mut self, old: Running) {
        let Running {
            generation,
            retirement,
            drain: deadline,
            ..
        } = old;
        drop(generation);
        let reporter = self.reporter.clone();
        let id = retirement.id.clone();
        self.draining.spawn(async move {
            let drained = drain(retirement, deadline).await;
            reporter.publish(Event::Retired {
                group: id.group.to_string(),
                generation: id.number,
                ms: drained.took,
                aborted: drained.aborted,
            });
        });
    }

    /// Remembers and reports a refusal. Returns the generation that goes on serving.
    fn reject(&mut self, spec: GroupSpec, diagnostics: Vec<Diagnostic>) -> Option<u64> {
        let group = self.groups.entry(spec.name.clone()).or_default();
        group.refused = Some(spec.digest);
        group.routes = spec.routes;
        group.components = spec.components.into_keys().collect();
        let kept = group.serving();
        self.reporter.publish(Event::Rejected {
            group: Some(spec.name),
            kept,
            diagnostics,
        });
        kept
    }

    fn reject_unread(&mut self, name: &str, refusal: Refusal) {
        let group = self.groups.entry(name.to_owned()).or_default();
        group.refused = Some(refusal.digest);
        let kept = group.serving();
        let diagnostics = refusal.diagnostics;
        self.reporter.publish(Event::Rejected {
            group: Some(name.to_owned()),
            kept,
            diagnostics,
        });
    }

    fn reject_tree(&mut self, diagnostics: Vec<Diagnostic>) {
        if self.refused.as_ref() != Some(&diagnostics) {
            self.refused = Some(diagnostics.clone());
            self.reporter.publish(Event::Rejected {
                group: None,
                kept: None,
                diagnostics,
            });
        }
    }

    /// What is served lies on disk again: a refusal in between is forgotten.
    fn keep(&mut self, spec: &GroupSpec) {
        if let Some(group) = self.groups.get_mut(&spec.name)
            && group.known().serving == Some(spec.digest)
        {
            group.refused = None;
        }
    }

    fn known(&self) -> BTreeMap<String, Known> {
        self.groups
            .iter()
            .map(|(name, group)| (name.clone(), group.known()))
            .collect()
    }

    /// Incidents of a generation become events.
    fn observer(&self) -> Observer {
        let reporter = self.reporter.clone();
        Arc::new(move |id: &GenerationId, incident| {
            let (group, generation) = (id.group.to_string(), id.number);
            reporter.publish(match incident {
                Incident::Trapped { component, message } => Event::Trapped {
                    group,
                    generation,
                    component,
                    message,
                },
                Incident::Recovered => Event::Recovered { group, generation },
            });
        })
    }

    /// All groups as the `ready` event shows them.
    pub fn ready(&self) -> Vec<ReadyGroup> {
        self.groups
            .iter()
            .map(|(name, group)| ready_group(name, group))
            .collect()
    }
}

fn ready_group(name: &str, group: &Group) -> ReadyGroup {
    let (components, routes) = match &group.running {
        Some(Running {
            generation,
            contents,
            routes,
            ..
        }) => {
            let lines = patterns(routes, generation.pages());
            let line = |(pattern, component): (String, &_)| RouteLine {
                pattern,
                component: Clone::clone(component),
            };
            (
                contents.keys().cloned().collect(),
                lines.into_iter().map(line).collect(),
            )
        }
        None => (Vec::new(), Vec::new()),
    };
    ReadyGroup {
        group: name.to_owned(),
        generation: group.serving(),
        components,
        routes,
    }
}

fn summary(groups: &BTreeMap<String, Result<GroupSpec, Refusal>>) -> BTreeMap<String, Found> {
    let found = |group: &Result<GroupSpec, Refusal>| match group {
        Ok(spec) => Found::Spec(spec.digest),
        Err(refusal) => Found::Refusal(refusal.digest),
    };
    groups
        .iter()
        .map(|(name, group)| (name.clone(), found(group)))
        .collect()
}

fn no_page(root: &std::path::Path) -> Diagnostic {
    let message = format!("no component under {} answers requests", root.display());
    Diagnostic::new("page-missing", message).file(root).help(
        "add one that exports wasmhost:page/handler@0.1.0 or wasi:http/incoming-handler@0.2; \
         see `wasmhost new` or the example site",
    )
}
