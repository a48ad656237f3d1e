//! The control plane: changes in, swaps out. One task owns all that changes; it builds what is new
//! beside what serves, and publishes all groups of a change in one table. `control` decides, `serving`
//! and this do. Knows no HTTP and no sockets.
//!
//! ```text
//!  watch ──▶ control ──▶ look ──▶ control ──▶ prepare ──▶ control ──▶ publish ──▶ drain the old
//!             └─────────── nothing that fails up to here ──────────┘ changes what serves
//! ```

mod asked;
mod back;
mod begin;
mod build;
mod causes;
mod checkpoints;
pub mod control;
pub mod debounce;
mod deeds;
mod elsewhere;
mod fingerprint;
mod group;
mod handover;
mod judge;
mod look;
mod ordered;
mod past;
mod preparation;
mod refusals;
mod reversal;
mod serving;
mod staged;
mod subject;
mod unsettled;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use tokio::{
    sync::{mpsc, oneshot, watch as watch_value},
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::watch::{Mode, Watch};
use self::{
    back::{Back, WentBack},
    control::{Control, Deed, Input, Readiness},
    look::{Group as SeenGroup, KnownContents, Seen},
    preparation::{Preparation, Wanted},
    serving::{Candidate, Serving},
    staged::Staged,
};
use crate::{
    artifact::Builder,
    clock,
    generation::{GenerationId, Verdict},
    kept::Keeper,
    metrics::Metrics,
    orders::Order,
    prepare::Refused,
    project::{Location, References},
    router::Publisher,
    status::{Ask, ReadyGroup, Reporter, Stages},
};

/// The control task: the only one that changes what is served.
pub struct Reloader {
    location: Location,
    /// Who pulls what the manifest names by reference is told which that is.
    references: watch_value::Sender<References>,
    builder: Arc<Builder>,
    control: Control,
    serving: Serving,
    /// The look that is under way.
    looking: Option<JoinHandle<Seen>>,
    /// What the last look found.
    seen: Option<Seen>,
    building: Option<Building>,
    /// The last build that was given up; it may not be over yet.
    given_up: Option<JoinHandle<Vec<Outcome>>>,
    /// What the last build came to, until it is committed.
    built: Option<Built>,
    /// That build, while what serves hands its state over to it.
    handing_over: Option<JoinHandle<Built>>,
    /// Why groups are to go back, or are about to.
    backs: BTreeMap<String, Back>,
    going_back: JoinSet<WentBack>,
    /// How probations ended.
    judged: mpsc::UnboundedReceiver<(GenerationId, Verdict)>,
    /// Contents that were refused: they need not be taken apart again.
    refused: KnownContents,
    /// Requests that wait to be answered by what lies on disk.
    asking: BTreeMap<u64, oneshot::Sender<()>>,
    asked: u64,
    /// A tree that cannot be served yet is no error: it will be.
    patient: bool,
    /// There is a watch.
    follows: bool,
    /// What is prepared, where that is not committed before it is asked for.
    staged: Option<Staged>,
    /// A tree that is not served as a whole is not served at all, at the start.
    whole: bool,
}

/// A build that is under way. Dropped, it is given up.
struct Building {
    number: u64,
    task: JoinHandle<Vec<Outcome>>,
    since: Instant,
    _give_up: DropGuard,
}

struct Built {
    number: u64,
    outcomes: Vec<Outcome>,
    since: Instant,
}

/// What one group's preparation came to.
type Outcome = Result<Candidate, Refused>;

impl Reloader {
    pub fn new(
        location: Location,
        builder: Builder,
        publisher: Publisher,
        reporter: Reporter,
        metrics: Metrics,
        keeper: Keeper,
    ) -> Self {
        // One of each generation at most.
        let (judge, judged) = mpsc::unbounded_channel();
        Self {
            location,
            references: watch_value::Sender::default(),
            builder: Arc::new(builder),
            control: Control::default(),
            serving: Serving::new(publisher, reporter, metrics, keeper, judge),
            looking: None,
            seen: None,
            building: None,
            given_up: None,
            built: None,
            handing_over: None,
            backs: BTreeMap::new(),
            going_back: JoinSet::new(),
            judged,
            refused: KnownContents::new(),
            asking: BTreeMap::new(),
            asked: 0,
            patient: false,
            follows: false,
            staged: None,
            whole: false,
        }
    }

    /// What the manifest names by reference, from now on.
    pub fn references(&self) -> watch_value::Receiver<References> {
        self.references.subscribe()
    }

    /// All groups as the `ready` event shows them.
    pub fn ready(&self) -> Vec<ReadyGroup> {
        self.serving.ready()
    }

