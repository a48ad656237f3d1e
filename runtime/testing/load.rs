//! Clients that ask without a pause while something else happens, and what can be told of their answers:
//! which failed, which mix two generations, and what state was lost. Knows no scenario.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::{RwLock, RwLockWriteGuard};
use tokio_util::sync::CancellationToken;

use super::client::{Connection, Moves, Reply, TestClient, TestRequest};

/// Answers that go wrong are counted; of so many it is told how.
const MAX_TOLD: usize = 5;
/// Answers before the clients begin, by which it is seen whether a page answers the same every time.
const PROBES: usize = 3;
/// How long the load waits for answers before it is ended.
const LAST_ROUND: Duration = Duration::from_secs(60);
/// How long a client that met no server waits before it asks again.
const RETRY: Duration = Duration::from_millis(5);

/// What a load asks, and by what its answers are judged.
#[derive(Clone, Debug)]
pub struct LoadSpec {
    /// Asked in turn by each client. Never empty.
    pub requests: Vec<TestRequest>,
    pub clients: usize,
    /// Texts of which each answer has exactly one: one for each version of the page. Where there are none,
    /// answers of one generation must be equal.
    pub marks: Vec<String>,
    /// The text before a number in the answer that goes up by one with each request.
    pub counter: Option<String>,
}

impl LoadSpec {
    pub fn new(request: TestRequest, clients: usize) -> Self {
        Self {
            requests: vec![request],
            clients,
            marks: Vec::new(),
            counter: None,
        }
    }
}

/// What came of a load.
#[derive(Clone, Debug, Default)]
pub struct LoadReport {
    pub answers: u64,
    /// Requests without a whole answer, or with one of 500 and above.
    pub failed: Count,
    /// Answers in which two generations are mixed. `None` where that cannot be told: no page answers the
    /// same every time, and there are no marks.
    pub mixed: Option<Count>,
    /// Requests that are missing in the counter at the end. `None` without a counter.
    pub lost_state: Option<u64>,
    /// Answers of each generation: `shop@3`.
    pub generations: BTreeMap<String, u64>,
}

/// How often, and the first of them in words.
#[derive(Clone, Debug, Default)]
pub struct Count {
    pub count: u64,
    pub told: Vec<String>,
}

impl Count {
    pub(super) fn add(&mut self, what: impl FnOnce() -> String) {
        self.count += 1;
        if self.told.len() < MAX_TOLD {
            self.told.push(what());
        }
    }
}

/// A load that runs until it is ended, or dropped.
pub struct Load {
    tally: Arc<Shared>,
    spec: LoadSpec,
    url: String,
    stop: CancellationToken,
    running: Option<JoinHandle<()>>,
    /// The counter before the load.
    count: Option<u64>,
}

#[derive(Default)]
struct Shared {
    tally: Mutex<Tally>,
    more: Condvar,
    /// Held by each client that asks.
    asking: RwLock<()>,
    rests: Moves,
}

#[derive(Default)]
struct Tally {
    answers: u64,
    failed: Count,
    mixed: Count,
    generations: BTreeMap<String, u64>,
    /// Of each generation and request: the first answer.
    first: BTreeMap<(String, usize), Bytes>,
    /// Of each request: whether its answers are the same every time, as long as its generation is.
    steady: Vec<bool>,
}

impl Load {
    /// Asks each request a few times, then starts the clients.
    ///
    /// # Errors
    /// The first requests already get no answer, or the counter is not in the answer.
    pub fn start(url: &str, spec: LoadSpec) -> io::Result<Self> {
        let mut client = TestClient::new(url)?;
        let (mut steady, mut count) = (Vec::new(), None);
        for request in &spec.requests {
            let replies: Vec<Reply> = (0..PROBES)
                .map(|_| client.send(request))
                .collect::<io::Result<_>>()?;
            steady.push(replies.windows(2).all(|pair| pair[0].body == pair[1].body));
            if let (Some(before), Some(last)) = (&spec.counter, replies.last()) {
                count = Some(number(last, before)?);
            }
        }
        let tally = Arc::new(Shared::default());
        tally.lock().steady = steady;
        let mut load = Self {
            tally,
            url: url.to_owned(),
            stop: CancellationToken::new(),
            running: None,
            count,
            spec,
        };
        load.run()?;
        Ok(load)
    }

