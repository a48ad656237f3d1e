//! Whether calls may begin in a generation. Who asks waits where that is not decided yet.
//!
//! ```text
//!  open ◀──▶ closed ──▶ over
//! ```

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

pub struct Gate {
    /// What most calls ask.
    is_open: AtomicBool,
    phase: watch::Sender<Phase>,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Open,
    /// Nobody begins, and nobody is sent away.
    Closed,
    /// What has not begun is led to another generation.
    Over,
}

impl Gate {
    pub fn new() -> Self {
        Self {
            is_open: AtomicBool::new(true),
            phase: watch::Sender::new(Phase::Open),
        }
    }

    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// Nothing begins before it is decided whether the group goes on with this generation.
    pub fn close(&self) {
        self.turn(Phase::Open, Phase::Closed);
    }

    /// It does.
    pub fn reopen(&self) {
        self.turn(Phase::Closed, Phase::Open);
    }

    /// It does not, where that was in question.
    pub fn end_if_closed(&self) {
        self.turn(Phase::Closed, Phase::Over);
    }

    /// Nothing begins any more: the group has moved on.
    pub fn end(&self) {
        self.set(Phase::Over);
    }

    pub fn is_over(&self) -> bool {
        *self.phase.borrow() == Phase::Over
    }

    /// Waits until nothing begins any more.
    pub async fn over(&self) {
        // It cannot fail: the sender is here.
        let _ = self
            .phase
            .subscribe()
            .wait_for(|phase| *phase == Phase::Over)
            .await;
    }

    /// Waits as long as it is closed: true where calls may begin.
    pub async fn passed(&self) -> bool {
        let mut phase = self.phase.subscribe();
        let decided = phase.wait_for(|phase| *phase != Phase::Closed).await;
        decided.is_ok_and(|phase| *phase == Phase::Open)
    }

    fn set(&self, phase: Phase) {
        self.phase.send_modify(|current| {
            *current = phase;
            self.is_open.store(phase == Phase::Open, Ordering::Release);
        });
    }

    fn turn(&self, from: Phase, to: Phase) {
        self.phase.send_if_modified(|current| {
            let turns = *current == from;
            if turns {
                *current = to;
                self.is_open.store(to == Phase::Open, Ordering::Release);
            }
            turns
        });
    }
}
