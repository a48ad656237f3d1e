//! The paths of the admin interface: JSON in, JSON out. What goes wrong is told as the events tell it.
//!
//! | | |
//! | --- | --- |
//! | `GET /` | the dashboard |
//! | `GET /v1/status` | what runs, and what was refused since |
//! | `GET /v1/ready` | 200 where requests are taken, 503 once the server is to end |
//! | `GET /metrics` | Prometheus' text format |
//! | `GET /v1/events` | what happens, as it happens; `?last=N` of what did |
//! | `GET /v1/journal` | what happened: `?group=G&event=E&last=N` |
//! | `GET /v1/routes` | which pattern leads to which page |
//! | `GET /v1/graph` | who imports what from whom; `?format=svg` |
//! | `GET /v1/logs` | what is logged, as it is; `?last=N` of what was |
//! | `GET /v1/log`, `POST /v1/log` `{"level": "debug"}` | how much is logged |
//! | `GET /v1/openapi.json` | all of this for programs |
//! | `POST /v1/swap` `{"group": "shop"}` | serves what lies on disk, of one group or of all |
//! | `POST /v1/rollback` `{"group": "shop", "generation": "3"}` | serves a content that served before; without `generation` the newest other one |
//! | `POST /v1/pin`, `POST /v1/unpin` `{"group": "shop"}` | has what serves of a group stay, whatever lies on disk; follows the tree again |
//! | `POST /v1/freeze`, `POST /v1/unfreeze` | takes no change before it is asked for; follows the tree again |
//! | `POST /v1/keyvalue` `{"group": "shop", "request": {"get": {"key": "a"}}}` | reads or changes the keys and values of a group |
//! | `POST /v1/clock` `{"advance_ms": 3600000}` | moves the clock of limits and guests on, of a test's server alone |
//! | `POST /v1/drain` | finishes what runs, and ends |

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    middleware,
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Desk, assets,
    failure::{Failure, explain},
    gauges, reports, streams,
};
use crate::{
    clock,
    diagnostic::Diagnostic,
    kept::Folder,
    keyvalue,
    orders::{GroupStatus, RolledBack},
    status::GroupHistory,
};

/// Bytes of a request: the largest value in base64, and some more.
const MAX_BODY: usize = 8 << 20;

pub fn router(desk: Desk) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/ready", get(ready))
        .route("/metrics", get(gauges::metrics))
        .route("/v1/events", get(streams::events))
        .route("/v1/logs", get(streams::logs))
        .route("/v1/journal", get(reports::journal))
        .route("/v1/routes", get(reports::routes))
        .route("/v1/graph", get(reports::graph))
        .route("/v1/log", get(level).post(set_level))
        .route("/v1/openapi.json", get(assets::openapi))
        .route("/v1/freeze", post(freeze))
        .route("/v1/unfreeze", post(unfreeze))
        .route("/", get(assets::page))
        .route("/style.css", get(assets::style))
        .route("/dashboard.js", get(assets::script))
        .route("/draw.js", get(assets::parts))
        .route("/icon.svg", get(assets::icon))
        .route("/v1/swap", post(swap))
        .route("/v1/rollback", post(rollback))
        .route("/v1/pin", post(pin))
        .route("/v1/unpin", post(unpin))
        .route(
            "/v1/keyvalue",
            post(keyvalue).layer(DefaultBodyLimit::max(MAX_BODY)),
        )
        .route("/v1/clock", post(advance))
        .route("/v1/drain", post(drain))
        .fallback(unknown)
        .layer(middleware::map_response(explain))
        .with_state(desk)
}

async fn unknown() -> Failure {
    let diagnostic = Diagnostic::new("path-unknown", "the admin interface has no such path");
    Failure::one(
        StatusCode::NOT_FOUND,
        diagnostic.help("client and server are of different versions"),
    )
}

