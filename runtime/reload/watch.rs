//! Watches the tree and tells that something may have changed. It only hints: what changed is decided
//! by content. Knows no groups.
//!
//! Folders are watched one by one, so that what is never searched (`target`, where compilers write
//! thousands of files) costs neither watches nor hints. Where the system has no watches left, or the
//! file system has no events, polling takes over.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant, SystemTime},
};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tokio::sync::Notify;
use walkdir::WalkDir;

use super::{
    elsewhere::Elsewhere,
    fingerprint::{Fingerprint, has_events},
};
use crate::{
    clock,
    diagnostic::Diagnostic,
    project::{DiscoveryLimits, MANIFEST, Project, STATIC, may_be_served},
};

/// How often a tree without events is compared with what it was.
const POLL: Duration = Duration::from_millis(200);
/// How often a tree with events is: a folder that was moved away and made anew sends none.
const SAFETY: Duration = Duration::from_secs(2);
/// How often polling looks at contents, whatever the fingerprint says.
const ANYWAY: Duration = Duration::from_secs(5);

/// How changes are noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// By events; by polling where there are none.
    #[default]
    Auto,
    Poll,
}

/// A folder, and which one it is: a path can be another folder tomorrow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Folder {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// Inodes are used again; `None` where the file system does not tell.
    created: Option<SystemTime>,
}

/// Watches a tree as long as it lives.
pub struct Watch {
    /// `None` while polling.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<Folder>,
    elsewhere: Elsewhere,
    changes: Arc<Changes>,
    poll: Poll,
}

/// Changes that nobody has looked at yet: when the first and the last of them were seen.
#[derive(Default)]
struct Changes {
    seen: Mutex<Option<(Instant, Instant)>>,
    some: Notify,
    /// A folder was moved or removed, and the watch of what is there now may have gone with it.
    moved: AtomicBool,
}

impl Watch {
    /// Begins to watch `root`, and the files that `project` has elsewhere, as far as it is known.
    /// Errors: the system cannot even poll.
    pub fn start(root: &Path, project: Option<&Project>, mode: Mode) -> Result<Self, Diagnostic> {
        let (changes, elsewhere) = (Arc::new(Changes::default()), Elsewhere::default());
        if let Some(project) = project {
            elsewhere.set(project.elsewhere.values().cloned());
        }
        let events = mode == Mode::Auto && has_events(root);
        let watcher = if events {
            watcher(root, &elsewhere, &changes)
        } else {
            None
        };
        if watcher.is_none() && mode == Mode::Auto {
            say_polling(root);
        }
        let interval = if watcher.is_some() { SAFETY } else { POLL };
        let poll = Poll::start(root, &elsewhere, interval, changes.clone()).map_err(|error| {
            Diagnostic::io("watch-failed", "start a thread to watch", root, &error).machine()
        })?;
        let mut watch = Self {
            watcher,
            watched: BTreeSet::new(),
            elsewhere,
            changes,
            poll,
        };
        watch.follow(folders(root), None);
        Ok(watch)
    }

    /// Watches these folders and the files elsewhere – `None` is those of before –, and no others. True
    /// where some folders are new: what came into them before is unseen.
    pub fn follow(&mut self, mut folders: BTreeSet<Folder>, elsewhere: Option<&[PathBuf]>) -> bool {
        if let Some(files) = elsewhere {
            self.elsewhere.set(files.iter().cloned());
        }
        let files = self.elsewhere.files();
        folders.extend(files.iter().filter_map(|file| Folder::at(file.parent()?)));
        let Some(watcher) = &mut self.watcher else {
            return false;
        };
        for gone in self.watched.difference(&folders) {
            // A folder that is gone is watched no more either way.
            let _ = watcher.unwatch(&gone.path);
        }
        if self.changes.moved.swap(false, Ordering::Relaxed) {
            // One that was moved away and back is the same folder, and watched no more.
            self.watched.clear();
        }
        let new: Vec<_> = folders.difference(&self.watched).cloned().collect();
        self.watched.retain(|folder| folders.contains(folder));
        let mut some = false;
        for folder in new {
            match watcher.watch(&folder.path, RecursiveMode::NonRecursive) {
                Ok(()) => some |= self.watched.insert(folder),
                // It is tried again with the next look.
                Err(error) if is_discoverys_to_say(&error) => {}
                Err(error) => {
                    tracing::warn!(folder = %folder.path.display(), %error, "not watched");
                    self.poll_from_now_on(&folder.path);
                    return true;
                }
            }
        }
        some
    }

