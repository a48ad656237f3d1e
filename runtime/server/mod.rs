//! Sockets and HTTP: accepts connections, leads each request to its generation, and answers for the
//! host where there is none. Knows neither wasmtime nor reloading.
//!
//! ```text
//!  listen ──▶ connection (TLS, HTTP/1.1 or HTTP/2, watched by its activity) ──▶ respond ──▶ router
//! ```

mod account;
mod activity;
mod answer;
mod conform;
mod connection;
mod identity;
mod listen;
mod passed;
mod patient;
mod pin;
mod ready;
mod record;
mod respond;
mod stream_body;
mod tls;
mod unix;
mod upload;
mod workers;

use std::{sync::Arc, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

pub use self::{
    account::Accounts,
    listen::{Listeners, bind},
    pin::Pin,
    ready::Ready,
    record::{Recorded, Recorder, Recording},
    unix::UnixSocket,
};
use self::{
    connection::{Accepted, Connections},
    listen::Listener,
    respond::Responder,
    workers::Workers,
};
use crate::{
    browser::Browser, clock, metrics::Metrics, project::ServerLimits, router::Router, status::Inbox,
};

/// How long connections are still accepted once the server is to stop: some may have come by then.
const LAST_CALL: Duration = Duration::from_millis(50);
/// How long idle connections stay open after that: a request may be on its way, and is answered with
/// the word that it was the last.
const LAST_REQUESTS: Duration = Duration::from_millis(250);
/// How long it waits for a free file handle before it accepts again.
const RETRY: Duration = Duration::from_millis(10);

/// A server over sockets that are bound already.
pub struct Server {
    pub listeners: Listeners,
    pub router: Router,
    /// Where requests ask for what lies on disk.
    pub inbox: Inbox,
    pub metrics: Metrics,
    pub recorder: Option<Recorder>,
    pub accounts: Accounts,
    pub limits: ServerLimits,
    /// In dev: the pages that follow what is served.
    pub browser: Option<Browser>,
    /// In a fleet whose clients never go back.
    pub pin: Option<Arc<Pin>>,
    /// Where balancers ask.
    pub ready: Option<Arc<Ready>>,
}

impl Server {
    /// Serves until `stop`, then finishes what runs, as long as the limits allow.
    pub async fn run(self, stop: CancellationToken) {
        let Self {
            listeners: Listeners { all, certificate },
            router,
            inbox,
            metrics,
            recorder,
            accounts,
            limits,
            browser,
            pin,
            ready,
        } = self;
        // A certificate is followed as long as there are connections.
        let mut following = JoinSet::new();
        if let Some(certificate) = certificate {
            following.spawn(certificate.run());
        }
        let most = limits.connections;
        raise_handles();
        let shutdown_time = limits.shutdown_time;
        let permits = Arc::new(Semaphore::new(most));
        let responder = Responder {
            router,
            inbox,
            metrics,
            recorder,
            accounts,
            browser,
            pin,
            ready,
        };
        let connections = Arc::new(Connections::new(responder, limits));
        let serve = connections.clone();
        let workers = Arc::new(Workers::start(move |(accepted, permit), load| {
            serve.clone().serve(accepted, (permit, load))
        }));
        let mut accepting = JoinSet::new();
        for listener in all {
            let door = Door {
                connections: connections.clone(),
                workers: workers.clone(),
                permits: permits.clone(),
            };
            accepting.spawn(door.accept(listener, stop.clone()));
        }
        while accepting.join_next().await.is_some() {}
        finish(&connections, &permits, most, shutdown_time).await;
        if let Some(workers) = Arc::into_inner(workers) {
            // It cannot fail but by a panic, which was told.
            let _ = tokio::task::spawn_blocking(|| workers.end()).await;
        }
    }
}

/// Ends the connections, each when nothing runs on it, or at the end of the shutdown time.
async fn finish(connections: &Connections, permits: &Semaphore, most: usize, shutdown_time: Duration) {
    // Every connection holds a permit: all of them are back when all connections have ended.
    let ended = || permits.acquire_many(u32::try_from(most).unwrap_or(u32::MAX));
    if tokio::time::timeout(LAST_REQUESTS, ended()).await.is_ok() {
        return;
    }
    connections.close();
    if clock::timeout(shutdown_time, ended()).await.is_err() {
        tracing::warn!("requests were still running at the end of the shutdown time and were ended");
    }
}

/// Takes as many file handles as the system lets it have: each connection is one, and what a shell hands
/// down is often no more than a thousand.
fn raise_handles() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(?current, %error, "no more file handles");
    }
}

/// Where connections come in.
struct Door {
    connections: Arc<Connections>,
    workers: Arc<Workers<(Accepted, OwnedSemaphorePermit)>>,
    permits: Arc<Semaphore>,
}

impl Door {
    /// Accepts on one socket until shortly after `stop`.
    async fn accept(self, listener: Listener, stop: CancellationToken) {
        let Self {
            connections,
            workers,
            permits,
        } = self;
        let last_call = async {
            stop.cancelled().await;
            connections.say_last();
            tokio::time::sleep(LAST_CALL).await;
        };
        let mut last_call = std::pin::pin!(last_call);
        loop {
            let accepted = async {
                let permit = permits.clone().acquire_owned().await;
                (permit, accept_one(&listener).await)
            };
            let (permit, accepted) = tokio::select! {
                () = last_call.as_mut() => return,
                accepted = accepted => accepted,
            };
            match (permit, accepted) {
                (Ok(permit), Ok(accepted)) => {
                    if let Err((accepted, permit)) = workers.deal((accepted, permit)) {
                        tokio::spawn(connections.clone().serve(accepted, permit));
                    }
                }
                (_, Err(error)) => {
                    // No file handle is free, or the client is gone already. Others may be luckier soon.
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(RETRY).await;
                }
                (Err(_), _) => return,
            }
        }
    }
}

async fn accept_one(listener: &Listener) -> std::io::Result<Accepted> {
    let tcp = |listener| async move {
        let (stream, _) = tokio::net::TcpListener::accept(listener).await?;
        // Answers are written as a whole; waiting for more would only delay them.
        let _ = stream.set_nodelay(true);
        Ok::<_, std::io::Error>(stream)
    };
    match listener {
        Listener::Tcp(listener) => tcp(listener).await.map(Accepted::Tcp),
        Listener::Tls(listener, tls) => {
            let stream = tcp(listener).await?;
            Ok(Accepted::Tls(stream, tls.acceptor()))
        }
        Listener::Unix(socket) => socket.accept().await.map(Accepted::Unix),
    }
}
