//! The half that writes what is kept, on a thread of its own: nobody who serves waits for the disk.
//!
//! Everything is written whole, synced and renamed, components before the record that names them: a
//! killed process or a power loss leaves the content before. One process at a time writes, by a lock;
//! another one on the same folder tries again, as after a full disk. It is said once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, TryLockError},
    io::{self, Write},
    net::SocketAddr,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use serde::Serialize;

use super::{CONTENTS, Content, GONE_GROUPS, Kept, Listen, Record, SERVER, read_record, record_names};
use crate::project::{Digest, GroupSpec};

/// How long after a failure it is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Files that are not whole yet begin so; a killed process may leave some.
const UNFINISHED: &str = ".new-";

/// Takes what serves, and keeps it. Dropped, it writes what is left.
pub struct Keeper {
    orders: Arc<Orders>,
    thread: Option<JoinHandle<()>>,
}

/// What is to be kept. Of each group only the newest is waited for: it is bounded.
#[derive(Default)]
struct Orders {
    pending: Mutex<Pending>,
    some: Condvar,
}

#[derive(Default)]
struct Pending {
    /// The content that serves, or `None` where no component is left.
    groups: BTreeMap<String, Option<GroupSpec>>,
    listen: Option<Vec<SocketAddr>>,
    closed: bool,
}

impl Keeper {
    /// Errors: the system has no thread left.
    pub fn start(kept: Kept) -> io::Result<Self> {
        let orders = Arc::new(Orders::default());
        let taken = orders.clone();
        let thread = std::thread::Builder::new()
            .name("kept".into())
            .spawn(move || write_all(&taken, Store::new(kept)))?;
        Ok(Self {
            orders,
            thread: Some(thread),
        })
    }

    /// Keeps what serves from now on.
    pub fn keep(&self, specs: impl IntoIterator<Item = GroupSpec>) {
        let specs = specs.into_iter().map(|spec| (spec.name.clone(), Some(spec)));
        self.orders.add(|pending| pending.groups.extend(specs));
    }

    /// The group has no component left: its contents stay, but it is not served by them.
    pub fn gone(&self, group: &str) {
        self.orders
            .add(|pending| drop(pending.groups.insert(group.to_owned(), None)));
    }

    /// Keeps where the server listens.
    pub fn listen(&self, listen: Vec<SocketAddr>) {
        self.orders.add(|pending| pending.listen = Some(listen));
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders.add(|pending| pending.closed = true);
        if let Some(thread) = self.thread.take() {
            // A keeper that panicked has nothing left to write.
            let _ = thread.join();
        }
    }
}

impl Orders {
    fn add(&self, order: impl FnOnce(&mut Pending)) {
        order(&mut self.lock());
        self.some.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for orders; after a failure, for a while at least.
    fn take(&self, failed: bool) -> Pending {
        let nothing = |pending: &mut Pending| pending.is_empty() && !pending.closed;
        let mut pending = self.lock();
        if failed {
            let open = |pending: &mut Pending| !pending.closed;
            let waited = self.some.wait_timeout_while(pending, RETRY, open);
            pending = waited.unwrap_or_else(PoisonError::into_inner).0;
        } else {
            let waited = self.some.wait_while(pending, nothing);
            pending = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let closed = pending.closed;
        std::mem::replace(
            &mut pending,
            Pending {
                closed,
                ..Pending::default()
            },
        )
    }

    /// Puts back what could not be written, unless there is something newer.
    fn put_back(&self, failed: Pending) {
        let mut pending = self.lock();
        for (group, spec) in failed.groups {
            pending.groups.entry(group).or_insert(spec);
        }
        pending.listen = pending.listen.take().or(failed.listen);
    }
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.listen.is_none()
    }
}

fn write_all(orders: &Orders, mut store: Store) {
    let mut failed = false;
    loop {
        let pending = orders.take(failed);
        let closed = pending.closed;
        match store.write(&pending) {
            Ok(()) => failed = false,
            Err(error) => {
                if !failed {
                    let folder = store.kept.folder.display();
                    tracing::error!(
                        %folder, %error,
                        "good contents are not kept for a restart; serving goes on, and it is tried again"
                    );
                }
                failed = true;
                orders.put_back(pending);
            }
        }
        if closed {
            return;
        }
    }
}

/// The folder, while it is written to.
struct Store {
    kept: Kept,
    lock: Option<File>,
    /// Blobs that are known to be whole.
    whole: BTreeSet<Digest>,
}

impl Store {
    fn new(kept: Kept) -> Self {
        Self {
            kept,
            lock: None,
            whole: BTreeSet::new(),
        }
    }

