//! The commands that steer a running server: one order each, over its admin socket.

use std::{collections::BTreeMap, process::ExitCode};

use serde_json::{Value, json};

use super::{print, records, runtime, state::StateDir};
use crate::{admin::Client, diagnostic::Diagnostic};

/// Serve what lies on disk now, and tell what came of it.
///
/// This is how a server that was started with --frozen swaps. Exit code 1 where something is refused.
#[derive(clap::Args)]
pub struct Swap {
    #[command(flatten)]
    state_dir: StateDir,
    /// Only this group.
    group: Option<String>,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

/// Have the server finish what runs and end, and wait until it has.
#[derive(clap::Args)]
pub struct Drain {
    #[command(flatten)]
    state_dir: StateDir,
}

pub fn swap(arguments: Swap) -> Result<ExitCode, Vec<Diagnostic>> {
    let Swap {
        state_dir,
        group,
        json,
    } = arguments;
    let answer = runtime()?.block_on(async {
        let mut client = connect(&state_dir).await?;
        client.post("/v1/swap", &json!({ "group": group })).await
    })?;
    let groups = answer["groups"].as_object().into_iter().flatten();
    let groups: BTreeMap<&String, &Value> = groups.collect();
    print(&if json {
        format!("{answer}\n")
    } else {
        groups.iter().map(|(name, outcome)| told(name, outcome)).collect()
    })?;
    let is_refused = groups.values().any(|outcome| !outcome["rejected"].is_null());
    Ok(ExitCode::from(u8::from(is_refused)))
}

/// What became of one group, on lines of its own.
fn told(name: &str, outcome: &Value) -> String {
    if !outcome["rejected"].is_null() {
        return format!("{}\n", records::refusal(&outcome["rejected"]));
    }
    match (outcome["from"].as_u64(), outcome["generation"].as_u64()) {
        (Some(from), Some(now)) if from == now => format!("{name}@{now} is what lies on disk\n"),
        (Some(from), Some(now)) => format!("{name}@{now} serves, in the place of {name}@{from}\n"),
        (None, Some(now)) => format!("{name}@{now} serves\n"),
        (Some(_), None) => format!("{name} has no component any more\n"),
        (None, None) => format!("{name}: nothing to serve yet\n"),
    }
}

pub fn drain(arguments: Drain) -> Result<ExitCode, Vec<Diagnostic>> {
    let Drain { state_dir } = arguments;
    runtime()?.block_on(async {
        let mut client = connect(&state_dir).await?;
        client.post("/v1/drain", &json!({})).await?;
        client.ended().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Errors: no server answers.
pub async fn connect(state_dir: &StateDir) -> Result<Client, Vec<Diagnostic>> {
    let folder = state_dir.path();
    let client = Client::connect(&folder).await.map_err(|error| vec![error])?;
    client.ok_or_else(|| {
        let message = format!("no server answers in {}", folder.display());
        let help = "start one with `wasmhost serve`, or name its state directory with --state-dir DIR, or the \
                    folder that it serves with --root ROOT";
        vec![Diagnostic::new("server-missing", message).file(folder).help(help).machine()]
    })
}

/// What the server itself says of its groups; `None` where none answers.
pub fn status(state_dir: &StateDir) -> Result<Option<Value>, Vec<Diagnostic>> {
    runtime()?.block_on(async {
        let client = Client::connect(&state_dir.path()).await;
        match client.map_err(|error| vec![error])? {
            Some(mut client) => client.get("/v1/status").await.map(Some),
            None => Ok(None),
        }
    })
}
