//! What crosses between a client and a guest, whatever the handler's kind.

use bytes::Bytes;
use http::{Request, uri::Scheme};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};

/// A request's or a response's body, streamed.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

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
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}