    fn write(&mut self, pending: &Pending) -> io::Result<()> {
        if pending.is_empty() {
            return Ok(());
        }
        fs::create_dir_all(self.kept.blobs())?;
        self.lock()?;
        let records: Vec<_> = pending
            .groups
            .iter()
            .filter_map(|(group, spec)| Some((group, self.record(group, spec.as_ref())?)))
            .collect();
        let specs = pending.groups.values().flatten();
        self.write_blobs(specs)?;
        for (group, record) in &records {
            write_record(&self.kept.record_file(group), record)?;
        }
        if let Some(listen) = &pending.listen {
            self.write_listen(listen)?;
        }
        sync_folder(&self.kept.folder)?;
        self.sweep()
    }

    fn lock(&mut self) -> io::Result<()> {
        if self.lock.is_some() {
            return Ok(());
        }
        let path = self.kept.folder.join(".lock");
        let file = File::options().create(true).append(true).open(path)?;
        match file.try_lock() {
            Ok(()) => self.lock = Some(file),
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::other("another server keeps its contents here"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(())
    }

    /// What is to be known of a group. `None` where it is written already.
    fn record(&self, group: &str, spec: Option<&GroupSpec>) -> Option<Record> {
        let before = self.kept.record(group);
        let mut contents = before
            .as_ref()
            .map(|record| record.contents.clone())
            .unwrap_or_default();
        if let Some(spec) = spec {
            contents.retain(|content| content.digest != spec.digest);
            contents.insert(0, Content::of(spec));
            contents.truncate(CONTENTS);
        }
        let record = Record {
            root: self.kept.root.clone(),
            serving: spec.is_some(),
            contents,
        };
        (before.as_ref() != Some(&record)).then_some(record)
    }

    fn write_blobs<'a>(&mut self, specs: impl Iterator<Item = &'a GroupSpec>) -> io::Result<()> {
        let mut written = false;
        for component in specs.flat_map(|spec| spec.components.values()) {
            let digest = component.digest;
            if self.whole.contains(&digest) {
                continue;
            }
            if self.kept.blob(digest).is_err() {
                write_whole(&self.kept.blob_file(digest), &component.bytes)?;
                written = true;
            }
            self.whole.insert(digest);
        }
        if written {
            sync_folder(&self.kept.blobs())?;
        }
        Ok(())
    }

    fn write_listen(&self, listen: &[SocketAddr]) -> io::Result<()> {
        let record = Listen {
            root: self.kept.root.clone(),
            listen: listen.to_owned(),
        };
        let file = self.kept.folder.join(SERVER);
        let before: io::Result<Listen> = read_record(&file);
        if before.is_ok_and(|before| before == record) {
            return Ok(());
        }
        write_record(&file, &record)
    }

    /// Removes blobs that no record names, groups that are gone for long, and what was left unfinished.
    fn sweep(&mut self) -> io::Result<()> {
        let (mut named, mut gone) = (BTreeSet::new(), Vec::new());
        for group in record_names(&self.kept.folder) {
            let file = self.kept.record_file(&group);
            // A record that nobody can read names nothing.
            let Ok(record) = read_record::<Record>(&file) else {
                continue;
            };
            let blobs = record
                .contents
                .iter()
                .flat_map(|content| content.components.values());
            let blobs: Vec<Digest> = blobs.map(|blob| blob.digest).collect();
            if record.serving {
                named.extend(blobs);
            } else {
                gone.push((fs::metadata(&file)?.modified()?, file, blobs));
            }
        }
        gone.sort_by(|(a, ..), (b, ..)| b.cmp(a));
        for (place, (_, file, blobs)) in gone.into_iter().enumerate() {
            if place < GONE_GROUPS {
                named.extend(blobs);
            } else {
                fs::remove_file(file)?;
            }
        }
        self.whole.retain(|digest| named.contains(digest));
        let names: BTreeSet<String> = named.iter().map(ToString::to_string).collect();
        remove_files(&self.kept.blobs(), |name| !names.contains(name))?;
        remove_files(&self.kept.folder, |name| name.starts_with(UNFINISHED))
    }
}

fn write_record(file: &Path, record: &impl Serialize) -> io::Result<()> {
    write_whole(file, &serde_json::to_vec_pretty(record)?)
}

/// Writes a file that is whole whenever it can be seen; its folder is still to be synced.
fn write_whole(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut whole = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder)?;
    whole.write_all(bytes)?;
    whole.as_file().sync_all()?;
    whole.persist(file)?;
    Ok(())
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn remove_files(folder: &Path, unwanted: impl Fn(&str) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(&unwanted) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
