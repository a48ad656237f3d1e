//! `wasmhost check`: everything that the server would refuse, all at once, found by doing what the server
//! does, up to the first store of every group. Then what is served, but hardly as it was meant.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{
    against::{self, Comparison},
    routes, sound,
    surface::{GroupSurface, ReadTree, Surface},
};
use crate::{
    certificate,
    diagnostic::Diagnostic,
    host,
    prepare::{self, PartlyReadable, Prepared, Readable},
    project::{ComponentId, GroupSpec, Location, MANIFEST},
    router::patterns,
    status::RouteLine,
};

/// What is wrong with a tree, and what is in it.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub diagnostics: Vec<Diagnostic>,
    pub groups: Vec<GroupReport>,
    /// Against the other tree, if there is one.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
}

#[derive(Debug, Serialize)]
pub struct GroupReport {
    pub group: String,
    /// False where the server would refuse it.
    pub accepted: bool,
    pub components: Vec<ComponentId>,
    /// Empty where the group is refused.
    pub routes: Vec<RouteLine>,
    /// How many files are served under `/GROUP/static/`.
    pub files: usize,
}

/// Checks the tree of `location`, and compares it with the `other`.
pub async fn check(location: &Location, other: Option<&Location>) -> Report {
    let (mut report, surface) = match ReadTree::read(location).await {
        Ok(tree) => {
            let surface = tree.surface();
            (check_tree(tree, &surface).await, Some(surface))
        }
        Err(diagnostics) => {
            let report = Report {
                diagnostics,
                ..Report::default()
            };
            (report, None)
        }
    };
    if let Some(other) = other {
        match ReadTree::read(other).await {
            Ok(other) => {
                report.diagnostics.extend(other.diagnostics());
                report.comparison = surface.map(|surface| against::between(&other.surface(), &surface));
            }
            Err(diagnostics) => report.diagnostics.extend(diagnostics),
        }
    }
    report
}

async fn check_tree(mut tree: ReadTree, surface: &Surface) -> Report {
    let mut diagnostics = tree.mistakes.clone();
    let (mut groups, mut prepared) = (Vec::new(), Vec::new());
    for group in std::mem::take(&mut tree.groups) {
        let unread = group.unread.clone();
        match check_group(&tree, group).await {
            Ok(group) => prepared.push(group),
            Err((spec, reasons)) => {
                diagnostics.extend(reasons);
                let components: BTreeSet<_> = spec.components.into_keys().chain(unread).collect();
                groups.push(refused(&spec.name, components));
            }
        }
    }
    groups.extend(prepared.iter().map(|group| GroupReport {
        // What is wrong with the tree as a whole keeps all of it from being served.
        accepted: tree.mistakes.is_empty(),
        ..accepted(group)
    }));
    groups.sort_by(|a, b| a.group.cmp(&b.group));
    let any_page = prepared
        .iter()
        .any(|group| group.generation.pages().next().is_some());
    if !any_page && diagnostics.is_empty() {
        diagnostics.push(prepare::no_page(&tree.root));
    } else {
        let groups = prepared
            .iter()
            .filter_map(|group| Some((&group.spec, surface.group(&group.spec.name)?)));
        for (spec, group) in groups {
            diagnostics.extend(unused(spec, group));
            diagnostics.extend(ungranted(spec, group, &tree.root));
        }
    }
    diagnostics.extend(routes::shadowed(&tree.root, &prepared));
    diagnostics.extend(tree.warnings);
    diagnostics.extend(tree.server.certificate().and_then(certificate::check));
    Report {
        diagnostics,
        groups,
        comparison: None,
    }
}

/// A group that would be served, or everything that is wrong with it.
async fn check_group(tree: &ReadTree, group: PartlyReadable) -> Result<Prepared, prepare::Refused> {
    let mut reasons = group.diagnostics.clone();
    if reasons.is_empty() {
        match prepare(tree, group.readable.clone()).await {
            Ok(prepared) => return Ok(prepared),
            Err((_, refused)) => reasons = refused,
        }
    }
    add_new(&mut reasons, group.diagnose(&tree.builder, &tree.exports).await);
    start_the_rest(tree, &group, &mut reasons).await;
    Err((group.readable.spec, reasons))
}

