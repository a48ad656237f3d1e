//! The turns of an event loop. A turn goes on for as long as the loop finds something to do, up to a bound; then
//! answers go out, and the loop looks after what it is not told of: not with each of its steps. Knows not what the
//! loop does.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU8,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
    task::{Context, Poll, Wake, Waker},
};

use futures::task::AtomicWaker;

use crate::engine;

/// How often a loop that wakes itself is turned at once: small requests come to their end in a few steps each, and
/// many may have come.
const AT_ONCE: u32 = 256;

/// Shared between a loop and what turns it; both are on one thread at a time.
#[derive(Default)]
pub struct Turns {
    wakes: Arc<Wakes>,
    /// The loop has nothing else to do.
    free: AtomicBool,
    /// A look was put off.
    wanted: AtomicBool,
}

/// Who wakes the loop from outside of a turn wakes who turns it.
#[derive(Default)]
struct Wakes {
    state: AtomicU8,
    outside: AtomicWaker,
}

const WAITING: u8 = 0;
const TURNING: u8 = 1;
const WOKEN: u8 = 2;

impl Turns {
    /// True where it is time to look. Otherwise whoever asks is asked again in this turn.
    pub fn may_look(&self) -> bool {
        let free = self.free.load(Relaxed);
        if !free {
            self.wanted.store(true, Relaxed);
        }
        free
    }

    /// Turns a loop to its end. `turned` is told when it has done what there is, and before it looks.
    pub async fn take<T>(&self, turning: impl Future<Output = T>, turned: impl Fn()) -> T {
        let (mut turning, waker) = (pin!(turning), Waker::from(self.wakes.clone()));
        poll_fn(|outside| {
            let mut turn = |free| {
                self.free.store(free, Relaxed);
                let over = self.turn(outside, || {
                    turning.as_mut().poll(&mut Context::from_waker(&waker))
                });
                turned();
                over
            };
            self.wanted.store(false, Relaxed);
            let over = turn(false);
            if over.is_ready() || !self.wanted.load(Relaxed) {
                return over;
            }
            turn(true)
        })
        .await
    }

    /// One turn. It gives the thread back where the clock interrupted a guest.
    fn turn<T>(&self, outside: &Context<'_>, mut step: impl FnMut() -> Poll<T>) -> Poll<T> {
        self.wakes.outside.register(outside.waker());
        for _ in 0..AT_ONCE {
            self.wakes.state.store(TURNING, Release);
            let over = step();
            if over.is_ready() || self.wakes.wait() {
                return over;
            }
            if engine::has_ticked() {
                break;
            }
        }
        self.wakes.state.store(WAITING, Release);
        outside.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Wakes {
    /// False where the loop was woken since its step began.
    fn wait(&self) -> bool {
        self.state
            .compare_exchange(TURNING, WAITING, AcqRel, Acquire)
            .is_ok()
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let woken = self.state.compare_exchange(TURNING, WOKEN, AcqRel, Acquire);
        if woken == Err(WAITING) {
            self.outside.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use futures::{FutureExt, future::pending};

    use super::*;

    #[test]
    fn a_look_comes_after_all_else() {
        let (turns, seen) = (Turns::default(), RefCell::new(Vec::new()));
        let steps = poll_fn(|_| {
            for step in ["work", "more work"] {
                seen.borrow_mut()
                    .push(if turns.may_look() { "look" } else { step });
            }
            Poll::<()>::Pending
        });
        let turning = turns.take(steps, || seen.borrow_mut().push("turned"));
        assert_eq!(turning.now_or_never(), None);
        let expected = ["work", "more work", "turned", "look", "look", "turned"];
        assert_eq!(*seen.borrow(), expected);
    }

    #[test]
    fn a_loop_that_wakes_itself_goes_on_and_is_told_of_once() {
        let (turns, steps, told) = (Turns::default(), Cell::new(0), Cell::new(0));
        let turning = turns.take(
            poll_fn(|context| {
                steps.set(steps.get() + 1);
                if steps.get() < 3 {
                    context.waker().wake_by_ref();
                }
                Poll::<()>::Pending
            }),
            || told.set(told.get() + 1),
        );
        assert_eq!(turning.now_or_never(), None);
        assert_eq!((steps.get(), told.get()), (3, 1));
    }

    #[test]
    fn a_loop_that_never_rests_gives_its_thread_back_and_is_turned_again() {
        let (turns, steps) = (Turns::default(), Cell::new(0));
        let turning = turns.take(
            poll_fn(|context| {
                steps.set(steps.get() + 1);
                context.waker().wake_by_ref();
                Poll::<()>::Pending
            }),
            || (),
        );
        let mut turning = pin!(turning);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let turned = turning.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(turned.is_pending());
        assert_eq!(steps.get(), AT_ONCE);
        assert!(woken.0.load(Relaxed), "who turns it is woken in its place");
    }

    #[test]
    fn a_wake_from_outside_of_a_turn_wakes_who_turns_it() {
        let (turns, woken) = (Turns::default(), Arc::new(Woken::default()));
        let mut turning = pin!(turns.take(pending::<()>(), || ()));
        let waker = Waker::from(woken.clone());
        let turned = turning.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(turned.is_pending() && !woken.0.load(Relaxed));
        turns.wakes.wake_by_ref();
        assert!(woken.0.load(Relaxed));
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Relaxed);
        }
    }
}
