//! The folder, as it is written to: by builds and commits, ahead of what serves, and by the keeper, which
//! makes it last. A killed process loses nothing that was written ahead; a machine that loses its power
//! may, and then finds the record before. One process at a time writes, by a lock.
//! Decides nothing; knows not why something is kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;

use super::{
    Change, Kept,
    record::{Content, Next},
};
use crate::project::{Blob as FileBlob, Digest, GroupSpec, make_state_folder};

/// Files that are not whole yet begin so; a killed process may leave some.
const UNFINISHED: &str = ".new-";
/// Whoever has it locked writes.
const LOCK: &str = ".lock";

pub struct Folder {
    pub kept: Kept,
    written: Mutex<Written>,
    /// The newest generation of each group whose checkpoint was written or removed. Whoever writes one holds it.
    pub(super) checkpoints: Mutex<BTreeMap<String, u64>>,
}

/// What is known of the folder. Who holds it may write files, but waits for no disk.
#[derive(Default)]
struct Written {
    lock: Option<Lock>,
    blobs: BTreeMap<Digest, Blob>,
    /// What was said last of each group ahead of its record.
    next: BTreeMap<String, Option<Digest>>,
    /// What is kept of each group, as far as somebody asked since it was written.
    contents: BTreeMap<String, Vec<Digest>>,
}

/// A component that is there, whole.
#[derive(Clone, Copy, Default)]
struct Blob {
    /// It outlives a loss of power.
    synced: bool,
    /// Builds that may come to serve it.
    expected: usize,
    /// It was written for them, and nothing else has named it yet.
    is_new: bool,
}

/// The components of a content that may come to serve: they stay as long as this does.
pub struct Expected {
    folder: Arc<Folder>,
    blobs: BTreeSet<Digest>,
}

impl Folder {
    pub fn new(kept: Kept) -> Arc<Self> {
        Arc::new(Self {
            kept,
            written: Mutex::default(),
            checkpoints: Mutex::default(),
        })
    }

    /// Takes the right to write, if it is not taken yet. Errors: another server has it.
    pub fn open(&self) -> io::Result<()> {
        self.written().map(drop)
    }

