//! Requests while swaps go on: throughput, processor time and the latest answers, with and without.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use crate::{
    pages::Page,
    support::{Client, Server, Tree},
    table::per_mille,
};

const CONNECTIONS: usize = 16;
const WINDOW: Duration = Duration::from_secs(8);
const PAUSE: Duration = Duration::from_millis(100);

/// What was seen of one window.
pub struct Seen {
    pub requests: usize,
    pub seconds: f64,
    pub processor_ms: f64,
    /// Milliseconds of each request.
    pub latencies: Vec<f64>,
}

pub fn run() {
    let tree = Tree::empty();
    let mut page = Page::new(0, 100);
    for other in 1..5 {
        tree.put(format!("pages/p{other}.wasm"), Page::new(other, 100).component());
    }
    tree.put("pages/p0.wasm", page.component());
    let server = Server::start(tree.root());
    println!(
        "\n| {CONNECTIONS} connections on a group of 5 | requests/s | µs of processor each | p99.9 ms | latest ms |"
    );
    println!("| --- | --- | --- | --- | --- |");
    for _ in 0..2 {
        show("no swaps", window(&server, || pause(PAUSE)));
        let swapping = window(&server, || {
            page.code += 1;
            let component = page.component();
            pause(PAUSE);
            tree.put("pages/p0.wasm", component);
        });
        show("a swap each 100 ms", swapping);
    }
}

fn show(what: &str, mut seen: Seen) {
    let rate = seen.requests as f64 / seen.seconds;
    let each = seen.processor_ms * 1e3 / seen.requests as f64;
    let late = per_mille(&mut seen.latencies, 999);
    let latest = per_mille(&mut seen.latencies, 1000);
    println!("| {what} | {rate:.0} | {each:.1} | {late:.2} | {latest:.2} |");
}

fn window(server: &Server, mut meanwhile: impl FnMut()) -> Seen {
    let over = AtomicBool::new(false);
    let (began, before) = (Instant::now(), processor_ms(server.pid()));
    let url = server.url();
    let latencies: Vec<f64> = std::thread::scope(|scope| {
        let ask = || {
            let mut client = Client::new(url);
            let mut latencies = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let asked = Instant::now();
                assert_eq!(client.get("/pages/p0").status, 200);
                latencies.push(asked.elapsed().as_secs_f64() * 1e3);
            }
            latencies
        };
        let clients: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(ask)).collect();
        while began.elapsed() < WINDOW {
            meanwhile();
        }
        over.store(true, Ordering::Relaxed);
        clients
            .into_iter()
            .flat_map(|client| client.join().unwrap())
            .collect()
    });
    Seen {
        requests: latencies.len(),
        seconds: began.elapsed().as_secs_f64(),
        processor_ms: processor_ms(server.pid()) - before,
        latencies,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the time between two swaps is what is varied"
)]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// User and system time of a process so far.
fn processor_ms(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = [11, 12]
        .iter()
        .map(|at| fields[*at].parse::<f64>().unwrap())
        .sum();
    ticks * 10.0
}
