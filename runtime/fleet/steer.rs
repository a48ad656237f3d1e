//! What an operator asks of a fleet, and wants of it.

use std::{path::Path, time::Duration};

use serde::Serialize;
use tokio::{sync::mpsc, time::timeout};

use super::{
    address::FleetAddress,
    nats::{self, Nats},
    node::{Input, Wrote},
    record::{NodeState, Record, Release},
};
use crate::{
    diagnostic::Diagnostic,
    release::{self, Reference},
};

/// A fleet that says nothing for so long is asked anew.
const QUIET: Duration = Duration::from_secs(5);

/// A fleet, as it is steered.
pub struct Fleet(Nats);

/// What became of what was wanted.
pub enum Outcome {
    /// The fleet serves it, since this commit.
    Committed(u64),
    /// One of its servers could not serve it.
    Refused {
        node: String,
        diagnostics: Vec<Diagnostic>,
    },
    /// Something else was wanted since.
    Overtaken,
    /// Its servers are still at it.
    Pending,
}

/// All that is known of a fleet.
#[derive(Serialize)]
pub struct Overview {
    #[serde(flatten)]
    pub record: Record,
    /// The id of the node that decides.
    pub lead: Option<String>,
    pub nodes: Vec<Listed>,
}

#[derive(Serialize)]
pub struct Listed {
    pub id: String,
    #[serde(flatten)]
    pub state: NodeState,
    /// Since it gave a sign of life.
    pub silent_ms: u64,
    /// It serves what is committed.
    pub is_current: bool,
}

impl Fleet {
    pub async fn find(address: &FleetAddress, credentials: Option<&Path>) -> Result<Self, Diagnostic> {
        Nats::connect(address, credentials, false).await.map(Self)
    }

    pub async fn overview(&self) -> Result<Overview, Diagnostic> {
        let record = self
            .0
            .record()
            .await?
            .map(|(_, record)| record)
            .unwrap_or_default();
        let (_, lead) = self.0.lead().await?;
        let nodes = self.0.nodes().await?.into_iter().map(|known| Listed {
            is_current: known.state.serves.is_some() && known.state.serves == record.committed,
            id: known.id,
            state: known.state,
            silent_ms: u64::try_from(known.silent.as_millis()).unwrap_or(u64::MAX),
        });
        let mut nodes: Vec<_> = nodes.collect();
        nodes.sort_by(|one, other| one.state.name.cmp(&other.state.name));
        Ok(Overview {
            record,
            lead: (!lead.is_empty()).then_some(lead),
            nodes,
        })
    }

    /// Has the fleet want what a reference stands for, or a release by its digest. Returns the digest.
    pub async fn release(&self, name: &str) -> Result<Release, Diagnostic> {
        let release = match name.starts_with("sha256:") {
            true => name.to_owned(),
            false => {
                let reference: Reference = release::reference(name)?;
                release::digest(reference).await?
            }
        };
        self.want(|record| Ok(record.propose(&release, false))).await?;
        Ok(release)
    }

    /// Has the fleet want what it had committed before. Returns its digest.
    pub async fn roll_back(&self) -> Result<Release, Diagnostic> {
        let mut release = None;
        self.want(|record| {
            release = record.before.first().cloned();
            match &release {
                Some(_) => Ok(record.roll_back()),
                None => Err(Diagnostic::new(
                    "fleet-first",
                    "the fleet has committed no release before this one",
                )),
            }
        })
        .await?;
        Ok(release.unwrap_or_default())
    }

    async fn want(
        &self,
        mut change: impl FnMut(&Record) -> Result<Option<Record>, Diagnostic>,
    ) -> Result<(), Diagnostic> {
        loop {
            let (revision, record) = self.0.record().await?.unwrap_or_default();
            let Some(next) = change(&record)? else {
                return Ok(());
            };
            match self.0.swap(nats::RECORD, &next, revision).await {
                Wrote::Done(_) => return Ok(()),
                Wrote::Conflict => {}
                Wrote::Lost => return Err(self.0.failed("what is wanted could not be written")),
            }
        }
    }

    /// Waits, no longer than `limit`, for what becomes of a release that is wanted.
    pub async fn wait(&self, release: &str, limit: Duration) -> Outcome {
        let (inputs, mut heard) = mpsc::channel(16);
        let follow = self.0.follow(QUIET, inputs);
        let end = async {
            while let Some(input) = heard.recv().await {
                if let Input::Record {
                    record: Some(record), ..
                } = input
                    && let Some(outcome) = outcome(&record, release)
                {
                    return outcome;
                }
            }
            Outcome::Pending
        };
        let waited = timeout(limit, async {
            tokio::select! {
                outcome = end => outcome,
                () = follow => Outcome::Pending,
            }
        });
        waited.await.unwrap_or(Outcome::Pending)
    }
}

/// What has become of a release that was wanted; `None` as long as it is.
fn outcome(record: &Record, release: &str) -> Option<Outcome> {
    if record
        .wanted
        .as_ref()
        .is_some_and(|wanted| wanted.release == release)
    {
        return None;
    }
    if record.committed.as_deref() == Some(release) && !record.is_reverted() {
        return Some(Outcome::Committed(record.number));
    }
    let newest = record
        .refused
        .first()
        .filter(|refusal| refusal.release == release);
    Some(match newest {
        Some(refusal) => Outcome::Refused {
            node: refusal.node.clone(),
            diagnostics: refusal.diagnostics.clone(),
        },
        None => Outcome::Overtaken,
    })
}
