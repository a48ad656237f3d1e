//! State from one generation to the next: the old one pauses, its components save, those of the new one load
//! and start. Whatever fails leaves the old one with what it had.

use std::{sync::Arc, time::Duration};

use super::{Failure, Generation, Paused, Snapshots};
use crate::{clock, diagnostic::Diagnostic};

/// Why a state was not handed over.
pub enum Unwilling {
    /// What runs on the old generation did not end in this time.
    Busy(Duration),
    /// A component failed.
    Failed(Box<Failure>),
    /// The new generation's store is gone.
    Gone,
}

/// What a generation handed over, and the one that did: it answers nobody as long as it is held.
pub struct HandedOver {
    pub held: Option<Paused>,
    pub snapshots: Arc<Snapshots>,
}

/// Gives `new` what `old` hands over, if there is one, and has it begin.
pub async fn hand_over(old: Option<&Generation>, new: &Generation) -> Result<HandedOver, Unwilling> {
    let old = match old {
        Some(old) if old.stores.is_one() => Some(
            old.stores
                .pause()
                .await
                .ok_or(Unwilling::Busy(old.limits.request_time))?,
        ),
        _ => None,
    };
    let snapshots = match &old {
        // Where the store is gone, so is what it remembered.
        Some(old) => match old.save().await {
            Some(saved) => saved.map_err(|failure| Unwilling::Failed(Box::new(failure)))?,
            None => Arc::default(),
        },
        None => Arc::<Snapshots>::default(),
    };
    load(new, snapshots.clone()).await?;
    Ok(HandedOver { held: old, snapshots })
}

/// Has a generation that serves save what it remembers, and go on. `None` where the group has moved on.
/// Errors: what runs there does not end within `patience`, or a component fails.
pub async fn save(generation: &Generation, patience: Duration) -> Result<Option<Arc<Snapshots>>, Unwilling> {
    let patience = patience.min(generation.limits.request_time);
    let paused = clock::timeout(patience, generation.stores.pause()).await;
    let paused = paused.ok().flatten().ok_or(Unwilling::Busy(patience))?;
    if generation.gate.is_over() {
        return Ok(None);
    }
    let saved = paused.save().await.transpose();
    saved.map_err(|failure| Unwilling::Failed(Box::new(failure)))
}

/// Gives a new generation what another one handed over, and has it begin.
pub async fn load(new: &Generation, snapshots: Arc<Snapshots>) -> Result<(), Unwilling> {
    let heir = new.stores.pause().await.ok_or(Unwilling::Gone)?;
    let begun = heir.begin(snapshots).await.ok_or(Unwilling::Gone)?;
    begun.map_err(|failure| Unwilling::Failed(Box::new(failure)))
}

impl Unwilling {
    /// Why the swap is refused.
    pub fn diagnostic(&self, group: &str) -> Diagnostic {
        match self {
            Self::Busy(limit) => {
                let limit = humantime::format_duration(*limit);
                let message = format!(
                    "what runs on the generation of {group} that serves did not end within {limit}, so its state \
                     could not be handed over"
                );
                let help =
                    format!("save again when less runs, or raise `request-time` in [groups.{group}.limits]");
                Diagnostic::new("state-busy", message).help(help)
            }
            Self::Failed(failure) => failure.diagnostic(group),
            Self::Gone => {
                let message = format!("the new generation of {group} ended before it began");
                Diagnostic::new("state-load-failed", message)
            }
        }
    }

    /// The component at fault, where one is.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            Self::Busy(_) | Self::Gone => None,
        }
    }
}
