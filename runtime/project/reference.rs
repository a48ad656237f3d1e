//! Components by reference: what the manifest names in a registry, and where it lies once it was pulled. Who pulls
//! is not known here.
//!
//! ```text
//! STATE/components/registry.example.com/shop/cart:1.wasm           a link to its content
//! STATE/components/registry.example.com/shop/cart:1.wasm.failed    why it could not be pulled
//! ```

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

pub use oci_client::Reference;
use serde::{Deserialize, Serialize};

use super::ComponentId;
use crate::diagnostic::{Diagnostic, Fault};

/// What each component that is named by reference is.
pub type References = BTreeMap<ComponentId, Reference>;

/// The code of what is not pulled yet: it may come at any moment.
pub const UNPULLED: &str = "component-unpulled";

/// Why a component could not be pulled, for who reads the tree.
#[derive(Serialize, Deserialize)]
pub struct Failed {
    diagnostic: Diagnostic,
    machine: bool,
}

impl Failed {
    pub fn new(diagnostic: &Diagnostic) -> Self {
        Self {
            diagnostic: diagnostic.clone(),
            machine: diagnostic.fault() == Fault::Machine,
        }
    }
}

/// A tree, and the state directory of who serves it.
#[derive(Clone, Debug)]
pub struct Location {
    pub root: PathBuf,
    pub state_dir: PathBuf,
}

impl Location {
    pub fn new(root: &Path, state_dir: &Path) -> Self {
        Self {
            root: root.to_owned(),
            // Watched paths are compared as they are written.
            state_dir: std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.to_owned()),
        }
    }

    /// With the state directory that a server has where it is not told another.
    pub fn of(root: &Path) -> Self {
        Self::new(root, &root.join(".wasmhost"))
    }
}

/// The folder of all of them.
pub fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("components")
}

pub fn place(state_dir: &Path, reference: &Reference) -> PathBuf {
    folder(state_dir).join(format!("{reference}.wasm"))
}

/// Where it is told why there is none.
pub fn failure_place(state_dir: &Path, reference: &Reference) -> PathBuf {
    folder(state_dir).join(format!("{reference}.wasm.failed"))
}

/// Why a component that is named by reference is not there.
pub fn missing(state_dir: &Path, id: &ComponentId, reference: &Reference) -> Diagnostic {
    let told = fs::read(failure_place(state_dir, reference)).ok();
    let failed = told.and_then(|told| serde_json::from_slice::<Failed>(&told).ok());
    match failed {
        Some(Failed {
            mut diagnostic,
            machine,
        }) => {
            diagnostic.message = format!("component {id} is not to be had: {}", diagnostic.message);
            if machine { diagnostic.machine() } else { diagnostic }
        }
        None => Diagnostic::new(
            UNPULLED,
            format!("component {id} is {reference}, which is not pulled yet"),
        )
        .help("a server pulls it by itself; its log tells why it cannot"),
    }
}
