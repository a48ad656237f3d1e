//! A tag, followed: what it comes to stand for is pulled, and the control plane is told to serve it.

use std::{path::Path, time::Duration};

use oci_client::Reference;
use tokio_util::sync::CancellationToken;

use super::{
    pull::{Pulled, pull},
    registry::{PATIENCE, Registry},
    store::Store,
};
use crate::{clock, diagnostic::Diagnostic, orders::Orders};

/// Between two questions to a registry that does not answer, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Follows one reference.
pub struct Follower {
    registry: Registry,
    store: Store,
    every: Duration,
}

/// Pulls what `reference` stands for into the state directory; where that cannot be done, or the registry says
/// nothing, the last release there will do.
/// Errors: there is none.
pub async fn start(state_dir: &Path, reference: Reference, every: Duration) -> Result<Follower, Diagnostic> {
    let registry = Registry::new(reference)?;
    let store = Store::new(state_dir);
    let last = store.current();
    let follower = Follower {
        registry,
        store,
        every,
    };
    let looked = tokio::select! {
        biased;
        looked = follower.look() => looked,
        () = follower.registry.silence(PATIENCE), if last.is_some() => Err(follower.registry.silent(PATIENCE)),
    };
    match (looked, last) {
        (Ok(_), _) => {}
        (Err(error), Some(last)) => tracing::warn!("{error}\nthe last release serves: {last}"),
        (Err(error), None) => return Err(error),
    }
    Ok(follower)
}

impl Follower {
    /// The root to be served: what it leads to changes, as a whole.
    pub fn root(&self) -> std::path::PathBuf {
        self.store.root()
    }

    /// Until it is stopped. What fails is said once, and tried again.
    pub async fn run(self, orders: Orders, stop: CancellationToken) {
        let mut failure: Option<Diagnostic> = None;
        let mut pause = self.every;
        loop {
            tokio::select! {
                () = clock::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
            let looked = tokio::select! {
                looked = self.look() => looked,
                () = stop.cancelled() => return,
            };
            pause = match &looked {
                Ok(_) => self.every,
                Err(_) => (pause * 2).min(LONGEST_PAUSE.max(self.every)),
            };
            match looked {
                Ok(pulled) => {
                    if failure.take().is_some() {
                        tracing::info!("{} is followed again", self.registry.reference);
                    }
                    if pulled.is_some() && orders.swap(None).await.is_err() {
                        return;
                    }
                }
                Err(error) if failure.as_ref() == Some(&error) => {}
                Err(error) => {
                    tracing::warn!("{error}\nwhat serves goes on, and it is tried again");
                    failure = Some(error);
                }
            }
        }
    }

    /// Pulls what the reference stands for, if it is another release than the last.
    async fn look(&self) -> Result<Option<Pulled>, Diagnostic> {
        if self.store.current().as_ref() == Some(&self.registry.digest().await?) {
            return Ok(None);
        }
        let pulled = pull(&self.registry, &self.store).await?;
        tell(&self.registry.reference, &pulled);
        if let Err(error) = self.store.tidy() {
            tracing::warn!(%error, "older releases could not be removed");
        }
        Ok(Some(pulled))
    }
}

fn tell(reference: &Reference, pulled: &Pulled) {
    let Pulled {
        digest,
        new_layers,
        new_bytes,
    } = pulled;
    tracing::info!(%reference, digest, new_layers, new_bytes, "a release was pulled");
}
