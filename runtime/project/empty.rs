//! Namespaces of the manifest in which nothing lies: a typing error, most likely, or a folder that was
//! emptied. Nobody is refused for it: what is written of such a group is for nobody.

use std::{collections::BTreeSet, path::Path};

use crate::diagnostic::Diagnostic;

use super::{manifest::Claims, names, toml_reader::Placed};

/// A warning for each claim without a component; `places` are the folders in which components lie, whole
/// or not.
pub fn namespaces(claims: &Claims, file: &Path, places: &BTreeSet<Vec<String>>) -> Vec<Diagnostic> {
    let is_empty = |prefix: &[String], group: &str| match prefix {
        [] => !places.contains(prefix),
        prefix => {
            let mut below = places.iter().filter(|folders| folders.starts_with(prefix));
            below.all(|folders| claims.owner(folders) != Some(group))
        }
    };
    let empty = claims.iter().filter(|(prefix, group)| is_empty(prefix, group));
    let mut warnings: Vec<_> = empty
        .map(|(prefix, group)| describe(prefix, group, file, places))
        .collect();
    warnings.sort_by_key(|warning| warning.position.map(|place| (place.line, place.column)));
    warnings
}

fn describe(
    prefix: &[String],
    group: &Placed<String>,
    file: &Path,
    places: &BTreeSet<Vec<String>>,
) -> Diagnostic {
    let namespace = prefix.join(".");
    let group_name = &group.value;
    let message = if prefix.is_empty() {
        format!("the group {group_name} is of the files directly in the root, and there is no component")
    } else {
        format!("no component lies in the namespace \"{namespace}\" of the group {group_name}")
    };
    let inhabited: BTreeSet<String> = places
        .iter()
        .flat_map(|folders| (1..=folders.len()).map(|length| folders[..length].join(".")))
        .collect();
    let help = match names::nearest(&namespace, inhabited.iter().map(String::as_str)) {
        Some(guess) => format!("did you mean {guess}?"),
        None => "correct the name, or remove what is written for it: it has no effect".to_owned(),
    };
    Diagnostic::new("namespace-empty", message)
        .file(file)
        .position(group.position)
        .help(help)
        .warning()
}
