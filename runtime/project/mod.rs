//! The tree and the manifest into a `Project`: what is to run, by content, and all that is wrong with it.
//! `manifest` is what was written, `tree` what lies on disk, `groups` what both mean together.
//! Knows no wasm, no clock, no socket: the bytes of a component are carried, not understood.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Position};

mod address;
mod content;
mod digest;
mod discover;
mod empty;
mod grants;
mod groups;
mod limits;
mod manifest;
mod names;
mod reference;
mod secrets;
mod state;
mod static_files;
pub mod toml_reader;
mod tree;

pub use address::Address;
pub use content::{Blob, Content, Known};
pub use digest::Digest;
pub use grants::{Directory, Grants, KeyValue, Origin};
pub use limits::{DiscoveryLimits, Limits, ServerLimits};
pub use names::{ComponentId, ContentId, InvalidId, is_segment, nearest, propose_segment};
pub use reference::{
    Failed, Location, Reference, References, UNPULLED, failure_place, folder as pulled_folder,
    place as pulled_place,
};
pub use secrets::{Source, Text};
pub use state::make_state_folder;
pub use static_files::{STATIC, StaticFile};
pub use tree::{SKIPPED_FOLDERS, may_be_served};

/// The manifest's file name; it lies at the root.
pub const MANIFEST: &str = "wasmhost.toml";

/// The group of the files that lie directly in the root.
pub const ROOT_GROUP: &str = "root";

/// Everything under one root, as understood at one moment.
#[derive(Clone, Debug)]
pub struct Project {
    /// Absolute; symbolic links in it are kept.
    pub root: PathBuf,
    pub server: ServerSpec,
    /// By name: what is understood of a group, or why it is not. A group without components is not here.
    pub groups: BTreeMap<String, Result<GroupSpec, Refusal>>,
    /// The components that are built elsewhere (`[components]`), whether or not there is such a file: a
    /// watcher of the root alone does not see them.
    pub elsewhere: BTreeMap<ComponentId, PathBuf>,
    /// Those of them that are pulled from a registry.
    pub references: References,
    /// What is served, but hardly as it was meant.
    pub warnings: Vec<Diagnostic>,
}

/// A tree as far as it can be understood, mistakes or not, and all of them.
#[derive(Clone, Debug)]
pub struct Survey {
    pub root: PathBuf,
    pub server: ServerSpec,
    /// What is wrong with the manifest: nothing of the tree would be served.
    pub mistakes: Vec<Diagnostic>,
    pub warnings: Vec<Diagnostic>,
    pub groups: Vec<PartialGroup>,
}

/// A group with those of its components that could be read.
#[derive(Clone, Debug)]
pub struct PartialGroup {
    pub spec: GroupSpec,
    /// Its other components.
    pub unread: BTreeSet<ComponentId>,
    /// Why the group would be refused, as far as it is known before its components are taken apart.
    pub diagnostics: Vec<Diagnostic>,
}

impl Survey {
    /// Reads the tree of `location` and its manifest.
    ///
    /// # Errors
    /// Where nothing can be understood: no readable folder, too large a tree, no component at all.
    pub fn read(location: &Location) -> Result<Self, Vec<Diagnostic>> {
        discover::survey(location, &DiscoveryLimits::DEFAULT)
    }
}

impl Project {
    /// Reads the tree under `root` and its manifest.
    ///
    /// # Errors
    /// Where nothing can be understood: no readable folder, a manifest with errors, no component at all.
    /// What is wrong inside one group is that group's `Refusal`.
    pub fn discover(root: &Path) -> Result<Self, Vec<Diagnostic>> {
        Self::discover_new(&Location::of(root), &Known::default(), false)
    }

    /// As `discover`, but holds none of the contents that are known. On `one_core`, where the others have
    /// more urgent work.
    ///
    /// # Errors
    /// As for `discover`.
    pub fn discover_new(location: &Location, known: &Known, one_core: bool) -> Result<Self, Vec<Diagnostic>> {
        let limits = DiscoveryLimits {
            one_core,
            ..DiscoveryLimits::DEFAULT
        };
        discover::discover(location, &limits, known)
    }

    /// The components that the manifest names by reference, as far as it can be understood.
    pub fn references(root: &Path) -> References {
        discover::references(root, &DiscoveryLimits::DEFAULT)
    }

    /// The root as [`Project::root`] has it, whatever lies below.
    ///
    /// # Errors
    /// Where it is no folder.
    pub fn root(root: &Path) -> Result<PathBuf, Diagnostic> {
        discover::check_root(root)
    }
}

