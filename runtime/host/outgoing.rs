//! Requests that guests send: to the origins that their group was granted, and nowhere else. Connections are
//! kept and shared by the stores of one generation. Knows neither stores nor what a guest wants.

use std::{
    collections::BTreeSet,
    error::Error as StdError,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector, connect::capture_connection},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::{
    allowance::Allowance,
    names::{PublicNames, Unreachable},
    output::may_be_logged,
};
use crate::{
    certificate,
    clock::{self, Sleep},
    diagnostic::{Diagnostic, brief},
    project::{Grants, Origin},
};

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(30);

/// What the stores of a generation send requests by.
pub struct Reach {
    origins: BTreeSet<Origin>,
    client: Client<HttpsConnector<HttpConnector<PublicNames>>, WasiBody>,
    /// Nothing that a guest sends takes longer.
    longest: Duration,
}

/// What one store sends requests by.
pub struct Outgoing {
    group: Arc<str>,
    reach: Option<Arc<Reach>>,
    turns: Arc<Semaphore>,
    /// What its group's guests may have logged.
    output: Arc<Allowance>,
}

/// A response, and what is left to do for its connection: nothing, since the client does it.
type Answered = Result<
    (
        http::Response<WasiBody>,
        Box<dyn Future<Output = Result<(), Error>> + Send>,
    ),
    Error,
>;

impl Reach {
    /// `None` where nothing is granted. Errors: the authorities that are to be trusted cannot be read.
    pub fn new(grants: &Grants, request_time: Duration) -> Result<Option<Arc<Self>>, Diagnostic> {
        if grants.http.is_empty() {
            return Ok(None);
        }
        let mut connector = HttpConnector::new_with_resolver(PublicNames);
        connector.enforce_http(false);
        connector.set_nodelay(true);
        let trusting = HttpsConnectorBuilder::new();
        let by_tls = grants.http.iter().any(|origin| origin.https);
        let authorities = if by_tls { certificate::trust()? } else { None };
        let trusting = match authorities {
            Some(authorities) => trusting.with_tls_config(authorities),
            None => trusting.with_webpki_roots(),
        };
        let connector = trusting
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Some(Arc::new(Self {
            origins: grants.http.clone(),
            client,
            // So that a guest can still tell its client what it waited for in vain.
            longest: request_time - request_time / 8,
        })))
    }

    fn grants(&self, uri: &http::Uri) -> bool {
        Origin::of(uri).is_some_and(|origin| self.origins.contains(&origin))
    }

    /// Sends one request. Its connection takes one of `turns` until the last byte of the response.
    async fn send(
        &self,
        mut request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        turns: Arc<Semaphore>,
    ) -> Result<http::Response<WasiBody>, Error> {
        let end = clock::now() + self.longest;
        let options = options.unwrap_or_default();
        let within =
            |time: Option<Duration>| end.min(clock::now() + time.unwrap_or(self.longest).min(self.longest));
        let connected = within(options.connect_timeout);
        let turn = match clock::timeout_at(connected, turns.acquire_owned()).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) | Err(_) => return Err(Error::ConnectionLimitReached),
        };
        let mut connection = capture_connection(&mut request);
        let connecting = async {
            // What it gives cannot be held while others run, and is not needed.
            drop(connection.wait_for_connection_metadata().await);
        };
        let mut response = pin!(self.client.request(request));
        let response = tokio::select! {
            biased;
            response = &mut response => response,
            connection = clock::timeout_at(connected, connecting) => {
                connection.map_err(|_| Error::ConnectionTimeout)?;
                clock::timeout_at(within(options.first_byte_timeout), response)
                    .await
                    .map_err(|_| Error::ConnectionReadTimeout)?
            }
        };
        let response = response.map_err(|error| failure(&error))?;
        let between = options
            .between_bytes_timeout
            .unwrap_or(self.longest)
            .min(self.longest);
        Ok(response.map(|body| Timed::new(body, between, end, turn).boxed_unsync()))
    }
}

