//! The folders named `static`, one in each top folder of a group: the files in them, within limits.
//! Lists and reads; which group's they are is decided elsewhere.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use rayon::prelude::*;
use walkdir::{DirEntry, WalkDir};

use super::{
    Digest, DiscoveryLimits,
    tree::{self, ReadError},
};
use crate::diagnostic::Diagnostic;

/// The name of such a folder.
pub const STATIC: &str = "static";

/// One static file as it was read.
#[derive(Clone, Debug)]
pub struct StaticFile {
    pub path: PathBuf,
    /// Of `bytes`.
    pub digest: Digest,
    pub bytes: Bytes,
}

/// A folder named `static` that is there.
#[derive(Debug)]
pub struct StaticFolder {
    pub path: PathBuf,
    /// The names of the folders that it lies in, from the root.
    pub folders: Vec<String>,
    /// By the path below the folder, with `/` between its parts.
    pub files: Vec<(String, StaticFile)>,
    pub faults: Vec<Diagnostic>,
}

/// Reads the folder `static` below `folders`, if there is one. `most` is how many bytes its files may have
/// in all; where they have more, none is read.
pub fn read(root: &Path, folders: Vec<String>, most: u64, limits: &DiscoveryLimits) -> Option<StaticFolder> {
    let path = folders
        .iter()
        .fold(root.to_owned(), |path, name| path.join(name))
        .join(STATIC);
    if !fs::metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
        return None;
    }
    let mut listing = Listing::default();
    listing.list(&path, limits);
    let Listing {
        files,
        bytes,
        mut faults,
    } = listing;
    let at_a_time = if limits.one_core { files.len() } else { 1 };
    let wanted = if bytes > most {
        faults.push(too_large(&path, bytes, most));
        Vec::new()
    } else {
        files
    };
    let read = wanted.into_par_iter().with_min_len(at_a_time.max(1));
    let read: Vec<_> = read
        .filter_map(|(name, path)| Some((name, read_one(path, most)?)))
        .collect();
    let mut files = Vec::new();
    for (name, file) in read {
        match file {
            Ok(file) => files.push((name, file)),
            Err(fault) => faults.push(fault),
        }
    }
    Some(StaticFolder {
        path,
        folders,
        files,
        faults,
    })
}

/// `None` where it is gone since it was listed.
fn read_one(path: PathBuf, most: u64) -> Option<Result<StaticFile, Diagnostic>> {
    match tree::read(&path, most) {
        Ok(bytes) => Some(Ok(StaticFile {
            digest: Digest::of(&bytes),
            path,
            bytes,
        })),
        Err(ReadError::Io(error)) if tree::is_not_there(&path, &error) => None,
        Err(error) => Some(Err(unreadable(&path, error))),
    }
}

/// True for what is left out: hidden files, as editors write them beside the one that is edited.
pub fn is_hidden(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

#[derive(Default)]
struct Listing {
    files: Vec<(String, PathBuf)>,
    /// Of all of them.
    bytes: u64,
    faults: Vec<Diagnostic>,
}

impl Listing {
    fn list(&mut self, folder: &Path, limits: &DiscoveryLimits) {
        let real = match fs::canonicalize(folder) {
            Ok(real) => real,
            Err(error) => return self.faults.push(unreadable(folder, error.into())),
        };
        let walk = WalkDir::new(folder)
            .follow_links(true)
            .sort_by_file_name()
            .max_depth(limits.depth);
        let mut entries = walk.into_iter();
        while let Some(entry) = entries.next() {
            match entry {
                Ok(entry) => {
                    let wanted = self.add(folder, &real, &entry);
                    if !wanted && entry.file_type().is_dir() {
                        entries.skip_current_dir();
                    }
                }
                Err(error) => self.add_failure(error),
            }
            if self.files.len() > limits.static_files {
                return self.faults.push(too_many(folder, limits.static_files));
            }
        }
    }

    /// False for a folder that is not entered.
    fn add(&mut self, folder: &Path, real: &Path, entry: &DirEntry) -> bool {
        if entry.depth() == 0 {
            return true;
        }
        let path = entry.path();
        if is_hidden(entry.file_name()) {
            return false;
        }
        // A link may lead to another place of the same folder, and nowhere else.
        let is_inside = || fs::canonicalize(path).is_ok_and(|path| path.starts_with(real));
        if entry.path_is_symlink() && !is_inside() {
            self.faults.push(outside(folder, path));
            return false;
        }
        if entry.file_type().is_dir() {
            return true;
        }
        let names: Option<Vec<&str>> = path
            .strip_prefix(folder)
            .unwrap_or(path)
            .iter()
            .map(|name| name.to_str().filter(|name| !name.contains('\\')))
            .collect();
        match names {
            Some(names) => {
                self.bytes += entry.metadata().map_or(0, |metadata| metadata.len());
                self.files.push((names.join("/"), path.to_owned()));
            }
            None => self.faults.push(name_invalid(path)),
        }
        true
    }

    fn add_failure(&mut self, error: walkdir::Error) {
        let Some(path) = error.path().map(Path::to_owned) else {
            return;
        };
        if path.file_name().is_some_and(is_hidden) {
            return;
        }
        if let Some(ancestor) = error.loop_ancestor() {
            self.faults.push(tree::symlink_loop(&path, ancestor));
        } else if let Some(error) = error.into_io_error()
            && !tree::is_not_there(&path, &error)
            && !is_link_to_nothing(&path)
        {
            self.faults.push(unreadable(&path, error.into()));
        }
    }
}

fn is_link_to_nothing(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) && !path.exists()
}

fn unreadable(path: &Path, error: ReadError) -> Diagnostic {
    match error {
        ReadError::Io(error) => Diagnostic::io("file-unreadable", "read", path, &error),
        error => {
            let message = format!("the static file {} cannot be served: {error}", path.display());
            Diagnostic::new("file-unreadable", message).file(path)
        }
    }
}

fn too_large(folder: &Path, bytes: u64, most: u64) -> Diagnostic {
    let message = format!(
        "the files in {} have {} in all; the group's limit is {}",
        folder.display(),
        bytesize::ByteSize(bytes),
        bytesize::ByteSize(most)
    );
    Diagnostic::new("static-too-large", message)
        .file(folder)
        .help("they are held in memory: raise `static` in the group's limits, or serve large files elsewhere")
}

fn too_many(folder: &Path, most: usize) -> Diagnostic {
    let message = format!("{} has more than {most} files", folder.display());
    Diagnostic::new("static-too-large", message)
        .file(folder)
        .help("serve so many files elsewhere")
}

fn outside(folder: &Path, link: &Path) -> Diagnostic {
    let message = format!(
        "{} is a link that leads out of {}",
        link.display(),
        folder.display()
    );
    Diagnostic::new("static-outside", message)
        .file(link)
        .help("copy the file: only what lies in the folder is served")
}

fn name_invalid(path: &Path) -> Diagnostic {
    let message = format!(
        "no URL can name the static file {}: its name is not UTF-8, or has a backslash",
        path.display()
    );
    Diagnostic::new("name-invalid", message)
        .file(path)
        .help("rename it")
}
