//! Who imports what from whom inside one group: decides, from names alone, which export satisfies
//! which import. Pure; knows neither bytes nor the engine. Types are compared when composing.

use std::collections::BTreeMap;

use semver::Version;

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
    pub diagnostic: Diagnostic,
}

impl Finding {
    pub fn new(component: &ComponentId, diagnostic: Diagnostic) -> Self {
        Self {
            component: component.clone(),
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
}

pub type Members = BTreeMap<ComponentId, Interface>;
/// Importer, then interface as written in the manifest, then exporter.
pub type Wire = BTreeMap<ComponentId, BTreeMap<String, ComponentId>>;

/// Resolves every import of every member. Errors: all that do not fit, at once.
pub fn resolve(
    group: &str,
    members: &Members,
    wire: &Wire,
    world: &impl Surroundings,
) -> Result<Graph, Vec<Finding>> {
    let (graph, findings) = resolve_all(group, members, wire, world);
    if findings.is_empty() {
        Ok(graph)
    } else {
        Err(findings)
    }
}

/// What can be resolved, and all that does not fit.
pub fn resolve_all(
    group: &str,
    members: &Members,
    wire: &Wire,
    world: &impl Surroundings,
) -> (Graph, Vec<Finding>) {
    let mut graph = Graph::default();
    let mut findings = unused_wires(members, wire);
    findings.extend(unknown_exports(members, world));
    let exporters = exporters(members);
    for (importer, interface) in members {
        let mut edges = Vec::new();
        for import in &interface.imports {
            match resolve_import(importer, import, members, &exporters, wire, world) {
                Ok(edge) => edges.extend(edge),
                Err(unresolved) => {
                    findings.push(Finding::new(
                        importer,
                        unresolved.describe(group, importer, &import.name),
                    ));
                }
            }
        }
        graph.edges.insert(importer.clone(), edges);
    }
    if findings.is_empty() {
        findings.extend(find_cycle(&graph).and_then(|cycle| describe_cycle(&cycle)));
    }
    (graph, findings)
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

/// Who satisfies one import: `None` is the host, or nobody where only types are asked for.
fn resolve_import(
    importer: &ComponentId,
    import: &Import,
    members: &Members,
    exporters: &Exporters<'_>,
    wire: &Wire,
    world: &impl Surroundings,
) -> Result<Option<Edge>, Unresolved> {
    let name = import.name.as_str();
    if let Some(exporter) = wired(wire, importer, name) {
        return match members
            .get(exporter)
            .and_then(|interface| export_for(interface, name))
        {
            Some(export) => Ok(Some(edge(name, exporter, export))),
            None => Err(Unresolved::WireWithoutExport(exporter.clone())),
        };
    }
    if name.starts_with("wasi:") {
        return if world.host_offers(name) || import.types_only {
            Ok(None)
        } else {
            Err(Unresolved::HostLacks)
        };
    }
    let exporters: Vec<_> = exporters
        .get(Name::parse(name).path)
        .into_iter()
        .flatten()
        .filter(|(id, _)| *id != importer)
        .filter_map(|(id, interface)| export_for(interface, name).map(|export| (*id, export)))
        .collect();
    match exporters.as_slice() {
        [(exporter, export)] => Ok(Some(edge(name, exporter, export))),
        [] if import.types_only || world.host_offers(name) => Ok(None),
        [] => Err(match world.has_instead(name) {
            Some(has) => Unresolved::Unknown { has },
            None => Unresolved::Missing {
                hint: hint_for_missing(name, members, world),
            },
        }),
        // Types are the same whoever declares them; with functions it matters who answers.
        [..] if import.types_only => Ok(None),
        [(first, _), (second, _), rest @ ..] => Err(Unresolved::Ambiguous {
            first: (*first).clone(),
            second: (*second).clone(),
            more: rest.len(),
        }),
    }
}

/// Why an import found no exporter.
enum Unresolved {
    WireWithoutExport(ComponentId),
    HostLacks,
    /// It is of the host's own WIT, in a version that the host does not have.
    Unknown {
        has: Vec<&'static str>,
    },
    Missing {
        hint: String,
    },
    Ambiguous {
        first: ComponentId,
        second: ComponentId,
        more: usize,
    },
}

impl Unresolved {
    fn describe(self, group: &str, importer: &ComponentId, name: &str) -> Diagnostic {
        match self {
            Self::WireWithoutExport(exporter) => Diagnostic::new(
                "wire-no-export",
                format!(
                    "wasmhost.toml wires the import {name} of {importer} to {exporter}, \
                     which does not export it"
                ),
            )
            .help("name a component that exports it"),
            Self::HostLacks => Diagnostic::new(
                "import-missing",
                format!("{importer} imports {name}, which this host does not offer"),
            )
            .help("build it against WASI 0.2, or wire the import to a component that implements it"),
            Self::Unknown { has } => unknown(importer, "imports", name, &has),
            Self::Missing { hint } => Diagnostic::new(
                "import-missing",
                format!("{importer} imports {name}, which no component of the group {group} exports"),
            )
            .help(hint),
            Self::Ambiguous { first, second, more } => {
                let others = if more > 0 {
                    format!(" and {more} more")
                } else {
                    String::new()
                };
                Diagnostic::new(
                    "import-ambiguous",
                    format!("{importer} imports {name}, which {first} and {second}{others} export"),
                )
                .help(format!(
                    "say which in wasmhost.toml:\n[groups.{group}.wire]\n\"{importer}\" = {{ \"{name}\" = \"{first}\" }}"
                ))
            }
        }
    }
}

/// Exports of the host's own WIT that the host would not find: a handler, for instance, that is never
/// asked.
fn unknown_exports(members: &Members, world: &impl Surroundings) -> Vec<Finding> {
    let exports = members
        .iter()
        .flat_map(|(id, interface)| interface.exports.iter().map(move |export| (id, export)));
    exports
        .filter_map(|(id, export)| {
            let has = world.has_instead(export)?;
            Some(Finding::new(id, unknown(id, "exports", export, &has)))
        })
        .collect()
}

fn unknown(component: &ComponentId, does: &str, name: &str, has: &[&str]) -> Diagnostic {
    let message = format!(
        "{component} {does} {name}, which this host does not know; it has {}",
        has.join(", ")
    );
    Diagnostic::new("host-version", message)
        .help("build it against the WIT of this host, or serve it with the wasmhost that it was built for")
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

/// The exporter that the manifest names for this import. A key without a version means any version.
fn wired<'a>(wire: &'a Wire, importer: &ComponentId, import: &str) -> Option<&'a ComponentId> {
    let wires = wire.get(importer)?;
    wires.get(import).or_else(|| wires.get(Name::parse(import).path))
}

/// An interface name in its parts: `wasi:http/types` and `0.2.3`.
struct Name<'a> {
    path: &'a str,
    version: Option<Version>,
}

impl<'a> Name<'a> {
    fn parse(name: &'a str) -> Self {
        match name
            .split_once('@')
            .map(|(path, version)| (path, Version::parse(version)))
        {
            Some((path, Ok(version))) => Self {
                path,
                version: Some(version),
            },
            _ => Self {
                path: name,
                version: None,
            },
        }
    }

