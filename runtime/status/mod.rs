//! What the control plane says to all others: the events of the contract, to standard output and to
//! the journal. Knows not who listens.

mod history;
mod inbox;
mod journal;
mod text;

use std::{
    io::Write,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::JoinHandle,
    time::Duration,
};

use serde::{Serialize, Serializer};

pub use self::{
    history::{GroupHistory, histories},
    inbox::{Ask, Inbox, inbox},
    journal::{Journal, read_journal},
};
use crate::{diagnostic::Diagnostic, project::ComponentId};

/// Events that may wait to be written; more are dropped, and that is logged: a reader that hangs must
/// not stop a swap.
const MAX_UNWRITTEN: usize = 4096;

/// One event, as it goes to standard output and into the journal.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The socket accepts. Printed once.
    Ready {
        url: String,
        groups: Vec<ReadyGroup>,
    },
    Swapped(Box<Swapped>),
    /// What lies on disk is not served.
    Rejected {
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<String>,
        /// The generation that goes on serving.
        kept: Option<u64>,
        diagnostics: Vec<Diagnostic>,
    },
    /// The last request of an old generation ended, or its deadline did.
    Retired {
        group: String,
        generation: u64,
        #[serde(serialize_with = "millis")]
        ms: Duration,
        aborted: usize,
    },
    Trapped {
        group: String,
        generation: u64,
        component: ComponentId,
        message: String,
    },
    /// A new store of the same generation replaced a dead one.
    Recovered {
        group: String,
        generation: u64,
    },
}

#[derive(Clone, Debug, Serialize)]
pub struct ReadyGroup {
    pub group: String,
    /// `None` where the group has no good generation yet.
    pub generation: Option<u64>,
    pub components: Vec<ComponentId>,
    pub routes: Vec<RouteLine>,
}

#[derive(Clone, Debug, Serialize)]
pub struct RouteLine {
    pub pattern: String,
    pub component: ComponentId,
}

#[derive(Clone, Debug, Serialize)]
pub struct Swapped {
    pub group: String,
    pub generation: u64,
    pub from: Option<u64>,
    pub causes: Vec<Cause>,
    pub digest: String,
    pub modules_compiled: usize,
    pub modules_reused: usize,
    pub functions_compiled: u64,
    pub ms: Stages,
}

/// Why a group was swapped: one of its components.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    pub component: ComponentId,
    pub change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    Added,
    Changed,
    Removed,
}

/// How long each stage of a swap took, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Stages {
    /// From the first sign of a change until it was read.
    #[serde(serialize_with = "millis")]
    pub detect: Duration,
    #[serde(serialize_with = "millis")]
    pub read: Duration,
    #[serde(serialize_with = "millis")]
    pub link: Duration,
    #[serde(serialize_with = "millis")]
    pub compile: Duration,
    #[serde(serialize_with = "millis")]
    pub instantiate: Duration,
    #[serde(serialize_with = "millis")]
    pub load: Duration,
    #[serde(serialize_with = "millis")]
    pub commit: Duration,
    /// All of the above and what lies between.
    #[serde(serialize_with = "millis")]
    pub total: Duration,
}

/// Milliseconds with three decimals.
fn millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_micros() as f64 / 1000.0)
}

/// How events are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// An event with the moment it happened.
#[derive(Serialize)]
struct Record {
    #[serde(flatten)]
    event: Event,
    /// RFC 3339.
    time: String,
}

/// The end of events that everyone writes to.
#[derive(Clone)]
pub struct Reporter(SyncSender<Record>);

/// The thread that prints events and keeps the journal; it ends with the last reporter.
pub struct Writer(JoinHandle<()>);

/// Starts writing events. Errors: a thread cannot be started.
pub fn start(format: Format, journal: Option<Journal>) -> std::io::Result<(Reporter, Writer)> {
    let (sender, records) = sync_channel(MAX_UNWRITTEN);
    let thread = std::thread::Builder::new()
        .name("events".into())
        .spawn(move || write_all(&records, format, journal))?;
    Ok((Reporter(sender), Writer(thread)))
}

impl Reporter {
    /// Never blocks.
    pub fn publish(&self, event: Event) {
        let record = Record {
            event,
            time: jiff::Timestamp::now().to_string(),
        };
        if self.0.try_send(record).is_err() {
            tracing::warn!("an event was dropped: standard output or the journal does not keep up");
        }
    }
}

impl Writer {
    /// Waits until everything is written. Every reporter must be gone, or it waits for them.
    pub fn finish(self) {
        // A writer that panicked has nothing left to write.
        let _ = self.0.join();
    }
}

fn write_all(records: &Receiver<Record>, format: Format, mut journal: Option<Journal>) {
    let mut stdout = std::io::stdout();
    while let Ok(record) = records.recv() {
        let line = match serde_json::to_string(&record) {
            Ok(line) => line,
            Err(error) => {
                tracing::error!(%error, "an event cannot be written");
                continue;
            }
        };
        // First, so that whoever reads an event finds it in the journal.
        if let Some(journal) = &mut journal {
            journal.append(&line);
        }
        let printed = match format {
            Format::Text => writeln!(stdout, "{}", text::render(&record.event)),
            Format::Json => writeln!(stdout, "{line}"),
        };
        // Standard output may be closed while the server goes on.
        let _ = printed.and_then(|()| stdout.flush());
    }
}
