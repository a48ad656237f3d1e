//! The part of a refused group that nothing is known against: it is started by itself, so that what is wrong
//! with it is told with the rest.

use std::collections::BTreeSet;

use crate::{artifact::graph::Resolution, diagnostic::Diagnostic, prepare::Readable, project::ComponentId};

/// The group without the components that these diagnostics are about, and without all that need those.
/// `None` where that is nothing, or where no component is named.
pub fn without_faulty(group: &Readable, resolution: &Resolution, known: &[Diagnostic]) -> Option<Readable> {
    let faulty = faulty(group, known);
    if faulty.is_empty() {
        return None;
    }
    let taken = with_importers(faulty, resolution);
    let mut rest = group.clone();
    let keep = |id: &ComponentId| !taken.contains(id);
    rest.parts.retain(keep);
    rest.spec.components.retain(|id, _| keep(id));
    rest.spec.wire.retain(|importer, _| keep(importer));
    (!rest.spec.components.is_empty()).then_some(rest)
}

/// The components whose files are named.
fn faulty(group: &Readable, known: &[Diagnostic]) -> BTreeSet<ComponentId> {
    let components = group.spec.components.values();
    let is_named = |path| known.iter().any(|it| it.file.as_deref() == Some(path));
    let named = components.filter(|component| is_named(component.path.as_path()));
    named.map(|component| component.id.clone()).collect()
}

/// These, what has an import that nobody satisfies, and all that import from them, directly or not.
fn with_importers(mut taken: BTreeSet<ComponentId>, resolution: &Resolution) -> BTreeSet<ComponentId> {
    taken.extend(resolution.unmet.iter().map(|unmet| unmet.importer.clone()));
    loop {
        let edges = resolution.graph.edges.iter();
        let importers = edges
            .filter(|(importer, edges)| {
                !taken.contains(importer) && edges.iter().any(|edge| taken.contains(&edge.exporter))
            })
            .map(|(importer, _)| importer.clone());
        let importers: Vec<_> = importers.collect();
        if importers.is_empty() {
            return taken;
        }
        taken.extend(importers);
    }
}
