//! One request and its response as they pass between a client and a guest: who waits for whom, and the
//! means to cut the guest loose from a client that keeps it waiting. A guest that is cut loose sees its
//! upload fail and its download closed, and can finish; a store that is thrown away can not.
//! Knows neither stores nor deadlines.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::task::AtomicWaker;
use http_body::{Frame, SizeHint};
use wasmtime_wasi_http::{Error, WasiBody};

use super::body::{self, Body, BodyError};

/// A handle on one exchange; its two bodies share it.
#[derive(Clone, Default)]
pub struct Exchange(Arc<State>);

#[derive(Default)]
struct State {
    /// The two bodies let go of each other.
    cut: AtomicBool,
    /// The guest waits for more of the client's body.
    upload_waits: AtomicBool,
    /// The client waits for more of the guest's body.
    download_waits: AtomicBool,
    /// The guest's function has ended: what it has not written will not come.
    over: AtomicBool,
    /// The guest's store is gone: an end of the body is none that the guest wrote.
    dead: AtomicBool,
    /// Nobody reads the download any more, to its end or not.
    read: AtomicBool,
    frames: AtomicU64,
    download: Mutex<Option<WasiBody>>,
    /// Who reads the upload, who reads the download, and who waits for the download to be read.
    guest: AtomicWaker,
    client: AtomicWaker,
    owner: AtomicWaker,
}

impl Exchange {
    /// The client's body as the guest reads it.
    pub fn upload(&self, body: Body) -> Upload {
        Upload {
            body,
            exchange: self.clone(),
        }
    }

    /// The guest's body as the client reads it.
    pub fn download(&self, body: WasiBody) -> Body {
        *self.body() = Some(body);
        body::streamed(Download(self.clone()))
    }

    /// A number that grows as long as anything passes.
    pub fn progress(&self) -> u64 {
        self.0.frames.load(Ordering::Relaxed)
    }

    /// True where the guest can go on only when its client reads or sends something.
    pub fn waits_for_client(&self) -> bool {
        let unread = self.body().is_some() && !self.0.download_waits.load(Ordering::Relaxed);
        unread || self.0.upload_waits.load(Ordering::Relaxed)
    }

    /// True where the client has read all that there is, and wants more.
    pub fn client_waits(&self) -> bool {
        self.0.download_waits.load(Ordering::Relaxed)
    }

    /// Cuts the guest loose from its client: the upload fails, and nobody reads the download any more.
    pub fn cut(&self) {
        self.0.cut.store(true, Ordering::Release);
        drop(self.body().take());
        self.is_read();
        self.0.guest.wake();
        self.0.client.wake();
    }

    /// The guest's function has ended: a download that it has not finished is broken off.
    pub fn guest_is_over(&self) {
        self.0.over.store(true, Ordering::Release);
        self.0.client.wake();
    }

    /// The guest's store is gone: a download whose end nobody has seen is broken off.
    pub fn store_is_gone(&self) {
        self.0.dead.store(true, Ordering::Release);
        self.0.client.wake();
    }

    /// There is no download, or nobody reads it any more.
    pub fn is_read(&self) {
        self.0.read.store(true, Ordering::Release);
        self.0.owner.wake();
    }

    /// Ready when the download was read to its end or given up.
    pub fn poll_read(&self, context: &mut Context<'_>) -> Poll<()> {
        self.0.owner.register(context.waker());
        if self.0.read.load(Ordering::Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn body(&self) -> std::sync::MutexGuard<'_, Option<WasiBody>> {
        self.0.download.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn passed(&self) {
        self.0.frames.fetch_add(1, Ordering::Relaxed);
    }
}

/// A client's body, with its errors as a guest sees them.
pub struct Upload {
    body: Body,
    exchange: Exchange,
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let state = self.exchange.0.clone();
        state.guest.register(context.waker());
        if state.cut.load(Ordering::Acquire) {
            return Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
        }
        let frame = Pin::new(&mut self.body).poll_frame(context);
        state.upload_waits.store(frame.is_pending(), Ordering::Relaxed);
        if frame.is_ready() {
            self.exchange.passed();
        }
        frame.map_err(|error| match error {
            BodyError::TooLarge => Error::HttpRequestBodySize(None),
            BodyError::Client(_)
            | BodyError::Ended
            | BodyError::TimeOver
            | BodyError::NoMemory
            | BodyError::Guest(_) => Error::ConnectionTerminated,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Upload {
    /// A guest that has let go of its upload does not wait for it.
    fn drop(&mut self) {
        self.exchange.0.upload_waits.store(false, Ordering::Relaxed);
    }
}

/// A guest's body. It does not wait for a guest that has ended without finishing it, nor does it take
/// the end of a store for its own.
struct Download(Exchange);

impl Download {
    fn unfinished(&self) -> Option<BodyError> {
        let state = &self.0.0;
        if state.over.load(Ordering::Acquire) {
            return Some(BodyError::Guest("it left its body unfinished".into()));
        }
        let dead = state.dead.load(Ordering::Acquire);
        dead.then(|| BodyError::Guest("its store was ended".into()))
    }
}

impl http_body::Body for Download {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let state = &self.0.0;
        state.client.register(context.waker());
        let mut body = self.0.body();
        let Some(inner) = body.as_mut() else {
            return Poll::Ready(Some(Err(BodyError::TimeOver)));
        };
        // The end is looked for before the frame, or it could come in between.
        let unfinished = self.unfinished();
        let frame = Pin::new(inner).poll_frame(context);
        state.download_waits.store(frame.is_pending(), Ordering::Relaxed);
        match frame {
            Poll::Pending => match unfinished {
                Some(unfinished) => Poll::Ready(Some(Err(unfinished))),
                None => Poll::Pending,
            },
            Poll::Ready(None) if state.dead.load(Ordering::Acquire) => {
                Poll::Ready(self.unfinished().map(Err))
            }
            Poll::Ready(None) => {
                drop(body);
                self.0.is_read();
                Poll::Ready(None)
            }
            Poll::Ready(Some(frame)) => {
                self.0.passed();
                Poll::Ready(Some(frame.map_err(|error| BodyError::Guest(error.to_string()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let dead = self.0.0.dead.load(Ordering::Acquire);
        !dead && self.0.body().as_ref().is_some_and(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .body()
            .as_ref()
            .map(http_body::Body::size_hint)
            .unwrap_or_default()
    }
}

impl Drop for Download {
    /// The guest sees that nobody reads it.
    fn drop(&mut self) {
        drop(self.0.body().take());
        self.0.is_read();
    }
}
