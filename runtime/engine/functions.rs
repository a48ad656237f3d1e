//! Compiled functions by the hash of their code: when a module changes, only its changed functions are
//! compiled. In memory with a bound, and on disk in packs, one for what each build added.
//! Knows neither modules nor groups.
//!
//! A pack is written whole and renamed, and is named by the hash of what is in it: a killed process
//! leaves none, a damaged one is found out, and two servers may share the folder.

use std::{
    borrow::Cow,
    cell::Cell,
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use quick_cache::{Weighter, sync::Cache};
use wasmtime::CacheStore;

use crate::project::make_state_folder;

/// Bytes of compiled functions kept in memory.
const MEMORY: u64 = 192 << 20;
/// As many packs are left beside each other; when there are more, the smaller half becomes one.
const MOST_PACKS: usize = 64;
/// Bytes added since the last pack that are kept for the next one.
const UNSAVED: usize = 64 << 20;
/// How a compiled function is, at a guess; sizes the table.
const TYPICAL: u64 = 2 << 10;

/// A key and what was compiled for it.
type Entry = (Box<[u8]>, Arc<[u8]>);

pub struct FunctionStore {
    functions: Cache<Box<[u8]>, Arc<[u8]>, BySize>,
    /// What no pack has yet.
    unsaved: Mutex<Unsaved>,
    compiled: AtomicU64,
    folder: Option<PathBuf>,
    /// Bytes of all packs on disk; the oldest go first.
    limit: u64,
}

#[derive(Default)]
struct Unsaved {
    entries: Vec<Entry>,
    bytes: usize,
}

#[derive(Clone)]
struct BySize;

impl Weighter<Box<[u8]>, Arc<[u8]>> for BySize {
    fn weight(&self, key: &Box<[u8]>, function: &Arc<[u8]>) -> u64 {
        (key.len() + function.len()) as u64
    }
}

impl FunctionStore {
    /// `folder` is where packs are kept, if they are, up to `limit` bytes of them.
    pub fn new(folder: Option<PathBuf>, limit: u64) -> Self {
        Self {
            functions: Cache::with_weighter((MEMORY / TYPICAL) as usize, MEMORY, BySize),
            unsaved: Mutex::default(),
            compiled: AtomicU64::new(0),
            folder,
            limit,
        }
    }

    /// Functions that were compiled because nothing was known of them.
    pub fn compiled(&self) -> u64 {
        self.compiled.load(Ordering::Relaxed)
    }

    /// Reads the packs, newest first, as far as memory goes. A damaged one is said and removed.
    pub fn load(&self) {
        let Some(folder) = &self.folder else { return };
        remove_leftovers(folder);
        let mut room = MEMORY;
        for (path, _, bytes) in packs(folder) {
            if bytes > room {
                break;
            }
            room -= bytes;
            match read_pack(&path) {
                Ok(Some(entries)) => entries
                    .into_iter()
                    .for_each(|(key, function)| self.functions.insert(key, function)),
                Ok(None) => {
                    tracing::warn!(file = %path.display(), "a damaged cache file was removed; its functions are compiled again");
                    // Whoever cannot remove it will not trust it either.
                    let _ = fs::remove_file(&path);
                }
                // Another server removed it, or it will be said when it matters.
                Err(error) => tracing::debug!(file = %path.display(), %error, "a cache file was not read"),
            }
        }
    }

    /// Writes what was compiled since the last time as one pack, and removes what is over the bound.
    /// Errors: the disk; nothing is lost but the time to compile again.
    pub fn save(&self) -> io::Result<()> {
        let entries =
            std::mem::take(&mut *self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)).entries;
        let Some(folder) = self.folder.as_ref().filter(|_| !entries.is_empty()) else {
            return Ok(());
        };
        make_state_folder(folder)?;
        write_pack(folder, &entries, SystemTime::now())?;
        merge_small(folder)?;
        let mut room = self.limit;
        for (path, _, bytes) in packs(folder) {
            match room.checked_sub(bytes) {
                Some(left) => room = left,
                // Another server may have removed it.
                None => drop(fs::remove_file(path)),
            }
        }
        Ok(())
    }
}

