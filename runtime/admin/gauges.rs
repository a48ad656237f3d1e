//! `GET /metrics`: what was counted, and how things stand, in Prometheus' text format.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use super::Desk;
use crate::{
    engine::{Caches, TotalMemory},
    metrics::{GroupNow, Metrics, Now, TEXT_FORMAT},
    orders::GroupStatus,
};

/// Where numbers come from.
#[derive(Clone)]
pub struct Probe {
    pub metrics: Metrics,
    pub memory: Arc<TotalMemory>,
    pub caches: Caches,
}

impl Probe {
    fn now(&self, groups: Option<&BTreeMap<String, GroupStatus>>) -> Now {
        let tally = self.caches.tally();
        Now {
            groups: groups.map(|groups| groups.iter().map(of_group).collect()),
            memory: self.memory.used(),
            memory_limit: self.memory.limit(),
            modules_found: tally.modules_found,
            functions_compiled: tally.functions_compiled,
        }
    }
}

fn of_group((name, status): (&String, &GroupStatus)) -> (String, GroupNow) {
    let now = GroupNow {
        generation: status.serving.generation,
        draining: status.draining.len(),
        in_flight: status.in_flight,
        queued: status.queued,
        memory: status.memory,
        checkpoint: status.checkpoint.as_ref().map(|taken| unix_seconds(taken.time)),
    };
    (name.clone(), now)
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// It answers without the control plane too: that it is down is worth most then.
pub async fn metrics(State(desk): State<Desk>) -> Response {
    let groups = desk.orders.status().await.ok();
    let probe = &desk.gauges;
    match probe
        .metrics
        .text(&probe.now(groups.as_ref().map(|running| &running.groups)))
    {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
