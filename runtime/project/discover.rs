//! Reads a root: the manifest, the tree, the files; `groups` says what they mean.
//! The only order of work here is what must be known before what; nothing is decided about a group.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{self, Path, PathBuf},
};

use crate::diagnostic::{Diagnostic, Position};

use super::{
    ComponentId, DiscoveryLimits, MANIFEST, Project,
    groups::{self, Folders, Found},
    manifest::{self, Manifest},
    tree::{self, ReadError, SKIPPED_FOLDERS, Tree},
};

/// See `Project::discover`.
pub fn discover(root: &Path, limits: &DiscoveryLimits) -> Result<Project, Vec<Diagnostic>> {
    let root = check_root(root).map_err(|diagnostic| vec![diagnostic])?;
    let manifest_file = root.join(MANIFEST);
    let (manifest, tree) = match (read_manifest(&manifest_file, limits), tree::list(&root, limits)) {
        (Ok(manifest), Ok(tree)) => (manifest, tree),
        (manifest, tree) => return Err(all_mistakes(manifest, tree)),
    };
    let elsewhere = manifest
        .components
        .iter()
        .map(|(id, path)| (id.clone(), root.join(path)))
        .collect();
    let found = read_components(&tree.files, &elsewhere, limits);
    let granted = granted_folders(&root, &manifest);
    let groups = groups::understand(&manifest, &manifest_file, found, tree.faults, &granted);
    if groups.is_empty() {
        return Err(vec![root_empty(&root)]);
    }
    Ok(Project {
        server: manifest.server.relative_to(&root),
        root,
        groups,
        elsewhere,
    })
}

/// Looks for the folders that groups are granted.
fn granted_folders(root: &Path, manifest: &Manifest) -> Folders {
    let lines = manifest
        .groups
        .values()
        .flat_map(|group| &group.grants.directories);
    let look = |written: &PathBuf| {
        let path = root.join(written);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => Ok(path),
            Ok(_) => Err(format!("{} is not a folder", path.display())),
            Err(error) => Err(format!("{} cannot be opened: {error}", path.display())),
        }
    };
    lines
        .map(|line| (line.host.value.clone(), look(&line.host.value)))
        .collect()
}

/// See `Project::root`.
pub fn check_root(root: &Path) -> Result<PathBuf, Diagnostic> {
    const HELP: &str = "name the folder that holds your components: wasmhost serve ROOT";
    match fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => path::absolute(root)
            .map_err(|error| Diagnostic::io("root-unreadable", "find the root", root, &error)),
        Ok(_) => {
            let message = format!("the root {} is not a folder", root.display());
            Err(Diagnostic::new("root-not-a-folder", message)
                .file(root)
                .help(HELP))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let message = format!("the root {} does not exist", root.display());
            Err(Diagnostic::new("root-missing", message).file(root).help(HELP))
        }
        Err(error) => Err(Diagnostic::io("root-unreadable", "read the root", root, &error)),
    }
}

/// Without a file, all is as by default.
fn read_manifest(file: &Path, limits: &DiscoveryLimits) -> Result<Manifest, Vec<Diagnostic>> {
    let content = match tree::read(file, limits.manifest) {
        Ok(content) => content,
        Err(ReadError::Io(error)) if tree::is_not_there(file, &error) => return Ok(Manifest::default()),
        Err(ReadError::Io(error)) => {
            return Err(vec![Diagnostic::io(
                "manifest-unreadable",
                "read the manifest",
                file,
                &error,
            )]);
        }
        Err(error @ (ReadError::NotAFile | ReadError::TooLarge(_))) => {
            let message = format!("the manifest {} cannot be read: {error}", file.display());
            return Err(vec![Diagnostic::new("manifest-unreadable", message).file(file)]);
        }
    };
    match std::str::from_utf8(&content) {
        Ok(text) => manifest::parse(file, text),
        Err(error) => Err(vec![not_utf8(file, &content[..error.valid_up_to()])]),
    }
}

fn not_utf8(file: &Path, valid: &[u8]) -> Diagnostic {
    let valid = String::from_utf8_lossy(valid);
    Diagnostic::new("manifest-syntax", "the manifest is not UTF-8 text")
        .file(file)
        .position(Position::of(&valid, valid.len()))
}

/// What is wrong with both, so that one round of corrections is enough.
fn all_mistakes(
    manifest: Result<Manifest, Vec<Diagnostic>>,
    tree: Result<Tree, Vec<Diagnostic>>,
) -> Vec<Diagnostic> {
    let mut mistakes = manifest.err().unwrap_or_default();
    match tree {
        Ok(tree) => mistakes.extend(tree.faults.into_iter().map(|fault| fault.diagnostic)),
        Err(diagnostics) => mistakes.extend(diagnostics),
    }
    mistakes
}

fn read_components(
    files: &[(ComponentId, PathBuf)],
    elsewhere: &BTreeMap<ComponentId, PathBuf>,
    limits: &DiscoveryLimits,
) -> Vec<Found> {
    let in_tree = files.iter().filter_map(|(id, path)| {
        let content = tree::read_component(path, limits.file)?;
        Some(Found {
            id: id.clone(),
            path: path.clone(),
            content,
        })
    });
    let elsewhere = elsewhere.iter().map(|(id, path)| {
        let content = tree::read(path, limits.file).map_err(|error| {
            let help = format!("it is the path of [components.\"{id}\"]: build it, or correct the path");
            let diagnostic = tree::component_unreadable(path, error);
            if diagnostic.help.is_some() {
                diagnostic
            } else {
                diagnostic.help(help)
            }
        });
        Found {
            id: id.clone(),
            path: path.clone(),
            content,
        }
    });
    in_tree.chain(elsewhere).collect()
}

fn root_empty(root: &Path) -> Diagnostic {
    let skipped = SKIPPED_FOLDERS.join(", ");
    let message = format!(
        "no component under {}: every folder was searched for .wasm and .wat files, \
         but for {skipped} and names that begin with . or _",
        root.display()
    );
    Diagnostic::new("root-empty", message).file(root).help(format!(
        "build the components (wasmhost build), or name one that is built elsewhere in {MANIFEST}"
    ))
}
