//! Whether a tree looks different from before, without reading its files. It only hints: equal
//! fingerprints may hide a change, unequal ones may mean none.

use std::{
    collections::BTreeSet,
    fs::Metadata,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::fs::statfs;
use walkdir::WalkDir;

use crate::project::{DiscoveryLimits, may_be_served};

/// Of names, sizes, places and times of all that is searched, and of single files. Times are only compared with each other,
/// never with a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    pub fn of(root: &Path, files: &BTreeSet<PathBuf>) -> Self {
        let mut hash = DefaultHasher::new();
        let mut add = |path: &Path, metadata: Option<Metadata>| {
            path.hash(&mut hash);
            metadata.as_ref().map(stamp).hash(&mut hash);
        };
        let entries = WalkDir::new(root)
            .follow_links(true)
            .sort_by_file_name()
            .max_depth(DiscoveryLimits::DEFAULT.depth + 1)
            .into_iter()
            .filter_entry(|entry| entry.path().strip_prefix(root).is_ok_and(may_be_served))
            .take(DiscoveryLimits::DEFAULT.entries);
        for entry in entries.flatten() {
            add(entry.path(), entry.metadata().ok());
        }
        for file in files {
            add(file, file.metadata().ok());
        }
        Self(hash.finish())
    }
}

/// False on file systems that are changed by others without telling this machine.
pub fn has_events(root: &Path) -> bool {
    /// NFS, CIFS, SMB2, 9P, FUSE, Ceph, AFS: as in `statfs(2)`.
    const REMOTE: [i64; 7] = [
        0x6969,
        0xff53_4d42,
        0xfe53_4d42,
        0x0102_1997,
        0x6573_5546,
        0x00c3_6400,
        0x5346_414f,
    ];
    statfs(root).map_or(true, |system| !REMOTE.contains(&system.f_type))
}

/// All that the system says of a file.
fn stamp(metadata: &Metadata) -> impl Hash {
    (
        (metadata.dev(), metadata.ino(), metadata.size()),
        (metadata.mtime(), metadata.mtime_nsec()),
        (metadata.ctime(), metadata.ctime_nsec()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_a_searched_file_is_seen() {
        let tree = tempfile::tempdir().unwrap();
        let write = |file: &str, content: &str| std::fs::write(tree.path().join(file), content).unwrap();
        write("a.wasm", "1");
        let fingerprint = || Fingerprint::of(tree.path(), &BTreeSet::new());
        let first = fingerprint();
        assert_eq!(first, fingerprint());
        write(".hidden", "1");
        std::fs::create_dir(tree.path().join("target")).unwrap();
        write("a.wasm", "12");
        let second = fingerprint();
        assert_ne!(first, second);
        std::fs::remove_file(tree.path().join("a.wasm")).unwrap();
        assert_ne!(second, fingerprint());
    }

    #[test]
    fn a_file_elsewhere_is_seen_to_come_and_to_go() {
        let (tree, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = other.path().join("built.wasm");
        let files = BTreeSet::from([file.clone()]);
        let fingerprint = || Fingerprint::of(tree.path(), &files);
        let without = fingerprint();
        std::fs::write(&file, "1").unwrap();
        assert_ne!(without, fingerprint());
        std::fs::remove_file(&file).unwrap();
        assert_eq!(without, fingerprint());
    }
}
