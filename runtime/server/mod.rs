//! Sockets and HTTP: accepts connections, leads each request to its generation, and answers for the
//! host where there is none. Knows neither wasmtime nor files nor reloading.

mod answer;
mod listen;

use std::{convert::Infallible, sync::Arc, time::Duration};

use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

pub use self::listen::bind;
use crate::{
    generation::{GenerationId, RequestError},
    host::body::{Body, BodyError},
    router::{Router, Wait},
    status::Inbox,
};

/// What a server takes from its clients, all listeners together.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections; more wait to be accepted.
    pub connections: usize,
    /// From the first byte of a request's head to its last.
    pub header_time: Duration,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// How long requests may go on after the server was told to stop.
    pub shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            header_time: Duration::from_secs(30),
            header_bytes: 64 * 1024,
            shutdown: Duration::from_secs(30),
        }
    }
}

/// A server over sockets that are bound already.
pub struct Server {
    pub listeners: Vec<TcpListener>,
    pub router: Router,
    /// Where requests ask for what lies on disk.
    pub inbox: Inbox,
    pub limits: Limits,
}

impl Server {
    /// Serves until `stop`, then finishes what runs, as long as the limits allow.
    pub async fn run(self, stop: CancellationToken) {
        let Self {
            listeners,
            router,
            inbox,
            limits,
        } = self;
        let permits = Arc::new(Semaphore::new(limits.connections));
        let connections = Arc::new(Connections {
            router,
            inbox,
            graceful: GracefulShutdown::new(),
            limits,
        });
        let mut accepting = JoinSet::new();
        for listener in listeners {
            accepting.spawn(accept(
                listener,
                connections.clone(),
                permits.clone(),
                stop.clone(),
            ));
        }
        while accepting.join_next().await.is_some() {}
        let Some(Connections { graceful, limits, .. }) = Arc::into_inner(connections) else {
            return;
        };
        if tokio::time::timeout(limits.shutdown, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!("requests were still running at the end of the shutdown time and were ended");
        }
    }
}

/// What all connections share.
struct Connections {
    router: Router,
    inbox: Inbox,
    graceful: GracefulShutdown,
    limits: Limits,
}

async fn accept(
    listener: TcpListener,
    connections: Arc<Connections>,
    permits: Arc<Semaphore>,
    stop: CancellationToken,
) {
    loop {
        let accepted = async {
            let permit = permits.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = stop.cancelled() => return,
            accepted = accepted => accepted,
        };
        match (permit, accepted) {
            (Ok(permit), Ok((stream, _))) => connections.serve(stream, permit),
            (_, Err(error)) => {
                // No file handle is free, or the client is gone already. Others may be luckier soon.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            (Err(_), _) => return,
        }
    }
}

impl Connections {
    fn serve(&self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        // Answers are written as a whole; waiting for more would only delay them.
        let _ = stream.set_nodelay(true);
        let (router, inbox) = (self.router.clone(), self.inbox.clone());
        let service = service_fn(move |request| {
            let (router, inbox) = (router.clone(), inbox.clone());
            async move { Ok::<_, Infallible>(respond(&router, &inbox, request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_time)
            .max_buf_size(self.limits.header_bytes)
            .serve_connection(TokioIo::new(stream), service);
        let connection = self.graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke off");
            }
            drop(permit);
        });
    }
}

/// One request, from its head to the head of its response.
async fn respond(router: &Router, inbox: &Inbox, request: http::Request<Incoming>) -> http::Response<Body> {
    let method = request.method();
    if *method == http::Method::CONNECT || *method == http::Method::TRACE {
        return answer::method_not_allowed();
    }
    let path = request.uri().path();
    if let Some(Wait { group, limit }) = router.waits(path) {
        inbox.fresh(group, limit).await;
    }
    let routed = match router.route(path) {
        Ok(routed) => routed,
        Err(error) => return answer::unrouted(&error),
    };
    let (generation, component) = (routed.generation.id().clone(), routed.component);
    let request = request.map(|body| {
        body.map_err(|error| BodyError::Client(error.to_string()))
            .boxed_unsync()
    });
    let answered = match routed.generation.admit().await {
        Ok(lease) => lease.handle(&component, routed.params, request).await,
        Err(error) => Err(error),
    };
    let mut response = match answered {
        Ok(response) => response.map(BodyExt::boxed_unsync),
        Err(error) => {
            log_failure(&generation, &error, component.as_str());
            answer::failed(&error)
        }
    };
    answer::name_generation(&mut response, &generation);
    response
}

/// The client is told a status; what happened inside is for the log.
fn log_failure(generation: &GenerationId, error: &RequestError, component: &str) {
    match error {
        RequestError::BadRequest(_) | RequestError::BodyTooLarge => {
            tracing::debug!(%generation, component, %error, "request refused");
        }
        _ => tracing::warn!(%generation, component, %error, "request failed"),
    }
}
