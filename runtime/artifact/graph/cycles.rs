//! Components that import from each other in a circle. Nothing calls itself in here: a circle may be as
//! long as a group has components.

use std::collections::{BTreeMap, BTreeSet};

use super::{Edge, Finding, Graph, Members};
use crate::{diagnostic::Diagnostic, project::ComponentId};

/// Components each of which imports from each other one, directly or through others.
type Knot = BTreeSet<ComponentId>;

/// Takes out of circles the imports of value types alone, which need no exporter; those that are circles
/// still are found, one for each knot.
pub fn untangle(graph: &mut Graph, members: &Members) -> Vec<Finding> {
    let types_only = |importer: &ComponentId, edge: &Edge| {
        let mut imports = members
            .get(importer)
            .into_iter()
            .flat_map(|member| &member.imports);
        imports.any(|import| import.name == edge.import && import.types_only)
    };
    for knot in knots(graph) {
        for id in &knot {
            let edges = graph.edges.get_mut(id).into_iter();
            edges.for_each(|edges| {
                edges.retain(|edge| !(knot.contains(&edge.exporter) && types_only(id, edge)))
            });
        }
    }
    let knots = knots(graph);
    knots
        .iter()
        .filter_map(|knot| describe(&circle(graph, knot)))
        .collect()
}

fn edges_of<'a>(graph: &'a Graph, id: &ComponentId) -> &'a [Edge] {
    graph.edges.get(id).map(Vec::as_slice).unwrap_or_default()
}

/// The strongly connected components of the graph that have an edge inside: against the edges, from those
/// whose search ended last, one reaches exactly who is in the same one.
fn knots(graph: &Graph) -> Vec<Knot> {
    let mut importers: BTreeMap<&ComponentId, Vec<&ComponentId>> = BTreeMap::new();
    for (importer, edges) in &graph.edges {
        for edge in edges {
            importers.entry(&edge.exporter).or_default().push(importer);
        }
    }
    let (mut knots, mut seen) = (Vec::new(), BTreeSet::new());
    for start in in_order_of_end(graph).into_iter().rev() {
        let (mut knot, mut left) = (Knot::new(), vec![start]);
        while let Some(id) = left.pop() {
            if seen.insert(id) {
                knot.insert(id.clone());
                left.extend(importers.get(id).into_iter().flatten());
            }
        }
        let inside = |edge: &Edge| knot.contains(&edge.exporter);
        if knot.iter().any(|id| edges_of(graph, id).iter().any(inside)) {
            knots.push(knot);
        }
    }
    knots.sort();
    knots
}

/// All components, those first whose search for others ends first.
fn in_order_of_end(graph: &Graph) -> Vec<&ComponentId> {
    let (mut order, mut seen) = (Vec::new(), BTreeSet::new());
    for start in graph.edges.keys() {
        if !seen.insert(start) {
            continue;
        }
        let mut path = vec![(start, edges_of(graph, start).iter())];
        while let Some((id, edges)) = path.last_mut() {
            match edges.next().map(|edge| &edge.exporter) {
                Some(next) if seen.insert(next) => path.push((next, edges_of(graph, next).iter())),
                Some(_) => {}
                None => {
                    order.push(*id);
                    path.pop();
                }
            }
        }
    }
    order
}

/// One way round in a knot: each step imports from the next, the last from the first.
fn circle<'a>(graph: &'a Graph, knot: &'a Knot) -> Vec<(&'a ComponentId, &'a Edge)> {
    let (mut path, mut places) = (Vec::new(), BTreeMap::new());
    let mut next = knot.first();
    while let Some(id) = next {
        if let Some(start) = places.insert(id, path.len()) {
            return path.split_off(start);
        }
        let mut edges = edges_of(graph, id).iter();
        let edge = edges.find(|edge| knot.contains(&edge.exporter));
        path.extend(edge.map(|edge| (id, edge)));
        next = edge.map(|edge| &edge.exporter);
    }
    path
}

fn describe(circle: &[(&ComponentId, &Edge)]) -> Option<Finding> {
    let (first, _) = circle.first()?;
    let mut path: Vec<String> = circle
        .iter()
        .map(|(id, edge)| format!("{id} imports {} from", edge.import))
        .collect();
    path.push(first.to_string());
    let message = format!("components import each other in a circle: {}", path.join(" "));
    let diagnostic = Diagnostic::new("import-cycle", message)
        .help("move what they share into a component of its own that imports none of them");
    Some(Finding::new(first, diagnostic))
}
