//! The bodies that cross between a client and a guest, whatever the handler's kind.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};

/// A request's or a response's body, streamed.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

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
