//! Calls that nobody can break off: who may start one, and when the last one is over.

use std::{
    convert::Infallible,
    sync::{Arc, Weak},
};

use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// In what all tasks of a generation hold; when the last of them drops it, all are over.
pub type Alive = mpsc::Sender<Infallible>;

/// A generation's hold on the owner of its stores: no longer than to the drain deadline, even where a
/// client holds the generation for longer.
pub struct Caller<T> {
    owner: Weak<T>,
    _in_use: DropGuard,
}

/// Who can be called, and the task that ends when all calls are over and, after them, `stop`.
pub fn start<T: Send + Sync + 'static>(
    end: CancellationToken,
    owner: impl FnOnce(Alive) -> T,
    stop: impl Future<Output = ()> + Send + 'static,
) -> (Caller<T>, JoinHandle<()>) {
    let (alive, mut all_gone) = mpsc::channel(1);
    let owner = Arc::new(owner(alive));
    let unused = CancellationToken::new();
    let caller = Caller {
        owner: Arc::downgrade(&owner),
        _in_use: unused.clone().drop_guard(),
    };
    let over = tokio::spawn(async move {
        tokio::select! {
            () = unused.cancelled() => {}
            () = end.cancelled() => {}
        }
        drop(owner);
        // Nothing is ever sent: it ends with the last who could.
        all_gone.recv().await;
        stop.await;
    });
    (caller, over)
}

impl<T> Caller<T> {
    /// `None` where the generation was ended.
    pub fn owner(&self) -> Option<Arc<T>> {
        self.owner.upgrade()
    }
}
