//! The answer of a static file, which needs no store: it holds its generation, and no place among those in
//! flight.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, Uri};
use http_body::{Frame, SizeHint};

use super::Generation;
use crate::host::body::{Body, BodyError};

impl Generation {
    /// Answers a request below `/GROUP/static/`. See [`crate::files::Files::answer`].
    pub async fn file(
        self: Arc<Self>,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Response<HeldBody> {
        let response = self.files.answer(method, uri, headers).await;
        response.map(|body| HeldBody {
            body,
            generation: Some(self),
        })
    }
}

/// A file's content that keeps its generation alive until the last byte, and ends with it at the drain
/// deadline.
pub struct HeldBody {
    body: Body,
    generation: Option<Arc<Generation>>,
}

impl http_body::Body for HeldBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let is_ended = |held: &Arc<Generation>| held.end.is_cancelled();
        if self.generation.as_ref().is_some_and(is_ended) {
            self.generation = None;
            return Poll::Ready(Some(Err(BodyError::Ended)));
        }
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) {
            self.generation = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