    /// Follows the tree, where there is a watch, answers those who ask, and carries out orders, until no request
    /// comes any more; then it ends what serves.
    pub async fn run(
        mut self,
        mut watch: Option<Watch>,
        mut inbox: mpsc::Receiver<Ask>,
        mut orders: mpsc::Receiver<Order>,
        over: CancellationToken,
    ) {
        self.follows = watch.is_some();
        if !self.follows {
            self.control.freeze();
        }
        loop {
            let wake = self.control.wake_at();
            let (now, input) = tokio::select! {
                (first, last) = changed(watch.as_mut()) => {
                    // Both ends of a burst count: the first for how long it may last.
                    self.step(first, self.hint());
                    (last, self.hint())
                }
                mut seen = finished(self.looking.as_mut()) => {
                    self.looking = None;
                    let looked = seen.looked();
                    let folders = std::mem::take(&mut seen.folders);
                    let follow = |watch: &mut Watch| watch.follow(folders, seen.elsewhere());
                    let hint = watch.as_mut().is_some_and(follow);
                    self.announce_references(&seen);
                    self.forget_refused(&seen);
                    self.seen = Some(seen);
                    if hint {
                        self.step(clock::now(), Input::Hint);
                    }
                    (clock::now(), Input::Looked(looked))
                }
                outcomes = finished(self.building.as_mut().map(|building| &mut building.task)) => {
                    (clock::now(), self.keep(outcomes))
                }
                built = finished(self.handing_over.as_mut()) => {
                    self.handing_over = None;
                    (clock::now(), self.handed_over(built))
                }
                Some(went) = self.going_back.join_next() => (clock::now(), self.went_back(went)),
                Some((id, verdict)) = self.judged.recv() => (clock::now(), self.judged(&id, verdict)),
                Some(ask) = inbox.recv() => (clock::now(), self.ask(ask)),
                Some(order) = orders.recv() => (clock::now(), self.take_order(order)),
                () = over.cancelled() => break,
                () = sleep_until(wake) => (clock::now(), Input::Woken),
            };
            self.step(now, input);
        }
        // It may have what serves answer nobody.
        self.built = None;
        self.serving.end().await;
    }

    fn step(&mut self, now: Instant, input: Input) {
        let looked = matches!(input, Input::Looked(_));
        for deed in self.control.step(now, input) {
            self.act(deed);
        }
        if looked {
            // It holds the bytes of every group.
            self.seen = None;
        }
    }

    fn act(&mut self, deed: Deed) {
        match deed {
            Deed::Look => self.look(),
            Deed::Build { build, groups, since } => self.build(build, &groups, since),
            Deed::GiveUp { .. } => {
                if let Some(building) = self.building.take() {
                    self.given_up = Some(building.task);
                }
                self.built = None;
                self.unready();
            }
            Deed::Held { .. } => self.held(),
            Deed::HandOver { .. } => self.hand_over(),
            Deed::GoBack(group) => self.go_back(group),
            Deed::Commit { .. } => self.commit(),
            Deed::Remove(groups) => self.serving.remove(groups.iter()),
            Deed::Refuse(groups) => groups.iter().for_each(|name| self.refuse(name)),
            Deed::SayUnsettled(groups) => groups.iter().for_each(|name| self.say_unsettled(name)),
            Deed::RefuseTree => {
                self.note_refusal(None);
                if let Some(Seen {
                    tree: Err(diagnostics),
                    ..
                }) = &self.seen
                {
                    self.serving.reject_tree(diagnostics);
                }
            }
            Deed::Answer(requests) => {
                self.answer_staged(&requests);
                for request in requests {
                    // A client that went away needs no answer.
                    let _ = self.asking.remove(&request).map(|reply| reply.send(()));
                }
            }
        }
    }

    fn look(&mut self) {
        let mut known: KnownContents = self
            .serving
            .contents()
            .chain(self.serving.withdrawn())
            .map(|(name, digest)| (name.clone(), digest))
            .collect();
        // Not what is being built: it may be given up, and then it is to be built again.
        known.extend(self.refused.iter().cloned());
        let look = look::look(
            self.location.clone(),
            self.builder.clone(),
            known,
            self.serving.known(),
            self.serving.exports(),
            self.building.is_some(),
        );
        self.looking = Some(tokio::spawn(look));
    }

