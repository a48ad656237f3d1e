//! One component of a group changes: what the swap takes, and when the first answer by the new code comes.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    pages::Page,
    support::{Client, Server, Tree, engines},
    table::{head, row},
};

const TIMES: u32 = 10;

pub fn run() {
    head("one change, ms.total without ms.detect");
    group("5 pages of 100 KiB", 5, 100);
    group("65: one of 100 KiB, 64 of 175 KiB", 65, 175);
    restart();
}

fn group(name: &str, pages: u32, kib: u32) {
    let tree = Tree::empty();
    tree.put("wasmhost.toml", "[groups.pages.limits]\nmemory = \"256MiB\"\n");
    for page in 1..pages {
        tree.put(format!("pages/p{page}.wasm"), Page::new(page, kib).component());
    }
    let mut page = Page::new(0, 100);
    tree.put("pages/p0.wasm", page.component());
    println!("<!-- {name}: p0 has {} KiB -->", page.component().len() / 1024);
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    let mut measure = |what: &str, change: fn(&mut Page, u32)| {
        let (mut total, mut first, mut commit, mut functions) = (vec![], vec![], vec![], vec![]);
        for time in 0..=TIMES {
            change(&mut page, time + 2);
            let component = page.component();
            settle();
            tree.put("pages/p0.wasm", component);
            let answered = first_answer(&mut client, &page.answer());
            let swapped = server.wait("swapped");
            if time == 0 {
                // The first change of a kind lays the caches out.
                continue;
            }
            first.push(answered);
            total.push(ms(&swapped, "total") - ms(&swapped, "detect"));
            commit.push(ms(&swapped, "commit"));
            functions.push(swapped["functions_compiled"].as_f64().unwrap());
        }
        row(&format!("{name}: {what}"), "ms", &total);
        row("– functions compiled", "", &functions);
        row("– complete on disk to first new answer", "ms", &first);
        row("– commit", "ms", &commit);
    };
    measure("one function", |page, value| page.code = value);
    measure("data alone", |page, value| page.data = value);
    measure("every function", |page, value| page.everywhere = value);
}

/// Asks until the new code answers: how long that took, in milliseconds.
fn first_answer(client: &mut Client, expected: &[u8]) -> f64 {
    let began = Instant::now();
    loop {
        let reply = client.get("/pages/p0");
        assert_eq!(reply.status, 200);
        if reply.body == expected {
            return began.elapsed().as_secs_f64() * 1e3;
        }
    }
}

fn ms(swapped: &Value, stage: &str) -> f64 {
    swapped["ms"][stage].as_f64().unwrap()
}

/// Lets what the last swap left to do come to an end.
#[expect(
    clippy::disallowed_methods,
    reason = "a measure begins at rest, which nothing tells"
)]
fn settle() {
    std::thread::sleep(Duration::from_millis(150));
}

/// 200 components: the first start, and those that find all compiled.
fn restart() {
    let tree = Tree::empty();
    for page in 0..200 {
        tree.put(
            format!("g{}/p{page}.wasm", page / 20),
            Page::new(page, 100).component(),
        );
    }
    let start = || {
        let began = Instant::now();
        let server = Server::start(tree.root());
        let took = began.elapsed().as_secs_f64() * 1e3;
        settle();
        server.signal("TERM");
        let (status, ..) = server.ended();
        assert!(status.success());
        took
    };
    row(
        "200 components of 100 KiB in 10 groups: cold start",
        "ms",
        &[start()],
    );
    let warm: Vec<f64> = (0..TIMES).map(|_| start()).collect();
    row("– restart on a warm cache", "ms", &warm);
}

/// JavaScript and Python pages: one line of one changes.
pub fn engines() {
    if !engines::available() {
        return println!("the tools that make such pages are not to be had here");
    }
    head("pages with an engine");
    let tree = Tree::empty();
    tree.put("wasmhost.toml", "[groups.pages.limits]\nmemory = \"256MiB\"\n");
    type Make = fn(&str) -> Vec<u8>;
    let kinds: [(&str, Make); 2] = [("js", engines::js_page), ("python", engines::python_page)];
    for (kind, make) in kinds {
        tree.put(format!("pages/{kind}-one.wasm"), make("One"));
        tree.put(format!("pages/{kind}-two.wasm"), make("Two"));
    }
    let began = Instant::now();
    let mut server = Server::start(tree.root());
    row(
        "cold start with two of each",
        "ms",
        &[began.elapsed().as_secs_f64() * 1e3],
    );
    for (kind, make) in kinds {
        let (mut total, mut functions) = (vec![], vec![]);
        for time in 0..4 {
            let component = make(&format!("Edit {time}"));
            settle();
            tree.put(format!("pages/{kind}-one.wasm"), component);
            let swapped = server.wait("swapped");
            total.push(ms(&swapped, "total") - ms(&swapped, "detect"));
            functions.push(swapped["functions_compiled"].as_f64().unwrap());
        }
        row(&format!("a one-line edit of a {kind} page"), "ms", &total);
        row("– functions compiled", "", &functions);
    }
}