/// How long a thread compiles at a stretch.
const STRETCH: Duration = Duration::from_millis(1);

thread_local! {
    static STRETCH_BEGAN: Cell<Instant> = Cell::new(Instant::now());
}

/// Lets requests that wait for this core go first, once in a while. The system would do so at its next tick,
/// which is up to 4 ms away.
fn give_way() {
    if STRETCH_BEGAN.get().elapsed() >= STRETCH {
        std::thread::yield_now();
        STRETCH_BEGAN.set(Instant::now());
    }
}

impl CacheStore for FunctionStore {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        give_way();
        self.functions
            .get(key)
            .map(|function| Cow::Owned(function.to_vec()))
    }

    fn insert(&self, key: &[u8], function: Vec<u8>) -> bool {
        self.compiled.fetch_add(1, Ordering::Relaxed);
        let (key, function): Entry = (key.into(), function.into());
        self.functions.insert(key.clone(), function.clone());
        if self.folder.is_some() {
            let mut unsaved = self.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
            unsaved.bytes += key.len() + function.len();
            if unsaved.bytes <= UNSAVED {
                unsaved.entries.push((key, function));
            }
        }
        true
    }
}

impl std::fmt::Debug for FunctionStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FunctionStore")
            .field("compiled", &self.compiled())
            .finish_non_exhaustive()
    }
}

const ENDING: &str = "pack";

/// How the names of packs begin that are still written.
const UNFINISHED: &str = ".writing-";

/// How long a pack may take to be written.
const LONGEST_WRITE: Duration = Duration::from_secs(600);

/// The packs in a folder, newest first, with their age and bytes.
fn packs(folder: &Path) -> Vec<(PathBuf, SystemTime, u64)> {
    let mut packs: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let metadata = entry.metadata().ok()?;
            let is_pack = entry.path().extension().is_some_and(|ending| ending == ENDING);
            is_pack.then(|| Some((entry.path(), metadata.modified().ok()?, metadata.len())))?
        })
        .collect();
    packs.sort_by(|(_, a, _), (_, b, _)| b.cmp(a));
    packs
}

/// What processes left that were killed while they wrote. A file that is new may still be written.
fn remove_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|modified| modified.elapsed().ok());
        if unfinished && age.is_some_and(|age| age > LONGEST_WRITE) {
            // Another server may have removed it.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Length and bytes of each key and each function in turn.
fn write_pack(folder: &Path, entries: &[Entry], time: SystemTime) -> io::Result<PathBuf> {
    let mut pack = Vec::new();
    for (key, function) in entries {
        for part in [&**key, &**function] {
            pack.extend((part.len() as u32).to_le_bytes());
            pack.extend(part);
        }
    }
    let name = folder.join(format!("{}.{ENDING}", blake3::hash(&pack).to_hex()));
    let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder)?;
    io::Write::write_all(&mut file, &pack)?;
    file.as_file().set_modified(time)?;
    file.persist(&name)?;
    Ok(name)
}

/// Keeps the number of packs down: a start opens each of them. The one that comes of it is as old as the
/// newest in it.
fn merge_small(folder: &Path) -> io::Result<()> {
    let mut packs = packs(folder);
    if packs.len() <= MOST_PACKS {
        return Ok(());
    }
    packs.sort_by_key(|(_, _, bytes)| *bytes);
    packs.truncate(MOST_PACKS / 2);
    let newest = packs.iter().map(|(_, time, _)| *time).max();
    // What cannot be read, or is damaged, is worth nothing; the same function is kept once.
    let read = packs
        .iter()
        .filter_map(|(path, ..)| read_pack(path).ok().flatten());
    let functions: BTreeMap<_, _> = read.flatten().collect();
    let functions: Vec<Entry> = functions.into_iter().collect();
    let merged = write_pack(folder, &functions, newest.unwrap_or_else(SystemTime::now))?;
    for (path, ..) in packs {
        if path != merged {
            // Another server may have removed it.
            let _ = fs::remove_file(path);
        }
    }
    Ok(())
}