async fn status(State(desk): State<Desk>) -> Result<Json<Value>, Failure> {
    let running = desk.orders.status().await?;
    let histories = desk.live.groups();
    // Of a group that has changed, the disk is asked.
    let groups = tokio::task::block_in_place(|| groups(&running.groups, &histories, &desk.kept));
    Ok(Json(json!({
        "running": true,
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "url": desk.url,
        "admin": desk.admin_url,
        "draining": desk.stop.is_cancelled(),
        "frozen": running.frozen,
        "fleet": desk.live.fleet(),
        "groups": groups,
    })))
}

/// What runs of each group, how it came to that, and what it can go back to.
fn groups(
    running: &BTreeMap<String, GroupStatus>,
    histories: &BTreeMap<String, GroupHistory>,
    kept: &Folder,
) -> BTreeMap<String, Value> {
    let told = |name: &String, status: &GroupStatus| {
        let history = histories.get(name).cloned().unwrap_or_default();
        let mut told = json!(history);
        if let (Value::Object(told), Value::Object(status)) = (&mut told, json!(status)) {
            told.extend(status);
            // The map has it.
            told.remove("group");
            // Whole, newest first: what serves is among them as soon as the disk has it.
            let digests = kept.digests(name).into_iter().map(|digest| digest.to_string());
            told.insert("kept".into(), digests.collect());
        }
        told
    };
    running
        .iter()
        .map(|(name, status)| (name.clone(), told(name, status)))
        .collect()
}

