//! `GET /v1/events` and `GET /v1/logs`: what happens, as it happens (server-sent events, one JSON object
//! each), after the last lines that came before.

use std::convert::Infallible;

use axum::{
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response, Sse, sse},
};
use futures::StreamExt;
use serde::Deserialize;

use super::{Desk, failure::Failure};
use crate::{diagnostic::Diagnostic, feed::Feed};

#[derive(Deserialize)]
pub struct From {
    /// How many lines of what was before.
    #[serde(default)]
    last: usize,
}

pub async fn events(State(desk): State<Desk>, Query(from): Query<From>) -> Response {
    follow(&desk, desk.live.feed(), &from)
}

pub async fn logs(State(desk): State<Desk>, Query(from): Query<From>) -> Response {
    follow(&desk, desk.logging.lines(), &from)
}

fn follow(desk: &Desk, feed: &Feed, from: &From) -> Response {
    let Ok(place) = desk.bounds.followers.clone().try_acquire_owned() else {
        let diagnostic = Diagnostic::new("followers-full", "as many follow already as may");
        let diagnostic = diagnostic.help("close a dashboard that nobody looks at");
        return Failure::one(StatusCode::SERVICE_UNAVAILABLE, diagnostic).into_response();
    };
    let lines = feed.follow(from.last).map(move |line| {
        // It goes with the stream.
        let _held = &place;
        Ok::<_, Infallible>(sse::Event::default().data(&*line))
    });
    Sse::new(lines)
        .keep_alive(sse::KeepAlive::default())
        .into_response()
}
