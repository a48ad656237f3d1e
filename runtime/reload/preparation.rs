//! One group's way from what was read to a candidate. Decides nothing.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Outcome, serving::Candidate};
use crate::{
    artifact::Builder,
    generation::{Observer, Snapshots},
    kept::{Checkpoint, Expected, Folder},
    prepare::{self, Exports, Readable, Succession},
    project::GroupSpec,
    status::Stages,
};

/// All that the preparation of one group needs.
pub struct Preparation {
    pub builder: Arc<Builder>,
    pub wanted: Wanted,
    pub succession: Succession,
    pub observer: Observer,
    pub kept: Arc<Folder>,
    pub stages: Stages,
}

/// What is to be built.
pub enum Wanted {
    Readable(Readable),
    /// To be read first.
    Unread(GroupSpec),
}

impl Wanted {
    pub fn spec(&self) -> &GroupSpec {
        match self {
            Self::Readable(readable) => &readable.spec,
            Self::Unread(spec) => spec,
        }
    }

    pub fn spec_mut(&mut self) -> &mut GroupSpec {
        match self {
            Self::Readable(readable) => &mut readable.spec,
            Self::Unread(spec) => spec,
        }
    }

    /// How much of the look went into taking this apart.
    pub fn taking_apart(&self) -> Duration {
        match self {
            Self::Readable(readable) => readable.took,
            Self::Unread(_) => Duration::ZERO,
        }
    }
}

impl Preparation {
    pub async fn prepare(self, exports: Arc<Exports>, give_up: CancellationToken) -> Outcome {
        let Self {
            builder,
            wanted,
            mut succession,
            observer,
            kept,
            stages,
        } = self;
        let readable = match wanted {
            Wanted::Readable(readable) => readable,
            Wanted::Unread(spec) => prepare::read(builder.clone(), spec).await?,
        };
        if !succession.inherits && readable.spec.checkpoint.is_some() {
            succession.begins_with = checkpoint(kept.clone(), readable.spec.name.clone()).await;
        }
        let expected = expect(kept, readable.spec.clone());
        let prepared = prepare::prepare(builder, readable, exports, succession, observer, give_up);
        let (prepared, expected) = tokio::join!(prepared, expected);
        let prepared = prepared?;
        let stages = Stages {
            link: prepared.cost.link,
            compile: prepared.cost.compile,
            instantiate: prepared.instantiate,
            ..stages
        };
        Ok(Candidate {
            prepared,
            stages,
            expected: expected.map(Arc::new),
            held: None,
            snapshots: None,
            instead: None,
        })
    }
}

/// Writes the components of what may come to serve beside their build, so that the commit finds them kept.
async fn expect(kept: Arc<Folder>, spec: GroupSpec) -> Option<Expected> {
    // Where it cannot be written, the keeper says so.
    tokio::task::spawn_blocking(move || kept.expect(&spec).ok())
        .await
        .ok()
        .flatten()
}

/// What a group that does not serve remembered when it was saved last.
async fn checkpoint(kept: Arc<Folder>, group: String) -> Option<Arc<Snapshots>> {
    let name = group.clone();
    let read = tokio::task::spawn_blocking(move || kept.kept.checkpoint(&name)).await;
    let Checkpoint { taken, snapshots } = read.ok().flatten()?;
    let time = humantime::format_rfc3339_seconds(taken.time);
    tracing::info!(group, %time, bytes = taken.bytes, "it begins with its last checkpoint");
    Some(snapshots)
}
