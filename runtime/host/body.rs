//! What crosses between a client and a guest, whatever the handler's kind.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, uri::Scheme};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};

/// A request's or a response's body.
#[derive(Debug)]
pub enum Body {
    /// All of it, until it is taken; `None` also where it is empty.
    Whole(Option<Bytes>),
    Streamed(UnsyncBoxBody<Bytes, BodyError>),
}

/// Notes what a request came by, which is the connection's to say: nothing that a client writes is believed.
pub fn came_by<B>(request: &mut Request<B>, scheme: &Scheme) {
    if *scheme != Scheme::HTTP {
        request.extensions_mut().insert(scheme.clone());
    }
}

/// What a request came by.
pub fn scheme<B>(request: &Request<B>) -> Scheme {
    request.extensions().get().cloned().unwrap_or(Scheme::HTTP)
}

/// Why a body ended before its last byte.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than the group's limit")]
    TooLarge,
    #[error("the client broke off: {0}")]
    Client(String),
    #[error("the guest broke off: {0}")]
    Guest(String),
    #[error("the generation was ended at its drain deadline")]
    Ended,
    #[error("the request took longer than the group's request-time")]
    TimeOver,
}

/// A body that is there as a whole.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Body::Whole(Some(bytes.into()).filter(|bytes| !bytes.is_empty()))
}

/// A body whose parts come one by one.
pub fn streamed(body: impl http_body::Body<Data = Bytes, Error = BodyError> + Send + 'static) -> Body {
    Body::Streamed(body.boxed_unsync())
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streamed(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Streamed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Streamed(body) => body.size_hint(),
        }
    }
}
