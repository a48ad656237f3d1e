//! Good contents on disk, so that the last good one survives a restart: `STATE/kept/GROUP.json` names
//! what a group served, `STATE/kept/blobs/DIGEST` are the components; `GROUP.next` is what the record is
//! about to say; `GROUP.checkpoint` is what it remembered. This is the half that reads; `keeper` writes. Knows neither wasm nor who serves.
//!
//! ```text
//!   build ──▶ components ┐
//!              commit ───┴──▶ next ──▶ keeper (a thread): synced, record ──▶ start: where the tree is refused
//! ```

mod checkpoint;
mod folder;
mod keeper;
mod record;

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use self::record::{Next, Record, Server};
pub use self::{
    checkpoint::{Checkpoint, Taken},
    folder::{Expected, Folder},
    keeper::{Change, Keeper},
};
use crate::project::{Digest, DiscoveryLimits, GroupSpec, ServerSpec};

/// Good contents that are kept of each group, the newest included.
pub const CONTENTS: usize = 3;
/// Groups without components whose contents are kept all the same; the oldest go first.
const GONE_GROUPS: usize = 16;
/// Bytes of one record.
const RECORD: u64 = 16 << 20;

/// What lies on disk of a group and is not served, for what serves was chosen instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Withdrawn {
    Content(Digest),
    /// No component at all.
    Nothing,
}

impl Withdrawn {
    /// Of what was found of a group.
    pub fn of(found: Option<Digest>) -> Self {
        found.map_or(Self::Nothing, Self::Content)
    }

    pub fn is(self, found: Option<Digest>) -> bool {
        self == Self::of(found)
    }
}

/// What was decided about a group beside its content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    pub withdrawn: Option<Withdrawn>,
    /// What serves stays, whatever lies on disk.
    pub pinned: bool,
}

impl Standing {
    /// True where a start does not take what it finds.
    pub fn keeps_from(&self, found: Option<Digest>) -> bool {
        self.pinned || self.withdrawn.is_some_and(|withdrawn| withdrawn.is(found))
    }
}

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
        let names = self.group_names().into_iter();
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

    /// What was decided about a group, as far as it is known.
    pub fn standing(&self, group: &str) -> Standing {
        self.record(group)
            .map(|record| record.standing)
            .unwrap_or_default()
    }

    /// The contents that are kept of a group, newest first.
    pub fn digests(&self, group: &str) -> Vec<Digest> {
        let contents = self
            .record(group)
            .map(|record| record.contents)
            .unwrap_or_default();
        contents.iter().map(|content| content.digest).collect()
    }

    /// One of them. Errors: it is not kept, or damaged.
    pub fn content(&self, group: &str, digest: Digest) -> io::Result<GroupSpec> {
        let contents = self
            .record(group)
            .map(|record| record.contents)
            .unwrap_or_default();
        let content = contents.into_iter().find(|content| content.digest == digest);
        let content = content.ok_or(io::ErrorKind::NotFound)?;
        content.spec(group, |digest| self.blob(digest))
    }

    /// How the server listened, if the manifest cannot say it.
    pub fn server(&self) -> Option<ServerSpec> {
        let Server { root, spec } = read_record(&self.folder.join(SERVER)).ok()?;
        (root == self.root && !spec.listen.is_empty()).then_some(spec)
    }

    /// What is known of a group, by its record and what was said ahead of it.
    fn record(&self, group: &str) -> Option<Record> {
        let written = self.written_record(group);
        match self.next(group) {
            Some(next) => {
                let before = written.unwrap_or_else(|| self.nothing());
                // One more than the record has: that may be all that is whole after a loss of power.
                Some(before.then(next.said, CONTENTS + 1))
            }
            None => written,
        }
    }

    fn written_record(&self, group: &str) -> Option<Record> {
        let record: Record = self.read_of_group(group, &self.record_file(group))?;
        (record.root == self.root).then_some(record)
    }

    /// What was said of a group ahead of its record.
    fn next(&self, group: &str) -> Option<Next> {
        let next: Next = self.read_of_group(group, &self.next_file(group))?;
        (next.root == self.root).then_some(next)
    }

    fn read_of_group<T: serde::de::DeserializeOwned>(&self, group: &str, file: &Path) -> Option<T> {
        match read_record(file) {
            Ok(record) => Some(record),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::error!(group, file = %file.display(), %error, "what was kept of the group cannot be read");
                None
            }
        }
    }

    /// The record of a group that never served.
    fn nothing(&self) -> Record {
        Record {
            root: self.root.clone(),
            serving: false,
            contents: Vec::new(),
            standing: Standing::default(),
        }
    }

    fn next_file(&self, group: &str) -> PathBuf {
        self.folder.join(format!("{group}.next"))
    }

    fn checkpoint_file(&self, group: &str) -> PathBuf {
        self.folder.join(format!("{group}.checkpoint"))
    }

    /// The groups that there are records of, whosesoever.
    fn group_names(&self) -> Vec<String> {
        let files = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let names = files.filter_map(|entry| {
            let file = entry.file_name();
            let file = file.to_str()?;
            let name = file
                .strip_suffix(".json")
                .or_else(|| file.strip_suffix(".next"))?;
            (!name.starts_with(['_', '.'])).then(|| name.to_owned())
        });
        names.collect::<BTreeSet<_>>().into_iter().collect()
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
