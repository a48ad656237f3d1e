//! The records of what is kept, as they are written: a group's contents without the components' bytes.
//! Fields that a record does not have yet take their defaults, so that an older record still serves.

use std::{collections::BTreeMap, io, path::Path, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Standing, Withdrawn};
use crate::project::{
    self, Component, ComponentId, Digest, Grants, GroupSpec, Instances, Limits, Probation, Requests, Route,
    ServerSpec, State, StaticFile,
};

/// What is kept of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The root that the group belongs to.
    pub root: String,
    /// False once no component of the group was left.
    pub serving: bool,
    /// Newest first.
    pub contents: Vec<Content>,
    #[serde(flatten)]
    pub standing: Standing,
}

/// What becomes of a group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Said {
    /// `None` where no component of the group is left.
    pub content: Option<Content>,
    #[serde(default)]
    pub withdrawn: Option<Withdrawn>,
    /// What was withdrawn is no good content.
    #[serde(default)]
    pub is_bad: bool,
}

/// What a group serves, said ahead of its record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Next {
    /// The root that the group belongs to.
    pub root: String,
    #[serde(flatten)]
    pub said: Said,
}

/// One good content: all of a `GroupSpec` but the bytes of its components.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Of the group.
    pub digest: Digest,
    pub components: BTreeMap<ComponentId, Blob>,
    #[serde(default)]
    pub files: BTreeMap<String, Blob>,
    #[serde(default)]
    routes: Vec<Route>,
    #[serde(default)]
    wire: BTreeMap<ComponentId, BTreeMap<String, ComponentId>>,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    grants: Grants,
    drain: Duration,
    #[serde(default)]
    requests: Requests,
    #[serde(default)]
    probation: Option<Probation>,
    #[serde(default)]
    instances: Instances,
    #[serde(default)]
    state: State,
    #[serde(default)]
    checkpoint: Option<Duration>,
}

/// One component or static file, whose bytes lie in the file that is named by their digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    pub digest: Digest,
    /// Where it came from, to be named in what is said of it.
    path: String,
}

/// What is kept of the server itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    pub root: String,
    #[serde(flatten)]
    pub spec: ServerSpec,
}

impl Record {
    /// The record as it is once that has become of the group; at most `most` contents, what serves first.
    pub fn then(mut self, said: Said, most: usize) -> Self {
        let Said {
            content,
            withdrawn,
            is_bad,
        } = said;
        self.serving = content.is_some();
        self.standing.withdrawn = withdrawn;
        if is_bad {
            let is_bad = |digest| withdrawn.is_some_and(|withdrawn| withdrawn.is(Some(digest)));
            self.contents.retain(|content| !is_bad(content.digest));
        }
        if let Some(content) = content {
            self.contents.retain(|other| other.digest != content.digest);
            self.contents.insert(0, content);
            self.contents.truncate(most);
        }
        self
    }

    /// The files of all its contents.
    pub fn blobs(&self) -> impl Iterator<Item = Digest> {
        self.contents.iter().flat_map(Content::blobs)
    }
}

impl Content {
    pub fn blobs(&self) -> impl Iterator<Item = Digest> {
        let blobs = self.components.values().chain(self.files.values());
        blobs.map(|blob| blob.digest)
    }

    pub fn of(spec: &GroupSpec) -> Self {
        // Taken apart in full: a field that is added has to be decided on here.
        let GroupSpec {
            name: _,
            components,
            files,
            routes,
            wire,
            limits,
            grants,
            drain,
            requests,
            probation,
            instances,
            state,
            checkpoint,
            digest,
            // A restored group has no manifest that it could point at.
            wire_places: _,
        } = spec;
        let blob = |digest: Digest, path: &Path| Blob {
            digest,
            path: path.display().to_string(),
        };
        let component = |component: &Component| blob(component.digest, &component.path);
        let file = |file: &StaticFile| blob(file.digest, &file.path);
        let (components, files) = (components.iter(), files.iter());
        Self {
            digest: *digest,
            components: components
                .map(|(id, part)| (id.clone(), component(part)))
                .collect(),
            files: files.map(|(name, part)| (name.clone(), file(part))).collect(),
            routes: routes.clone(),
            wire: wire.clone(),
            limits: limits.clone(),
            grants: grants.clone(),
            drain: *drain,
            requests: *requests,
            probation: *probation,
            instances: *instances,
            state: *state,
            checkpoint: *checkpoint,
        }
    }

    /// The group as it was, its files' bytes by `read`.
    pub fn spec(mut self, name: &str, read: impl Fn(Digest) -> io::Result<Vec<u8>>) -> io::Result<GroupSpec> {
        let component = |(id, blob): (ComponentId, Blob)| {
            let component = Component {
                id: id.clone(),
                path: blob.path.into(),
                digest: blob.digest,
                content: project::Content::Held(read(blob.digest)?.into()),
            };
            Ok((id, component))
        };
        let file = |(name, blob): (String, Blob)| {
            let file = StaticFile {
                path: blob.path.into(),
                digest: blob.digest,
                bytes: read(blob.digest)?.into(),
            };
            Ok((name, file))
        };
        // They are not kept: they are where they were, or this content is not to be had.
        self.grants.fetch().map_err(io::Error::other)?;
        let components = self.components.into_iter().map(component);
        let files = self.files.into_iter().map(file);
        let spec = GroupSpec {
            name: name.to_owned(),
            components: components.collect::<io::Result<_>>()?,
            files: files.collect::<io::Result<_>>()?,
            routes: self.routes,
            wire: self.wire,
            limits: self.limits,
            grants: self.grants,
            drain: self.drain,
            requests: self.requests,
            probation: self.probation,
            instances: self.instances,
            state: self.state,
            checkpoint: self.checkpoint,
            digest: self.digest,
            wire_places: BTreeMap::new(),
        };
        // An older wasmhost may have computed it from less.
        Ok(spec.with_digest())
    }
}
