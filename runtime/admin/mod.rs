//! Steering a running server: HTTP over a Unix socket in its state directory, for its owner alone, and the
//! client of it. Gives orders to the control plane, and decides nothing itself.

mod api;
mod client;
mod gauges;

use std::{io, path::Path};

use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

pub use self::{client::Client, gauges::Probe};
use crate::{orders::Orders, server::UnixSocket, status::Live};

/// The socket's name in the state directory.
const SOCKET: &str = "admin.sock";

/// What the admin interface speaks for.
#[derive(Clone)]
pub struct Desk {
    pub orders: Orders,
    pub live: Live,
    pub gauges: Probe,
    /// Where the server listens.
    pub url: String,
    /// Cancelled, the server finishes what runs and ends.
    pub stop: CancellationToken,
}

/// A socket that is bound.
pub struct Admin(UnixSocket);

impl Admin {
    /// Errors: the system's; `AddrInUse` where another server answers there.
    pub async fn bind(state_dir: &Path) -> io::Result<Self> {
        UnixSocket::bind(&state_dir.join(SOCKET)).await.map(Self)
    }

    /// Answers until it is dropped.
    pub async fn run(self, desk: Desk) {
        let served = axum::serve(self, api::router(desk)).await;
        // It never ends by itself.
        served.unwrap_or_else(|error| tracing::error!(%error, "the admin socket failed"));
    }
}

impl axum::serve::Listener for Admin {
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

/// How long it waits for a free file handle.
const RETRY: std::time::Duration = std::time::Duration::from_millis(10);