    fn poll_from_now_on(&mut self, folder: &Path) {
        say_polling(folder);
        self.watcher = None;
        self.watched.clear();
        self.poll.every(POLL);
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

/// Folders that are gone, or that may not be read: the next look finds that out.
fn is_discoverys_to_say(error: &notify::Error) -> bool {
    use std::io::ErrorKind as Io;
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => matches!(error.kind(), Io::NotFound | Io::PermissionDenied),
        _ => false,
    }
}

fn watcher(root: &Path, elsewhere: &Elsewhere, changes: &Arc<Changes>) -> Option<RecommendedWatcher> {
    let (sink, tree, elsewhere) = (changes.clone(), root.to_owned(), elsewhere.clone());
    let said = Once::new();
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let is_lost = event.as_ref().is_ok_and(notify::Event::need_rescan);
        if is_lost {
            said.call_once(|| tracing::warn!("the system lost events: the tree is looked at as a whole"));
        }
        if is_lost || event.as_ref().is_ok_and(|event| moves_folders(&tree, event)) {
            sink.moved.store(true, Ordering::Relaxed);
        }
        if event.map_or(true, |event| matters(&tree, &elsewhere, &event)) {
            sink.add(clock::now());
        }
    });
    watcher
        .inspect_err(|error| tracing::warn!(%error, "the system offers no watches"))
        .ok()
}

fn say_polling(place: &Path) {
    tracing::warn!(
        "{} is polled every {} ms from now on; raising fs.inotify.max_user_watches and \
         fs.inotify.max_user_instances may help",
        place.display(),
        POLL.as_millis()
    );
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

impl Folder {
    fn at(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
            created: metadata.created().ok(),
        })
    }
}

/// Every folder under `root` that is searched for components, and those of static files.
pub fn folders(root: &Path) -> BTreeSet<Folder> {
    WalkDir::new(root)
        .follow_links(true)
        .max_depth(DiscoveryLimits::DEFAULT.depth)
        .into_iter()
        .filter_entry(|entry| entry.path().strip_prefix(root).is_ok_and(may_be_served))
        // A loop of links, or a folder that may not be read: discovery says so.
        .flatten()
        .filter(|entry| entry.file_type().is_dir())
        .take(DiscoveryLimits::DEFAULT.entries)
        .filter_map(|entry| Folder::at(entry.path()))
        .collect()
}

/// Compares the tree with what it was, on a thread of its own.
struct Poll(Sender<Note>);

/// What its thread is told.
#[derive(Clone, Copy)]
enum Note {
    /// How often it looks from now on.
    Every(Duration),
    /// The clock was moved: it is time.
    Moved,
}

impl Poll {
    fn start(
        root: &Path,
        elsewhere: &Elsewhere,
        every: Duration,
        changes: Arc<Changes>,
    ) -> std::io::Result<Self> {
        let (sender, notes) = channel();
        let (root, elsewhere) = (root.to_owned(), elsewhere.clone());
        let fingerprint = move || Fingerprint::of(&root, &elsewhere.files());
        std::thread::Builder::new()
            .name("poll".into())
            .spawn(move || poll(fingerprint, every, &notes, &changes))?;
        let moved = sender.clone();
        clock::on_move(move || {
            // The thread may have ended.
            let _ = moved.send(Note::Moved);
        });
        Ok(Self(sender))
    }

    fn every(&self, interval: Duration) {
        // The thread lives as long as this end does.
        let _ = self.0.send(Note::Every(interval));
    }
}

fn poll(
    fingerprint: impl Fn() -> Fingerprint,
    mut every: Duration,
    notes: &Receiver<Note>,
    changes: &Changes,
) {
    let mut before = fingerprint();
    let mut looked = clock::now();
    loop {
        match notes.recv_timeout(every) {
            Ok(Note::Every(interval)) => every = interval,
            Ok(Note::Moved) => {}
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = clock::now();
        let found = fingerprint();
        let anyway = every == POLL && now.duration_since(looked) >= ANYWAY;
        if found != before || anyway {
            (before, looked) = (found, now);
            changes.add(now);
        }
    }
}

/// True where a folder may have been moved or removed.
fn moves_folders(root: &Path, event: &notify::Event) -> bool {
    let moves = matches!(
        event.kind,
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
    );
    let may_be_folder = |path: &PathBuf| {
        let component = path
            .extension()
            .is_some_and(|ending| ending == "wasm" || ending == "wat");
        !component && may_be_served(below(root, path))
    };
    moves && event.paths.iter().any(may_be_folder)
}

/// False for what cannot change what is served: reading, and names that are never searched.
fn matters(root: &Path, elsewhere: &Elsewhere, event: &notify::Event) -> bool {
    let written = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    };
    // An event without a path means that some were lost.
    let matters = |path: &PathBuf| elsewhere.is_about(path) || is_of_interest(root, path);
    written && (event.paths.is_empty() || event.paths.iter().any(matters))
}

