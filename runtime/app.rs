//! The composition root: settings in, a running server out. Knows neither arguments nor printing.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{Admin, Bounds, Desk, Probe},
    artifact::Builder,
    browser::Browser,
    clock,
    diagnostic::Diagnostic,
    engine::{self, Ticking},
    fleet::{self, FleetAddress, Member},
    kept::{Keeper, Kept},
    keyvalue::{FILE, Spaces},
    logging::Logging,
    metrics::Metrics,
    orders::{self, Order, Orders},
    project::{Address, FleetSpec, Known, Location, Project, ReadySpec, ServerLimits, ServerSpec},
    release::{self, Follower, Reference, components},
    reload::{Mode, Reloader, Watch},
    router,
    server::{self, Accounts, Pin, Ready, Recorder, Server},
    service,
    status::{self, Ask, Event, Format, Journal, ReadyGroup, Reporter, Tap, Writer},
    tracer::Tracer,
};

/// What `wasmhost serve` can be told.
pub struct Config {
    pub root: PathBuf,
    /// Instead of the manifest's, where not empty.
    pub listen: Vec<Address>,
    pub format: Format,
    /// `ROOT/.wasmhost` where not given.
    pub state_dir: Option<PathBuf>,
    /// No watching.
    pub frozen: bool,
    /// How changes are noticed.
    pub watch: Mode,
    /// Writes down what is asked of pages.
    pub recorder: Option<Recorder>,
    pub logging: Logging,
    /// A line of the log for each request.
    pub access_log: bool,
    /// How often registries are asked for components by reference.
    pub poll: Duration,
    /// The clock can be moved on: a test's server.
    pub movable_clock: bool,
    /// The pages that follow what is served: a developer's server.
    pub browser: Option<Browser>,
    /// What puts releases at the root.
    pub releases: Releases,
}

/// Where releases come from.
#[derive(Default)]
pub enum Releases {
    /// There are none: the root is a tree of the user's.
    #[default]
    None,
    Followed(Box<Follower>),
    /// A fleet decides which one is served.
    Fleet(Box<Member>),
}

/// A server whose first generations are ready and whose sockets are bound.
pub struct App {
    server: Server,
    reloader: Reloader,
    watch: Option<Watch>,
    asking: mpsc::Receiver<Ask>,
    ordered: mpsc::Receiver<Order>,
    admin: Admin,
    desk: Desk,
    reporter: Reporter,
    tracer: Tracer,
    writer: Writer,
    /// Guests are interrupted as long as it lives.
    ticking: Ticking,
    releases: Releases,
    poll: Duration,
    fleet: FleetSpec,
    /// What was taken back here, for the fleet.
    reverted: mpsc::UnboundedReceiver<String>,
}

impl Config {
    /// Serves what a reference stands for in a registry, from the state directory, and follows it.
    /// Errors: no release is to be had, and none was.
    pub async fn follow(&mut self, reference: Reference, every: Duration) -> Result<(), Vec<Diagnostic>> {
        let here = || PathBuf::from(".wasmhost");
        let state_dir = self.state_dir.get_or_insert_with(here);
        let releases = release::start(state_dir, reference, every).await;
        let releases = releases.map_err(|error| vec![error])?;
        self.root = releases.root();
        // A release changes as a whole, and that is told.
        self.frozen = true;
        self.releases = Releases::Followed(Box::new(releases));
        Ok(())
    }

    /// Serves what a fleet has committed.
    /// Errors: it is not to be had, and nothing of it was.
    pub async fn join(
        &mut self,
        address: &FleetAddress,
        credentials: Option<&Path>,
        reference: Reference,
        every: Duration,
    ) -> Result<(), Vec<Diagnostic>> {
        let here = || PathBuf::from(".wasmhost");
        let state_dir = self.state_dir.get_or_insert_with(here);
        let member = fleet::join(address, credentials, state_dir, reference, every).await;
        let member = member.map_err(|error| vec![error])?;
        self.root = member.root();
        self.frozen = true;
        self.releases = Releases::Fleet(Box::new(member));
        Ok(())
    }

