//! Pages that carry the engine of their language: starts with few and many, and one-line edits.

use std::time::Instant;

use crate::{
    edits::{TIMES, functions, settle, total},
    support::{Server, Tree, engines},
    table::{head, row},
};

type Make = fn(&str) -> Vec<u8>;
const KINDS: [(&str, Make); 2] = [("JavaScript", engines::js_page), ("Python", engines::python_page)];

pub fn run() {
    if !engines::available() {
        return println!("the tools that make such pages are not to be had here");
    }
    head("pages with an engine");
    let (_, _, few) = start(1);
    let (tree, server, many) = start(10);
    edits(&tree, server);
    println!(
        "\nA cold start with ten of each against one of each: {:.2}",
        many / few
    );
}

/// A server that has so many pages of each kind, and nothing compiled before; and how many milliseconds it
/// took to be ready.
fn start(pages: u32) -> (Tree, Server, f64) {
    let tree = Tree::empty();
    tree.put("wasmhost.toml", "[groups.pages.limits]\nmemory = \"1GiB\"\n");
    for (kind, make) in KINDS {
        for page in 0..pages {
            tree.put(
                format!("pages/{kind}{page}.wasm").to_lowercase(),
                make(&format!("Page {page}")),
            );
        }
    }
    let began = Instant::now();
    let server = Server::start(tree.root());
    let took = began.elapsed().as_secs_f64() * 1e3;
    row(&format!("cold start with {pages} of each"), "ms", &[took]);
    (tree, server, took)
}

fn edits(tree: &Tree, mut server: Server) {
    for (kind, make) in KINDS {
        let (mut totals, mut compiled) = (vec![], vec![]);
        for time in 0..TIMES {
            // Each longer than the one before, so that the engine's memory grows too.
            let component = make(&format!("Edit {time}{}", "!".repeat(10_000 * time as usize)));
            settle();
            tree.put(format!("pages/{kind}0.wasm").to_lowercase(), component);
            let swapped = server.wait("swapped");
            totals.push(total(&swapped));
            compiled.push(functions(&swapped));
        }
        row(&format!("a one-line edit of a {kind} page"), "ms", &totals);
        row("– functions compiled", "", &compiled);
    }
}
