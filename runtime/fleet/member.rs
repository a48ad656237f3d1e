//! This server as a node of its fleet: does what `node` decides, one thing at a time, and tells it what came of it.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{Mutex, mpsc},
    task::{AbortHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{
    join::Member,
    nats::{self, Nats},
    node::{Deed, Input, Node, Outcome, Published, Said, Settings, Stale, What, Wrote},
    record::{Refusal, Release},
};
use crate::{
    clock,
    diagnostic::Diagnostic,
    orders::{Orders, Uncommitted},
    project::FleetSpec,
    release::Source,
    server::Pin,
    status::{Event, Reporter},
};

/// What the network may say before it is heard.
const INPUTS: usize = 1024;
/// Of what keeps a release from being served, what others are told.
const MOST_REASONS: usize = 8;
const LONGEST_MESSAGE: usize = 2000;

/// What runs of a member.
struct Running {
    node: Node,
    nats: Arc<Nats>,
    source: Arc<Source>,
    orders: Orders,
    reporter: Reporter,
    every: Duration,
    /// Whoever leads gives a sign of life within it.
    lease: Duration,
    jobs: JoinSet<Option<Input>>,
    /// Whoever moves the root or the control plane has it.
    turn: Arc<Mutex<()>>,
    /// How often something was to be prepared or given up.
    newest: Arc<AtomicU64>,
    preparing: Option<AbortHandle>,
    peers: Option<AbortHandle>,
    inputs: mpsc::Sender<Input>,
    /// What the server has begun with and never was committed: it serves already.
    begun_with: Option<Release>,
    pin: Arc<Pin>,
    /// Cancelled, it is open: what is to be served at first is.
    gate: CancellationToken,
}

impl Member {
    /// Until it is stopped. `gate` is opened when the server may accept requests; `reverted` tells of what was taken
    /// back here.
    pub async fn run(
        self,
        spec: FleetSpec,
        orders: Orders,
        reporter: Reporter,
        mut reverted: mpsc::UnboundedReceiver<String>,
        gate: CancellationToken,
        stop: CancellationToken,
    ) {
        let settings = Settings {
            lease: spec.lease,
            quorum: spec.quorum.and_then(|quorum| usize::try_from(quorum).ok()),
            patience: spec.patience,
        };
        let begins_with = Some(self.begins_with);
        let (serves, prepared) = match self.was_committed {
            true => (begins_with, None),
            false => (None, begins_with),
        };
        let (inputs, mut heard) = mpsc::channel(INPUTS);
        let mut running = Running {
            node: Node::new(id(), name(), settings, serves.clone(), prepared.clone()),
            nats: self.nats,
            source: self.source,
            orders,
            reporter,
            every: self.every,
            lease: spec.lease,
            jobs: JoinSet::new(),
            turn: Arc::default(),
            newest: Arc::default(),
            preparing: None,
            peers: None,
            inputs,
            begun_with: prepared,
            pin: self.pin,
            gate,
        };
        // Whatever ends it, nobody waits for it for ever.
        let _gate = running.gate.clone().drop_guard();
        if serves.is_some() && !running.nats.is_connected() {
            running.gate.cancel();
        }
        if let Some(serves) = serves {
            running.keep(&serves);
        }
        running.begin();
        loop {
            let wake = running.node.wake_at();
            let input = tokio::select! {
                Some(input) = heard.recv() => input,
                Some(done) = running.jobs.join_next() => match done {
                    Ok(Some(input)) => input,
                    _ => continue,
                },
                Some(reason) = reverted.recv() => {
                    running.pin.take_back();
                    Input::Reverted(vec![Diagnostic::new("release-reverted", reason)])
                }
                () = sleep_until(wake) => Input::Woken,
                () = stop.cancelled() => return running.leave().await,
            };
            running.step(input);
        }
    }
}

impl Running {
    fn begin(&mut self) {
        let (nats, inputs) = (self.nats.clone(), self.inputs.clone());
        let lease = self.lease;
        self.job(async move {
            nats.follow(lease, inputs).await;
            None
        });
        let (nats, source, every) = (self.nats.clone(), self.source.clone(), self.every);
        self.job(async move {
            follow_tag(&nats, &source, every).await;
            None
        });
        self.step(Input::Woken);
    }

    fn job(&mut self, job: impl Future<Output = Option<Input>> + Send + 'static) -> AbortHandle {
        self.jobs.spawn(job)
    }

    fn step(&mut self, input: Input) {
        tracing::trace!(?input);
        for deed in self.node.step(clock::now(), input) {
            self.act(deed);
        }
    }

    fn act(&mut self, deed: Deed) {
        let nats = self.nats.clone();
        match deed {
            Deed::Prepare { job, release } => self.prepare(job, release),
            Deed::GiveUp => self.give_up(),
            Deed::Publish { number, release } => self.publish(number, release),
            Deed::Write(state) => {
                let id = self.node.id.clone();
                self.job(async move {
                    let result = nats.write_state(&id, &state).await;
                    Some(Input::Wrote {
                        what: What::State,
                        result,
                    })
                });
            }
            Deed::Decide { revision, record } => {
                let inputs = self.inputs.clone();
                self.job(async move {
                    let result = nats.swap(nats::RECORD, &record, revision).await;
                    if let Wrote::Done(revision) = result {
                        let record = Some(record);
                        let _ = inputs.send(Input::Record { revision, record }).await;
                    }
                    Some(Input::Wrote {
                        what: What::Record,
                        result,
                    })
                });
            }
            Deed::TakeLead { revision } => {
                let id = self.node.id.clone();
                self.job(async move {
                    let result = nats.swap(nats::LEAD, &id, revision).await;
                    Some(Input::Wrote {
                        what: What::Lead,
                        result,
                    })
                });
            }
            Deed::FollowPeers(true) => {
                let (lease, inputs) = (self.lease, self.inputs.clone());
                self.peers = Some(self.job(async move {
                    nats.follow_nodes(lease, inputs).await;
                    None
                }));
            }
            Deed::FollowPeers(false) => self.peers.take().into_iter().for_each(|peers| peers.abort()),
            Deed::Read => {
                let inputs = self.inputs.clone();
                self.job(async move {
                    read(&nats, &inputs).await;
                    None
                });
            }
            Deed::Say(said) => self.say(said),
        }
    }

    fn prepare(&mut self, job: u64, release: Release) {
        self.begun_with = None;
        self.newest.fetch_add(1, Ordering::Relaxed);
        self.preparing.take().into_iter().for_each(|job| job.abort());
        let (turn, source, orders) = (self.turn.clone(), self.source.clone(), self.orders.clone());
        let gate = self.node.state().serves.is_some().then(|| self.gate.clone());
        let handle = self.job(async move {
            let _turn = turn.lock().await;
            let outcome = match put(&source, &release, gate).await {
                Ok(()) => match orders.prepare().await {
                    Ok(Ok(())) => Outcome::Ready,
                    Ok(Err(reasons)) => Outcome::Refused(bounded(reasons)),
                    Err(_) => Outcome::Failed(vec![no_control()]),
                },
                Err(reason) => Outcome::Failed(bounded(vec![reason])),
            };
            Some(Input::Prepared { job, outcome })
        });
        self.preparing = Some(handle);
    }

    fn give_up(&mut self) {
        self.preparing.take().into_iter().for_each(|job| job.abort());
        let newest = self.newest.clone();
        let this = newest.fetch_add(1, Ordering::Relaxed) + 1;
        let (turn, source, orders) = (self.turn.clone(), self.source.clone(), self.orders.clone());
        self.job(async move {
            let _turn = turn.lock().await;
            if newest.load(Ordering::Relaxed) != this {
                // What is prepared since took its place.
                return None;
            }
            // Where the control plane is gone, nothing is committed any more.
            let _ = orders.give_up().await;
            if let Err(error) = source.put_back() {
                tracing::warn!("{error}");
            }
            None
        });
    }

    fn publish(&mut self, number: u64, release: Release) {
        let serves_already = self.begun_with.take().as_ref() == Some(&release);
        let (turn, source, orders) = (self.turn.clone(), self.source.clone(), self.orders.clone());
        let (inputs, pin) = (self.inputs.clone(), self.pin.clone());
        self.job(async move {
            let _turn = turn.lock().await;
            pin.begin(number);
            let committed = match serves_already {
                true => Ok(Ok(())),
                false => orders.commit().await,
            };
            let published = match committed {
                Ok(Ok(())) => Published::Done,
                Ok(Err(Uncommitted::Lost)) => Published::Lost,
                Ok(Err(Uncommitted::Refused(reasons))) => Published::Failed(bounded(reasons)),
                Err(_) => Published::Failed(vec![no_control()]),
            };
            let is_done = published == Published::Done;
            if is_done {
                pin.serve(number);
            }
            // The disk is not waited for.
            let _ = inputs.send(Input::Published(published)).await;
            if is_done && let Err(error) = source.commit(&release) {
                tracing::warn!("{error}\nafter a restart the release before serves at first");
            }
            None
        });
    }

    /// What serves is what a restart begins with.
    fn keep(&self, release: &Release) {
        if let Err(error) = self.source.commit(release) {
            tracing::warn!("{error}");
        }
    }

    fn say(&mut self, said: Said) {
        match said {
            Said::Current { number, release } => {
                self.pin.serve(number);
                self.gate.cancel();
                self.reporter.publish(Event::Committed { number, release });
            }
            Said::Stale(stale) => {
                if self.node.state().serves.is_some() && !matches!(stale, Stale::Behind { .. }) {
                    self.gate.cancel();
                }
                let (reason, diagnostics) = told(stale);
                tracing::warn!("{reason}");
                self.reporter.publish(Event::Stale { reason, diagnostics });
            }
            Said::Refused(refusal) => {
                let Refusal {
                    release,
                    node,
                    diagnostics,
                    ..
                } = refusal;
                self.reporter.publish(Event::Refused {
                    release,
                    node,
                    diagnostics,
                });
            }
        }
    }

    async fn leave(mut self) {
        self.jobs.abort_all();
        self.nats.leave(&self.node.id, self.node.leads()).await;
    }
}

/// As `Source::put`. A server that has something to serve opens its gate while the registry says nothing.
async fn put(source: &Source, release: &str, gate: Option<CancellationToken>) -> Result<(), Diagnostic> {
    let mut putting = std::pin::pin!(source.put(release));
    if let Some(gate) = gate.filter(|gate| !gate.is_cancelled()) {
        tokio::select! {
            biased;
            put = &mut putting => return put,
            reason = source.silence() => {
                tracing::warn!("{reason}\nthe last release serves until it does");
                gate.cancel();
            }
        }
    }
    putting.await
}

fn told(stale: Stale) -> (String, Vec<Diagnostic>) {
    let goes_on = "what serves goes on";
    match stale {
        Stale::OutOfTouch => (format!("out of touch with the fleet: {goes_on}"), Vec::new()),
        Stale::Behind { number } => (
            format!("commit {number} of the fleet is prepared here: {goes_on} until then"),
            Vec::new(),
        ),
        Stale::Unable { number, diagnostics } => (
            format!("commit {number} of the fleet cannot be served here: {goes_on}"),
            diagnostics,
        ),
        Stale::NoRecord => (format!("the fleet has committed nothing: {goes_on}"), Vec::new()),
    }
}

async fn read(nats: &Nats, inputs: &mpsc::Sender<Input>) {
    match nats.record().await {
        Ok(read) => {
            let (revision, record) = read.map_or((0, None), |(revision, record)| (revision, Some(record)));
            let _ = inputs.send(Input::Record { revision, record }).await;
        }
        Err(error) => return tracing::debug!("{error}"),
    }
    if let Ok((revision, id)) = nats.lead().await {
        let _ = inputs.send(Input::Lead { revision, id }).await;
    }
}

/// Has the fleet want what the tag comes to stand for. Whoever sees it first says so.
async fn follow_tag(nats: &Nats, source: &Source, every: Duration) {
    let mut failure: Option<Diagnostic> = None;
    loop {
        clock::sleep(every).await;
        // Read before the tag is: whoever changed it since knows better.
        let Ok(Some((revision, record))) = nats.record().await else {
            continue;
        };
        match source.followed().await {
            Ok(release) => {
                failure = None;
                if record.tag.as_ref() == Some(&release) {
                    continue;
                }
                if let Some(next) = record.propose(&release, true) {
                    nats.swap(nats::RECORD, &next, revision).await;
                }
            }
            Err(error) if failure.as_ref() == Some(&error) => {}
            Err(error) => {
                tracing::warn!("{error}\nwhat serves goes on, and it is tried again");
                failure = Some(error);
            }
        }
    }
}

/// As much of it as others need.
fn bounded(mut reasons: Vec<Diagnostic>) -> Vec<Diagnostic> {
    reasons.truncate(MOST_REASONS);
    for reason in &mut reasons {
        for text in [Some(&mut reason.message), reason.help.as_mut()]
            .into_iter()
            .flatten()
        {
            text.truncate(text.floor_char_boundary(LONGEST_MESSAGE));
        }
    }
    reasons
}

fn no_control() -> Diagnostic {
    Diagnostic::new(
        "internal",
        "the control plane failed: nothing is swapped any more",
    )
}

/// Of this process alone: who begins anew has nothing ready that it had before.
fn id() -> String {
    let chance = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:08x}", chance(), chance() as u32)
}

fn name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "localhost",
        host => host,
    };
    format!("{host}:{}", std::process::id())
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => clock::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
