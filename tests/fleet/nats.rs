//! A nats-server of a test's own, with JetStream; ended with the value.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use super::cable::Cable;
use crate::support::{Client, Tool, free_address};

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

    /// Waits until it has found its cluster.
    fn wait_until_well(&self) {
        let mut client = Client::new(&format!("http://{}", self.monitor));
        while client.get("/healthz").status != 200 {}
    }

    /// What it knows of a bucket's stream; `None` also where it does not run.
    pub fn stream(&self, bucket: &str) -> Option<Value> {
        std::net::TcpStream::connect(&self.monitor).ok()?;
        let mut client = Client::new(&format!("http://{}", self.monitor));
        let reply = client.get("/jsz?accounts=true&streams=true&config=true");
        let told: Value = serde_json::from_slice(&reply.body).unwrap();
        let streams = told["account_details"][0]["stream_detail"].as_array()?;
        let name = format!("KV_{bucket}");
        streams.iter().find(|stream| stream["name"] == *name).cloned()
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

/// Servers as one, each with ways of its own to the others.
pub struct Cluster {
    pub servers: Vec<Nats>,
    /// From each to each other.
    ways: Vec<(usize, usize, Cable)>,
}

impl Cluster {
    /// Of three. `None`, and loudly so, where the machine has none.
    pub fn start() -> Option<Self> {
        Self::of(3)
    }

    pub fn of(size: usize) -> Option<Self> {
        let addresses: Vec<String> = (0..size).map(|_| free_address()).collect();
        let pairs = (0..size).flat_map(|from| (0..size).map(move |to| (from, to)));
        let pairs = pairs.filter(|(from, to)| from != to);
        let ways: Vec<_> = pairs
            .map(|(from, to)| (from, to, Cable::to(&addresses[to])))
            .collect();
        let mut servers = Vec::new();
        for (number, address) in addresses.iter().enumerate() {
            let routes = ways.iter().filter(|(from, ..)| *from == number);
            let routes: Vec<_> = routes
                .map(|(.., way)| format!("nats://{}", way.address()))
                .collect();
            // Nobody is told of another way to it.
            let settings = format!(
                "server_name: n{number}\ncluster {{ name: test, listen: {address:?}, routes: {routes:?}, \
                 advertise: \"127.0.0.1:1\", no_advertise: true }}\n"
            );
            servers.push(Nats::start_with(&settings)?);
        }
        let cluster = Self { servers, ways };
        cluster.servers.iter().for_each(Nats::wait_until_well);
        Some(cluster)
    }

    pub fn fleet(&self) -> String {
        let addresses: Vec<_> = self.servers.iter().map(Nats::address).collect();
        format!("nats://{}/site", addresses.join(","))
    }

    /// The server that leads a bucket's stream, of those that run.
    pub fn leader(&self, bucket: &str) -> usize {
        loop {
            let told = self.servers.iter().find_map(|server| server.stream(bucket));
            let name = told.and_then(|stream| Some(stream["cluster"]["leader"].as_str()?.to_owned()));
            if let Some(name) = name {
                return name.trim_start_matches('n').parse().unwrap();
            }
        }
    }

    /// Nothing passes between one and the others.
    pub fn isolate(&self, server: usize) {
        self.ways_of(server).for_each(Cable::cut);
    }

    pub fn join(&self, server: usize) {
        self.ways_of(server).for_each(Cable::mend);
    }

    fn ways_of(&self, server: usize) -> impl Iterator<Item = &Cable> {
        let of = move |(from, to, _): &&(usize, usize, Cable)| *from == server || *to == server;
        self.ways.iter().filter(of).map(|(.., way)| way)
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
