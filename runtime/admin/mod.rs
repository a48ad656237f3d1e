//! Steering a running server: HTTP over a Unix socket in its state directory, for its owner alone, and, where the
//! manifest says so, over an address of this machine for whoever has the token; a dashboard there; and the
//! client of the socket. Gives orders to the control plane, and decides nothing itself.

mod api;
mod assets;
mod client;
mod failure;
mod gauges;
mod guard;
mod reports;
mod streams;

use std::{io, path::Path, path::PathBuf, sync::Arc};

use axum::{Router, middleware};
use tokio::{
    net::{TcpListener, UnixStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

use self::{assets::confine, guard::Guard};
pub use self::{client::Client, gauges::Probe};
use crate::{
    diagnostic::Diagnostic, kept::Folder, keyvalue::Spaces, logging::Logging, orders::Orders,
    project::AdminSpec, server::UnixSocket, status::Live,
};

/// The socket's name in the state directory.
const SOCKET: &str = "admin.sock";
/// Streams that are followed at once.
const MAX_FOLLOWERS: usize = 64;
/// Bytes of a token: what is shorter can be guessed.
const SHORTEST_TOKEN: usize = 16;

/// What the admin interface speaks for.
#[derive(Clone)]
pub struct Desk {
    pub orders: Orders,
    pub live: Live,
    pub logging: Logging,
    pub gauges: Probe,
    /// The tree that is served, and where the journal lies.
    pub root: PathBuf,
    pub state_dir: PathBuf,
    /// The good contents that a group can go back to.
    pub kept: Arc<Folder>,
    pub keyvalue: Spaces,
    /// Where the server listens.
    pub url: String,
    /// Where the dashboard is, if anywhere.
    pub admin_url: Option<String>,
    /// Cancelled, the server finishes what runs and ends.
    pub stop: CancellationToken,
    pub bounds: Bounds,
}

/// What those who ask may take at once.
#[derive(Clone)]
pub struct Bounds {
    followers: Arc<Semaphore>,
    /// Who reads the tree.
    reading: Arc<Semaphore>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            followers: Arc::new(Semaphore::new(MAX_FOLLOWERS)),
            reading: Arc::new(Semaphore::new(1)),
        }
    }
}

/// Sockets that are bound.
pub struct Admin {
    /// `None` where it could not be: serving goes on without being steered by commands, until it can.
    socket: Option<Owned>,
    path: PathBuf,
    address: Option<(TcpListener, Guard)>,
}

/// The socket of the server's owner.
struct Owned(UnixSocket);

impl Admin {
    /// Errors: the address that the manifest names cannot be listened on, or its token is none.
    pub async fn bind(state_dir: &Path, spec: Option<&AdminSpec>) -> Result<Self, Diagnostic> {
        let address = match spec {
            Some(spec) => Some((bind_address(spec).await?, Guard::new(&token(spec)?))),
            None => None,
        };
        let path = state_dir.join(SOCKET);
        let socket = UnixSocket::bind(&path).await;
        let unsteered = |error: &io::Error| {
            let folder = state_dir.display();
            tracing::warn!(
                %folder, %error,
                "commands will not reach this server; choose another folder with --state-dir"
            );
        };
        Ok(Self {
            socket: socket.inspect_err(unsteered).ok().map(Owned),
            path,
            address,
        })
    }

    /// Where a browser finds it, if anywhere.
    pub fn url(&self) -> Option<String> {
        let (listener, _) = self.address.as_ref()?;
        Some(format!("http://{}/", listener.local_addr().ok()?))
    }

    /// Answers until it is dropped.
    pub async fn run(self, desk: Desk) {
        let router = api::router(desk).layer(middleware::from_fn(confine));
        let Self {
            socket,
            path,
            address,
        } = self;
        tokio::join!(
            over_socket(socket, &path, router.clone()),
            over_address(address, router)
        );
    }
}

/// A server that takes the place of another waits for its socket.
async fn over_socket(socket: Option<Owned>, path: &Path, router: Router) {
    let socket = match socket {
        Some(socket) => socket,
        None => freed(path).await,
    };
    report(axum::serve(socket, router).await);
}

async fn freed(path: &Path) -> Owned {
    loop {
        tokio::time::sleep(HELD).await;
        if let Ok(socket) = UnixSocket::bind(path).await {
            tracing::info!("commands reach this server now");
            return Owned(socket);
        }
    }
}

async fn over_address(address: Option<(TcpListener, Guard)>, router: Router) {
    if let Some((listener, guard)) = address {
        let guarded = router.layer(middleware::from_fn_with_state(guard, guard::guard));
        report(axum::serve(listener, guarded.layer(middleware::from_fn(confine))).await);
    }
}

/// It never ends by itself.
fn report(served: io::Result<()>) {
    served.unwrap_or_else(|error| tracing::error!(%error, "the admin interface failed"));
}

async fn bind_address(spec: &AdminSpec) -> Result<TcpListener, Diagnostic> {
    TcpListener::bind(spec.listen).await.map_err(|error| {
        let message = format!(
            "cannot listen on {} for the admin interface: {error}",
            spec.listen
        );
        Diagnostic::new("listen-failed", message)
            .help("choose another port in [server.admin]; port 0 takes any free one")
            .machine()
    })
}

fn token(spec: &AdminSpec) -> Result<String, Diagnostic> {
    let none = |why: String| {
        Diagnostic::new("admin-token", format!("the admin interface has no token: {why}"))
            .help("write a long random text there, such as `openssl rand -hex 32` prints")
    };
    let secret = spec.token.read().map_err(none)?;
    match secret.reveal() {
        short if short.len() < SHORTEST_TOKEN => Err(none(format!(
            "{} has less than {SHORTEST_TOKEN} characters",
            spec.token
        ))),
        token => Ok(token.to_owned()),
    }
}

impl axum::serve::Listener for Owned {
    type Io = UnixStream;
    type Addr = ();

    async fn accept(&mut self) -> (UnixStream, ()) {
        loop {
            match self.0.accept().await {
                Ok(stream) => return (stream, ()),
                Err(error) => {
                    // No file handle is free: one may be soon.
                    tracing::warn!(%error, "an admin connection was not accepted");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// How often it looks whether the socket is free.
const HELD: std::time::Duration = std::time::Duration::from_millis(250);
/// How long it waits for a free file handle.
const RETRY: std::time::Duration = std::time::Duration::from_millis(10);
