//! Seals on the compiled modules on disk. The engine runs what lies in its cache as it is: one bit that
//! changed there would run too, or crash the server. So each file gets a seal, an empty file in whose name
//! are the digest of the content and the identity of the file: its inode, size and times. At a start and
//! before each build, a file of another identity is read and has to fit the digest, or it goes before the
//! engine looks. It compiles again what is missing.
//!
//! A file of the same identity is not read: a start would grow with all that was ever compiled. Its content
//! was on the disk before its seal was, so what a crash of the machine leaves behind has another identity or
//! no seal. A disk that gives back other bits than were written, and says nothing, is out of reach.
//!
//! At a start, a file that has no seal yet (a killed process, another server's newest) goes too: nobody
//! vouches for it.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    fs::{self, File, Metadata},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use crate::project::make_state_folder;

/// Bytes that are read at a start, of files that have another identity than when they were sealed, as in a
/// copied folder. The newest first; the others are compiled again, which costs no more than reading them all.
const READ_AT_START: u64 = 128 << 20;

pub struct Seals {
    /// Where modules lie, in one folder for each version of the compiler.
    modules: PathBuf,
    folder: PathBuf,
    /// The identities of the files that were sealed, or found to fit their seals, by name.
    trusted: Mutex<HashMap<String, String>>,
}

/// A compiled module on disk.
struct Compiled {
    path: PathBuf,
    /// With the compiler's version.
    name: String,
    identity: String,
    bytes: u64,
    modified: SystemTime,
}

/// What a seal's name says.
struct Seal {
    file: String,
    digest: String,
    identity: String,
}

impl Seals {
    /// Looks at every module in `modules`. What does not fit its seal in `folder` is removed, and said.
    pub fn check(modules: PathBuf, folder: PathBuf) -> Self {
        let seals = Self {
            modules,
            folder,
            trusted: Mutex::default(),
        };
        let on_disk = read_seals(&seals.folder);
        let (mut doubtful, mut room) = (Vec::new(), READ_AT_START);
        let mut compiled = compiled(&seals.modules);
        compiled.sort_by_key(|compiled| Reverse(compiled.modified));
        for compiled in compiled {
            let own = on_disk.get(&compiled.name).map(Vec::as_slice).unwrap_or_default();
            if own.iter().any(|seal| seal.identity == compiled.identity) {
                seals.lock().insert(compiled.name, compiled.identity);
            } else if let Some(left) = room.checked_sub(compiled.bytes)
                && !own.is_empty()
            {
                room = left;
                doubtful.push(compiled);
            } else {
                remove(&compiled.path);
            }
        }
        seals.judge(doubtful);
        seals.remove_unused();
        seals
    }

    /// Looks again at all modules that were sealed or checked, before the engine may: what has changed since
    /// is removed, and said.
    pub fn check_again(&self) {
        let mut doubtful = Vec::new();
        self.lock().retain(|name, identity| {
            let Some(compiled) = Compiled::of(&self.modules, name) else {
                return false;
            };
            let same = compiled.identity == *identity;
            if !same {
                doubtful.push(compiled);
            }
            same
        });
        self.judge(doubtful);
    }

    /// Reads files: they are trusted where they fit a seal, and removed where they do not.
    fn judge(&self, doubtful: Vec<Compiled>) {
        if doubtful.is_empty() {
            return;
        }
        // Another server may have written the file anew, and sealed it.
        let on_disk = read_seals(&self.folder);
        let mut damaged = 0;
        for (compiled, digest) in with_digests(doubtful) {
            let own = on_disk.get(&compiled.name).map(Vec::as_slice).unwrap_or_default();
            if let Some(digest) = digest
                && own.iter().any(|seal| seal.digest == digest)
            {
                // Without a seal of this identity it is read again at the next start.
                let _ = self.seal_one(compiled, &digest);
            } else {
                damaged += 1;
                remove(&compiled.path);
            }
        }
        if damaged > 0 {
            let folder = self.modules.display();
            tracing::warn!(%folder, "{damaged} damaged cache files were removed; their modules are compiled again");
        }
    }

    /// Seals what was written since the last time. Errors: the disk.
    pub fn seal(&self) -> io::Result<()> {
        let mut new = compiled(&self.modules);
        {
            let trusted = self.lock();
            new.retain(|compiled| !trusted.contains_key(&compiled.name));
        }
        if new.is_empty() {
            return Ok(());
        }
        make_state_folder(&self.folder)?;
        // A build that begins meanwhile does not wait for the disk.
        for (compiled, digest) in with_digests(new) {
            // It may be gone already, for want of room.
            if let Some(digest) = digest
                && let Ok(file) = File::open(&compiled.path)
            {
                file.sync_data()?;
                self.seal_one(compiled, &digest)?;
            }
        }
        Ok(())
    }

