//! Has a generation that serves save what it remembers from time to time, and a last time at the end. What it
//! saved last is what a new store begins with, and what lies on disk for a restart.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use crate::{
    clock,
    generation::{self, Generation, Snapshots},
    kept::{Folder, Taken},
    status::{Event, Reporter},
};

/// How long a checkpoint waits at most for what runs, while what comes waits behind it; and no longer than a tenth
/// of the time between two.
const PATIENCE: Duration = Duration::from_secs(1);
/// As long as nobody comes any more.
const LAST_PATIENCE: Duration = Duration::from_secs(10);

/// The checkpoints of one generation. Dropped, there are no more.
pub struct Checkpoints {
    saver: Arc<Saver>,
    task: JoinHandle<()>,
}

struct Saver {
    generation: Weak<Generation>,
    folder: Arc<Folder>,
    reporter: Reporter,
    /// The last one that went well.
    last: Mutex<Option<Taken>>,
}

impl Checkpoints {
    /// The first one at once: what lies there is another generation's.
    pub fn start(
        generation: &Arc<Generation>,
        every: Duration,
        folder: Arc<Folder>,
        reporter: Reporter,
    ) -> Self {
        let saver = Arc::new(Saver {
            generation: Arc::downgrade(generation),
            folder,
            reporter,
            last: Mutex::default(),
        });
        let own = saver.clone();
        let task = tokio::spawn(async move {
            loop {
                own.save(PATIENCE.min(every / 10)).await;
                clock::sleep(every).await;
            }
        });
        Self { saver, task }
    }

    pub fn last(&self) -> Option<Taken> {
        self.saver.last().clone()
    }

    /// No request comes any more.
    pub async fn finish(self) {
        self.task.abort();
        self.saver.save(LAST_PATIENCE).await;
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Saver {
    /// Where it cannot, the checkpoint before stays, and the generation goes on.
    async fn save(&self, patience: Duration) {
        let Some(generation) = self.generation.upgrade() else {
            return;
        };
        let (id, began) = (generation.id().clone(), Instant::now());
        let snapshots = match generation::save(&generation, patience).await {
            Ok(Some(snapshots)) => snapshots,
            Ok(None) => return,
            Err(unwilling) => {
                let reason = unwilling.diagnostic(&id.group).message;
                return tracing::error!(generation = %id, "no checkpoint, the one before stays: {reason}");
            }
        };
        // It answers again; what follows holds nobody up.
        drop(generation);
        let paused = began.elapsed();
        match self.write(id.group.clone(), id.number, snapshots).await {
            Ok(Some(taken)) => {
                let bytes = taken.bytes;
                *self.last() = Some(taken);
                self.reporter.publish(Event::Checkpointed {
                    group: id.group.to_string(),
                    generation: id.number,
                    bytes,
                    ms: paused,
                });
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(generation = %id, %error, "the checkpoint cannot be written, the one before stays");
            }
        }
    }

    async fn write(
        &self,
        group: Arc<str>,
        generation: u64,
        snapshots: Arc<Snapshots>,
    ) -> io::Result<Option<Taken>> {
        let folder = self.folder.clone();
        let write = move || folder.write_checkpoint(&group, generation, &snapshots);
        let written = tokio::task::spawn_blocking(write).await;
        written.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<Taken>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
