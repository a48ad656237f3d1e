//! Who imports what from whom inside one group: decides, from names alone, which export satisfies
//! which import. Pure; knows neither bytes nor the engine. Types are compared when composing.

mod cycles;
mod findings;
mod names;

use std::collections::BTreeMap;

pub use self::names::{compatible, same_interface};
use self::{findings::Unresolved, names::Name};
use crate::{diagnostic::Diagnostic, project::ComponentId};

/// What a component asks for and offers, by name as its binary has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    pub imports: Vec<Import>,
    pub exports: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// `site:shop/cart@0.1.0`
    pub name: String,
    /// It only declares value types: nobody has to implement it.
    pub types_only: bool,
}

/// One import that a member of the group satisfies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The import, as the importer names it.
    pub import: String,
    pub exporter: ComponentId,
    /// The export, as the exporter names it; the version may differ from the import's.
    pub export: String,
}

/// The edges of each importer. Imports without an edge are the host's to satisfy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    pub edges: BTreeMap<ComponentId, Vec<Edge>>,
}

/// What does not fit, and the component whose file it is about.
#[derive(Debug)]
pub struct Finding {
    pub component: ComponentId,
    /// The interface as written, where it is about a line of the manifest that wires the component.
    pub wire: Option<String>,
    pub diagnostic: Diagnostic,
}

impl Finding {
    pub fn new(component: &ComponentId, diagnostic: Diagnostic) -> Self {
        Self {
            component: component.clone(),
            wire: None,
            diagnostic,
        }
    }
}

/// What the rest of the world offers to a group, by name.
pub trait Surroundings {
    /// True where the host implements this interface.
    fn host_offers(&self, interface: &str) -> bool;
    /// The other group that exports this interface, if any: not linkable, but worth a hint.
    fn other_group(&self, interface: &str) -> Option<String>;
    /// For an interface of the host's own WIT that this host does not have: those that it has.
    fn has_instead(&self, _interface: &str) -> Option<Vec<&'static str>> {
        None
    }
    /// Components of the group that are not among its members, for they cannot be read: nobody knows
    /// what they export.
    fn unread(&self) -> Vec<&ComponentId> {
        Vec::new()
    }
}

pub type Members = BTreeMap<ComponentId, Interface>;
/// Importer, then interface as written in the manifest, then exporter.
pub type Wire = BTreeMap<ComponentId, BTreeMap<String, ComponentId>>;

/// Who imports what from whom, as far as it can be said, and all that does not fit.
#[derive(Debug, Default)]
pub struct Resolution {
    pub graph: Graph,
    pub unmet: Vec<Unmet>,
    pub findings: Vec<Finding>,
}

/// An import that no edge leads from, though one should.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unmet {
    pub importer: ComponentId,
    /// As the importer names it.
    pub import: String,
    /// None, or several among which nobody chose.
    pub exporters: Vec<ComponentId>,
}

/// Resolves every import of every member. Errors: all that do not fit, at once.
pub fn resolve(
    group: &str,
    members: &Members,
    wire: &Wire,
    world: &impl Surroundings,
) -> Result<Graph, Vec<Finding>> {
    let Resolution { graph, findings, .. } = resolve_all(group, members, wire, world);
    if findings.is_empty() {
        Ok(graph)
    } else {
        Err(findings)
    }
}

/// What can be resolved, and all that does not fit.
pub fn resolve_all(group: &str, members: &Members, wire: &Wire, world: &impl Surroundings) -> Resolution {
    let site = Site {
        group,
        members,
        exporters: exporters(members),
        wire,
        world,
    };
    let mut resolution = Resolution {
        findings: site.unused_wires(),
        ..Resolution::default()
    };
    resolution.findings.extend(site.unknown_exports());
    for (importer, interface) in members {
        let mut edges = Vec::new();
        for import in &interface.imports {
            match site.resolve(importer, import) {
                Ok(edge) => edges.extend(edge),
                Err(unresolved) => {
                    resolution
                        .findings
                        .extend(site.describe(importer, &import.name, &unresolved));
                    resolution.unmet.push(Unmet {
                        importer: importer.clone(),
                        import: import.name.clone(),
                        exporters: unresolved.exporters(),
                    });
                }
            }
        }
        resolution.graph.edges.insert(importer.clone(), edges);
    }
    let cycles = cycles::untangle(&mut resolution.graph, members);
    resolution.findings.extend(cycles);
    resolution
}

/// Who exports some version of an interface, by its name without the version.
type Exporters<'a> = BTreeMap<&'a str, Vec<(&'a ComponentId, &'a Interface)>>;

