//! What the components of a tree ask for and offer, group by group, and who satisfies whom. A tree with
//! mistakes has one too, as far as it could be read.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use crate::{
    artifact::{
        Builder,
        graph::{Edge, Resolution},
        wit::World,
        with_files,
    },
    diagnostic::Diagnostic,
    engine::{self, Ticking},
    host::Handler,
    prepare::{self, Exports, PartlyReadable},
    project::{ComponentId, Instances, Location, ServerSpec, State, Survey},
};

/// The groups of a tree, as far as they could be read, by name.
#[derive(Clone, Debug, Default)]
pub struct Surface {
    pub groups: Vec<GroupSurface>,
}

#[derive(Clone, Debug)]
pub struct GroupSurface {
    pub name: String,
    pub instances: Instances,
    pub state: State,
    pub members: BTreeMap<ComponentId, Member>,
    /// The components of the group that cannot be read.
    pub unread: BTreeSet<ComponentId>,
}

/// A component between its neighbours.
#[derive(Clone, Debug)]
pub struct Member {
    pub world: World,
    /// A page component has one.
    pub handler: Option<Handler>,
    /// The imports that other members satisfy.
    pub edges: Vec<Edge>,
    /// The imports that the host satisfies, and those of which only types are asked.
    pub host: Vec<String>,
    /// The imports that nobody satisfies.
    pub missing: Vec<String>,
    /// The imports that several members could satisfy, and nobody says which.
    pub ambiguous: Vec<(String, Vec<ComponentId>)>,
}

/// A tree whose groups were taken apart, as far as they can be.
pub struct ReadTree {
    /// Keeps the engine's clock going.
    _ticking: Ticking,
    pub builder: Arc<Builder>,
    pub groups: Vec<PartlyReadable>,
    pub exports: Arc<Exports>,
    pub root: PathBuf,
    pub server: ServerSpec,
    /// What is wrong with the tree as a whole: nothing of it would be served.
    pub mistakes: Vec<Diagnostic>,
    /// What is served, but hardly as it was meant.
    pub warnings: Vec<Diagnostic>,
}

impl ReadTree {
    /// Errors: a tree that cannot be understood at all.
    pub async fn read(location: &Location) -> Result<Self, Vec<Diagnostic>> {
        let survey = Survey::read(location)?;
        let (ticking, builder) = builder()?;
        let builder = Arc::new(builder);
        let (mut groups, mut exports) = (Vec::new(), Exports::new());
        for group in survey.groups {
            let group = prepare::read_partly(&builder, group).await;
            exports.insert(group.readable.spec.name.clone(), group.exported());
            groups.push(group);
        }
        Ok(Self {
            _ticking: ticking,
            builder,
            groups,
            exports: Arc::new(exports),
            root: survey.root,
            server: survey.server,
            mistakes: survey.mistakes,
            warnings: survey.warnings,
        })
    }

    /// Everything that is wrong before anything is linked.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let groups = self.groups.iter().flat_map(|group| &group.diagnostics);
        self.mistakes.iter().chain(groups).cloned().collect()
    }

    pub fn surface(&self) -> Surface {
        let groups = self.groups.iter();
        Surface {
            groups: groups
                .map(|group| GroupSurface::new(group, &self.exports))
                .collect(),
        }
    }
}

/// An engine that keeps nothing on disk.
pub fn builder() -> Result<(Ticking, Builder), Vec<Diagnostic>> {
    let ticking = engine::start(None).map_err(|error| vec![engine::unavailable(&error)])?;
    let builder = Builder::new(&ticking.engine, ticking.caches.clone());
    let builder = builder.map_err(|error| vec![engine::unavailable(&error)])?;
    Ok((ticking, builder))
}

