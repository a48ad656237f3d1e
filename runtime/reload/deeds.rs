//! What happens to the control plane, and what it does: the words of `control`. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use crate::project::{ContentId, Digest};

/// What a look found of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    pub digest: Digest,
    pub contents: BTreeSet<ContentId>,
    pub state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It can be built.
    Whole,
    /// Some file is no component, perhaps not yet.
    Unfinished,
    /// It cannot be built as it lies there.
    Wrong,
}

/// What a look found: groups by name, or a tree that cannot be understood, by what is wrong with it.
pub type Looked = Result<BTreeMap<String, Sight>, Digest>;

/// What happens to the control plane.
#[derive(Clone, Debug)]
pub enum Input {
    /// Something may have changed.
    Hint,
    /// A request wants to be answered by what lies on disk now, of its group or of any.
    Asked { request: u64, group: Option<String> },
    /// The look that was ordered is done.
    Looked(Looked),
    /// The build with this number is done: which of its groups are ready, and which are refused.
    Built {
        build: u64,
        ready: BTreeMap<String, Readiness>,
    },
    /// What was to be handed over is, or why not is known: which groups are ready, and which are refused.
    HandedOver {
        build: u64,
        taken: BTreeMap<String, bool>,
    },
    /// Something else than what lies on disk is wanted of a group: a content that served before.
    GoBack { group: String },
    /// It serves now; `None` where it does not, and all is as it was.
    WentBack { group: String, content: Option<Sight> },
    /// What serves of a group is to stay, whatever lies on disk; or not any more.
    Pin { group: String, pinned: bool },
    /// What is held is to be committed.
    LetGo,
    /// What is held is not wanted any more.
    GiveUp,
    /// It is as late as was wanted.
    Woken,
}

/// What a build came to, for one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// Ready once it has what the generation that serves hands over.
    Inherits,
    Refused,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Look at the tree. There is one look at a time.
    Look,
    /// Build these groups as the last look found them. `since` is the first sign of their change.
    Build {
        build: u64,
        groups: BTreeSet<String>,
        since: Instant,
    },
    /// All of this build is done but the commit, which is held back.
    Held { build: u64 },
    /// Hand the state of these groups over to what a build came to. What serves of them answers nobody from
    /// then on, until that is committed, so it is not given up any more.
    HandOver { build: u64, groups: BTreeSet<String> },
    /// Serve the content of this group that was asked for. Nothing else becomes of the group meanwhile.
    GoBack(String),
    /// Nobody wants this build any more.
    GiveUp { build: u64 },
    /// Publish the ready groups of a build and forget the removed ones, in one step; refuse the others.
    Commit {
        build: u64,
        publish: BTreeSet<String>,
        refuse: BTreeSet<String>,
    },
    /// These groups have no component left.
    Remove(BTreeSet<String>),
    /// Say why what lies there is not even built.
    Refuse(BTreeSet<String>),
    /// Say that what lies there never stays the same.
    SayUnsettled(BTreeSet<String>),
    /// Say why the tree cannot be understood.
    RefuseTree,
    /// What these requests wait for is done.
    Answer(Vec<u64>),
}
