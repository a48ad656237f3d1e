//! What a group wants from outside, asked for interface by interface: by small components that import one
//! interface and do nothing. So what is wrong with one is found whatever else is wrong with the group.

use std::collections::BTreeMap;

use wac_graph::{CompositionGraph, EncodeOptions, types::Package};

use super::{
    Builder, Parts,
    compose::{Composer, Mismatch},
    graph::{Finding, Graph, Interface, Resolution},
    parts::Member,
};
use crate::{
    diagnostic::Diagnostic,
    engine::Kind,
    host,
    project::{ComponentId, Digest},
};

/// What members import from nobody in their group.
pub struct Outside<'a> {
    /// The importers of an interface, by its name without the version, each with a probe for it.
    probes: BTreeMap<&'a str, Vec<Probe>>,
}

/// It imports one interface as a member of a group does.
struct Probe {
    member: Member,
    import: String,
}

impl<'a> Outside<'a> {
    /// Those imports that the host satisfies, or nobody, where only types are asked for.
    pub fn of(parts: &'a Parts, resolution: &Resolution) -> Self {
        let mut probes: BTreeMap<&str, Vec<Probe>> = BTreeMap::new();
        for part in &parts.members {
            let member = &*part.member;
            let imports = member.interface.imports.iter().map(|import| import.name.as_str());
            for import in imports.filter(|import| is_outside(&member.id, import, resolution)) {
                match Probe::new(member, import, parts.kind()) {
                    Ok(probe) => probes.entry(path(import)).or_default().push(probe),
                    Err(reason) => {
                        tracing::debug!(component = %member.id, import, reason, "cannot be probed")
                    }
                }
            }
        }
        Self { probes }
    }

    /// The members that want something of the host that it does not have as they want it.
    pub fn against_host(&self, builder: &Builder) -> Vec<Finding> {
        let probes = self.probes.values().flatten();
        let of_host = probes.filter(|probe| host::offers(&probe.import));
        of_host.filter_map(|probe| probe.ask(builder)).collect()
    }

    /// The members that want one interface with different types, nobody of the group offering it.
    pub fn against_each_other(mut self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for probes in self.probes.values_mut() {
            // The composer names two that disagree: without the second, it goes on to the next.
            while let Some(finding) = disagreement(probes) {
                probes.retain(|probe| probe.member.id != finding.component);
                findings.push(finding);
            }
        }
        findings
    }
}

/// False where a member of the group satisfies the import, or where it is said already why none does.
fn is_outside(importer: &ComponentId, import: &str, Resolution { graph, unmet, .. }: &Resolution) -> bool {
    let mut edges = graph.edges.get(importer).into_iter().flatten();
    let is_met = edges.any(|edge| edge.import == import);
    let is_unmet = || {
        unmet
            .iter()
            .any(|it| it.importer == *importer && it.import == import)
    };
    !is_met && !is_unmet()
}

fn path(interface: &str) -> &str {
    interface.split('@').next().unwrap_or_default()
}

/// Two that disagree about the interface that all of them import.
fn disagreement(probes: &[Probe]) -> Option<Finding> {
    if probes.len() < 2 {
        return None;
    }
    let composer = Composer::new(probes.iter().map(|probe| &probe.member)).ok()?;
    match composer.compose(&Graph::default(), |_, _| false) {
        Err(Mismatch::Components(findings)) => findings.into_iter().next(),
        Ok(_) | Err(Mismatch::Group(_)) => None,
    }
}

impl Probe {
    /// Errors: the import cannot be written by itself, as text.
    fn new(member: &Member, import: &str, kind: Kind) -> Result<Self, String> {
        let mut graph = CompositionGraph::new();
        let package = Package::from_bytes("a:member", None, member.skeleton.as_slice(), graph.types_mut())
            .map_err(|error| format!("{error:#}"))?;
        let world = &graph.types()[package.ty()];
        let item = *world.imports.get(import).ok_or("it is not imported")?;
        graph.import(import, item).map_err(|error| error.to_string())?;
        let options = EncodeOptions {
            define_components: true,
            validate: false,
            processor: None,
        };
        let skeleton = graph.encode(options).map_err(|error| error.to_string())?;
        Ok(Self {
            member: Member {
                id: member.id.clone(),
                skeleton_digest: Digest::of(&skeleton),
                skeleton,
                interface: Interface::default(),
                modules: Vec::new(),
                kind,
                whole: None,
            },
            import: import.to_owned(),
        })
    }

    /// What the host has otherwise than it is asked for.
    fn ask(&self, builder: &Builder) -> Option<Finding> {
        let Self { member, import } = self;
        let probe = builder.compiler.skeleton(member.kind, &member.skeleton).ok()?;
        let error = builder.linker(member.kind).ok()?.instantiate_pre(&probe).err()?;
        // It also imports what the interface uses; for that there is a probe of its own.
        if !error.to_string().contains(&format!("`{}@", path(import))) {
            return None;
        }
        let causes: Vec<_> = error.chain().skip(1).map(ToString::to_string).collect();
        let reason = difference(&causes);
        let message = format!("{} and the host disagree about {import}: {reason}", member.id);
        let help = "build it against an interface of WASI 0.2 or 0.3 that this host has";
        let diagnostic = Diagnostic::new("import-mismatch", message).help(help);
        Some(Finding::new(&member.id, diagnostic))
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
