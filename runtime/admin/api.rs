//! The paths of the admin interface: JSON in, JSON out. What goes wrong is told as the events tell it.
//!
//! | | |
//! | --- | --- |
//! | `GET /v1/status` | what runs, and what was refused since |
//! | `GET /v1/ready` | 200 where requests are taken, 503 once the server is to end |
//! | `GET /metrics` | Prometheus' text format |
//! | `POST /v1/swap` `{"group": "shop"}` | serves what lies on disk, of one group or of all |
//! | `POST /v1/drain` | finishes what runs, and ends |

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Desk, gauges};
use crate::{
    diagnostic::Diagnostic,
    orders::{GroupStatus, NoControl},
    status::GroupHistory,
};

pub fn router(desk: Desk) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/ready", get(ready))
        .route("/metrics", get(gauges::metrics))
        .route("/v1/swap", post(swap))
        .route("/v1/drain", post(drain))
        .fallback(unknown)
        .with_state(desk)
}

/// Why an order was not carried out.
struct Failure(StatusCode, Diagnostic);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self(status, diagnostic) = self;
        (status, Json(json!({ "diagnostics": [diagnostic] }))).into_response()
    }
}

impl From<NoControl> for Failure {
    fn from(error: NoControl) -> Self {
        let diagnostic = Diagnostic::new("control-failed", error.to_string());
        let diagnostic = diagnostic.help("what serves goes on; restart the server, and report its log");
        Self(StatusCode::INTERNAL_SERVER_ERROR, diagnostic)
    }
}

async fn unknown() -> Failure {
    let diagnostic = Diagnostic::new("path-unknown", "the admin interface has no such path");
    Failure(
        StatusCode::NOT_FOUND,
        diagnostic.help("client and server are of different versions"),
    )
}

async fn status(State(desk): State<Desk>) -> Result<Json<Value>, Failure> {
    let running = desk.orders.status().await?;
    let histories = desk.live.groups();
    Ok(Json(json!({
        "running": true,
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "url": desk.url,
        "draining": desk.stop.is_cancelled(),
        "groups": groups(&running, &histories),
    })))
}

/// What runs of each group, and how it came to that.
fn groups(
    running: &BTreeMap<String, GroupStatus>,
    histories: &BTreeMap<String, GroupHistory>,
) -> BTreeMap<String, Value> {
    let told = |name: &String, status: &GroupStatus| {
        let history = histories.get(name).cloned().unwrap_or_default();
        let mut told = json!(history);
        if let (Value::Object(told), Value::Object(status)) = (&mut told, json!(status)) {
            told.extend(status);
            // The map has it.
            told.remove("group");
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
    desk.orders.swap(group.clone()).await?;
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

fn group_unknown(name: &str, groups: &BTreeMap<String, GroupHistory>) -> Failure {
    let names: Vec<&str> = groups.keys().map(String::as_str).collect();
    let diagnostic = Diagnostic::new("group-unknown", format!("the server has no group {name}"));
    let help = format!("its groups are: {}", names.join(", "));
    Failure(StatusCode::NOT_FOUND, diagnostic.help(help))
}

async fn drain(State(desk): State<Desk>) -> Json<Value> {
    desk.stop.cancel();
    Json(json!({ "draining": true }))
}
