//! A client of HTTP/2 with prior knowledge: one connection, as many requests at once as a test wants.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
};

pub type Body = BoxBody<Bytes, std::convert::Infallible>;

pub struct Http2 {
    pub requests: SendRequest<Body>,
    /// Ends with the connection.
    pub connection: JoinHandle<hyper::Result<()>>,
    authority: String,
}

/// Runs a test that waits for several things at once.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(super::PATIENCE, test)
            .await
            .expect("it hangs")
    })
}

pub fn full(text: &'static str) -> Body {
    Full::new(Bytes::from_static(text.as_bytes())).boxed()
}

impl Http2 {
    pub async fn connect(authority: &str) -> Self {
        Self::over(TcpStream::connect(authority).await.unwrap(), authority).await
    }

    /// Over a connection that is there.
    pub async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, authority: &str) -> Self {
        let builder = Builder::new(TokioExecutor::new());
        let (requests, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        Self {
            requests,
            connection: tokio::spawn(connection),
            authority: authority.to_owned(),
        }
    }

    pub fn request(&self, method: &str, path: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.authority))
    }

    pub async fn send(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        self.requests.ready().await?;
        self.requests.send_request(request).await
    }

    /// The whole answer.
    pub async fn get(&mut self, path: &str) -> Response<Bytes> {
        let request = self.request("GET", path).body(full("")).unwrap();
        whole(self.send(request).await.unwrap()).await
    }
}

pub async fn whole(response: Response<Incoming>) -> Response<Bytes> {
    let (head, body) = response.into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}
