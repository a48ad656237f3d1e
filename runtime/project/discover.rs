//! Reads a root: the manifest, the tree, the files; `groups` says what they mean.
//! The only order of work here is what must be known before what; nothing is decided about a group.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{self, Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use bytes::Bytes;
use rayon::prelude::*;

use crate::diagnostic::{Diagnostic, Position};

use super::{
    ComponentId, Digest, DiscoveryLimits, Limits, MANIFEST, Project, Survey,
    content::{Content, Known},
    groups::{self, Found, Granted, Understood},
    manifest::{self, Elsewhere, GrantLines, Manifest, TextLine},
    reference::{Location, References, missing, place as pulled_place},
    static_files::{self, StaticFolder},
    tree::{self, ReadError, SKIPPED_FOLDERS, Tree},
};

/// See `Project::discover`.
pub fn discover(
    location: &Location,
    limits: &DiscoveryLimits,
    known: &Known,
) -> Result<Project, Vec<Diagnostic>> {
    let mut written = Written::read(location, limits)?;
    if !written.mistakes.is_empty() {
        let faults = written.tree.faults.into_iter().map(|fault| fault.diagnostic);
        return Err(written.mistakes.into_iter().chain(faults).collect());
    }
    let Understood { groups, warnings } = written.understand(limits, known)?;
    let Written {
        root,
        manifest,
        state_dir,
        ..
    } = written;
    Ok(Project {
        elsewhere: elsewhere(&root, &state_dir, &manifest),
        references: by_reference(&manifest),
        server: manifest.server.relative_to(&root),
        root,
        groups: groups.into_iter().map(groups::accept).collect(),
        warnings,
    })
}

/// See `Survey::read`.
pub fn survey(location: &Location, limits: &DiscoveryLimits) -> Result<Survey, Vec<Diagnostic>> {
    let mut written = Written::read(location, limits)?;
    match written.understand(limits, &Known::default()) {
        Ok(Understood { groups, warnings }) => Ok(Survey {
            server: written.manifest.server.relative_to(&written.root),
            root: written.root,
            mistakes: written.mistakes,
            warnings,
            groups,
        }),
        Err(more) => Err(written.mistakes.into_iter().chain(more).collect()),
    }
}

/// See `Project::references`.
pub fn references(root: &Path, limits: &DiscoveryLimits) -> References {
    let (manifest, _) = read_manifest(&root.join(MANIFEST), limits);
    by_reference(&manifest)
}

/// The manifest and the list of files, as far as there is anything to be understood.
struct Written {
    root: PathBuf,
    state_dir: PathBuf,
    manifest: Manifest,
    /// What is wrong with the manifest.
    mistakes: Vec<Diagnostic>,
    tree: Tree,
}

impl Written {
    fn read(location: &Location, limits: &DiscoveryLimits) -> Result<Self, Vec<Diagnostic>> {
        let root = check_root(&location.root).map_err(|diagnostic| vec![diagnostic])?;
        let (manifest, mistakes) = read_manifest(&root.join(MANIFEST), limits);
        match tree::list(&root, limits) {
            Ok(tree) => Ok(Self {
                root,
                state_dir: location.state_dir.clone(),
                manifest,
                mistakes,
                tree,
            }),
            Err(diagnostics) => Err(mistakes.into_iter().chain(diagnostics).collect()),
        }
    }

    /// Reads the components and puts them into groups.
    fn understand(&mut self, limits: &DiscoveryLimits, known: &Known) -> Result<Understood, Vec<Diagnostic>> {
        let found = read_components(
            &self.root,
            &self.tree.files,
            &elsewhere(&self.root, &self.state_dir, &self.manifest),
            limits,
            known,
        )
        .map_err(|diagnostic| vec![diagnostic])?;
        let found = self.explained(found);
        let static_folders = static_folders(&self.root, &self.manifest, limits);
        let faults = std::mem::take(&mut self.tree.faults);
        let granted = granted(&self.root, &self.manifest);
        let file = self.root.join(MANIFEST);
        let understood = groups::understand(&self.manifest, &file, found, static_folders, faults, &granted);
        if understood.groups.is_empty() && self.mistakes.is_empty() {
            return Err(vec![root_empty(&self.root)]);
        }
        Ok(understood)
    }
}

