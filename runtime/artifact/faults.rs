//! What is said where a group cannot be built: who is at fault, with the file or the line of the manifest
//! that it is about; and all that is wrong with such a group, for who mends it.

use tokio_util::sync::CancellationToken;

use super::{
    Builder, Parts,
    compose::Composer,
    graph::{self, Finding, Graph, Surroundings},
    parts,
    probe::Outside,
};
use crate::{diagnostic::Diagnostic, project::GroupSpec};

impl Builder {
    /// All that does not fit together in a group that is refused, some of whose components may be
    /// missing among the parts. `build` ends with the first stage that fails; this one goes on as far as
    /// what is there can be looked at.
    pub fn diagnose(&self, spec: &GroupSpec, parts: &Parts, world: &impl Surroundings) -> Vec<Diagnostic> {
        let mut resolution = graph::resolve_all(&spec.name, &parts.interfaces(), &spec.wire, world);
        let mut findings = std::mem::take(&mut resolution.findings);
        findings.extend(mismatches(parts, &resolution.graph));
        let outside = Outside::of(parts, &resolution);
        findings.extend(outside.against_host(self));
        findings.extend(outside.against_each_other());
        let mut found = with_files(findings, spec);
        let refused = self.refused(spec, parts);
        if refused.is_empty() {
            found.extend(
                self.compile(parts.kind(), spec, parts, &CancellationToken::new())
                    .err()
                    .into_iter()
                    .flatten(),
            );
        }
        found.extend(refused);
        found
    }

    /// Who is at fault where the host has an import otherwise than it is asked for. The engine names one
    /// such import, but not who asks.
    pub(super) fn host_mismatch(
        &self,
        spec: &GroupSpec,
        parts: &Parts,
        world: &impl Surroundings,
        error: &wasmtime::Error,
    ) -> Vec<Diagnostic> {
        let resolution = graph::resolve_all(&spec.name, &parts.interfaces(), &spec.wire, world);
        let findings = Outside::of(parts, &resolution).against_host(self);
        if findings.is_empty() {
            vec![unlinkable(spec, &format!("{error:#}"))]
        } else {
            with_files(findings, spec)
        }
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
    let composer = Composer::new(parts.members.iter().map(|part| &*part.member));
    composer.map_or_else(|_| Vec::new(), |mut all| all.wire(graph))
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
