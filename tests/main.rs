//! One test binary: it runs the real `wasmhost` on real components, built from `components/` by the
//! `wasmhost` under test. One file, one behaviour.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it found"
)]

mod support;

mod admin;
mod bad_input;
mod bodies;
mod book;
mod broken_files;
mod caches;
mod check;
mod checkpoints;
mod conformance;
mod container;
mod crash;
mod dashboard;
mod detection;
mod dev;
mod engines;
mod events;
mod fleet;
mod fleet_simulation;
mod fuzz;
mod grants;
mod handlers;
mod hostile;
mod http1;
mod http2;
mod identity;
mod journal;
mod keyvalue;
mod kit;
mod linker;
mod linking;
mod listeners;
mod live_reload;
mod metrics;
mod migration;
mod outgoing;
mod outgoing_tls;
mod policies;
mod probation;
mod recipe;
mod references;
mod releases;
mod restart;
mod routes;
mod shutdown;
mod simulation;
mod site;
mod slow_clients;
mod spans;
mod static_files;
mod steering;
mod takeover;
mod tidy;
mod time;
mod tls;
mod tutorial;
mod wasi03;
