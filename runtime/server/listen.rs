//! Binds the sockets, before anything else is made ready: a port that is taken is said at once.
//! Knows not what is served.

use std::{io, net::SocketAddr, path::Path};

use tokio::net::{TcpListener, TcpSocket};

use super::{
    passed,
    tls::{Follower, Tls},
    unix::UnixSocket,
};
use crate::{
    diagnostic::Diagnostic,
    project::{Address, ServerSpec},
};

/// Connections that may wait to be accepted, where the system allows as many.
pub const BACKLOG: u32 = 4096;

/// Sockets that are bound, and what they are served with.
pub struct Listeners {
    pub all: Vec<Listener>,
    /// Follows the certificate, where there is one.
    pub certificate: Option<Follower>,
}

pub enum Listener {
    Tcp(TcpListener),
    Tls(TcpListener, Tls),
    Unix(UnixSocket),
}

/// Binds every address. Errors: all that cannot be bound, each with what to do.
pub async fn bind(spec: &ServerSpec) -> Result<Listeners, Vec<Diagnostic>> {
    let (mut all, mut diagnostics) = (Vec::new(), Vec::new());
    let (tls, certificate) = match tls(spec) {
        Ok(Some((tls, follower))) => (Some(tls), Some(follower)),
        Ok(None) => (None, None),
        Err(diagnostic) => {
            diagnostics.push(diagnostic);
            (None, None)
        }
    };
    // Those stand for all that the manifest says, but for what is spoken there.
    let passed = passed::take().map_err(|diagnostic| vec![diagnostic])?;
    let addresses = if passed.is_empty() { &spec.listen[..] } else { &[] };
    all.extend(
        passed
            .into_iter()
            .map(|listener| adopt(listener, spec, tls.as_ref())),
    );
    for address in addresses {
        let bound = match address {
            Address::Http(socket) => bind_tcp(*socket).map(Listener::Tcp),
            Address::Https(socket) => match &tls {
                Some(tls) => bind_tcp(*socket).map(|listener| Listener::Tls(listener, tls.clone())),
                // That is said already.
                None => continue,
            },
            Address::Unix(path) => UnixSocket::bind(path).await.map(Listener::Unix),
        };
        match bound {
            Ok(listener) => all.push(listener),
            Err(error) => diagnostics.push(describe(address, &error)),
        }
    }
    if !diagnostics.is_empty() {
        return Err(diagnostics);
    }
    // The event names the first one only.
    for address in all.iter().filter_map(Listener::address).filter(|_| all.len() > 1) {
        tracing::info!("listening on {}", address.url());
    }
    Ok(Listeners { all, certificate })
}

/// A socket that was passed: TLS is spoken where the manifest has its address with `https://`.
fn adopt(listener: TcpListener, spec: &ServerSpec, tls: Option<&Tls>) -> Listener {
    let is_tls = |own| spec.listen.contains(&Address::Https(own));
    match tls {
        Some(tls) if listener.local_addr().is_ok_and(is_tls) => Listener::Tls(listener, tls.clone()),
        _ => Listener::Tcp(listener),
    }
}

impl Listeners {
    /// The first one as a client names it.
    pub fn url(&self) -> String {
        self.all
            .first()
            .and_then(Listener::address)
            .map_or_else(String::new, |address| address.url())
    }
}

impl Listener {
    fn address(&self) -> Option<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok().map(Address::Http),
            Self::Tls(listener, _) => listener.local_addr().ok().map(Address::Https),
            Self::Unix(socket) => Some(Address::Unix(socket.path().to_owned())),
        }
    }
}

/// The certificate, where some address needs one.
fn tls(spec: &ServerSpec) -> Result<Option<(Tls, Follower)>, Diagnostic> {
    let Some(address) = spec.listen.iter().find(|address| address.is_tls()) else {
        return Ok(None);
    };
    match &spec.tls {
        Some(files) => Tls::new(files).map(Some),
        None => {
            let message = format!("{address} needs a certificate, and the manifest names none");
            Err(Diagnostic::new("certificate-missing", message)
                .help("add [server.tls] with certificate = \"cert.pem\" and key = \"key.pem\""))
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A server that was restarted does not wait for its old connections.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn describe(address: &Address, error: &io::Error) -> Diagnostic {
    let diagnostic =
        Diagnostic::new("listen-failed", format!("cannot listen on {address}: {error}")).machine();
    match (address, error.kind()) {
        (Address::Unix(path), kind) => describe_unix(diagnostic, path, kind),
        (Address::Http(socket) | Address::Https(socket), io::ErrorKind::AddrInUse) => {
            let any = SocketAddr::new(socket.ip(), 0);
            diagnostic.help(format!(
                "another program has this port: end it, or choose another with --listen ({any} takes any free one)"
            ))
        }
        (_, io::ErrorKind::PermissionDenied) => {
            diagnostic.help("ports below 1024 need a privilege: choose a higher one with --listen")
        }
        (_, io::ErrorKind::AddrNotAvailable) => diagnostic.help("this machine has no such address"),
        _ => diagnostic,
    }
}

fn describe_unix(diagnostic: Diagnostic, path: &Path, kind: io::ErrorKind) -> Diagnostic {
    let diagnostic = diagnostic.file(path);
    match kind {
        io::ErrorKind::AddrInUse => {
            diagnostic.help("another program answers on this socket: end it, or choose another path")
        }
        io::ErrorKind::AlreadyExists => {
            diagnostic.help("what lies there is no socket, and is not replaced: choose another path")
        }
        io::ErrorKind::NotFound => diagnostic.help("make its folder first"),
        io::ErrorKind::InvalidInput => diagnostic.help("a socket's path has at most 107 bytes"),
        _ => diagnostic,
    }
}
