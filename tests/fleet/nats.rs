//! A nats-server of a test's own, with JetStream; ended with the value.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::support::Tool;

pub struct Nats {
    folder: TempDir,
    child: Child,
    address: String,
    monitor: String,
    /// The network namespace that it is in.
    namespace: Option<String>,
}

impl Nats {
    /// `None`, and loudly so, where the machine has none.
    pub fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// With this in its configuration.
    pub fn start_with(settings: &str) -> Option<Self> {
        Self::start_as(settings, None)
    }

    /// In a network namespace: on all addresses there.
    pub fn start_in(namespace: Option<&str>) -> Option<Self> {
        Self::start_as("", namespace)
    }

    fn start_as(settings: &str, namespace: Option<&str>) -> Option<Self> {
        Tool::new("nats-server")?;
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "jetstream {{ store_dir: {:?} }}\n{settings}",
            folder.path().join("data")
        );
        fs::write(folder.path().join("nats.conf"), config).unwrap();
        let (child, address, monitor) = run(&folder, "-1", namespace);
        Some(Self {
            folder,
            child,
            address,
            monitor,
            namespace: namespace.map(str::to_owned),
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it tells of itself.
    pub fn monitor(&self) -> &str {
        &self.monitor
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn fleet(&self) -> String {
        self.fleet_as("")
    }

    /// As whom: `user:password@`.
    pub fn fleet_as(&self, login: &str) -> String {
        format!("nats://{login}{}/site", self.address)
    }

    /// Ends it as a loss of power would. What it has on disk stays.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Where it was.
    pub fn revive(&mut self) {
        let port = self.address.rsplit_once(':').unwrap().1.to_owned();
        (self.child, self.address, self.monitor) = run(&self.folder, &port, self.namespace.as_deref());
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(folder: &TempDir, port: &str, namespace: Option<&str>) -> (Child, String, String) {
    let mut command = Command::new(if namespace.is_some() { "ip" } else { "nats-server" });
    // Which becomes the server.
    command.args(
        namespace
            .into_iter()
            .flat_map(|name| ["netns", "exec", name, "nats-server"]),
    );
    let host = if namespace.is_some() {
        "0.0.0.0"
    } else {
        "127.0.0.1"
    };
    let mut child = command
        .arg("-c")
        .arg(folder.path().join("nats.conf"))
        .args(["-a", host, "-p", port, "-m", "-1"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let (mut address, mut monitor) = (None, String::new());
    for line in lines.by_ref() {
        if let Some((_, at)) = line.split_once("client connections on ") {
            address = Some(at.trim().to_owned());
        }
        if let Some((_, at)) = line.split_once("http monitor on ") {
            monitor = at.trim().to_owned();
        }
        if line.contains("Server is ready") {
            break;
        }
    }
    // Whoever writes must find a reader.
    std::thread::spawn(move || lines.for_each(drop));
    (child, address.expect("listens"), monitor)
}
