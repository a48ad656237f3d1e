//! What metrics and traces are told of events.

use super::{Cause, Event, Stages};
use crate::{
    metrics::{Effort, Metrics},
    tracer::{Facts, Tracer},
};

pub fn count(metrics: &Metrics, tracer: &Tracer, event: &Event) {
    let swaps = metrics.swaps();
    match event {
        Event::Swapped(swapped) => {
            let stages = stages(&swapped.ms);
            let effort = Effort {
                modules_compiled: swapped.modules_compiled,
                modules_reused: swapped.modules_reused,
                functions_compiled: swapped.functions_compiled,
                stages: &stages,
                total: swapped.ms.total,
            };
            swaps.swapped(&swapped.group, &effort);
            let generation = format!("{}@{}", swapped.group, swapped.generation);
            let facts = Facts::default()
                .with("wasmhost.group", swapped.group.clone())
                .with("wasmhost.generation", generation)
                .with("wasmhost.causes", causes(&swapped.causes));
            tracer.swapped(format!("swap {}", swapped.group), effort.total, &stages, facts);
        }
        Event::Rejected { group, .. } => swaps.rejected(group.as_deref().unwrap_or_default()),
        Event::Retired {
            group, ms, aborted, ..
        } => swaps.retired(group, *ms, *aborted),
        Event::Trapped { group, .. } => swaps.trapped(group),
        Event::Reverted { group, .. } => swaps.reverted(group),
        Event::Recovered { group, .. } => swaps.recovered(group),
        Event::Lost { count } => swaps.lost(*count),
        Event::Committed { number, .. } => swaps.committed(*number),
        Event::Stale { .. } => swaps.stale(),
        Event::Ready { .. } | Event::Mended { .. } | Event::Checkpointed { .. } | Event::Refused { .. } => {}
    }
}

/// Those that a span has room for.
fn causes(causes: &[Cause]) -> String {
    let names = causes.iter().take(16).map(|cause| cause.content.to_string());
    names.collect::<Vec<_>>().join(" ")
}

fn stages(stages: &Stages) -> [(&'static str, std::time::Duration); 7] {
    [
        ("detect", stages.detect),
        ("read", stages.read),
        ("link", stages.link),
        ("compile", stages.compile),
        ("instantiate", stages.instantiate),
        ("load", stages.load),
        ("commit", stages.commit),
    ]
}
