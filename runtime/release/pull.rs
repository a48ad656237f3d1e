//! A release of a registry onto the disk: only the layers that are not there.

use super::{registry::Registry, store::Store};
use crate::diagnostic::Diagnostic;

/// What a pull came to.
pub struct Pulled {
    /// `sha256:…`
    pub digest: String,
    pub new_layers: usize,
    pub new_bytes: u64,
}

/// Pulls what the reference stands for now, and switches to it. Errors: what was there is there, and all that was
/// pulled so far need not be pulled again.
pub async fn pull(registry: &Registry, store: &Store) -> Result<Pulled, Diagnostic> {
    let (release, digest) = registry.release().await?;
    let config = registry.config(&release).await?;
    let (mut new_layers, mut new_bytes) = (0, 0);
    for layer in release.files.values() {
        let is_there = blocking(|| store.has(layer));
        // The disk may have taken its time: the registry was not asked.
        registry.note_work();
        if !is_there {
            let bytes = registry.layer(layer).await?;
            blocking(|| store.put(layer, &bytes)).map_err(|error| unwritten(store, &error))?;
            new_layers += 1;
            new_bytes += layer.size;
        }
    }
    blocking(|| store.switch(&digest, &release, &config)).map_err(|error| unwritten(store, &error))?;
    Ok(Pulled {
        digest,
        new_layers,
        new_bytes,
    })
}

/// Threads of the runtime that requests need are not kept by the disk.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

fn unwritten(store: &Store, error: &std::io::Error) -> Diagnostic {
    Diagnostic::io("release-unwritten", "write the release to", store.root(), error).machine()
}
