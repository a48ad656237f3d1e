//! The one thread that writes the file. What comes while it waits for the disk is committed together, by one
//! sync of the file: so concurrent changes share it.

use std::{
    path::PathBuf,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::{
    Change, Error, Outcome, Result,
    cache::Cache,
    file::{self, File, Wanted},
};

/// Changes that may wait; more wait to be handed in.
const QUEUE: usize = 1024;
/// Bytes of changes that are committed together, about.
const BATCH: usize = 16 << 20;
/// How long a commit waits for those that wrote the last one.
const MOST_PATIENCE: Duration = Duration::from_micros(500);

/// Where changes go, and what reads read. Cheap to clone; the thread ends with the last of them.
#[derive(Clone)]
pub struct Writer {
    jobs: mpsc::Sender<Job>,
    pub shared: Arc<Shared>,
}

/// What reads have in common with the thread.
pub struct Shared {
    file: RwLock<Option<File>>,
    /// The file has to be opened anew.
    broken: AtomicBool,
    /// Jobs for which the thread rests until they are in the queue; `NONE` where it does not.
    missing: AtomicUsize,
    thread: OnceLock<thread::Thread>,
    pub cache: Cache,
}

const NONE: usize = usize::MAX;

enum Job {
    Change(Wanted, oneshot::Sender<Result<Outcome>>),
    /// For who wants to read.
    Open(oneshot::Sender<Result<()>>),
    Close(oneshot::Sender<()>),
}

impl Writer {
    /// The thread begins with the first job.
    pub fn new(path: Option<PathBuf>) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            file: RwLock::new(None),
            broken: AtomicBool::new(false),
            missing: AtomicUsize::new(NONE),
            thread: OnceLock::new(),
            cache: Cache::default(),
        });
        let thread = Thread {
            path,
            shared: shared.clone(),
        };
        let spawned = thread::Builder::new()
            .name("keyvalue".into())
            .spawn(move || thread.run(queue));
        match spawned {
            Ok(spawned) => drop(shared.thread.set(spawned.thread().clone())),
            Err(error) => {
                tracing::error!(%error, "no thread for keys and values could be started: they will fail");
            }
        }
        Self { jobs, shared }
    }

    pub async fn change(&self, wanted: Wanted) -> Result<Outcome> {
        self.ask(|reply| Job::Change(wanted, reply)).await?
    }

    /// Reads where that may block.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&File) -> std::result::Result<T, redb::Error> + Send + 'static,
    ) -> Result<T> {
        if !self.shared.is_open() {
            self.ask(Job::Open).await??;
        }
        let shared = self.shared.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let file = shared.file.read().unwrap_or_else(PoisonError::into_inner);
            let file = file.as_ref().ok_or_else(closed)?;
            read(file).map_err(|error| {
                shared.note(&error);
                Error::Failed(format!("the store cannot be read: {error}"))
            })
        });
        reading.await.map_err(|_| closed())?
    }

    pub async fn close(&self) {
        // Where the thread is gone, the file is closed.
        let _ = self.ask(Job::Close).await;
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(job(reply)).await.map_err(|_| closed())?;
        self.shared.tell(self.jobs.max_capacity() - self.jobs.capacity());
        answer.await.map_err(|_| closed())
    }
}

impl Shared {
    fn is_open(&self) -> bool {
        // Held for writing, it is being opened.
        let is_there = self.file.try_read().is_ok_and(|file| file.is_some());
        is_there && !self.broken.load(Ordering::Acquire)
    }

    /// There are so many jobs in the queue.
    fn tell(&self, queued: usize) {
        if queued >= self.missing.load(Ordering::SeqCst) {
            self.thread.get().map(thread::Thread::unpark);
        }
    }

    fn note(&self, error: &redb::Error) {
        if file::is_broken(error) {
            self.broken.store(true, Ordering::Release);
        }
    }
}

fn closed() -> Error {
    Error::Failed("the store is closed".into())
}

struct Thread {
    path: Option<PathBuf>,
    shared: Arc<Shared>,
}

type Reply = oneshot::Sender<Result<Outcome>>;

impl Thread {
    fn run(self, mut queue: mpsc::Receiver<Job>) {
        let mut tempo = Tempo::default();
        while let Some(first) = queue.blocking_recv() {
            let (mut wanted, mut replies, mut size) = (Vec::new(), Vec::new(), 0);
            self.wait_for(tempo.others(), &queue, tempo.patience());
            let mut next = Some(first);
            while let Some(job) = next {
                match job {
                    Job::Change(change, reply) => {
                        size += size_of(&change.change);
                        wanted.push(change);
                        replies.push(reply);
                    }
                    // Nobody may be left to hear these.
                    Job::Open(reply) => {
                        let _ = reply.send(self.open());
                    }
                    Job::Close(reply) => {
                        self.commit(wanted, replies, size);
                        queue.close();
                        self.forget();
                        let _ = reply.send(());
                        return;
                    }
                }
                let is_full = size >= BATCH;
                next = if is_full { None } else { queue.try_recv().ok() };
            }
            let (count, began) = (wanted.len(), Instant::now());
            self.commit(wanted, replies, size);
            tempo.committed(count, began.elapsed());
        }
        self.forget();
    }

