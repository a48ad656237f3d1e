//! wasmhost: a hot-swap runtime for WebAssembly components.
//!
//! The modules in reading order, which is the order of the pipeline and of imports: a module imports
//! only from those above it. See `ARCHITECTURE.md`.

// What a user must be told.
pub mod diagnostic;

// What limits on time go by.
pub mod clock;

// Lines to follow as they come.
pub mod feed;

// What is logged, and where to.
pub mod logging;

// Spans of requests and swaps.
pub mod tracer;

// The tree and the manifest, as understood.
pub mod project;

// Where NATS keeps what is ours.
pub mod bucket;

// Keys and values that outlive generations.
pub mod keyvalue;

// What the server proves itself with.
pub mod certificate;

// Sources into components.
pub mod build;

// New projects from templates.
pub mod scaffold;

// The one wasmtime engine.
pub mod engine;

// What a guest may reach.
pub mod host;

// What is served without a guest.
pub mod files;

// A group's components, linked and compiled.
pub mod artifact;

// What the server counts.
pub mod metrics;

// A running artifact.
pub mod generation;

// A group made ready to be served.
pub mod prepare;

// Good contents on disk, for after a restart.
pub mod kept;

// Which page of which generation answers a path.
pub mod router;

// What the control plane tells all others.
pub mod status;

// What operators ask of the control plane.
pub mod orders;

// What a tree consists of, and what is wrong with it.
pub mod analysis;

// What open pages are told in dev.
pub mod browser;

// Sockets and HTTP.
pub mod server;

// Changes in, swaps out.
pub mod reload;

// Steering a running server.
pub mod admin;

// What a service manager is told.
pub mod service;

// Sources followed and built.
pub mod dev;

// Trees as artifacts of a registry.
pub mod release;

// Servers that swap as one.
pub mod fleet;

// Everything put together.
pub mod app;

// What a swap does to a tree, tried out.
pub mod testing;

// Arguments in, text and exit codes out.
pub mod cli;
