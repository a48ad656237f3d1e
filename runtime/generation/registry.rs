//! The exchanges that are under way in one store, and what their time comes to. It is looked after from
//! outside of the store's event loop, which a guest can keep from turning.
//! Knows neither stores nor guests.
//!
//! ```text
//!  running ─▶ watched ─▶ (a client that keeps the guest waiting is cut off) ─▶ over: answered with 504,
//!  cut off ─▶ late: its guest did not finish, so the store takes no new calls ─▶ the store is stuck
//! ```

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use futures::poll;
use tokio::sync::{Notify, oneshot};

use super::{
    RequestError,
    call::{Answer, Death},
};
use crate::{
    clock,
    host::{
        CallName, Calling,
        body::{self, Body},
        exchange::Exchange,
    },
};

/// What a guest has to finish in once it is cut loose from its client, and what its store has to show in
/// that it is not stuck.
const GRACE: Duration = Duration::from_millis(100);

/// Runs a guest, and cuts it loose from a client that keeps it waiting for so long that it could not
/// finish in its time: a store that is thrown away would cost everyone's state.
pub async fn hurry<T>(
    limit: Duration,
    exchange: &Exchange,
    mut guest: Pin<&mut impl Future<Output = T>>,
) -> T {
    // Most end at once, and need no timer.
    if let Poll::Ready(result) = poll!(guest.as_mut()) {
        return result;
    }
    let grace = grace(limit);
    let watch = async {
        clock::sleep(limit - 2 * grace).await;
        let progress = exchange.progress();
        clock::sleep(grace).await;
        cut_if_stalled(exchange, progress);
    };
    tokio::select! {
        biased;
        result = &mut guest => return result,
        () = watch => {}
    }
    guest.await
}

/// Very short limits are for tests and for the brave.
fn grace(limit: Duration) -> Duration {
    GRACE.min(limit / 8)
}

fn cut_if_stalled(exchange: &Exchange, progress: u64) {
    if exchange.waits_for_client() && exchange.progress() == progress {
        exchange.cut();
    }
}

pub struct Registry {
    limit: Duration,
    grace: Duration,
    state: Mutex<State>,
    /// The store is asked to take no new calls.
    late: Notify,
    /// It takes none any more.
    retired: AtomicBool,
}

#[derive(Default)]
struct State {
    next: u64,
    entries: BTreeMap<u64, Entry>,
    held: Vec<(oneshot::Sender<Answer>, http::Response<Body>)>,
}

struct Entry {
    name: CallName,
    _calling: Calling,
    exchange: Exchange,
    reply: Option<oneshot::Sender<Answer>>,
    /// When it is looked at next.
    due: Instant,
    phase: Phase,
    /// Its guest has finished: what is left is for the client to read.
    is_done: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Running,
    /// With the progress so far.
    Watched(u64),
    Hurried,
    Over,
    Late,
}

