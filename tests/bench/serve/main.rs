//! What a request costs, beside a plain hyper server and `wasmtime serve` (where it is on PATH), in one
//! interleaved run. The load is `wrk`'s.
//!
//! ```sh
//! cargo bench --bench serve                                        # the table
//! cargo bench --bench serve -- --rounds 1 --seconds 2 --only page  # a quick look at some
//! cargo bench --bench serve -- memory                              # idle groups and idle connections
//! cargo bench --bench serve -- many                                # 2,000 connections for a minute
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark fails by panicking"
)]
#![allow(clippy::print_stdout, reason = "the table is for standard output")]

mod contenders;
mod load;
mod many;
mod memory;
mod plain;
#[allow(dead_code, reason = "shared with the other benchmark, which uses all of it")]
#[path = "../process.rs"]
mod process;
#[allow(
    dead_code,
    unused_imports,
    reason = "shared with the tests, which use all of it"
)]
#[path = "../../support/mod.rs"]
mod support;
mod table;

use std::time::Duration;

/// What is measured, and for how long.
struct Settings {
    rounds: usize,
    window: Duration,
    connections: Vec<u32>,
    /// A part of the names of those that run; plain hyper always does.
    only: Option<String>,
}

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    match arguments.first().map(String::as_str) {
        Some(plain::ARGUMENT) => plain::serve(),
        Some("memory") => memory::run(),
        Some("many") => many::run(),
        _ => compare(&Settings::read(&arguments)),
    }
}

impl Settings {
    fn read(arguments: &[String]) -> Self {
        let value = |name: &str| {
            let place = arguments.iter().position(|argument| argument == name)?;
            Some(arguments.get(place + 1).expect("a value").as_str())
        };
        let number = |text: &str| text.parse::<u32>().expect("a number");
        Self {
            rounds: value("--rounds").map_or(5, |text| number(text) as usize),
            window: Duration::from_secs(value("--seconds").map_or(5, |text| number(text).into())),
            connections: value("--connections")
                .unwrap_or("1,32,128")
                .split(',')
                .map(number)
                .collect(),
            only: value("--only").map(Into::into),
        }
    }
}

/// Every contender once in each round, so that whatever else the machine does hits all alike.
fn compare(settings: &Settings) {
    assert!(load::available(), "the load comes from `wrk`: install it first");
    let contenders = contenders::all(settings.only.as_deref());
    for &connections in &settings.connections {
        let mut seen = vec![Vec::new(); contenders.len()];
        for _ in 0..settings.rounds {
            for (contender, seen) in contenders.iter().zip(&mut seen) {
                seen.push(load::run(contender, connections, settings.window));
            }
        }
        table::show(&contenders, &seen, connections);
    }
}
