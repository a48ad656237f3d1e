//! Requests while swaps go on: throughput, processor time and the latest answers, with and without.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use crate::{
    pages::Page,
    process::processor_ms,
    support::{Client, Server, Tree},
    table::{median, per_mille},
};

const CONNECTIONS: usize = 16;
const WINDOW: Duration = Duration::from_secs(8);
const WINDOWS: u32 = 5;
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
    let (mut quiet, mut swapping) = (vec![], vec![]);
    for _ in 0..WINDOWS {
        quiet.push(show("no swaps", window(&server, || pause(PAUSE))));
        // Made before: to make one takes longer than to swap it.
        let most = WINDOW.as_millis() / PAUSE.as_millis();
        let components: Vec<_> = (0..=most).map(|_| page.next_component()).collect();
        let mut components = components.into_iter();
        let seen = window(&server, || {
            pause(PAUSE);
            tree.put("pages/p0.wasm", components.next().expect("one for each pause"));
        });
        swapping.push(show("a swap each 100 ms", seen));
    }
    let share = median(&swapping) / median(&quiet);
    println!("\nRequests a second with swaps against those without, medians of {WINDOWS}: {share:.3}");
}

/// Shows a row. Returns the requests of a second.
fn show(what: &str, mut seen: Seen) -> f64 {
    let rate = seen.requests as f64 / seen.seconds;
    let each = seen.processor_ms * 1e3 / seen.requests as f64;
    let late = per_mille(&mut seen.latencies, 999);
    let latest = per_mille(&mut seen.latencies, 1000);
    println!("| {what} | {rate:.0} | {each:.1} | {late:.2} | {latest:.2} |");
    rate
}

/// Requests from one thread, so that the server has the other core, while `meanwhile` is done again and
/// again.
fn window(server: &Server, mut meanwhile: impl FnMut()) -> Seen {
    let over = AtomicBool::new(false);
    let (began, before) = (Instant::now(), processor_ms(server.pid()));
    let url = server.url();
    let latencies: Vec<f64> = std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(url, &over));
        while began.elapsed() < WINDOW {
            meanwhile();
        }
        over.store(true, Ordering::Relaxed);
        asking.join().unwrap()
    });
    Seen {
        requests: latencies.len(),
        seconds: began.elapsed().as_secs_f64(),
        processor_ms: processor_ms(server.pid()) - before,
        latencies,
    }
}

/// One request on each connection, then all their answers, and again. Returns the milliseconds of each.
fn ask(url: &str, over: &AtomicBool) -> Vec<f64> {
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| Client::new(url)).collect();
    let mut latencies = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let mut asked = Vec::new();
        for client in &mut clients {
            asked.push(Instant::now());
            client.send("GET", "/pages/p0", &[], b"").unwrap();
        }
        for (client, asked) in std::iter::zip(&mut clients, asked) {
            assert_eq!(client.receive(false).unwrap().status, 200);
            latencies.push(asked.elapsed().as_secs_f64() * 1e3);
        }
    }
    latencies
}

#[expect(
    clippy::disallowed_methods,
    reason = "the time between two swaps is what is varied"
)]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
