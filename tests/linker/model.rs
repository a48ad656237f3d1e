//! The graph against a model of the contract's rules that is simple enough to be read: no index, no
//! order, no search.

use std::collections::{BTreeMap, BTreeSet};

use arbtest::arbitrary::{Result, Unstructured};
use wasmhost::{
    artifact::graph::{Import, Interface, Members, Surroundings, Wire, resolve},
    project::ComponentId,
};

use super::{abi::many, repeat};

const PATHS: [&str; 5] = ["a:b/c", "a:b/d", "site:x/y", "wasi:io/streams", "wasi:nn/graph"];
const VERSIONS: [&str; 11] = [
    "",
    "@0.0.1",
    "@0.0.2",
    "@0.1.0",
    "@0.1.1",
    "@0.2.0",
    "@0.2.6",
    "@1.0.0",
    "@1.2.0",
    "@1.2.0-rc.1",
    "@2.0.0",
];

struct World;

impl Surroundings for World {
    fn host_offers(&self, interface: &str) -> bool {
        interface.starts_with("wasi:io/streams@0.2.") || interface == "site:x/y@1.0.0"
    }
    fn other_group(&self, interface: &str) -> Option<String> {
        interface.starts_with("a:b/d").then(|| "blog".into())
    }
}

#[test]
fn the_graph_is_that_of_the_rules() {
    repeat(700, |u| {
        let (members, wire) = site(u)?;
        let found = match resolve("shop", &members, &wire, &World) {
            Ok(graph) => Ok(graph
                .edges
                .into_iter()
                .flat_map(|(importer, edges)| {
                    let importer = importer.to_string();
                    let edge = move |edge: wasmhost::artifact::graph::Edge| {
                        [
                            importer.clone(),
                            edge.import,
                            edge.exporter.to_string(),
                            edge.export,
                        ]
                    };
                    edges.into_iter().map(edge)
                })
                .collect::<BTreeSet<_>>()),
            Err(findings) => Err(findings
                .into_iter()
                .map(|finding| {
                    (
                        finding.component.to_string(),
                        finding.diagnostic.code.into_owned(),
                    )
                })
                .collect::<Vec<_>>()),
        };
        let expected = model(&members, &wire).map_err(|findings| {
            let owned = findings
                .into_iter()
                .map(|(component, code)| (component, code.to_owned()));
            owned.collect::<Vec<_>>()
        });
        match (found, expected) {
            (Err(mut found), Err(mut expected)) => {
                // Who of a circle is named first is not said.
                let circle = |finding: &mut (String, _)| {
                    if finding.1 == "import-cycle" {
                        finding.0.clear();
                    }
                };
                found.iter_mut().for_each(circle);
                found.sort();
                expected.sort();
                assert_eq!(found, expected, "{members:?} {wire:?}");
            }
            (found, expected) => assert_eq!(found, expected, "{members:?} {wire:?}"),
        }
        Ok(())
    });
}

#[test]
fn a_chain_may_be_as_long_as_a_tree_allows() {
    let length = 10_000;
    let name = |n: usize| format!("a:b/i{n}");
    let member = |n: usize, closed: bool| {
        let next = if n + 1 < length {
            Some(n + 1)
        } else {
            closed.then_some(0)
        };
        let import = |next| Import {
            name: name(next),
            types_only: false,
        };
        let interface = Interface {
            imports: next.map(import).into_iter().collect(),
            exports: vec![name(n)],
        };
        (id(&format!("c{n}")), interface)
    };
    // On a small stack, what calls itself for each component would not come back.
    let resolved = |closed| {
        let members: Members = (0..length).map(|n| member(n, closed)).collect();
        let work = move || resolve("shop", &members, &Wire::new(), &World).map_err(|findings| findings.len());
        std::thread::Builder::new()
            .stack_size(256 << 10)
            .spawn(work)
            .unwrap()
            .join()
            .unwrap()
    };
    assert_eq!(resolved(false).unwrap().edges.len(), length);
    assert_eq!(resolved(true), Err(1));
}

fn id(name: &str) -> ComponentId {
    ComponentId::parse(name).unwrap()
}

fn interface_name(u: &mut Unstructured<'_>) -> Result<String> {
    Ok(format!("{}{}", u.choose(&PATHS)?, u.choose(&VERSIONS)?))
}

fn site(u: &mut Unstructured<'_>) -> Result<(Members, Wire)> {
    let mut members = Members::new();
    for name in ["a", "b", "c", "d", "e"].into_iter().take(u.int_in_range(1..=5)?) {
        let mut imports: Vec<Import> = many(u, 0..=3, |u| {
            Ok(Import {
                name: interface_name(u)?,
                types_only: u.ratio(1, 6)?,
            })
        })?;
        imports.sort_by(|a, b| a.name.cmp(&b.name));
        imports.dedup_by(|a, b| a.name == b.name);
        let exports: BTreeSet<String> = many(u, 0..=2, interface_name)?.into_iter().collect();
        let exports = exports.into_iter().collect();
        members.insert(id(name), Interface { imports, exports });
    }
    let mut wire = Wire::new();
    let ids: Vec<ComponentId> = members.keys().cloned().collect();
    // Mostly of imports that there are.
    for (importer, interface) in &members {
        for import in &interface.imports {
            if u.ratio(1, 4)? {
                let path = import.name.split('@').next().unwrap_or_default();
                let key = if u.ratio(1, 2)? { path } else { &import.name };
                let lines = wire.entry(importer.clone()).or_default();
                lines.insert(key.to_owned(), u.choose(&ids)?.clone());
            }
        }
    }
    if u.ratio(1, 8)? {
        let lines: &mut BTreeMap<_, _> = wire.entry(u.choose(&ids)?.clone()).or_default();
        lines.insert(interface_name(u)?, u.choose(&ids)?.clone());
    }
    Ok((members, wire))
}

