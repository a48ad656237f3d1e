//! Threads for guests that compute for long, at a lower priority than those that serve. Groups take turns,
//! a tick of the clock each: however many calls of one loop, another gets as much as all of them together.
//! Knows not what runs.

use std::{
    collections::{HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake},
    thread,
};

use tokio::runtime::Handle;

/// How much less of the processor they get where serving wants it too, as in `nice(1)`: a tenth, so that a
/// busy server does not starve them.
const NICE: i32 = 10;

pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The threads; they end, and their work is dropped, with the last of its values.
#[derive(Clone)]
pub struct Background(Arc<Owner>);

struct Owner {
    shared: Arc<Shared>,
    /// Most servers never need them.
    started: OnceLock<()>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    /// Those of each group that can go on; the group at the front is next.
    ready: VecDeque<(Arc<str>, VecDeque<Arc<Task>>)>,
    /// All that have not ended, whoever would wake them.
    tasks: HashMap<u64, Arc<Task>>,
    next: u64,
    closed: bool,
}

struct Task {
    number: u64,
    group: Arc<str>,
    work: Mutex<Option<Work>>,
    /// What its timers and sockets belong to.
    runtime: Handle,
    is_ready: AtomicBool,
    shared: Weak<Shared>,
}

impl Background {
    pub fn new() -> Self {
        Self(Arc::new(Owner {
            shared: Arc::default(),
            started: OnceLock::new(),
        }))
    }

    /// Runs `work` to its end, in the runtime of the caller.
    pub fn spawn(&self, group: &Arc<str>, work: Work) {
        let Owner { shared, started } = &*self.0;
        started.get_or_init(|| start(shared));
        let mut state = shared.state();
        if state.closed {
            return;
        }
        state.next += 1;
        let task = Arc::new(Task {
            number: state.next,
            group: group.clone(),
            work: Mutex::new(Some(work)),
            runtime: Handle::current(),
            is_ready: AtomicBool::new(false),
            shared: Arc::downgrade(shared),
        });
        state.tasks.insert(task.number, task.clone());
        drop(state);
        task.wake();
    }

    /// Ends the threads and drops all work, though others hold this value too.
    pub fn close(&self) {
        self.0.shared.close();
    }
}

impl Default for Background {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// One thread a core.
fn start(shared: &Arc<Shared>) {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    for number in 0..cores {
        let shared = shared.clone();
        let name = format!("background-{number}");
        let started = thread::Builder::new().name(name).spawn(move || {
            if let Err(error) = rustix::process::setpriority_process(None, NICE) {
                tracing::debug!(%error, "guests that compute for long have the same priority as others");
            }
            shared.run();
        });
        if let Err(error) = started {
            tracing::error!(%error, "a thread for guests that compute for long was not started");
        }
    }
}

impl Shared {
    fn run(&self) {
        while let Some(task) = self.take() {
            // What is woken while it runs is ready once more.
            task.is_ready.store(false, Ordering::Release);
            if task.go_on() {
                self.state().tasks.remove(&task.number);
            }
        }
    }

    /// The next task of the group whose turn it is; `None` at the end.
    fn take(&self) -> Option<Arc<Task>> {
        let idle = |state: &mut State| state.ready.is_empty() && !state.closed;
        let waited = self.more.wait_while(self.state(), idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return None;
        }
        let (group, mut tasks) = state.ready.pop_front()?;
        let task = tasks.pop_front();
        if !tasks.is_empty() {
            state.ready.push_back((group, tasks));
        }
        task
    }

    fn put(&self, task: Arc<Task>) {
        let mut state = self.state();
        if state.closed {
            return;
        }
        match state.ready.iter_mut().find(|(group, _)| *group == task.group) {
            Some((_, tasks)) => tasks.push_back(task),
            None => {
                let group = task.group.clone();
                state.ready.push_back((group, VecDeque::from([task])));
            }
        }
        drop(state);
        self.more.notify_one();
    }

    fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.ready.clear();
        let tasks = std::mem::take(&mut state.tasks);
        drop(state);
        self.more.notify_all();
        for task in tasks.into_values() {
            // What runs now is dropped by its thread, which then finds nothing more.
            if let Ok(mut work) = task.work.try_lock() {
                drop(work.take());
            }
        }
    }

    fn is_closed(&self) -> bool {
        self.state().closed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Task {
    /// True where it has ended.
    fn go_on(self: &Arc<Self>) -> bool {
        let mut slot = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(work) = slot.as_mut() else {
            return true;
        };
        let waker = self.clone().into();
        let _runtime = self.runtime.enter();
        let polled = catch_unwind(AssertUnwindSafe(|| {
            work.as_mut().poll(&mut Context::from_waker(&waker))
        }));
        let is_over = polled.is_err() || polled.is_ok_and(|poll| poll.is_ready());
        if is_over || self.shared.upgrade().is_none_or(|shared| shared.is_closed()) {
            // Whatever it does while it is dropped is its own affair.
            let _ = catch_unwind(AssertUnwindSafe(|| slot.take()));
        }
        is_over
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if !self.is_ready.swap(true, Ordering::AcqRel)
            && let Some(shared) = self.shared.upgrade()
        {
            shared.put(self);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::{Sender, channel},
        task::Poll,
        time::Duration,
    };

    use super::*;

    /// Says its name at each of so many turns.
    fn turns(name: &'static str, mut left: u32, said: &Sender<&'static str>) -> Work {
        let said = said.clone();
        Box::pin(std::future::poll_fn(move |context| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            said.send(name).unwrap();
            context.waker().wake_by_ref();
            Poll::Pending
        }))
    }

    #[tokio::test]
    async fn groups_take_turns_however_many_calls_each_has() {
        let background = Background::new();
        let (said, heard) = channel();
        // No threads but the one below: with several, one that is held up by others would count.
        background.0.started.set(()).unwrap();
        for _ in 0..8 {
            background.spawn(&"many".into(), turns("many", 100, &said));
        }
        background.spawn(&"one".into(), turns("one", 100, &said));
        drop(said);
        let shared = background.0.shared.clone();
        let turning = thread::spawn(move || shared.run());
        let order: Vec<_> = heard.iter().collect();
        drop(background);
        turning.join().unwrap();
        assert_eq!(order.len(), 900);
        let last = order.iter().rposition(|name| *name == "one").unwrap();
        assert!(last < 200, "100 turns of each, and not 800: {last}");
    }

    #[tokio::test]
    async fn its_end_drops_what_waits_for_others() {
        let background = Background::new();
        let (alive, gone) = channel::<()>();
        let waits = async move {
            tokio::time::sleep(Duration::MAX).await;
            drop(alive);
        };
        background.spawn(&"one".into(), Box::pin(waits));
        let panics = async { panic!("contained") };
        background.spawn(&"one".into(), Box::pin(panics));
        let (ran, runs) = channel();
        background.spawn(&"one".into(), Box::pin(async move { ran.send(()).unwrap() }));
        runs.recv().unwrap();
        drop(background);
        assert!(gone.recv().is_err());
    }
}
