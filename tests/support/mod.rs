//! What the tests share: trees of components, servers that run on them, and a client.

mod browser;
mod certificate;
mod client;
pub mod engines;
mod gated;
mod golden;
pub mod http2;
mod registry;
mod server;
mod skip;
mod sources;
mod sources_tree;
mod tools;
mod tree;
pub mod wat_site;
pub mod wit;

pub use browser::Browser;
pub use certificate::{Authority, Certificate};
pub use client::{Client, Reply, connect};
pub use gated::{Gated, assert_broken};
pub use golden::{golden, goldens};
pub use registry::{Registry, SECRET, WRONG};
pub use server::Server;
pub use skip::{skipped, unprivileged};
pub use sources::{example, guests, variant};
pub use sources_tree::SourceTree;
pub use tools::Tool;
pub use tree::{Tree, touched};

use std::time::Duration;

/// How long anything may take before a test gives up: a bound for what hangs, never a measure.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// An address of this machine on which nobody listens.
pub fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// The program under test.
pub fn wasmhost() -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_wasmhost"));
    command
        .env("NO_COLOR", "1")
        .env_remove("WASMHOST_LOG")
        .env_remove("SSL_CERT_FILE")
        .env_remove("RUST_BACKTRACE");
    command
}
