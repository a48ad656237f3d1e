//! Carries the hand-over of a build's groups out: beside the control task, since guests take part in it.

use std::{sync::Arc, time::Instant};

use super::{Built, Outcome, Reloader, control::Input, serving::Candidate};
use crate::{
    generation::{self, Generation, HandedOver},
    prepare,
};

impl Reloader {
    /// Has what serves hand its state over to what the last build came to.
    pub(super) fn hand_over(&mut self) {
        let Some(Built {
            number,
            outcomes,
            since,
        }) = self.built.take()
        else {
            return;
        };
        let with_predecessor = |outcome: Outcome| {
            let candidate = outcome.as_ref().ok();
            let old = candidate.and_then(|candidate| self.serving.running(&candidate.prepared.spec.name));
            (outcome, old.cloned())
        };
        let outcomes: Vec<_> = outcomes.into_iter().map(with_predecessor).collect();
        self.handing_over = Some(tokio::spawn(async move {
            let mut taken_over = Vec::new();
            for (outcome, old) in outcomes {
                taken_over.push(match outcome {
                    Ok(candidate) if candidate.prepared.inherits => take_over(candidate, old).await,
                    outcome => outcome,
                });
            }
            Built {
                number,
                outcomes: taken_over,
                since,
            }
        }));
    }

    /// Keeps what it came to until it is committed.
    pub(super) fn handed_over(&mut self, built: Built) -> Input {
        let taken = built.outcomes.iter().map(|outcome| match outcome {
            Ok(candidate) => (candidate.prepared.spec.name.clone(), true),
            Err((spec, _)) => (spec.name.clone(), false),
        });
        let (build, taken) = (built.number, taken.collect());
        self.built = Some(built);
        Input::HandedOver { build, taken }
    }
}

/// The candidate with what `old` hands over; refused, where it cannot be.
pub(super) async fn take_over(mut candidate: Candidate, old: Option<Arc<Generation>>) -> Outcome {
    let began = Instant::now();
    let group = &candidate.prepared.spec.name;
    tracing::debug!(group, "it is to hand its state over: what runs ends first");
    match generation::hand_over(old.as_deref(), &candidate.prepared.generation).await {
        Ok(HandedOver { held, snapshots }) => {
            candidate.held = held;
            candidate.snapshots = Some(snapshots);
            candidate.stages.load = began.elapsed();
            Ok(candidate)
        }
        Err(unwilling) => {
            let spec = candidate.prepared.spec;
            let diagnostic = unwilling.diagnostic(&spec.name);
            let component = unwilling.failure().map(|failure| &failure.component);
            Err(prepare::refused(spec, component, diagnostic))
        }
    }
}