    /// True where an import of `wanted` may be given this export.
    fn satisfies(&self, wanted: &Name<'_>) -> bool {
        self.path == wanted.path
            && match (&self.version, &wanted.version) {
                (None, None) => true,
                (Some(has), Some(wants)) => compatible(has, wants),
                _ => false,
            }
    }
}

/// The rule of the component model: the first non-zero number of a version decides.
pub fn compatible(a: &Version, b: &Version) -> bool {
    if !a.pre.is_empty() || !b.pre.is_empty() || (a.major, a.minor) == (0, 0) {
        return a == b;
    }
    a.major == b.major && (a.major > 0 || a.minor == b.minor)
}

/// True where the interfaces have one name and compatible versions, or both have none.
pub fn same_interface(a: &str, b: &str) -> bool {
    Name::parse(a).satisfies(&Name::parse(b))
}

/// A cycle among the edges, if there is one: each step imports from the next, the last from the first.
/// The path is a list rather than calls within calls: it may be as long as a group has components.
fn find_cycle(graph: &Graph) -> Option<Vec<(&ComponentId, &Edge)>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        OnPath,
        Done,
    }
    let edges_of = |id| graph.edges.get(id).map(Vec::as_slice).unwrap_or_default();
    let mut marks = BTreeMap::new();
    for start in graph.edges.keys() {
        if marks.contains_key(start) {
            continue;
        }
        marks.insert(start, Mark::OnPath);
        // Importers, and those of their edges that are left; the first of them is the one followed.
        let mut path = vec![(start, edges_of(start))];
        while let Some((id, edges)) = path.last_mut() {
            let Some(edge) = edges.first() else {
                marks.insert(id, Mark::Done);
                path.pop();
                continue;
            };
            match marks.get(&edge.exporter) {
                Some(Mark::OnPath) => {
                    let steps = path.iter().skip_while(|(id, _)| **id != edge.exporter);
                    return Some(
                        steps
                            .filter_map(|(id, edges)| Some((*id, edges.first()?)))
                            .collect(),
                    );
                }
                Some(Mark::Done) => *edges = &edges[1..],
                None => {
                    marks.insert(&edge.exporter, Mark::OnPath);
                    path.push((&edge.exporter, edges_of(&edge.exporter)));
                }
            }
        }
    }
    None
}

