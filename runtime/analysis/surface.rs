//! What the components of a tree ask for and offer, group by group, and who satisfies whom. A tree with
//! mistakes has one too, as far as it could be read.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use crate::{
    artifact::{
        Builder,
        graph::{Edge, Graph, Import},
        wit::World,
    },
    diagnostic::Diagnostic,
    engine::{self, Ticking},
    host::{self, Handler},
    prepare::{self, Exports, Readable, Refused},
    project::{ComponentId, Project},
};

/// The groups of a tree that could be read, by name.
#[derive(Clone, Debug, Default)]
pub struct Surface {
    pub groups: Vec<GroupSurface>,
}

#[derive(Clone, Debug)]
pub struct GroupSurface {
    pub name: String,
    pub members: BTreeMap<ComponentId, Member>,
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
}

/// A tree whose groups were taken apart.
pub struct ReadTree {
    /// Keeps the engine's clock going.
    _ticking: Ticking,
    pub builder: Arc<Builder>,
    pub groups: Vec<Result<Readable, Refused>>,
    pub exports: Arc<Exports>,
    /// What is wrong with groups before their components are read, by group.
    pub refused: BTreeMap<String, Vec<Diagnostic>>,
    pub project: Project,
}

impl ReadTree {
    /// Errors: a tree that cannot be understood at all.
    pub async fn read(root: &Path) -> Result<Self, Vec<Diagnostic>> {
        let mut project = Project::discover(root)?;
        let (ticking, builder) = builder()?;
        let (mut specs, mut refused) = (Vec::new(), BTreeMap::new());
        for (name, group) in std::mem::take(&mut project.groups) {
            match group {
                Ok(spec) => specs.push(spec),
                Err(refusal) => drop(refused.insert(name, refusal.diagnostics)),
            }
        }
        let builder = Arc::new(builder);
        let (groups, exports) = prepare::read_all(&builder, specs, Exports::new()).await;
        Ok(Self {
            _ticking: ticking,
            builder,
            groups,
            exports,
            refused,
            project,
        })
    }

    /// Everything that is wrong so far.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let unread = self.groups.iter().filter_map(|group| group.as_ref().err());
        let unread = unread.flat_map(|(_, diagnostics)| diagnostics);
        self.refused.values().flatten().chain(unread).cloned().collect()
    }

    pub fn surface(&self) -> Surface {
        let groups = self.groups.iter().flatten();
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
    pub async fn read(root: &Path) -> (Self, Vec<Diagnostic>) {
        match ReadTree::read(root).await {
            Ok(tree) => {
                let (surface, mut diagnostics) = (tree.surface(), tree.diagnostics());
                for group in tree.groups.iter().flatten() {
                    diagnostics.extend(group.graph(&tree.exports).1);
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
    fn new(group: &Readable, exports: &Exports) -> Self {
        let (Graph { mut edges }, _) = group.graph(exports);
        let mut worlds = group.parts.worlds();
        let members = group.parts.interfaces().into_iter().map(|(id, interface)| {
            let edges = edges.remove(&id).unwrap_or_default();
            let wired = |name: &str| edges.iter().any(|edge| edge.import == name);
            let (host, missing) = interface
                .imports
                .into_iter()
                .filter(|import| !wired(&import.name))
                .partition::<Vec<_>, _>(|import| import.types_only || host::offers(&import.name));
            let names = |imports: Vec<Import>| imports.into_iter().map(|import| import.name);
            let handlers = interface.exports.iter().filter_map(|export| Handler::of(export));
            let member = Member {
                world: worlds.remove(&id).unwrap_or_default(),
                handler: handlers.max(),
                host: names(host).collect(),
                missing: names(missing).collect(),
                edges,
            };
            (id, member)
        });
        Self {
            name: group.spec.name.clone(),
            members: members.collect(),
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