impl Registry {
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            grace: grace(limit),
            state: Mutex::default(),
            late: Notify::new(),
            retired: AtomicBool::new(false),
        }
    }

    /// The request-time.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Begins an exchange: its time runs from now.
    pub fn begin(
        &self,
        name: CallName,
        calling: Calling,
        exchange: Exchange,
        reply: oneshot::Sender<Answer>,
    ) -> u64 {
        let mut state = self.state();
        state.next += 1;
        let (id, due) = (state.next, clock::now() + self.limit - 2 * self.grace);
        let entry = Entry {
            name,
            _calling: calling,
            exchange,
            reply: Some(reply),
            due,
            phase: Phase::Running,
            is_done: false,
        };
        state.entries.insert(id, entry);
        id
    }

    /// Answers once. The client may be gone, which is all the same here.
    pub fn answer(&self, id: u64, answer: Answer) {
        let reply = self
            .state()
            .entries
            .get_mut(&id)
            .and_then(|entry| entry.reply.take());
        if let Some(reply) = reply {
            let _ = reply.send(answer);
        }
    }

    /// Answers at the end of the store's turn: until then the guest may have written its body.
    pub fn answer_soon(&self, id: u64, response: http::Response<Body>) {
        let State { entries, held, .. } = &mut *self.state();
        let entry = entries.get_mut(&id);
        if let Some(reply) = entry.and_then(|entry| entry.reply.take()) {
            held.push((reply, response));
        }
    }

    /// The store's turn is over.
    pub fn turned(&self) {
        let held = std::mem::take(&mut self.state().held);
        for (reply, response) in held {
            // The client may be gone, which is all the same here.
            let _ = reply.send(Ok(response.map(body::settled)));
        }
    }

    /// The guest has finished; its answer may still be read.
    pub fn guest_is_done(&self, id: u64) {
        if let Some(entry) = self.state().entries.get_mut(&id) {
            entry.is_done = true;
        }
    }

    /// The exchange is over.
    pub fn end(&self, id: u64) {
        self.state().entries.remove(&id);
    }

    /// Who was there first: the one to blame where nobody else is known.
    pub fn eldest(&self) -> Option<CallName> {
        let state = self.state();
        state.entries.values().next().map(|entry| entry.name.clone())
    }

    /// True where nothing is left to wait for: only guests whose time is over, and clients that could hold
    /// the store for as long as they like.
    pub fn only_late(&self) -> bool {
        let state = self.state();
        let mut entries = state.entries.values();
        entries.all(|entry| entry.phase == Phase::Late || entry.is_done)
    }

    /// Waits until a guest is late; from then on the store takes no new calls.
    pub async fn retire(&self) -> CallName {
        loop {
            self.late.notified().await;
            let state = self.state();
            let late = state.entries.values().find(|entry| entry.phase == Phase::Late);
            if let Some(late) = late {
                self.retired.store(true, Ordering::Release);
                return late.name.clone();
            }
        }
    }

    /// Answers all that wait, and breaks off what is not complete: their store is gone.
    pub fn fall(&self, death: &Death) {
        let entries = std::mem::take(&mut self.state().entries);
        for mut entry in entries.into_values() {
            if let Some(reply) = entry.reply.take() {
                let _ = reply.send(Err(death.as_request_error()));
            }
            entry.exchange.store_is_gone();
        }
    }

    /// Looks after the exchanges' time. Ends when the store is stuck: then it has to go as it is.
    pub async fn look_after(&self) {
        while !self.look() {
            clock::sleep_until(self.next_look()).await;
        }
    }

    /// No exchange that begins later is due before one that begins now.
    fn next_look(&self) -> Instant {
        let soonest = clock::now() + self.limit - 2 * self.grace;
        let state = self.state();
        let due = state.entries.values().map(|entry| entry.due);
        due.chain([soonest]).min().unwrap_or(soonest)
    }

    /// True where the store is stuck.
    fn look(&self) -> bool {
        let now = clock::now();
        let mut state = self.state();
        let due = state.entries.values_mut().filter(|entry| entry.due <= now);
        for entry in due {
            if entry.phase == Phase::Late && !self.retired.load(Ordering::Acquire) {
                return true;
            }
            self.step(entry, now);
        }
        false
    }

    fn step(&self, entry: &mut Entry, now: Instant) {
        if entry.is_done {
            // A slow client may take its time; but one that waits, waits for what nobody will write.
            if entry.exchange.client_waits() {
                entry.exchange.cut();
            }
            entry.due = now + self.limit;
            return;
        }
        let mut pause = self.grace;
        entry.phase = match entry.phase {
            Phase::Running => Phase::Watched(entry.exchange.progress()),
            Phase::Watched(progress) => {
                cut_if_stalled(&entry.exchange, progress);
                Phase::Hurried
            }
            Phase::Hurried => {
                if let Some(reply) = entry.reply.take() {
                    let _ = reply.send(Err(RequestError::TimeOver));
                }
                entry.exchange.cut();
                Phase::Over
            }
            Phase::Over | Phase::Late => {
                // A machine that is busy is not a store that is stuck.
                pause = 3 * self.grace;
                self.late.notify_one();
                Phase::Late
            }
        };
        entry.due = now.max(entry.due) + pause;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