impl Written {
    /// What was not pulled, told as such.
    fn explained(&self, mut found: Vec<Found>) -> Vec<Found> {
        let references = by_reference(&self.manifest);
        for found in &mut found {
            if let Some(reference) = references.get(&found.id)
                && found.path == pulled_place(&self.state_dir, reference)
                && found.content.is_err()
                && !found.path.exists()
            {
                let file = self.root.join(MANIFEST);
                found.content = Err(missing(&self.state_dir, &found.id, reference).file(file));
            }
        }
        found
    }
}

/// Reads the static files in the top folders of all groups: those that the manifest names, else those that
/// form groups by themselves.
fn static_folders(root: &Path, manifest: &Manifest, limits: &DiscoveryLimits) -> Vec<StaticFolder> {
    let named = manifest.claims.iter().map(|(prefix, _)| prefix.to_vec());
    let folders: BTreeSet<Vec<String>> = named
        .chain([Vec::new()])
        .chain(tree::top_folders(root).map(|name| vec![name]))
        .collect();
    let no_limits = Limits::default();
    let read = |folders: Vec<String>| {
        let group = manifest.groups.get(groups::owner(manifest, &folders));
        let most = group.map_or(&no_limits, |group| &group.limits).static_files;
        static_files::read(root, folders, most, limits)
    };
    folders.into_iter().filter_map(read).collect()
}

/// Looks for the folders and the secrets that groups are granted.
fn granted(root: &Path, manifest: &Manifest) -> Granted {
    let grants = || manifest.groups.values().map(|group| &group.grants);
    let folders = grants().flat_map(|grants| &grants.directories);
    let look = |written: &PathBuf| {
        let path = root.join(written);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => Ok(path),
            Ok(_) => Err(format!("{} is not a folder", path.display())),
            Err(error) => Err(format!("{} cannot be opened: {error}", path.display())),
        }
    };
    let texts = grants().flat_map(GrantLines::texts);
    let sources = texts.filter_map(|line| match line {
        TextLine::Written(_) => None,
        TextLine::Secret(source) => Some(&source.value),
    });
    Granted {
        folders: folders
            .map(|line| (line.host.value.clone(), look(&line.host.value)))
            .collect(),
        secrets: sources
            .map(|source| (source.clone(), source.relative_to(root).read()))
            .collect(),
    }
}

/// The components that are built elsewhere.
fn elsewhere(root: &Path, state_dir: &Path, manifest: &Manifest) -> BTreeMap<ComponentId, PathBuf> {
    let path = |elsewhere: &Elsewhere| match elsewhere {
        Elsewhere::Path(path) => root.join(path),
        Elsewhere::Reference(reference) => pulled_place(state_dir, reference),
    };
    let components = manifest.components.iter();
    components
        .map(|(id, elsewhere)| (id.clone(), path(elsewhere)))
        .collect()
}

