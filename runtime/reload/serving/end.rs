//! The ends of generations, when others take their place or with the server, and what is saved of them for after it.

use std::{future::ready, sync::Arc, time::Instant};

use futures::future::join_all;

use super::{Draining, Serving};
use crate::{
    clock,
    generation::{Generation, Retirement, drain},
    kept::Keeper,
    project::GroupSpec,
    reload::{checkpoints::Checkpoints, group::Running},
    router::RouteTable,
    status::{Event, Reporter},
};

impl Serving {
    /// Lets go of a generation that serves no longer, `since` when its drain runs, and reports its end.
    pub(super) fn retire(&mut self, old: Running, since: Instant) {
        let Running {
            generation,
            retirement,
            built,
            ..
        } = old;
        let deadline = clock::later(since, built.spec.drain);
        generation.give_way();
        drop((generation, built));
        let reporter = self.reporter.clone();
        let id = retirement.id.clone();
        let (draining, generation) = (id.clone(), retirement.generation());
        let (ends, deadline) = (self.ends.clone(), clock::sleep_until(deadline));
        let deadline = async move {
            tokio::select! {
                () = deadline => {}
                // Nothing is waited for any more.
                () = ends.cancelled() => {}
            }
        };
        let drained = drain(retirement, deadline);
        let task = self.retiring.spawn(async move {
            let drained = drained.await;
            reporter.publish(Event::Retired {
                group: id.group.to_string(),
                generation: id.number,
                ms: drained.took,
                aborted: drained.aborted,
            });
        });
        while self.retiring.try_join_next().is_some() {}
        self.draining.retain(|draining| !draining.task.is_finished());
        self.draining.push(Draining {
            id: draining,
            generation,
            task,
        });
    }

    /// Takes the last checkpoints, and ends every generation: its components are told.
    pub async fn end(&mut self) {
        let running = self.groups.values_mut().filter_map(|group| group.running.take());
        let ended: Vec<_> = running.map(end).collect();
        let retirements = join_all(ended).await;
        // It holds them too.
        self.publisher.publish(RouteTable::new(&[], None));
        self.ends.cancel();
        for retirement in retirements {
            self.retiring.spawn(async {
                // Nobody is told: it was not replaced.
                let _ = drain(retirement, ready(())).await;
            });
        }
        while self.retiring.join_next().await.is_some() {}
    }
}

async fn end(running: Running) -> Retirement {
    let Running {
        retirement,
        checkpoints,
        generation,
        ..
    } = running;
    if let Some(checkpoints) = checkpoints {
        checkpoints.finish().await;
    }
    drop(generation);
    retirement
}

/// What a new generation remembers, from time to time where its group wants that; else nothing of before counts.
pub fn checkpoints(
    keeper: &Keeper,
    reporter: &Reporter,
    spec: &GroupSpec,
    generation: &Arc<Generation>,
) -> Option<Checkpoints> {
    let folder = keeper.folder();
    let Some(every) = spec.checkpoint else {
        folder.remove_checkpoint(&spec.name, generation.id().number);
        return None;
    };
    Some(Checkpoints::start(generation, every, folder, reporter.clone()))
}
