//! Keeps a client of a fleet from going back: it is told the commit that its answer may be of, and a server that is
//! behind that one does not answer it. Knows no fleet.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, header};
use tokio::{sync::watch, time::timeout};

/// The cookie's name. Its value is a number of a commit.
const COOKIE: &str = "wasmhost-commit";
/// How long a request waits for its commit, which comes to all within much less.
const PATIENCE: Duration = Duration::from_millis(500);

/// Which commit a server serves.
pub struct Pin {
    /// Every answer from now on is of this commit or a newer one.
    serves: watch::Sender<u64>,
    /// No answer is of a newer one than this.
    newest: AtomicU64,
}

impl Default for Pin {
    fn default() -> Self {
        let serves = watch::Sender::new(0);
        let newest = AtomicU64::new(0);
        Self { serves, newest }
    }
}

impl Pin {
    /// The commit is about to be published.
    pub fn begin(&self, number: u64) {
        self.newest.fetch_max(number, Ordering::SeqCst);
    }

    /// It is published.
    pub fn serve(&self, number: u64) {
        self.begin(number);
        self.serves.send_replace(number);
    }

    /// What was published was taken back here.
    pub fn take_back(&self) {
        self.serves
            .send_modify(|number| *number = number.saturating_sub(1));
    }

    /// The newest commit that a client has seen; 0 where it has seen none.
    pub(super) fn seen(headers: &HeaderMap) -> u64 {
        let lines = headers.get_all(header::COOKIE).into_iter();
        let cookies = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'));
        let values = cookies.filter_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='));
        values.filter_map(|value| value.parse().ok()).max().unwrap_or(0)
    }

    /// True once what is served is no older than what was seen; false where that does not come soon.
    pub(super) async fn admits(&self, seen: u64) -> bool {
        if *self.serves.borrow() >= seen {
            return true;
        }
        let mut serves = self.serves.subscribe();
        // Boxed: few requests wait.
        let waited = Box::pin(timeout(PATIENCE, serves.wait_for(|number| *number >= seen)));
        waited.await.is_ok_and(|found| found.is_ok())
    }

    /// Tells the client what it may have seen by now.
    pub(super) fn mark(&self, seen: u64, headers: &mut HeaderMap) {
        let newest = self.newest.load(Ordering::SeqCst);
        if newest > seen
            && let Ok(cookie) =
                HeaderValue::try_from(format!("{COOKIE}={newest}; Path=/; HttpOnly; SameSite=Lax"))
        {
            headers.append(header::SET_COOKIE, cookie);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_behind_what_was_seen_does_not_answer() {
        let pin = Pin::default();
        pin.serve(3);
        assert!(pin.admits(3).await && !pin.admits(4).await);
        let (admitted, ()) = tokio::join!(pin.admits(4), async { pin.serve(4) });
        assert!(admitted, "it has waited for the commit");
        pin.take_back();
        assert!(!pin.admits(4).await, "what serves is older again");
    }

    #[test]
    fn a_client_is_told_what_it_may_have_seen_when_that_is_new() {
        let pin = Pin::default();
        pin.serve(3);
        pin.begin(4);
        let mut headers = HeaderMap::new();
        pin.mark(4, &mut headers);
        assert!(headers.is_empty());
        pin.mark(3, &mut headers);
        let told = headers[header::SET_COOKIE].to_str().unwrap();
        assert!(told.starts_with("wasmhost-commit=4; Path=/;"), "{told}");
        headers.insert(
            header::COOKIE,
            HeaderValue::from_static("a=1; wasmhost-commit=12; b=wasmhost-commit=99"),
        );
        assert_eq!(Pin::seen(&headers), 12);
        headers.insert(header::COOKIE, HeaderValue::from_static("wasmhost-commit=x"));
        assert_eq!(Pin::seen(&headers), 0);
    }
}