fn describe_cycle(cycle: &[(&ComponentId, &Edge)]) -> Option<Finding> {
    let (first, _) = cycle.first()?;
    let mut path: Vec<String> = cycle
        .iter()
        .map(|(id, edge)| format!("{id} imports {} from", edge.import))
        .collect();
    path.push(first.to_string());
    let message = format!("components import each other in a circle: {}", path.join(" "));
    let diagnostic = Diagnostic::new("import-cycle", message)
        .help("move what they share into a component of its own that imports none of them");
    Some(Finding::new(first, diagnostic))
}

fn hint_for_missing(name: &str, members: &Members, world: &impl Surroundings) -> String {
    if let Some(group) = world.other_group(name) {
        format!(
            "the group {group} exports it, but components link only inside their group: \
             move one of them, or join the two under one [groups.NAME] with `namespaces`"
        )
    } else if let Some((exporter, export)) = other_version(members, name) {
        format!("{exporter} exports {export}, an incompatible version: build both against the same one")
    } else {
        "add a component that exports it, or remove the import".into()
    }
}

fn other_version<'a>(members: &'a Members, name: &str) -> Option<(&'a ComponentId, &'a String)> {
    let path = Name::parse(name).path;
    members.iter().find_map(|(id, interface)| {
        let export = interface
            .exports
            .iter()
            .find(|export| Name::parse(export).path == path)?;
        Some((id, export))
    })
}

/// Wires for imports that do not exist: a typing error, most likely.
fn unused_wires(members: &Members, wire: &Wire) -> Vec<Finding> {
    let imported = |importer: &ComponentId, interface: &str| {
        members.get(importer).is_some_and(|member| {
            member
                .imports
                .iter()
                .any(|import| import.name == interface || Name::parse(&import.name).path == interface)
        })
    };
    wire.iter()
        .flat_map(|(importer, wires)| wires.keys().map(move |interface| (importer, interface)))
        .filter(|(importer, interface)| !imported(importer, interface))
        .map(|(importer, interface)| {
            let message = format!("wasmhost.toml wires {interface} of {importer}, which does not import it");
            let help = "remove the line, or correct the name";
            Finding::new(importer, Diagnostic::new("wire-unused", message).help(help))
        })
        .collect()
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