fn by_reference(manifest: &Manifest) -> References {
    let components = manifest.components.iter();
    let reference = |elsewhere: &Elsewhere| match elsewhere {
        Elsewhere::Path(_) => None,
        Elsewhere::Reference(reference) => Some(reference.clone()),
    };
    components
        .filter_map(|(id, elsewhere)| Some((id.clone(), reference(elsewhere)?)))
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

/// The manifest as far as it can be understood, and what is wrong with it. Without a file, all is as by
/// default.
fn read_manifest(file: &Path, limits: &DiscoveryLimits) -> (Manifest, Vec<Diagnostic>) {
    let unread = |diagnostic| (Manifest::default(), vec![diagnostic]);
    let content = match tree::read(file, limits.manifest) {
        Ok(content) => content,
        Err(ReadError::Io(error)) if tree::is_not_there(file, &error) => {
            return (Manifest::default(), vec![]);
        }
        Err(ReadError::Io(error)) => {
            return unread(Diagnostic::io(
                "manifest-unreadable",
                "read the manifest",
                file,
                &error,
            ));
        }
        Err(error @ (ReadError::NotAFile | ReadError::TooLarge(_) | ReadError::Changed)) => {
            let message = format!("the manifest {} cannot be read: {error}", file.display());
            return unread(Diagnostic::new("manifest-unreadable", message).file(file));
        }
    };
    match std::str::from_utf8(&content) {
        Ok(text) => manifest::parse(file, text),
        Err(error) => unread(not_utf8(file, &content[..error.valid_up_to()])),
    }
}

fn not_utf8(file: &Path, valid: &[u8]) -> Diagnostic {
    let valid = String::from_utf8_lossy(valid);
    Diagnostic::new("manifest-syntax", "the manifest is not UTF-8 text")
        .file(file)
        .position(Position::of(&valid, valid.len()))
}

/// Reads all files, on all cores if it may: every look does, and a group may be large. Errors: more bytes than a tree
/// may have.
fn read_components(
    root: &Path,
    files: &[(ComponentId, PathBuf)],
    elsewhere: &BTreeMap<ComponentId, PathBuf>,
    limits: &DiscoveryLimits,
    known: &Known,
) -> Result<Vec<Found>, Diagnostic> {
    let room = Room(AtomicU64::new(limits.total));
    let found = |id: &ComponentId, path: &Path, content: Result<Read, Diagnostic>| match content {
        Ok((_, content)) if !room.take(content.size()) => Err(TooMuch),
        content => Ok(Found {
            id: id.clone(),
            path: path.to_owned(),
            content,
        }),
    };
    let held = |bytes: Bytes| (Digest::of(&bytes), Content::Held(bytes));
    let at_a_time = if limits.one_core { files.len() } else { 1 };
    let in_tree = files.par_iter().with_min_len(at_a_time.max(1));
    let in_tree = in_tree.filter_map(|(id, path)| {
        let content = match known.find(id, path) {
            Some(left) => Ok(left),
            None => tree::read_component(path, limits.of_file(path))?.map(held),
        };
        Some(found(id, path, content))
    });
    let elsewhere = elsewhere.par_iter().map(|(id, path)| {
        let content = match known.find(id, path) {
            Some(left) => Ok(left),
            None => read_elsewhere(id, path, limits).map(held),
        };
        found(id, path, content)
    });
    let all: Result<Vec<Found>, TooMuch> = in_tree.chain(elsewhere).collect();
    all.map_err(|TooMuch| {
        let total = bytesize::ByteSize(limits.total);
        tree::too_large(root, total, "of components, all together")
    })
}

/// What a file holds.
type Read = (Digest, Content);

/// A tree has more bytes than it may have.
struct TooMuch;

/// The bytes that may still be read.
struct Room(AtomicU64);

impl Room {
    /// False where there is not so much left; then there is nothing left.
    fn take(&self, bytes: u64) -> bool {
        let left = |room: u64| Some(room.saturating_sub(bytes));
        let before = self.0.fetch_update(Relaxed, Relaxed, left);
        before.is_ok_and(|before| before >= bytes)
    }
}

fn read_elsewhere(id: &ComponentId, path: &Path, limits: &DiscoveryLimits) -> Result<Bytes, Diagnostic> {
    tree::read(path, limits.of_file(path)).map_err(|error| {
        let help = format!("it is the path of [components.\"{id}\"]: build it, or correct the path");
        let diagnostic = tree::component_unreadable(path, error);
        if diagnostic.help.is_some() {
            diagnostic
        } else {
            diagnostic.help(help)
        }
    })
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
