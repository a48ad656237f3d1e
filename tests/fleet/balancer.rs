//! Load balancers of a test's own, by the references that users get; ended with the value.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use tempfile::TempDir;

use crate::support::{Client, Server, Tool, connect, free_address};

const NGINX: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/runtime/deploy/nginx.conf");
const HAPROXY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/runtime/deploy/haproxy.cfg");

pub struct Balancer {
    folder: TempDir,
    child: Child,
    address: String,
}

/// How HAProxy stands to one of its servers.
#[derive(Debug)]
pub struct Standing {
    pub is_up: bool,
    /// How often a request was given to it.
    pub given: u64,
}

impl Balancer {
    /// `None`, and loudly so, where the machine has none.
    pub fn nginx(servers: &[Server]) -> Option<Self> {
        Tool::known_by("nginx", "-v")?;
        let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
        let file = folder.path().join("nginx.conf");
        fs::write(&file, nginx(servers, &address, folder.path())).unwrap();
        let pid = folder.path().join("pid");
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&file);
        command.arg("-e").arg(folder.path().join("errors"));
        command.args(["-g", &format!("daemon off; pid {};", pid.display())]);
        Some(Self::run(command, folder, address))
    }

    /// As `nginx`. Its servers are known by their addresses.
    pub fn haproxy(servers: &[Server]) -> Option<Self> {
        Tool::known_by("haproxy", "-v")?;
        let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, haproxy(servers, &address, folder.path())).unwrap();
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&file).stderr(Stdio::null());
        let balancer = Self::run(command, folder, address);
        // It tells of itself a moment later.
        while UnixStream::connect(balancer.stats()).is_err() {
            thread::yield_now();
        }
        for server in servers {
            balancer.wait_until(server.authority(), true);
        }
        Some(balancer)
    }

    fn run(mut command: Command, folder: TempDir, address: String) -> Self {
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        // It listens before it says who it is.
        while !listens(&address) {
            thread::yield_now();
        }
        Self {
            folder,
            child,
            address,
        }
    }

    fn stats(&self) -> PathBuf {
        self.folder.path().join("stats")
    }

    pub fn client(&self) -> Client {
        Client::over(connect(&self.address), &self.address)
    }

    /// What HAProxy says of the server with this address.
    pub fn standing(&self, server: &str) -> Standing {
        let mut socket = UnixStream::connect(self.stats()).unwrap();
        socket.write_all(b"show stat\n").unwrap();
        let mut told = String::new();
        socket.read_to_string(&mut told).unwrap();
        let mut lines = told.lines();
        let names: Vec<&str> = lines.next().unwrap().split(',').collect();
        let start = format!("servers,{server},");
        let line = lines.find(|line| line.starts_with(&start)).expect("is listed");
        let value = |name| {
            line.split(',')
                .nth(names.iter().position(|other| *other == name).unwrap())
        };
        Standing {
            is_up: value("status").unwrap().starts_with("UP"),
            given: value("lbtot").unwrap().parse().unwrap(),
        }
    }

    /// Waits until HAProxy takes a server for one that is there, or is not.
    pub fn wait_until(&self, server: &str, is_up: bool) -> Standing {
        loop {
            let standing = self.standing(server);
            if standing.is_up == is_up {
                return standing;
            }
            thread::yield_now();
        }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // Its workers end with it.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// True where somebody answers; whoever calls a free port may get itself.
pub fn listens(address: &str) -> bool {
    let called = TcpStream::connect(address);
    called.is_ok_and(|stream| stream.local_addr().unwrap() != stream.peer_addr().unwrap())
}

/// The reference with what is a user's to change, and what it writes in a folder.
fn nginx(servers: &[Server], address: &str, folder: &Path) -> String {
    let mut lines = Vec::new();
    for line in fs::read_to_string(NGINX).unwrap().lines() {
        match line.trim() {
            at if at.starts_with("server 10.0.0.1:") => lines.extend(
                servers
                    .iter()
                    .map(|server| line.replace("10.0.0.1:8080", server.authority())),
            ),
            at if at.starts_with("server 10.0.0.") => {}
            at if at.starts_with("listen ") => lines.push(format!("listen {address};")),
            at if at.starts_with("http {") => {
                lines.push(line.into());
                // What nginx writes, and what only root may have elsewhere.
                for (name, path) in [
                    ("client_body", "a"),
                    ("proxy", "b"),
                    ("fastcgi", "c"),
                    ("uwsgi", "d"),
                    ("scgi", "e"),
                ] {
                    lines.push(format!("{name}_temp_path {};", folder.join(path).display()));
                }
                lines.push("access_log off;".into());
            }
            _ => lines.push(line.into()),
        }
    }
    lines.join("\n")
}

fn haproxy(servers: &[Server], address: &str, folder: &Path) -> String {
    let mut lines = Vec::new();
    for line in fs::read_to_string(HAPROXY).unwrap().lines() {
        match line.trim() {
            "server a 10.0.0.1:8080" => lines.extend(servers.iter().map(|server| {
                let authority = server.authority();
                format!("server {authority} {authority}")
            })),
            at if at.starts_with("server ") => {}
            "bind :80" => lines.push(format!("bind {address}")),
            "global" => {
                lines.push(line.into());
                lines.push(format!("stats socket {}", folder.join("stats").display()));
            }
            _ => lines.push(line.into()),
        }
    }
    lines.join("\n") + "\n"
}
