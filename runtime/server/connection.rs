//! One connection from its first byte to its last: TLS, which HTTP, and for how long. Knows not what is
//! answered.
//!
//! The limits on time are kept here and in `patient`, not by the HTTP library: its timer for heads counts
//! an idle connection's rest as slowness, and takes a new timer for each request.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use http::{Request, uri::Scheme};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulConnection},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    activity::{Activity, Verdict},
    patient::Patient,
    respond::Responder,
    upload::Upload,
};
use crate::{clock, host::body, project::ServerLimits};

/// What a listener accepted.
pub enum Accepted {
    Tcp(TcpStream),
    Tls(TcpStream, TlsAcceptor),
    Unix(UnixStream),
}

impl Accepted {
    /// The same socket, told of by the event loop that calls.
    fn here(self) -> io::Result<Self> {
        let tcp = |stream: TcpStream| TcpStream::from_std(stream.into_std()?);
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(tcp(stream)?),
            Self::Tls(stream, acceptor) => Self::Tls(tcp(stream)?, acceptor),
            Self::Unix(stream) => Self::Unix(UnixStream::from_std(stream.into_std()?)?),
        })
    }
}

/// What all connections share.
pub struct Connections {
    responder: Arc<Responder>,
    http: auto::Builder<TokioExecutor>,
    limits: ServerLimits,
    /// Every answer is the last of its connection.
    last: AtomicBool,
    /// Those that wait for a request are closed.
    close: CancellationToken,
}

impl Connections {
    pub fn new(responder: Responder, limits: ServerLimits) -> Self {
        Self {
            responder: Arc::new(responder),
            http: http(&limits),
            limits,
            last: AtomicBool::new(false),
            close: CancellationToken::new(),
        }
    }

    /// From here on every answer says that it is its connection's last.
    pub fn say_last(&self) {
        self.last.store(true, Ordering::Relaxed);
    }

    /// Closes all that wait for a request; the others end with those that run.
    pub fn close(&self) {
        self.close.cancel();
    }

    /// Serves on the thread that calls, whichever one accepted. `_holds` is held to its end.
    pub async fn serve(self: Arc<Self>, accepted: Accepted, _holds: impl Send) {
        let here = accepted.here();
        let Ok(accepted) = here.inspect_err(|error| tracing::warn!(%error, "a connection was lost")) else {
            return;
        };
        match accepted {
            Accepted::Tcp(stream) => self.talk(stream, &Scheme::HTTP).await,
            Accepted::Unix(stream) => self.talk(stream, &Scheme::HTTP).await,
            Accepted::Tls(stream, acceptor) => {
                let handshake = clock::timeout(self.limits.header_time, acceptor.accept(stream));
                let accepted = tokio::select! {
                    accepted = handshake => accepted,
                    () = self.close.cancelled() => return,
                };
                match accepted {
                    // A state of TLS is large, and most of a connection's life it is not looked at.
                    Ok(Ok(stream)) => Box::pin(self.talk(stream, &Scheme::HTTPS)).await,
                    Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                    Err(_) => tracing::debug!("a TLS handshake took too long"),
                }
            }
        }
    }

    async fn talk<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(&self, stream: S, scheme: &Scheme) {
        let activity = Arc::new(Activity::new(clock::now()));
        let stream = Patient::new(stream, activity.clone(), self.limits.write_time);
        let service = service_fn({
            let activity = activity.clone();
            move |mut request: Request<Incoming>| {
                body::came_by(&mut request, scheme);
                let request = Box::new(request.map(|body| Upload::body(body, &activity)));
                let (responder, activity) = (self.responder.clone(), activity.clone());
                let last = self.last.load(Ordering::Relaxed);
                // Boxed: the connection keeps the place of its requests' futures while it has none.
                Box::pin(
                    async move { Ok::<_, Infallible>(responder.respond(request, &activity, last).await) },
                )
            }
        });
        // By reference: a future that is handed on keeps a second place for it.
        let connection = std::pin::pin!(self.http.serve_connection(TokioIo::new(stream), service));
        self.watch(connection, &activity).await;
    }

