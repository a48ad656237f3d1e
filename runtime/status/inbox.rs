//! The bounded inbox of the control plane: requests that want to be answered by what lies on disk now.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::clock;

/// Requests that may ask at once; more go on without waiting.
const MAX_ASKING: usize = 4096;

/// One question; it is answered when what was on disk before, of its group, is served or refused.
pub struct Ask {
    /// `None` where any group may be meant.
    pub group: Option<String>,
    pub reply: oneshot::Sender<()>,
}

/// Where questions go.
#[derive(Clone)]
pub struct Inbox(mpsc::Sender<Ask>);

pub fn inbox() -> (Inbox, mpsc::Receiver<Ask>) {
    let (sender, receiver) = mpsc::channel(MAX_ASKING);
    (Inbox(sender), receiver)
}

impl Inbox {
    /// Waits until what is on disk now of `group`, or of any, is served or refused, but no longer than
    /// `limit`; without a control plane (frozen) there is nothing to wait for.
    pub async fn fresh(&self, group: Option<String>, limit: Duration) {
        let (reply, answered) = oneshot::channel();
        if self.0.try_send(Ask { group, reply }).is_ok() {
            // Late, or nobody there: what serves answers.
            let _ = clock::timeout(limit, answered).await;
        }
    }
}