    fn build(&mut self, number: u64, groups: &BTreeSet<String>, since: Instant) {
        let Some(Seen {
            tree: Ok(tree),
            began,
            took,
            ..
        }) = &mut self.seen
        else {
            return;
        };
        let (began, took) = (*began, *took);
        let stages = |wanted: &Wanted| Stages {
            detect: began.duration_since(since),
            // Taking apart is a part of the look, and counted as linking.
            read: took.saturating_sub(wanted.taking_apart()),
            ..Stages::default()
        };
        let exports = tree.exports.clone();
        let wanted: Vec<Wanted> = groups
            .iter()
            .filter_map(|name| match tree.groups.remove(name) {
                Some(SeenGroup::Readable(readable)) => Some(Wanted::Readable(readable)),
                Some(SeenGroup::Known(spec)) => Some(Wanted::Unread(spec)),
                _ => None,
            })
            .collect();
        let preparations: Vec<Preparation> = wanted
            .into_iter()
            .map(|wanted| {
                let stages = stages(&wanted);
                self.preparation(wanted, stages)
            })
            .collect();
        let give_up = CancellationToken::new();
        let (token, before) = (give_up.clone(), self.given_up.take());
        let task = tokio::spawn(async move {
            // One at a time: what a build takes of memory and processors is bounded.
            if let Some(before) = before {
                // How it ended is of no interest.
                let _ = before.await;
            }
            let mut outcomes = Vec::new();
            for preparation in preparations {
                outcomes.push(preparation.prepare(exports.clone(), token.clone()).await);
            }
            outcomes
        });
        self.building = Some(Building {
            number,
            task,
            since,
            _give_up: give_up.drop_guard(),
        });
    }

    fn announce_references(&self, seen: &Seen) {
        let Ok(tree) = &seen.tree else { return };
        self.references.send_if_modified(|references| {
            let is_new = *references != tree.references;
            references.clone_from(&tree.references);
            is_new
        });
    }

    /// Content that is not there any more is new when it comes back.
    fn forget_refused(&mut self, seen: &Seen) {
        if let Ok(tree) = &seen.tree {
            let sights = &tree.sights;
            self.serving.mend(sights);
            self.refused
                .retain(|(name, digest)| sights.get(name).is_some_and(|sight| sight.digest == *digest));
        }
    }

    fn preparation(&self, mut wanted: Wanted, stages: Stages) -> Preparation {
        let spec = wanted.spec_mut();
        if let Some(served) = self.serving.files(&spec.name) {
            // What did not change is not held twice.
            spec.share(served);
        }
        Preparation {
            builder: self.builder.clone(),
            succession: self.serving.succession(&wanted.spec().name),
            wanted,
            observer: self.serving.observer(),
            kept: self.serving.kept(),
            stages,
        }
    }

    /// Keeps what a build came to until it may be committed.
    fn keep(&mut self, outcomes: Vec<Outcome>) -> Input {
        let Some(Building { number, since, .. }) = self.building.take() else {
            return Input::Woken;
        };
        let ready = outcomes.iter().map(|outcome| match outcome {
            Ok(candidate) if candidate.prepared.inherits => {
                (candidate.prepared.spec.name.clone(), Readiness::Inherits)
            }
            Ok(candidate) => (candidate.prepared.spec.name.clone(), Readiness::Ready),
            Err((spec, _)) => (spec.name.clone(), Readiness::Refused),
        });
        let ready = ready.collect();
        self.built = Some(Built {
            number,
            outcomes,
            since,
        });
        Input::Built { build: number, ready }
    }

    fn commit(&mut self) {
        let Some(Built { outcomes, since, .. }) = self.built.take() else {
            return;
        };
        let (mut candidates, mut refused) = (Vec::new(), Vec::new());
        for outcome in outcomes {
            match outcome {
                Ok(candidate) => candidates.push(candidate),
                Err(reasons) => refused.push(reasons),
            }
        }
        self.refused.clear();
        self.refused
            .extend(refused.iter().map(|(spec, _)| (spec.name.clone(), spec.digest)));
        self.note_uncommitted(refused.iter().flat_map(|(_, reasons)| reasons));
        self.serving.swap(candidates, refused, since);
        self.save_code();
    }

    fn refuse(&mut self, name: &str) {
        self.note_refusal(Some(name));
        let Some(Seen { tree: Ok(tree), .. }) = &mut self.seen else {
            return;
        };
        match tree.groups.remove(name) {
            Some(SeenGroup::Unreadable(refused)) => {
                self.refused.insert((refused.0.name.clone(), refused.0.digest));
                self.serving.reject_read(refused);
            }
            Some(SeenGroup::Refusal(refusal)) => self.serving.reject_unread(name, &refusal),
            _ => {}
        }
    }

    fn say_unsettled(&mut self, name: &str) {
        let Some(Seen { tree: Ok(tree), .. }) = &self.seen else {
            return;
        };
        if let Some(spec) = tree.groups.get(name).and_then(SeenGroup::spec) {
            self.serving.report_unsettled(spec);
        }
    }

    /// What was compiled is written when it is in use already: nobody waits for the disk.
    fn save_code(&self) {
        let builder = self.builder.clone();
        tokio::task::spawn_blocking(move || builder.save());
    }
}

/// What a task comes to; never, where there is none.
async fn finished<T>(task: Option<&mut JoinHandle<T>>) -> T {
    match task {
        Some(task) => match task.await {
            Ok(done) => done,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

async fn changed(watch: Option<&mut Watch>) -> (Instant, Instant) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => clock::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
