//! A network of a NATS server's own, with a link to it for each who asks: what the system does where a network parts.

use std::{
    process::Command,
    sync::atomic::{AtomicU8, Ordering},
};

use super::cable::Cable;

/// A way to NATS that can be cut.
pub enum Line {
    Cable(Cable),
    /// A link of the namespace; the host's end of it, and where it leads to.
    Link {
        end: String,
        address: String,
    },
}

impl Line {
    pub fn address(&self) -> &str {
        match self {
            Self::Cable(cable) => cable.address(),
            Self::Link { address, .. } => address,
        }
    }

    pub fn cut(&self) {
        match self {
            Self::Cable(cable) => cable.cut(),
            Self::Link { end, .. } => assert!(ip(&format!("link set {end} down"))),
        }
    }

    pub fn mend(&self) {
        match self {
            Self::Cable(cable) => cable.mend(),
            Self::Link { end, .. } => assert!(ip(&format!("link set {end} up"))),
        }
    }
}

/// A network namespace with links to it; gone with the value.
pub struct Namespace {
    pub name: String,
    /// The host's end of each link, and the address at the other one.
    links: Vec<(String, String)>,
}

impl Namespace {
    /// `None` where the machine does not let us make one.
    pub fn new(links: u8) -> Option<Self> {
        static COUNT: AtomicU8 = AtomicU8::new(0);
        let (pid, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let name = format!("wh{pid}-{count}");
        if !ip(&format!("netns add {name}")) {
            return None;
        }
        let mut this = Self {
            name: name.clone(),
            links: Vec::new(),
        };
        let net = format!("10.{}.{}", 128 + (pid >> 8) % 64, pid % 256);
        for link in 0..links {
            let (here, there) = (format!("wh{pid}h{count}{link}"), format!("wh{pid}n{count}{link}"));
            let first = (count * links + link) * 4;
            let (ours, theirs) = (format!("{net}.{}", first + 1), format!("{net}.{}", first + 2));
            let is_made = [
                format!("link add {here} type veth peer name {there} netns {name}"),
                format!("addr add {ours}/30 dev {here}"),
                format!("-n {name} addr add {theirs}/30 dev {there}"),
                format!("link set {here} up"),
                format!("-n {name} link set {there} up"),
                format!("-n {name} link set lo up"),
            ];
            if !is_made.iter().all(|order| ip(order)) {
                return None;
            }
            this.links.push((here, theirs));
        }
        Some(this)
    }

    /// Ways to a port in it.
    pub fn lines(&self, port: &str) -> Vec<Line> {
        let line = |(end, address): &(String, String)| Line::Link {
            end: end.clone(),
            address: format!("{address}:{port}"),
        };
        self.links.iter().map(line).collect()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A link goes at once with its end here, the namespace when nobody is in it any more.
        for (end, _) in &self.links {
            ip(&format!("link del {end}"));
        }
        ip(&format!("netns del {}", self.name));
    }
}

fn ip(order: &str) -> bool {
    let output = Command::new("ip").args(order.split(' ')).output();
    output.is_ok_and(|output| output.status.success())
}
