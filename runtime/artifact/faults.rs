//! What is said where a group cannot be built: who is at fault, with the file or the line of the manifest
//! that it is about; and all that is wrong with such a group, for who mends it.

use tokio_util::sync::CancellationToken;

use super::{
    Builder, Parts,
    compose::{Composer, Mismatch},
    graph::{self, Finding, Graph, Resolution, Surroundings},
    parts,
};
use crate::{
    diagnostic::Diagnostic,
    project::{ComponentId, GroupSpec},
};

impl Builder {
    /// All that does not fit together in a group that is refused, some of whose components may be
    /// missing among the parts. `build` ends with the first stage that fails; this one goes on as far as
    /// what is there can be looked at.
    pub fn diagnose(&self, spec: &GroupSpec, parts: &Parts, world: &impl Surroundings) -> Vec<Diagnostic> {
        let resolution = graph::resolve_all(&spec.name, &parts.interfaces(), &spec.wire, world);
        let Resolution { graph, findings, .. } = resolution;
        let mut found = with_files(findings, spec);
        found.extend(with_files(mismatches(parts, &graph), spec));
        let refused = self.refused(spec, parts);
        if refused.is_empty() {
            found.extend(
                self.compile(spec, parts, &CancellationToken::new())
                    .err()
                    .into_iter()
                    .flatten(),
            );
        }
        found.extend(refused);
        found
    }

    /// Who is at fault where the engine refuses a composition: the components that it refuses alone, for
    /// instance because of a proposal that it does not know.
    pub(super) fn blame(&self, spec: &GroupSpec, parts: &Parts, reason: &str) -> Vec<Diagnostic> {
        let refused = self.refused(spec, parts);
        if refused.is_empty() {
            vec![unlinkable(spec, reason)]
        } else {
            refused
        }
    }

    fn refused(&self, spec: &GroupSpec, parts: &Parts) -> Vec<Diagnostic> {
        let refused = parts.members.iter().filter_map(|part| {
            let reason = self
                .compiler
                .skeleton(parts.kind(), &part.member.skeleton)
                .err()?;
            Some(parts::invalid(spec.components.get(&part.member.id)?, &reason))
        });
        refused.collect()
    }
}

/// Whose types disagree, along the edges that there are.
fn mismatches(parts: &Parts, graph: &Graph) -> Vec<Finding> {
    let composer = || Composer::new(parts.members.iter().map(|part| &*part.member));
    let Ok(mut all) = composer() else {
        return Vec::new();
    };
    let findings = all.wire(graph);
    if !findings.is_empty() {
        return findings;
    }
    // What several import from outside has to be of one type too, which shows when it is encoded.
    let graph = graph::without_circles(graph);
    let composed = composer().and_then(|composer| composer.compose(&graph, |_, _| false));
    match composed {
        Err(Mismatch::Components(findings)) => findings,
        Ok(_) | Err(Mismatch::Group(_)) => Vec::new(),
    }
}

/// Importers and what they import from nobody in the group.
fn from_host(spec: &GroupSpec, parts: &Parts, world: &impl Surroundings) -> Vec<(ComponentId, String)> {
    let members = parts.interfaces();
    let graph = graph::resolve_all(&spec.name, &members, &spec.wire, world).graph;
    let has_edge = |importer: &ComponentId, name: &str| {
        let mut edges = graph.edges.get(importer).into_iter().flatten();
        edges.any(|edge| edge.import == name)
    };
    let imports = members
        .iter()
        .flat_map(|(id, interface)| interface.imports.iter().map(move |import| (id, &import.name)));
    imports
        .filter(|(importer, name)| !has_edge(importer, name))
        .map(|(importer, name)| (importer.clone(), name.clone()))
        .collect()
}

/// The engine names the import that the host does not offer as it is asked for, but not who asks: the
/// importers are found by that name.
pub fn host_mismatch(
    spec: &GroupSpec,
    parts: &Parts,
    world: &impl Surroundings,
    error: &wasmtime::Error,
) -> Vec<Diagnostic> {
    let named = error.to_string();
    let reason = difference(&error.chain().skip(1).map(ToString::to_string).collect::<Vec<_>>());
    let path = |name: &str| name.split('@').next().unwrap_or_default().to_owned();
    let findings: Vec<_> = from_host(spec, parts, world)
        .iter()
        .filter(|(_, name)| named.contains(&format!("`{}@", path(name))))
        .map(|(importer, name)| {
            let message = format!("{importer} and the host disagree about {name}: {reason}");
            let help = "build it against an interface of WASI 0.2 or 0.3 that this host has";
            Finding::new(importer, Diagnostic::new("import-mismatch", message).help(help))
        })
        .collect();
    if findings.is_empty() {
        vec![unlinkable(spec, &format!("{error:#}"))]
    } else {
        with_files(findings, spec)
    }
}

/// What the engine says of an import that differs. It calls what is not there at all of the wrong type.
fn difference(causes: &[String]) -> String {
    let nothing = causes
        .iter()
        .rev()
        .find_map(|cause| cause.strip_suffix(" implementation is missing"));
    let named = causes.iter().rev().find_map(|cause| cause.split('`').nth(1));
    match (nothing, named) {
        (Some(kind), Some(name)) => format!("the host has no {kind} `{name}` in it"),
        _ => causes.join(": "),
    }
}

/// What does not fit, with the files that it is about.
pub fn with_files(findings: Vec<Finding>, spec: &GroupSpec) -> Vec<Diagnostic> {
    let with_file = |Finding {
                         component,
                         wire,
                         diagnostic,
                     }: Finding| {
        let line = wire.and_then(|line| spec.wire_places.get(&(component.clone(), line)));
        match (line, spec.components.get(&component)) {
            (Some(place), _) => diagnostic.file(&place.file).position(place.position),
            (None, Some(component)) => diagnostic.file(&component.path),
            (None, None) => diagnostic,
        }
    };
    findings.into_iter().map(with_file).collect()
}

pub fn unlinkable(spec: &GroupSpec, reason: &str) -> Diagnostic {
    let message = format!("the group {} cannot be linked: {reason}", spec.name);
    Diagnostic::new("link-failed", message)
}
