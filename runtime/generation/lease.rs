//! A request's hold on its generation: from admission to the last byte of the response.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::oneshot;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{Generation, GenerationId, RequestError, call::Call};
use crate::{
    clock,
    host::{
        CallName, Handler,
        body::{self, Body, BodyError},
        page::Params,
    },
    project::ComponentId,
};

/// Whether a streamed body passed its limit.
type TooLarge = Arc<AtomicBool>;

/// While it lives, its generation does not retire. It has one of the room for those that are in flight or wait to be.
pub struct Lease {
    generation: Arc<Generation>,
    is_in_flight: bool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Generation { in_flight, room, .. } = &*self.generation;
        in_flight.add_permits(usize::from(self.is_in_flight));
        room.fetch_add(1, Ordering::Relaxed);
    }
}

impl Lease {
    /// Its one of the room was taken.
    pub(super) fn with_room(generation: Arc<Generation>) -> Self {
        Self {
            generation,
            is_in_flight: false,
        }
    }

    /// True where it is in flight from here on.
    pub(super) fn begins(&mut self) -> bool {
        if let Ok(permit) = self.generation.in_flight.try_acquire() {
            permit.forget();
            self.is_in_flight = true;
        }
        self.is_in_flight
    }

    /// In flight, after a wait. Errors: a wait longer than the request-time.
    pub(super) async fn later(mut self) -> Result<Self, RequestError> {
        let _waits = self.generation.waits.clone();
        let Generation {
            in_flight, limits, ..
        } = &*self.generation;
        match clock::timeout(limits.request_time, in_flight.acquire()).await {
            Ok(Ok(permit)) => permit.forget(),
            Ok(Err(_)) => return Err(RequestError::Ended),
            Err(_) => return Err(RequestError::QueueFull),
        }
        self.is_in_flight = true;
        Ok(self)
    }

    pub fn generation(&self) -> &GenerationId {
        self.generation.id()
    }

    /// Has `component` answer `request`. The body that comes back holds the lease.
    /// Errors: see [`RequestError`]; a request that was handed over is never taken back.
    pub async fn handle(
        self,
        component: &ComponentId,
        params: Params,
        request: Box<http::Request<Body>>,
    ) -> Result<http::Response<LeasedBody>, RequestError> {
        let generation = &self.generation;
        let again = generation.copy_of(&request);
        let no_handler = || RequestError::BadResponse(format!("{component} exports no handler"));
        let entry = generation.entry(component).ok_or_else(no_handler)?.clone();
        let (reply, answer) = oneshot::channel();
        let mut call = Box::new(Call {
            name: CallName::new(component, request.headers()),
            entry,
            params,
            request,
            reply,
            waits: Some(generation.waits.clone()),
        });
        if generation.probation.is_some() && !generation.gate.passed().await {
            return Err(call.not_begun());
        }
        let mut too_large = None;
        if !call.request.body().is_end_stream() {
            let limit = TooLarge::default();
            // Boxed, as all that few requests need: a future is as large as the largest of its paths.
            call = Box::pin(self.with_body(call, &limit)).await?;
            too_large = Some(limit);
        }
        generation.stores.hand_over(call).await?;
        let answer = answer.await.map_err(|_| RequestError::Ended)?;
        // Whatever the guest made of the part that it got.
        if too_large.is_some_and(|limit| limit.load(Ordering::Relaxed)) {
            return Err(RequestError::BodyTooLarge);
        }
        if matches!(answer, Err(RequestError::Trapped))
            && let Some(again) = again
            && generation.is_reverted().await
        {
            return Err(RequestError::NotBegun(again));
        }
        let response = answer?;
        Ok(response.map(|body| LeasedBody::new(body, self)))
    }

    /// The call with its body held to the group's limit, and with all of it there where its handler takes it
    /// as a whole.
    async fn with_body(&self, mut call: Box<Call>, too_large: &TooLarge) -> Result<Box<Call>, RequestError> {
        let request = self.limit_body(*call.request, too_large)?;
        let request = match call.entry.handler {
            Handler::Page => self.collect(request).await?,
            Handler::WasiHttp02 | Handler::WasiHttp03 => request,
        };
        call.request = Box::new(request);
        Ok(call)
    }

