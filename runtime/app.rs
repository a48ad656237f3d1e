//! The composition root: settings in, a running server out. Knows neither arguments nor printing.

use std::path::{Path, PathBuf};

use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{Admin, Desk, Probe},
    artifact::Builder,
    diagnostic::Diagnostic,
    engine::{self, Ticking},
    kept::{Keeper, Kept},
    metrics::Metrics,
    orders::{self, Order, Orders},
    project::{Address, Project, ServerLimits},
    reload::{Mode, Reloader, Watch},
    router,
    server::{self, Recorder, Server},
    status::{self, Ask, Event, Format, Journal, Reporter, Writer},
};

/// What `wasmhost serve` can be told.
#[derive(Clone, Debug, Default)]
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
}

/// What lies under the root, or why it makes no sense.
type Tree = Result<Project, Vec<Diagnostic>>;

/// A server whose first generations are ready and whose sockets are bound.
pub struct App {
    server: Server,
    reloader: Reloader,
    watch: Option<Watch>,
    asking: mpsc::Receiver<Ask>,
    admin: Option<Admin>,
    orders: (Orders, mpsc::Receiver<Order>),
    reporter: Reporter,
    metrics: Metrics,
    writer: Writer,
    url: String,
    /// Guests are interrupted as long as it lives.
    ticking: Ticking,
}

impl Config {
    /// Reads the tree, binds the sockets, and starts the first generation of every group.
    /// Errors: everything that keeps it from serving, at once.
    pub async fn build(self) -> Result<App, Vec<Diagnostic>> {
        let one = |diagnostic| vec![diagnostic];
        let root = Project::root(&self.root).map_err(one)?;
        let state_dir = self.state_dir.unwrap_or_else(|| root.join(".wasmhost"));
        let kept = Kept::new(&state_dir, &root);
        let mode = (!self.frozen).then_some(self.watch);
        let (project, watch) = discover(&root, &kept, mode)?;
        let mut spec = match &project {
            Ok(project) => project.server.clone(),
            Err(_) => kept.server().unwrap_or_default(),
        };
        if !self.listen.is_empty() {
            spec.listen = self.listen;
        }
        let listeners = server::bind(&spec).await?;
        let url = listeners.url();

        let (ticking, builder) = start_engine(&state_dir, &spec.limits).map_err(one)?;
        let metrics = Metrics::new().map_err(|error| one(no_metrics(&error)))?;
        let (reporter, writer) = status::start(self.format, open_journal(&state_dir), metrics.clone())
            .map_err(|error| one(no_thread(&root, &error)))?;
        let keeper = Keeper::start(kept.clone()).map_err(|error| one(no_thread(&root, &error)))?;
        if let Ok(project) = &project {
            keeper.server(project.server.clone());
        }
        let (router, publisher) = router::router();
        let mut reloader = Reloader::new(
            root,
            builder,
            publisher,
            reporter.clone(),
            metrics.clone(),
            keeper,
        );
        reloader.load(project, &kept).await?;
        let (inbox, asking) = status::inbox();
        let limits = spec.limits;
        Ok(App {
            server: Server {
                listeners,
                router,
                inbox,
                metrics: metrics.clone(),
                recorder: self.recorder,
                limits,
            },
            reloader,
            watch,
            asking,
            admin: bind_admin(&state_dir).await,
            orders: orders::orders(),
            reporter,
            metrics,
            writer,
            url,
            ticking,
        })
    }
}

impl App {
    /// Serves until `stop`, then finishes what runs. The writer that comes back has the last events to
    /// write, once all tasks are gone.
    pub async fn run(self, stop: CancellationToken) -> Writer {
        let Self {
            server,
            reloader,
            watch,
            asking,
            admin,
            orders: (orders, ordered),
            reporter,
            metrics,
            writer,
            url,
            ticking,
        } = self;
        let groups = reloader.ready();
        let mut serving = tokio::spawn(server.run(stop.clone()));
        reporter.publish(Event::Ready {
            url: url.clone(),
            groups,
        });
        let desk = Desk {
            orders,
            live: reporter.live(),
            gauges: Probe {
                metrics,
                memory: ticking.engine.memory.clone(),
                caches: ticking.caches.clone(),
            },
            url,
            stop,
        };
        // Its file goes with it.
        let mut steering = JoinSet::new();
        if let Some(admin) = admin {
            steering.spawn(admin.run(desk));
        }
        // Frozen: nothing is swapped without an order, so no request waits for a change.
        let mut asking = asking;
        if watch.is_none() {
            asking.close();
        }
        let reloading = tokio::spawn(reloader.run(watch, asking, ordered));
        tokio::select! {
            _ = &mut serving => {}
            _ = reloading => {
                tracing::error!("the control plane failed: what serves goes on, but nothing is swapped any more");
                // The server's end is the end, however it came.
                let _ = serving.await;
            }
        }
        drop(ticking);
        writer
    }
}

fn start_engine(state_dir: &Path, limits: &ServerLimits) -> Result<(Ticking, Builder), Diagnostic> {
    let unavailable = |error| engine::unavailable(&error);
    let ticking = engine::start(Some(&state_dir.join("cache"))).map_err(unavailable)?;
    if let Some(memory) = limits.memory.or_else(engine::memory_by_default) {
        ticking.engine.memory.set_limit(memory);
    }
    let builder = Builder::new(&ticking.engine, ticking.caches.clone()).map_err(unavailable)?;
    Ok((ticking, builder))
}

fn no_metrics(error: &dyn std::fmt::Display) -> Diagnostic {
    let message = format!("the metrics cannot be set up: {error}");
    Diagnostic::new("internal", message).help("this is a fault of wasmhost: please report it")
}

fn no_thread(root: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::io("thread-failed", "start a thread for", root, error).machine()
}

/// The tree, and the watch that sees what changes in it from now on, where one is wanted.
/// Errors: the tree makes no sense, and nothing was kept.
fn discover(root: &Path, kept: &Kept, mode: Option<Mode>) -> Result<(Tree, Option<Watch>), Vec<Diagnostic>> {
    let mut project = Project::discover(root);
    if let Err(diagnostics) = &project
        && kept.groups().is_empty()
    {
        return Err(diagnostics.clone());
    }
    let watch = mode.map(|mode| Watch::start(root, project.as_ref().ok(), mode));
    let watch = watch.transpose().map_err(|diagnostic| vec![diagnostic])?;
    if watch.is_some() {
        // It is read for good once it is watched: a change in between must be seen.
        project = Project::discover(root);
    }
    for warning in project.iter().flat_map(|project| &project.warnings) {
        tracing::warn!("{warning}");
    }
    Ok((project, watch))
}

/// Serving goes on without being steered.
async fn bind_admin(state_dir: &Path) -> Option<Admin> {
    let bound = Admin::bind(state_dir).await;
    let unsteered = |error: std::io::Error| {
        let folder = state_dir.display();
        tracing::warn!(%folder, %error, "commands will not reach this server; choose another folder with --state-dir");
    };
    bound.map_err(unsteered).ok()
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
