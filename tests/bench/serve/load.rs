//! One window of load on one contender.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{contenders::Contender, process::processor_ms};

/// What was seen of one window.
#[derive(Clone, Copy)]
pub struct Seen {
    pub requests_per_second: f64,
    /// Processor time of the server, in microseconds.
    pub processor_us: f64,
}

/// True where the program that makes the load is there.
pub fn available() -> bool {
    let asked = Command::new("wrk")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    asked.is_ok()
}

/// Asks for as long as `window`. Any answer but a good one ends the benchmark.
pub fn run(contender: &Contender, connections: u32, window: Duration) -> Seen {
    let (began, before) = (Instant::now(), processor_ms(contender.pid));
    let output = Command::new("wrk")
        .arg("--threads=1")
        .arg(format!("--connections={connections}"))
        .arg(format!("--duration={}s", window.as_secs()))
        .arg(&contender.url)
        .output()
        .unwrap();
    let seconds = began.elapsed().as_secs_f64();
    let used = processor_ms(contender.pid) - before;
    let text = String::from_utf8(output.stdout).unwrap();
    let bad = text.contains("Non-2xx") || text.contains("Socket errors");
    assert!(output.status.success() && !bad, "{}: {text}", contender.name);
    let requests = requests(&text);
    Seen {
        requests_per_second: requests / seconds,
        processor_us: used * 1e3 / requests,
    }
}

/// From the line `12345 requests in 5.00s, 1.2MB read`.
fn requests(text: &str) -> f64 {
    let line = text.lines().find(|line| line.contains(" requests in ")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
