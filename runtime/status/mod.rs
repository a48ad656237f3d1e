//! What the control plane says to all others: the events of the contract, to standard output and to
//! the journal. Knows not who listens.

mod counts;
mod history;
mod inbox;
mod journal;
mod live;
mod queue;
mod report;
mod screen;
mod text;

use std::time::Duration;

use serde::{Serialize, Serializer};

pub use self::{
    history::{GroupHistory, STATE, histories},
    inbox::{Ask, Inbox, inbox},
    journal::{Journal, read_journal},
    live::Live,
    report::{Reporter, Tap, Writer, start},
};
use crate::{
    diagnostic::Diagnostic,
    project::{ComponentId, ContentId},
};

/// What records there are, by their names.
pub const EVENTS: [&str; 14] = [
    "ready",
    "swapped",
    "rejected",
    "mended",
    "retired",
    "trapped",
    "recovered",
    "checkpointed",
    "reverted",
    "committed",
    "stale",
    "refused",
    "lost",
    STATE,
];

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
    /// What was refused is gone: what lies on disk is what serves.
    Mended {
        /// `None` for the tree as a whole.
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<String>,
    },
    Trapped {
        group: String,
        generation: u64,
        component: ComponentId,
        message: String,
        /// The id of the request that it happened in.
        #[serde(skip_serializing_if = "Option::is_none")]
        request: Option<String>,
        /// The id of the trace that the request belongs to.
        #[serde(skip_serializing_if = "Option::is_none")]
        trace: Option<String>,
    },
    /// A generation failed its probation; the content before it serves again.
    Reverted {
        group: String,
        /// The same as `to`.
        generation: u64,
        from: u64,
        to: u64,
        reason: String,
    },
    /// A new store of the same generation replaced a dead one.
    Recovered {
        group: String,
        generation: u64,
    },
    /// What a generation remembers was saved; it answered nobody meanwhile.
    Checkpointed {
        group: String,
        generation: u64,
        bytes: u64,
        #[serde(serialize_with = "millis")]
        ms: Duration,
    },
    /// This server serves what its fleet has committed.
    Committed {
        number: u64,
        release: String,
    },
    /// It does not, or cannot know, and why.
    Stale {
        reason: String,
        diagnostics: Vec<Diagnostic>,
    },
    /// A release is refused for the whole fleet, since one of its servers cannot serve it.
    Refused {
        release: String,
        node: String,
        diagnostics: Vec<Diagnostic>,
    },
    /// So many events are missing here: whoever takes them did not keep up, or could not.
    Lost {
        count: u64,
    },
}

#[derive(Clone, Debug, Serialize)]
pub struct ReadyGroup {
    pub group: String,
    /// `None` where the group has no good generation yet.
    pub generation: Option<u64>,
    pub components: Vec<ComponentId>,
    pub routes: Vec<RouteLine>,
    /// How many files it has under `/GROUP/static/`.
    pub files: usize,
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

/// Why a group was swapped: one of its components, or of its static files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    #[serde(flatten)]
    pub content: ContentId,
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
    /// For a developer: see `screen`.
    Screen { colours: bool },
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

impl Record {
    fn now(event: Event) -> Self {
        Self {
            event,
            time: jiff::Timestamp::now().to_string(),
        }
    }
}
