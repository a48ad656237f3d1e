//! A tree on disk into a release: what would be served of it, and nothing else.

use std::{collections::BTreeMap, fs, path::Path};

use bytes::Bytes;

use super::artifact::{Config, Layer, Release};
use crate::{
    diagnostic::Diagnostic,
    project::{Component, GroupSpec, Known, Location, MANIFEST, Project},
};

/// A release with the bytes of each of its layers.
pub struct Gathered {
    pub release: Release,
    pub blobs: BTreeMap<Layer, Bytes>,
}

/// Errors: all that keeps the tree from being served as it is understood, and what means something here alone.
pub fn gather(location: &Location) -> Result<Gathered, Vec<Diagnostic>> {
    let project = Project::discover_new(location, &Known::default(), false)?;
    let mut faults = Vec::new();
    let mut files = BTreeMap::new();
    for group in project.groups.values() {
        match group {
            Ok(group) => {
                files.extend(components(group, &mut faults));
                files.extend(static_files(&project.root, group));
                faults.extend(of_this_machine(&project.root, group));
            }
            Err(refusal) => faults.extend(refusal.diagnostics.iter().cloned()),
        }
    }
    let manifest = manifest(&project.root).map_err(|error| vec![error])?;
    if !faults.is_empty() {
        return Err(faults);
    }
    // A text in a struct always is JSON.
    let config = Bytes::from(serde_json::to_vec(&Config { manifest }).unwrap_or_default());
    let mut blobs = BTreeMap::from([(Layer::of(&config), config.clone())]);
    let mut layers = BTreeMap::new();
    for (path, bytes) in files {
        let layer = Layer::of(&bytes);
        layers.insert(path, layer.clone());
        blobs.insert(layer, bytes);
    }
    let release = Release {
        config: Layer::of(&config),
        files: layers,
    };
    Ok(Gathered { release, blobs })
}

/// Each in the place that its id stands for, wherever it was built.
fn components(group: &GroupSpec, faults: &mut Vec<Diagnostic>) -> Vec<(String, Bytes)> {
    let mut files = Vec::new();
    for component in group.components.values() {
        let Component { id, path, .. } = component;
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        match component.bytes() {
            Ok(bytes) => files.push((format!("{}.{ending}", id.to_string().replace('.', "/")), bytes)),
            Err(fault) => faults.push(fault),
        }
    }
    files
}

fn static_files(root: &Path, group: &GroupSpec) -> Vec<(String, Bytes)> {
    let below_root = |path: &Path| Some(path.strip_prefix(root).ok()?.to_str()?.to_owned());
    let files = group.files.values();
    files
        .filter_map(|file| Some((below_root(&file.path)?, file.bytes.clone())))
        .collect()
}

/// A release has no folder of its own that could hold data.
fn of_this_machine(root: &Path, group: &GroupSpec) -> Vec<Diagnostic> {
    let here = group.grants.directories.iter();
    here.filter(|directory| directory.host.starts_with(root))
        .map(|directory| {
            let host = directory.host.display();
            let message = format!("group {} is granted a folder of this tree, {host}", group.name);
            let help = "a release is no place for data: name a folder by its absolute path";
            Diagnostic::new("release-local", message)
                .file(root.join(MANIFEST))
                .help(help)
        })
        .collect()
}

/// Without the places where components were built: they lie in the tree now.
fn manifest(root: &Path) -> Result<Option<String>, Diagnostic> {
    let file = root.join(MANIFEST);
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Diagnostic::io("manifest-unreadable", "read", file, &error)),
    };
    let mut document: toml_edit::DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        Diagnostic::new("manifest-invalid", error.message()).file(file)
    })?;
    document.remove("components");
    Ok(Some(document.to_string()))
}
