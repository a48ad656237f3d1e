//! The threads that connections live on, one a core, each with an event loop of its own: a request stays on
//! one thread from its socket to the end of its call, and no thread is woken to look for work of another.
//! A connection stays with the thread that it was dealt to. Knows no HTTP.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
};

use tokio::{
    runtime::Builder,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

/// They end, and drop what still runs on them, with this.
pub struct Workers<T> {
    all: Vec<Worker<T>>,
}

struct Worker<T> {
    inbox: UnboundedSender<Dealt<T>>,
    load: Load,
    thread: JoinHandle<()>,
}

/// Of one thread; each of its connections holds one.
pub type Load = Arc<()>;

struct Dealt<T> {
    connection: T,
    load: Load,
}

impl<T: Send + 'static> Workers<T> {
    /// `serve` runs one connection to its end, and holds the load until then.
    pub fn start<F>(serve: impl Fn(T, Load) -> F + Clone + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let start = |number| worker(number, serve.clone());
        let all = (0..cores).filter_map(|number| match start(number) {
            Ok(worker) => Some(worker),
            Err(error) => {
                tracing::warn!(%error, "a thread for connections was not started");
                None
            }
        });
        Self { all: all.collect() }
    }

    /// Gives a connection to the thread that has the fewest. Errors: no thread takes it; it comes back.
    pub fn deal(&self, connection: T) -> Result<(), T> {
        let least = self
            .all
            .iter()
            .min_by_key(|worker| Arc::strong_count(&worker.load));
        let Some(Worker { inbox, load, .. }) = least else {
            return Err(connection);
        };
        let load = load.clone();
        let sent = inbox.send(Dealt { connection, load });
        sent.map_err(|unsent| unsent.0.connection)
    }

    /// Ends them. Blocks until what runs gives its thread back.
    pub fn end(self) {
        for Worker { inbox, thread, .. } in self.all {
            drop(inbox);
            // One that panicked has nothing left to end.
            let _ = thread.join();
        }
    }
}

fn worker<T, F>(number: usize, serve: impl Fn(T, Load) -> F + Send + 'static) -> io::Result<Worker<T>>
where
    T: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (inbox, dealt) = unbounded_channel();
    let name = format!("serve-{number}");
    let thread = thread::Builder::new()
        .name(name)
        .spawn(move || runtime.block_on(take(dealt, serve)))?;
    Ok(Worker {
        inbox,
        load: Arc::default(),
        thread,
    })
}

async fn take<T, F>(mut dealt: UnboundedReceiver<Dealt<T>>, serve: impl Fn(T, Load) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    while let Some(Dealt { connection, load }) = dealt.recv().await {
        tokio::spawn(serve(connection, load));
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, thread::ThreadId};

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn connections_are_dealt_to_all_threads_alike() {
        let (sender, mut seen) = mpsc::unbounded_channel::<ThreadId>();
        let workers = Workers::start(move |(), load| {
            let sender = sender.clone();
            async move {
                let _ = sender.send(thread::current().id());
                std::future::pending::<()>().await;
                drop(load);
            }
        });
        let threads = workers.all.len();
        for _ in 0..threads {
            workers.deal(()).unwrap();
        }
        let mut used = HashSet::new();
        for _ in 0..threads {
            used.insert(seen.recv().await.unwrap());
        }
        assert_eq!(used.len(), threads);
        tokio::task::spawn_blocking(move || workers.end()).await.unwrap();
        assert_eq!(seen.recv().await, None, "what ran is dropped");
    }
}
