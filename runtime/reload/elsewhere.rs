//! The files of `[components]`, which lie anywhere, also where nothing is searched: what watches the tree
//! has to know them one by one.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// Shared by all who watch. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Elsewhere(Arc<Mutex<BTreeSet<PathBuf>>>);

impl Elsewhere {
    pub fn set(&self, files: impl IntoIterator<Item = PathBuf>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = files.into_iter().collect();
    }

    pub fn files(&self) -> BTreeSet<PathBuf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// True for such a file, and for the folder that it lies in.
    pub fn is_about(&self, path: &Path) -> bool {
        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.contains(path) || files.iter().any(|file| file.parent() == Some(path))
    }
}