/// Starts what is left without the components that are at fault, as often as that finds another one.
async fn start_the_rest(tree: &ReadTree, group: &PartlyReadable, reasons: &mut Vec<Diagnostic>) {
    let resolution = group.readable.resolve(&tree.exports, &group.unread);
    while let Some(rest) = sound::without_faulty(&group.readable, &resolution, reasons) {
        let refused = prepare(tree, rest)
            .await
            .map_or_else(|(_, refused)| refused, |_| Vec::new());
        if !add_new(reasons, refused) {
            return;
        }
    }
}

/// True where something was not among the reasons before.
fn add_new(reasons: &mut Vec<Diagnostic>, more: Vec<Diagnostic>) -> bool {
    let before = reasons.len();
    for diagnostic in more {
        if !reasons.contains(&diagnostic) {
            reasons.push(diagnostic);
        }
    }
    reasons.len() > before
}

/// The generation that comes back serves nobody, and ends when it is dropped.
async fn prepare(tree: &ReadTree, group: Readable) -> Result<Prepared, prepare::Refused> {
    let nobody = Arc::new(|_: &_, _| {});
    prepare::prepare(
        tree.builder.clone(),
        group,
        tree.exports.clone(),
        prepare::Succession {
            number: 1,
            inherits: false,
            begins_with: None,
            on_probation: false,
        },
        nobody,
        CancellationToken::new(),
    )
    .await
}

fn refused(group: &str, components: BTreeSet<ComponentId>) -> GroupReport {
    GroupReport {
        group: group.to_owned(),
        accepted: false,
        components: components.into_iter().collect(),
        routes: Vec::new(),
        files: 0,
    }
}

fn accepted(Prepared { spec, generation, .. }: &Prepared) -> GroupReport {
    let lines = patterns(&spec.routes, generation.pages()).into_iter();
    GroupReport {
        group: spec.name.clone(),
        accepted: true,
        components: spec.components.keys().cloned().collect(),
        routes: lines
            .map(|(pattern, component)| RouteLine {
                pattern,
                component: component.clone(),
            })
            .collect(),
        files: generation.files(),
    }
}

/// The components that import `wasi:keyvalue`, where it is not granted.
fn ungranted(spec: &GroupSpec, group: &GroupSurface, root: &Path) -> Vec<Diagnostic> {
    if spec.grants.keyvalue.is_some() {
        return Vec::new();
    }
    let warning = |(id, import): (&ComponentId, &str)| {
        let name = &spec.name;
        let message =
            format!("{id} imports {import}, which the group {name} is not granted: its calls are denied");
        let help = format!("write `keyvalue = true` into [groups.{name}.grants] of {MANIFEST}");
        let diagnostic = Diagnostic::new("keyvalue-ungranted", message).file(root.join(MANIFEST));
        diagnostic.help(help).warning()
    };
    let members = group.members.iter();
    let first = members.filter_map(|(id, member)| {
        let import = member.host.iter().find(|import| host::needs_keyvalue(import));
        Some((id, import?.as_str()))
    });
    first.map(warning).collect()
}

/// A group that answers nothing, or the components that nothing in it needs.
fn unused(spec: &GroupSpec, group: &GroupSurface) -> Vec<Diagnostic> {
    if group.pages().next().is_none() {
        let message = format!("the group {} has no page: it answers no requests", spec.name);
        let help = "add a component that exports wasmhost:page/handler@0.1.0, or move its components to the \
                    group that needs them";
        return vec![
            Diagnostic::new("group-without-page", message)
                .help(help)
                .warning(),
        ];
    }
    let unreachable = group.unreachable();
    let warning = |id: &ComponentId| {
        let mut importers: Vec<_> = group
            .importers(id)
            .map(|(importer, _)| importer.as_str())
            .collect();
        importers.dedup();
        let why = match importers.as_slice() {
            [] => "nothing imports what it exports".to_owned(),
            importers => format!(
                "it is imported by {} only, which no page needs",
                importers.join(", ")
            ),
        };
        let diagnostic = Diagnostic::new("component-unreachable", format!("no page needs {id}: {why}"));
        let diagnostic = diagnostic
            .help("remove it, or import it; it is linked and started all the same")
            .warning();
        match spec.components.get(id) {
            Some(component) => diagnostic.file(&component.path),
            None => diagnostic,
        }
    };
    unreachable.into_iter().map(warning).collect()
}
