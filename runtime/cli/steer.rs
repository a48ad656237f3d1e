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

/// Serve a content of a group that served before.
///
/// What lies on disk is not served before it changes, or is asked for with `wasmhost swap`. The last contents are
/// kept in the state directory, so that this works after a restart, and when their files are gone.
#[derive(clap::Args)]
pub struct Rollback {
    #[command(flatten)]
    state_dir: StateDir,
    group: String,
    /// The number of a generation since the server's start, or the beginning of a content's digest. The newest
    /// other content, where it is not given.
    generation: Option<String>,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

/// Have what serves of a group stay, whatever lies on disk, also after a restart.
#[derive(clap::Args)]
pub struct Pin {
    #[command(flatten)]
    state_dir: StateDir,
    group: String,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

/// Follow what lies on disk of a group again.
#[derive(clap::Args)]
pub struct Unpin {
    #[command(flatten)]
    state_dir: StateDir,
    group: String,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

/// Have the server finish what runs and end, and wait until it has.
#[derive(clap::Args)]
pub struct Drain {
    #[command(flatten)]
    state_dir: StateDir,
    /// The answer as JSON, once it has ended
    #[arg(long)]
    json: bool,
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

pub fn rollback(arguments: Rollback) -> Result<ExitCode, Vec<Diagnostic>> {
    let Rollback {
        state_dir,
        group,
        generation,
        json,
    } = arguments;
    let body = json!({ "group": group, "generation": generation });
    let answer = order(&state_dir, "/v1/rollback", &body)?;
    tell(json, &answer, || {
        let now = &answer["generation"];
        match answer["from"].as_u64() {
            Some(from) => format!("{group}@{now} serves an older content, in the place of {group}@{from}"),
            None => format!("{group}@{now} serves"),
        }
    })
}

pub fn pin(arguments: Pin) -> Result<ExitCode, Vec<Diagnostic>> {
    let Pin {
        state_dir,
        group,
        json,
    } = arguments;
    let answer = order(&state_dir, "/v1/pin", &json!({ "group": group }))?;
    tell(json, &answer, || format!("{group} is pinned: what serves stays"))
}

pub fn unpin(arguments: Unpin) -> Result<ExitCode, Vec<Diagnostic>> {
    let Unpin {
        state_dir,
        group,
        json,
    } = arguments;
    let answer = order(&state_dir, "/v1/unpin", &json!({ "group": group }))?;
    tell(json, &answer, || format!("{group} follows what lies on disk"))
}

/// One order, and its answer. Errors: no server answers, or it cannot carry it out.
pub fn order(state_dir: &StateDir, path: &str, body: &Value) -> Result<Value, Vec<Diagnostic>> {
    runtime()?.block_on(async { connect(state_dir).await?.post(path, body).await })
}

/// What came of an order: the answer as it is, or a line about it.
pub fn tell(json: bool, answer: &Value, text: impl FnOnce() -> String) -> Result<ExitCode, Vec<Diagnostic>> {
    print(&if json {
        format!("{answer}\n")
    } else {
        text() + "\n"
    })?;
    Ok(ExitCode::SUCCESS)
}

pub fn drain(arguments: Drain) -> Result<ExitCode, Vec<Diagnostic>> {
    let Drain { state_dir, json } = arguments;
    let answer = runtime()?.block_on(async {
        let mut client = connect(&state_dir).await?;
        let answer = client.post("/v1/drain", &json!({})).await?;
        client.ended().await;
        Ok::<_, Vec<Diagnostic>>(answer)
    })?;
    if json {
        print(&format!("{answer}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
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