    /// Reads the tree, binds the sockets, and starts the first generation of every group. `stop` ends what comes of
    /// it.
    /// Errors: everything that keeps it from serving, at once.
    pub async fn build(self, stop: CancellationToken) -> Result<App, Vec<Diagnostic>> {
        self.movable_clock.then(clock::make_movable);
        let one = |diagnostic| vec![diagnostic];
        let root = Project::root(&self.root).map_err(one)?;
        let state_dir = self.state_dir.clone().unwrap_or_else(|| root.join(".wasmhost"));
        let kept = Kept::new(&state_dir, &root);
        let location = provided(&root, &state_dir, &kept).await;
        let (project, watch) = self.read(&location, &kept)?;
        let spec = server_spec(&project, &kept, self.listen.clone());
        let listeners = server::bind(&spec).await?;
        let (ticking, builder) = start_engine(&state_dir, &spec.limits).map_err(one)?;
        let metrics = Metrics::new().map_err(|error| one(no_metrics(&error)))?;
        let no_thread = |error| one(no_thread(&root, &error));
        let tracer = Tracer::start().map_err(one)?;
        let (tap, reverted) = self.tap();
        let reported = start_reporting(self.format, &state_dir, &metrics, &tracer, tap);
        let (reporter, writer) = reported.map_err(no_thread)?;
        let admin = Admin::bind(&state_dir, spec.admin.as_ref()).await.map_err(one)?;
        let keeper = start_keeper(kept.clone(), &project).map_err(no_thread)?;
        let folder = keeper.folder();
        let (router, publisher) = router::router();
        let (reporting, counting) = (reporter.clone(), metrics.clone());
        let reloader = Reloader::new(location, builder, publisher, reporting, counting, keeper);
        let mut reloader = self.held(reloader.patient(self.browser.is_some()));
        reloader.load(project, &kept).await?;
        let ((inbox, asking), (orders, ordered)) = (status::inbox(), orders::orders());
        let desk = Desk {
            orders,
            live: reporter.live(),
            kept: folder,
            keyvalue: ticking.engine.keyvalue.clone(),
            logging: self.logging,
            gauges: probe(&metrics, &ticking),
            root,
            state_dir,
            url: listeners.url(),
            admin_url: admin.url(),
            stop,
            bounds: Bounds::default(),
        };
        let server = Server {
            listeners,
            router,
            inbox,
            metrics,
            accounts: accounts(&tracer, self.access_log),
            recorder: self.recorder,
            limits: spec.limits,
            ready: ready(spec.ready, &desk.stop, self.browser.is_some()),
            browser: self.browser,
            pin: pin(&self.releases, &spec.fleet),
        };
        Ok(App {
            server,
            reloader,
            watch,
            asking,
            ordered,
            admin,
            desk,
            reporter,
            tracer,
            writer,
            ticking,
            releases: self.releases,
            poll: self.poll,
            fleet: spec.fleet,
            reverted,
        })
    }

    /// In a fleet, nothing is committed before the fleet has committed it.
    fn held(&self, mut reloader: Reloader) -> Reloader {
        if let Releases::Fleet(member) = &self.releases {
            reloader.hold(member.is_new());
        }
        reloader
    }

    /// Who is told of each event, and what the fleet is told thereby.
    fn tap(&self) -> (Option<Tap>, mpsc::UnboundedReceiver<String>) {
        let (taken_back, reverted) = mpsc::unbounded_channel();
        let tap = match (&self.browser, &self.releases) {
            (Some(browser), _) => Some(tap(browser.clone())),
            (None, Releases::Fleet(_)) => Some(tell_reverted(taken_back)),
            (None, _) => None,
        };
        (tap, reverted)
    }

    /// The tree as it lies there, or what is wrong with it, and the watch over it.
    /// Errors: it cannot be served, and never was.
    fn read(&self, location: &Location, kept: &Kept) -> Result<(Tree, Option<Watch>), Vec<Diagnostic>> {
        let discover = || Project::discover_new(location, &Known::default(), false);
        let mut project = discover();
        if let Err(diagnostics) = &project
            && kept.groups().is_empty()
            && self.browser.is_none()
        {
            return Err(diagnostics.clone());
        }
        // Before the tree is read for good: a change in between must be seen.
        let watch = || Watch::start(&location.root, project.as_ref().ok(), self.watch);
        let watch = (!self.frozen).then(watch).transpose();
        let watch = watch.map_err(|diagnostic| vec![diagnostic])?;
        if watch.is_some() {
            project = discover();
        }
        for warning in project.iter().flat_map(|project| &project.warnings) {
            tracing::warn!("{warning}");
        }
        Ok((project, watch))
    }
}

