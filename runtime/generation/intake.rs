//! Calls on their way to a store in its event loop, and the pauses that it is to make. Those that run one at a
//! time wait for their turn here. Knows not how a call is run.

use std::{collections::VecDeque, future::pending, sync::Arc};

use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};

use super::{call::Call, paused::Pause};
use crate::host::Handler;

/// Where a store takes its calls from. Whoever holds it takes them all.
pub type Intake = OwnedMutexGuard<Calls>;

/// Calls on their way to a store.
pub struct Calls {
    /// `None` where it was answered in the place of a store.
    admit: Box<dyn Fn(Box<Call>) -> Option<Box<Call>> + Send>,
    inbox: mpsc::Receiver<Box<Call>>,
    pauses: mpsc::Receiver<Pause>,
    /// Those that run one at a time, and wait for their turn.
    line: VecDeque<Box<Call>>,
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.end();
    }
}

/// What comes to a store.
pub enum Next {
    Call(Box<Call>),
    Pause(Pause),
    /// No call can come any more.
    Over,
}

impl Calls {
    /// Nothing begins any more, at the drain deadline or because the group has moved on: what no store took
    /// can begin in a newer generation.
    pub fn end(&mut self) {
        self.inbox.close();
        while let Some(call) = self.line.pop_front().or_else(|| self.inbox.try_recv().ok()) {
            call.refuse();
        }
    }

    pub fn new(
        inbox: mpsc::Receiver<Box<Call>>,
        pauses: mpsc::Receiver<Pause>,
        admit: impl Fn(Box<Call>) -> Option<Box<Call>> + Send + 'static,
    ) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            admit: Box::new(admit),
            inbox,
            pauses,
            line: VecDeque::new(),
        }))
    }

    /// True where no call is there and none can come.
    pub fn are_over(&self) -> bool {
        self.inbox.is_closed() && self.inbox.is_empty() && self.line.is_empty()
    }

    /// The next call that can begin, or the next pause, which comes first.
    pub async fn next(&mut self, line_is_free: bool) -> Next {
        if let Ok(pause) = self.pauses.try_recv() {
            return Next::Pause(pause);
        }
        while line_is_free && let Some(call) = self.line.pop_front() {
            if let Some(call) = (self.admit)(call) {
                return Next::Call(call);
            }
        }
        loop {
            let call = tokio::select! {
                biased;
                Some(pause) = self.pauses.recv() => return Next::Pause(pause),
                call = self.inbox.recv() => call,
            };
            match call {
                Some(call) if !line_is_free && runs_in_line(&call) => self.line.push_back(call),
                Some(call) => {
                    if let Some(call) = (self.admit)(call) {
                        return Next::Call(call);
                    }
                }
                None => break,
            }
        }
        if !self.line.is_empty() {
            // Whoever holds the line says when it is free.
            pending::<()>().await;
        }
        Next::Over
    }
}

pub fn runs_in_line(call: &Call) -> bool {
    call.entry.handler != Handler::WasiHttp03
}

/// The next call; it is not asked for where there is no intake.
pub async fn next(intake: &mut Option<Intake>, line_is_free: bool) -> Next {
    match intake {
        Some(calls) => calls.next(line_is_free).await,
        None => Next::Over,
    }
}
