//! What metrics are told of events.

use super::{Event, Stages};
use crate::metrics::{Effort, Metrics};

pub fn count(metrics: &Metrics, event: &Event) {
    let swaps = metrics.swaps();
    match event {
        Event::Swapped(swapped) => swaps.swapped(
            &swapped.group,
            &Effort {
                modules_compiled: swapped.modules_compiled,
                modules_reused: swapped.modules_reused,
                functions_compiled: swapped.functions_compiled,
                stages: &stages(&swapped.ms),
                total: swapped.ms.total,
            },
        ),
        Event::Rejected { group, .. } => swaps.rejected(group.as_deref().unwrap_or_default()),
        Event::Retired {
            group, ms, aborted, ..
        } => swaps.retired(group, *ms, *aborted),
        Event::Trapped { group, .. } => swaps.trapped(group),
        Event::Recovered { group, .. } => swaps.recovered(group),
        Event::Lost { count } => swaps.lost(*count),
        Event::Ready { .. } => {}
    }
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
