//! The composition root: settings in, a running server out. Knows neither arguments nor printing.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{Admin, Desk},
    artifact::Builder,
    browser::Browser,
    diagnostic::Diagnostic,
    engine::{self, Ticking},
    kept::{Keeper, Kept},
    orders::{self, Order, Orders},
    project::{Address, Project},
    reload::{Mode, Reloader, Watch},
    router,
    server::{self, Server},
    status::{self, Ask, Event, Format, Journal, Reporter, Tap, Writer},
};

/// What `wasmhost serve` can be told.
#[derive(Clone, Default)]
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
    /// The pages that follow what is served: a developer's server.
    pub browser: Option<Browser>,
}

/// A server whose first generations are ready and whose sockets are bound.
pub struct App {
    server: Server,
    reloader: Reloader,
    watch: Option<Watch>,
    asking: mpsc::Receiver<Ask>,
    admin: Option<Admin>,
    orders: (Orders, mpsc::Receiver<Order>),
    reporter: Reporter,
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
        let mut project = Project::discover(&root);
        let fatal = self.browser.is_none() && kept.groups().is_empty();
        if let Err(diagnostics) = &project
            && fatal
        {
            return Err(diagnostics.clone());
        }
        // Before the tree is read for good: a change in between must be seen.
        let watch = || Watch::start(&root, project.as_ref().ok(), self.watch);
        let watch = (!self.frozen).then(watch).transpose().map_err(one)?;
        if watch.is_some() {
            project = Project::discover(&root);
        }

        let warnings = project.iter().flat_map(|project| &project.warnings);
        warnings.for_each(|warning| tracing::warn!("{warning}"));
        let mut spec = match &project {
            Ok(project) => project.server.clone(),
            Err(_) => kept.server().unwrap_or_default(),
        };
        if !self.listen.is_empty() {
            spec.listen = self.listen;
        }
        let listeners = server::bind(&spec).await?;
        let url = listeners.url();

        let ticking = engine::start(Some(&state_dir.join("cache")))
            .map_err(|error| one(engine::unavailable(&error)))?;
        if let Some(memory) = spec.limits.memory.or_else(engine::memory_by_default) {
            ticking.engine.memory.set_limit(memory);
        }
        let builder = Builder::new(&ticking.engine, ticking.caches.clone());
        let builder = builder.map_err(|error| one(engine::unavailable(&error)))?;
        let (reporter, writer) = status::start(self.format, open_journal(&state_dir))
            .map_err(|error| one(no_thread(&root, &error)))?;
        let reporter = reporter.with_tap(self.browser.clone().map(tap));
        let keeper = Keeper::start(kept.clone()).map_err(|error| one(no_thread(&root, &error)))?;
        if let Ok(project) = &project {
            keeper.server(project.server.clone());
        }
        let (router, publisher) = router::router();
        let reloader = Reloader::new(root, builder, publisher, reporter.clone(), keeper);
        let mut reloader = reloader.patient(self.browser.is_some());
        reloader.load(project, &kept).await?;
        let (inbox, asking) = status::inbox();
        let limits = spec.limits;
        Ok(App {
            server: Server {
                listeners,
                router,
                inbox,
                limits,
                browser: self.browser,
            },
            reloader,
            watch,
            asking,
            admin: bind_admin(&state_dir).await,
            orders: orders::orders(),
            reporter,
            writer,
            url,
            ticking,
        })
    }
}

/// Pages are told of each event.
fn tap(browser: Browser) -> Tap {
    Arc::new(move |event| browser.tell(event))
}

impl App {
    /// Where it serves.
    pub fn url(&self) -> &str {
        &self.url
    }

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

fn no_thread(root: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::io("thread-failed", "start a thread for", root, error).machine()
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
