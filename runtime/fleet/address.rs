//! Where a fleet is: `nats://nats-1:4222,nats-2:4222/site`. Pure.

use std::{fmt, str::FromStr};

use percent_encoding::percent_decode_str;

/// The servers of NATS and the fleet's name, with whom to be there.
#[derive(Clone, PartialEq, Eq)]
pub struct FleetAddress {
    pub is_tls: bool,
    /// `host:port`, not empty.
    pub servers: Vec<String>,
    pub name: String,
    pub login: Option<Login>,
}

#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    Password { user: String, password: String },
    Token(String),
}

impl FromStr for FleetAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "write nats://HOST:PORT/NAME, as in nats://127.0.0.1:4222/site; tls:// for TLS, several hosts with commas, \
             and a NAME of letters, digits, - and _"
                .to_owned()
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let is_tls = match scheme {
            "nats" => false,
            "tls" => true,
            _ => return Err(wrong()),
        };
        let (authority, name) = rest.rsplit_once('/').ok_or_else(wrong)?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(wrong());
        }
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(Login::read(login)), hosts),
            None => (None, authority),
        };
        let is_host = |host: &str| !host.is_empty() && !host.contains(['/', '@', ' ']);
        if !hosts.split(',').all(is_host) {
            return Err(wrong());
        }
        Ok(Self {
            is_tls,
            servers: hosts.split(',').map(str::to_owned).collect(),
            name: name.to_owned(),
            login,
        })
    }
}

impl Login {
    fn read(text: &str) -> Self {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        match text.split_once(':') {
            Some((user, password)) => Self::Password {
                user: decoded(user),
                password: decoded(password),
            },
            None => Self::Token(decoded(text)),
        }
    }
}

/// Without the password.
impl fmt::Display for FleetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "tls" } else { "nats" };
        write!(f, "{scheme}://{}/{}", self.servers.join(","), self.name)
    }
}

impl fmt::Debug for FleetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_servers_and_a_fleet() {
        let address: FleetAddress = "nats://ann:s%40cret@a:4222,b:4222/site".parse().unwrap();
        assert_eq!(address.servers, ["a:4222", "b:4222"]);
        assert_eq!(
            address.to_string(),
            "nats://a:4222,b:4222/site",
            "no password is shown"
        );
        let login = Login::Password {
            user: "ann".into(),
            password: "s@cret".into(),
        };
        assert!(address.login == Some(login));
        let token: FleetAddress = "tls://tok@a/site".parse().unwrap();
        assert!(token.is_tls && token.login == Some(Login::Token("tok".into())));
        for wrong in [
            "a:4222/site",
            "nats://a:4222",
            "nats://a:4222/",
            "nats://a/b c",
            "http://a/b",
            "nats:///b",
        ] {
            assert!(wrong.parse::<FleetAddress>().is_err(), "{wrong}");
        }
    }
}
