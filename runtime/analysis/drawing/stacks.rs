//! The boxes of a drawing: a component each, and one for many pages that import the same, whose lines
//! would only cover each other.

use std::collections::BTreeMap;

use crate::{
    analysis::{GroupSurface, Member},
    artifact::graph::Edge,
    project::ComponentId,
};

/// What is drawn as one box.
pub struct Block<'a> {
    /// One, or many that nobody imports and that import the same.
    pub members: Vec<(&'a ComponentId, &'a Member)>,
    /// The interfaces that others import from it.
    pub ports: Vec<&'a str>,
}

/// Fewer are drawn each for itself.
const LEAST: usize = 4;

pub fn blocks(group: &GroupSurface) -> Vec<Block<'_>> {
    let mut alike: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut blocks = Vec::new();
    for (id, member) in &group.members {
        let ports = ports(group, id);
        if ports.is_empty() {
            let mut edges: Vec<_> = member
                .edges
                .iter()
                .map(|Edge { exporter, export, .. }| (exporter, export))
                .collect();
            edges.sort();
            let unmet = (&member.missing, &member.ambiguous);
            let key = (edges, &member.host, unmet, member.handler);
            alike.entry(key).or_default().push((id, member));
        } else {
            let members = vec![(id, member)];
            blocks.push(Block { members, ports });
        }
    }
    for members in alike.into_values() {
        let size = if members.len() < LEAST { 1 } else { members.len() };
        blocks.extend(members.chunks(size).map(|members| Block {
            members: members.to_vec(),
            ports: Vec::new(),
        }));
    }
    blocks.sort_by(|a, b| a.members[0].0.cmp(b.members[0].0));
    blocks
}

fn ports<'a>(group: &'a GroupSurface, id: &'a ComponentId) -> Vec<&'a str> {
    let mut ports: Vec<_> = group
        .importers(id)
        .map(|(_, edge)| edge.export.as_str())
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}
