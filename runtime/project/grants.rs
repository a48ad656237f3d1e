//! What a group's guests may reach of the outside: `[groups.NAME.grants]`. Nothing else is granted.
//! Values only: who holds guests to them is not known here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::Ipv4Addr,
    path::PathBuf,
};

use http::{Uri, uri::Scheme};
use serde::{Deserialize, Serialize};

use super::secrets::Text;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Grants {
    /// Where outgoing requests may go.
    pub http: BTreeSet<Origin>,
    /// `wasi:cli/environment`
    pub env: BTreeMap<String, Text>,
    /// `wasi:config/store`
    pub config: BTreeMap<String, Text>,
    /// `wasi:filesystem/preopens`
    pub directories: Vec<Directory>,
    /// `wasi:keyvalue`
    pub keyvalue: Option<KeyValue>,
}

/// Where a group's keys and values are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyValue {
    /// In the state directory.
    Durable,
    /// In the Redis or NATS of this URL, which may hold a password.
    #[serde(alias = "redis")]
    Url(Text),
}

impl Grants {
    /// Reads the secrets that were not read yet.
    ///
    /// # Errors
    /// Why one is not there.
    pub fn fetch(&mut self) -> Result<(), String> {
        let url = match &mut self.keyvalue {
            Some(KeyValue::Url(url)) => Some(url),
            Some(KeyValue::Durable) | None => None,
        };
        let texts = self.env.values_mut().chain(self.config.values_mut());
        texts.chain(url).try_for_each(Text::fetch)
    }
}

/// A scheme, a host and a port. Two are the same where all three are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    pub https: bool,
    /// In lower case; an address of IP version 6 stands in brackets.
    pub host: String,
    pub port: u16,
}

/// A folder of the host as guests see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// Absolute.
    pub host: PathBuf,
    pub guest: String,
    pub write: bool,
}

/// Why a text is no origin, and what may have been meant.
#[derive(Debug, PartialEq, Eq)]
pub struct NoOrigin {
    pub reason: &'static str,
    pub meant: Option<String>,
}

impl Origin {
    /// The origin that a request for `uri` goes to; `None` where it has none that can be granted.
    pub fn of(uri: &Uri) -> Option<Self> {
        let https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        let has_user = authority.as_str().contains('@');
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            // What stands behind the colon is no port.
            None if authority.as_str().len() != authority.host().len() => return None,
            None => Self::default_port(https),
        };
        let host = authority.host().to_ascii_lowercase();
        (!has_user && is_host(&host)).then_some(Self { https, host, port })
    }

    /// # Errors
    /// A text that is more or less than an origin.
    pub fn parse(text: &str) -> Result<Self, NoOrigin> {
        let no_origin = |reason, meant| Err(NoOrigin { reason, meant });
        let Ok(uri) = text.parse::<Uri>() else {
            return no_origin("it is no URL", None);
        };
        let Some(origin) = Self::of(&uri) else {
            let with_scheme = format!("https://{text}").parse().ok();
            let meant = with_scheme.as_ref().and_then(Self::of);
            return no_origin(
                "it has no scheme and host",
                meant.map(|origin| origin.to_string()),
            );
        };
        if uri.path_and_query().is_some_and(|rest| rest.as_str() != "/") {
            let reason = "a whole origin is granted, not a part of it";
            return no_origin(reason, Some(origin.to_string()));
        }
        if origin.host == "localhost" || origin.host.ends_with(".localhost") {
            let address = Ipv4Addr::LOCALHOST.to_string();
            let meant = Self {
                host: address,
                ..origin
            };
            let reason = "a name is never taken for an address of this machine or its network";
            return no_origin(reason, Some(meant.to_string()));
        }
        Ok(origin)
    }

    fn default_port(https: bool) -> u16 {
        if https { 443 } else { 80 }
    }
}

/// Names and addresses as they are written, without patterns.
fn is_host(host: &str) -> bool {
    let is_name = host
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let is_address = host.starts_with('[') && host.ends_with(']');
    !host.is_empty() && (is_name || is_address)
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { https, host, port } = self;
        let scheme = if *https { "https" } else { "http" };
        write!(f, "{scheme}://{host}")?;
        if *port != Self::default_port(*https) {
            write!(f, ":{port}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port() {
        for (text, expected) in [
            ("https://api.example.com", "https://api.example.com"),
            ("https://API.example.com:443/", "https://api.example.com"),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
            ("http://[::1]:9000", "http://[::1]:9000"),
        ] {
            assert_eq!(Origin::parse(text).unwrap().to_string(), expected);
        }
        for (text, meant) in [
            ("api.example.com", Some("https://api.example.com")),
            ("https://api.example.com/v1", Some("https://api.example.com")),
            ("http://localhost:9000", Some("http://127.0.0.1:9000")),
            ("https://user@example.com", None),
            ("https://*.example.com", None),
            ("https://example.com:port", None),
            ("ftp://example.com", None),
            ("", None),
        ] {
            let refused = Origin::parse(text).unwrap_err();
            assert_eq!(refused.meant.as_deref(), meant, "{text}");
        }
    }

    #[test]
    fn another_port_or_scheme_is_another_origin() {
        let granted = Origin::parse("https://example.com").unwrap();
        let of = |uri: &str| Origin::of(&uri.parse().unwrap());
        assert_eq!(of("https://EXAMPLE.com/a?b"), Some(granted.clone()));
        for other in [
            "http://example.com/",
            "https://example.com:8443/",
            "https://example.com./",
            "https://example.com.evil.test/",
            "https://user:example.com@evil.test/",
        ] {
            assert_ne!(of(other), Some(granted.clone()), "{other}");
        }
    }
}
