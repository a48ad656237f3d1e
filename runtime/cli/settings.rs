//! The commands that change how a running server does its work: whether it follows the tree, and how much
//! it logs.

use std::process::ExitCode;

use serde_json::json;

use super::{
    runtime,
    state::StateDir,
    steer::{connect, order, tell},
};
use crate::diagnostic::Diagnostic;

/// Have the server take no change of the tree before it is asked for: what serves goes on.
#[derive(clap::Args)]
pub struct Freeze {
    #[command(flatten)]
    state_dir: StateDir,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

/// Have the server follow the tree again, and take what changed meanwhile.
#[derive(clap::Args)]
pub struct Unfreeze {
    #[command(flatten)]
    state_dir: StateDir,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

/// Show how much the server logs, or change it until it ends.
#[derive(clap::Args)]
pub struct Log {
    #[command(flatten)]
    state_dir: StateDir,
    /// error, warn, info, debug or trace; or by module: "info,wasmhost::server=debug".
    level: Option<String>,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn freeze(arguments: &Freeze) -> Result<ExitCode, Vec<Diagnostic>> {
    let Freeze { state_dir, json } = arguments;
    let text = "frozen: the tree is not followed; `wasmhost swap` takes what lies there";
    tell(*json, &order(state_dir, "/v1/freeze", &json!({}))?, || {
        text.into()
    })
}

pub fn unfreeze(arguments: &Unfreeze) -> Result<ExitCode, Vec<Diagnostic>> {
    let Unfreeze { state_dir, json } = arguments;
    let answer = order(state_dir, "/v1/unfreeze", &json!({}))?;
    tell(*json, &answer, || "the tree is followed again".into())
}

pub fn log(arguments: &Log) -> Result<ExitCode, Vec<Diagnostic>> {
    let Log {
        state_dir,
        level,
        json,
    } = arguments;
    let answer = match level {
        Some(level) => order(state_dir, "/v1/log", &json!({ "level": level }))?,
        None => runtime()?.block_on(async { connect(state_dir).await?.get("/v1/log").await })?,
    };
    tell(*json, &answer, || {
        answer["level"].as_str().unwrap_or_default().into()
    })
}