impl Outgoing {
    /// `most` requests are under way at once; more wait for their turn.
    pub fn new(group: &Arc<str>, reach: Option<Arc<Reach>>, most: usize, output: &Arc<Allowance>) -> Self {
        Self {
            group: group.clone(),
            reach,
            turns: Arc::new(Semaphore::new(most)),
            output: output.clone(),
        }
    }

    /// The guest learns only that; who runs it has to see what is missing.
    fn say_denied(&self, uri: &http::Uri) {
        let origin = Origin::of(uri).map_or_else(|| "no origin".to_owned(), |origin| origin.to_string());
        let (group, origin) = (&*self.group, brief(&origin));
        if !may_be_logged(group, &self.output, origin.len()) {
            return;
        }
        tracing::warn!(
            group,
            origin = &*origin,
            "an outgoing request was denied: see `http` in [groups.{group}.grants]"
        );
    }
}

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Answered> + Send> {
        let reach = self.reach.clone();
        let Some(reach) = reach.filter(|reach| reach.grants(request.uri())) else {
            self.say_denied(request.uri());
            return Box::new(async { Err(Error::HttpRequestDenied) });
        };
        if request.method() == http::Method::CONNECT {
            return Box::new(async { Err(Error::HttpRequestMethodInvalid) });
        }
        let turns = self.turns.clone();
        Box::new(async move {
            let response = reach.send(request, options, turns).await?;
            let nothing: Box<dyn Future<Output = Result<(), Error>> + Send> = Box::new(async { Ok(()) });
            Ok((response, nothing))
        })
    }
}

/// Why a request got no response, in the words of WASI.
fn failure(error: &hyper_util::client::legacy::Error) -> Error {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(unreachable) = error.downcast_ref::<Unreachable>() {
            return unreachable.into();
        }
        if let Some(tls) = error.downcast_ref::<tokio_rustls::rustls::Error>() {
            use tokio_rustls::rustls::Error::InvalidCertificate;
            return match tls {
                InvalidCertificate(_) => Error::TlsCertificateError,
                _ => Error::TlsProtocolError,
            };
        }
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            match io.kind() {
                std::io::ErrorKind::ConnectionRefused => return Error::ConnectionRefused,
                std::io::ErrorKind::ConnectionReset
                | std::io::ErrorKind::ConnectionAborted
                | std::io::ErrorKind::BrokenPipe
                | std::io::ErrorKind::UnexpectedEof => return Error::ConnectionTerminated,
                _ => {}
            }
            // What it wraps is not its source.
            if let Some(inner) = io.get_ref() {
                cause = Some(inner);
                continue;
            }
        }
        if let Some(http) = error.downcast_ref::<hyper::Error>()
            && (http.is_incomplete_message() || http.is_canceled() || http.is_closed())
        {
            return Error::ConnectionTerminated;
        }
        cause = error.source();
    }
    if error.is_connect() {
        Error::DestinationUnavailable
    } else {
        Error::HttpProtocolError
    }
}

/// A response's body, each part of it in its time.
struct Timed {
    body: Incoming,
    between: Duration,
    end: Instant,
    alarm: Pin<Box<Sleep>>,
    _turn: OwnedSemaphorePermit,
}

impl Timed {
    fn new(body: Incoming, between: Duration, end: Instant, turn: OwnedSemaphorePermit) -> Self {
        let alarm = clock::sleep_until(end.min(clock::now() + between));
        Self {
            body,
            between,
            end,
            alarm: Box::pin(alarm),
            _turn: turn,
        }
    }
}

impl http_body::Body for Timed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let next = this.end.min(clock::now() + this.between);
                this.alarm.as_mut().reset(next);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => this
                .alarm
                .as_mut()
                .poll(context)
                .map(|()| Some(Err(Error::ConnectionReadTimeout))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
