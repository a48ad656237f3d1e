//! The response's body as a connection takes it: it keeps its request in flight until its last byte, and
//! ends where an HTTP/2 client takes nothing of it. Knows not where the bytes come from.
//!
//! A connection of HTTP/1 has one response at a time, so a client that takes nothing is seen by its socket
//! (`patient`). Streams of HTTP/2 stall one by one, and a body that is not asked for cannot look at the
//! clock: so the connection's watcher can take it away.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::activity::{Activity, InFlight};
use crate::{clock, generation::LeasedBody, host::body::BodyError};

pub enum StreamBody {
    Http1(Sending),
    Http2(Arc<Shared>),
}

/// A body and its request.
pub struct Sending {
    body: LeasedBody,
    _in_flight: InFlight,
}

/// A body that can be taken away.
pub struct Shared(Mutex<State>);

struct State {
    sending: Option<Sending>,
    /// Since when it is the client's turn; `None` while it is the guest's.
    owed_since: Option<Instant>,
}

impl StreamBody {
    pub fn http1(body: LeasedBody, in_flight: InFlight) -> Self {
        Self::Http1(Sending {
            body,
            _in_flight: in_flight,
        })
    }

    pub fn http2(body: LeasedBody, in_flight: InFlight, activity: &Activity) -> Self {
        let sending = Sending {
            body,
            _in_flight: in_flight,
        };
        let shared = Arc::new(Shared(Mutex::new(State {
            sending: Some(sending),
            owed_since: Some(clock::now()),
        })));
        activity.watch(Arc::downgrade(&shared));
        Self::Http2(shared)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it where the client took nothing for so long. True where it is at its end.
    pub fn end_if_stalled(&self, now: Instant, limit: Duration) -> bool {
        let mut state = self.state();
        let stalled = state.owed_since.is_some_and(|since| now >= since + limit);
        if stalled && state.sending.take().is_some() {
            tracing::debug!("a client took nothing of a response for too long");
        }
        state.sending.is_none()
    }
}

impl http_body::Body for StreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Http1(sending) => Pin::new(&mut sending.body).poll_frame(context),
            Self::Http2(shared) => {
                let mut state = shared.state();
                let Some(sending) = &mut state.sending else {
                    let taken = BodyError::Client("it took nothing for too long".into());
                    return Poll::Ready(Some(Err(taken)));
                };
                let frame = Pin::new(&mut sending.body).poll_frame(context);
                state.owed_since = frame.is_ready().then(clock::now);
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(sending) => sending.body.is_end_stream(),
            Self::Http2(shared) => {
                let state = shared.state();
                state
                    .sending
                    .as_ref()
                    .is_some_and(|sending| sending.body.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(sending) => sending.body.size_hint(),
            Self::Http2(shared) => {
                let state = shared.state();
                let sending = state.sending.as_ref();
                sending.map_or_else(SizeHint::default, |sending| sending.body.size_hint())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::host::body::full;

    #[tokio::test]
    async fn a_body_that_nobody_takes_is_taken_away_and_its_request_ends() {
        let now = Instant::now();
        let activity = Arc::new(Activity::new(now));
        let body = StreamBody::http2(full("text").into(), activity.begin(true), &activity);
        let StreamBody::Http2(shared) = &body else {
            panic!("of HTTP/2");
        };
        let limit = Duration::from_secs(10);
        assert!(!shared.end_if_stalled(now + limit / 2, limit));
        assert!(shared.end_if_stalled(now + 2 * limit, limit));
        body.collect().await.expect_err("it must not look complete");
    }
}
