//! Which pages are called at all: one whose new stores trap at once, again and again, is let rest, each
//! time for longer, and then tried by one request. Decides by the time that it is told; knows no store.
//!
//! ```text
//!  calm ─▶ (so many in a row) ─▶ resting ─▶ trial ─▶ calm
//!                                   ▲         │ trapped: twice as long
//!                                   └─────────┘
//! ```

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::project::ComponentId;

/// New stores that trap at once, one after another, before their page rests.
pub const IN_A_ROW: u32 = 16;
/// Traps with so much time between them are not one after another.
const FORGOTTEN: Duration = Duration::from_secs(60);
const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(5);
/// A trial may take its time; meanwhile others are made at this pace.
const NEXT_TRIAL: Duration = Duration::from_secs(1);

/// One breaker for each page of a generation.
pub struct Breakers {
    /// False where all are calm: then nobody takes a lock.
    troubled: AtomicBool,
    pages: Mutex<BTreeMap<ComponentId, State>>,
}

/// What is to be said of a page, each once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Rests,
    Recovered,
}

/// A page that is not here is calm.
#[derive(Clone, Copy, Debug)]
enum State {
    Failing { times: u32, last: Instant },
    Resting { until: Instant, rest: Duration },
    Trial { since: Instant, rest: Duration },
}

impl Breakers {
    pub fn new() -> Self {
        Self {
            troubled: AtomicBool::new(false),
            pages: Mutex::default(),
        }
    }

    /// Errors: the page rests, for how long yet.
    pub fn admit(&self, page: &ComponentId, now: Instant) -> Result<(), Duration> {
        if !self.troubled.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut pages = self.pages();
        let Some(state) = pages.get_mut(page) else {
            return Ok(());
        };
        let (next, rest) = match *state {
            State::Failing { .. } => return Ok(()),
            State::Resting { until, rest } => (until, rest),
            State::Trial { since, rest } => (since + NEXT_TRIAL, rest),
        };
        let left = next.saturating_duration_since(now);
        if !left.is_zero() {
            return Err(left);
        }
        *state = State::Trial { since: now, rest };
        Ok(())
    }

    /// True where the page is not called now.
    pub fn rests(&self, page: &ComponentId) -> bool {
        let resting = |state: &State| !matches!(state, State::Failing { .. });
        self.troubled.load(Ordering::Acquire) && self.pages().get(page).is_some_and(resting)
    }

    /// A call of the page ended well.
    pub fn succeeded(&self, page: &ComponentId) -> Option<Change> {
        if !self.troubled.load(Ordering::Acquire) {
            return None;
        }
        let mut pages = self.pages();
        let before = pages.remove(page)?;
        self.troubled.store(!pages.is_empty(), Ordering::Release);
        (!matches!(before, State::Failing { .. })).then_some(Change::Recovered)
    }

    /// A new store trapped in its start or in its first call, which was of this page.
    pub fn failed(&self, page: &ComponentId, now: Instant) -> Option<Change> {
        let mut pages = self.pages();
        self.troubled.store(true, Ordering::Release);
        let before = pages.get(page).copied();
        let times = match before {
            Some(State::Failing { times, last }) if now.saturating_duration_since(last) < FORGOTTEN => {
                times + 1
            }
            _ => 1,
        };
        let after = match before {
            // It was under way when the page was told to rest.
            Some(State::Resting { .. }) => return None,
            Some(State::Trial { rest, .. }) => resting(now, (2 * rest).min(LONGEST_REST)),
            _ if times >= IN_A_ROW => resting(now, FIRST_REST),
            _ => State::Failing { times, last: now },
        };
        pages.insert(page.clone(), after);
        let rests = matches!(after, State::Resting { .. });
        (rests && !matches!(before, Some(State::Trial { .. }))).then_some(Change::Rests)
    }

    fn pages(&self) -> MutexGuard<'_, BTreeMap<ComponentId, State>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn resting(now: Instant, rest: Duration) -> State {
    let until = now + rest;
    State::Resting { until, rest }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn page(name: &str) -> ComponentId {
        ComponentId::parse(name).unwrap()
    }

    fn fail(breakers: &Breakers, times: u32, now: Instant) -> Vec<Change> {
        let page = page("shop.home");
        (0..times).filter_map(|_| breakers.failed(&page, now)).collect()
    }

    #[test]
    fn a_page_rests_after_so_many_in_a_row() {
        let (breakers, now, page) = (Breakers::new(), Instant::now(), page("shop.home"));
        assert_eq!(fail(&breakers, IN_A_ROW - 1, now), []);
        assert_eq!(breakers.admit(&page, now), Ok(()));
        assert_eq!(breakers.succeeded(&page), None, "it never rested");
        assert_eq!(fail(&breakers, IN_A_ROW, now), [Change::Rests], "said once");
        assert_eq!(breakers.admit(&page, now + MILLI), Err(FIRST_REST - MILLI));
        assert_eq!(breakers.admit(&self::page("shop.item"), now), Ok(()));
        assert_eq!(fail(&breakers, 3, now), [], "those were under way");
    }

    #[test]
    fn traps_far_apart_are_not_in_a_row() {
        let (breakers, mut now) = (Breakers::new(), Instant::now());
        for _ in 0..3 * IN_A_ROW {
            assert_eq!(fail(&breakers, 1, now), []);
            now += FORGOTTEN;
        }
    }

    #[test]
    fn each_trial_that_fails_doubles_the_rest() {
        let (breakers, mut now, page) = (Breakers::new(), Instant::now(), page("shop.home"));
        fail(&breakers, IN_A_ROW, now);
        let mut rest = FIRST_REST;
        for _ in 0..10 {
            assert_eq!(breakers.admit(&page, now), Err(rest));
            now += rest;
            assert_eq!(breakers.admit(&page, now), Ok(()), "a trial");
            assert_eq!(breakers.admit(&page, now), Err(NEXT_TRIAL), "one at a time");
            assert_eq!(fail(&breakers, 1, now), [], "said already");
            rest = (2 * rest).min(LONGEST_REST);
        }
        assert_eq!(rest, LONGEST_REST);
        now += rest;
        assert_eq!(breakers.admit(&page, now), Ok(()));
        assert_eq!(
            breakers.admit(&page, now + NEXT_TRIAL),
            Ok(()),
            "the first is slow"
        );
        assert_eq!(breakers.succeeded(&page), Some(Change::Recovered));
        assert_eq!(breakers.succeeded(&page), None);
        assert_eq!(fail(&breakers, IN_A_ROW - 1, now), [], "it counts anew");
    }
}