/// What keeps clients from going back, where the fleet's manifest wants it.
fn pin(releases: &Releases, spec: &FleetSpec) -> Option<Arc<Pin>> {
    match releases {
        Releases::Fleet(member) if spec.pin => Some(member.pin()),
        _ => None,
    }
}

/// Where balancers ask. A developer's server has none in front that would have to hear of its end.
fn ready(spec: Option<ReadySpec>, told: &CancellationToken, is_dev: bool) -> Option<Arc<Ready>> {
    let mut spec = spec?;
    if is_dev {
        spec.notice = Duration::ZERO;
    }
    Some(Arc::new(Ready::new(spec, told.clone())))
}

type Tree = Result<Project, Vec<Diagnostic>>;

/// The tree with what its manifest names by reference, as far as that is to be had.
async fn provided(root: &Path, state_dir: &Path, kept: &Kept) -> Location {
    components::provide(root, state_dir, !kept.groups().is_empty()).await;
    Location::new(root, state_dir)
}

fn accounts(tracer: &Tracer, access_log: bool) -> Accounts {
    Accounts {
        tracer: tracer.clone(),
        access_log,
    }
}

/// Pages are told of each event.
fn tap(browser: Browser) -> Tap {
    Arc::new(move |event| browser.tell(event))
}

/// The fleet is told of what its probation has taken back here.
fn tell_reverted(taken_back: mpsc::UnboundedSender<String>) -> Tap {
    Arc::new(move |event| {
        if let Event::Reverted {
            group, from, reason, ..
        } = event
        {
            // Whoever ends has nothing to tell any more.
            let _ = taken_back.send(format!("{group}@{from} was reverted: {reason}"));
        }
    })
}

impl App {
    /// Where it serves.
    pub fn url(&self) -> &str {
        &self.desk.url
    }

    /// Serves until it is stopped, then finishes what runs. The writer that comes back has the last events to
    /// write, once all tasks are gone.
    pub async fn run(self) -> Writer {
        let Self {
            server,
            reloader,
            watch,
            mut asking,
            ordered,
            admin,
            desk,
            reporter,
            tracer,
            writer,
            ticking,
            releases,
            poll,
            fleet,
            reverted,
        } = self;
        let mut groups = reloader.ready();
        // Frozen: nothing is swapped without an order, so no request waits for a change.
        if watch.is_none() {
            asking.close();
        }
        let over = CancellationToken::new();
        let (state_dir, references) = (desk.state_dir.clone(), reloader.references());
        let reloading = tokio::spawn(reloader.run(watch, asking, ordered, over.clone()));
        let (orders, told) = (desk.orders.clone(), desk.stop.clone());
        // The admin socket's file goes with it.
        let mut steering = JoinSet::new();
        let stop = noticed(server.ready.clone(), &told, &mut steering);
        steering.spawn(components::follow(state_dir, references, poll, stop.clone()));
        match releases {
            Releases::None => {}
            Releases::Followed(follower) => drop(steering.spawn(follower.run(orders.clone(), stop.clone()))),
            Releases::Fleet(member) => {
                let (gate, reporter) = (CancellationToken::new(), reporter.clone());
                let opens = gate.clone();
                steering.spawn(member.run(fleet, orders.clone(), reporter, reverted, opens, stop.clone()));
                groups = committed(&gate, &orders, &told).await.unwrap_or(groups);
            }
        }
        if told.is_cancelled() {
            // No balancer knows of it yet.
            stop.cancel();
        }
        let serving = tokio::spawn(server.run(stop.clone()));
        let url = desk.url.clone();
        reporter.publish(Event::Ready { url, groups });
        if let Some(url) = &desk.admin_url {
            tracing::info!("the dashboard is at {url}");
        }
        steering.spawn(service::run(orders, told));
        steering.spawn(admin.run(desk));
        until_over(serving, reloading, over).await;
        tracer.flush().await;
        ticking.engine.keyvalue.close().await;
        drop(ticking);
        writer
    }
}

