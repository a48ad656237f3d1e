//! A tree of components of a test's own, and the ways in which files get there. Knows no server.

use std::{
    fs::{self, File, FileTimes},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tempfile::TempDir;
use walkdir::{DirEntry, WalkDir};

/// Folders that no test needs a copy of.
const NOT_COPIED: &[&str] = &["target", "node_modules", ".wasmhost", ".git"];
/// Bytes that a copied tree may have.
const LARGEST_TREE: u64 = 4 << 30;
/// How far back a file is dated that is written as an older one.
const OLDER: Duration = Duration::from_secs(24 * 60 * 60);

/// A temporary tree, with a state directory of its own beside it. Both are gone with the value.
pub struct TestProject {
    folder: TempDir,
}

/// How a file is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// Whole, beside it, then renamed into place: as a deployment should.
    #[default]
    Rename,
    /// Over what is there, as `cp` does.
    InPlace,
    /// The first half of it, and no more.
    Torn,
    /// What is there is deleted first.
    DeleteCreate,
    /// Renamed into place with a time stamp of the day before.
    Older,
}

impl TestProject {
    /// An empty tree.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("wasmhost-test-").tempdir()?;
        fs::create_dir(folder.path().join("tree"))?;
        Ok(Self { folder })
    }

    /// A copy of the tree under `root`: all but `target`, `node_modules`, `.git` and what a server keeps.
    /// Links are followed, so nothing in the copy leads out of it.
    ///
    /// # Errors
    /// The system's; `QuotaExceeded` where the tree has more than 4 GiB.
    pub fn copy_of(root: &Path) -> io::Result<Self> {
        let project = Self::new()?;
        let mut size = 0;
        let mut files = WalkDir::new(root).follow_links(true).into_iter();
        while let Some(entry) = files.next() {
            let entry = entry?;
            if entry.depth() > 0 && is_left_out(&entry) {
                if entry.file_type().is_dir() {
                    files.skip_current_dir();
                }
                continue;
            }
            let relative = entry.path().strip_prefix(root).map_err(io::Error::other)?;
            let target = project.path(relative);
            if entry.file_type().is_dir() {
                fs::create_dir_all(target)?;
            } else if entry.file_type().is_file() {
                size += fs::copy(entry.path(), target)?;
            }
            if size > LARGEST_TREE {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
        }
        Ok(project)
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    pub fn path(&self, file: impl AsRef<Path>) -> PathBuf {
        self.root().join(file)
    }

    /// Where a host of this project keeps its state.
    pub fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Writes a file as a deployment should: whole, then renamed into place.
    ///
    /// # Errors
    /// The system's, here and below.
    pub fn put(&self, file: impl AsRef<Path>, content: impl AsRef<[u8]>) -> io::Result<()> {
        self.write(file, content, Way::Rename)
    }

    pub fn write(&self, file: impl AsRef<Path>, content: impl AsRef<[u8]>, way: Way) -> io::Result<()> {
        let (path, content) = (self.path(file), content.as_ref());
        let folder = path.parent().unwrap_or(self.folder.path());
        fs::create_dir_all(folder)?;
        match way {
            Way::Rename => renamed(&path, folder, content, None),
            Way::Older => renamed(&path, folder, content, Some(SystemTime::now() - OLDER)),
            Way::InPlace => fs::write(&path, content),
            Way::Torn => fs::write(&path, &content[..content.len() / 2]),
            Way::DeleteCreate => {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                fs::write(&path, content)
            }
        }
    }

    /// Gives a file the time stamp of now, and leaves its content alone.
    ///
    /// # Errors
    /// The system's.
    pub fn touch(&self, file: impl AsRef<Path>) -> io::Result<()> {
        let times = FileTimes::new().set_modified(SystemTime::now());
        File::options()
            .append(true)
            .open(self.path(file))?
            .set_times(times)
    }

    /// # Errors
    /// The system's.
    pub fn read(&self, file: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        fs::read(self.path(file))
    }

    /// Removes a file, or a folder with all that is in it.
    ///
    /// # Errors
    /// The system's.
    pub fn remove(&self, file: impl AsRef<Path>) -> io::Result<()> {
        let path = self.path(file);
        if fs::symlink_metadata(&path)?.is_dir() {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        }
    }
}

fn is_left_out(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    NOT_COPIED.iter().any(|left_out| name == *left_out)
}

fn renamed(path: &Path, folder: &Path, content: &[u8], dated: Option<SystemTime>) -> io::Result<()> {
    let mut whole = tempfile::Builder::new().prefix(".put-").tempfile_in(folder)?;
    whole.write_all(content)?;
    if let Some(time) = dated {
        whole.as_file().set_times(FileTimes::new().set_modified(time))?;
    }
    whole.persist(path)?;
    Ok(())
}
