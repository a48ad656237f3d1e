//! Watches the tree and tells that something may have changed. It only hints: what changed is decided
//! by content. Knows no groups.

use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use notify::{
    ErrorKind, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::sync::Notify;

use crate::{
    diagnostic::Diagnostic,
    project::{MANIFEST, is_skipped},
};

/// Watches a tree as long as it lives.
pub struct Watch {
    root: PathBuf,
    watcher: RecommendedWatcher,
    /// Folders outside the tree that hold components.
    elsewhere: BTreeSet<PathBuf>,
    changes: Arc<Changes>,
}

/// Changes that nobody has looked at yet: when the first and the last of them were seen.
#[derive(Default)]
struct Changes {
    seen: Mutex<Option<(Instant, Instant)>>,
    some: Notify,
}

impl Watch {
    /// Begins to watch `root`. Errors: the limits of the system's watches, or no permission.
    pub fn start(root: &Path) -> Result<Self, Diagnostic> {
        let changes = Arc::new(Changes::default());
        let (sink, tree) = (changes.clone(), root.to_owned());
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| matters(&tree, &event)) {
                sink.add(Instant::now());
            }
        });
        let watching = watcher.and_then(|mut watcher| {
            watcher.watch(root, RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        let watcher = watching.map_err(|error| unwatched(root, &error))?;
        Ok(Self {
            root: root.to_owned(),
            watcher,
            elsewhere: BTreeSet::new(),
            changes,
        })
    }

    /// Watches the folders of these files too, and no longer those of files that are not among them.
    pub fn also<'a>(&mut self, files: impl Iterator<Item = &'a PathBuf>) {
        let folders: BTreeSet<PathBuf> = files
            .filter(|file| !file.starts_with(&self.root))
            .filter_map(|file| Some(file.parent()?.to_owned()))
            .collect();
        for gone in self.elsewhere.difference(&folders) {
            // A folder that is gone is watched no more either way.
            let _ = self.watcher.unwatch(gone);
        }
        for new in folders.difference(&self.elsewhere) {
            if let Err(error) = self.watcher.watch(new, RecursiveMode::NonRecursive) {
                tracing::warn!(folder = %new.display(), %error, "not watched");
            }
        }
        self.elsewhere = folders;
    }

    /// Waits until something may have changed: when that was seen first and last.
    pub async fn changed(&self) -> (Instant, Instant) {
        loop {
            if let Some(seen) = self.changes.take() {
                return seen;
            }
            self.changes.some.notified().await;
        }
    }
}

impl Changes {
    fn add(&self, now: Instant) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = Some((seen.map_or(now, |(first, _)| first), now));
        self.some.notify_one();
    }

    fn take(&self) -> Option<(Instant, Instant)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn unwatched(root: &Path, error: &notify::Error) -> Diagnostic {
    let place = error.paths.first().map_or(root, PathBuf::as_path);
    let diagnostic = match &error.kind {
        ErrorKind::Io(reason) => Diagnostic::io("watch-failed", "watch", place, reason),
        _ => Diagnostic::new(
            "watch-failed",
            format!("cannot watch {}: {error}", place.display()),
        )
        .file(place),
    };
    let diagnostic = diagnostic.machine();
    if diagnostic.help.is_some() {
        return diagnostic;
    }
    diagnostic.help(
        "raise fs.inotify.max_user_watches and fs.inotify.max_user_instances, \
         or serve without watching: --frozen",
    )
}

/// False for what cannot change a component: reading, and folders that are never searched, where
/// compilers write thousands of files.
fn matters(root: &Path, event: &notify::Event) -> bool {
    let written = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    };
    // An event without a path means that some were lost.
    written && (event.paths.is_empty() || event.paths.iter().any(|path| may_hold_components(root, path)))
}

fn may_hold_components(root: &Path, path: &Path) -> bool {
    let Ok(below) = path.strip_prefix(root) else {
        return true;
    };
    let searched = |name: &str| !is_skipped(name.as_ref());
    let names = || {
        below.components().filter_map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
    };
    if !names().all(searched) {
        return false;
    }
    // A name with another ending is a file of no interest; without one it may be a folder.
    match below.extension().and_then(|ending| ending.to_str()) {
        Some("wasm" | "wat") | None => true,
        Some(_) => below == Path::new(MANIFEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_hold_components_matters() {
        let root = Path::new("/site");
        let check =
            |path: &str, expected| assert_eq!(may_hold_components(root, Path::new(path)), expected, "{path}");
        check("/site/shop/home.wasm", true);
        check("/site/shop/home.wat", true);
        check("/site/wasmhost.toml", true);
        check("/site/shop", true);
        check("/site", true);
        check("/elsewhere/home.wasm", true);
        check("/site/shop/home/src/lib.rs", false);
        check("/site/target/wasm32-wasip2/release/home.wasm", false);
        check("/site/shop/.home.wasm.tmp", false);
        check("/site/.wasmhost/journal.jsonl", false);
        check("/site/_drafts/home.wasm", false);
    }
}
