//! One store and those who wait for it, in order of arrival. Whoever has the store answers those who wait as
//! well, in place of waking each for its turn: to wake a thread takes longer than a small call. Knows not how a
//! call is run.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::{call::Call, lasting::LastingStore};

/// So many wait before those who left are looked for.
const MANY: usize = 256;

pub struct Line(Mutex<State>);

struct State {
    store: Place,
    waiting: VecDeque<Waiting>,
    /// The length at which those who left are looked for.
    full: usize,
    /// Somebody waits for the gate in the name of all.
    is_watched: bool,
}

enum Place {
    Free(LastingStore),
    /// Between two calls of the one who has it.
    Kept(LastingStore),
    Away,
}

enum Waiting {
    Call(Box<Call>),
    /// Who does something else with the store.
    Other(oneshot::Sender<Held>),
}

/// The store, out of its line; free again when this is dropped.
pub struct Held {
    line: Arc<Line>,
    store: Option<LastingStore>,
}

/// A store and the call that it is to answer.
pub type Turn = (Held, Box<Call>);

impl Line {
    pub fn new(store: LastingStore) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            store: Place::Free(store),
            waiting: VecDeque::new(),
            full: MANY,
            is_watched: false,
        })))
    }

    /// The turn of this call, or of one before it where nobody has the store. `None` where somebody has, who answers
    /// this call too.
    pub fn enter(self: &Arc<Self>, call: Box<Call>) -> Option<Turn> {
        let mut state = self.state();
        if state.waiting.is_empty()
            && let Some(store) = state.store.take_free()
        {
            drop(state);
            return Some((self.held(store), call));
        }
        state.push(Waiting::Call(call));
        drop(state);
        self.resume()
    }

    /// The store in order of arrival, for something else than a call; and the turn of one that waited before.
    pub fn ask(self: &Arc<Self>) -> (oneshot::Receiver<Held>, Option<Turn>) {
        let (sender, held) = oneshot::channel();
        self.state().push(Waiting::Other(sender));
        (held, self.resume())
    }

    /// The next turn, where nobody has the store.
    pub fn resume(self: &Arc<Self>) -> Option<Turn> {
        let store = self.state().store.take_free()?;
        self.next_of(self.held(store))
    }

    /// The next turn, by the one who kept the store.
    pub fn next(self: &Arc<Self>) -> Option<Turn> {
        let store = self.state().store.take_kept()?;
        self.next_of(self.held(store))
    }

    fn next_of(&self, mut held: Held) -> Option<Turn> {
        loop {
            let mut state = self.state();
            let Some(next) = state.waiting.pop_front() else {
                state.store = held.store.take().map_or(Place::Away, Place::Free);
                return None;
            };
            drop(state);
            match next {
                Waiting::Call(call) if call.reply.is_closed() => {}
                Waiting::Call(call) => return Some((held, call)),
                Waiting::Other(turn) => match turn.send(held) {
                    Ok(()) => return None,
                    Err(unsent) => held = unsent,
                },
            }
        }
    }

    /// True for the one who is to wait for the gate in the name of all who wait.
    pub fn is_to_be_watched(&self) -> bool {
        !mem::replace(&mut self.state().is_watched, true)
    }

    /// The gate was waited for.
    pub fn is_watched_no_more(&self) {
        self.state().is_watched = false;
    }

    fn held(self: &Arc<Self>, store: LastingStore) -> Held {
        Held {
            line: self.clone(),
            store: Some(store),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, waiting: Waiting) {
        if self.waiting.len() >= self.full {
            self.waiting.retain(|waiting| !waiting.has_left());
            self.full = MANY.max(2 * self.waiting.len());
        }
        self.waiting.push_back(waiting);
    }
}

impl Place {
    fn take_free(&mut self) -> Option<LastingStore> {
        match mem::replace(self, Self::Away) {
            Self::Free(store) => Some(store),
            other => {
                *self = other;
                None
            }
        }
    }

    fn take_kept(&mut self) -> Option<LastingStore> {
        match mem::replace(self, Self::Away) {
            Self::Kept(store) => Some(store),
            other => {
                *self = other;
                None
            }
        }
    }
}

impl Waiting {
    fn has_left(&self) -> bool {
        match self {
            Self::Call(call) => call.reply.is_closed(),
            Self::Other(turn) => turn.is_closed(),
        }
    }
}

impl Held {
    /// A call has ended, and whoever began it looks at who is next.
    pub fn keep(mut self) {
        let mut state = self.line.state();
        state.store = self.store.take().map_or(Place::Away, Place::Kept);
    }

    /// The call waits on, before all others.
    pub fn put_back(self, call: Box<Call>) {
        self.line.state().waiting.push_front(Waiting::Call(call));
    }

    pub fn store(&mut self) -> Option<&mut LastingStore> {
        self.store.as_mut()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(store) = self.store.take() {
            self.line.state().store = Place::Free(store);
        }
    }
}
