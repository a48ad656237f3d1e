//! Requests for pages as they come, written to a file, so that they can be asked again of another version.
//! Nobody waits for the disk: what does not fit into the queue is counted and left out.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, channel, sync_channel},
    },
    task::{Context, Poll},
    thread,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, Request, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use serde::{Deserialize, Serialize};

use super::identity::REQUEST_ID;
use crate::host::body::{self, Body, BodyError};

/// Bytes that are kept of a body.
const LONGEST_BODY: usize = 64 << 10;
/// Requests that may wait to be written.
const MAX_WAITING: usize = 1024;
/// How long the end waits for the disk.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Headers whose value is never written: whoever has it could be the client.
const SECRET: [HeaderName; 3] = [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];
/// Headers of the connection, or of this one time, not of what is asked.
const LEFT_OUT: [HeaderName; 8] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TE,
    header::UPGRADE,
];

/// A request as it is written: one JSON object a line.
#[derive(Debug, Serialize, Deserialize)]
pub struct Recorded {
    pub method: String,
    /// With its query.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// The body is longer, or is no text: it was not kept as it was.
    pub cut: bool,
}

/// Where requests are written.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: SyncSender<Recorded>,
    secret: Arc<[HeaderName]>,
}

/// The thread that writes; it ends with the last recorder.
pub struct Recording(Receiver<()>);

impl Recording {
    /// Waits until all is written, but for a disk that hangs not long.
    pub fn finish(self) {
        let _ = self.0.recv_timeout(LAST_WORDS);
    }
}

impl Recorder {
    /// Appends to `file`, which only its owner may read. The values of the headers in `redact` are not
    /// written, nor are those that prove who a client is.
    ///
    /// # Errors
    /// The file cannot be opened, or no thread started.
    pub fn start(file: &Path, redact: &[HeaderName]) -> io::Result<(Self, Recording)> {
        use std::os::unix::fs::OpenOptionsExt;
        let options = File::options().append(true).create(true).mode(0o600).clone();
        let written = options.open(file)?;
        let (queue, recorded) = sync_channel(MAX_WAITING);
        let (done, writing) = channel();
        thread::Builder::new().name("record".into()).spawn(move || {
            write_all(written, &recorded);
            drop(done);
        })?;
        let secret = SECRET.into_iter().chain(redact.iter().cloned());
        let recorder = Self {
            queue,
            secret: secret.collect(),
        };
        Ok((recorder, Recording(writing)))
    }

    /// Writes the request down once its body has been read, or was let go.
    pub fn follow(&self, request: Request<Body>) -> Request<Body> {
        let path = request.uri().path_and_query();
        let headers = request.headers().iter();
        let headers = headers.filter(|(name, _)| !LEFT_OUT.contains(name) && *name != REQUEST_ID);
        let headers = headers.map(|(name, value)| {
            let is_secret = self.secret.contains(name);
            let value = if is_secret {
                "redacted".into()
            } else {
                String::from_utf8_lossy(value.as_bytes())
            };
            (name.as_str().to_owned(), value.into_owned())
        });
        let recorded = Recorded {
            method: request.method().to_string(),
            path: path.map_or("/", |path| path.as_str()).to_owned(),
            headers: headers.collect(),
            body: String::new(),
            cut: false,
        };
        let queue = self.queue.clone();
        request.map(|body| {
            body::streamed(Following {
                body,
                kept: Vec::new(),
                cut: false,
                ended: false,
                recorded: Some((recorded, queue)),
            })
        })
    }
}

fn write_all(mut file: File, recorded: &Receiver<Recorded>) {
    let mut write = |recorded: &Recorded| -> io::Result<()> {
        let mut line = serde_json::to_vec(recorded)?;
        line.push(b'\n');
        file.write_all(&line)
    };
    while let Ok(request) = recorded.recv() {
        if let Err(error) = write(&request) {
            tracing::warn!(%error, "requests are not recorded any more");
            return;
        }
    }
}

/// A body on its way to the guest.
struct Following {
    body: Body,
    kept: Vec<u8>,
    cut: bool,
    /// It was read to its end.
    ended: bool,
    recorded: Option<(Recorded, SyncSender<Recorded>)>,
}

impl HttpBody for Following {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            let left = LONGEST_BODY - self.kept.len();
            self.cut |= data.len() > left;
            self.kept.extend_from_slice(&data[..data.len().min(left)]);
        }
        self.ended |= matches!(frame, Poll::Ready(None));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let Some((mut recorded, queue)) = self.recorded.take() else {
            return;
        };
        let unread = !self.ended && !self.body.is_end_stream();
        match String::from_utf8(std::mem::take(&mut self.kept)) {
            Ok(body) => recorded.body = body,
            Err(_) => self.cut = true,
        }
        recorded.cut = self.cut || unread;
        if queue.try_send(recorded).is_err() {
            tracing::warn!("a request was not recorded: the disk does not keep up");
        }
    }
}
