//! Sockets that whoever started this process has bound and passes on, as systemd's socket activation does. They
//! outlive the process: while it is replaced, connections wait in their queues and none is refused.

use std::{io, net::TcpListener};

use listenfd::ListenFd;

use crate::diagnostic::Diagnostic;

/// All that were passed. Errors: one is no TCP socket that listens.
pub fn take() -> Result<Vec<tokio::net::TcpListener>, Diagnostic> {
    let mut passed = ListenFd::from_env();
    (0..passed.len())
        .filter_map(|number| passed.take_tcp_listener(number).and_then(adopt).transpose())
        .collect::<io::Result<_>>()
        .map_err(|error| {
            let message = format!("a socket that was passed to this process cannot be served: {error}");
            Diagnostic::new("listen-failed", message)
                .help("pass TCP sockets that listen, as ListenStream=127.0.0.1:8080 of a .socket unit does")
                .machine()
        })
}

fn adopt(listener: Option<TcpListener>) -> io::Result<Option<tokio::net::TcpListener>> {
    let Some(listener) = listener else { return Ok(None) };
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener).map(Some)
}
