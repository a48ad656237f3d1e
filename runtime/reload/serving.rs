//! What serves: the groups and their running generations, the only place that publishes and retires.
//! Decides nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc::UnboundedSender,
    task::{AbortHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use self::end::checkpoints;
use super::{
    begin::Beginning,
    causes::{self, Contents},
    control::Sight,
    group::{Group, Running, Standby},
    past::Past,
    refusals::Refusals,
    unsettled::UNSETTLED,
};
use crate::{
    artifact::Cost,
    clock,
    diagnostic::Diagnostic,
    generation::{Generation, GenerationId, Incident, Observer, Paused, Snapshots, Verdict},
    kept::{Expected, Folder, Keeper, Standing, Withdrawn},
    metrics::Metrics,
    prepare::{Built, Exports, Prepared, Refused, Succession},
    project::{Digest, GroupSpec, Known, Refusal, StaticFile},
    router::{Publisher, RouteTable, Shadowed},
    status::{Event, Reporter, Stages, Swapped},
};

mod back;
mod end;
mod status;

pub struct Serving {
    publisher: Publisher,
    reporter: Reporter,
    metrics: Metrics,
    groups: BTreeMap<String, Group>,
    /// The number of each group's newest generation. It outlives the group: a number is never used twice.
    newest: BTreeMap<String, u64>,
    /// Default routes that are another component's.
    shadowed: Vec<Shadowed>,
    /// Keeps what serves for after a restart.
    keeper: Keeper,
    retiring: JoinSet<()>,
    draining: Vec<Draining>,
    /// Requests wait for a swap that is pending where the manifest does not say.
    pub waits_usually: bool,
    refused: Refusals,
    /// What was decided about groups beside their content, whether or not they run.
    standings: BTreeMap<String, Standing>,
    past: BTreeMap<String, Past>,
    /// Who is told how probations end.
    judge: UnboundedSender<(GenerationId, Verdict)>,
    /// Nothing is waited for any more.
    ends: CancellationToken,
}

/// An old generation that still answers requests.
struct Draining {
    id: GenerationId,
    generation: Weak<Generation>,
    task: AbortHandle,
}

/// A generation that is ready, and how long its way here took.
pub struct Candidate {
    pub prepared: Prepared,
    pub stages: Stages,
    /// Its components on disk, as long as no record names them.
    pub expected: Option<Arc<Expected>>,
    /// What serves, and answers nobody since it handed its state over.
    pub held: Option<Paused>,
    /// What it handed over.
    pub snapshots: Option<Arc<Snapshots>>,
    /// What is not served for it.
    pub instead: Option<Instead>,
}

/// What a content that served before takes the place of.
#[derive(Clone, Copy)]
pub struct Instead {
    pub withdrawn: Withdrawn,
    /// It is no good content.
    pub is_bad: bool,
}

impl Serving {
    pub fn new(
        publisher: Publisher,
        reporter: Reporter,
        metrics: Metrics,
        keeper: Keeper,
        judge: UnboundedSender<(GenerationId, Verdict)>,
    ) -> Self {
        Self {
            publisher,
            reporter,
            metrics,
            groups: BTreeMap::new(),
            newest: BTreeMap::new(),
            shadowed: Vec::new(),
            keeper,
            retiring: JoinSet::new(),
            draining: Vec::new(),
            waits_usually: false,
            refused: Refusals::default(),
            standings: BTreeMap::new(),
            past: BTreeMap::new(),
            judge,
            ends: CancellationToken::new(),
        }
    }

    /// Says of what was refused that it is gone: `found` is the content of each group on disk.
    pub fn mend(&mut self, found: &BTreeMap<String, Sight>) {
        let groups = &self.groups;
        let serves = |name: &str| Some(groups.get(name)?.running.as_ref()?.built.spec.digest);
        for group in self.refused.mended(found, serves) {
            self.reporter.publish(Event::Mended { group });
        }
    }

    /// Where builds keep their components.
    pub fn kept(&self) -> Arc<Folder> {
        self.keeper.folder()
    }

    /// The number that the next generation of a group gets.
    pub fn next_number(&self, group: &str) -> u64 {
        self.newest.get(group).copied().unwrap_or(0) + 1
    }

    /// What the next generation of a group follows.
    pub fn succession(&self, group: &str) -> Succession {
        let serves = self.running(group).is_some();
        Succession {
            number: self.next_number(group),
            inherits: serves,
            begins_with: None,
            on_probation: serves,
        }
    }

    /// What every group that runs exports.
    pub fn exports(&self) -> Exports {
        self.groups
            .iter()
            .filter_map(|(name, group)| Some((name.clone(), group.running.as_ref()?.built.exports.clone())))
            .collect()
    }

    /// What serves for a group.
    pub fn running(&self, group: &str) -> Option<&Arc<Generation>> {
        Some(&self.groups.get(group)?.running.as_ref()?.generation)
    }

    /// The static files of what serves for a group.
    pub fn files(&self, group: &str) -> Option<&BTreeMap<String, StaticFile>> {
        Some(&self.groups.get(group)?.running.as_ref()?.built.spec.files)
    }

    /// What serves, by content.
    pub fn contents(&self) -> impl Iterator<Item = (&String, Digest)> {
        self.groups
            .iter()
            .filter_map(|(name, group)| Some((name, group.running.as_ref()?.built.spec.digest)))
    }

    /// What serves, file by file.
    pub fn known(&self) -> Known {
        let mut all = Known::default();
        let running = self.groups.values().filter_map(|group| group.running.as_ref());
        running.for_each(|running| all.add(&running.known));
        all
    }

    /// Puts the first generations into service, and says what of the tree is not served.
    pub fn begin(&mut self, beginning: Beginning) {
        let Beginning {
            candidates,
            refused,
            unread,
            tree,
        } = beginning;
        for (spec, _) in &refused {
            self.describe(spec);
        }
        self.install(candidates, clock::now());
        // Only now is it known who serves all the same.
        for (spec, diagnostics) in refused {
            self.report_rejection(Some(spec.name), diagnostics);
        }
        for (name, refusal) in &unread {
            self.reject_unread(name, refusal);
        }
        if !tree.is_empty() {
            self.reject_tree(&tree);
        }
    }

    /// A group that served in another life has no component any more.
    pub fn gone(&self, group: &str) {
        self.forget(group);
    }

    /// The group is not served any more, and what it remembered is nobody's.
    fn forget(&self, group: &str) {
        self.keeper.gone(group);
        let folder = self.keeper.folder();
        folder.remove_checkpoint(group, self.next_number(group));
    }

    /// One table with all candidates in the place of what served before, which is let go. Groups that are
    /// refused go on as they are. `since` is the first sign of the change.
    pub fn swap(&mut self, candidates: Vec<Candidate>, refused: Vec<Refused>, since: Instant) {
        for (spec, _) in &refused {
            self.describe(spec);
        }
        let swaps = self.install(candidates, since);
        // Before anyone is told: who then moves the clock moves the drain.
        let committed = clock::now();
        // Whoever is told finds it so.
        for (spec, diagnostics) in refused {
            self.report_rejection(Some(spec.name), diagnostics);
        }
        for (swapped, old) in swaps {
            self.refused.remove(&swapped.group);
            self.reporter.publish(Event::Swapped(Box::new(swapped)));
            old.into_iter().for_each(|old| self.retire(old, committed));
        }
    }

    /// Takes groups that have no component left out of service.
    pub fn remove<'a>(&mut self, groups: impl Iterator<Item = &'a String>) {
        let mut removed = Vec::new();
        for name in groups {
            tracing::info!("the group {name} has no component any more, and is not served any more");
            self.forget(name);
            removed.extend(self.groups.remove(name).and_then(|group| group.running));
        }
        self.publish();
        let now = clock::now();
        removed.into_iter().for_each(|running| self.retire(running, now));
    }

    fn install(&mut self, candidates: Vec<Candidate>, since: Instant) -> Vec<(Swapped, Option<Running>)> {
        let committing = Instant::now();
        // Before anyone is answered by it: a kill loses nothing that was seen.
        candidates.iter().for_each(|candidate| self.keep(candidate));
        let (mut swaps, mut held) = (Vec::new(), Vec::new());
        for mut candidate in candidates {
            held.extend(candidate.held.take());
            swaps.push(self.replace(candidate));
        }
        self.publish();
        // What waits there is led to what was published just now.
        held.into_iter().for_each(Paused::end);
        let commit = committing.elapsed();
        for (swapped, _) in &mut swaps {
            swapped.ms.commit = commit;
            swapped.ms.total = clock::now().saturating_duration_since(since);
        }
        swaps
    }

    /// Puts a candidate in the place of what its group runs; nobody sees that before it is published.
    fn replace(&mut self, candidate: Candidate) -> (Swapped, Option<Running>) {
        let Candidate {
            prepared,
            stages,
            expected,
            snapshots,
            instead,
            ..
        } = candidate;
        let (name, digest) = (prepared.spec.name.clone(), prepared.spec.digest);
        let number = prepared.generation.id().number;
        let old = self.groups.entry(name.clone()).or_default().running.take();
        let contents = prepared.spec.contents().collect();
        let swapped = swapped(&prepared, &contents, old.as_ref(), stages);
        let standby = old.as_ref().map(|old| old.standby(snapshots));
        // What has proven its worth is not put to the test again.
        let is_new = |standby: &Standby| instead.is_none() && standby.built.spec.digest != digest;
        let standby = standby.filter(|standby| prepared.spec.probation.is_some() && is_new(standby));
        let running = self.running_of(prepared, contents, expected, standby);
        self.groups.entry(name.clone()).or_default().running = Some(running);
        self.past.entry(name.clone()).or_default().add(number, digest);
        self.newest.insert(name, number);
        (swapped, old)
    }

    fn running_of(
        &self,
        prepared: Prepared,
        contents: Contents,
        expected: Option<Arc<Expected>>,
        standby: Option<Standby>,
    ) -> Running {
        let Prepared {
            mut spec,
            generation,
            retirement,
            artifact,
            exports,
            ..
        } = prepared;
        let known = Known::of(spec.components.values());
        // As large as they are, they stay where they lie.
        for component in spec.components.values_mut() {
            *component = component.left();
        }
        Running {
            waits: self.waits(&spec),
            checkpoints: checkpoints(&self.keeper, &self.reporter, &spec, &generation),
            generation,
            retirement,
            built: Built {
                spec,
                artifact,
                exports,
                cost: Cost::default(),
            },
            contents,
            known,
            expected,
            standby,
        }
    }

    /// Makes the table anew from all groups; that is the swap.
    fn publish(&mut self) {
        let groups: Vec<_> = self
            .groups
            .iter()
            .map(|(name, group)| group.routes(name))
            .collect();
        let table = RouteTable::new(&groups, Some(&self.metrics));
        drop(groups);
        self.note_shadowed(table.shadowed());
        self.publisher.publish(table);
    }

    /// Says of each route once that it is another component's.
    fn note_shadowed(&mut self, shadowed: &[Shadowed]) {
        for new in shadowed.iter().filter(|route| !self.shadowed.contains(route)) {
            let Shadowed {
                pattern,
                component,
                by,
            } = new;
            let Some(by) = by else {
                continue;
            };
            match component {
                Some(component) => {
                    tracing::warn!("{pattern} is answered by {by}, not by {component}: see `wasmhost check`");
                }
                None => tracing::warn!("{pattern} is answered by {by}, not by files: see `wasmhost check`"),
            }
        }
        self.shadowed = shadowed.to_vec();
    }

    /// What is to be known of a group as long as it does not run.
    fn describe(&mut self, spec: &GroupSpec) {
        let waits = self.waits(spec);
        let group = self.groups.entry(spec.name.clone()).or_default();
        group.waits = waits;
        group.routes.clone_from(&spec.routes);
        group.components = spec.components.keys().cloned().collect();
        group.files = !spec.files.is_empty();
    }

    /// Says that a group's content is not served. A group that never was gets routes that say so too.
    pub fn reject_read(&mut self, (spec, diagnostics): Refused) {
        self.describe(&spec);
        self.publish();
        self.report_rejection(Some(spec.name), diagnostics);
    }

    pub fn reject_unread(&mut self, name: &str, refusal: &Refusal) {
        self.groups.entry(name.to_owned()).or_default();
        self.report_rejection(Some(name.to_owned()), refusal.diagnostics.clone());
    }

    pub fn reject_tree(&mut self, diagnostics: &[Diagnostic]) {
        self.report_rejection(None, diagnostics.to_vec());
    }

    /// Says which files of a group never stay the same.
    pub fn report_unsettled(&mut self, spec: &GroupSpec) {
        let running = self
            .groups
            .get(&spec.name)
            .and_then(|group| group.running.as_ref());
        let serves = running.map(|running| &running.contents);
        let changed = causes::causes(serves, &spec.contents().collect());
        let files = changed.iter().filter_map(|cause| spec.path(&cause.content));
        let diagnostics = files.map(|file| {
            let message = format!(
                "{} has been changing for {} without a pause, and is not taken before it rests",
                file.display(),
                humantime::format_duration(UNSETTLED)
            );
            let help = "find the program that writes it again and again, or let it write beside and rename";
            Diagnostic::new("content-unsettled", message)
                .file(file)
                .help(help)
        });
        self.report_rejection(Some(spec.name.clone()), diagnostics.collect());
    }

    fn report_rejection(&mut self, group: Option<String>, diagnostics: Vec<Diagnostic>) {
        self.refused.add(group.clone());
        let kept = group.as_ref().and_then(|name| self.groups.get(name)?.serving());
        self.reporter.publish(Event::Rejected {
            group,
            kept,
            diagnostics,
        });
    }

    /// Incidents of a generation become events.
    pub fn observer(&self) -> Observer {
        let (reporter, judge) = (self.reporter.clone(), self.judge.clone());
        Arc::new(move |id: &GenerationId, incident| {
            let (group, generation) = (id.group.to_string(), id.number);
            reporter.publish(match incident {
                Incident::Judged(verdict) => {
                    // The control plane may have ended, and then nothing is reverted any more.
                    let _ = judge.send((id.clone(), verdict));
                    return;
                }
                Incident::Trapped { name, message } => Event::Trapped {
                    group,
                    generation,
                    request: name.request().map(str::to_owned),
                    trace: name.trace().map(str::to_owned),
                    component: name.component.clone(),
                    message,
                },
                Incident::Recovered => Event::Recovered { group, generation },
            });
        })
    }

    /// How long the group's requests wait for a swap that is pending, if they do.
    fn waits(&self, spec: &GroupSpec) -> Option<Duration> {
        let waits = spec.requests.wait(self.waits_usually);
        waits.then_some(spec.limits.request_time)
    }
}

/// What is told of a swap; how long the commit took is not known yet.
fn swapped(prepared: &Prepared, contents: &Contents, old: Option<&Running>, stages: Stages) -> Swapped {
    let Prepared {
        spec,
        generation,
        cost,
        ..
    } = prepared;
    Swapped {
        group: spec.name.clone(),
        generation: generation.id().number,
        from: old.map(|old| old.generation.id().number),
        causes: causes::causes(old.map(|old| &old.contents), contents),
        digest: spec.digest.to_string(),
        modules_compiled: cost.effort.modules_compiled,
        modules_reused: cost.effort.modules_reused,
        functions_compiled: cost.effort.functions_compiled,
        ms: stages,
    }
}
