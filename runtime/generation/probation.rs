//! A new generation's first requests: how many were answered, how many trapped, and what follows. Knows
//! neither stores nor what comes of a verdict.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use crate::project::Probation;

/// A generation that may still be reverted.
pub struct Probationer {
    terms: Probation,
    /// What most calls ask.
    is_over: AtomicBool,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    requests: u64,
    traps: u64,
    has_failed: bool,
}

/// How a probation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Proven,
    /// It trapped so often within so many requests.
    Failed { traps: u64, requests: u64 },
}

impl Probationer {
    pub fn new(terms: Probation) -> Self {
        Self {
            terms,
            is_over: AtomicBool::new(false),
            counts: Mutex::default(),
        }
    }

    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    pub fn has_failed(&self) -> bool {
        self.counts().has_failed
    }

    /// A request was answered. The verdict, where that ends it.
    pub fn answered(&self) -> Option<Verdict> {
        self.count(false)
    }

    /// A guest trapped in a request, or took too long. The verdict, where that ends it.
    pub fn trapped(&self) -> Option<Verdict> {
        self.count(true)
    }

    fn count(&self, trapped: bool) -> Option<Verdict> {
        if self.is_over() {
            return None;
        }
        let mut counts = self.counts();
        if self.is_over() {
            return None;
        }
        counts.requests += 1;
        counts.traps += u64::from(trapped);
        let Counts { requests, traps, .. } = *counts;
        let verdict = if traps >= self.terms.traps {
            counts.has_failed = true;
            Verdict::Failed { traps, requests }
        } else if requests >= self.terms.requests {
            Verdict::Proven
        } else {
            return None;
        };
        self.is_over.store(true, Ordering::Release);
        Some(verdict)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fails_with_the_last_trap_that_is_allowed_and_not_before() {
        let probationer = Probationer::new(Probation {
            requests: 4,
            traps: 2,
        });
        assert_eq!(probationer.trapped(), None);
        assert_eq!(probationer.answered(), None);
        assert!(!probationer.is_over());
        let failed = Verdict::Failed {
            traps: 2,
            requests: 3,
        };
        assert_eq!(probationer.trapped(), Some(failed));
        assert!(probationer.is_over() && probationer.has_failed());
        assert_eq!(probationer.trapped(), None, "it is said once");
    }

    #[test]
    fn it_is_proven_by_its_last_request() {
        let probationer = Probationer::new(Probation {
            requests: 3,
            traps: 2,
        });
        assert_eq!(probationer.answered(), None);
        assert_eq!(probationer.trapped(), None);
        assert_eq!(probationer.answered(), Some(Verdict::Proven));
        assert_eq!(probationer.trapped(), None, "a later trap is no matter of it");
        assert!(!probationer.has_failed());
    }
}
