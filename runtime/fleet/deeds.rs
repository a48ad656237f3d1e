//! What happens to a node of a fleet, and what it does: the words of `node`. Pure.

use std::time::Duration;

use super::record::{NodeState, Record, Refusal, Release};
use crate::diagnostic::Diagnostic;

/// What a fleet's nodes agree about beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A node that gives no sign of life for so long does not count, and one that gets no answer is out of touch.
    pub lease: Duration,
    /// So many ready nodes will do once `patience` is over; `None` for all that live.
    pub quorum: Option<usize>,
    pub patience: Duration,
}

/// What happens to a node.
#[derive(Clone, Debug)]
pub enum Input {
    /// What is decided, as read; `None` where there is nothing.
    Record { revision: u64, record: Option<Record> },
    /// Who leads, as read.
    Lead { revision: u64, id: String },
    /// What another node says of itself; `None` where it left.
    Peer { id: String, state: Option<NodeState> },
    /// All that others said before is told.
    PeersKnown,
    /// What the preparation with this number came to.
    Prepared { job: u64, outcome: Outcome },
    /// The publication that was ordered is done, or why not.
    Published(Published),
    /// What serves is not what was committed any more.
    Reverted(Vec<Diagnostic>),
    /// The newest that was written, of its kind.
    Wrote { what: What, result: Wrote },
    /// It is as late as was wanted.
    Woken,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ready,
    Refused(Vec<Diagnostic>),
    /// It could not be had; another time it may.
    Failed(Vec<Diagnostic>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    Done,
    /// What was prepared is not there any more.
    Lost,
    /// It cannot serve after all.
    Failed(Vec<Diagnostic>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    State,
    Record,
    Lead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrote {
    /// It has this revision.
    Done(u64),
    /// Another was first.
    Conflict,
    /// Nobody knows.
    Lost,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Have all of this release ready but the commit; whatever else was prepared is given up.
    Prepare {
        job: u64,
        release: Release,
    },
    GiveUp,
    /// Serve what was prepared, in one step.
    Publish {
        number: u64,
        release: Release,
    },
    /// Say this of oneself.
    Write(NodeState),
    /// Decide this, unless another decided since that revision.
    Decide {
        revision: u64,
        record: Record,
    },
    /// Take the lead or keep it, unless another took it since that revision.
    TakeLead {
        revision: u64,
    },
    /// Follow what the others say of themselves, or not any more.
    FollowPeers(bool),
    /// Read record and lead: what a message that was lost would have told.
    Read,
    Say(Said),
}

/// What people are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It serves what is committed.
    Current { number: u64, release: Release },
    /// It does not, and why.
    Stale(Stale),
    /// What was wanted is refused for all.
    Refused(Refusal),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stale {
    /// Nobody has answered for longer than the lease.
    OutOfTouch,
    /// This commit is prepared here, after the others.
    Behind { number: u64 },
    /// This commit cannot be served here.
    Unable {
        number: u64,
        diagnostics: Vec<Diagnostic>,
    },
    /// The fleet has decided nothing, or what it has is gone.
    NoRecord,
}