/// The server itself: `[server]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSpec {
    /// Never empty.
    pub listen: Vec<Address>,
    #[serde(default)]
    pub tls: Option<TlsFiles>,
    #[serde(default)]
    pub limits: ServerLimits,
    #[serde(default)]
    pub admin: Option<AdminSpec>,
    #[serde(default)]
    pub fleet: FleetSpec,
    #[serde(default)]
    pub ready: Option<ReadySpec>,
}

/// Where balancers ask whether requests are to be sent here: `[server.ready]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadySpec {
    /// What the host itself answers, on every address.
    pub path: String,
    /// Told to end, the server says so there for so long before it takes no more requests.
    pub notice: Duration,
}

impl ReadySpec {
    pub const NOTICE: Duration = Duration::from_secs(2);
}

/// What the servers of a fleet agree about: `[server.fleet]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetSpec {
    /// A server that gives no sign of life for so long does not count.
    pub lease: Duration,
    /// So many servers that are ready will do once `patience` is over; `None` for all that live.
    pub quorum: Option<u64>,
    pub patience: Duration,
    /// A client is not answered by a server that is behind what it has seen.
    pub pin: bool,
}

impl Default for FleetSpec {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(5),
            quorum: None,
            patience: Duration::from_secs(60),
            pin: false,
        }
    }
}

/// Where the admin interface listens beside its socket, and where the token lies that opens it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminSpec {
    /// Of this machine. Port 0 is any free one.
    pub listen: SocketAddr,
    pub token: Source,
}

/// The PEM files of a certificate, with all that lead to its authority, and of its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Default for ServerSpec {
    fn default() -> Self {
        Self {
            listen: vec![Address::Http((Ipv4Addr::LOCALHOST, 8080).into())],
            tls: None,
            limits: ServerLimits::default(),
            admin: None,
            fleet: FleetSpec::default(),
            ready: None,
        }
    }
}

impl ServerSpec {
    /// The certificate, where an address needs one.
    pub fn certificate(&self) -> Option<&TlsFiles> {
        let needed = self.listen.iter().any(Address::is_tls);
        self.tls.as_ref().filter(|_| needed)
    }

    /// With its paths as seen from `folder`.
    fn relative_to(self, folder: &Path) -> Self {
        let from_folder = |address: Address| address.relative_to(folder);
        Self {
            listen: self.listen.into_iter().map(from_folder).collect(),
            tls: self.tls.map(|TlsFiles { certificate, key }| TlsFiles {
                certificate: folder.join(certificate),
                key: folder.join(key),
            }),
            limits: self.limits,
            admin: self.admin.map(|AdminSpec { listen, token }| AdminSpec {
                listen,
                token: token.relative_to(folder),
            }),
            fleet: self.fleet,
            ready: self.ready,
        }
    }
}

/// Why a group cannot be built from what lies on disk.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Identifies the refused content, so that the same content is refused aloud only once.
    pub digest: Digest,
    /// Never empty.
    pub diagnostics: Vec<Diagnostic>,
}

/// A new generation is reverted where it traps so often within its first requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probation {
    pub requests: u64,
    pub traps: u64,
}

impl Default for Probation {
    fn default() -> Self {
        Self {
            requests: 100,
            traps: 1,
        }
    }
}

/// One group, complete: what a generation of it is made from.
#[derive(Clone, Debug)]
pub struct GroupSpec {
    pub name: String,
    /// Never empty.
    pub components: BTreeMap<ComponentId, Component>,
    /// What is served under `/NAME/static/`, by the path below that: `pictures/mug.svg`.
    pub files: BTreeMap<String, StaticFile>,
    /// Those of the manifest, in file order; default routes are `ComponentId::default_route`.
    pub routes: Vec<Route>,
    /// Importer -> interface as written (perhaps without its `@version`) -> exporter.
    pub wire: BTreeMap<ComponentId, BTreeMap<String, ComponentId>>,
    pub instances: Instances,
    pub state: State,
    /// How often what it remembers is saved to disk, if it is; only where it is handed over.
    pub checkpoint: Option<Duration>,
    pub limits: Limits,
    pub grants: Grants,
    /// How long requests may go on in an old generation.
    pub drain: Duration,
    /// What a request does that comes while something has changed.
    pub requests: Requests,
    /// What a new generation has to show before the one before is let go.
    pub probation: Option<Probation>,
    /// Over all of the above but the paths of components; the order of routes does not count either.
    pub digest: Digest,
    /// Where the lines of `wire` stand, by importer and interface as written; no part of the content.
    pub wire_places: BTreeMap<(ComponentId, String), Place>,
}

