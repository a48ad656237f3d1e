//! The static files of one generation: what is answered below `/GROUP/static/`. They are held in memory, so
//! that a request that was led to a generation is answered by that one's files, whatever lies on disk.
//! Knows neither components nor where the files come from.

use std::{
    collections::BTreeMap,
    future::{Ready, ready},
    io::{self, Cursor},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tower::ServiceExt;
use tower_http::services::{
    ServeDir,
    fs::{Backend, DefaultServeDirFallback, File, Metadata},
};

use crate::{
    host::body::{self, Body, BodyError},
    project::{Digest, STATIC, StaticFile},
};

/// What they can be asked by.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");

/// Whoever has one asks whether it is still right: a page and its files are of one generation.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");

/// The static files of one generation.
pub struct Files {
    /// `/GROUP/static`
    prefix: String,
    memory: Memory,
    service: ServeDir<DefaultServeDirFallback, Memory>,
}

/// Where the files of a group are found: `/GROUP/static`.
pub fn prefix(group: &str) -> String {
    format!("/{group}/{STATIC}")
}

impl Files {
    pub fn new(group: &str, files: BTreeMap<String, StaticFile>) -> Self {
        let stored = files.into_iter().map(|(name, file)| (name, Stored::new(file)));
        let memory = Memory(Arc::new(stored.collect()));
        let prefix = prefix(group);
        let service = ServeDir::with_backend("", memory.clone())
            .redirect_path_prefix(&prefix)
            .ignore_multi_range_requests(true)
            .precompressed_br()
            .precompressed_gzip()
            .precompressed_zstd();
        Self {
            prefix,
            memory,
            service,
        }
    }

    pub fn len(&self) -> usize {
        self.memory.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.memory.0.is_empty()
    }

    /// Answers a request below the prefix; its body is of no interest. Where there is no such file, or no
    /// such method, the response has no body.
    pub async fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<Body> {
        if *method == Method::OPTIONS {
            return bodiless(StatusCode::NO_CONTENT);
        }
        let Some(below) = self.below(uri) else {
            return bodiless(StatusCode::NOT_FOUND);
        };
        let mut headers = headers.clone();
        // There are no times: content is compared by its tag.
        for by_time in [header::IF_MODIFIED_SINCE, header::IF_UNMODIFIED_SINCE] {
            headers.remove(by_time);
        }
        if let Some(tag) = headers.remove(header::IF_RANGE)
            && headers.contains_key(header::RANGE)
            && self.tag(&below, &headers).await != Some(tag)
        {
            // The client has a part of something else.
            headers.remove(header::RANGE);
        }
        let mut response = self.serve(method, &below, headers).await;
        let served = response.headers_mut();
        served.remove(header::LAST_MODIFIED);
        if *method != Method::GET && *method != Method::HEAD {
            served.insert(header::ALLOW, METHODS);
        }
        if served.contains_key(header::ETAG) {
            served.insert(header::CACHE_CONTROL, ASK_AGAIN);
            served.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
            served.insert(
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            );
        }
        self.name_charset(&below, served);
        response
    }

    /// The path below the prefix, as a URI.
    fn below(&self, uri: &Uri) -> Option<Uri> {
        let below = uri.path().strip_prefix(&self.prefix)?;
        below.starts_with('/').then(|| below.parse().ok())?
    }

    async fn serve(&self, method: &Method, below: &Uri, headers: HeaderMap) -> Response<Body> {
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = method.clone();
        *request.uri_mut() = below.clone();
        *request.headers_mut() = headers;
        let Ok(response) = self.service.clone().oneshot(request).await;
        // Memory can always be read.
        response.map(|content| body::streamed(content.map_err(|_| BodyError::Ended)))
    }

    /// The tag of what is served at a path to a client that takes these encodings.
    async fn tag(&self, below: &Uri, headers: &HeaderMap) -> Option<HeaderValue> {
        let mut only = HeaderMap::new();
        if let Some(encodings) = headers.get(header::ACCEPT_ENCODING) {
            only.insert(header::ACCEPT_ENCODING, encodings.clone());
        }
        let response = self.serve(&Method::HEAD, below, only).await;
        response.headers().get(header::ETAG).cloned()
    }

    /// A text that is UTF-8 is said to be.
    fn name_charset(&self, below: &Uri, headers: &mut HeaderMap) {
        let kind = headers
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let Some(kind) = kind.filter(|kind| kind.starts_with("text/")) else {
            return;
        };
        let path = percent_encoding::percent_decode_str(below.path()).decode_utf8_lossy();
        let mut path = path.trim_start_matches('/').to_owned();
        if path.is_empty() || path.ends_with('/') {
            path += "index.html";
        }
        let is_utf8 = self.memory.0.get(&path).is_some_and(|file| file.is_utf8);
        if is_utf8 && let Ok(kind) = format!("{kind}; charset=utf-8").parse() {
            headers.insert(header::CONTENT_TYPE, kind);
        }
    }
}

fn bodiless(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(crate::host::body::full(""));
    *response.status_mut() = status;
    if status == StatusCode::NO_CONTENT {
        response.headers_mut().insert(header::ALLOW, METHODS);
    }
    response
}

/// A file, and what is known of its content.
struct Stored {
    bytes: Bytes,
    stamp: SystemTime,
    is_utf8: bool,
}

impl Stored {
    fn new(StaticFile { digest, bytes, .. }: StaticFile) -> Self {
        Self {
            stamp: stamp(digest),
            is_utf8: std::str::from_utf8(&bytes).is_ok(),
            bytes,
        }
    }
}

/// The content's digest in the shape of a time, 66 bits of it: the library makes its tags of times and
/// sizes. Nobody is shown it as a time.
fn stamp(digest: Digest) -> SystemTime {
    /// Up to about the year 6300, which a date of HTTP can express.
    const SECONDS: u64 = (1 << 37) - 1;
    let (seconds, nanos) = digest.numbers();
    SystemTime::UNIX_EPOCH + Duration::new(seconds & SECONDS, (nanos % 1_000_000_000) as u32)
}

/// All files by their paths. A path that is not here leads nowhere, whatever it is written like.
#[derive(Clone)]
struct Memory(Arc<BTreeMap<String, Stored>>);

impl Memory {
    /// The path as files are named here.
    fn name(path: &Path) -> io::Result<&str> {
        let below = path.strip_prefix(".").unwrap_or(path);
        below.to_str().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn look_up(&self, path: &Path) -> io::Result<Facts> {
        let name = Self::name(path)?;
        if let Some(file) = self.0.get(name) {
            return Ok(file.facts());
        }
        let inside = format!("{name}/");
        let mut after = self.0.range(inside.clone()..);
        let is_folder = name.is_empty() || after.next().is_some_and(|(first, _)| first.starts_with(&inside));
        match is_folder {
            true => Ok(Facts {
                is_dir: true,
                stamp: SystemTime::UNIX_EPOCH,
                size: 0,
            }),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn read(&self, path: &Path) -> io::Result<Open> {
        let file = self.0.get(Self::name(path)?).ok_or(io::ErrorKind::NotFound)?;
        Ok(Open {
            facts: file.facts(),
            bytes: Cursor::new(file.bytes.clone()),
        })
    }
}

impl Stored {
    fn facts(&self) -> Facts {
        Facts {
            is_dir: false,
            stamp: self.stamp,
            size: self.bytes.len() as u64,
        }
    }
}

impl Backend for Memory {
    type File = Open;
    type Metadata = Facts;
    type OpenFuture = Ready<io::Result<Open>>;
    type MetadataFuture = Ready<io::Result<Facts>>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        ready(self.read(&path))
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        ready(self.look_up(&path))
    }
}

#[derive(Clone, Copy)]
struct Facts {
    is_dir: bool,
    stamp: SystemTime,
    size: u64,
}

impl Metadata for Facts {
    fn is_dir(&self) -> bool {
        self.is_dir
    }

    fn modified(&self) -> io::Result<SystemTime> {
        Ok(self.stamp)
    }

    fn len(&self) -> u64 {
        self.size
    }
}

/// A file that is being sent.
struct Open {
    facts: Facts,
    bytes: Cursor<Bytes>,
}

impl File for Open {
    type Metadata = Facts;
    type MetadataFuture<'a> = Ready<io::Result<Facts>>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        ready(Ok(self.facts))
    }
}

impl AsyncRead for Open {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_read(context, buffer)
    }
}

impl AsyncSeek for Open {
    fn start_seek(mut self: Pin<&mut Self>, position: io::SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.bytes).start_seek(position)
    }

    fn poll_complete(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.bytes).poll_complete(context)
    }
}
