//! Where a call runs: on the threads that serve, or, as long as it computes, in the background. Who has
//! waited for something comes back. A page whose last calls computed for long begins there.
//!
//! ```text
//!  caller's thread ─▶ serving threads ◀─(it waits)── background
//!                            └──(two ticks)──────────────▲
//! ```
//!
//! An event loop, in which many calls run, goes on where it is woken: see [`Pace::carry`].

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use async_task::Runnable;
use tokio::{runtime::Handle, task::unconstrained};

use crate::{
    artifact::{Artifact, Entry},
    engine::{Background, Work, take_ticks},
};

/// Ticks of the clock after which a call computes for long. The first may come at once, since the clock
/// knows nothing of calls.
const LONG: u32 = 2;

/// Where the calls of one generation run.
pub struct Pace {
    background: Background,
    /// Where its calls go on that have to wait, and what they wait for: a connection's thread is for
    /// connections.
    runtime: Handle,
    group: Arc<str>,
    /// Whether a page's calls computed for long the last time, by slice and place.
    long: Vec<Vec<AtomicBool>>,
}

/// A page of a generation, by slice and place.
pub type Page = (usize, usize);

/// One call's way.
struct Way {
    pace: Arc<Pace>,
    page: Option<Page>,
    /// Ticks that it has seen since it waited last in the background.
    ticks: u32,
    /// It was interrupted at least once.
    computed: bool,
}

/// A call that did not end at once.
pub struct Rest {
    way: Way,
    call: Work,
    /// It is expected to compute for long.
    computes: bool,
}

impl Rest {
    /// Goes on by itself, and then does what follows.
    pub fn go_on(self, then: impl FnOnce() + Send + 'static) {
        let Self { way, call, computes } = self;
        let call = Box::pin(async move {
            call.await;
            then();
        });
        if computes {
            way.compute(call);
        } else {
            way.go_on(call);
        }
    }
}

/// A turn of an event loop. One whose thread ends before it was taken goes home: dropped, it would end the loop.
struct Turn {
    runnable: Option<Runnable>,
    home: Option<Handle>,
}

impl Turn {
    fn new(runnable: Runnable, home: &Handle) -> Self {
        Self {
            runnable: Some(runnable),
            home: Some(home.clone()),
        }
    }

    async fn take(mut self) {
        if let Some(runnable) = self.runnable.take() {
            runnable.run();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let (Some(runnable), Some(home)) = (self.runnable.take(), self.home.take()) {
            let last = Self {
                runnable: Some(runnable),
                home: None,
            };
            home.spawn(last.take());
        }
    }
}

impl Pace {
    pub fn new(group: &Arc<str>, artifact: &Artifact) -> Arc<Self> {
        let mut long = Vec::new();
        long.resize_with(artifact.slices.len(), Vec::new);
        for Entry { slice, place, .. } in artifact.entries.values() {
            let places: &mut Vec<AtomicBool> = &mut long[*slice];
            let least = places.len().max(place + 1);
            places.resize_with(least, AtomicBool::default);
        }
        Arc::new(Self {
            background: artifact.engines.background.clone(),
            runtime: Handle::current(),
            group: group.clone(),
            long,
        })
    }

    /// Runs a call on the caller's thread as far as it gets at once, which for most is to their end; what
    /// has to wait goes on by itself. So it costs no change of threads, and goes on without its client.
    pub async fn run(self: &Arc<Self>, page: Page, call: Work) {
        if let Some(rest) = self.begin(page, call).await {
            rest.go_on(|| ());
        }
    }

    /// As [`Self::run`], and gives back what does not end at once.
    pub async fn begin(self: &Arc<Self>, page: Page, mut call: Work) -> Option<Rest> {
        let mut way = self.way(Some(page));
        let computes = way.flag().is_some_and(|long| long.load(Relaxed));
        if !computes {
            take_ticks();
            let first = poll_fn(|context| {
                let _entered = self.runtime.enter();
                Poll::Ready(call.as_mut().poll(context))
            });
            if first.await.is_ready() {
                return None;
            }
            way.count();
        }
        Some(Rest { way, call, computes })
    }

