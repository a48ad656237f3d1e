//! How a server comes to its fleet: what it begins with, before it is a node.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    address::FleetAddress,
    nats::{self, Nats},
    node::Wrote,
    record::Release,
};
use crate::{
    diagnostic::Diagnostic,
    release::{Reference, Source},
    server::Pin,
};

/// A server that has found its fleet, or what it served of it last.
pub struct Member {
    pub(super) nats: Arc<Nats>,
    pub(super) source: Arc<Source>,
    pub(super) every: Duration,
    /// What lies at the root.
    pub(super) begins_with: Release,
    /// It was committed, if perhaps not last.
    pub(super) was_committed: bool,
    pub(super) pin: Arc<Pin>,
}

/// Finds out what to serve at first: what was served last, or else what the fleet has committed, or else what the
/// tag stands for, and has it lie at the root.
/// Errors: nothing is to be had.
pub async fn join(
    address: &FleetAddress,
    credentials: Option<&Path>,
    state_dir: &Path,
    reference: Reference,
    every: Duration,
) -> Result<Member, Diagnostic> {
    let source = Source::new(state_dir, reference)?;
    let last = source.committed();
    let nats = Nats::connect(address, credentials, last.is_some()).await?;
    let (begins_with, was_committed) = match last {
        Some(last) => {
            if !nats.is_connected() {
                tracing::warn!("the fleet {address} is not reached: the last release serves: {last}");
            }
            (last, true)
        }
        None => first(&nats, &source).await?,
    };
    source.put(&begins_with).await?;
    Ok(Member {
        nats: Arc::new(nats),
        source: Arc::new(source),
        every,
        begins_with,
        was_committed,
        pin: Arc::default(),
    })
}

/// What a server without a past begins with: what is committed, or else wanted.
async fn first(nats: &Nats, source: &Source) -> Result<(Release, bool), Diagnostic> {
    loop {
        let (revision, record) = nats.record().await?.unwrap_or_default();
        if let Some(committed) = record.committed {
            return Ok((committed, true));
        }
        let followed = source.followed().await;
        let is_new = |release: &Release| record.tag.as_ref() != Some(release);
        match (followed, &record.wanted) {
            (Ok(release), _) if is_new(&release) => {
                let Some(next) = record.propose(&release, true) else {
                    return Ok((release, false));
                };
                if let Wrote::Done(_) = nats.swap(nats::RECORD, &next, revision).await {
                    return Ok((release, false));
                }
                // Another was first.
            }
            (_, Some(wanted)) => return Ok((wanted.release.clone(), false)),
            (Err(error), None) => return Err(error),
            (Ok(release), None) => {
                let message = format!("the fleet has refused its first release, {release}, and has no other");
                let reasons = record
                    .refused
                    .first()
                    .map(|refusal| refusal.diagnostics.as_slice());
                let reasons: Vec<_> = reasons
                    .unwrap_or_default()
                    .iter()
                    .map(ToString::to_string)
                    .collect();
                let help = format!(
                    "push one that can be served; it was refused for: {}",
                    reasons.join("; ")
                );
                return Err(Diagnostic::new("fleet-refused", message).help(help));
            }
        }
    }
}

impl Member {
    pub fn root(&self) -> PathBuf {
        self.source.root()
    }

    /// The commit that is served, for clients that never go back.
    pub fn pin(&self) -> Arc<Pin> {
        self.pin.clone()
    }

    /// True where it never served: then it begins with a whole release or not at all.
    pub fn is_new(&self) -> bool {
        self.source.committed().is_none()
    }
}