    /// The contents that are kept of a group, newest first: read once after each change.
    pub fn digests(&self, group: &str) -> Vec<Digest> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        // Who has no right to write is not told when another server does.
        if written.lock.is_none() || !self.lock_file().exists() {
            return self.kept.digests(group);
        }
        let contents = written.contents.entry(group.to_owned());
        contents.or_insert_with(|| self.kept.digests(group)).clone()
    }

    /// Writes the components of a content that may come to serve.
    /// Errors: the disk is full, or another server keeps its contents here.
    pub fn expect(self: &Arc<Self>, spec: &GroupSpec) -> io::Result<Expected> {
        let mut written = self.written()?;
        for blob in spec.blobs() {
            self.put_blob(&mut written, blob)?;
        }
        let blobs: BTreeSet<Digest> = spec.blobs().map(|blob| blob.digest()).collect();
        for digest in &blobs {
            written.blobs.entry(*digest).or_default().expected += 1;
        }
        let folder = self.clone();
        Ok(Expected { folder, blobs })
    }

    /// Says what serves from now on, ahead of the record.
    /// Errors: as for `expect`; then nothing newer than the record is said.
    pub fn announce(&self, group: &str, change: &Change) -> io::Result<()> {
        let spec = change.spec.as_ref();
        let mut written = self.written()?;
        written.contents.remove(group);
        let file = self.kept.next_file(group);
        let next = Next {
            root: self.kept.root.clone(),
            said: change.said(),
        };
        let blobs = || spec.into_iter().flat_map(GroupSpec::blobs);
        let said = blobs()
            .try_for_each(|blob| self.put_blob(&mut written, blob))
            .and_then(|()| persist(&file, &serde_json::to_vec(&next)?, false));
        if said.is_ok() {
            for blob in blobs() {
                written.blobs.entry(blob.digest()).or_default().is_new = false;
            }
            written
                .next
                .insert(group.to_owned(), spec.map(|spec| spec.digest));
        } else {
            // What was said before is older than what the record will say.
            written.next.remove(group);
            let _ = fs::remove_file(file);
        }
        said
    }

    /// Makes the components of a content last.
    pub fn sync_blobs(&self, spec: &GroupSpec) -> io::Result<()> {
        let mut unsynced = BTreeSet::new();
        {
            let mut written = self.written()?;
            for blob in spec.blobs() {
                self.put_blob(&mut written, blob)?;
                let known = written.blobs.entry(blob.digest()).or_default();
                known.is_new = false;
                if !known.synced {
                    unsynced.insert(blob.digest());
                }
            }
        }
        for digest in &unsynced {
            File::open(self.kept.blob_file(*digest))?.sync_all()?;
        }
        if !unsynced.is_empty() {
            sync_folder(&self.kept.blobs())?;
        }
        let mut written = self.written()?;
        for digest in unsynced {
            written.blobs.entry(digest).or_default().synced = true;
        }
        Ok(())
    }

    /// The record says now what was said ahead of it, unless something newer was.
    pub fn recorded(&self, group: &str, content: Option<Digest>) -> io::Result<()> {
        let mut written = self.written()?;
        written.contents.remove(group);
        if written.next.get(group) == Some(&content) {
            written.next.remove(group);
            fs::remove_file(self.kept.next_file(group))?;
        }
        Ok(())
    }

    /// Removes components that neither `named` nor an announcement nor a build has.
    pub fn sweep(&self, mut named: BTreeSet<Digest>) -> io::Result<()> {
        let mut written = self.written()?;
        for group in written.next.keys() {
            let content = self.kept.next(group).and_then(|next| next.said.content);
            named.extend(content.iter().flat_map(Content::blobs));
        }
        written
            .blobs
            .retain(|digest, blob| blob.expected > 0 || named.contains(digest));
        let names: BTreeSet<String> = named
            .iter()
            .chain(written.blobs.keys())
            .map(ToString::to_string)
            .collect();
        remove_files(&self.kept.blobs(), |name| !names.contains(name))
    }

    /// The right to write, and what is known. Who gets it tidies up after whoever was killed; where the
    /// folder was removed while it was served from, it begins anew.
    fn written(&self) -> io::Result<MutexGuard<'_, Written>> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = self.lock_file();
        if written.lock.is_none() || !lock.exists() {
            *written = Written::default();
            make_state_folder(&self.kept.blobs())?;
            written.lock = Some(take_lock(&lock)?);
            remove_files(&self.kept.folder, |name| name.starts_with(UNFINISHED))?;
            written.next = self.announced();
        }
        Ok(written)
    }

    fn lock_file(&self) -> PathBuf {
        self.kept.folder.join(LOCK)
    }

    /// What a killed process said last, for the record to catch up with.
    fn announced(&self) -> BTreeMap<String, Option<Digest>> {
        let groups = self.kept.group_names().into_iter();
        groups
            .filter_map(|group| {
                let next = self.kept.next(&group)?;
                Some((group, next.said.content.map(|content| content.digest)))
            })
            .collect()
    }

    fn put_blob(&self, written: &mut Written, blob: FileBlob<'_>) -> io::Result<()> {
        let digest = blob.digest();
        if written.blobs.contains_key(&digest) {
            return Ok(());
        }
        let is_new = self.kept.blob(digest).is_err();
        if is_new {
            let bytes = blob
                .bytes()
                .map_err(|unreadable| io::Error::other(unreadable.message))?;
            persist(&self.kept.blob_file(digest), &bytes, false)?;
        }
        written.blobs.insert(
            digest,
            Blob {
                is_new,
                ..Blob::default()
            },
        );
        Ok(())
    }
}

impl Drop for Expected {
    /// What nobody came to serve is removed at once: a file that changes for ever would fill the disk.
    fn drop(&mut self) {
        let mut written = self.folder.written.lock().unwrap_or_else(PoisonError::into_inner);
        for digest in &self.blobs {
            let Some(blob) = written.blobs.get_mut(digest) else {
                continue;
            };
            blob.expected = blob.expected.saturating_sub(1);
            if blob.expected == 0 && blob.is_new {
                written.blobs.remove(digest);
                // The next sweep finds what cannot be removed now.
                let _ = fs::remove_file(self.folder.kept.blob_file(*digest));
            }
        }
    }
}

/// The right to write, until it is dropped.
struct Lock(File);

impl Drop for Lock {
    /// Closing is not enough: a process that is just being started has the file open until it runs.
    fn drop(&mut self) {
        // Whatever fails here, the file is closed next.
        let _ = self.0.unlock();
    }
}

fn take_lock(path: &Path) -> io::Result<Lock> {
    let file = File::options().create(true).append(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(io::Error::other("another server keeps its contents here")),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Writes a record that lasts; its folder is still to be synced.
pub fn write_record(file: &Path, record: &impl Serialize) -> io::Result<()> {
    persist(file, &serde_json::to_vec_pretty(record)?, true)
}

/// Writes a file that is whole whenever it can be seen.
pub fn persist(file: &Path, bytes: &[u8], sync: bool) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut whole = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder)?;
    whole.write_all(bytes)?;
    if sync {
        whole.as_file().sync_all()?;
    }
    whole.persist(file)?;
    Ok(())
}

pub fn sync_folder(folder: &Path) -> io::Result<()> {
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
