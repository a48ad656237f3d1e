//! Many connections at once, for a minute: no request may fail. Each asks for a page and nothing else, again
//! and again, in a group that keeps its state.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use crate::{contenders, process::resident_kib};

const CONNECTIONS: u32 = 2_000;
const WINDOW: Duration = Duration::from_secs(60);

pub fn run() {
    let server = contenders::shared_page();
    let before = resident_kib(server.pid);
    let output = Command::new("wrk")
        .args(["--threads=1", "--latency", "--timeout=10s"])
        .arg(format!("--connections={CONNECTIONS}"))
        .arg(format!("--duration={}s", WINDOW.as_secs()))
        .arg(&server.url)
        .stdin(Stdio::null())
        .output()
        .expect("the load comes from `wrk`: install it first");
    let text = String::from_utf8(output.stdout).unwrap();
    let failed = text.contains("Non-2xx") || text.contains("Socket errors");
    assert!(output.status.success() && !failed, "{text}");
    // What is left of wrk's report: requests, their rate, and how long they took.
    let told = ["requests in", "Requests/sec", "50%", "99%", "Latency  "];
    println!(
        "| {CONNECTIONS} connections, {} s | |\n| --- | --- |",
        WINDOW.as_secs()
    );
    println!("| requests that failed | 0 |");
    for line in text
        .lines()
        .filter(|line| told.iter().any(|told| line.contains(told)))
    {
        let words: Vec<_> = line.split_whitespace().collect();
        println!("| wrk | {} |", words.join(" "));
    }
    let growth = resident_kib(server.pid).saturating_sub(before);
    println!("| memory more than before, MB | {:.1} |", growth as f64 / 1024.0);
}
