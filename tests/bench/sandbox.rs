//! What guests that mean harm cost others: the latency of one group while another loops in 32 requests, and
//! what 10,000 traps leave behind.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, spawn},
    time::{Duration, Instant},
};

use crate::{
    load::pause,
    process::sizes,
    support::{Server, Tree, guests, wat_site},
    table::{median, per_mille},
};

const LOOPS: usize = 32;
const WINDOW: Duration = Duration::from_secs(4);
const TRAPS: usize = 10_000;

pub fn run() {
    neighbours();
    traps();
}

fn neighbours() {
    println!("\n| asked each ms on 2 connections | median ms | p99 ms | latest ms | p99 against quiet |");
    println!("| --- | --- | --- | --- | --- |");
    for (name, instances) in [
        ("shared", "\"shared\""),
        ("a pool of 32", "{ pool = 32 }"),
        ("isolated", "\"isolated\""),
    ] {
        let tree = Tree::empty();
        tree.put("calm/page.wat", wat_site::page(1, ""));
        tree.put(
            "odd/misbehave.wasm",
            std::fs::read(guests().join("misbehave.wasm")).unwrap(),
        );
        tree.put(
            "wasmhost.toml",
            format!("[groups.odd]\ninstances = {instances}\nlimits.request-time = \"1s\"\n"),
        );
        let server = Server::start(tree.root());
        let quiet = show(name, "quiet", window(&server), None);
        let stop = Arc::new(AtomicBool::new(false));
        let loops: Vec<_> = (0..LOOPS).map(|_| looping(&server, stop.clone())).collect();
        // Until all have begun.
        pause(Duration::from_secs(1));
        show(name, "32 loops beside it", window(&server), Some(quiet));
        stop.store(true, Ordering::Relaxed);
        for thread in loops {
            thread.join().unwrap();
        }
    }
}

/// Loops again as soon as it was ended.
fn looping(server: &Server, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    let mut client = server.client();
    spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let status = client.get("/odd/misbehave?loop").status;
            assert!([504, 503].contains(&status), "{status}");
        }
    })
}

/// Milliseconds of each request to the other group.
fn window(server: &Server) -> Vec<f64> {
    let ask = |_| {
        let mut client = server.client();
        spawn(move || {
            let (mut latencies, end) = (Vec::new(), Instant::now() + WINDOW);
            while Instant::now() < end {
                let began = Instant::now();
                assert_eq!(wat_site::version(&mut client, "calm"), 1);
                latencies.push(began.elapsed().as_secs_f64() * 1e3);
                pause(Duration::from_millis(1));
            }
            latencies
        })
    };
    let threads: Vec<_> = (0..2).map(ask).collect();
    threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .collect()
}

/// Shows a row. Returns the 99th percentile.
fn show(policy: &str, what: &str, mut latencies: Vec<f64>, quiet: Option<f64>) -> f64 {
    let p99 = per_mille(&mut latencies, 990);
    let against = quiet.map_or("–".to_owned(), |quiet| format!("{:.2}", p99 / quiet));
    println!(
        "| {policy}: {what} | {:.2} | {p99:.2} | {:.2} | {against} |",
        median(&latencies),
        per_mille(&mut latencies, 1000)
    );
    p99
}

fn traps() {
    let tree = Tree::example();
    tree.put(
        "shop/odd.wasm",
        std::fs::read(guests().join("misbehave.wasm")).unwrap(),
    );
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    let (mut trapped, mut next, mut recovered) = (vec![], vec![], vec![]);
    let mut before = None;
    for count in 0..TRAPS {
        // The first hundred are for the caches.
        if count == 100 {
            before = Some(sizes(server.pid()));
        }
        let began = Instant::now();
        assert_eq!(client.get("/shop/odd?trap").status, 500);
        trapped.push(began.elapsed().as_secs_f64() * 1e3);
        let began = Instant::now();
        assert_eq!(client.get("/").status, 200);
        next.push(began.elapsed().as_secs_f64() * 1e3);
        let moment = |event: &serde_json::Value| -> jiff::Timestamp {
            event["time"].as_str().unwrap().parse().unwrap()
        };
        let (died, lives) = (server.wait("trapped"), server.wait("recovered"));
        recovered.push(moment(&lives).duration_since(moment(&died)).as_secs_f64() * 1e3);
    }
    println!("\n| {TRAPS} traps of the example's group | median ms | p99 ms | latest ms |");
    println!("| --- | --- | --- | --- |");
    for (name, mut values) in [
        ("the answer 500", trapped),
        ("the front page, right after it", next),
        ("from the trap to a new store", recovered),
    ] {
        let (p99, latest) = (per_mille(&mut values, 990), per_mille(&mut values, 1000));
        println!("| {name} | {:.2} | {p99:.2} | {latest:.2} |", median(&values));
    }
    println!("\n| | after 100 traps | after {TRAPS} |\n| --- | --- | --- |");
    for ((name, before), (_, after)) in before.unwrap().into_iter().zip(sizes(server.pid())) {
        println!("| {name} | {before} | {after} |");
    }
}