fn exporters(members: &Members) -> Exporters<'_> {
    let mut exporters = Exporters::new();
    for (id, interface) in members {
        for export in &interface.exports {
            let of_name = exporters.entry(Name::parse(export).path).or_default();
            // It may export several versions.
            if of_name.last().is_none_or(|(last, _)| *last != id) {
                of_name.push((id, interface));
            }
        }
    }
    exporters
}

/// All that decides about a group's imports.
struct Site<'a, W> {
    group: &'a str,
    members: &'a Members,
    exporters: Exporters<'a>,
    wire: &'a Wire,
    world: &'a W,
}

impl<'a, W: Surroundings> Site<'a, W> {
    /// Who satisfies one import: `None` is the host, or nobody where only types are asked for.
    fn resolve(&self, importer: &ComponentId, import: &Import) -> Result<Option<Edge>, Unresolved> {
        let name = import.name.as_str();
        if let Some((line, exporter)) = self.wired(importer, name) {
            let interface = self.members.get(exporter);
            return match interface.and_then(|interface| export_for(interface, name)) {
                Some(export) => Ok(Some(edge(name, exporter, export))),
                None => Err(Unresolved::WireWithoutExport {
                    line: line.to_owned(),
                    exporter: exporter.clone(),
                }),
            };
        }
        let by_host = import.types_only || self.world.host_offers(name);
        if name.starts_with("wasi:") {
            return if by_host {
                Ok(None)
            } else {
                Err(Unresolved::HostLacks)
            };
        }
        match self.exporters_of(importer, name).as_slice() {
            [(exporter, export)] => Ok(Some(edge(name, exporter, export))),
            [] if by_host => Ok(None),
            [] => Err(match self.world.has_instead(name) {
                Some(has) => Unresolved::Unknown { has },
                None => Unresolved::Missing,
            }),
            // Types are the same whoever declares them; with functions it matters who answers.
            [..] if import.types_only => Ok(None),
            several => Err(Unresolved::Ambiguous {
                exporters: several.iter().map(|(id, _)| (*id).clone()).collect(),
            }),
        }
    }

    /// The other members that export what an import of `name` may be given, each with the export.
    fn exporters_of(&self, importer: &ComponentId, name: &str) -> Vec<(&'a ComponentId, &'a str)> {
        let of_name = self.exporters.get(Name::parse(name).path).into_iter().flatten();
        let others = of_name.filter(|(id, _)| *id != importer);
        others
            .filter_map(|(id, interface)| Some((*id, export_for(interface, name)?)))
            .collect()
    }

    /// The exporter that the manifest names for this import, and as what. A key without a version means
    /// any version.
    fn wired(&self, importer: &ComponentId, import: &str) -> Option<(&'a str, &'a ComponentId)> {
        let lines = self.wire.get(importer)?;
        let line = |key: &str| lines.get_key_value(key);
        let (key, exporter) = line(import).or_else(|| line(Name::parse(import).path))?;
        Some((key, exporter))
    }
}

fn edge(import: &str, exporter: &ComponentId, export: &str) -> Edge {
    Edge {
        import: import.into(),
        exporter: exporter.clone(),
        export: export.into(),
    }
}

