//! Composes the skeletons of a group into one component along a graph's edges, with exact types, and
//! reads what a skeleton imports and exports. Pure bytes in, bytes out; knows neither the engine nor
//! what is running.

use std::{collections::BTreeMap, error::Error, fmt::Write};

use wac_graph::{
    CompositionGraph, EncodeError, EncodeOptions, NodeId,
    types::{Interface as WacInterface, ItemKind, Package, Type, Types, World, WorldId},
};

use super::{
    graph::{Edge, Finding, Graph, Import, Interface, Members},
    mismatch::{self, Side},
    parts::Member,
    types, wit,
};
use crate::{diagnostic::Diagnostic, project::ComponentId};

/// The skeletons of a group, read and ready to be composed.
pub struct Composer {
    graph: CompositionGraph,
    nodes: BTreeMap<ComponentId, NodeId>,
    worlds: BTreeMap<ComponentId, WorldId>,
    interfaces: Members,
}

/// An interface of a member that the host calls, and the name under which the composition exports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    pub component: ComponentId,
    /// As the component names it: `wasmhost:page/handler@0.1.0`.
    pub interface: String,
    /// As the composition names it: `page-0`; several members export the same interface.
    pub name: String,
}

/// Why a group cannot be composed.
pub enum Mismatch {
    /// Components that disagree with others about types.
    Components(Vec<Finding>),
    /// Something that no single file is to blame for.
    Group(Diagnostic),
}

/// What a skeleton imports and exports. `slots` are the imports that stand for its core modules.
/// Errors: a skeleton that is no valid component, as text.
pub fn interface(skeleton: &[u8], slots: &[&str]) -> Result<Interface, String> {
    let mut types = Types::default();
    let package =
        Package::from_bytes("a:member", None, skeleton, &mut types).map_err(|error| format!("{error:#}"))?;
    let world = &types[package.ty()];
    let imports = world
        .imports
        .iter()
        .filter(|(name, _)| !slots.contains(&name.as_str()));
    Ok(Interface {
        imports: imports
            .map(|(name, kind)| Import {
                name: name.clone(),
                types_only: types_only(&types, *kind),
            })
            .collect(),
        exports: world.exports.keys().cloned().collect(),
    })
}