    /// All clients share one thread.
    fn run(&mut self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (spec, url) = (Arc::new(self.spec.clone()), self.url.clone());
        let (tally, stop) = (self.tally.clone(), self.stop.clone());
        let clients = move || {
            runtime.block_on(async {
                let mut clients = tokio::task::JoinSet::new();
                for first in 0..spec.clients {
                    let connection = Connection::to(&url);
                    clients.spawn(ask(connection, spec.clone(), first, tally.clone(), stop.clone()));
                }
                while clients.join_next().await.is_some() {}
            });
        };
        self.running = Some(thread::Builder::new().name("load".into()).spawn(clients)?);
        Ok(())
    }

    /// Waits for each client's answer, and has none ask until the value is dropped; then all connect anew. For what a
    /// request that is under way would take for itself, as a clock that is moved. Blocks; not to be called by a task.
    pub fn rest(&self) -> Rest<'_> {
        let rest = self.tally.asking.blocking_write();
        self.tally.rests.add();
        Rest { _rest: rest }
    }

    /// Waits until `rounds` times as many answers have come as there are clients, but no longer than a
    /// minute. Whether they came.
    pub fn go_on(&self, rounds: usize) -> bool {
        let more = u64::try_from(self.spec.clients.saturating_mul(rounds)).unwrap_or(u64::MAX);
        let mut tally = self.tally.lock();
        let wanted = tally.asked().saturating_add(more);
        let deadline = Instant::now() + LAST_ROUND;
        while tally.asked() < wanted {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.tally.more.wait_timeout(tally, left);
            tally = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Ends the load: each client gets the answer that it waits for.
    ///
    /// # Errors
    /// The counter cannot be read any more.
    pub fn end(mut self) -> io::Result<LoadReport> {
        self.halt();
        let tally = std::mem::take(&mut *self.tally.lock());
        let lost_state = match (&self.spec.counter, self.count) {
            (Some(before), Some(count)) => {
                let reply = TestClient::new(&self.url)?.send(&self.spec.requests[0])?;
                Some((count + tally.answers + 1).saturating_sub(number(&reply, before)?))
            }
            _ => None,
        };
        let is_told = !self.spec.marks.is_empty() || tally.steady.iter().any(|steady| *steady);
        Ok(LoadReport {
            answers: tally.answers,
            mixed: is_told.then_some(tally.mixed),
            failed: tally.failed,
            lost_state,
            generations: tally.generations,
        })
    }

    fn halt(&mut self) {
        self.stop.cancel();
        // A thread that panicked has nothing left to tell.
        let _ = self.running.take().map(JoinHandle::join);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.halt();
    }
}

/// See [`Load::rest`].
#[must_use = "it is over when it is dropped"]
pub struct Rest<'l> {
    _rest: RwLockWriteGuard<'l, ()>,
}

/// One client.
async fn ask(
    mut connection: Connection,
    spec: Arc<LoadSpec>,
    first: usize,
    tally: Arc<Shared>,
    stop: CancellationToken,
) {
    let (mut next, mut rests) = (first, 0);
    while !stop.is_cancelled() {
        let asking = tally.asking.read().await;
        if std::mem::replace(&mut rests, tally.rests.count()) != rests {
            connection.close();
        }
        let which = next % spec.requests.len();
        let answered = connection.send(&spec.requests[which]).await;
        drop(asking);
        let is_lost = answered.is_err();
        tally.lock().note(&spec, which, answered);
        tally.more.notify_all();
        if is_lost {
            tokio::time::sleep(RETRY).await;
        }
        next += 1;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn asked(&self) -> u64 {
        self.answers + self.failed.count
    }

    fn note(&mut self, spec: &LoadSpec, which: usize, answered: io::Result<Reply>) {
        let path = &spec.requests[which].path;
        let reply = match answered {
            Err(error) => return self.failed.add(|| format!("{path}: {error}")),
            Ok(reply) if reply.status.is_server_error() => {
                return self
                    .failed
                    .add(|| format!("{path}: {} {}", reply.status, excerpt(&reply.text())));
            }
            Ok(reply) => reply,
        };
        self.answers += 1;
        let generation = reply.generation().unwrap_or("no generation").to_owned();
        *self.generations.entry(generation.clone()).or_default() += 1;
        let key = (generation, which);
        let first = self
            .first
            .entry(key)
            .or_insert_with(|| reply.body.clone())
            .clone();
        let generation = reply.generation().unwrap_or("no generation");
        if spec.marks.is_empty() {
            if self.steady[which] && first != reply.body {
                let what = difference(&String::from_utf8_lossy(&first), &reply.text());
                self.mixed
                    .add(|| format!("{path}: two answers of {generation}: {what}"));
            }
            return;
        }
        let found = |text: &str| -> Vec<String> {
            let marks = spec.marks.iter().filter(|mark| text.contains(mark.as_str()));
            marks.cloned().collect()
        };
        let (marks, before) = (found(&reply.text()), found(&String::from_utf8_lossy(&first)));
        if marks.len() != 1 {
            self.mixed
                .add(|| format!("{path}: an answer of {generation} has of the marks: {marks:?}"));
        } else if marks != before {
            self.mixed
                .add(|| format!("{path}: {generation} answered {before:?}, and then {marks:?}"));
        }
    }
}

/// The number after `before` in an answer.
fn number(reply: &Reply, before: &str) -> io::Result<u64> {
    let text = reply.text();
    let after = text.split_once(before).map(|(_, after)| after.trim_start());
    let digits = after.map(|after| after.split(|c: char| !c.is_ascii_digit()).next());
    digits
        .flatten()
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| {
            let text = excerpt(&text);
            io::Error::other(format!("the answer has no number after {before:?}: {text}"))
        })
}

