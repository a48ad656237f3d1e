//! Where a server listens, as it is written: `127.0.0.1:8080`, `http://…`, `https://…` or `unix:PATH`.
//! Knows no socket.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// One place to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Port 0 is any free one.
    Http(SocketAddr),
    /// By TLS, with the certificate of `[server.tls]`.
    Https(SocketAddr),
    /// A Unix socket, by its path.
    Unix(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an address is like \"127.0.0.1:8080\", \"https://[::1]:8443\" or \"unix:/run/site.sock\"; \
     a name is none"
)]
pub struct InvalidAddress;

impl Address {
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Https(_))
    }

    /// True for two that cannot both be listened on. Twice port 0 is two free ports.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        match (self.socket(), other.socket()) {
            (Some(own), Some(others)) => own == others && own.port() != 0,
            _ => self == other,
        }
    }

    /// The path of a Unix socket as seen from `folder`.
    pub fn relative_to(self, folder: &Path) -> Self {
        match self {
            Self::Unix(path) => Self::Unix(folder.join(path)),
            other => other,
        }
    }

    fn socket(&self) -> Option<&SocketAddr> {
        match self {
            Self::Http(socket) | Self::Https(socket) => Some(socket),
            Self::Unix(_) => None,
        }
    }

    /// As a client names it.
    pub fn url(&self) -> String {
        match self {
            Self::Http(socket) => format!("http://{socket}"),
            Self::Https(_) | Self::Unix(_) => self.to_string(),
        }
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let socket = |text: &str| {
            let text = text.strip_suffix('/').unwrap_or(text);
            text.parse::<SocketAddr>().map_err(|_| InvalidAddress)
        };
        if let Some(path) = text.strip_prefix("unix:") {
            let is_path = !path.is_empty() && !path.contains('\0');
            return is_path.then(|| Self::Unix(path.into())).ok_or(InvalidAddress);
        }
        if let Some(rest) = text.strip_prefix("https://") {
            return socket(rest).map(Self::Https);
        }
        match text.strip_prefix("http://") {
            Some(rest) => socket(rest).map(Self::Http),
            None => text.parse().map(Self::Http).map_err(|_| InvalidAddress),
        }
    }
}

/// As it is written, in the shortest way.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(socket) => write!(f, "{socket}"),
            Self::Https(socket) => write!(f, "https://{socket}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn every_way_to_write_an_address() {
        let check = |text: &str, url: &str| {
            let address = address(text);
            assert_eq!(address.url(), url);
            assert_eq!(address.to_string().parse(), Ok(address), "{text}");
        };
        check("127.0.0.1:8080", "http://127.0.0.1:8080");
        check("http://127.0.0.1:0", "http://127.0.0.1:0");
        check("http://[::1]:80/", "http://[::1]:80");
        check("https://0.0.0.0:8443", "https://0.0.0.0:8443");
        check("unix:/run/site.sock", "unix:/run/site.sock");
        check("unix:site.sock", "unix:site.sock");
        for text in [
            "",
            "8080",
            "localhost",
            "localhost:80",
            "http://",
            "https://localhost:1",
            "ftp://127.0.0.1:1",
            "unix:",
            "127.0.0.1:8080/x",
            "127.0.0.1:99999",
        ] {
            assert_eq!(text.parse::<Address>(), Err(InvalidAddress), "{text}");
        }
    }

    #[test]
    fn two_of_one_port_conflict_whatever_they_speak() {
        let conflict = |a: &str, b: &str| address(a).conflicts_with(&address(b));
        assert!(conflict("127.0.0.1:1", "https://127.0.0.1:1"));
        assert!(conflict("unix:/a", "unix:/a"));
        assert!(!conflict("127.0.0.1:0", "127.0.0.1:0"));
        assert!(!conflict("127.0.0.1:1", "[::1]:1"));
        assert!(!conflict("unix:/a", "unix:/b"));
    }
}
