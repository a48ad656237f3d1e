//! Routes that lead elsewhere than their page's author would think.

use std::path::Path;

use crate::{
    diagnostic::Diagnostic,
    prepare::Prepared,
    project::MANIFEST,
    router::{GroupRoutes, RouteTable, Serving, Shadowed},
};

/// Puts all groups into a table, as the server would, and reports what does not get the route it has by
/// default, and what gets a route but cannot answer.
pub fn shadowed(root: &Path, groups: &[Prepared]) -> Vec<Diagnostic> {
    let routes: Vec<_> = groups
        .iter()
        .map(|Prepared { spec, generation, .. }| GroupRoutes {
            name: &spec.name,
            serving: Serving::Live(generation.clone()),
            waits: None,
            routes: &spec.routes,
            down: &[],
            files: generation.files() > 0,
        })
        .collect();
    let table = RouteTable::new(&routes, None);
    let mut diagnostics: Vec<_> = table
        .shadowed()
        .iter()
        .map(|route| describe(groups, route))
        .collect();
    for Prepared { spec, generation, .. } in groups {
        let libraries = spec
            .routes
            .iter()
            .filter(|route| !generation.pages().any(|page| *page == route.component));
        diagnostics.extend(libraries.map(|route| {
            let message = format!(
                "the route {:?} of the group {} leads to {}, which exports no handler: it is answered with 502",
                route.pattern, spec.name, route.component
            );
            let help = "name a page component";
            Diagnostic::new("route-without-page", message).file(root.join(MANIFEST)).help(help).warning()
        }));
    }
    diagnostics
}

fn describe(
    groups: &[Prepared],
    Shadowed {
        pattern,
        component,
        by,
    }: &Shadowed,
) -> Diagnostic {
    let written = groups
        .iter()
        .flat_map(|group| &group.spec.routes)
        .any(|route| route.pattern == *pattern);
    let holder = by
        .as_ref()
        .map_or_else(|| "another group".into(), ToString::to_string);
    let Some(component) = component else {
        let message = format!("the static files below {pattern} are {holder}'s path by {MANIFEST}");
        return Diagnostic::new("route-shadowed", message)
            .help("give the route another path: the files are not served")
            .warning();
    };
    let message = if written {
        format!("the default route {pattern} of {component} is given to {holder} by {MANIFEST}")
    } else {
        format!("the default route {pattern} of {component} is {holder}'s too, who has it")
    };
    let diagnostic = Diagnostic::new("route-shadowed", message)
        .help(format!(
            "rename one of the two, or give {component} a route in {MANIFEST}"
        ))
        .warning();
    let owner = groups
        .iter()
        .find_map(|group| group.spec.components.get(component));
    match owner {
        Some(component) => diagnostic.file(&component.path),
        None => diagnostic,
    }
}
