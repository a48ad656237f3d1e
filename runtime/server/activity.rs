//! What one connection is doing, as far as its end depends on it: written while requests come and go,
//! read by whoever watches the connection. Decides by the limits alone; knows no socket.
//!
//! ```text
//!  idle ──first byte──▶ head ──last byte──▶ requests in flight ──last one ended──▶ idle
//!  idle-time            header-time         (the group's own limits)
//! ```
//! A connection that never had a request is as one that waits for its head. Of HTTP/2 no heads are seen,
//! only requests.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::stream_body::Shared;
use crate::{clock, project::ServerLimits};

pub struct Activity {
    began: Instant,
    http2: AtomicBool,
    /// A request has come.
    used: AtomicBool,
    in_flight: AtomicUsize,
    /// In milliseconds from the beginning: when the last request ended.
    idle_since: AtomicU64,
    /// When the first byte of a head was read; 0 while none is.
    head_since: AtomicU64,
    /// The last request's body was not read to its end.
    unread: AtomicBool,
    /// The bodies that an HTTP/2 client still has to take.
    bodies: Mutex<Vec<Weak<Shared>>>,
}

/// A request, from its head to the last byte of its response.
pub struct InFlight(Arc<Activity>);

/// What is to become of a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on, and is to be looked at again then.
    Look(Instant),
    /// Its requests are its last.
    Finish(Instant),
    /// It waits for a request that it need not wait for.
    Close,
    /// Its client is too slow.
    Drop,
}

/// How long the rest of a head is waited for once the server is to stop.
const LAST_HEAD: Duration = Duration::from_secs(1);

impl Activity {
    pub fn new(now: Instant) -> Self {
        Self {
            began: now,
            http2: AtomicBool::new(false),
            used: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            idle_since: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            unread: AtomicBool::new(false),
            bodies: Mutex::default(),
        }
    }

    /// Something was read.
    pub fn heard(&self) {
        if self.in_flight.load(Relaxed) == 0 && self.head_since.load(Relaxed) == 0 {
            self.head_since.store(self.millis(clock::now()).max(1), Relaxed);
        }
    }

    /// The head of a request is complete.
    pub fn begin(self: &Arc<Self>, http2: bool) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        self.head_since.store(0, Relaxed);
        self.used.store(true, Relaxed);
        self.unread.store(false, Relaxed);
        if http2 {
            self.http2.store(true, Relaxed);
        }
        InFlight(self.clone())
    }

    /// The request's body is let go of before its end.
    pub fn leave_unread(&self) {
        self.unread.store(true, Relaxed);
    }

    /// Whether the client may still be sending what nobody reads.
    pub fn is_left_unread(&self) -> bool {
        self.unread.load(Relaxed)
    }

    /// A body that the client has to take in time.
    pub fn watch(&self, body: Weak<Shared>) {
        let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        if bodies.len() == bodies.capacity() {
            bodies.retain(|body| body.strong_count() > 0);
        }
        bodies.push(body);
    }

    /// Ends the responses of which the client took nothing for too long.
    pub fn end_stalled(&self, now: Instant, limits: &ServerLimits) {
        let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        bodies.retain(|body| {
            body.upgrade()
                .is_some_and(|body| !body.end_if_stalled(now, limits.write_time))
        });
    }

    /// `stopping` since when, if the server is to stop.
    pub fn judge(&self, now: Instant, stopping: Option<Instant>, limits: &ServerLimits) -> Verdict {
        // Everything that can become late from here on is so after this time at the earliest.
        let soon = now + limits.header_time.min(limits.write_time).min(limits.idle_time);
        if self.in_flight.load(Relaxed) > 0 {
            return if stopping.is_some() {
                Verdict::Finish(soon)
            } else {
                Verdict::Look(soon)
            };
        }
        let head_since = self.head_since.load(Relaxed);
        if head_since > 0 && !self.http2.load(Relaxed) {
            let late = self.at(head_since) + limits.header_time;
            let late = stopping.map_or(late, |stopping| late.min(stopping + LAST_HEAD));
            return if now >= late {
                Verdict::Drop
            } else {
                Verdict::Look(late)
            };
        }
        let waits = if self.used.load(Relaxed) {
            limits.idle_time
        } else {
            limits.header_time
        };
        let late = self.at(self.idle_since.load(Relaxed)) + waits;
        if stopping.is_some() || now >= late {
            Verdict::Close
        } else {
            Verdict::Look(late.min(soon))
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }

    fn at(&self, millis: u64) -> Instant {
        self.began + Duration::from_millis(millis)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let Self(activity) = self;
        activity.idle_since.store(activity.millis(clock::now()), Relaxed);
        activity.in_flight.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn limits() -> ServerLimits {
        ServerLimits {
            header_time: seconds(5),
            idle_time: seconds(60),
            write_time: seconds(20),
            ..ServerLimits::default()
        }
    }

    /// A connection, its beginning, and what becomes of it so many seconds later.
    struct Case(Arc<Activity>, Instant);

    impl Case {
        fn new() -> Self {
            let began = clock::now();
            Self(Arc::new(Activity::new(began)), began)
        }

        fn judge(&self, after: u64, stopping: Option<u64>) -> Verdict {
            let at = |after| self.1 + seconds(after);
            self.0.judge(at(after), stopping.map(at), &limits())
        }

        fn goes_on(&self, after: u64) -> bool {
            matches!(self.judge(after, None), Verdict::Look(again) if again > self.1 + seconds(after))
        }
    }

    #[test]
    fn one_that_never_asks_has_the_time_of_a_head() {
        let case = Case::new();
        assert!(case.goes_on(4));
        assert_eq!(case.judge(5, None), Verdict::Close);
        assert_eq!(case.judge(0, Some(0)), Verdict::Close);
    }

    #[test]
    fn a_head_that_does_not_end_is_dropped() {
        let case = Case::new();
        case.0.heard();
        assert!(case.goes_on(4));
        assert_eq!(case.judge(6, None), Verdict::Drop);
        assert!(
            matches!(case.judge(1, Some(1)), Verdict::Look(_)),
            "it may come yet"
        );
        assert_eq!(case.judge(3, Some(1)), Verdict::Drop);
    }

    #[test]
    fn requests_in_flight_keep_it_and_then_it_is_idle() {
        let case = Case::new();
        case.0.heard();
        let (one, two) = (case.0.begin(false), case.0.begin(false));
        case.0.heard();
        assert!(case.goes_on(1000));
        drop(one);
        assert!(case.goes_on(1000));
        assert!(matches!(case.judge(1000, Some(0)), Verdict::Finish(_)));
        drop(two);
        assert!(case.goes_on(59));
        assert_eq!(case.judge(61, None), Verdict::Close);
        assert_eq!(case.judge(1, Some(1)), Verdict::Close);
    }

    #[test]
    fn an_idle_client_of_http2_may_talk_without_asking() {
        let case = Case::new();
        drop(case.0.begin(true));
        case.0.heard();
        assert!(case.goes_on(59));
        assert_eq!(case.judge(61, None), Verdict::Close);
    }
}
