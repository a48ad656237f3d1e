//! The time that limits and guests go by: the system's, and as far ahead of it as a test has moved it. Like the
//! system's there is one for the process. Moving it wakes whoever sleeps, to reckon anew; where it cannot be
//! moved, which is everywhere but in a test's server, a sleep is a plain timer.
//!
//! What is measured rather than limited – how long a stage took, how long a page needs – goes by the system's
//! clock, and so does what waits for the machine (`tests/tidy.rs` has the list).

use std::{
    pin::Pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use pin_project_lite::pin_project;
use tokio::sync::{Notify, futures::Notified};

static MOVABLE: AtomicBool = AtomicBool::new(false);
/// Nanoseconds.
static AHEAD: AtomicU64 = AtomicU64::new(0);
static MOVED: Notify = Notify::const_new();
/// What threads that wait are woken by.
static WAKERS: Mutex<Vec<Wake>> = Mutex::new(Vec::new());

type Wake = Box<dyn Fn() + Send>;

/// How far ahead it may get: what comes later is as good as never.
const FARTHEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Lets it be moved from now on. To be called before anything sleeps.
pub fn make_movable() {
    MOVABLE.store(true, SeqCst);
}

/// Moves it on, for all at once. How far it is ahead then; `None` where it cannot be moved.
pub fn advance(by: Duration) -> Option<Duration> {
    if !MOVABLE.load(SeqCst) {
        return None;
    }
    let moved = |before| {
        Some(nanos(
            (Duration::from_nanos(before).saturating_add(by)).min(FARTHEST),
        ))
    };
    // It always gives a value.
    let _ = AHEAD.fetch_update(SeqCst, SeqCst, moved);
    MOVED.notify_waiters();
    let wakers = WAKERS.lock().unwrap_or_else(PoisonError::into_inner);
    wakers.iter().for_each(|wake| wake());
    Some(ahead())
}

/// How far it is ahead of the system's.
pub fn ahead() -> Duration {
    Duration::from_nanos(AHEAD.load(SeqCst))
}

pub fn now() -> Instant {
    Instant::now() + ahead()
}

/// Calls `wake` each time that the clock was moved: for a thread, which cannot `sleep` here.
pub fn on_move(wake: impl Fn() + Send + 'static) {
    if MOVABLE.load(SeqCst) {
        let mut wakers = WAKERS.lock().unwrap_or_else(PoisonError::into_inner);
        wakers.push(Box::new(wake));
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(later(now(), duration))
}

/// So long after `since`, also where that is as good as never.
pub fn later(since: Instant, duration: Duration) -> Instant {
    since.checked_add(duration).unwrap_or(since + FARTHEST)
}

pub fn sleep_until(deadline: Instant) -> Sleep {
    // Before the clock is read: a move in between must be seen.
    let moved = MOVABLE.load(SeqCst).then(|| Box::pin(MOVED.notified()));
    Sleep {
        timer: tokio::time::sleep_until(real(deadline)),
        deadline,
        moved,
    }
}

/// When the system's clock has come as far.
fn real(deadline: Instant) -> tokio::time::Instant {
    let real = deadline.checked_sub(ahead());
    real.unwrap_or_else(Instant::now).into()
}

pin_project! {
    /// Over when its time has come.
    #[must_use = "it does nothing unless it is awaited"]
    pub struct Sleep {
        #[pin]
        timer: tokio::time::Sleep,
        deadline: Instant,
        // That the clock was moved; `None` where it cannot be.
        moved: Option<Pin<Box<Notified<'static>>>>,
    }
}

impl Sleep {
    /// Has it end at another time.
    pub fn reset(self: Pin<&mut Self>, deadline: Instant) {
        let sleep = self.project();
        *sleep.deadline = deadline;
        sleep.timer.reset(real(deadline));
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut sleep = self.project();
        if let Some(moved) = sleep.moved {
            while moved.as_mut().poll(context).is_ready() {
                moved.set(MOVED.notified());
                sleep.timer.as_mut().reset(real(*sleep.deadline));
            }
        }
        sleep.timer.poll(context)
    }
}

/// The time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// `future`, unless it takes longer than `duration`.
pub fn timeout<F: Future>(duration: Duration, future: F) -> Timeout<F> {
    let sleep = sleep(duration);
    Timeout { future, sleep }
}

/// `future`, unless it takes until `deadline`.
pub fn timeout_at<F: Future>(deadline: Instant, future: F) -> Timeout<F> {
    let sleep = sleep_until(deadline);
    Timeout { future, sleep }
}

pin_project! {
    #[must_use = "it does nothing unless it is awaited"]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        #[pin]
        sleep: Sleep,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let timeout = self.project();
        if let Poll::Ready(output) = timeout.future.poll(context) {
            return Poll::Ready(Ok(output));
        }
        ready!(timeout.sleep.poll(context));
        Poll::Ready(Err(Elapsed))
    }
}
