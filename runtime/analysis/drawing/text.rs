//! The graph as an indented list, for a terminal.

use std::fmt::Write;

use super::{by_package, handler, or};
use crate::analysis::{Member, Surface};

pub fn draw(surface: &Surface) -> String {
    let mut text = String::new();
    for group in &surface.groups {
        let _ = writeln!(text, "group {}", group.name);
        for (id, member) in &group.members {
            let _ = match handler(member) {
                Some(handler) => writeln!(text, "  page {id} ({handler})"),
                None => writeln!(text, "  library {id}"),
            };
            imports(&mut text, member);
        }
    }
    text
}

fn imports(text: &mut String, member: &Member) {
    for edge in &member.edges {
        let _ = write!(text, "    {} from {}", edge.import, edge.exporter);
        let _ = match edge.export == edge.import {
            true => writeln!(text),
            false => writeln!(text, " ({})", edge.export),
        };
    }
    for missing in &member.missing {
        let _ = writeln!(text, "    {missing} from nobody");
    }
    for (import, exporters) in &member.ambiguous {
        let _ = writeln!(text, "    {import} from {}: nobody says which", or(exporters));
    }
    if !member.host.is_empty() {
        let packages: Vec<_> = by_package(&member.host).into_keys().collect();
        let _ = writeln!(text, "    {} from the host", packages.join(", "));
    }
}
