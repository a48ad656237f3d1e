//! Good contents on disk, so that the last good one survives a restart: `STATE/kept/GROUP.json` names
//! what a group served, `STATE/kept/blobs/DIGEST` are the components. This is the half that reads;
//! `keeper` writes. Knows neither wasm nor who serves.
//!
//! ```text
//!   commit ──▶ keeper (a thread) ──▶ blobs ──▶ record ──▶ start: where the tree is refused
//! ```

mod keeper;
mod record;

use std::{
    fs::File,
    io::{self, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
};

pub use self::keeper::Keeper;
use self::record::{Content, Listen, Record};
use crate::project::{Digest, DiscoveryLimits, GroupSpec};

/// Good contents that are kept of each group, the newest included.
pub const CONTENTS: usize = 3;
/// Groups without components whose contents are kept all the same; the oldest go first.
const GONE_GROUPS: usize = 16;
/// Bytes of one record.
const RECORD: u64 = 16 << 20;

/// Where the server's own record lies; a group's name does not begin so.
const SERVER: &str = "_server.json";

/// The good contents of one root.
#[derive(Clone, Debug)]
pub struct Kept {
    folder: PathBuf,
    /// Whose contents they are: two roots may share a state directory.
    root: String,
}

impl Kept {
    pub fn new(state_dir: &Path, root: &Path) -> Self {
        // A tree that is moved takes its contents along.
        let inside = state_dir.starts_with(root);
        let root = if inside { Path::new(".") } else { root };
        Self {
            folder: state_dir.join("kept"),
            root: root.display().to_string(),
        }
    }

    /// The groups that served when they were last heard of.
    pub fn groups(&self) -> Vec<String> {
        let names = record_names(&self.folder).into_iter();
        names
            .filter(|name| self.record(name).is_some_and(|record| record.serving))
            .collect()
    }

    /// The good contents of a group, newest first, as far as they are whole.
    pub fn contents(&self, group: &str) -> impl Iterator<Item = GroupSpec> {
        let contents = self
            .record(group)
            .map(|record| record.contents)
            .unwrap_or_default();
        contents.into_iter().filter_map(move |content| {
            let spec = content.spec(group, |digest| self.blob(digest));
            spec.inspect_err(|error| tracing::error!(group, %error, "a kept content cannot be used"))
                .ok()
        })
    }

    /// Where the server listened, if the manifest cannot say it.
    pub fn listen(&self) -> Option<Vec<SocketAddr>> {
        let Listen { root, listen } = read_record(&self.folder.join(SERVER)).ok()?;
        (root == self.root && !listen.is_empty()).then_some(listen)
    }

    fn record(&self, group: &str) -> Option<Record> {
        match read_record::<Record>(&self.record_file(group)) {
            Ok(record) => (record.root == self.root).then_some(record),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::error!(group, %error, "what was kept of the group cannot be read");
                None
            }
        }
    }

    fn record_file(&self, group: &str) -> PathBuf {
        self.folder.join(format!("{group}.json"))
    }

    fn blobs(&self) -> PathBuf {
        self.folder.join("blobs")
    }

    fn blob_file(&self, digest: Digest) -> PathBuf {
        self.blobs().join(digest.to_string())
    }

    /// A component by its digest. Errors: it is not there, or not what its name says.
    fn blob(&self, digest: Digest) -> io::Result<Vec<u8>> {
        let bytes = read(&self.blob_file(digest), DiscoveryLimits::DEFAULT.file)?;
        if Digest::of(&bytes) == digest {
            Ok(bytes)
        } else {
            let message = format!("the file {} is damaged", self.blob_file(digest).display());
            Err(io::Error::new(io::ErrorKind::InvalidData, message))
        }
    }
}

/// The groups that there are records of, whosesoever.
fn record_names(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = names
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".json")?.to_owned()))
        .filter(|name| !name.starts_with(['_', '.']))
        .collect();
    names.sort();
    names
}

fn read_record<T: serde::de::DeserializeOwned>(file: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&read(file, RECORD)?)?)
}

fn read(file: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
