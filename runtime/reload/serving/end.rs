//! The end of what serves, with the server: no request comes any more.

use futures::future::join_all;

use super::Serving;
use crate::{generation::Retirement, reload::group::Running, router::RouteTable};

impl Serving {
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
                let _ = crate::generation::drain(retirement, std::future::ready(())).await;
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
