//! Names into addresses, for outgoing requests: public ones only. A name that is granted belongs to someone
//! else, who may have it point into this machine or its network. An address that is granted as such never
//! comes here.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;
use wasmtime_wasi_http::Error;

#[derive(Clone)]
pub struct PublicNames;

/// Why a name leads nowhere.
#[derive(Debug)]
pub enum Unreachable {
    Unknown(io::Error),
    /// It has addresses, but no public one.
    Prohibited,
}

type Addresses = vec::IntoIter<SocketAddr>;

impl Service<Name> for PublicNames {
    type Response = Addresses;
    type Error = Unreachable;
    type Future = Pin<Box<dyn Future<Output = Result<Addresses, Unreachable>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Unreachable>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            let found: Vec<SocketAddr> = found.map_err(Unreachable::Unknown)?.collect();
            let public: Vec<_> = found
                .into_iter()
                .filter(|address| is_public(address.ip()))
                .collect();
            if public.is_empty() {
                return Err(Unreachable::Prohibited);
            }
            Ok(public.into_iter())
        })
    }
}

impl From<&Unreachable> for Error {
    fn from(unreachable: &Unreachable) -> Self {
        match unreachable {
            Unreachable::Prohibited => Self::DestinationIpProhibited,
            Unreachable::Unknown(_) => Self::DnsError {
                rcode: None,
                info_code: None,
            },
        }
    }
}

impl std::error::Error for Unreachable {}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(error) => write!(f, "the name is not known: {error}"),
            Self::Prohibited => f.write_str("the name has no public address"),
        }
    }
}

/// True for an address that anyone in the world means the same machine by.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_of_a_network = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || (a == 100 && b & 0xc0 == 64)
        || (a == 198 && b & 0xfe == 18);
    let is_none = address.is_documentation()
        || address.is_multicast()
        || a == 0
        || a >= 240
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99);
    !is_of_a_network && !is_none
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    // Addresses of version 4 in disguise: mapped, compatible, translated, by 6to4.
    let embedded = match segments {
        [0, 0, 0, 0, 0, 0 | 0xffff, a, b] | [0x64, 0xff9b, 0, 0, 0, 0, a, b] | [0x2002, a, b, ..] => {
            Some((a, b))
        }
        _ => None,
    };
    if let Some((a, b)) = embedded {
        let [[a, b], [c, d]] = [a.to_be_bytes(), b.to_be_bytes()];
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    // Of what is assigned to the world, not the tunnels, the benchmarks and the documentation.
    let is_global = segments[0] & 0xe000 == 0x2000;
    let is_special = segments[0] == 0x2001 && (segments[1] < 0x200 || segments[1] == 0xdb8);
    is_global && !is_special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_and_its_networks_are_not_public() {
        for address in [
            "127.0.0.1",
            "127.255.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "198.18.0.1",
            "192.0.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "93.184.215.14",
            "172.32.0.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}
