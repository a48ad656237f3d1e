//! Lines to follow: the last ones, and from there on each new one, without a gap between. Who does not keep up
//! is told how many it missed; who publishes never waits.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{Stream, StreamExt, stream};
use tokio::sync::broadcast::{self, error::RecvError};

/// Lines that are held for those who come later.
const RECENT: usize = 1000;
/// Lines that a follower may be behind.
const BEHIND: usize = 1024;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Feed(Arc<Mutex<Lines>>);

#[derive(Debug)]
struct Lines {
    recent: VecDeque<Arc<str>>,
    news: broadcast::Sender<Arc<str>>,
}

impl Default for Feed {
    fn default() -> Self {
        let (news, _) = broadcast::channel(BEHIND);
        let recent = VecDeque::new();
        Self(Arc::new(Mutex::new(Lines { recent, news })))
    }
}

impl Feed {
    pub fn push(&self, line: impl Into<Arc<str>>) {
        let line = line.into();
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.recent.len() == RECENT {
            lines.recent.pop_front();
        }
        lines.recent.push_back(line.clone());
        // Nobody may be following.
        let _ = lines.news.send(line);
    }

    /// The `last` lines, and then each new one. What a slow follower missed is counted in a line of its own.
    pub fn follow(&self, last: usize) -> impl Stream<Item = Arc<str>> + Send + use<> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = lines.recent.len().saturating_sub(last);
        let recent: Vec<_> = lines.recent.iter().skip(skipped).cloned().collect();
        let news = lines.news.subscribe();
        let news = stream::unfold(news, |mut news| async {
            match news.recv().await {
                Ok(line) => Some((line, news)),
                Err(RecvError::Lagged(count)) => {
                    Some((format!(r#"{{"event":"lost","count":{count}}}"#).into(), news))
                }
                Err(RecvError::Closed) => None,
            }
        });
        stream::iter(recent).chain(news)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_follower_sees_what_was_and_what_comes() {
        let feed = Feed::default();
        (0..3).for_each(|number| feed.push(number.to_string()));
        let mut followed = Box::pin(feed.follow(2));
        feed.push("3");
        let mut next = || followed.next().now_or_never().flatten();
        for line in ["1", "2", "3"] {
            assert_eq!(next().as_deref(), Some(line));
        }
        assert_eq!(next(), None);
        (0..=BEHIND).for_each(|_| feed.push("more"));
        assert_eq!(next().as_deref(), Some(r#"{"event":"lost","count":1}"#));
        assert_eq!(next().as_deref(), Some("more"));
    }

    #[test]
    fn what_is_held_is_bounded() {
        let feed = Feed::default();
        (0..2 * RECENT).for_each(|number| feed.push(number.to_string()));
        let mut followed = Box::pin(feed.follow(usize::MAX));
        assert_eq!(
            followed.next().now_or_never().flatten().as_deref(),
            Some(RECENT.to_string().as_str())
        );
    }
}