/// What ends the serving: `told`, but where balancers ask, not before they had the time to hear of that.
fn noticed(
    ready: Option<Arc<Ready>>,
    told: &CancellationToken,
    steering: &mut JoinSet<()>,
) -> CancellationToken {
    let Some(ready) = ready else {
        return told.clone();
    };
    let stop = CancellationToken::new();
    let ends = stop.clone();
    steering.spawn(async move {
        ready.noticed().await;
        ends.cancel();
    });
    stop
}

/// Returns when the server has ended, and after it the control plane, which `over` tells.
async fn until_over(mut serving: JoinHandle<()>, mut reloading: JoinHandle<()>, over: CancellationToken) {
    tokio::select! {
        _ = &mut serving => {
            over.cancel();
            // What serves ends with the server, and is told so.
            let _ = reloading.await;
        }
        _ = &mut reloading => {
            tracing::error!("the control plane failed: what serves goes on, but nothing is swapped any more");
            // The server's end is the end, however it came.
            let _ = serving.await;
        }
    }
}

/// What serves when the fleet's member has come to what is committed, or cannot.
async fn committed(
    gate: &CancellationToken,
    orders: &Orders,
    stop: &CancellationToken,
) -> Option<Vec<ReadyGroup>> {
    tokio::select! {
        // Where it ended, what there is serves.
        () = gate.cancelled() => {}
        () = stop.cancelled() => return None,
    }
    let running = orders.status().await.ok()?;
    Some(running.groups.into_values().map(|group| group.serving).collect())
}

/// The manifest's, or what was kept of it, but for what the command line says.
fn server_spec(project: &Tree, kept: &Kept, listen: Vec<Address>) -> ServerSpec {
    let mut spec = match project {
        Ok(project) => project.server.clone(),
        Err(_) => kept.server().unwrap_or_default(),
    };
    if !listen.is_empty() {
        spec.listen = listen;
    }
    spec
}

fn start_keeper(kept: Kept, project: &Tree) -> std::io::Result<Keeper> {
    let keeper = Keeper::start(kept)?;
    if let Ok(project) = project {
        keeper.server(project.server.clone());
    }
    Ok(keeper)
}

fn start_reporting(
    format: Format,
    state_dir: &Path,
    metrics: &Metrics,
    tracer: &Tracer,
    tap: Option<Tap>,
) -> std::io::Result<(Reporter, Writer)> {
    let started = status::start(format, open_journal(state_dir), metrics.clone(), tracer.clone());
    let (reporter, writer) = started?;
    Ok((reporter.with_tap(tap), writer))
}

fn start_engine(state_dir: &Path, limits: &ServerLimits) -> Result<(Ticking, Builder), Diagnostic> {
    let unavailable = |error| engine::unavailable(&error);
    let mut ticking = engine::start(Some(&state_dir.join("cache"))).map_err(unavailable)?;
    if let Some(memory) = limits.memory.or_else(engine::memory_by_default) {
        ticking.engine.memory.set_limit(memory);
    }
    ticking.engine.keyvalue = Spaces::in_file(state_dir.join(FILE));
    let builder = Builder::new(&ticking.engine, ticking.caches.clone()).map_err(unavailable)?;
    Ok((ticking, builder))
}

/// What is asked when somebody scrapes.
fn probe(metrics: &Metrics, ticking: &Ticking) -> Probe {
    Probe {
        metrics: metrics.clone(),
        memory: ticking.engine.memory.clone(),
        caches: ticking.caches.clone(),
    }
}

fn no_metrics(error: &dyn std::fmt::Display) -> Diagnostic {
    let message = format!("the metrics cannot be set up: {error}");
    Diagnostic::new("internal", message).help("this is a fault of wasmhost: please report it")
}

fn no_thread(root: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::io("thread-failed", "start a thread for", root, error).machine()
}

/// The journal is a record, not a need: serving goes on without it.
fn open_journal(state_dir: &Path) -> Option<Journal> {
    match Journal::open(state_dir) {
        Ok(journal) => Some(journal),
        Err(error) => {
            let folder = state_dir.display();
            tracing::warn!(%folder, %error, "no journal is kept; choose another folder with --state-dir");
            None
        }
    }
}