/// Where two texts part.
pub fn difference(a: &str, b: &str) -> String {
    let common = a
        .char_indices()
        .zip(b.chars())
        .take_while(|((_, a), b)| a == b)
        .count();
    let from = common.saturating_sub(10);
    let tail = |text: &str| excerpt(&text.chars().skip(from).collect::<String>());
    format!("{} and {}", tail(a), tail(b))
}

/// The beginning of a text, in quotes and on one line.
pub fn excerpt(text: &str) -> String {
    const LONGEST: usize = 120;
    if text.chars().count() > LONGEST {
        let begin: String = text.chars().take(LONGEST).collect();
        format!("{:?}…", begin)
    } else {
        format!("{text:?}")
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn reply(generation: &str, status: u16, body: &str) -> io::Result<Reply> {
        let mut headers = HeaderMap::new();
        headers.insert("wasmhost-generation", generation.parse().unwrap());
        Ok(Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: Bytes::copy_from_slice(body.as_bytes()),
        })
    }

    fn tally(marks: &[&str], answers: Vec<io::Result<Reply>>) -> Tally {
        let mut spec = LoadSpec::new(TestRequest::get("/p"), 1);
        spec.marks = marks.iter().map(|mark| (*mark).to_owned()).collect();
        let mut tally = Tally {
            steady: vec![true],
            ..Tally::default()
        };
        answers
            .into_iter()
            .for_each(|answer| tally.note(&spec, 0, answer));
        tally
    }

    #[test]
    fn an_answer_unlike_others_of_its_generation_is_mixed() {
        let answers = vec![
            reply("s@1", 200, "red"),
            reply("s@2", 200, "blue"),
            reply("s@2", 200, "red"),
        ];
        let tally = tally(&[], answers);
        assert_eq!((tally.mixed.count, tally.answers), (1, 3));
        assert_eq!(tally.mixed.told, ["/p: two answers of s@2: \"blue\" and \"red\""]);
    }

    #[test]
    fn marks_tell_what_a_lively_page_mixes() {
        let answers = vec![
            reply("s@1", 200, "v1 at 10:01"),
            reply("s@1", 200, "v1 at 10:02"),
            reply("s@2", 200, "v2 with a menu of v1"),
            reply("s@1", 200, "v2"),
            reply("s@3", 200, "v3"),
        ];
        let tally = tally(&["v1", "v2"], answers);
        assert_eq!(tally.mixed.count, 3, "{:?}", tally.mixed.told);
    }

    #[test]
    fn what_fails_is_no_answer() {
        let answers = vec![
            reply("s@1", 503, "later"),
            Err(io::Error::other("gone")),
            reply("s@1", 404, "none"),
        ];
        let tally = tally(&[], answers);
        assert_eq!((tally.failed.count, tally.answers), (2, 1));
        assert_eq!(
            tally.failed.told,
            ["/p: 503 Service Unavailable \"later\"", "/p: gone"]
        );
    }

    #[test]
    fn the_counter_is_the_number_after_a_text() {
        let count = |body, before| number(&reply("s@1", 200, body).unwrap(), before).ok();
        assert_eq!(count("<p>visits: 41</p>", "visits:"), Some(41));
        assert_eq!(count("7", ""), Some(7));
        assert_eq!(count("visits: none", "visits:"), None);
    }
}
