//! What a server takes where nothing happens: for a group, and for a connection.

use std::{fs, io::Write, net::TcpStream};

use crate::{
    process::{compiled_kib, resident_kib},
    support::{Server, Tree, guests},
};

const CONNECTIONS: usize = 10_000;

pub fn run() {
    println!("| memory | MB |\n| --- | --- |");
    group();
    connections();
}

/// The example's group `shop`, beside a server that has only a small page.
fn group() {
    let (small, example) = (hello(), Tree::example());
    example.put("hello/hello.wasm", small.read("hello/hello.wasm"));
    let (small, example) = (at_rest(&small), at_rest(&example));
    let beyond_code = |(resident, code): (u64, u64)| resident - code;
    let kib = beyond_code(example).saturating_sub(beyond_code(small));
    row("the example's groups, beyond their code", kib);
}

fn hello() -> Tree {
    let tree = Tree::empty();
    tree.put(
        "hello/hello.wasm",
        fs::read(guests().join("hello-page.wasm")).unwrap(),
    );
    tree
}

/// Resident memory and compiled code, in KiB, of a server that found all compiled.
fn at_rest(tree: &Tree) -> (u64, u64) {
    let first = Server::start(tree.root());
    first.signal("TERM");
    assert!(first.ended().0.success());
    let server = Server::start(tree.root());
    assert_eq!(server.client().get("/hello/hello").status, 200);
    (resident_kib(server.pid()), compiled_kib(server.pid()))
}

/// Each has asked once, and is kept.
fn connections() {
    let tree = hello();
    let server = Server::start(tree.root());
    let before = resident_kib(server.pid());
    let authority = server.url().strip_prefix("http://").unwrap().to_owned();
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(&authority).unwrap_or_else(|error| {
            panic!(
                "{} connections, then {error}: raise the limit of open files",
                open.len()
            )
        });
        let request = format!("GET /hello/hello HTTP/1.1\r\nhost: {authority}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        open.push(stream);
    }
    row("10,000 idle connections", resident_kib(server.pid()) - before);
}

fn row(what: &str, kib: u64) {
    println!("| {what} | {:.1} |", kib as f64 / 1024.0);
}