    /// Rests until so many jobs are in the queue, or for as long as the patience lasts.
    fn wait_for(&self, missing: usize, queue: &mpsc::Receiver<Job>, patience: Duration) {
        let began = Instant::now();
        self.shared.missing.store(missing, Ordering::SeqCst);
        while queue.len() < missing
            && let Some(left) = patience.checked_sub(began.elapsed())
        {
            thread::park_timeout(left);
        }
        self.shared.missing.store(NONE, Ordering::SeqCst);
    }

    /// Commits all together; where that fails, each by itself, so that none fails for another.
    fn commit(&self, wanted: Vec<Wanted>, replies: Vec<Reply>, size: usize) {
        if wanted.is_empty() {
            return;
        }
        let mut outcomes = self.attempt(&wanted, size);
        if outcomes.is_err() && wanted.len() > 1 {
            let each = wanted.chunks(1);
            let each = each.map(|one| self.attempt(one, size_of(&one[0].change)));
            outcomes = Ok(each
                .flat_map(|outcome| outcome.unwrap_or_else(|error| vec![Err(error)]))
                .collect());
        }
        let outcomes = outcomes.unwrap_or_else(|error| vec![Err(error)]);
        for (outcome, reply) in outcomes.into_iter().zip(replies) {
            // Who asked may be gone; the change is made.
            let _ = reply.send(outcome);
        }
    }

    fn attempt(&self, wanted: &[Wanted], size: usize) -> Result<Vec<Result<Outcome>>> {
        self.open()?;
        let file = self.shared.file.read().unwrap_or_else(PoisonError::into_inner);
        let file = file.as_ref().ok_or_else(closed)?;
        let is_growing = |wanted: &Wanted| !matches!(wanted.change, Change::Delete(_));
        if wanted.iter().any(is_growing) {
            file.check_room(size as u64)?;
        }
        let outcomes = file.change(wanted).map_err(|error| {
            self.shared.note(&error);
            Error::Failed(format!("the store cannot be written: {error}"))
        })?;
        for (wanted, outcome) in wanted.iter().zip(&outcomes) {
            self.remember(wanted, outcome);
        }
        Ok(outcomes)
    }

    fn remember(&self, Wanted { group, change, .. }: &Wanted, outcome: &Result<Outcome>) {
        let set = |key: &str, value: Option<Bytes>| self.shared.cache.set(group, key, value);
        match (change, outcome) {
            (Change::Set(entries), Ok(Outcome::Done)) => {
                entries
                    .iter()
                    .for_each(|(key, value)| set(key, Some(value.clone())));
            }
            (Change::Delete(keys), Ok(Outcome::Done)) => keys.iter().for_each(|key| set(key, None)),
            (Change::Increment(key, _), Ok(Outcome::Sum(sum))) => set(key, Some(sum.to_string().into())),
            (Change::Swap { key, value, .. }, Ok(Outcome::Done)) => set(key, Some(value.clone())),
            _ => {}
        }
    }

    /// Opens the file where it is not, or is of no use.
    fn open(&self) -> Result<()> {
        if self.shared.is_open() {
            return Ok(());
        }
        let mut file = self.shared.file.write().unwrap_or_else(PoisonError::into_inner);
        // The old one has the lock.
        *file = None;
        // What a failed transaction left there is not known.
        self.shared.cache.clear();
        let opened = File::open(self.path.as_deref()).map_err(|error| Error::Failed(unopened(&error)))?;
        *file = Some(opened);
        self.shared.broken.store(false, Ordering::Release);
        Ok(())
    }

    fn forget(&self) {
        *self.shared.file.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// What the last commit was like. Who was just answered is often about to write again: without waiting a
/// little for them, commits of one and of all others would take turns.
#[derive(Default)]
struct Tempo {
    count: usize,
    took: Duration,
}

impl Tempo {
    fn committed(&mut self, count: usize, took: Duration) {
        // Those of two commits that took turns are waited for together.
        self.count = count.max(self.count / 2);
        self.took = took;
    }

    /// How many are waited for beside the first: none where only one is writing.
    fn others(&self) -> usize {
        self.count.saturating_sub(1)
    }

    fn patience(&self) -> Duration {
        self.took.min(MOST_PATIENCE)
    }
}

fn unopened(error: &redb::Error) -> String {
    match error {
        redb::Error::DatabaseAlreadyOpen => {
            "another process has the store open: is a server running on the same \
                                             state directory?"
                .into()
        }
        error => format!("the store cannot be opened: {error}"),
    }
}

/// Bytes, about.
fn size_of(change: &Change) -> usize {
    const EACH: usize = 64;
    match change {
        Change::Set(entries) => entries
            .iter()
            .map(|(key, value)| EACH + key.len() + value.len())
            .sum(),
        Change::Delete(keys) => keys.iter().map(|key| EACH + key.len()).sum(),
        Change::Increment(key, _) => 2 * EACH + key.len(),
        Change::Swap { key, value, .. } => EACH + key.len() + value.len(),
    }
}
