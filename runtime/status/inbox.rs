//! The bounded inbox of the control plane: requests that want to be answered by what lies on disk now.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

/// Requests that may ask at once; more go on without waiting.
const MAX_ASKING: usize = 4096;

/// One question; it is answered when all that was on disk before is served or refused.
pub struct Ask(pub oneshot::Sender<()>);

/// Where questions go.
#[derive(Clone)]
pub struct Inbox(mpsc::Sender<Ask>);

pub fn inbox() -> (Inbox, mpsc::Receiver<Ask>) {
    let (sender, receiver) = mpsc::channel(MAX_ASKING);
    (Inbox(sender), receiver)
}

impl Inbox {
    /// Waits until what is on disk now is served or refused, but no longer than `limit`; without a
    /// control plane (frozen) there is nothing to wait for.
    pub async fn fresh(&self, limit: Duration) {
        let (reply, answered) = oneshot::channel();
        if self.0.try_send(Ask(reply)).is_ok() {
            // Late, or nobody there: what serves answers.
            let _ = tokio::time::timeout(limit, answered).await;
        }
    }
}