/// The export of `interface` that satisfies an import of `name`: the same name, else the newest
/// semver-compatible version.
fn export_for<'a>(interface: &'a Interface, name: &str) -> Option<&'a str> {
    let wanted = Name::parse(name);
    interface
        .exports
        .iter()
        .filter(|export| Name::parse(export).satisfies(&wanted))
        .max_by_key(|export| (*export == name, Name::parse(export).version))
        .map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World;

    impl Surroundings for World {
        fn host_offers(&self, interface: &str) -> bool {
            same_interface(interface, "wasi:io/streams@0.2.6")
        }
        fn other_group(&self, interface: &str) -> Option<String> {
            (interface == "b:blog/feed").then(|| "blog".into())
        }
    }

    fn id(id: &str) -> ComponentId {
        ComponentId::parse(id).unwrap()
    }

    /// `"screen: a:b/c d:e/f -> wasmhost:page/handler"`: a component, its imports, its exports.
    fn members(lines: &[&str]) -> Members {
        lines
            .iter()
            .map(|line| {
                let (name, rest) = line.split_once(':').unwrap();
                let (imports, exports) = rest.split_once("->").unwrap();
                let import = |name: &str| Import {
                    name: name.trim_start_matches('~').into(),
                    types_only: name.starts_with('~'),
                };
                let interface = Interface {
                    imports: imports.split_whitespace().map(import).collect(),
                    exports: exports.split_whitespace().map(String::from).collect(),
                };
                (id(name), interface)
            })
            .collect()
    }

    fn check(lines: &[&str], wires: &[(&str, &str, &str)], expected: &[&str]) {
        let mut wire = Wire::new();
        for (importer, interface, exporter) in wires {
            wire.entry(id(importer))
                .or_default()
                .insert((*interface).into(), id(exporter));
        }
        let found: Vec<String> = match resolve("site", &members(lines), &wire, &World) {
            Ok(graph) => graph
                .edges
                .iter()
                .flat_map(|(importer, edges)| {
                    edges
                        .iter()
                        .map(move |edge| format!("{importer} <- {} of {}", edge.export, edge.exporter))
                })
                .collect(),
            Err(findings) => findings
                .iter()
                .map(|finding| format!("{}: {}", finding.diagnostic.code, finding.diagnostic.message))
                .collect(),
        };
        assert_eq!(found, expected, "{lines:?} {wires:?}");
    }

    #[test]
    fn one_exporter_satisfies_an_import() {
        check(
            &["page: a:b/c -> ", "lib: -> a:b/c"],
            &[],
            &["page <- a:b/c of lib"],
        );
        check(&["page: wasi:io/streams@0.2.0 -> "], &[], &[]);
        check(&["page: ~a:b/types -> ", "one: ~a:b/types -> "], &[], &[]);
    }

    #[test]
    fn compatible_versions_match_and_the_newest_wins() {
        let lib = "lib: -> a:b/c@1.2.0 a:b/c@1.3.0 a:b/c@2.0.0";
        check(
            &["page: a:b/c@1.0.0 -> ", lib],
            &[],
            &["page <- a:b/c@1.3.0 of lib"],
        );
        check(
            &["page: a:b/c@1.2.0 -> ", lib],
            &[],
            &["page <- a:b/c@1.2.0 of lib"],
        );
        check(
            &["page: a:b/c@3.0.0 -> ", lib],
            &[],
            &["import-missing: page imports a:b/c@3.0.0, which no component of the group site exports"],
        );
    }

    #[test]
    fn two_exporters_need_a_wire() {
        let lines = [
            "page: a:b/c@0.1.0 -> ",
            "dark: -> a:b/c@0.1.0",
            "light: -> a:b/c@0.1.0",
        ];
        check(
            &lines,
            &[],
            &["import-ambiguous: page imports a:b/c@0.1.0, which dark and light export"],
        );
        check(
            &lines,
            &[("page", "a:b/c", "dark")],
            &["page <- a:b/c@0.1.0 of dark"],
        );
        check(
            &lines,
            &[("page", "a:b/c@0.1.0", "light")],
            &["page <- a:b/c@0.1.0 of light"],
        );
        check(
            &lines,
            &[("page", "a:b/c", "dark"), ("page", "a:b/d", "dark")],
            &["wire-unused: wasmhost.toml wires a:b/d of page, which does not import it"],
        );
        check(
            &["page: a:b/c -> ", "lib: -> "],
            &[("page", "a:b/c", "lib")],
            &[
                "wire-no-export: wasmhost.toml wires the import a:b/c of page to lib, which does not export it",
            ],
        );
    }

    #[test]
    fn a_wire_can_virtualise_wasi() {
        let lines = [
            "page: wasi:io/streams@0.2.0 -> ",
            "virt: wasi:io/streams@0.2.0 -> wasi:io/streams@0.2.6",
        ];
        check(&lines, &[], &[]);
        check(
            &lines,
            &[("page", "wasi:io/streams", "virt")],
            &["page <- wasi:io/streams@0.2.6 of virt"],
        );
    }

    #[test]
    fn what_nobody_offers_is_named() {
        check(
            &["page: wasi:nn/graph@0.2.0 b:blog/feed x:y/z -> "],
            &[],
            &[
                "import-missing: page imports wasi:nn/graph@0.2.0, which this host does not offer",
                "import-missing: page imports b:blog/feed, which no component of the group site exports",
                "import-missing: page imports x:y/z, which no component of the group site exports",
            ],
        );
    }

    #[test]
    fn a_cycle_is_printed_as_a_path() {
        check(
            &[
                "a: x:x/b -> x:x/a",
                "b: x:x/c -> x:x/b",
                "c: x:x/b -> x:x/c",
                "d: x:x/a -> ",
            ],
            &[],
            &["import-cycle: components import each other in a circle: \
               b imports x:x/c from c imports x:x/b from b"],
        );
    }
}
