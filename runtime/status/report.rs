//! Where events go: from everyone into a queue, from there into the journal, and then, through a queue of
//! its own, to standard output.
//!
//! ```text
//!   publish ──▶ queue ──▶ journal ──▶ queue ──▶ standard output
//! ```
//!
//! The journal comes first, so that whoever reads an event finds it there. Each has a thread of its own: a
//! reader that hangs, as a terminal that was stopped does, holds neither the journal up nor those who
//! publish. Both queues are bounded; what finds no room is counted, and told where it is missing.

use std::{
    io::Write,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    Event, Format, Journal, Live, Record, counts,
    queue::{Sending, Taking, queue},
    screen::Paint,
    text,
};
use crate::{metrics::Metrics, tracer::Tracer};

/// Events that may wait to be written, and as many to be printed.
const MAX_WAITING: usize = 4096;
/// How often the journal is looked after.
const TEND: Duration = Duration::from_secs(1);
/// How long the end waits for a reader of standard output.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The end of events that everyone writes to.
#[derive(Clone)]
pub struct Reporter {
    queue: Sending,
    live: Live,
    tap: Option<Tap>,
    metrics: Metrics,
    tracer: Tracer,
}

/// Who is told of each event at once. It must not wait.
pub type Tap = Arc<dyn Fn(&Event) + Send + Sync>;

/// The threads that keep the journal and print; they end with the last reporter.
pub struct Writer {
    keeping: JoinHandle<()>,
    /// Ends when all is printed.
    printing: Receiver<()>,
}

/// Starts writing events. Errors: a thread cannot be started.
pub fn start(
    format: Format,
    journal: Option<Journal>,
    metrics: Metrics,
    tracer: Tracer,
) -> std::io::Result<(Reporter, Writer)> {
    let (reporting, reported) = queue(MAX_WAITING, "events are lost: the journal does not keep up");
    let (kept, printed) = queue(
        MAX_WAITING,
        "events are not printed: standard output does not keep up",
    );
    let keeping = thread::Builder::new()
        .name("journal".into())
        .spawn(move || keep_all(&reported, journal, &kept))?;
    let (done, printing) = channel();
    thread::Builder::new().name("events".into()).spawn(move || {
        print_all(&printed, format);
        drop(done);
    })?;
    let reporter = Reporter {
        queue: reporting,
        live: Live::default(),
        tap: None,
        metrics,
        tracer,
    };
    Ok((reporter, Writer { keeping, printing }))
}

impl Reporter {
    /// The same, which tells `tap` too.
    pub fn with_tap(self, tap: Option<Tap>) -> Self {
        Self { tap, ..self }
    }

    /// Never waits for a disk or a reader.
    pub fn publish(&self, event: Event) {
        if let Some(tap) = &self.tap {
            tap(&event);
        }
        counts::count(&self.metrics, &self.tracer, &event);
        let record = Record::now(event);
        self.live.tell(&record);
        self.queue.send(record);
    }

    /// What was published so far comes to.
    pub fn live(&self) -> Live {
        self.live.clone()
    }
}

impl Writer {
    /// Waits until everything is written, but for a reader that hangs not long. Every reporter must be
    /// gone, or it waits for them.
    pub fn finish(self) {
        // A thread that panicked has nothing left to write.
        let _ = self.keeping.join();
        let _ = self.printing.recv_timeout(LAST_WORDS);
    }
}

fn keep_all(records: &Taking, mut journal: Option<Journal>, next: &Sending) {
    let mut tended = Instant::now();
    loop {
        match records.take_within(TEND) {
            Ok(record) => {
                if let (Some(journal), Some(line)) = (&mut journal, line(&record)) {
                    journal.append(line);
                }
                next.send(record);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return journal.iter_mut().for_each(Journal::finish),
        }
        if tended.elapsed() >= TEND {
            journal.iter_mut().for_each(Journal::tend);
            tended = Instant::now();
        }
    }
}

fn print_all(records: &Taking, format: Format) {
    let mut stdout = std::io::stdout();
    while let Some(record) = records.take() {
        let printed = match format {
            Format::Text => Some(text::render(&record.event)),
            Format::Screen { colours } => Paint { colours }.render(&record.event),
            Format::Json => line(&record),
        };
        // Standard output may be closed while the server goes on.
        let _ = printed.map(|text| writeln!(stdout, "{text}").and_then(|()| stdout.flush()));
    }
}

fn line(record: &Record) -> Option<String> {
    match serde_json::to_string(record) {
        Ok(line) => Some(line),
        Err(error) => {
            tracing::error!(%error, "an event cannot be written");
            None
        }
    }
}
