//! What crosses between a client and a guest, whatever the handler's kind.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Request, uri::Scheme};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};

use crate::engine::{Exhausted, MemoryShare, Taker, TotalMemory};

/// Bytes up to which a body that is held as a whole is not counted: so many of each request in flight are
/// little, and most bodies are smaller.
const UNCOUNTED: usize = 64 << 10;

/// A request's or a response's body.
#[derive(Debug)]
pub enum Body {
    /// All of it, until it is taken; `None` also where it is empty.
    Whole(Option<Bytes>),
    Streamed(UnsyncBoxBody<Bytes, BodyError>),
    /// With what was taken of it before.
    Begun(VecDeque<Part>, UnsyncBoxBody<Bytes, BodyError>),
}

type Part = Result<Frame<Bytes>, BodyError>;

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
    #[error("the stores and bodies of all groups take all the memory that the server may have")]
    NoMemory,
}

/// Bytes that count as memory of the server as long as anyone holds them.
struct Counted {
    bytes: Bytes,
    _share: MemoryShare,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The same bytes, counted where they are many. A client may be slow to take them, and its guest writes the next
/// ones meanwhile. Errors: so many are not left.
pub fn counted(bytes: Bytes, memory: &Arc<TotalMemory>) -> Result<Bytes, Exhausted> {
    if bytes.len() <= UNCOUNTED {
        return Ok(bytes);
    }
    let mut share = MemoryShare::new(memory, Taker::Body);
    share.grow_to(bytes.len() as u64)?;
    Ok(Bytes::from_owner(Counted { bytes, _share: share }))
}

/// Reads a body to its end. What has come of it is counted as it comes, where it is much.
pub async fn whole(mut body: Body, memory: &Arc<TotalMemory>) -> Result<Bytes, BodyError> {
    if let Body::Whole(bytes) = &mut body {
        return counted(bytes.take().unwrap_or_default(), memory).map_err(|_| BodyError::NoMemory);
    }
    let mut share = MemoryShare::new(memory, Taker::Body);
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        whole.extend_from_slice(&data);
        if whole.len() > UNCOUNTED {
            let taken = whole.capacity() as u64;
            share.grow_to(taken).map_err(|_| BodyError::NoMemory)?;
        }
    }
    Ok(Bytes::from_owner(Counted {
        bytes: whole.into(),
        _share: share,
    }))
}

/// A body that is there as a whole.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Body::Whole(Some(bytes.into()).filter(|bytes| !bytes.is_empty()))
}

/// A body whose parts come one by one.
pub fn streamed(body: impl http_body::Body<Data = Bytes, Error = BodyError> + Send + 'static) -> Body {
    Body::Streamed(body.boxed_unsync())
}

/// The same body, as a whole where all of it has come already in one part: that costs a client and a server less than
/// parts whose number nobody knows. To be asked where what comes is bounded.
pub fn settled(body: Body) -> Body {
    let Body::Streamed(mut rest) = body else {
        return body;
    };
    let mut begun: VecDeque<Part> = VecDeque::new();
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match Pin::new(&mut rest).poll_frame(&mut context) {
            Poll::Ready(Some(part)) => begun.push_back(part),
            Poll::Ready(None) => break,
            Poll::Pending => return Body::Begun(begun, rest),
        }
    }
    match begun.pop_front().map(|part| part.map(Frame::into_data)) {
        None => full(""),
        Some(Ok(Ok(bytes))) if begun.is_empty() => full(bytes),
        Some(first) => {
            let first = first.map(|frame| frame.map_or_else(|frame| frame, Frame::data));
            begun.push_front(first);
            Body::Begun(begun, rest)
        }
    }
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
            Self::Begun(begun, rest) => match begun.pop_front() {
                Some(part) => Poll::Ready(Some(part)),
                None => Pin::new(rest).poll_frame(context),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Streamed(body) => body.is_end_stream(),
            Self::Begun(begun, rest) => begun.is_empty() && rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Streamed(body) => body.size_hint(),
            // What has begun is part of no hint.
            Self::Begun(begun, rest) if begun.is_empty() => rest.size_hint(),
            Self::Begun(..) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};
    use http_body_util::StreamBody;

    use super::*;

    #[test]
    fn what_has_come_as_a_whole_is_a_whole() {
        let parts = |parts: Vec<Part>| streamed(StreamBody::new(futures::stream::iter(parts)));
        let data = |text: &'static str| Ok(Frame::data(Bytes::from_static(text.as_bytes())));
        assert!(matches!(settled(parts(vec![])), Body::Whole(None)));
        let one = settled(parts(vec![data("all")]));
        assert!(
            matches!(&one, Body::Whole(Some(bytes)) if bytes == "all"),
            "{one:?}"
        );
        let rest = |body: Body| body.collect().now_or_never();
        let two = settled(parts(vec![data("one"), data("two")]));
        assert_eq!(rest(two).unwrap().unwrap().to_bytes(), "onetwo");
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-sum", http::HeaderValue::from_static("1"));
        let trailed = settled(parts(vec![data("one"), Ok(Frame::trailers(trailers.clone()))]));
        assert_eq!(rest(trailed).unwrap().unwrap().trailers(), Some(&trailers));
        let broken = settled(parts(vec![data("one"), Err(BodyError::Ended)]));
        assert!(rest(broken).unwrap().is_err());
        let more = futures::stream::iter([data("one")]).chain(futures::stream::pending());
        let mut unfinished = settled(streamed(StreamBody::new(more)));
        let first = unfinished.frame().now_or_never().flatten().unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "one");
        assert!(unfinished.frame().now_or_never().is_none());
    }

    #[tokio::test]
    async fn what_is_held_as_a_whole_is_counted_while_it_is_held() {
        let memory = Arc::new(TotalMemory::new());
        memory.set_limit(1 << 20);
        let bytes = |count| Bytes::from(vec![b'x'; count]);
        let small = counted(bytes(UNCOUNTED), &memory).unwrap();
        assert_eq!((small.len(), memory.used()), (UNCOUNTED, 0));
        let large = counted(bytes(300 << 10), &memory).unwrap();
        let part = large.slice(7..9);
        drop(large);
        assert_eq!(memory.used(), 300 << 10, "a part of it keeps all of it");
        let read = whole(full(bytes(300 << 10)), &memory).await.unwrap();
        assert_eq!(read, bytes(300 << 10));
        assert!(memory.used() >= 600 << 10);
        assert!(counted(bytes(400 << 10), &memory).is_err());
        let refused = whole(full(bytes(400 << 10)), &memory).await;
        assert!(matches!(refused, Err(BodyError::NoMemory)));
        drop((part, read));
        assert_eq!(memory.used(), 0);
    }
}