async fn ready(State(desk): State<Desk>) -> (StatusCode, Json<Value>) {
    if desk.stop.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "ready": false })))
    } else {
        (StatusCode::OK, Json(json!({ "ready": true })))
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Which {
    /// All, where not given.
    group: Option<String>,
}

/// `{"groups": {"shop": {"from": 2, "generation": 3, "rejected": null}}}`: `rejected` is why what lies on
/// disk is not served.
async fn swap(State(desk): State<Desk>, Json(Which { group }): Json<Which>) -> Result<Json<Value>, Failure> {
    let before = desk.live.groups();
    desk.orders.swap(group.clone()).await?.map_err(refused)?;
    let after = desk.live.groups();
    let is_meant = |name: &String| group.as_ref().is_none_or(|group| group == name);
    let names: Vec<&String> = before.keys().chain(after.keys()).collect();
    if let Some(group) = &group
        && !names.contains(&group)
    {
        return Err(group_unknown(group, &after));
    }
    let generation = |groups: &BTreeMap<String, GroupHistory>, name| groups.get(name)?.generation;
    let outcomes = names.into_iter().filter(|name| is_meant(name)).map(|name| {
        let rejected = after.get(name).and_then(|group| group.rejected.clone());
        let outcome = json!({
            "from": generation(&before, name),
            "generation": generation(&after, name),
            "rejected": rejected,
        });
        (name.clone(), outcome)
    });
    let outcomes: BTreeMap<String, Value> = outcomes.collect();
    Ok(Json(json!({ "groups": outcomes })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Back {
    group: String,
    #[serde(default)]
    generation: Option<Name>,
}

/// What a generation, or a content, is known by.
#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Number(u64),
    Text(String),
}

async fn rollback(
    State(desk): State<Desk>,
    Json(Back { group, generation }): Json<Back>,
) -> Result<Json<RolledBack>, Failure> {
    let to = generation.map(|name| match name {
        Name::Number(number) => number.to_string(),
        Name::Text(text) => text,
    });
    let done = desk.orders.roll_back(group, to).await?;
    done.map(Json).map_err(refused)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    group: String,
}

async fn pin(State(desk): State<Desk>, Json(One { group }): Json<One>) -> Result<Json<Value>, Failure> {
    set_pinned(&desk, group, true).await
}

async fn unpin(State(desk): State<Desk>, Json(One { group }): Json<One>) -> Result<Json<Value>, Failure> {
    set_pinned(&desk, group, false).await
}

async fn set_pinned(desk: &Desk, group: String, pinned: bool) -> Result<Json<Value>, Failure> {
    let done = desk.orders.pin(group.clone(), pinned).await?;
    done.map_err(refused)?;
    Ok(Json(json!({ "group": group, "pinned": pinned })))
}

/// What the control plane does not do, and why.
fn refused(diagnostics: Vec<Diagnostic>) -> Failure {
    Failure(StatusCode::CONFLICT, diagnostics)
}

fn group_unknown(name: &str, groups: &BTreeMap<String, GroupHistory>) -> Failure {
    let names: Vec<&str> = groups.keys().map(String::as_str).collect();
    let diagnostic = Diagnostic::new("group-unknown", format!("the server has no group {name}"));
    let help = format!("its groups are: {}", names.join(", "));
    Failure::one(StatusCode::NOT_FOUND, diagnostic.help(help))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    group: String,
    request: keyvalue::Request,
}

async fn keyvalue(
    State(desk): State<Desk>,
    Json(Asked { group, request }): Json<Asked>,
) -> Result<Json<keyvalue::Answer>, Failure> {
    let answer = desk.keyvalue.answer(&group.into(), request).await;
    answer.map(Json).map_err(|error| {
        let status = match error {
            keyvalue::Error::Refused(_) => StatusCode::BAD_REQUEST,
            keyvalue::Error::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Failure::one(status, keyvalue::diagnostic(error))
    })
}

// Their bodies are taken, though nothing is in them: a client that still sends would be cut off.
async fn freeze(State(desk): State<Desk>, _: Bytes) -> Result<Json<Value>, Failure> {
    set_frozen(&desk, true).await
}

async fn unfreeze(State(desk): State<Desk>, _: Bytes) -> Result<Json<Value>, Failure> {
    set_frozen(&desk, false).await
}

async fn set_frozen(desk: &Desk, frozen: bool) -> Result<Json<Value>, Failure> {
    let done = desk.orders.freeze(frozen).await?;
    done.map_err(|error| {
        let diagnostic = Diagnostic::new("watch-missing", error.to_string());
        Failure::one(
            StatusCode::CONFLICT,
            diagnostic.help("start it without --frozen, or swap on command"),
        )
    })?;
    Ok(Json(json!({ "frozen": frozen })))
}

async fn level(State(desk): State<Desk>) -> Json<Value> {
    Json(json!({ "level": desk.logging.level() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Level {
    level: String,
}

async fn set_level(
    State(desk): State<Desk>,
    Json(Level { level }): Json<Level>,
) -> Result<Json<Value>, Failure> {
    desk.logging.set_level(&level).map_err(|error| {
        let diagnostic = Diagnostic::new(
            "log-level",
            format!("{level:?} does not say how much is logged: {error}"),
        );
        let help = "one of error, warn, info, debug, trace, or by module: \"info,wasmhost::server=debug\"";
        Failure::one(StatusCode::BAD_REQUEST, diagnostic.help(help))
    })?;
    tracing::info!(filter = level, "the log level was changed");
    Ok(Json(json!({ "level": level })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_ms: u64,
}

async fn advance(Json(Advance { advance_ms }): Json<Advance>) -> Result<Json<Value>, Failure> {
    let moved = clock::advance(Duration::from_millis(advance_ms));
    let ahead = moved.ok_or_else(|| {
        let diagnostic = Diagnostic::new("clock-fixed", "the clock is the system's here");
        Failure::one(
            StatusCode::CONFLICT,
            diagnostic.help("only a server that was started by a test can move it"),
        )
    })?;
    Ok(Json(
        json!({ "ahead_ms": u64::try_from(ahead.as_millis()).unwrap_or(u64::MAX) }),
    ))
}

async fn drain(State(desk): State<Desk>, _: Bytes) -> Json<Value> {
    desk.stop.cancel();
    Json(json!({ "draining": true }))
}