/// `None` where the content is not what the name says.
fn read_pack(path: &Path) -> io::Result<Option<Vec<Entry>>> {
    let pack = fs::read(path)?;
    let name = path.file_stem().and_then(|name| name.to_str());
    if name != Some(blake3::hash(&pack).to_hex().as_str()) {
        return Ok(None);
    }
    let mut rest = pack.as_slice();
    let mut entries = Vec::new();
    while let (Some(key), Some(function)) = (take(&mut rest), take(&mut rest)) {
        entries.push((key.into(), function.into()));
    }
    Ok(Some(entries))
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (part, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_come_back_from_disk() {
        let folder = tempfile::tempdir().unwrap();
        let store = FunctionStore::new(Some(folder.path().into()), u64::MAX);
        store.insert(b"one", vec![1; 3000]);
        store.save().unwrap();
        store.insert(b"two", vec![2]);
        store.save().unwrap();
        store.save().unwrap();
        assert_eq!(packs(folder.path()).len(), 2, "nothing new, no pack");

        let next = FunctionStore::new(Some(folder.path().into()), u64::MAX);
        next.load();
        assert_eq!(next.get(b"one").unwrap().len(), 3000);
        assert_eq!(*next.get(b"two").unwrap(), [2]);
        assert!(next.get(b"three").is_none());
        assert_eq!(next.compiled(), 0);
    }

    #[test]
    fn what_a_killed_process_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in [".writing-old", ".writing-new", "other"] {
            fs::write(path(name), "half").unwrap();
        }
        let old = SystemTime::now() - 2 * LONGEST_WRITE;
        let file = fs::File::options()
            .write(true)
            .open(path(".writing-old"))
            .unwrap();
        file.set_modified(old).unwrap();
        FunctionStore::new(Some(folder.path().into()), u64::MAX).load();
        let left = [".writing-old", ".writing-new", "other"].map(|name| path(name).exists());
        assert_eq!(left, [false, true, true]);
    }

    #[test]
    fn a_damaged_pack_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = FunctionStore::new(Some(folder.path().into()), u64::MAX);
        store.insert(b"one", vec![1; 100]);
        store.save().unwrap();
        let pack = packs(folder.path()).remove(0).0;
        let mut bytes = fs::read(&pack).unwrap();
        bytes[50] ^= 1;
        fs::write(&pack, bytes).unwrap();

        let next = FunctionStore::new(Some(folder.path().into()), u64::MAX);
        next.load();
        assert!(next.get(b"one").is_none());
        assert!(packs(folder.path()).is_empty());
    }

    #[test]
    fn the_oldest_packs_go_where_there_are_too_many_bytes() {
        let folder = tempfile::tempdir().unwrap();
        // Of three packs of 1000 bytes and a little, two.
        let store = FunctionStore::new(Some(folder.path().into()), 2500);
        let mut time = SystemTime::now() - Duration::from_secs(100);
        for name in [b"one", b"two", b"six"] {
            store.insert(name, vec![name[0]; 1000]);
            store.save().unwrap();
            // One after another, however coarse the clock.
            let newest = packs(folder.path()).remove(0).0;
            fs::File::options()
                .write(true)
                .open(newest)
                .unwrap()
                .set_modified(time)
                .unwrap();
            time += Duration::from_secs(10);
        }
        let next = FunctionStore::new(Some(folder.path().into()), 2500);
        next.load();
        let known = [b"one", b"two", b"six"].map(|name| next.get(name).is_some());
        assert_eq!(known, [false, true, true]);
    }

    #[test]
    fn many_small_packs_become_few() {
        let folder = tempfile::tempdir().unwrap();
        let store = FunctionStore::new(Some(folder.path().into()), u64::MAX);
        for number in 0..200_u32 {
            store.insert(&number.to_le_bytes(), vec![number as u8; 10]);
            store.save().unwrap();
            assert!(packs(folder.path()).len() <= MOST_PACKS);
        }
        let next = FunctionStore::new(Some(folder.path().into()), u64::MAX);
        next.load();
        for number in 0..200_u32 {
            assert_eq!(*next.get(&number.to_le_bytes()).unwrap(), [number as u8; 10]);
        }
    }
}