    /// Runs something else on the threads that serve.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(work);
    }

    /// Runs an event loop to its end. Its turns are taken by whoever wakes it: by the thread of the connection
    /// that has a call for it, or has read from it, so that neither waits for another thread to wake up.
    pub async fn carry(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let computes = Arc::new(AtomicBool::new(false));
        // It gives its thread back by the clock, not by how much it finds to do.
        let work: Work = Box::pin(unconstrained(work));
        let (mut way, mut work) = (self.way(None), work);
        let (pace, own) = (self.clone(), computes.clone());
        let turns = poll_fn(move |context| {
            let _entered = pace.runtime.enter();
            let (turn, ticks) = way.turn(&mut work, context);
            let long = way.ticks >= LONG;
            if long && ticks == 0 {
                way.ticks = 0;
            }
            own.store(long && ticks > 0, Relaxed);
            turn
        });
        let pace = self.clone();
        let place = move |turn| pace.place(Turn::new(turn, &pace.runtime), computes.load(Relaxed));
        let (first, task) = async_task::spawn(turns, place);
        first.schedule();
        // Nothing is left of one that panicked.
        task.fallible().await.unwrap_or_default();
    }

    /// Has a turn of an event loop be taken: here, or in the background while its guests compute for long.
    fn place(&self, turn: Turn, computes: bool) {
        let turn = turn.take();
        if computes {
            let _entered = self.runtime.enter();
            return self.background.spawn(&self.group, Box::pin(turn));
        }
        let here = Handle::try_current();
        here.as_ref().unwrap_or(&self.runtime).spawn(turn);
    }

    fn way(self: &Arc<Self>, page: Option<Page>) -> Way {
        Way {
            pace: self.clone(),
            page,
            ticks: 0,
            computed: false,
        }
    }
}

impl Way {
    /// On the threads that serve, until it has computed for long.
    fn go_on(mut self, mut call: Work) {
        let runtime = self.pace.runtime.clone();
        runtime.spawn(async move {
            let is_over = poll_fn(|context| match self.turn(&mut call, context) {
                (Poll::Pending, _) if self.ticks >= LONG => Poll::Ready(false),
                (turn, _) => turn.map(|()| true),
            });
            if is_over.await {
                self.end();
            } else {
                self.remember(true);
                self.compute(call);
            }
        });
    }

    /// In the background, until it has to wait.
    fn compute(mut self, mut call: Work) {
        let pace = self.pace.clone();
        let work = async move {
            let is_over = poll_fn(|context| match self.turn(&mut call, context) {
                (Poll::Pending, 0) => Poll::Ready(false),
                (turn, _) => turn.map(|()| true),
            });
            if is_over.await {
                self.end();
            } else {
                self.ticks = 0;
                self.go_on(call);
            }
        };
        let _entered = pace.runtime.enter();
        pace.background.spawn(&pace.group, Box::pin(work));
    }

    /// One turn of the call, and the ticks in it.
    fn turn(&mut self, call: &mut Work, context: &mut Context<'_>) -> (Poll<()>, u32) {
        take_ticks();
        let turn = call.as_mut().poll(context);
        (turn, self.count())
    }

    fn count(&mut self) -> u32 {
        let ticks = take_ticks();
        self.ticks += ticks;
        self.computed |= ticks > 0;
        ticks
    }

    fn end(&self) {
        if !self.computed {
            self.remember(false);
        }
    }

    fn remember(&self, long: bool) {
        if let Some(flag) = self.flag() {
            flag.store(long, Relaxed);
        }
    }

    fn flag(&self) -> Option<&AtomicBool> {
        let (slice, place) = self.page?;
        self.pace.long.get(slice)?.get(place)
    }
}
