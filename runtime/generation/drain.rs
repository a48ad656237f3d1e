//! The end of a generation: with its last request, or at its drain deadline.

use std::time::Duration;

use super::Retirement;
use crate::clock;

/// How a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// From the swap to the drop of the last store.
    pub took: Duration,
    /// Requests that the deadline ended; those that had not begun are led to the newer generation.
    pub aborted: usize,
}

/// Waits until nobody holds the generation and its stores are gone; at `deadline` ends what is left.
pub fn drain(
    mut retirement: Retirement,
    deadline: impl Future<Output = ()>,
) -> impl Future<Output = Drained> {
    let began = clock::now();
    async move {
        let mut aborted = 0;
        let is_over = tokio::select! {
            biased;
            _ = &mut retirement.stores => true,
            () = deadline => false,
        };
        if !is_over {
            aborted = retirement.begun();
            retirement.end.cancel();
            // A store task ends by itself or by the line above; how it ended was reported by itself.
            let _ = retirement.stores.await;
        }
        Drained {
            took: clock::now().saturating_duration_since(began),
            aborted,
        }
    }
}
