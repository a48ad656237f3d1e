//! Binds the sockets, before anything else is made ready: a port that is taken is said at once.

use std::{io, net::SocketAddr};

use tokio::net::TcpListener;

use crate::diagnostic::Diagnostic;

/// Binds every address. Errors: all that cannot be bound, each with what to do.
pub async fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Vec<Diagnostic>> {
    let (mut listeners, mut diagnostics) = (Vec::new(), Vec::new());
    for address in addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => listeners.push(listener),
            Err(error) => diagnostics.push(describe(*address, &error)),
        }
    }
    if diagnostics.is_empty() {
        Ok(listeners)
    } else {
        Err(diagnostics)
    }
}

fn describe(address: SocketAddr, error: &io::Error) -> Diagnostic {
    let diagnostic =
        Diagnostic::new("listen-failed", format!("cannot listen on {address}: {error}")).machine();
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let any = SocketAddr::new(address.ip(), 0);
            diagnostic.help(format!(
                "another program has this port: end it, or choose another with --listen ({any} takes any free one)"
            ))
        }
        io::ErrorKind::PermissionDenied => {
            diagnostic.help("ports below 1024 need a privilege: choose a higher one with --listen")
        }
        io::ErrorKind::AddrNotAvailable => diagnostic.help("this machine has no such address"),
        _ => diagnostic,
    }
}
