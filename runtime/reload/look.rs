//! One look at the tree: what lies there, by content, and the new of it taken apart already.
//! Knows not what follows from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    control::{Looked, Sight, State},
    watch::{self, Folder},
};
use crate::{
    artifact::Builder,
    clock,
    diagnostic::Diagnostic,
    prepare::{self, Exports, Readable, Refused},
    project::{Digest, GroupSpec, Known, Location, Project, References, Refusal, UNPULLED},
};

/// What a look found, with all that is needed to act on it.
pub struct Seen {
    pub tree: Result<Tree, Vec<Diagnostic>>,
    /// Every folder that is searched, to be watched.
    pub folders: BTreeSet<Folder>,
    pub began: Instant,
    pub took: Duration,
}

/// A tree that can be understood.
pub struct Tree {
    pub sights: BTreeMap<String, Sight>,
    /// All groups, read where their content is new.
    pub groups: BTreeMap<String, Group>,
    /// What every group exports.
    pub exports: Arc<Exports>,
    /// Files outside of the tree, to be watched too.
    pub elsewhere: Vec<PathBuf>,
    /// What is named by reference, to be pulled.
    pub references: References,
}

/// A group, and what the look made of it.
pub enum Group {
    /// It was served, being built or refused when the look began, so it was not read. It may have to be,
    /// for what is known may be forgotten before the look is over.
    Known(GroupSpec),
    Readable(Readable),
    /// Some file is no component.
    Unreadable(Refused),
    /// It is not even read.
    Refusal(Refusal),
}

impl Group {
    /// What it consists of, where that could be read.
    pub fn spec(&self) -> Option<&GroupSpec> {
        match self {
            Self::Known(spec) | Self::Unreadable((spec, _)) => Some(spec),
            Self::Readable(readable) => Some(&readable.spec),
            Self::Refusal(_) => None,
        }
    }
}

/// Contents of groups that need not be read again: what serves, what was refused.
pub type KnownContents = BTreeSet<(String, Digest)>;

/// Looks at the tree of `location`. `files` are those that serve, `exports` is what the groups that serve export; `aside` leaves cores to
/// a build that is under way.
pub async fn look(
    location: Location,
    builder: Arc<Builder>,
    known: KnownContents,
    files: Known,
    exports: Exports,
    aside: bool,
) -> Seen {
    let began = clock::now();
    let discover = move || {
        let project = Project::discover_new(&location, &files, aside);
        (watch::folders(&location.root), project)
    };
    let reading = tokio::task::spawn_blocking(discover);
    let (folders, project) = match reading.await {
        Ok(found) => found,
        Err(_) => (BTreeSet::new(), Err(vec![internal()])),
    };
    let tree = match project {
        Ok(project) => Ok(understand(project, &builder, &known, exports).await),
        Err(diagnostics) => Err(diagnostics),
    };
    Seen {
        tree,
        folders,
        began,
        took: clock::now().saturating_duration_since(began),
    }
}

async fn understand(
    project: Project,
    builder: &Arc<Builder>,
    known: &KnownContents,
    exports: Exports,
) -> Tree {
    let (mut sights, mut groups, mut new) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for (name, group) in project.groups {
        match group {
            Ok(spec) if known.contains(&(name.clone(), spec.digest)) => {
                sights.insert(name.clone(), sight(&spec, State::Whole));
                groups.insert(name, Group::Known(spec));
            }
            Ok(spec) => new.push(spec),
            Err(refusal) => {
                sights.insert(name.clone(), refused_sight(&refusal));
                groups.insert(name, Group::Refusal(refusal));
            }
        }
    }
    let (read, exports) = prepare::read_all(builder, new, exports).await;
    for group in read {
        let (name, sight, group) = match group {
            Ok(readable) => {
                let sight = sight(&readable.spec, State::Whole);
                (readable.spec.name.clone(), sight, Group::Readable(readable))
            }
            Err(refused) => {
                let sight = sight(&refused.0, State::Unfinished);
                (refused.0.name.clone(), sight, Group::Unreadable(refused))
            }
        };
        sights.insert(name.clone(), sight);
        groups.insert(name, group);
    }
    Tree {
        sights,
        groups,
        exports,
        elsewhere: project.elsewhere.into_values().collect(),
        references: project.references,
    }
}

pub fn sight(spec: &GroupSpec, state: State) -> Sight {
    Sight {
        digest: spec.digest,
        contents: spec.contents().map(|(id, _)| id).collect(),
        state,
    }
}

/// What is not pulled yet may come at any moment.
pub fn refused_sight(refusal: &Refusal) -> Sight {
    let mut reasons = refusal.diagnostics.iter();
    let may_come = reasons.all(|diagnostic| diagnostic.code == UNPULLED);
    Sight {
        digest: refusal.digest,
        contents: BTreeSet::new(),
        state: if may_come { State::Unfinished } else { State::Wrong },
    }
}

/// Identifies a tree that cannot be understood by what is wrong with it.
pub fn tree_digest(diagnostics: &[Diagnostic]) -> Digest {
    let text: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    Digest::of_parts(text.iter().map(String::as_bytes))
}

impl Seen {
    /// The files elsewhere, as far as the tree could be understood.
    pub fn elsewhere(&self) -> Option<&[PathBuf]> {
        Some(&self.tree.as_ref().ok()?.elsewhere)
    }

    /// What the control plane is told.
    pub fn looked(&self) -> Looked {
        match &self.tree {
            Ok(tree) => Ok(tree.sights.clone()),
            Err(diagnostics) => Err(tree_digest(diagnostics)),
        }
    }
}

fn internal() -> Diagnostic {
    Diagnostic::new("internal", "the tree cannot be read: wasmhost itself failed")
        .help("this is a fault of wasmhost: please report it with the tree at hand")
}
