//! The files that components are made of, as they are on disk: tells that some may have changed, and which have.
//! Knows not what follows from it.
//!
//! Folders are watched one by one, as in `reload`: what compilers write costs no watch. Where the system has no
//! watches, the sources are compared now and then.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};
use walkdir::{DirEntry, WalkDir};

use super::choice::Layout;

/// Editors and version control write several files at once.
const QUIET: Duration = Duration::from_millis(15);
/// How long a burst of changes may hold a look up.
const BURST: Duration = Duration::from_millis(200);
/// How often sources without watches are compared.
const POLL: Duration = Duration::from_millis(300);
/// Folders that hold no sources.
const SKIPPED: [&str; 4] = ["target", "node_modules", "__pycache__", "dist"];
/// Deeper, nothing is a component's source.
const DEPTH: usize = 32;

/// Which file it is, and of when: another one differs in some of it, whatever its time stamp says.
type Stamp = (u64, u64, i64, i64, i64, i64);

pub struct Sources {
    roots: Vec<PathBuf>,
    files: Vec<PathBuf>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    hints: Arc<Notify>,
    seen: BTreeMap<PathBuf, Stamp>,
}

impl Sources {
    pub fn start(root: &Path, layout: &Layout) -> Self {
        let hints = Arc::new(Notify::new());
        let sink = hints.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let reads = |event: &notify::Event| matches!(event.kind, EventKind::Access(_));
            if !event.is_ok_and(|event| reads(&event)) {
                sink.notify_one();
            }
        });
        let watcher = watcher.inspect_err(
            |error| tracing::warn!(%error, "the system offers no watches: sources are compared every {POLL:?}"),
        );
        let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        let mut sources = Self {
            roots: vec![root],
            files: Vec::new(),
            watcher: watcher.ok(),
            watched: BTreeSet::new(),
            hints,
            seen: BTreeMap::new(),
        };
        sources.follow(layout);
        sources
    }

    /// Follows what the layout names from now on; what is there now is no change.
    pub fn follow(&mut self, layout: &Layout) {
        self.roots.truncate(1);
        self.roots.extend(layout.packages_outside().map(Path::to_owned));
        self.files = layout.files().map(Path::to_owned).collect();
        // What changed in between among the sources is still to be seen; what is new to be followed is not.
        let now = self.look();
        let known = |path: &PathBuf| self.seen.contains_key(path) && !self.files.contains(path);
        let (before, new): (Vec<_>, Vec<_>) = now.into_iter().partition(|(path, _)| known(path));
        drop(before);
        if self.seen.is_empty() {
            self.seen.extend(new);
        } else {
            let files = &self.files;
            self.seen.retain(|path, _| !files.contains(path));
            let followed = new.into_iter().filter(|(path, _)| files.contains(path));
            self.seen.extend(followed);
        }
    }

    /// Waits until something may have changed and is quiet again.
    pub async fn hinted(&self) {
        if self.watcher.is_none() {
            return sleep(POLL).await;
        }
        self.hints.notified().await;
        let latest = Instant::now() + BURST;
        loop {
            tokio::select! {
                () = self.hints.notified() => {}
                () = sleep(QUIET) => return,
                () = sleep_until(latest) => return,
            }
        }
    }

    /// What is not as it was when this was asked last.
    pub fn changed(&mut self) -> BTreeSet<PathBuf> {
        let now = self.look();
        let differs = |(path, stamp): &(&PathBuf, &Stamp)| self.seen.get(*path) != Some(*stamp);
        let changed = now.iter().filter(differs).map(|(path, _)| path.clone());
        let gone = self.seen.keys().filter(|path| !now.contains_key(*path)).cloned();
        let changed = changed.chain(gone).collect();
        self.seen = now;
        changed
    }

    fn look(&mut self) -> BTreeMap<PathBuf, Stamp> {
        let mut folders = BTreeSet::new();
        for root in &self.roots {
            folders.extend(folders_below(root));
        }
        folders.extend(
            self.files
                .iter()
                .filter_map(|file| file.parent().map(Path::to_owned)),
        );
        // Watched first: what comes after that is seen, or hinted at.
        self.watch(folders);
        let walks = self.roots.iter().flat_map(|root| walk(root));
        let below = walks.filter(|entry| entry.file_type().is_file() && !is_component(entry.path()));
        let below = below.filter_map(|entry| Some((entry.path().to_owned(), stamp(entry.path())?)));
        let single = self
            .files
            .iter()
            .filter_map(|file| Some((file.clone(), stamp(file)?)));
        below.chain(single).collect()
    }

    fn watch(&mut self, folders: BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for gone in self.watched.difference(&folders) {
            // It may be gone for good.
            let _ = watcher.unwatch(gone);
        }
        self.watched.retain(|folder| folders.contains(folder));
        for folder in folders {
            if self.watched.contains(&folder) {
                continue;
            }
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.watched.insert(folder)),
                Err(error) if !folder.exists() => tracing::debug!(%error, "a folder is not there yet"),
                Err(error) => {
                    tracing::warn!(folder = %folder.display(), %error, "not watched: sources are compared every {POLL:?}");
                    self.watcher = None;
                    self.watched.clear();
                    return;
                }
            }
        }
    }
}

fn walk(root: &Path) -> impl Iterator<Item = DirEntry> {
    let walk = WalkDir::new(root).follow_links(true).max_depth(DEPTH);
    walk.into_iter().filter_entry(may_be_source).flatten()
}

fn may_be_source(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    entry.depth() == 0 || !(name.starts_with('.') || SKIPPED.contains(&&*name))
}

fn folders_below(root: &Path) -> impl Iterator<Item = PathBuf> {
    let folders = walk(root).filter(|entry| entry.file_type().is_dir());
    folders.map(DirEntry::into_path)
}

/// What is built is no source.
fn is_component(path: &Path) -> bool {
    let ending = path.extension();
    ending.is_some_and(|ending| ending == "wasm" || ending == "wat")
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = path.metadata().ok()?;
    Some((
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn what_changes_is_hinted_at_and_found() {
        let root = tempfile::tempdir().expect("makes a folder");
        let root = root.path().canonicalize().expect("is there");
        fs::create_dir_all(root.join("home/src")).expect("makes folders");
        fs::create_dir_all(root.join("target")).expect("makes folders");
        fs::write(root.join("home/src/lib.rs"), "one").expect("writes");
        let mut sources = Sources::start(&root, &Layout::default());
        assert_eq!(sources.changed(), BTreeSet::new());

        fs::write(root.join("home/src/lib.rs"), "two").expect("writes");
        sources.hinted().await;
        assert_eq!(sources.changed(), BTreeSet::from([root.join("home/src/lib.rs")]));

        // A folder that is new, and what is in it.
        fs::create_dir_all(root.join("cart/src")).expect("makes folders");
        fs::write(root.join("cart/src/lib.rs"), "one").expect("writes");
        sources.hinted().await;
        assert_eq!(sources.changed(), BTreeSet::from([root.join("cart/src/lib.rs")]));
        fs::remove_dir_all(root.join("cart")).expect("removes");
        sources.hinted().await;
        assert_eq!(sources.changed(), BTreeSet::from([root.join("cart/src/lib.rs")]));

        // What is built, and what is built with.
        fs::write(root.join("home.wasm"), "built").expect("writes");
        fs::write(root.join("target/x.rs"), "debris").expect("writes");
        assert_eq!(sources.changed(), BTreeSet::new());
    }
}
