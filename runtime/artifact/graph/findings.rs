//! What is said of imports that find no exporter, and of wires that lead nowhere: both sides by name, and
//! what to do. Decides nothing.

use super::{Finding, Name, Site, Surroundings};
use crate::{
    diagnostic::Diagnostic,
    project::{ComponentId, nearest},
};

/// Why an import found no exporter.
pub enum Unresolved {
    WireWithoutExport {
        /// The interface as the manifest has it.
        line: String,
        exporter: ComponentId,
    },
    HostLacks,
    /// It is of the host's own WIT, in a version that the host does not have.
    Unknown {
        has: Vec<&'static str>,
    },
    Missing,
    Ambiguous {
        exporters: Vec<ComponentId>,
    },
}

impl Unresolved {
    /// Among whom nobody chose.
    pub fn exporters(self) -> Vec<ComponentId> {
        match self {
            Self::Ambiguous { exporters } => exporters,
            _ => Vec::new(),
        }
    }
}

impl<W: Surroundings> Site<'_, W> {
    /// `None` where the reason is said already: a wire leads to a component that cannot be read.
    pub fn describe(&self, importer: &ComponentId, name: &str, reason: &Unresolved) -> Option<Finding> {
        let diagnostic = match reason {
            Unresolved::WireWithoutExport { line, exporter } => {
                let diagnostic = self.wire_without_export(importer, name, exporter)?;
                return Some(Finding {
                    wire: Some(line.clone()),
                    ..Finding::new(importer, diagnostic)
                });
            }
            Unresolved::HostLacks => {
                let message = format!("{importer} imports {name}, which this host does not offer");
                Diagnostic::new("import-missing", message).help(self.instead_of_host(importer, name))
            }
            Unresolved::Unknown { has } => unknown(importer, "imports", name, has),
            Unresolved::Missing => {
                let group = self.group;
                let message =
                    format!("{importer} imports {name}, which no component of the group {group} exports");
                Diagnostic::new("import-missing", message).help(self.hint_for_missing(importer, name))
            }
            Unresolved::Ambiguous { exporters } => self.ambiguous(importer, name, exporters),
        };
        Some(Finding::new(importer, diagnostic))
    }

    fn ambiguous(&self, importer: &ComponentId, name: &str, exporters: &[ComponentId]) -> Diagnostic {
        let all: Vec<_> = exporters.iter().map(ComponentId::as_str).collect();
        let message = match all.as_slice() {
            [first, second] => format!("{importer} imports {name}, which {first} and {second} export"),
            [first, second, more @ ..] => format!(
                "{importer} imports {name}, which {first} and {second} and {} more export",
                more.len()
            ),
            _ => format!("{importer} imports {name}, which {} export", all.join(" and ")),
        };
        let first = all.first().copied().unwrap_or_default();
        Diagnostic::new("import-ambiguous", message).help(self.wire_line(importer, name, first))
    }

    /// What to write where the manifest has to say who satisfies an import.
    fn wire_line(&self, importer: &ComponentId, name: &str, exporter: &str) -> String {
        format!(
            "say which in wasmhost.toml:\n[groups.{}.wire]\n\"{importer}\" = {{ \"{name}\" = \"{exporter}\" }}",
            self.group
        )
    }

    fn instead_of_host(&self, importer: &ComponentId, name: &str) -> String {
        match self.exporters_of(importer, name).first() {
            Some((exporter, _)) => format!(
                "{exporter} exports it, but imports of wasi go to the host unless they are wired; {}",
                self.wire_line(importer, name, exporter.as_str())
            ),
            None => "build it against WASI 0.2, or wire the import to a component that implements it".into(),
        }
    }

    fn wire_without_export(
        &self,
        importer: &ComponentId,
        name: &str,
        exporter: &ComponentId,
    ) -> Option<Diagnostic> {
        if self.world.unread().contains(&exporter) {
            return None;
        }
        let message = format!(
            "wasmhost.toml wires the import {name} of {importer} to {exporter}, which does not export it"
        );
        let others: Vec<_> = self
            .exporters_of(importer, name)
            .into_iter()
            .map(|(id, _)| id.as_str())
            .collect();
        let help = match others.as_slice() {
            [] => "name a component that exports it: no other of the group does".to_owned(),
            others => format!("name a component that exports it: {}", some_of(others)),
        };
        Some(Diagnostic::new("wire-no-export", message).help(help))
    }

    fn hint_for_missing(&self, importer: &ComponentId, name: &str) -> String {
        let hint = if let Some(group) = self.world.other_group(name) {
            format!(
                "the group {group} exports it, but components link only inside their group: \
                 move one of them, or join the two under one [groups.NAME] with `namespaces`"
            )
        } else if let Some((exporter, export)) = self.other_version(importer, name) {
            format!("{exporter} exports {export}, an incompatible version: build both against the same one")
        } else {
            "add a component that exports it, or remove the import".into()
        };
        let unread: Vec<_> = self.world.unread().iter().map(|id| id.as_str()).collect();
        match unread.as_slice() {
            [] => hint,
            unread => format!(
                "{} cannot be read, and may export it; else {hint}",
                some_of(unread)
            ),
        }
    }

    /// A member that exports the interface in a version that does not do.
    fn other_version(&self, importer: &ComponentId, name: &str) -> Option<(&ComponentId, &String)> {
        let wanted = Name::parse(name);
        let others = self.members.iter().filter(|(id, _)| *id != importer);
        let mut exports =
            others.flat_map(|(id, interface)| interface.exports.iter().map(move |export| (id, export)));
        exports.find(|(_, export)| {
            let export = Name::parse(export);
            export.path == wanted.path && !export.satisfies(&wanted)
        })
    }

    /// Exports of the host's own WIT that the host would not find: a handler, for instance, that is never
    /// asked.
    pub fn unknown_exports(&self) -> Vec<Finding> {
        let members = self.members.iter();
        let exports =
            members.flat_map(|(id, interface)| interface.exports.iter().map(move |export| (id, export)));
        exports
            .filter_map(|(id, export)| {
                let has = self.world.has_instead(export)?;
                Some(Finding::new(id, unknown(id, "exports", export, &has)))
            })
            .collect()
    }

    /// Wires for imports that do not exist: a typing error, most likely.
    pub fn unused_wires(&self) -> Vec<Finding> {
        let lines = self.wire.iter();
        let lines = lines.flat_map(|(importer, lines)| lines.keys().map(move |line| (importer, line)));
        lines
            .filter(|(importer, _)| !self.world.unread().contains(importer))
            .filter_map(|(importer, line)| self.unused_wire(importer, line))
            .collect()
    }

    fn unused_wire(&self, importer: &ComponentId, line: &str) -> Option<Finding> {
        let imports = self.members.get(importer).map(|member| member.imports.as_slice());
        let imports: Vec<&str> = imports
            .unwrap_or_default()
            .iter()
            .map(|import| import.name.as_str())
            .collect();
        let mut names = imports.iter().flat_map(|name| [*name, Name::parse(name).path]);
        if names.clone().any(|name| name == line) {
            return None;
        }
        let help = match (nearest(line, &mut names), imports.as_slice()) {
            (Some(guess), _) => format!("did you mean {guess}?"),
            (None, []) => format!("remove the line: {importer} imports nothing"),
            (None, imports) => format!(
                "remove the line, or correct the name: {importer} imports {}",
                some_of(imports)
            ),
        };
        let message = format!("wasmhost.toml wires {line} of {importer}, which does not import it");
        Some(Finding {
            wire: Some(line.to_owned()),
            ..Finding::new(importer, Diagnostic::new("wire-unused", message).help(help))
        })
    }
}

fn unknown(component: &ComponentId, does: &str, name: &str, has: &[&str]) -> Diagnostic {
    let message = format!(
        "{component} {does} {name}, which this host does not know; it has {}",
        has.join(", ")
    );
    Diagnostic::new("host-version", message)
        .help("build it against the WIT of this host, or serve it with the wasmhost that it was built for")
}

/// As many as one reads.
fn some_of(names: &[&str]) -> String {
    const MOST: usize = 8;
    let more = if names.len() > MOST { ", …" } else { "" };
    names.iter().take(MOST).copied().collect::<Vec<_>>().join(", ") + more
}