impl Composer {
    /// Errors: a member that cannot be composed with others, which is not the user's fault.
    pub fn new<'a>(members: impl Iterator<Item = &'a Member>) -> Result<Self, Mismatch> {
        let mut composer = Self {
            graph: CompositionGraph::new(),
            nodes: BTreeMap::new(),
            worlds: BTreeMap::new(),
            interfaces: Members::new(),
        };
        for member in members {
            composer
                .add(member)
                .map_err(|reason| Mismatch::Group(internal(&reason)))?;
        }
        Ok(composer)
    }

    fn add(&mut self, member: &Member) -> Result<(), String> {
        let name = format!("member:m{}", self.nodes.len());
        let package = Package::from_bytes(&name, None, member.skeleton.as_slice(), self.graph.types_mut())
            .map_err(|error| format!("{error:#}"))?;
        self.worlds.insert(member.id.clone(), package.ty());
        let package = self
            .graph
            .register_package(package)
            .map_err(|error| error.to_string())?;
        self.nodes
            .insert(member.id.clone(), self.graph.instantiate(package));
        self.interfaces
            .insert(member.id.clone(), member.interface.clone());
        Ok(())
    }

    /// Wires every edge, exports what `is_called` by the host under a name of its own, and encodes the
    /// composition.
    /// Errors: the edges whose two sides have different types, all at once.
    pub fn compose(
        mut self,
        edges: &Graph,
        is_called: impl Fn(&ComponentId, &str) -> bool,
    ) -> Result<(Vec<u8>, Vec<Export>), Mismatch> {
        let findings = self.wire(edges);
        if !findings.is_empty() {
            return Err(Mismatch::Components(findings));
        }
        let exports = self
            .export_called(is_called)
            .map_err(|error| Mismatch::Group(internal(&error)))?;
        // The engine validates what it compiles: doing it here too would only cost time.
        let options = EncodeOptions {
            define_components: true,
            validate: false,
            processor: None,
        };
        match self.graph.encode(options) {
            Ok(bytes) => Ok((bytes, exports)),
            Err(error) => Err(self.describe_encode_error(&error)),
        }
    }

    /// Wires every edge. The edges whose two sides have different types.
    pub fn wire(&mut self, edges: &Graph) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (importer, edges) in &edges.edges {
            for edge in edges {
                let (Some(&to), Some(&from)) = (self.nodes.get(importer), self.nodes.get(&edge.exporter))
                else {
                    continue;
                };
                let wired = match self.graph.alias_instance_export(from, &edge.export) {
                    Ok(alias) => self
                        .graph
                        .set_instantiation_argument(to, &edge.import, alias)
                        // The error itself only repeats which import it is; its cause says what differs.
                        .map_err(|error| error.source().map_or_else(|| error.to_string(), causes)),
                    Err(error) => Err(causes(&error)),
                };
                if let Err(reason) = wired {
                    let reason = self.explain(importer, edge).unwrap_or(reason);
                    findings.push(Finding::new(importer, disagreement(importer, edge, &reason)));
                }
            }
        }
        findings
    }

    /// What the two sides of an edge differ in, as far as WIT has words for it.
    fn explain(&self, importer: &ComponentId, edge: &Edge) -> Option<String> {
        let asked = self.side(importer, &edge.import, |world| world.imports.get(&edge.import))?;
        let offered = self.side(&edge.exporter, &edge.import, |world| {
            world.exports.get(&edge.export)
        })?;
        mismatch::explain(Side::new(importer, &asked), Side::new(&edge.exporter, &offered))
    }

    fn side<'a>(
        &'a self,
        id: &ComponentId,
        name: &str,
        item: impl Fn(&'a World) -> Option<&'a ItemKind>,
    ) -> Option<wit::Interface> {
        let types = self.graph.types();
        match item(&types[*self.worlds.get(id)?])? {
            ItemKind::Instance(interface) => Some(types::interface(types, *interface)),
            // A function by itself is compared like one of that name in an interface.
            kind => Some(wit::Interface {
                items: vec![(name.to_owned(), types::item(types, *kind))],
            }),
        }
    }

    fn export_called(
        &mut self,
        is_called: impl Fn(&ComponentId, &str) -> bool,
    ) -> Result<Vec<Export>, String> {
        let mut exports = Vec::new();
        for (id, interface) in &self.interfaces {
            for called in interface.exports.iter().filter(|export| is_called(id, export)) {
                let name = format!("page-x{}", exports.len());
                let alias = self
                    .graph
                    .alias_instance_export(self.nodes[id], called)
                    .map_err(|error| causes(&error))?;
                self.graph.export(alias, &name).map_err(|error| causes(&error))?;
                exports.push(Export {
                    component: id.clone(),
                    interface: called.clone(),
                    name,
                });
            }
        }
        Ok(exports)
    }

    fn describe_encode_error(&self, error: &EncodeError) -> Mismatch {
        let group = || Mismatch::Group(internal(&causes(error)));
        let EncodeError::ImportTypeMergeConflict {
            import,
            first,
            second,
            source,
        } = error
        else {
            return group();
        };
        let (Some(first), Some(second)) = (self.id_of(*first), self.id_of(*second)) else {
            return group();
        };
        let imported = |id| self.side(id, import, |world| world.imports.get(import));
        let explained = imported(first)
            .zip(imported(second))
            .and_then(|(a, b)| mismatch::both_ways(Side::new(first, &a), Side::new(second, &b)));
        let reason = explained.unwrap_or_else(|| format!("{source:#}"));
        let diagnostic = Diagnostic::new(
            "import-mismatch",
            format!("{first} and {second} both import {import}, but with different types: {reason}"),
        )
        .help("build both against the same version of the interface");
        Mismatch::Components(vec![Finding::new(second, diagnostic)])
    }

    fn id_of(&self, node: NodeId) -> Option<&ComponentId> {
        let found = self.nodes.iter().find(|(_, candidate)| **candidate == node);
        found.map(|(id, _)| id)
    }
}

/// True for an instance that consists of value types alone: there is nothing to implement.
fn types_only(types: &Types, kind: ItemKind) -> bool {
    let only_types = |interface: &WacInterface| {
        interface
            .exports
            .values()
            .all(|item| matches!(item, ItemKind::Type(ty) if !matches!(ty, Type::Resource(_))))
    };
    matches!(kind, ItemKind::Instance(id) if only_types(&types[id]))
}

fn disagreement(importer: &ComponentId, edge: &Edge, reason: &str) -> Diagnostic {
    let Edge {
        import,
        exporter,
        export,
    } = edge;
    let names = if import == export {
        import.clone()
    } else {
        format!("{import} (exported as {export})")
    };
    Diagnostic::new(
        "import-mismatch",
        format!("{importer} and {exporter} disagree about {names}: {reason}"),
    )
    .help(format!(
        "rebuild {importer} and {exporter} against the same version of the interface"
    ))
}

fn internal(reason: &str) -> Diagnostic {
    Diagnostic::new(
        "link-failed",
        format!("the components cannot be composed: {reason}"),
    )
}

/// An error with its causes on one line; the first says only which argument, the causes say why.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
