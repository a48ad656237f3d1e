//! What lies under a root: the component files by their ids, and what is wrong with names, links and folders.
//! Lists and reads, within limits; knows no group and no manifest.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fmt::Display,
    fs::{self, File, OpenOptions},
    io::{self, Read},
    path::{Component, Path, PathBuf},
};

use bytes::Bytes;
use walkdir::{DirEntry, WalkDir};

use crate::diagnostic::Diagnostic;

use super::{
    ComponentId, DiscoveryLimits,
    names::{self, SEGMENT_RULE},
    static_files::{STATIC, is_hidden},
};

/// Folders that hold no components, besides all that begin with `.` or `_`.
pub const SKIPPED_FOLDERS: [&str; 3] = ["target", "node_modules", STATIC];

/// In the order of their names.
#[derive(Debug, Default)]
pub struct Tree {
    pub files: Vec<(ComponentId, PathBuf)>,
    pub faults: Vec<Fault>,
}

/// Something wrong in one place of the tree.
#[derive(Debug)]
pub struct Fault {
    /// The names of the folders that it lies in, from the root; readable, not exact.
    pub folders: Vec<String>,
    pub diagnostic: Diagnostic,
}

/// Why a file cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is not a regular file")]
    NotAFile,
    #[error("it has more than {0} bytes")]
    TooLarge(u64),
    #[error("it was replaced while it was read")]
    Changed,
}

/// Lists the tree; nothing is read yet.
///
/// # Errors
/// Where the root cannot be listed, or the tree has more entries or components than the limits allow.
pub fn list(root: &Path, limits: &DiscoveryLimits) -> Result<Tree, Vec<Diagnostic>> {
    let walk = WalkDir::new(root)
        .follow_links(true)
        .sort_by_file_name()
        .max_depth(limits.depth + 1);
    let entries = walk
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || !is_skipped(entry.file_name()));
    let mut listing = Listing {
        root,
        limits,
        tree: Tree::default(),
        bad_folders: BTreeSet::new(),
    };
    for (count, entry) in entries.enumerate() {
        if count > limits.entries {
            return Err(vec![too_large(root, limits.entries, "files and folders")]);
        }
        match entry {
            Ok(entry) => listing.add(&entry),
            Err(error) if error.depth() == 0 => {
                let error = error
                    .into_io_error()
                    .unwrap_or_else(|| io::ErrorKind::Other.into());
                return Err(vec![Diagnostic::io(
                    "root-unreadable",
                    "read the root",
                    root,
                    &error,
                )]);
            }
            Err(error) => listing.add_failure(error),
        }
        if listing.tree.files.len() > limits.components {
            return Err(vec![too_large(root, limits.components, "components")]);
        }
    }
    Ok(listing.tree)
}

/// The folders directly below the root that are searched, as far as their names are text.
pub fn top_folders(root: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name())
        .filter(|name| !is_skipped(name))
        .filter_map(|name| name.into_string().ok())
}

/// Reads a component's file; `None` where it is gone since it was listed.
pub fn read_component(path: &Path, limit: u64) -> Option<Result<Bytes, Diagnostic>> {
    match read(path, limit) {
        Ok(bytes) => Some(Ok(bytes)),
        Err(ReadError::Io(error)) if is_not_there(path, &error) => None,
        Err(error) => Some(Err(component_unreadable(path, error))),
    }
}

/// What is wrong with a component's file that cannot be read.
pub fn component_unreadable(path: &Path, error: ReadError) -> Diagnostic {
    match error {
        ReadError::Io(error) => Diagnostic::io("file-unreadable", "read", path, &error),
        ReadError::NotAFile => unreadable(path, "is not a regular file"),
        ReadError::Changed => unreadable(path, "was replaced while it was read"),
        ReadError::TooLarge(limit) => {
            let limit = bytesize::ByteSize(limit);
            let what = if is_text(path) {
                "component text"
            } else {
                "a component"
            };
            let message = format!("{} is larger than {limit}, the most for {what}", path.display());
            Diagnostic::new("file-too-large", message).file(path)
        }
    }
}

fn unreadable(path: &Path, why: &str) -> Diagnostic {
    Diagnostic::new("file-unreadable", format!("{} {why}", path.display())).file(path)
}

/// Reads a regular file of at most `limit` bytes, and never more than that.
pub fn read(path: &Path, limit: u64) -> Result<Bytes, ReadError> {
    let file = open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(ReadError::NotAFile);
    }
    if metadata.len() > limit {
        return Err(ReadError::TooLarge(limit));
    }
    let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    // The file may grow meanwhile.
    file.take(limit.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Err(ReadError::TooLarge(limit));
    }
    Ok(content.into())
}

/// Opens without waiting: a pipe has no content until someone writes to it, perhaps never.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    options.open(path)
}

/// Whether there was nothing of that name, not even a link to nothing. By now there may be.
pub fn is_not_there(path: &Path, error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound && !path.is_symlink()
}

/// Whether the search for components passes over a file or folder of this name.
fn is_skipped(name: &OsStr) -> bool {
    let first = name.as_encoded_bytes().first();
    matches!(first, Some(b'.' | b'_')) || SKIPPED_FOLDERS.iter().any(|folder| name == *folder)
}

/// Whether a path below a root may lead to something that is served: where components are searched, and in
/// folders named `static`.
pub fn may_be_served(below_root: &Path) -> bool {
    let mut in_static = false;
    let mut names = below_root.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    names.all(|name| {
        let wanted = if in_static {
            !is_hidden(name)
        } else {
            name == STATIC || !is_skipped(name)
        };
        in_static |= name == STATIC;
        wanted
    })
}

