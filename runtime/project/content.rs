//! What a component's file holds: its bytes, or, where the server knows them already, only which they are.
//! A look at a large tree reads all of it, but takes memory for what is new.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::Path,
};

use bytes::Bytes;

use super::{
    Component, ComponentId, Digest, DiscoveryLimits, StaticFile,
    tree::{self, ReadError},
};
use crate::diagnostic::Diagnostic;

/// What is read at a time, in bytes: it stays in the processor's own cache.
const PIECE: usize = 64 * 1024;

#[derive(Clone, Debug)]
pub enum Content {
    Held(Bytes),
    /// Left where it lies; its size in bytes.
    Left(u64),
}

/// What one file of a group consists of.
#[derive(Clone, Copy, Debug)]
pub enum Blob<'a> {
    Component(&'a Component),
    File(&'a StaticFile),
}

impl Blob<'_> {
    pub fn digest(&self) -> Digest {
        match self {
            Self::Component(component) => component.digest,
            Self::File(file) => file.digest,
        }
    }

    /// Errors: as for a component's bytes.
    pub fn bytes(&self) -> Result<Bytes, Diagnostic> {
        match self {
            Self::Component(component) => component.bytes(),
            Self::File(file) => Ok(file.bytes.clone()),
        }
    }
}

/// Contents that need not be held, for what serves was made from them.
#[derive(Clone, Debug, Default)]
pub struct Known(BTreeMap<ComponentId, (Digest, u64)>);

impl Known {
    /// What these consist of.
    pub fn of<'a>(components: impl IntoIterator<Item = &'a Component>) -> Self {
        let of = |component: &Component| (component.id.clone(), (component.digest, component.size()));
        Self(components.into_iter().map(of).collect())
    }

    pub fn add(&mut self, other: &Self) {
        self.0
            .extend(other.0.iter().map(|(id, content)| (id.clone(), *content)));
    }

    /// The component where its file holds just what is known of it. `None` also where it cannot be read:
    /// whoever reads it then is told why.
    pub(super) fn find(&self, id: &ComponentId, path: &Path) -> Option<(Digest, Content)> {
        let (digest, size) = *self.0.get(id)?;
        let holds_it = holds(path, digest, size).unwrap_or_default();
        holds_it.then_some((digest, Content::Left(size)))
    }
}

impl Content {
    /// In bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Held(bytes) => bytes.len() as u64,
            Self::Left(size) => *size,
        }
    }
}

impl Component {
    /// In bytes.
    pub fn size(&self) -> u64 {
        self.content.size()
    }

    /// The same component without its bytes: they stay where they lie.
    pub fn left(&self) -> Self {
        Self {
            content: Content::Left(self.size()),
            ..self.clone()
        }
    }

    /// The file's content: a binary, or component text. Errors: it was left where it lay, and is another by
    /// now, or cannot be read.
    pub fn bytes(&self) -> Result<Bytes, Diagnostic> {
        if let Content::Held(bytes) = &self.content {
            return Ok(bytes.clone());
        }
        let unreadable = |error| tree::component_unreadable(&self.path, error);
        let limit = DiscoveryLimits::DEFAULT.of_file(&self.path);
        let bytes = tree::read(&self.path, limit).map_err(unreadable)?;
        if Digest::of(&bytes) == self.digest {
            Ok(bytes)
        } else {
            Err(unreadable(ReadError::Changed))
        }
    }
}

/// True where the file holds so many bytes, with this digest.
fn holds(path: &Path, digest: Digest, size: u64) -> io::Result<bool> {
    let file = tree::open(path)?;
    let metadata = file.metadata()?;
    Ok(metadata.is_file() && metadata.len() == size && digest_of(file, size)? == Some(digest))
}

/// Of a file's content; `None` where it is not of this size.
fn digest_of(file: File, size: u64) -> io::Result<Option<Digest>> {
    let mut file = file.take(size.saturating_add(1));
    let (mut hash, mut length) = (blake3::Hasher::new(), 0);
    let mut piece = [0; PIECE];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok((length == size).then(|| hash.finalize().into())),
            Ok(read) => {
                hash.update(&piece[..read]);
                length += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_known_is_left_and_can_be_read_again_as_long_as_it_lies_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("home.wasm");
        let id = ComponentId::parse("home").unwrap();
        let old = Bytes::from(vec![7; 3 * PIECE + 1]);
        let component = Component {
            id: id.clone(),
            path: path.clone(),
            digest: Digest::of(&old),
            content: Content::Held(old.clone()),
        };
        let known = Known::of([&component]);
        assert!(known.find(&id, &path).is_none(), "there is no file");
        fs::write(&path, &old).unwrap();
        let (digest, content) = known.find(&id, &path).unwrap();
        assert_eq!((digest, content.size()), (component.digest, component.size()));
        assert!(matches!(content, Content::Left(_)));
        let left = Component {
            content,
            ..component.clone()
        };
        assert_eq!(left.bytes().unwrap(), old);

        let mut new = old.to_vec();
        new[PIECE] = 8;
        for other in [new.as_slice(), &old[1..], &[old.as_ref(), b"x"].concat()] {
            fs::write(&path, other).unwrap();
            assert!(known.find(&id, &path).is_none());
            let refused = left.bytes().unwrap_err();
            assert_eq!(refused.code, "file-unreadable");
            assert_eq!(component.bytes().unwrap(), old, "what is held stays");
        }
    }
}
