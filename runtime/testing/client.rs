//! A client that keeps its connection and never asks twice: a request that fails has failed. One that is held
//! open keeps its guest between the parts of a body.

use std::{
    convert::Infallible,
    fmt::Display,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll},
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, runtime::Runtime, sync::mpsc};

/// How long any answer may take: a bound for what hangs, never a measure.
const PATIENCE: Duration = Duration::from_secs(120);

/// A request of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRequest {
    pub method: Method,
    /// With its query: `/shop/cart?page=2`.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl TestRequest {
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    pub fn post(path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            method: Method::POST,
            body: body.into(),
            ..Self::get(path)
        }
    }

    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }
}

/// An answer, read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    /// As text, whatever is no text replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The value of a header, where there is one.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Who answered: `shop@3`.
    pub fn generation(&self) -> Option<&str> {
        self.header("wasmhost-generation")
    }
}

/// How often a host's clock was moved: what was idle before was idle for long.
#[derive(Clone, Debug, Default)]
pub(super) struct Moves(Arc<AtomicU64>);

impl Moves {
    pub fn count(&self) -> u64 {
        self.0.load(SeqCst)
    }

    pub fn add(&self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A client that waits for its answers.
pub struct TestClient {
    runtime: Runtime,
    connection: Connection,
}

impl TestClient {
    /// To `http://HOST:PORT`. Connects with the first request.
    ///
    /// # Errors
    /// The system's.
    pub fn new(url: &str) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self {
            runtime,
            connection: Connection::to(url),
        })
    }

    /// The same, which connects anew after each of `moves`.
    pub(super) fn following(mut self, moves: &Moves) -> Self {
        self.connection.moves = moves.clone();
        self
    }

    /// # Errors
    /// No whole answer came.
    pub fn get(&mut self, path: &str) -> io::Result<Reply> {
        self.send(&TestRequest::get(path))
    }

    /// # Errors
    /// No whole answer came.
    pub fn send(&mut self, request: &TestRequest) -> io::Result<Reply> {
        self.runtime.block_on(self.connection.send(request))
    }

    /// Begins a request whose body is sent part by part, and waits for the head of its answer once the
    /// first part is sent. As long as the value lives, the request runs. What keeps a guest there is the
    /// guest's own doing: one that reads its body.
    ///
    /// # Errors
    /// No head came.
    pub fn hold(mut self, path: &str, first: impl Into<Bytes>) -> io::Result<HeldRequest> {
        let (sender, parts) = mpsc::unbounded_channel();
        let first = first.into();
        let head = self.runtime.block_on(async {
            let request = TestRequest::post(path, "");
            let body = Parts::Open(parts);
            // Cannot fail: the receiver is right here.
            let _ = sender.send(first);
            within(self.connection.begin(&request, body)).await
        })?;
        let (head, body) = head.into_parts();
        Ok(HeldRequest {
            client: self,
            status: head.status,
            headers: head.headers,
            sender: Some(sender),
            body,
        })
    }

    /// Begins a request whose body is sent part by part, and waits for nothing: its first part is that of
    /// `request`. A page gets its request as a whole, so until the body's end it is under way and has not begun.
    pub fn begin(mut self, mut request: TestRequest) -> OpenRequest {
        let (sender, parts) = mpsc::unbounded_channel();
        // Cannot fail: the receiver is right here.
        let _ = sender.send(std::mem::take(&mut request.body));
        let answer = std::thread::spawn(move || {
            let answered = self.connection.exchange(&request, Parts::Open(parts));
            self.runtime.block_on(within(answered))
        });
        OpenRequest { sender, answer }
    }
}

/// A request whose body has not ended, and whose answer need not have begun: see [`TestClient::begin`].
pub struct OpenRequest {
    sender: mpsc::UnboundedSender<Bytes>,
    answer: JoinHandle<io::Result<Reply>>,
}

impl OpenRequest {
    /// Sends another part of the body.
    pub fn send(&self, part: impl Into<Bytes>) {
        // Where nobody takes it, the answer tells.
        let _ = self.sender.send(part.into());
    }

    /// Waits for the answer, while the body stays without its end.
    ///
    /// # Errors
    /// No whole answer came.
    pub fn answer(self) -> io::Result<Reply> {
        let Self { sender, answer } = self;
        let answer = answer.join();
        drop(sender);
        answer.unwrap_or_else(|_| Err(io::Error::other("the client panicked")))
    }

    /// Ends the body, and waits for the answer.
    ///
    /// # Errors
    /// No whole answer came.
    pub fn finish(self) -> io::Result<Reply> {
        let Self { sender, answer } = self;
        drop(sender);
        let answer = answer.join();
        answer.unwrap_or_else(|_| Err(io::Error::other("the client panicked")))
    }
}