/// A place in the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: PathBuf,
    pub position: Position,
}

impl GroupSpec {
    /// A group of one file, wherever it lies.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn of_file(path: &Path) -> Result<Self, Diagnostic> {
        let bytes = tree::read(path, DiscoveryLimits::DEFAULT.of_file(path))
            .map_err(|error| tree::component_unreadable(path, error))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let id = ComponentId::of_name(&stem);
        let component = Component {
            id: id.clone(),
            path: path.to_owned(),
            digest: Digest::of(&bytes),
            content: Content::Held(bytes),
        };
        let group = Self {
            name: id.to_string(),
            components: BTreeMap::from([(id, component)]),
            files: BTreeMap::new(),
            routes: Vec::new(),
            wire: BTreeMap::new(),
            instances: Instances::default(),
            state: State::default(),
            checkpoint: None,
            limits: Limits::default(),
            grants: Grants::default(),
            drain: Limits::DEFAULT_DRAIN,
            requests: Requests::default(),
            probation: None,
            digest: Digest::of(&[]),
            wire_places: BTreeMap::new(),
        };
        Ok(group.with_digest())
    }

    /// All files that it consists of, and their contents.
    pub fn contents(&self) -> impl Iterator<Item = (ContentId, Digest)> {
        let components = self.components.values();
        let components =
            components.map(|component| (ContentId::Component(component.id.clone()), component.digest));
        let files = self.files.iter();
        components.chain(files.map(|(name, file)| (self.file_id(name), file.digest)))
    }

    fn file_id(&self, name: &str) -> ContentId {
        ContentId::File(format!("{}/{STATIC}/{name}", self.name))
    }

    /// Where the file of that content lies.
    pub fn path(&self, content: &ContentId) -> Option<&Path> {
        match content {
            ContentId::Component(id) => Some(&self.components.get(id)?.path),
            ContentId::File(_) => {
                let mut files = self.files.iter();
                let (_, file) = files.find(|(name, _)| self.file_id(name) == *content)?;
                Some(&file.path)
            }
        }
    }

    /// All files that it consists of.
    pub fn blobs(&self) -> impl Iterator<Item = Blob<'_>> {
        let components = self.components.values().map(Blob::Component);
        components.chain(self.files.values().map(Blob::File))
    }

    /// Holds what is equal in `files` once only.
    pub fn share(&mut self, files: &BTreeMap<String, StaticFile>) {
        for (name, file) in &mut self.files {
            if let Some(same) = files.get(name).filter(|other| other.digest == file.digest) {
                file.bytes = same.bytes.clone();
            }
        }
    }

    /// The same group with the digest that it has.
    pub fn with_digest(self) -> Self {
        Self {
            digest: Digest::of_group(&self),
            ..self
        }
    }
}

/// Which stores a group's components live in: `[groups.NAME] instances`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Instances {
    /// One for all: what a component remembers, it remembers from request to request.
    #[default]
    Shared,
    /// For each page component up to so many, each with a state of its own.
    Pool(usize),
    /// A fresh one for each request.
    Isolated,
}

/// What becomes of what the components of a group remember when it is swapped: `[groups.NAME] state`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The new generation begins without it.
    #[default]
    Fresh,
    /// It is handed over, from each component to the one with its id. The group has one store.
    Migrate,
}

/// What a request does that comes while a swap is prepared: `[groups.NAME.swap] requests`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requests {
    /// As is usual for the command: `dev` waits, `serve` does not.
    #[default]
    Usual,
    /// It is answered by what serves.
    ServeOld,
    /// It waits for what lies on disk, as long as the request-time allows.
    Wait,
}

impl Requests {
    /// Whether it waits, where `usually` is what is usual.
    pub fn wait(self, usually: bool) -> bool {
        match self {
            Self::Usual => usually,
            Self::ServeOld => false,
            Self::Wait => true,
        }
    }
}

/// One component as it was read.
#[derive(Clone, Debug)]
pub struct Component {
    pub id: ComponentId,
    pub path: PathBuf,
    /// Of the content.
    pub digest: Digest,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// In the syntax of `matchit`: `/items/{id}`, `/api/{*rest}`.
    pub pattern: String,
    pub component: ComponentId,
}

#[cfg(test)]
mod tests;
