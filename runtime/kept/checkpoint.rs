//! What a group remembered when it was saved last: `STATE/kept/GROUP.checkpoint`, whole or not there. Nobody
//! serves from it while it is written; a start loads it. Knows not when it is time to save.
//!
//! ```text
//!  64 hex digits of all that follows │ header, a line of JSON │ the snapshots' bytes, in its order
//! ```

use std::{
    fs, io,
    sync::{Arc, PoisonError},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use super::{
    Folder, Kept,
    folder::{persist, sync_folder},
    read,
};
use crate::{
    generation::{Snapshot, Snapshots},
    project::{ComponentId, Digest, Limits},
};

/// Bytes of a header, and of the digest before it.
const HEADER: u64 = 16 << 20;

/// What was saved, and when.
pub struct Checkpoint {
    pub taken: Taken,
    pub snapshots: Arc<Snapshots>,
}

/// The circumstances of a checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Taken {
    pub generation: u64,
    #[serde(with = "rfc3339")]
    pub time: SystemTime,
    /// Of the snapshots.
    pub bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct Header {
    /// The root that the group belongs to.
    root: String,
    #[serde(flatten)]
    taken: Taken,
    snapshots: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    component: ComponentId,
    schema: String,
    bytes: usize,
}

impl Folder {
    /// Has this be what a start of the group loads. It is on the disk when this comes back. `None` where a newer
    /// generation has been heard of meanwhile. Errors: the disk is full, or another server keeps its contents here.
    pub fn write_checkpoint(
        &self,
        group: &str,
        generation: u64,
        snapshots: &Snapshots,
    ) -> io::Result<Option<Taken>> {
        self.open()?;
        let mut newest = self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.get(group).is_some_and(|newest| *newest > generation) {
            return Ok(None);
        }
        newest.insert(group.to_owned(), generation);
        let taken = Taken {
            generation,
            time: SystemTime::now(),
            bytes: snapshots
                .values()
                .map(|snapshot| snapshot.bytes.len() as u64)
                .sum(),
        };
        let bytes = written(&self.kept.root, &taken, snapshots)?;
        // Whoever writes an older one waits until this is there.
        persist(&self.kept.checkpoint_file(group), &bytes, true)?;
        sync_folder(&self.kept.folder)?;
        Ok(Some(taken))
    }

    /// Nothing of the group is loaded any more, from this generation on.
    pub fn remove_checkpoint(&self, group: &str, generation: u64) {
        let file = self.kept.checkpoint_file(group);
        let mut newest = self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner);
        newest.insert(group.to_owned(), generation);
        if let Err(error) = fs::remove_file(&file)
            && error.kind() != io::ErrorKind::NotFound
        {
            let file = file.display();
            tracing::error!(group, %file, %error, "a checkpoint that is of no use any more cannot be removed");
        }
    }
}

impl Kept {
    /// What the group is to begin with. What is damaged is said, and left out.
    pub fn checkpoint(&self, group: &str) -> Option<Checkpoint> {
        let file = self.checkpoint_file(group);
        let checkpoint = read(&file, HEADER + Limits::SNAPSHOT.end()).and_then(|bytes| understood(&bytes));
        match checkpoint {
            Ok((root, checkpoint)) => (root == self.root).then_some(checkpoint),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                let file = file.display();
                tracing::error!(group, %file, %error, "the checkpoint cannot be read: the group begins fresh");
                None
            }
        }
    }
}

fn written(root: &str, taken: &Taken, snapshots: &Snapshots) -> io::Result<Vec<u8>> {
    let lines = snapshots.iter().map(|(component, snapshot)| Line {
        component: component.clone(),
        schema: snapshot.schema.clone(),
        bytes: snapshot.bytes.len(),
    });
    let header = Header {
        root: root.to_owned(),
        taken: taken.clone(),
        snapshots: lines.collect(),
    };
    let mut text = serde_json::to_vec(&header)?;
    text.push(b'\n');
    for snapshot in snapshots.values() {
        text.extend_from_slice(&snapshot.bytes);
    }
    let mut bytes = Digest::of(&text).to_string().into_bytes();
    bytes.append(&mut text);
    Ok(bytes)
}

/// The root that it is of, and what it says. Errors: it is not what was written.
fn understood(bytes: &[u8]) -> io::Result<(String, Checkpoint)> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the file is damaged");
    let (digest, rest) = bytes.split_at_checked(64).ok_or_else(damaged)?;
    if Digest::of(rest).to_string().as_bytes() != digest {
        return Err(damaged());
    }
    let end = rest.iter().position(|byte| *byte == b'\n').ok_or_else(damaged)?;
    let Header {
        root,
        taken,
        snapshots: lines,
    } = serde_json::from_slice(&rest[..end])?;
    let (mut snapshots, mut rest) = (Snapshots::new(), &rest[end + 1..]);
    for Line {
        component,
        schema,
        bytes,
    } in lines
    {
        let (own, others) = rest.split_at_checked(bytes).ok_or_else(damaged)?;
        rest = others;
        let bytes = own.to_vec();
        snapshots.insert(component, Arc::new(Snapshot { schema, bytes }));
    }
    let snapshots = Arc::new(snapshots);
    Ok((root, Checkpoint { taken, snapshots }))
}

mod rfc3339 {
    use std::time::SystemTime;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_rfc3339_millis(*time))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_rfc3339(&text).map_err(D::Error::custom)
    }
}