impl Surface {
    /// Reads a tree: what is there, and what is wrong with the rest.
    pub async fn read(location: &Location) -> (Self, Vec<Diagnostic>) {
        match ReadTree::read(location).await {
            Ok(tree) => {
                let (surface, mut diagnostics) = (tree.surface(), tree.diagnostics());
                for PartlyReadable { readable, unread, .. } in &tree.groups {
                    let findings = readable.resolve(&tree.exports, unread).findings;
                    diagnostics.extend(with_files(findings, &readable.spec));
                }
                (surface, diagnostics)
            }
            Err(diagnostics) => (Self::default(), diagnostics),
        }
    }

    pub fn members(&self) -> impl Iterator<Item = (&GroupSurface, &ComponentId, &Member)> {
        let groups = self.groups.iter();
        groups.flat_map(|group| group.members.iter().map(move |(id, member)| (group, id, member)))
    }

    pub fn group(&self, name: &str) -> Option<&GroupSurface> {
        self.groups.iter().find(|group| group.name == name)
    }
}

impl GroupSurface {
    fn new(group: &PartlyReadable, exports: &Exports) -> Self {
        let PartlyReadable { readable, unread, .. } = group;
        let Resolution { mut graph, unmet, .. } = readable.resolve(exports, unread);
        let mut worlds = readable.parts.worlds();
        let members = readable.parts.interfaces().into_iter().map(|(id, interface)| {
            let edges = graph.edges.remove(&id).unwrap_or_default();
            let own = unmet.iter().filter(|unmet| unmet.importer == id);
            let (missing, ambiguous): (Vec<_>, Vec<_>) = own.partition(|unmet| unmet.exporters.is_empty());
            let elsewhere = |name: &str| {
                edges.iter().all(|edge| edge.import != name)
                    && !unmet
                        .iter()
                        .any(|unmet| unmet.importer == id && unmet.import == name)
            };
            let host = interface.imports.iter().filter(|import| elsewhere(&import.name));
            let host = host.map(|import| import.name.clone()).collect();
            let handlers = interface.exports.iter().filter_map(|export| Handler::of(export));
            let member = Member {
                world: worlds.remove(&id).unwrap_or_default(),
                handler: handlers.max(),
                host,
                missing: missing.into_iter().map(|unmet| unmet.import.clone()).collect(),
                ambiguous: ambiguous
                    .into_iter()
                    .map(|unmet| (unmet.import.clone(), unmet.exporters.clone()))
                    .collect(),
                edges,
            };
            (id, member)
        });
        Self {
            name: readable.spec.name.clone(),
            instances: readable.spec.instances,
            state: readable.spec.state,
            members: members.collect(),
            unread: unread.clone(),
        }
    }

    pub fn pages(&self) -> impl Iterator<Item = &ComponentId> {
        let pages = self.members.iter().filter(|(_, member)| member.handler.is_some());
        pages.map(|(id, _)| id)
    }

    /// Who imports something from `exporter`, and what.
    pub fn importers<'a>(
        &'a self,
        exporter: &'a ComponentId,
    ) -> impl Iterator<Item = (&'a ComponentId, &'a Edge)> {
        let edges = self
            .members
            .iter()
            .flat_map(|(id, member)| member.edges.iter().map(move |edge| (id, edge)));
        edges.filter(move |(_, edge)| edge.exporter == *exporter)
    }

    /// The members that no page needs, neither itself nor by what it imports. One that takes part in the
    /// group's life is needed by the host.
    pub fn unreachable(&self) -> BTreeSet<&ComponentId> {
        let is_root = |member: &Member| {
            let mut exports = member.world.exports.iter();
            member.handler.is_some() || exports.any(|(name, _)| name.starts_with("wasmhost:lifecycle/"))
        };
        let mut left: BTreeSet<&ComponentId> = self.members.keys().collect();
        let mut reached: Vec<&ComponentId> = Vec::new();
        reached.extend(
            self.members
                .iter()
                .filter(|(_, member)| is_root(member))
                .map(|(id, _)| id),
        );
        while let Some(id) = reached.pop() {
            if left.remove(id) {
                let edges = self.members.get(id).map(|member| member.edges.as_slice());
                reached.extend(edges.unwrap_or_default().iter().map(|edge| &edge.exporter));
            }
        }
        left
    }
}