/// A path as seen from the root. One that is not below it lies beside a file elsewhere, or is known by
/// another path too.
fn below<'p>(root: &Path, path: &'p Path) -> &'p Path {
    path.strip_prefix(root)
        .unwrap_or(Path::new(path.file_name().unwrap_or_default()))
}

fn is_of_interest(root: &Path, path: &Path) -> bool {
    let below = below(root, path);
    if !may_be_served(below) {
        return false;
    }
    if below.iter().any(|name| name == STATIC) {
        return true;
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
    fn only_what_may_be_served_matters() {
        let root = Path::new("/site");
        let check = |path: &str, expected| {
            assert_eq!(is_of_interest(root, Path::new(path)), expected, "{path}");
        };
        check("/site/shop/home.wasm", true);
        check("/site/shop/home.wat", true);
        check("/site/wasmhost.toml", true);
        check("/site/shop", true);
        check("/site", true);
        check("/elsewhere/target/home.wasm", true);
        check("/elsewhere/target/home.d", false);
        check("/site/shop/home/src/lib.rs", false);
        check("/site/target/wasm32-wasip2/release/home.wasm", false);
        check("/site/shop/.home.wasm.tmp", false);
        check("/site/.wasmhost/journal.jsonl", false);
        check("/site/_drafts/home.wasm", false);
        check("/site/shop/static", true);
        check("/site/shop/static/site.css", true);
        check("/site/shop/static/_a/target/b.js", true);
        check("/site/shop/static/.site.css.swp", false);
        check("/site/target/static/site.css", false);
    }

    #[test]
    fn files_elsewhere_matter_wherever_they_lie() {
        let (root, elsewhere) = (Path::new("/site"), Elsewhere::default());
        elsewhere.set([PathBuf::from("/site/../home/target/release/home.wasm")]);
        let check = |path: &str, expected| {
            let event = notify::Event::new(EventKind::Any).add_path(path.into());
            assert_eq!(matters(root, &elsewhere, &event), expected, "{path}");
        };
        check("/site/../home/target/release/home.wasm", true);
        check("/site/../home/target/release", true);
        check("/site/../home/target/release/home.d", false);
        check("/site/target/release/home.wasm", false);
    }

    #[test]
    fn a_folder_that_is_moved_or_removed_is_watched_anew() {
        use notify::event::{DataChange, RemoveKind, RenameMode};
        let check = |kind: EventKind, path: &str, expected| {
            let event = notify::Event::new(kind).add_path(path.into());
            assert_eq!(
                moves_folders(Path::new("/site"), &event),
                expected,
                "{kind:?} {path}"
            );
        };
        let from = EventKind::Modify(ModifyKind::Name(RenameMode::From));
        check(from, "/site/shop", true);
        check(EventKind::Remove(RemoveKind::Folder), "/site/shop", true);
        check(from, "/site/shop/static", true);
        check(from, "/site/shop/home.wasm", false);
        check(from, "/site/shop/.home.wasm.tmp", false);
        check(
            EventKind::Modify(ModifyKind::Data(DataChange::Any)),
            "/site/shop",
            false,
        );
    }

    #[test]
    fn only_searched_folders_are_watched() {
        let tree = tempfile::tempdir().unwrap();
        for folder in [
            "shop/screen",
            "shop/target/debug",
            ".git",
            "_drafts",
            "shop/node_modules/x",
            "shop/static/pictures",
            "shop/static/.git",
        ] {
            std::fs::create_dir_all(tree.path().join(folder)).unwrap();
        }
        let found: Vec<_> = folders(tree.path())
            .into_iter()
            .map(|folder| {
                folder
                    .path
                    .strip_prefix(tree.path())
                    .unwrap()
                    .display()
                    .to_string()
            })
            .collect();
        assert_eq!(
            found,
            ["", "shop", "shop/screen", "shop/static", "shop/static/pictures"]
        );
    }
}
