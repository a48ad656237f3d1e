//! The releases of one repository on this machine, as a fleet's node needs them: by digest, one at a time at the root,
//! and the last that was committed.

use std::{
    io,
    path::{Path, PathBuf},
};

use oci_client::Reference;
use tokio::task::block_in_place;

use super::{
    pull::pull,
    registry::{PATIENCE, Registry},
    store::Store,
};
use crate::diagnostic::Diagnostic;

pub struct Source {
    registry: Registry,
    store: Store,
}

/// The digest that a reference stands for now.
pub async fn digest(reference: Reference) -> Result<String, Diagnostic> {
    Registry::new(reference)?.digest().await
}

impl Source {
    pub fn new(state_dir: &Path, reference: Reference) -> Result<Self, Diagnostic> {
        Ok(Self {
            registry: Registry::new(reference)?,
            store: Store::new(state_dir),
        })
    }

    pub fn root(&self) -> PathBuf {
        self.store.root()
    }

    pub fn committed(&self) -> Option<String> {
        self.store.committed()
    }

    /// The digest that the followed reference stands for now.
    pub async fn followed(&self) -> Result<String, Diagnostic> {
        self.registry.digest().await
    }

    /// Returns, and says why, when the registry has said nothing for longer than anybody waits who has something to serve.
    pub async fn silence(&self) -> Diagnostic {
        self.registry.silence(PATIENCE).await;
        self.registry.silent(PATIENCE)
    }

    /// Has the root lead to this release, which is pulled where it is not there.
    pub async fn put(&self, digest: &str) -> Result<(), Diagnostic> {
        if block_in_place(|| self.store.point(digest)).map_err(|error| self.unwritten(&error))? {
            return Ok(());
        }
        let pulled = pull(&self.registry.at(digest), &self.store).await?;
        let (layers, bytes) = (pulled.new_layers, pulled.new_bytes);
        tracing::info!(digest, layers, bytes, "a release was pulled");
        Ok(())
    }

    /// Has the root lead to what was committed last.
    pub fn put_back(&self) -> Result<(), Diagnostic> {
        let Some(committed) = self.committed() else {
            return Ok(());
        };
        let pointed = block_in_place(|| self.store.point(&committed));
        pointed.map(drop).map_err(|error| self.unwritten(&error))
    }

    /// What the root leads to is what is committed, and what is much older goes.
    pub fn commit(&self, digest: &str) -> Result<(), Diagnostic> {
        block_in_place(|| self.store.commit(digest)).map_err(|error| self.unwritten(&error))?;
        if let Err(error) = block_in_place(|| self.store.tidy()) {
            tracing::warn!(%error, "older releases could not be removed");
        }
        Ok(())
    }

    fn unwritten(&self, error: &io::Error) -> Diagnostic {
        Diagnostic::io("release-unwritten", "write the release to", self.root(), error).machine()
    }
}
