//! The half that writes what is kept. What serves is said before it does, in a file that nobody waits
//! for; a thread of its own makes it last.
//!
//! That thread writes everything whole, synced and renamed, components before the record that names
//! them: a loss of power leaves the content before. Where it cannot – another server on the same folder,
//! a full disk – it tries again. It is said once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use super::{
    CONTENTS, Folder, GONE_GROUPS, Kept, SERVER, Withdrawn,
    folder::{sync_folder, write_record},
    read_record,
    record::{Content, Record, Said, Server},
};
use crate::project::{GroupSpec, ServerSpec};

/// How long after a failure it is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Takes what serves, and keeps it. Dropped, it writes what is left.
pub struct Keeper {
    folder: Arc<Folder>,
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
    groups: BTreeMap<String, Change>,
    pins: BTreeMap<String, bool>,
    server: Option<ServerSpec>,
    closed: bool,
}

/// What becomes of a group.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// What serves, or `None` where no component is left.
    pub spec: Option<GroupSpec>,
    /// What is not served for it.
    pub withdrawn: Option<Withdrawn>,
    /// What was withdrawn is no good content.
    pub is_bad: bool,
}

impl Change {
    pub fn serves(spec: GroupSpec) -> Self {
        Self {
            spec: Some(spec),
            ..Self::default()
        }
    }

    pub fn said(&self) -> Said {
        Said {
            content: self.spec.as_ref().map(Content::of),
            withdrawn: self.withdrawn,
            is_bad: self.is_bad,
        }
    }
}

impl Keeper {
    /// Errors: the system has no thread left.
    pub fn start(kept: Kept) -> io::Result<Self> {
        let (folder, orders) = (Folder::new(kept), Arc::new(Orders::default()));
        let (written, taken) = (folder.clone(), orders.clone());
        let thread = std::thread::Builder::new()
            .name("kept".into())
            .spawn(move || write_all(&taken, &written))?;
        Ok(Self {
            folder,
            orders,
            thread: Some(thread),
        })
    }

    /// Where builds put their components before anyone serves them.
    pub fn folder(&self) -> Arc<Folder> {
        self.folder.clone()
    }

    /// Keeps what serves from now on. Once it returns, a killed process has it.
    pub fn keep(&self, specs: impl IntoIterator<Item = GroupSpec>) {
        for spec in specs {
            self.change(&spec.name.clone(), Change::serves(spec));
        }
    }

    /// Keeps whether what serves of a group is to stay.
    pub fn pin(&self, group: &str, pinned: bool) {
        self.orders.add(|pending| {
            pending.pins.insert(group.to_owned(), pinned);
        });
    }

    /// The group has no component left: its contents stay, but it is not served by them.
    pub fn gone(&self, group: &str) {
        self.change(group, Change::default());
    }

    /// Keeps what has become of a group. Once it returns, a killed process has it.
    pub fn change(&self, group: &str, change: Change) {
        if let Err(error) = self.folder.announce(group, &change) {
            // The thread comes to the same, and says so once.
            tracing::debug!(group, %error, "not announced");
        }
        self.orders
            .add(|pending| drop(pending.groups.insert(group.to_owned(), change)));
    }

    /// Keeps how the server listens.
    pub fn server(&self, spec: ServerSpec) {
        self.orders.add(|pending| pending.server = Some(spec));
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
        for (group, change) in failed.groups {
            pending.groups.entry(group).or_insert(change);
        }
        for (group, pinned) in failed.pins {
            pending.pins.entry(group).or_insert(pinned);
        }
        pending.server = pending.server.take().or(failed.server);
    }
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.pins.is_empty() && self.server.is_none()
    }
}

fn write_all(orders: &Orders, folder: &Folder) {
    let mut failed = false;
    loop {
        let pending = orders.take(failed);
        let closed = pending.closed;
        match write(folder, &pending) {
            Ok(()) => failed = false,
            Err(error) => {
                if !failed {
                    let folder = folder.kept.folder.display();
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

fn write(folder: &Folder, pending: &Pending) -> io::Result<()> {
    if pending.is_empty() {
        return Ok(());
    }
    folder.open()?;
    let kept = &folder.kept;
    for spec in pending.groups.values().filter_map(|change| change.spec.as_ref()) {
        folder.sync_blobs(spec)?;
    }
    let groups: BTreeSet<&String> = pending.groups.keys().chain(pending.pins.keys()).collect();
    for group in groups {
        let before = kept.written_record(group);
        let mut record = before.clone().unwrap_or_else(|| kept.nothing());
        if let Some(change) = pending.groups.get(group) {
            record = record.then(change.said(), CONTENTS);
        }
        if let Some(pinned) = pending.pins.get(group) {
            record.standing.pinned = *pinned;
        }
        if before.as_ref() != Some(&record) {
            write_record(&kept.record_file(group), &record)?;
        }
    }
    if let Some(spec) = &pending.server {
        write_server(kept, spec)?;
    }
    sync_folder(&kept.folder)?;
    for (group, change) in &pending.groups {
        folder.recorded(group, change.spec.as_ref().map(|spec| spec.digest))?;
    }
    sweep(folder)
}

fn write_server(kept: &Kept, spec: &ServerSpec) -> io::Result<()> {
    let record = Server {
        root: kept.root.clone(),
        spec: spec.clone(),
    };
    let file = kept.folder.join(SERVER);
    let before: io::Result<Server> = read_record(&file);
    if before.is_ok_and(|before| before == record) {
        return Ok(());
    }
    write_record(&file, &record)
}

/// Removes components that nobody names any more, and groups that are gone for long.
fn sweep(folder: &Folder) -> io::Result<()> {
    let kept = &folder.kept;
    let (mut named, mut gone) = (BTreeSet::new(), Vec::new());
    for group in kept.group_names() {
        let file = kept.record_file(&group);
        // A record that nobody can read names nothing.
        let Ok(record) = read_record::<Record>(&file) else {
            continue;
        };
        if record.serving {
            named.extend(record.blobs());
        } else {
            gone.push((fs::metadata(&file)?.modified()?, file, record));
        }
    }
    gone.sort_by(|(a, ..), (b, ..)| b.cmp(a));
    for (place, (_, file, record)) in gone.into_iter().enumerate() {
        if place < GONE_GROUPS {
            named.extend(record.blobs());
        } else {
            fs::remove_file(file)?;
        }
    }
    folder.sweep(named)
}
