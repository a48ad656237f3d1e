//! The graph for other programs.

use serde::Serialize;

use super::handler;
use crate::{
    analysis::{Member, Surface},
    project::ComponentId,
};

#[derive(Serialize)]
struct Graph<'a> {
    groups: Vec<Group<'a>>,
}

#[derive(Serialize)]
struct Group<'a> {
    group: &'a str,
    components: Vec<Component<'a>>,
}

#[derive(Serialize)]
struct Component<'a> {
    component: &'a ComponentId,
    /// `page` or `library`
    kind: &'static str,
    handler: Option<&'a str>,
    exports: Vec<&'a str>,
    imports: Vec<Import<'a>>,
    /// Imports that the host satisfies.
    host: &'a [String],
    /// Imports that nobody satisfies.
    missing: &'a [String],
    /// Imports that several could satisfy, and nobody says which.
    ambiguous: Vec<Ambiguous<'a>>,
}

#[derive(Serialize)]
struct Ambiguous<'a> {
    interface: &'a str,
    from: &'a [ComponentId],
}

#[derive(Serialize)]
struct Import<'a> {
    interface: &'a str,
    from: &'a ComponentId,
    /// As the exporter names it.
    export: &'a str,
}

/// One object on one line.
pub fn draw(surface: &Surface) -> String {
    let groups = surface.groups.iter().map(|group| Group {
        group: &group.name,
        components: group
            .members
            .iter()
            .map(|(id, member)| component(id, member))
            .collect(),
    });
    let graph = Graph {
        groups: groups.collect(),
    };
    // Names and lists always are JSON.
    serde_json::to_string(&graph).unwrap_or_default() + "\n"
}

fn component<'a>(id: &'a ComponentId, member: &'a Member) -> Component<'a> {
    Component {
        component: id,
        kind: if member.handler.is_some() {
            "page"
        } else {
            "library"
        },
        handler: handler(member),
        exports: member
            .world
            .exports
            .iter()
            .map(|(name, _)| name.as_str())
            .collect(),
        imports: member
            .edges
            .iter()
            .map(|edge| Import {
                interface: &edge.import,
                from: &edge.exporter,
                export: &edge.export,
            })
            .collect(),
        host: &member.host,
        missing: &member.missing,
        ambiguous: member
            .ambiguous
            .iter()
            .map(|(interface, from)| Ambiguous { interface, from })
            .collect(),
    }
}
