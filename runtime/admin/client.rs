//! The other end of the admin socket, for commands.

use std::{
    io,
    path::{Path, PathBuf},
};

use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::{net::UnixStream, task::JoinHandle};

use super::SOCKET;
use crate::diagnostic::Diagnostic;

/// A connection to a running server.
pub struct Client {
    socket: PathBuf,
    sender: hyper::client::conn::http1::SendRequest<Full<bytes::Bytes>>,
    connection: JoinHandle<()>,
}

impl Client {
    /// `None` where no server answers. Errors: there is one, and it cannot be reached.
    pub async fn connect(state_dir: &Path) -> Result<Option<Self>, Diagnostic> {
        let socket = state_dir.join(SOCKET);
        let stream = match UnixStream::connect(&socket).await {
            Ok(stream) => stream,
            Err(error) if is_nobody(&error) => return Ok(None),
            Err(error) => return Err(unreachable(&socket, &error)),
        };
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&socket, &error))?;
        let connection = tokio::spawn(async {
            // What fails here fails the request too.
            let _ = connection.await;
        });
        Ok(Some(Self {
            socket,
            sender,
            connection,
        }))
    }

    pub async fn get(&mut self, path: &str) -> Result<Value, Vec<Diagnostic>> {
        self.send(Method::GET, path, String::new()).await
    }

    pub async fn post(&mut self, path: &str, body: &Value) -> Result<Value, Vec<Diagnostic>> {
        self.send(Method::POST, path, body.to_string()).await
    }

    /// Errors: the server's own, or the connection's.
    async fn send(&mut self, method: Method, path: &str, body: String) -> Result<Value, Vec<Diagnostic>> {
        let failed = |socket: &Path, error: &dyn std::fmt::Display| vec![broken(socket, error)];
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "admin")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body))
            .map_err(|error| failed(&self.socket, &error))?;
        // After another one, the connection needs a moment.
        let ready = self.sender.ready().await;
        ready.map_err(|error| failed(&self.socket, &error))?;
        let response = self.sender.send_request(request).await;
        let (head, body) = response
            .map_err(|error| failed(&self.socket, &error))?
            .into_parts();
        let body = body
            .collect()
            .await
            .map_err(|error| failed(&self.socket, &error))?;
        let answer: Value =
            serde_json::from_slice(&body.to_bytes()).map_err(|error| failed(&self.socket, &error))?;
        if head.status.is_success() {
            return Ok(answer);
        }
        match Vec::deserialize(&answer["diagnostics"]) {
            Ok(diagnostics) => Err(diagnostics),
            Err(_) => Err(failed(&self.socket, &format!("{} {answer}", head.status))),
        }
    }

    /// Waits until the server is gone.
    pub async fn ended(self) {
        // It ends when the server closes the connection.
        let _ = self.connection.await;
    }
}

fn is_nobody(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

fn unreachable(socket: &Path, error: &io::Error) -> Diagnostic {
    let diagnostic = Diagnostic::io("admin-unreachable", "reach the server at", socket, error).machine();
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            diagnostic.help("only the user that the server runs as may steer it")
        }
        io::ErrorKind::InvalidInput => {
            diagnostic.help("a socket's path has at most 107 bytes: choose a shorter --state-dir for both")
        }
        _ => diagnostic,
    }
}

fn broken(socket: &Path, error: &dyn std::fmt::Display) -> Diagnostic {
    let message = format!("the server at {} gave no answer: {error}", socket.display());
    Diagnostic::new("admin-broken", message).file(socket).machine()
}