/// A request that runs until it is let go.
pub struct HeldRequest {
    client: TestClient,
    pub status: StatusCode,
    pub headers: HeaderMap,
    sender: Option<mpsc::UnboundedSender<Bytes>>,
    body: Incoming,
}

impl HeldRequest {
    /// Sends another part of the body.
    pub fn send(&self, part: impl Into<Bytes>) {
        // Where nobody takes it, the answer tells.
        let _ = self.sender.as_ref().map(|sender| sender.send(part.into()));
    }

    /// The next part of the answer; `None` at its end.
    ///
    /// # Errors
    /// The answer broke off.
    pub fn receive(&mut self) -> io::Result<Option<Bytes>> {
        let body = &mut self.body;
        self.client.runtime.block_on(async {
            loop {
                match within(async { body.frame().await.transpose().map_err(failed) }).await? {
                    None => return Ok(None),
                    Some(frame) => {
                        if let Ok(data) = frame.into_data() {
                            return Ok(Some(data));
                        }
                    }
                }
            }
        })
    }

    /// Ends the body, and reads what is left of the answer.
    ///
    /// # Errors
    /// The answer broke off.
    pub fn finish(mut self) -> io::Result<Bytes> {
        self.sender = None;
        let mut rest = Vec::new();
        while let Some(part) = self.receive()? {
            rest.extend_from_slice(&part);
        }
        Ok(rest.into())
    }
}

/// A connection that is opened anew where the server has closed it.
pub struct Connection {
    authority: String,
    sender: Option<http1::SendRequest<Parts>>,
    moves: Moves,
    /// Of which it was opened after so many.
    moved: u64,
}

impl Connection {
    pub fn to(url: &str) -> Self {
        Self {
            authority: url.trim_start_matches("http://").to_owned(),
            sender: None,
            moves: Moves::default(),
            moved: 0,
        }
    }

    /// # Errors
    /// No whole answer came.
    pub async fn send(&mut self, request: &TestRequest) -> io::Result<Reply> {
        let body = Parts::Whole(Some(request.body.clone()));
        within(self.exchange(request, body)).await
    }

    async fn exchange(&mut self, request: &TestRequest, body: Parts) -> io::Result<Reply> {
        let (head, body) = self.begin(request, body).await?.into_parts();
        let body = body.collect().await.map_err(failed)?.to_bytes();
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            body,
        })
    }

    /// The next request is sent over a new one.
    pub fn close(&mut self) {
        self.sender = None;
    }

    async fn begin(&mut self, request: &TestRequest, body: Parts) -> io::Result<http::Response<Incoming>> {
        let mut sender = self.opened().await?;
        let mut head = Request::builder()
            .method(request.method.clone())
            .uri(&request.path)
            .body(body)
            .map_err(io::Error::other)?;
        head.headers_mut().extend(request.headers.clone());
        let host = HeaderValue::try_from(&self.authority).map_err(io::Error::other)?;
        head.headers_mut().entry(header::HOST).or_insert(host);
        let response = sender.send_request(head).await.map_err(failed)?;
        self.sender = Some(sender);
        Ok(response)
    }

    async fn opened(&mut self) -> io::Result<http1::SendRequest<Parts>> {
        let moved = std::mem::replace(&mut self.moved, self.moves.count());
        if moved != self.moved {
            self.close();
        }
        if let Some(mut sender) = self.sender.take()
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let stream = TcpStream::connect(&self.authority).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        tokio::spawn(async {
            // What fails here fails the request too.
            let _ = connection.await;
        });
        sender.ready().await.map_err(failed)?;
        Ok(sender)
    }
}

async fn within<T>(doing: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let done = tokio::time::timeout(PATIENCE, doing).await;
    done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// With its causes, which tell what happened.
fn failed(error: hyper::Error) -> io::Error {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        let more: &dyn Display = &error;
        text += &format!(": {more}");
        cause = error.source();
    }
    io::Error::other(text)
}

/// A body on its way out.
enum Parts {
    Whole(Option<Bytes>),
    Open(mpsc::UnboundedReceiver<Bytes>),
}

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part = match &mut *self {
            Self::Whole(body) => Poll::Ready(body.take().filter(|body| !body.is_empty())),
            Self::Open(parts) => parts.poll_recv(context),
        };
        part.map(|part| part.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(body) if body.as_ref().is_none_or(Bytes::is_empty))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Whole(body) => {
                http_body::SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64))
            }
            Self::Open(_) => http_body::SizeHint::default(),
        }
    }
}
