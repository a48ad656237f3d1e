//! `wasmhost dev`: follows the sources under a root and builds what changed, one build at a time; a change while
//! one runs begins it anew with both. What is built is put in its place, where the control plane finds it.
//! Knows neither HTTP nor groups.
//!
//! ```text
//!  sources changed ──▶ Plan (where manifests changed) ──▶ build what changed ──▶ pages and terminal are told
//!  another terminal built one ──▶ its artifact goes to the component's place
//! ```

mod choice;
mod sources;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{
    choice::{Choice, Layout},
    sources::Sources,
};
use crate::{
    browser::{Browser, Problem, Waiting},
    build::{self, Failure, Plan, Progress, Report, Selection, Setting},
    diagnostic::Diagnostic,
};

/// The task that follows the sources.
pub struct Dev {
    root: PathBuf,
    setting: Setting,
    browser: Browser,
    waiting: mpsc::Receiver<Waiting>,
    plan: Arc<Plan>,
    layout: Layout,
    sources: Sources,
    /// What failed, by project, as long as it does.
    failures: BTreeMap<PathBuf, Failure>,
    /// What is to be built, once what runs is over.
    pending: Option<Selection>,
    building: Option<Building>,
    /// Requests that came while something was to be built.
    asked: Vec<Waiting>,
}

struct Building {
    selection: Selection,
    task: JoinHandle<Report>,
    stop: CancellationToken,
    _stopped_with_it: DropGuard,
}

impl Dev {
    /// Builds all there is, and begins to follow the sources. What does not build is told, and is no error.
    /// Errors: the root is none.
    pub async fn start(
        root: PathBuf,
        setting: Setting,
        browser: Browser,
        waiting: mpsc::Receiver<Waiting>,
    ) -> Result<Self, Diagnostic> {
        let plan = read_plan(&root, &setting, &[]).await?;
        let layout = Layout::of(&root, &plan);
        let sources = Sources::start(&root, &layout);
        let mut dev = Self {
            root,
            setting,
            browser,
            waiting,
            plan,
            layout,
            sources,
            failures: BTreeMap::new(),
            pending: Some(Selection::All),
            building: None,
            asked: Vec::new(),
        };
        dev.build();
        if let Some(building) = &mut dev.building {
            let report = finished(&mut building.task).await;
            dev.conclude(report);
        }
        Ok(dev)
    }

