//! `wasmhost graph`: who imports what from whom, in several formats. Each is a pure function of a
//! [`Surface`](super::Surface).

pub mod dot;
pub mod json;
mod layout;
mod stacks;
pub mod svg;
pub mod text;

use std::collections::BTreeMap;

use super::Member;
use crate::{host::Handler, project::ComponentId};

/// The name of the interface by which a page is called.
fn handler(member: &Member) -> Option<&str> {
    let mut names = member.world.exports.iter().map(|(name, _)| name.as_str());
    names.find(|name| member.handler.is_some() && Handler::of(name) == member.handler)
}

/// `shop.dark or shop.light`
fn or(exporters: &[ComponentId]) -> String {
    let exporters: Vec<_> = exporters.iter().map(ComponentId::as_str).collect();
    exporters.join(" or ")
}

/// Interfaces by package: `wasi:cli@0.2.6` has `environment` and `exit`.
fn by_package(interfaces: &[String]) -> BTreeMap<String, Vec<&str>> {
    let mut packages: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for name in interfaces {
        let (path, version) = name
            .split_once('@')
            .map_or((name.as_str(), None), |(path, v)| (path, Some(v)));
        let (package, interface) = path.split_once('/').unwrap_or((path, ""));
        let package = version.map_or_else(|| package.to_owned(), |version| format!("{package}@{version}"));
        packages.entry(package).or_default().push(interface);
    }
    packages
}

/// `wasi:cli@0.2.6 (environment, exit)`
fn packages_in_words(interfaces: &[String]) -> String {
    let packages = by_package(interfaces).into_iter();
    let packages: Vec<_> = packages
        .map(|(package, interfaces)| format!("{package} ({})", interfaces.join(", ")))
        .collect();
    packages.join(", ")
}
