//! The graph in the language of Graphviz.

use std::fmt::Write;

use super::packages_in_words;
use crate::analysis::{GroupSurface, Surface};

pub fn draw(surface: &Surface) -> String {
    let mut text = String::from(
        "digraph wasmhost {\n  rankdir=LR;\n  node [shape=box, fontname=\"monospace\", fontsize=10];\n  \
         edge [fontname=\"monospace\", fontsize=8];\n",
    );
    for (number, group) in surface.groups.iter().enumerate() {
        cluster(&mut text, number, group);
    }
    text + "}\n"
}

fn cluster(text: &mut String, number: usize, group: &GroupSurface) {
    let _ = writeln!(
        text,
        "  subgraph cluster_{number} {{\n    label={};",
        quoted(&group.name)
    );
    for (id, member) in &group.members {
        let style = match member.handler {
            Some(_) => ", style=filled, fillcolor=lightblue",
            None => "",
        };
        let _ = writeln!(
            text,
            "    {} [label={}{style}];",
            node(group, id.as_str()),
            quoted(id.as_str())
        );
    }
    for (id, member) in &group.members {
        let from = node(group, id.as_str());
        for edge in &member.edges {
            let to = node(group, edge.exporter.as_str());
            let _ = writeln!(text, "    {from} -> {to} [label={}];", quoted(&edge.import));
        }
        for missing in &member.missing {
            let to = node(group, missing);
            let _ = writeln!(
                text,
                "    {to} [label={}, color=red, style=dashed];",
                quoted(missing)
            );
            let _ = writeln!(text, "    {from} -> {to} [color=red, style=dashed];");
        }
        for (import, exporters) in &member.ambiguous {
            for exporter in exporters {
                let (to, label) = (node(group, exporter.as_str()), quoted(&format!("{import}?")));
                let _ = writeln!(
                    text,
                    "    {from} -> {to} [label={label}, color=red, style=dashed];"
                );
            }
        }
        if !member.host.is_empty() {
            let (to, what) = (node(group, "the host"), quoted(&packages_in_words(&member.host)));
            let _ = writeln!(text, "    {from} -> {to} [style=dotted, tooltip={what}];");
        }
    }
    if group.members.values().any(|member| !member.host.is_empty()) {
        let _ = writeln!(
            text,
            "    {} [label=\"the host\", shape=ellipse];",
            node(group, "the host")
        );
    }
    let _ = writeln!(text, "  }}");
}

/// A node's name, which no other group's node has.
fn node(group: &GroupSurface, name: &str) -> String {
    quoted(&format!("{}: {name}", group.name))
}

fn quoted(text: &str) -> String {
    let escaped = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("\"{escaped}\"")
}
