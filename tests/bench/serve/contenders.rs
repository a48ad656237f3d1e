//! Who is measured: servers in processes of their own, all with the same answer.

use std::{
    any::Any,
    fs,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use crate::{
    plain,
    support::{Server, Tree, guests},
};

/// `wasmtime serve` as its documentation makes it fast.
const TUNED: [&str; 5] = [
    "-Opooling-allocator=y",
    "-Opooling-memory-keep-resident=4194304",
    "-Opooling-table-keep-resident=65536",
    "-Opooling-async-stack-keep-resident=65536",
    "-Opooling-max-unused-warm-slots=1000",
];
const REUSE: [&str; 4] = [
    "--max-instance-reuse-count",
    "1000000000",
    "--idle-instance-timeout",
    "60s",
];

/// A running server.
pub struct Contender {
    pub name: String,
    /// What is asked for.
    pub url: String,
    pub pid: u32,
    /// What it runs on; gone with the value.
    _process: Box<dyn Any>,
}

/// Killed with the value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Plain hyper first, then all whose name contains `only`.
pub fn all(only: Option<&str>) -> Vec<Contender> {
    let mut contenders = vec![hyper()];
    let wanted = |name: &str| only.is_none_or(|only| name.contains(only));
    for (world, file) in WORLDS {
        for policy in ["shared", "isolated"] {
            let name = format!("{world}, {policy}");
            if wanted(&name) {
                contenders.push(wasmhost(name, file, policy));
            }
        }
    }
    let peers = [
        ("wasmtime serve", [].as_slice(), [].as_slice()),
        ("wasmtime serve, tuned, fresh instances", &TUNED, &[]),
        ("wasmtime serve, tuned, reuse", &TUNED, &REUSE),
    ];
    for (name, tuning, reuse) in peers {
        if wanted(name) {
            contenders.extend(wasmtime(name, tuning, reuse));
        }
    }
    contenders
}

/// One page in one store.
pub fn shared_page() -> Contender {
    wasmhost("page, shared".into(), WORLDS[0].1, "shared")
}

const WORLDS: [(&str, &str); 2] = [
    ("page", "hello-page.wasm"),
    ("WASI HTTP 0.2", "hello-wasi02.wasm"),
];

fn guest(file: &str) -> PathBuf {
    guests().join(file)
}

fn hyper() -> Contender {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = command
        .arg(plain::ARGUMENT)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let url = line_with_url(child.stdout.take().unwrap());
    Contender {
        name: "plain hyper".into(),
        url,
        pid: child.id(),
        _process: Box::new(Process(child)),
    }
}

fn wasmhost(name: String, file: &str, policy: &str) -> Contender {
    let tree = Tree::empty();
    tree.put("hello/hello.wasm", fs::read(guest(file)).unwrap());
    tree.put(
        "wasmhost.toml",
        format!("[groups.hello]\ninstances = \"{policy}\"\n"),
    );
    let server = Server::start(tree.root());
    Contender {
        name,
        url: format!("{}/hello/hello", server.url()),
        pid: server.pid(),
        _process: Box::new((server, tree)),
    }
}

/// None where the program is not on this machine.
fn wasmtime(name: &str, tuning: &[&str], reuse: &[&str]) -> Option<Contender> {
    let mut command = Command::new("wasmtime");
    command.args(["serve", "-Scli", "--addr", "127.0.0.1:0"]);
    command.args(tuning).args(reuse).arg(guest("hello-wasi02.wasm"));
    let mut child = command
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .ok()?;
    let url = line_with_url(child.stderr.take().unwrap());
    Some(Contender {
        name: name.into(),
        url,
        pid: child.id(),
        _process: Box::new(Process(child)),
    })
}

/// The first URL that a server says it serves; what else it says is read, and let go.
fn line_with_url(output: impl Read + Send + 'static) -> String {
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("http://")).expect("a URL");
    std::thread::spawn(move || lines.for_each(drop));
    line[line.find("http://").unwrap()..].trim().to_owned()
}
