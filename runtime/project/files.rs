//! What was read of files, by path, so that a file at rest is read once: a look at a tree of engines
//! would otherwise read hundreds of megabytes to find one changed line.
//!
//! A file is taken for the same only where all that the system says of it is the same, its change time
//! included, which no program sets at will, and where it had been at rest when it was read: time stamps
//! are coarse, and a file may change twice within one. Other machines' file systems have other clocks, so
//! what lies there is always read. Who writes through a mapping is seen once the system stamps it, as by
//! any watcher: events do not tell of that either.

use std::{
    collections::HashMap,
    fs::{File, Metadata},
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use bytes::Bytes;

use super::{
    Digest,
    file_system::is_remote,
    tree::{ReadError, open},
};

/// How long a file has to be unchanged to count as at rest: more than the coarsest time stamp.
const REST: Duration = Duration::from_secs(3);

/// The content of a file. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Content {
    pub bytes: Bytes,
    /// Of `bytes`.
    pub digest: Digest,
}

/// What was read at the last look and what is read at this one, of files at rest.
#[derive(Debug, Default)]
pub struct Files {
    before: HashMap<PathBuf, (Stamp, Content)>,
    now: HashMap<PathBuf, (Stamp, Content)>,
}

/// All that the system says of a file. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: i128,
    changed: i128,
}

impl Files {
    /// Another look begins: what this one does not ask for is forgotten at the next.
    pub fn begin(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }

    /// Reads a regular file of at most `limit` bytes, and never more than that.
    pub fn read(&mut self, path: &Path, limit: u64) -> Result<Content, ReadError> {
        self.read_at(path, limit, SystemTime::now())
    }

    fn read_at(&mut self, path: &Path, limit: u64, now: SystemTime) -> Result<Content, ReadError> {
        let file = open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(ReadError::NotAFile);
        }
        if metadata.len() > limit {
            return Err(ReadError::TooLarge(limit));
        }
        let stamp = Stamp::of(&metadata);
        let known = self.before.remove(path).filter(|(before, _)| *before == stamp);
        let content = match known {
            Some((_, content)) => content,
            None => {
                let content = read_all(&file, stamp.size, limit)?;
                if !stamp.is_at_rest(now) || is_remote(&file) {
                    return Ok(content);
                }
                content
            }
        };
        self.now.insert(path.to_owned(), (stamp, content.clone()));
        Ok(content)
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn is_at_rest(&self, now: SystemTime) -> bool {
        let Ok(now) = now.duration_since(SystemTime::UNIX_EPOCH) else {
            return false;
        };
        // The time of modification may be any; that of the change is the system's.
        now.as_nanos() as i128 - self.changed >= REST.as_nanos() as i128
    }
}

fn read_all(file: &File, size: u64, limit: u64) -> Result<Content, ReadError> {
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    // The file may grow meanwhile.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(ReadError::TooLarge(limit));
    }
    Ok(Content {
        digest: Digest::of(&bytes),
        bytes: bytes.into(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LIMIT: u64 = 100;

    /// A file, and a moment from which on it is at rest.
    fn file(content: &str) -> (tempfile::TempDir, PathBuf, SystemTime) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, content).unwrap();
        (folder, path, SystemTime::now() + REST)
    }

    fn same(a: &Content, b: &Content) -> bool {
        a.bytes.as_ptr() == b.bytes.as_ptr()
    }

    #[test]
    fn a_file_at_rest_is_read_once() {
        let (_folder, path, later) = file("one");
        let mut files = Files::default();
        let first = files.read_at(&path, LIMIT, later).unwrap();
        files.begin();
        assert!(same(&first, &files.read_at(&path, LIMIT, later).unwrap()));
        files.begin();
        assert!(same(&first, &files.read_at(&path, LIMIT, later).unwrap()));
        // Not asked for at one look, it is read at the next.
        files.begin();
        files.begin();
        let again = files.read_at(&path, LIMIT, later).unwrap();
        assert!(!same(&first, &again));
        assert_eq!(again.digest, first.digest);
    }

    #[test]
    fn a_file_that_was_just_written_is_read_again() {
        let (_folder, path, later) = file("one");
        for now in [SystemTime::now(), later - REST / 2, SystemTime::UNIX_EPOCH] {
            let mut files = Files::default();
            let first = files.read_at(&path, LIMIT, now).unwrap();
            files.begin();
            assert!(
                !same(&first, &files.read_at(&path, LIMIT, later).unwrap()),
                "{now:?}"
            );
        }
    }

    #[test]
    fn another_content_of_the_same_size_and_time_is_seen() {
        let (_folder, path, later) = file("one");
        let mut files = Files::default();
        files.read_at(&path, LIMIT, later).unwrap();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let changed = Stamp::of(&fs::metadata(&path).unwrap()).changed;
        // Time stamps have a grain: written at once, the file would not be at rest.
        while Stamp::of(&fs::metadata(&path).unwrap()).changed == changed {
            fs::write(&path, "two").unwrap();
            File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(modified)
                .unwrap();
        }
        files.begin();
        assert_eq!(files.read_at(&path, LIMIT, later).unwrap().bytes, "two");
    }

    #[test]
    fn limits_hold_for_what_is_known_too() {
        let (_folder, path, later) = file("one");
        let mut files = Files::default();
        files.read_at(&path, LIMIT, later).unwrap();
        files.begin();
        let refused = files.read_at(&path, 2, later);
        assert!(matches!(refused, Err(ReadError::TooLarge(2))), "{refused:?}");
    }
}
