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

/// What a guest of WASI 0.3 needs there.
const WASI_03: [&str; 2] = ["-Wcomponent-model-async", "-Sp3"];

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
    let tuned: &[&str] = &TUNED;
    let (tuned_03, reused) = ([&WASI_03[..], tuned].concat(), [tuned, &REUSE[..]].concat());
    let peers = [
        ("wasmtime serve", WASI_02_FILE, [].as_slice()),
        ("wasmtime serve, tuned, fresh instances", WASI_02_FILE, tuned),
        ("wasmtime serve, tuned, reuse", WASI_02_FILE, &reused),
        ("wasmtime serve, tuned, WASI HTTP 0.3", WASI_03_FILE, &tuned_03),
    ];
    for (name, file, options) in peers {
        if wanted(name) {
            contenders.extend(wasmtime(name, file, options));
        }
    }
    contenders
}

/// One page in one store.
pub fn shared_page() -> Contender {
    wasmhost("page, shared".into(), WORLDS[0].1, "shared")
}

const WASI_02_FILE: &str = "hello-wasi02.wasm";
const WASI_03_FILE: &str = "hello-wasi03.wasm";
const WORLDS: [(&str, &str); 3] = [
    ("page", "hello-page.wasm"),
    ("WASI HTTP 0.2", WASI_02_FILE),
    ("WASI HTTP 0.3", WASI_03_FILE),
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
fn wasmtime(name: &str, file: &str, options: &[&str]) -> Option<Contender> {
    let mut command = Command::new("wasmtime");
    command.args(["serve", "-Scli", "--addr", "127.0.0.1:0"]);
    command.args(options).arg(guest(file));
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
