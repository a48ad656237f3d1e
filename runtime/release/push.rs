//! `wasmhost push`: what would be served of a tree, to a registry.

use std::path::Path;

use oci_client::Reference;

use super::{
    components::provide_aside,
    gather::{Gathered, gather},
    registry::Registry,
};
use crate::{diagnostic::Diagnostic, project::Location};

/// What a push came to.
pub struct Pushed {
    /// `registry/repository@sha256:…`: this release, whatever the tag will stand for.
    pub reference: Reference,
    pub files: usize,
    /// Layers that the registry did not have, and their bytes.
    pub new_layers: usize,
    pub new_bytes: u64,
}

/// The tag moves when all else is there, so nobody pulls a part.
pub async fn push(root: &Path, reference: Reference) -> Result<Pushed, Vec<Diagnostic>> {
    let one = |diagnostic| vec![diagnostic];
    let components = provide_aside(root).await.map_err(one)?;
    let Gathered { release, blobs } = gather(&Location::new(root, components.path()))?;
    let registry = Registry::new(reference.clone()).map_err(one)?;
    let (mut new_layers, mut new_bytes) = (0, 0);
    for (layer, bytes) in blobs {
        if registry.push_layer(&layer, bytes).await.map_err(one)? {
            new_layers += 1;
            new_bytes += layer.size;
        }
    }
    registry.push_manifest(release.manifest()).await.map_err(one)?;
    let digest = registry.digest().await.map_err(one)?;
    Ok(Pushed {
        reference: reference.clone_with_digest(digest),
        files: release.files.len(),
        new_layers,
        new_bytes,
    })
}
