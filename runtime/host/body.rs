//! The bodies that cross between a client and a guest, whatever the handler's kind.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use tokio::time::Sleep;

/// A request's or a response's body, streamed.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// Why a body ended before its last byte.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than the group's limit")]
    TooLarge,
    #[error("the client broke off: {0}")]
    Client(String),
    #[error("the client took too long to send it")]
    TooSlow,
    #[error("the guest broke off: {0}")]
    Guest(String),
    #[error("the generation was ended at its drain deadline")]
    Ended,
}

/// A body that is there as a whole.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A client's body that has to be there in time: a guest which waits for it in vain learns so, rather than
/// lose its store.
pub struct Timely {
    body: Body,
    late: Pin<Box<Sleep>>,
}

impl Timely {
    /// `body` is over at the latest after `time`.
    pub fn new(body: Body, time: Duration) -> Self {
        let late = Box::pin(tokio::time::sleep(time));
        Self { body, late }
    }
}

impl http_body::Body for Timely {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending if self.late.as_mut().poll(context).is_ready() => {
                Poll::Ready(Some(Err(BodyError::TooSlow)))
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