/// Path and version.
fn parts(name: &str) -> (&str, &str) {
    name.split_once('@').unwrap_or((name, ""))
}

/// Versions are compatible where this is the same.
fn track(version: &str) -> String {
    let numbers: Vec<&str> = version.split('.').collect();
    match numbers.as_slice() {
        _ if version.contains('-') => version.to_owned(),
        ["0", "0", patch] => format!("0.0.{patch}"),
        ["0", minor, _] => format!("0.{minor}"),
        [major, ..] => (*major).to_owned(),
        [] => String::new(),
    }
}

fn compatible(export: &str, import: &str) -> bool {
    let ((path, has), (wanted, wants)) = (parts(export), parts(import));
    path == wanted && track(has) == track(wants)
}

/// What of a member's exports an import is given.
fn offer<'a>(interface: &'a Interface, import: &str) -> Option<&'a String> {
    let fits = interface
        .exports
        .iter()
        .filter(|export| compatible(export, import));
    // The versions above are of one digit each: text in order is versions in order, `-rc` aside, which is
    // compatible with itself alone.
    let best = fits.max();
    interface.exports.iter().find(|export| *export == import).or(best)
}

type Edges = BTreeSet<[String; 4]>;

/// The edges, or what is wrong.
fn model(members: &Members, wire: &Wire) -> std::result::Result<Edges, Vec<(String, &'static str)>> {
    let (mut edges, mut wrong) = (Edges::new(), Vec::new());
    for (importer, lines) in wire {
        for key in lines.keys() {
            let imports = &members[importer].imports;
            if !imports
                .iter()
                .any(|import| import.name == *key || parts(&import.name).0 == key)
            {
                wrong.push((importer.to_string(), "wire-unused"));
            }
        }
    }
    for (importer, interface) in members {
        for import in &interface.imports {
            match import_of(importer, import, members, wire) {
                Ok(Some((exporter, export))) => {
                    let edge = [importer.as_str(), &import.name, exporter.as_str(), export];
                    edges.insert(edge.map(str::to_owned));
                }
                Ok(None) => {}
                Err(code) => wrong.push((importer.to_string(), code)),
            }
        }
    }
    let types_only = |[importer, import, ..]: &[String; 4]| {
        let imports = &members[&id(importer)].imports;
        imports
            .iter()
            .any(|other| other.name == *import && other.types_only)
    };
    let reached = reached(&edges);
    edges.retain(|edge| !(types_only(edge) && reached.contains(&(edge[2].clone(), edge[0].clone()))));
    let circles = circles(&edges);
    wrong.extend((0..circles).map(|_| (String::new(), "import-cycle")));
    if wrong.is_empty() { Ok(edges) } else { Err(wrong) }
}

fn import_of<'a>(
    importer: &ComponentId,
    import: &Import,
    members: &'a Members,
    wire: &'a Wire,
) -> std::result::Result<Option<(&'a ComponentId, &'a str)>, &'static str> {
    let lines = wire.get(importer);
    let line = |key: &str| lines.and_then(|lines| lines.get(key));
    if let Some(exporter) = line(&import.name).or_else(|| line(parts(&import.name).0)) {
        let export = offer(&members[exporter], &import.name).ok_or("wire-no-export")?;
        return Ok(Some((exporter, export)));
    }
    let by_host = World.host_offers(&import.name) || import.types_only;
    if import.name.starts_with("wasi:") {
        return if by_host { Ok(None) } else { Err("import-missing") };
    }
    let others = members.iter().filter(|(id, _)| *id != importer);
    let exporters: Vec<_> = others
        .filter_map(|(id, interface)| Some((id, offer(interface, &import.name)?.as_str())))
        .collect();
    match exporters.len() {
        1 => Ok(Some(exporters[0])),
        0 if by_host => Ok(None),
        0 => Err("import-missing"),
        _ if import.types_only => Ok(None),
        _ => Err("import-ambiguous"),
    }
}

/// Who imports from whom, directly or through others.
fn reached(edges: &Edges) -> BTreeSet<(String, String)> {
    let mut reached: BTreeSet<_> = edges
        .iter()
        .map(|[from, _, to, _]| (from.clone(), to.clone()))
        .collect();
    loop {
        let further = reached.iter().flat_map(|(from, through)| {
            let next = reached.iter().filter(move |(importer, _)| importer == through);
            next.map(move |(_, to)| (from.clone(), to.clone()))
        });
        let further: BTreeSet<_> = further.collect();
        if further.is_subset(&reached) {
            return reached;
        }
        reached.extend(further);
    }
}

/// How many sets there are of components that all reach each other.
fn circles(edges: &Edges) -> usize {
    let reached = reached(edges);
    let both_ways = |from: &String| {
        let others = reached.iter().filter(move |(importer, _)| importer == from);
        let back = others.filter(|(_, to)| reached.contains(&(to.clone(), from.clone())));
        back.map(|(_, to)| to.clone()).collect::<BTreeSet<_>>()
    };
    let sets: BTreeSet<_> = reached.iter().map(|(from, _)| both_ways(from)).collect();
    sets.iter().filter(|set| !set.is_empty()).count()
}