    fn seal_one(&self, compiled: Compiled, digest: &str) -> io::Result<()> {
        let Compiled { name, identity, .. } = compiled;
        let sealed = File::create(self.folder.join(format!("{name}.{digest}.{identity}")));
        self.lock().insert(name, identity);
        sealed.map(drop)
    }

    /// The seals of modules that are gone, or of another identity.
    fn remove_unused(&self) {
        let trusted = self.lock();
        for (name, seals) in read_seals(&self.folder) {
            let identity = trusted.get(&name);
            let unused = seals.iter().filter(|seal| Some(&seal.identity) != identity);
            for seal in unused {
                // Another server may have removed it.
                let _ = fs::remove_file(self.folder.join(&seal.file));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, String>> {
        // Nothing panics while it is locked that could leave it half changed.
        self.trusted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Compiled {
    /// The module of this name; `None` where there is none.
    fn of(modules: &Path, name: &str) -> Option<Self> {
        let (version, file) = name.split_once('~')?;
        let path = modules.join(version).join(file);
        let metadata = fs::metadata(&path).ok()?;
        Some(Self {
            path,
            name: name.to_owned(),
            identity: identity(&metadata),
            bytes: metadata.len(),
            modified: metadata.modified().ok()?,
        })
    }
}

/// Another one for a file that was written, replaced or touched, short enough for a name.
fn identity(metadata: &Metadata) -> String {
    let mut text = format!("{} {:?}", metadata.len(), metadata.modified().ok());
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        text += &format!(
            " {} {} {}",
            metadata.ino(),
            metadata.ctime(),
            metadata.ctime_nsec()
        );
    }
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}

/// The modules below a folder. Files with an ending are the cache's own notes.
fn compiled(modules: &Path) -> Vec<Compiled> {
    let mut found = Vec::new();
    for version in names(modules) {
        let files = names(&modules.join(&version))
            .into_iter()
            .filter(|name| !name.contains('.'));
        found.extend(files.filter_map(|file| Compiled::of(modules, &format!("{version}~{file}"))));
    }
    found
}

/// By the names of the modules that they are for.
fn read_seals(folder: &Path) -> HashMap<String, Vec<Seal>> {
    let mut seals: HashMap<String, Vec<Seal>> = HashMap::new();
    for file in names(folder) {
        let is_digest = |text: &&str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        // A version has dots. An older wasmhost wrote no identity.
        let (rest, identity) = match file.rsplit_once('.') {
            Some((name, digest)) if is_digest(&digest) => (format!("{name}.{digest}"), String::new()),
            Some((rest, identity)) => (rest.to_owned(), identity.to_owned()),
            None => continue,
        };
        if let Some((name, digest)) = rest.rsplit_once('.').filter(|(_, digest)| is_digest(digest)) {
            let (name, digest) = (name.to_owned(), digest.to_owned());
            let seal = Seal {
                file,
                digest,
                identity,
            };
            seals.entry(name).or_default().push(seal);
        }
    }
    seals
}

/// Each with its content's digest; `None` where it cannot be read. Reads on a few threads.
fn with_digests(modules: Vec<Compiled>) -> Vec<(Compiled, Option<String>)> {
    let digest = |compiled: &Compiled| {
        let content = fs::read(&compiled.path).ok()?;
        Some(blake3::hash(&content).to_hex().to_string())
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let share = modules.len().div_ceil(threads).max(1);
    let digests: Vec<Option<String>> = std::thread::scope(|scope| {
        let chunks = modules.chunks(share);
        let workers: Vec<_> = chunks
            .map(|chunk| {
                (
                    chunk.len(),
                    scope.spawn(move || chunk.iter().map(digest).collect()),
                )
            })
            .collect();
        let digests = workers
            .into_iter()
            .map(|(count, worker)| worker.join().unwrap_or_else(|_| vec![None; count]));
        digests.collect::<Vec<_>>().concat()
    });
    modules.into_iter().zip(digests).collect()
}

fn remove(file: &Path) {
    // One that cannot be removed was not written by this server either; and it is said.
    if let Err(error) = fs::remove_file(file)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(file = %file.display(), %error, "a doubtful cache file was not removed");
    }
}

/// The names in a folder; none where it cannot be read.
fn names(folder: &Path) -> HashSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn file(root: &Path, name: &str) -> PathBuf {
        root.join("modules/compiler-1.0").join(name)
    }

    fn write(root: &Path, name: &str, content: &str) {
        let path = file(root, name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Times may be as coarse as the clock's tick: a test is faster than that.
    fn set_time(root: &Path, name: &str, ago: u64) {
        let file = File::options().write(true).open(file(root, name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(ago))
            .unwrap();
    }

    fn check(root: &Path) -> Seals {
        Seals::check(root.join("modules"), root.join("seals"))
    }

    fn left(root: &Path) -> Vec<String> {
        let mut left: Vec<String> = names(&root.join("modules/compiler-1.0")).into_iter().collect();
        left.sort();
        left
    }

    fn seals(root: &Path) -> usize {
        names(&root.join("seals")).len()
    }

    #[test]
    fn what_does_not_fit_its_seal_goes() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let sealer = check(root);
        for name in ["good", "bad", "short", "gone", "good.stats"] {
            write(root, name, "what was compiled");
        }
        sealer.seal().unwrap();
        write(root, "bad", "what was campiled");
        set_time(root, "bad", 7);
        write(root, "short", "");
        write(root, "unsealed", "whatever");
        fs::remove_file(file(root, "gone")).unwrap();

        let sealer = check(root);
        assert_eq!(left(root), ["good", "good.stats"]);
        assert_eq!(seals(root), 1);
        write(root, "bad", "what was compiled");
        sealer.seal().unwrap();
        check(root);
        assert_eq!(left(root), ["bad", "good", "good.stats"]);
    }

    #[test]
    fn what_changes_while_serving_goes_before_the_next_build() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let sealer = check(root);
        for name in ["good", "touched", "bad", "gone"] {
            write(root, name, "what was compiled");
        }
        sealer.seal().unwrap();
        sealer.check_again();
        assert_eq!(left(root).len(), 4);

        write(root, "bad", "what was campiled");
        set_time(root, "bad", 7);
        set_time(root, "touched", 7);
        fs::remove_file(file(root, "gone")).unwrap();
        write(root, "new", "not sealed yet");
        sealer.check_again();
        assert_eq!(left(root), ["good", "new", "touched"]);
        sealer.seal().unwrap();
        check(root);
        assert_eq!(left(root), ["good", "new", "touched"]);
        assert_eq!(seals(root), 3, "one for each");
    }

    #[test]
    fn what_is_unchanged_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let sealer = check(root);
        write(root, "good", "what was compiled");
        sealer.seal().unwrap();
        // A seal whose digest nothing fits, of the right identity.
        let seal = names(&root.join("seals")).into_iter().next().unwrap();
        let (rest, identity) = seal.rsplit_once('.').unwrap();
        let (name, _) = rest.rsplit_once('.').unwrap();
        let other = format!("{name}.{}.{identity}", blake3::hash(b"other").to_hex());
        fs::rename(root.join("seals").join(&seal), root.join("seals").join(other)).unwrap();
        check(root);
        assert_eq!(left(root), ["good"]);
        set_time(root, "good", 7);
        check(root);
        assert_eq!(left(root), [""; 0], "now it is read");
    }

    #[test]
    fn seals_of_an_older_host_are_honoured() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(root, "good", "what was compiled");
        write(root, "bad", "what was campiled");
        fs::create_dir(root.join("seals")).unwrap();
        for name in ["good", "bad"] {
            let digest = blake3::hash(b"what was compiled").to_hex();
            fs::write(
                root.join("seals").join(format!("compiler-1.0~{name}.{digest}")),
                "",
            )
            .unwrap();
        }
        check(root);
        assert_eq!(left(root), ["good"]);
        assert_eq!(seals(root), 1);
        assert!(
            names(&root.join("seals"))
                .iter()
                .all(|seal| read_identity(seal).is_some())
        );
    }

    fn read_identity(seal: &str) -> Option<&str> {
        seal.rsplit_once('.')
            .map(|(_, identity)| identity)
            .filter(|identity| identity.len() == 16)
    }

    /// Sparse, so it costs nothing.
    #[test]
    fn what_a_start_reads_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let sealer = check(root);
        let large = READ_AT_START / 2 + 1;
        for (name, ago) in [("old", 30), ("new", 10)] {
            write(root, name, "");
            let content = File::options().write(true).open(file(root, name)).unwrap();
            content.set_len(large).unwrap();
            set_time(root, name, ago);
        }
        sealer.seal().unwrap();
        check(root);
        assert_eq!(left(root), ["new", "old"], "of the same identity");
        set_time(root, "old", 29);
        set_time(root, "new", 9);
        check(root);
        assert_eq!(left(root), ["new"]);
    }

    #[test]
    fn no_folder_is_no_modules() {
        let folder = tempfile::tempdir().unwrap();
        let sealer = check(&folder.path().join("none"));
        sealer.check_again();
        sealer.seal().unwrap();
    }
}
