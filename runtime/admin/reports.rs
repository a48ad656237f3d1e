//! What a running server tells of itself beside its state: journal, graph, routes.

use std::path::PathBuf;

use axum::{
    Json,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Desk, failure::Failure};
use crate::{
    analysis::{
        Surface,
        drawing::{json as graph_json, svg},
    },
    diagnostic::Diagnostic,
    project::Location,
    status::{STATE, read_journal},
};

/// Records that are answered where nobody says how many.
const RECORDS: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    group: Option<String>,
    event: Option<String>,
    /// Only the last of them.
    last: Option<usize>,
}

/// `{"records": [{"event": "swapped", …}]}`, oldest first.
pub async fn journal(State(desk): State<Desk>, Query(which): Query<Which>) -> Result<Json<Value>, Failure> {
    let state_dir = desk.state_dir.clone();
    let read = tokio::task::spawn_blocking(move || read(state_dir, &which)).await;
    let failed = |error: String| {
        let diagnostic = Diagnostic::new(
            "journal-unreadable",
            format!("the journal cannot be read: {error}"),
        );
        Failure::one(StatusCode::INTERNAL_SERVER_ERROR, diagnostic)
    };
    let read = read.map_err(|error| failed(error.to_string()))?;
    let records = read.map_err(|error| failed(error.to_string()))?;
    Ok(Json(json!({ "records": records })))
}

fn read(state_dir: PathBuf, which: &Which) -> std::io::Result<Vec<Value>> {
    let mut records = read_journal(&state_dir)?.unwrap_or_default();
    records.retain(|record| {
        let is = |name: &str, wanted: &Option<String>| {
            wanted.is_none() || record[name].as_str() == wanted.as_deref()
        };
        let happened = record["event"] != STATE || which.event.is_some();
        happened && is("group", &which.group) && is("event", &which.event)
    });
    let skipped = records.len().saturating_sub(which.last.unwrap_or(RECORDS));
    Ok(records.split_off(skipped))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Format {
    #[default]
    Json,
    Svg,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drawn {
    #[serde(default)]
    format: Format,
}

/// Who imports what from whom, of what lies on disk, as `wasmhost graph` shows it.
pub async fn graph(State(desk): State<Desk>, Query(drawn): Query<Drawn>) -> Response {
    // One at a time: the tree is read anew for each.
    let _turn = desk.bounds.reading.acquire().await;
    let (surface, _) = Surface::read(&Location::new(&desk.root, &desk.state_dir)).await;
    match drawn.format {
        Format::Json => (
            [(header::CONTENT_TYPE, "application/json")],
            graph_json::draw(&surface),
        )
            .into_response(),
        Format::Svg => ([(header::CONTENT_TYPE, "image/svg+xml")], svg::draw(&surface)).into_response(),
    }
}

/// `{"routes": [{"pattern", "component", "group", "generation"}]}`: of all groups that serve.
pub async fn routes(State(desk): State<Desk>) -> Result<Json<Value>, Failure> {
    let running = desk.orders.status().await?;
    let mut routes = Vec::new();
    for group in running.groups.values().map(|status| &status.serving) {
        routes.extend(group.routes.iter().map(|route| {
            json!({
                "pattern": route.pattern,
                "component": route.component,
                "group": group.group,
                "generation": group.generation,
            })
        }));
    }
    Ok(Json(json!({ "routes": routes })))
}