/// Whether a file of this name holds component text rather than a binary.
pub fn is_text(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "wat")
}

/// The ending of a component file, in any case.
fn component_ending(path: &Path) -> Option<&str> {
    let ending = path.extension()?.to_str()?;
    ["wasm", "wat"]
        .iter()
        .any(|known| ending.eq_ignore_ascii_case(known))
        .then_some(ending)
}

pub fn symlink_loop(link: &Path, folder: &Path) -> Diagnostic {
    let message = format!(
        "{} is a link to {}, in which it lies: a loop",
        link.display(),
        folder.display()
    );
    Diagnostic::new("symlink-loop", message)
        .file(link)
        .help("remove the link")
}

pub fn too_large(root: &Path, limit: impl Display, what: &str) -> Diagnostic {
    Diagnostic::new(
        "tree-too-large",
        format!("{} has more than {limit} {what}", root.display()),
    )
    .file(root)
    .help("serve a folder that holds components only; symbolic links are followed")
}

struct Listing<'a> {
    root: &'a Path,
    limits: &'a DiscoveryLimits,
    tree: Tree,
    /// Those that were reported; each is, once.
    bad_folders: BTreeSet<PathBuf>,
}

impl Listing<'_> {
    fn add(&mut self, entry: &DirEntry) {
        let path = entry.path();
        if entry.file_type().is_dir() {
            if entry.depth() > self.limits.depth {
                let message = format!(
                    "{} lies below more than {} folders",
                    path.display(),
                    self.limits.depth
                );
                self.fault(path, Diagnostic::new("folder-too-deep", message).file(path));
            }
        } else if let Some(ending) = component_ending(path) {
            self.add_component(path, ending);
        }
    }

    fn add_component(&mut self, path: &Path, ending: &str) {
        let folders: Vec<_> = self.below_root(path.parent().unwrap_or(self.root)).collect();
        let names = folders.iter().copied().chain(path.file_stem());
        let names: Option<Vec<&str>> = names.map(OsStr::to_str).collect();
        let id = names.and_then(|names| ComponentId::from_segments(names.into_iter()));
        match id.filter(|_| ending == ending.to_ascii_lowercase()) {
            Some(id) => self.tree.files.push((id, path.to_owned())),
            None => self.add_bad_names(path, ending),
        }
    }

    /// The folders are reported once, however many components lie below them.
    fn add_bad_names(&mut self, path: &Path, ending: &str) {
        let place = path.parent().unwrap_or(self.root);
        let folders = place.ancestors().take_while(|folder| *folder != self.root);
        let bad_folders: Vec<_> = folders.filter(|folder| !is_good(folder.file_name())).collect();
        for folder in bad_folders.into_iter().rev() {
            if self.bad_folders.insert(folder.to_owned()) {
                let name = lossy(folder.file_name());
                let message =
                    format!("the folder name {name:?} cannot be part of an id, which is {SEGMENT_RULE}");
                self.fault(
                    place,
                    name_invalid(folder, message, &names::propose_segment(&name)),
                );
            }
        }
        let lower = ending.to_ascii_lowercase();
        if !is_good(path.file_stem()) || ending != lower {
            let name = lossy(path.file_name());
            let message = format!(
                "the file name {name:?} is not a component's: an id, which is {SEGMENT_RULE}, \
                 then .wasm or .wat"
            );
            let proposal = names::propose_segment(&lossy(path.file_stem()));
            self.fault(place, name_invalid(path, message, &format!("{proposal}.{lower}")));
        }
    }

    fn add_failure(&mut self, error: walkdir::Error) {
        let Some(path) = error.path().map(Path::to_owned) else {
            return;
        };
        if self.below_root(&path).any(is_skipped) {
            return;
        }
        if let Some(ancestor) = error.loop_ancestor() {
            self.fault(&path, symlink_loop(&path, ancestor));
            return;
        }
        let Some(error) = error.into_io_error() else {
            return;
        };
        if is_not_there(&path, &error) {
            return;
        }
        if component_ending(&path).is_some() && !path.is_dir() {
            let place = path.parent().unwrap_or(self.root);
            self.fault(place, component_unreadable(&path, error.into()));
            return;
        }
        // A link to nothing is no folder.
        let is_link = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink());
        if !is_link || error.kind() == io::ErrorKind::PermissionDenied {
            self.fault(&path, Diagnostic::io("folder-unreadable", "read", &path, &error));
        }
    }

    /// `folder` is the one whose group cannot be trusted.
    fn fault(&mut self, folder: &Path, diagnostic: Diagnostic) {
        let folders = self
            .below_root(folder)
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        self.tree.faults.push(Fault { folders, diagnostic });
    }

    fn below_root<'p>(&self, path: &'p Path) -> impl Iterator<Item = &'p OsStr> + use<'p> {
        path.strip_prefix(self.root).unwrap_or(Path::new("")).iter()
    }
}

fn is_good(name: Option<&OsStr>) -> bool {
    name.and_then(OsStr::to_str).is_some_and(names::is_segment)
}

fn lossy(name: Option<&OsStr>) -> String {
    name.unwrap_or_default().to_string_lossy().into_owned()
}

fn name_invalid(path: &Path, message: String, proposal: &str) -> Diagnostic {
    Diagnostic::new("name-invalid", message)
        .file(path)
        .help(format!("rename to \"{proposal}\""))
}
