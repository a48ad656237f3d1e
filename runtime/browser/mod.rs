//! What open pages are told in `wasmhost dev`: which generations serve, which files are new, and what is wrong.
//! Decides nothing of what is served.
//!
//! ```text
//!  events of the control plane ─┐
//!  what the sources came to ────┴──▶ Picture ──▶ /.wasmhost/events ──▶ live.js in each page
//! ```
//!
//! The whole picture is sent with each change, and each page compares it with what it shows: a page that missed
//! some, or the server's restart, needs no history.

mod error_page;
mod inject;
mod picture;
mod stream;

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderValue, Response, header};
use tokio::sync::{mpsc, oneshot, watch};

pub use self::{inject::Asked, picture::Problem};
use self::{picture::Picture, stream::Stream};
use crate::{
    host::body::{self, Body},
    status::Event,
};

const SCRIPT_PATH: &str = "/.wasmhost/live.js";
const EVENTS_PATH: &str = "/.wasmhost/events";
const SCRIPT: &str = include_str!("live.js");

/// Requests that may wait for a build at once; more are answered by what serves.
const MAX_WAITING: usize = 4096;

/// A request that waits until the sources that it found are built.
pub type Waiting = oneshot::Sender<()>;

/// All open pages.
#[derive(Clone)]
pub struct Browser(Arc<Inner>);

struct Inner {
    picture: watch::Sender<Picture>,
    /// Tells this process from the one before it.
    process: String,
    waiting: mpsc::Sender<Waiting>,
}

/// Pages without anyone to show, and the requests that will wait for builds.
pub fn browser() -> (Browser, mpsc::Receiver<Waiting>) {
    let (waiting, waited) = mpsc::channel(MAX_WAITING);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let process = format!("{}-{:x}", std::process::id(), since.as_micros());
    let picture = Picture::new(process.clone());
    let inner = Inner {
        picture: watch::Sender::new(picture),
        process,
        waiting,
    };
    (Browser(Arc::new(inner)), waited)
}

impl Browser {
    /// Something happened in the control plane.
    pub fn tell(&self, event: &Event) {
        self.0.picture.send_if_modified(|picture| picture.tell(event));
    }

    /// What the sources came to.
    pub fn tell_builds(&self, problems: Vec<Problem>) {
        self.0
            .picture
            .send_if_modified(|picture| picture.tell_builds(problems));
    }

    /// The server stops: pages are let go.
    pub fn end(&self) {
        self.0.picture.send_modify(|picture| picture.ended = true);
    }

    /// Waits until what the sources are now is built, or does not build.
    pub async fn built(&self) {
        let (reply, built) = oneshot::channel();
        if self.0.waiting.try_send(reply).is_ok() {
            // Nobody there any more: the server ends.
            let _ = built.await;
        }
    }

    /// The answer to a request for one of the script's own paths.
    pub fn answer(&self, path: &str) -> Option<Response<Body>> {
        let (kind, body) = match path {
            SCRIPT_PATH => ("text/javascript; charset=utf-8", body::full(SCRIPT)),
            EVENTS_PATH => ("text/event-stream", Stream::body(self.0.picture.subscribe())),
            _ => return None,
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        Some(response)
    }
}
