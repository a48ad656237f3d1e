//! Starts of a server: the first one of a tree, and those that find all compiled.

use std::time::Instant;

use crate::{
    edits::{TIMES, settle},
    pages::Page,
    support::{Server, Tree},
    table::{head, row},
};

pub fn run() {
    head("200 components of 100 KiB in 10 groups");
    let tree = Tree::empty();
    for page in 0..200 {
        tree.put(
            format!("g{}/p{page}.wasm", page / 20),
            Page::new(page, 100).component(),
        );
    }
    row("cold start to ready", "ms", &[start(&tree)]);
    let warm: Vec<f64> = (0..TIMES).map(|_| start(&tree)).collect();
    row("restart on a warm cache to ready", "ms", &warm);
}

/// Starts a server and ends it. Returns the milliseconds until it was ready.
fn start(tree: &Tree) -> f64 {
    let began = Instant::now();
    let server = Server::start(tree.root());
    let took = began.elapsed().as_secs_f64() * 1e3;
    settle();
    server.signal("TERM");
    let (status, ..) = server.ended();
    assert!(status.success());
    took
}
