//! wasmhost: a hot-swap runtime for WebAssembly components.
//!
//! The modules in reading order, which is the order of the pipeline and of imports: a module imports
//! only from those above it. See `ARCHITECTURE.md`.

pub mod app;
pub mod artifact;
pub mod build;
pub mod cli;
pub mod diagnostic;
pub mod engine;
pub mod generation;
pub mod host;
pub mod project;
pub mod reload;
pub mod router;
pub mod server;
pub mod status;