    /// Follows the sources until `stop`; then nothing of what it started runs any more.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(request) = self.waiting.recv() => {
                    self.asked.push(request);
                    while let Ok(request) = self.waiting.try_recv() {
                        self.asked.push(request);
                    }
                    self.look().await;
                }
                () = self.sources.hinted() => self.look().await,
                report = next(self.building.as_mut()) => self.conclude(report),
            }
        }
        self.browser.end();
        if let Some(building) = &mut self.building {
            building.stop.cancel();
            let _ = (&mut building.task).await;
        }
    }

    /// Compares the sources with what they were, and builds what changed.
    async fn look(&mut self) {
        let mut choice = self.layout.choose(&self.sources.changed());
        if choice.plan {
            match read_plan(&self.root, &self.setting, &self.plan.problems).await {
                Ok(plan) => self.plan = plan,
                Err(diagnostic) => self.say(&diagnostic),
            }
            let known: BTreeSet<PathBuf> = self.layout.folders().cloned().collect();
            self.layout = Layout::of(&self.root, &self.plan);
            let new = self.layout.folders().filter(|folder| !known.contains(*folder));
            choice.folders.extend(new.cloned());
            self.failures
                .retain(|project, _| self.layout.folders().any(|folder| folder == project));
            self.sources.follow(&self.layout);
        }
        self.take_artifacts(&choice);
        if !choice.folders.is_empty() || choice.plan {
            self.want(choice.folders);
        }
        self.answer();
    }

    /// What another terminal has built goes to its place.
    fn take_artifacts(&self, choice: &Choice) {
        if self.building.is_some() {
            // They are this build's own.
            return;
        }
        for (artifact, place) in &choice.artifacts {
            // A core module is only half of a build: the component follows.
            if build::is_component(artifact)
                && let Err(diagnostic) = build::place(artifact, place)
            {
                self.say(&diagnostic);
            }
        }
    }

    fn want(&mut self, folders: BTreeSet<PathBuf>) {
        let mut wanted = folders;
        if let Some(Building { selection, stop, .. }) = &self.building {
            stop.cancel();
            match selection {
                Selection::All => return self.pending = Some(Selection::All),
                Selection::Only(running) => wanted.extend(running.iter().cloned()),
            }
        }
        match &mut self.pending {
            Some(Selection::All) => {}
            Some(Selection::Only(pending)) => pending.extend(wanted),
            None => self.pending = Some(Selection::Only(wanted)),
        }
        if self.building.is_none() {
            self.build();
        }
    }

    /// Begins to build what is pending.
    fn build(&mut self) {
        let Some(selection) = self.pending.take() else {
            return;
        };
        let stop = self.setting.stop.child_token();
        let setting = Setting {
            stop: stop.clone(),
            ..self.setting.clone()
        };
        let (plan, selected) = (self.plan.clone(), selection.clone());
        let task = tokio::spawn(async move { plan.build(&selected, &setting).await });
        self.building = Some(Building {
            selection,
            task,
            _stopped_with_it: stop.clone().drop_guard(),
            stop,
        });
    }

    /// A build is over: the next one begins, or those who waited are answered.
    fn conclude(&mut self, report: Option<Report>) {
        self.building = None;
        let Report {
            built,
            failures,
            took,
            ..
        } = report.unwrap_or_default();
        for done in &built {
            self.failures.remove(&done.project);
        }
        let changed: Vec<_> = built.iter().filter(|built| built.changed).collect();
        if !changed.is_empty() {
            let names = changed
                .iter()
                .map(|built| built.project.strip_prefix(&self.root).unwrap_or(&built.project));
            let names: Vec<String> = names
                .map(|name| name.to_string_lossy().replace('/', "."))
                .collect();
            let line = format!("built {} in {:.1} s", names.join(", "), took.as_secs_f64());
            (self.setting.sink)(Progress::Says(line));
        }
        for failure in failures {
            self.say(&failure.diagnostic);
            self.failures.insert(failure.project.clone(), failure);
        }
        // What the build itself wrote is no change, nor are its artifacts.
        self.layout.learn(&self.plan);
        self.sources.follow(&self.layout);
        self.tell();
        if self.pending.is_some() {
            return self.build();
        }
        self.answer();
    }

    fn tell(&self) {
        let failures = self.failures.values().map(|failure| {
            let text = build::plain(&failure.output);
            let said = text.trim();
            Problem {
                title: failure.diagnostic.message.clone(),
                text: match said {
                    "" => failure.diagnostic.to_string(),
                    said => said.to_owned(),
                },
            }
        });
        let problems = self.plan.problems.iter().map(Problem::of);
        self.browser.tell_builds(problems.chain(failures).collect());
    }

    fn answer(&mut self) {
        if self.building.is_none() && self.pending.is_none() {
            for request in self.asked.drain(..) {
                // Whoever asked may be gone.
                let _ = request.send(());
            }
        }
    }

    fn say(&self, diagnostic: &Diagnostic) {
        (self.setting.sink)(Progress::Says(diagnostic.to_string()));
    }
}

/// Tells what is wrong and was not `told` before.
async fn read_plan(root: &Path, setting: &Setting, told: &[Diagnostic]) -> Result<Arc<Plan>, Diagnostic> {
    let (root, own) = (root.to_owned(), setting.clone());
    let read = tokio::task::spawn_blocking(move || Plan::read(&root, &own).map(Arc::new));
    // A panic in it leaves nothing to build.
    let plan = read.await.unwrap_or_else(|_| Ok(Arc::default()))?;
    let new = plan.problems.iter().filter(|problem| !told.contains(problem));
    new.for_each(|problem| (setting.sink)(Progress::Says(problem.to_string())));
    Ok(plan)
}

async fn finished(task: &mut JoinHandle<Report>) -> Option<Report> {
    task.await.ok()
}

async fn next(building: Option<&mut Building>) -> Option<Report> {
    match building {
        Some(building) => finished(&mut building.task).await,
        None => std::future::pending().await,
    }
}