    /// Runs a connection to its end, or until it is too slow.
    async fn watch<C: GracefulConnection>(&self, mut connection: Pin<&mut C>, activity: &Activity)
    where
        C::Error: std::fmt::Display,
    {
        // Of its own: all would look at one lock whenever any of them wakes.
        let close = self.close.child_token();
        let mut close = std::pin::pin!(close.cancelled());
        let mut look = std::pin::pin!(clock::sleep(shortest(&self.limits)));
        let (mut stopping, mut told, mut closing) = (None, false, None);
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection broke off");
                    }
                    return;
                }
                () = close.as_mut(), if stopping.is_none() => stopping = Some(clock::now()),
                () = look.as_mut() => {}
            }
            let now = clock::now();
            activity.end_stalled(now, &self.limits);
            let verdict = activity.judge(now, stopping, &self.limits);
            if matches!(verdict, Verdict::Finish(_) | Verdict::Close) && !told {
                connection.as_mut().graceful_shutdown();
                told = true;
            }
            match next_look(&verdict, now, &mut closing, &self.limits) {
                Some(next) => look.as_mut().reset(next),
                None => {
                    tracing::debug!("a connection was too slow");
                    return;
                }
            }
        }
    }
}

/// When a connection is to be looked at again; `None` where it is dropped. `closing` is until when its
/// client may take its leave: it has the time of a write, and anew if it had asked before it was told.
fn next_look(
    verdict: &Verdict,
    now: Instant,
    closing: &mut Option<Instant>,
    limits: &ServerLimits,
) -> Option<Instant> {
    match verdict {
        Verdict::Look(next) | Verdict::Finish(next) => {
            *closing = None;
            Some(*next)
        }
        Verdict::Close => {
            let until = *closing.get_or_insert(now + limits.write_time);
            (now < until).then_some(until)
        }
        Verdict::Drop => None,
    }
}

/// Nothing can be late before this time is over.
fn shortest(limits: &ServerLimits) -> Duration {
    limits.header_time.min(limits.write_time).min(limits.idle_time)
}

/// How HTTP is spoken. The limits of HTTP/2 on streams that are reset are the library's own.
fn http(limits: &ServerLimits) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .max_buf_size(limits.header_size)
        .header_read_timeout(None);
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.header_size).unwrap_or(u32::MAX))
        .max_concurrent_streams(ServerLimits::STREAMS)
        .keep_alive_interval(limits.idle_time.min(limits.header_time))
        .keep_alive_timeout(limits.write_time);
    http
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn a_request_that_came_before_the_leave_is_not_cut_off() {
        let (limits, now, mut closing) = (ServerLimits::default(), clock::now(), None);
        let late = now + limits.write_time;
        let mut look = |verdict, at| next_look(&verdict, at, &mut closing, &limits);
        assert_eq!(look(Verdict::Close, now), Some(late));
        assert_eq!(
            look(Verdict::Look(late), now),
            Some(late),
            "a request was on its way"
        );
        let again = late + limits.write_time;
        assert_eq!(look(Verdict::Finish(again), late), Some(again));
        assert_eq!(look(Verdict::Close, late), Some(again));
        assert_eq!(look(Verdict::Close, again), None, "it does not leave");
        assert_eq!(look(Verdict::Drop, now), None);
    }

    #[tokio::test]
    async fn a_connection_at_rest_is_small() {
        let (inbox, _) = crate::status::inbox();
        let (router, _) = crate::router::router();
        let connections = Connections::new(
            Responder {
                router,
                inbox,
                browser: None,
                pin: None,
                ready: None,
                metrics: crate::metrics::Metrics::new().unwrap(),
                recorder: None,
                accounts: crate::server::Accounts::default(),
            },
            ServerLimits::default(),
        );
        let (stream, _client) = UnixStream::pair().unwrap();
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let size = size_of_val(&Arc::new(connections).serve(Accepted::Unix(stream), permit));
        assert!(size < 4096, "{size} bytes, and ten thousand of them may be open");
    }
}
