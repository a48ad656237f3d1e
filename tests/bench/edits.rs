//! One component of a group changes: what the swap takes, and when the first answer by the new code comes.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    pages::Page,
    support::{Client, Server, Tree},
    table::{head, median, row},
};

pub const TIMES: u32 = 10;

/// What of a swap is shown beside its total: most of the time is in these.
const STAGES: [&str; 5] = ["read", "link", "compile", "instantiate", "load"];

pub fn run() {
    head("one change, ms.total without ms.detect");
    let small = group("5 pages of 100 KiB", 5, 100);
    let large = group("65: one of 100 KiB, 64 of 175 KiB", 65, 175);
    println!(
        "\nOne function in a group of 65 against one of 5: {:.2}",
        large / small
    );
}

/// One page of a group changes. Returns the median for one function.
fn group(name: &str, pages: u32, kib: u32) -> f64 {
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
        let (mut swaps, mut first) = (vec![], vec![]);
        for time in 0..=TIMES {
            change(&mut page, time + 2);
            let component = page.component();
            settle();
            tree.put("pages/p0.wasm", component);
            let answered = first_answer(&mut client, &page.answer());
            let swapped = server.wait("swapped");
            // The first change of a kind lays the caches out.
            if time > 0 {
                first.push(answered);
                swaps.push(swapped);
            }
        }
        show(&format!("{name}: {what}"), &swaps);
        row("– complete on disk to first new answer", "ms", &first);
        median(&totals(&swaps))
    };
    let one = measure("one function", |page, value| page.code = value);
    measure("data alone", |page, value| page.data = value);
    measure("every function", |page, value| page.everywhere = value);
    one
}

fn show(name: &str, swaps: &[Value]) {
    row(name, "ms", &totals(swaps));
    for stage in STAGES {
        row(&format!("– {stage}"), "ms", &each(swaps, |swap| ms(swap, stage)));
    }
    let without = each(swaps, |swap| total(swap) - ms(swap, "compile"));
    row("– all but compile", "ms", &without);
    row("– commit", "ms", &each(swaps, |swap| ms(swap, "commit")));
    row("– functions compiled", "", &each(swaps, functions));
}

fn totals(swaps: &[Value]) -> Vec<f64> {
    each(swaps, total)
}

fn each(swaps: &[Value], value: impl Fn(&Value) -> f64) -> Vec<f64> {
    swaps.iter().map(value).collect()
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

/// What a swap took from when its change was read on.
pub fn total(swapped: &Value) -> f64 {
    ms(swapped, "total") - ms(swapped, "detect")
}

pub fn functions(swapped: &Value) -> f64 {
    swapped["functions_compiled"].as_f64().unwrap()
}

fn ms(swapped: &Value, stage: &str) -> f64 {
    swapped["ms"][stage].as_f64().unwrap()
}

/// Lets what the last swap left to do come to an end.
#[expect(
    clippy::disallowed_methods,
    reason = "a measure begins at rest, which nothing tells"
)]
pub fn settle() {
    std::thread::sleep(Duration::from_millis(150));
}
