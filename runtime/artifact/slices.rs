//! What the stores of a group have to hold: all of it, or for each page component only what it reaches.
//! Decides from the graph alone; pure.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::{Edge, Graph};
use crate::project::ComponentId;

/// Components that are composed with each other, for stores of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The page components whose requests these stores take. Without any, the slice is there to be
    /// checked: what no page reaches has to fit all the same.
    pub serves: BTreeSet<ComponentId>,
    pub members: BTreeSet<ComponentId>,
}

/// One slice of everything.
pub fn whole(graph: &Graph, is_page: impl Fn(&ComponentId) -> bool) -> Vec<Slice> {
    let members: BTreeSet<_> = graph.edges.keys().cloned().collect();
    let serves = members.iter().filter(|id| is_page(id)).cloned().collect();
    vec![Slice { serves, members }]
}

/// A slice for each page component, and one for the libraries that no page reaches, if there are any.
pub fn per_page(graph: &Graph, is_page: impl Fn(&ComponentId) -> bool) -> Vec<Slice> {
    let pages = graph.edges.keys().filter(|id| is_page(id));
    let mut slices: Vec<_> = pages
        .map(|page| Slice {
            serves: BTreeSet::from([page.clone()]),
            members: reached(graph, [page]),
        })
        .collect();
    let in_use: BTreeSet<_> = slices.iter().flat_map(|slice| &slice.members).cloned().collect();
    let unused = graph.edges.keys().filter(|id| !in_use.contains(id));
    let members = reached(graph, unused);
    if !members.is_empty() {
        slices.push(Slice {
            serves: BTreeSet::new(),
            members,
        });
    }
    slices
}

/// These components and all that they import from, directly or through others.
fn reached<'a>(graph: &Graph, from: impl IntoIterator<Item = &'a ComponentId>) -> BTreeSet<ComponentId> {
    let mut left: Vec<_> = from.into_iter().cloned().collect();
    let mut reached = BTreeSet::new();
    while let Some(id) = left.pop() {
        let exporters = graph.edges.get(&id).into_iter().flatten();
        let exporters: Vec<_> = exporters.map(|edge| edge.exporter.clone()).collect();
        if reached.insert(id) {
            left.extend(exporters);
        }
    }
    reached
}

impl Slice {
    /// The edges among its members; it has those of each member, because it has whom they lead to.
    pub fn edges(&self, graph: &Graph) -> Graph {
        let of_member = |id| Some((id, graph.edges.get(id)?));
        let edges = self.members.iter().filter_map(of_member);
        Graph {
            edges: edges
                .map(|(id, edges): (&ComponentId, &Vec<Edge>)| (id.clone(), edges.clone()))
                .collect::<BTreeMap<_, _>>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> ComponentId {
        ComponentId::parse(text).unwrap()
    }

    /// `a>b c` is a component `a` that imports from `b` and `c`; pages begin with `p`.
    fn check(lines: &[&str], expected: &[&str]) {
        let mut graph = Graph::default();
        for line in lines {
            let (importer, exporters) = line.split_once('>').unwrap();
            let edge = |exporter| Edge {
                import: "a:b/c".into(),
                exporter: id(exporter),
                export: "a:b/c".into(),
            };
            let edges = exporters.split_whitespace().map(edge).collect();
            graph.edges.insert(id(importer), edges);
        }
        let names =
            |ids: &BTreeSet<ComponentId>| ids.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(" ");
        let slices = per_page(&graph, |id| id.as_str().starts_with('p'));
        let shown: Vec<_> = slices
            .iter()
            .map(|slice| format!("{}: {}", names(&slice.serves), names(&slice.members)))
            .collect();
        assert_eq!(shown, expected);
        for slice in slices {
            let edges = slice.edges(&graph).edges;
            let mut exporters = edges.values().flatten().map(|edge| &edge.exporter);
            assert!(exporters.all(|exporter| slice.members.contains(exporter)));
        }
    }

    #[test]
    fn a_page_has_what_it_reaches_and_no_more() {
        check(
            &["p1>a b", "p2>b", "a>c", "b>c", "c>"],
            &["p1: a b c p1", "p2: b c p2"],
        );
    }

    #[test]
    fn what_no_page_reaches_is_a_slice_that_serves_nobody() {
        check(&["p>a", "a>", "b>a c", "c>", "d>p"], &["p: a p", ": a b c d p"]);
        check(&["a>b", "b>"], &[": a b"]);
    }

    #[test]
    fn a_page_that_wraps_another_holds_it_but_does_not_serve_it() {
        check(&["p1>p2", "p2>"], &["p1: p1 p2", "p2: p2"]);
    }
}