    /// Holds the body to the group's limit; `too_large` tells whether a streamed one passed it.
    fn limit_body(
        &self,
        request: http::Request<Body>,
        too_large: &TooLarge,
    ) -> Result<http::Request<Body>, RequestError> {
        let limit = self.generation.limits.body;
        if request.body().size_hint().lower() > limit {
            return Err(RequestError::BodyTooLarge);
        }
        let (parts, body) = request.into_parts();
        let limited = Limited::new(body, usize::try_from(limit).unwrap_or(usize::MAX));
        let too_large = too_large.clone();
        let limited = limited.map_err(move |error| {
            let error = body_error(error);
            too_large.fetch_or(matches!(error, BodyError::TooLarge), Ordering::Relaxed);
            error
        });
        Ok(http::Request::from_parts(parts, body::streamed(limited)))
    }

    /// A page takes the body as a whole, so it is read before the store is occupied: a slow client then
    /// costs the others no more than its place, for no longer than the request-time.
    async fn collect(&self, request: http::Request<Body>) -> Result<http::Request<Body>, RequestError> {
        let (parts, body) = request.into_parts();
        let whole = tokio::select! {
            whole = body::whole(body, &self.generation.server_memory) => whole,
            () = clock::sleep(self.generation.limits.request_time) => return Err(RequestError::TimeOver),
            () = self.generation.end.cancelled() => return Err(RequestError::Ended),
        };
        match whole {
            Ok(whole) => Ok(http::Request::from_parts(parts, body::full(whole))),
            Err(BodyError::TooLarge) => Err(RequestError::BodyTooLarge),
            Err(BodyError::NoMemory) => Err(RequestError::NoMemory),
            Err(error) => Err(RequestError::BadRequest(error.to_string())),
        }
    }
}

impl Generation {
    /// On probation: the request for another generation, where nobody minds that this one may have begun it.
    fn copy_of(&self, request: &http::Request<Body>) -> Option<Box<http::Request<Body>>> {
        if self.probation.as_ref()?.is_over() && self.gate.is_open() {
            return None;
        }
        // A body is gone once it was read.
        if !(request.method().is_idempotent() && request.body().is_end_stream()) {
            return None;
        }
        let mut copy = http::Request::new(body::full(""));
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.version_mut() = request.version();
        *copy.headers_mut() = request.headers().clone();
        *copy.extensions_mut() = request.extensions().clone();
        Some(Box::new(copy))
    }

    /// True where its probation failed, and another generation has taken its place.
    async fn is_reverted(&self) -> bool {
        let has_failed = self
            .probation
            .as_ref()
            .is_some_and(|probation| probation.has_failed());
        has_failed && !self.gate.passed().await
    }
}

/// What a limited body ends with: the limit's error, or the body's own.
fn body_error(error: Box<dyn std::error::Error + Send + Sync>) -> BodyError {
    if error.is::<LengthLimitError>() {
        return BodyError::TooLarge;
    }
    error
        .downcast::<BodyError>()
        .map_or(BodyError::Ended, |error| *error)
}

/// A response's body that keeps its generation alive until the last byte, and ends with it at the
/// drain deadline.
pub struct LeasedBody {
    body: Body,
    lease: Option<Lease>,
    /// Made when the body is waited for, which most are not.
    ended: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl From<Body> for LeasedBody {
    /// Of nobody's generation.
    fn from(body: Body) -> Self {
        Self {
            body,
            lease: None,
            ended: None,
        }
    }
}

impl LeasedBody {
    fn new(body: Body, lease: Lease) -> Self {
        Self {
            lease: Some(lease),
            ..Self::from(body)
        }
    }

    /// True at the drain deadline; before, whoever polls is woken then.
    fn is_ended(&mut self, context: &mut Context<'_>) -> bool {
        let Self { lease, ended, .. } = self;
        lease.as_ref().is_some_and(|lease| {
            let end = || Box::pin(lease.generation.end.clone().cancelled_owned());
            ended.get_or_insert_with(end).as_mut().poll(context).is_ready()
        })
    }

    pub fn generation(&self) -> Option<&GenerationId> {
        self.lease.as_ref().map(Lease::generation)
    }
}

impl http_body::Body for LeasedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(None) => {
                self.lease = None;
                Poll::Ready(None)
            }
            Poll::Pending if self.is_ended(context) => {
                self.lease = None;
                Poll::Ready(Some(Err(BodyError::Ended)))
            }
            frame => frame,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
