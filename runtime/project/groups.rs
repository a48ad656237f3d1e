//! Manifest and files into groups: who belongs where, what is whole, and why the rest is refused.
//! Decides only: all files are read before, nothing is read here.

use std::{
    collections::{
        BTreeMap, BTreeSet,
        btree_map::{Entry, OccupiedEntry},
    },
    path::{Path, PathBuf},
};

use crate::diagnostic::Diagnostic;

use super::{
    Component, ComponentId, Digest, Directory, Grants, GroupSpec, KeyValue, PartialGroup, Place, ROOT_GROUP,
    Refusal, Route,
    content::Content,
    empty,
    manifest::{DirectoryLine, GroupManifest, KeyValueLine, Manifest, RouteLine, TextLine, WireLine},
    names,
    secrets::{Secrets, Source, Text},
    static_files::{STATIC, StaticFile, StaticFolder},
    toml_reader::Placed,
    tree::Fault,
};

/// A component's file, read or not.
#[derive(Debug)]
pub struct Found {
    pub id: ComponentId,
    pub path: PathBuf,
    pub content: Result<(Digest, Content), Diagnostic>,
}

/// What the manifest grants by a path or a name, as it was found. By what is written.
#[derive(Default)]
pub struct Granted {
    /// Where each folder is, or why it is none.
    pub folders: BTreeMap<PathBuf, Result<PathBuf, String>>,
    pub secrets: Secrets,
}

/// What a tree comes to.
pub struct Understood {
    /// By name.
    pub groups: Vec<PartialGroup>,
    pub warnings: Vec<Diagnostic>,
}

/// The group where all of it was understood; else why it is refused.
pub fn accept(group: PartialGroup) -> (String, Result<GroupSpec, Refusal>) {
    let PartialGroup {
        spec, diagnostics, ..
    } = group;
    let name = spec.name.clone();
    if diagnostics.is_empty() {
        return (name, Ok(spec));
    }
    let digest = Digest::of_refusal(&spec, &diagnostics);
    (name, Err(Refusal { digest, diagnostics }))
}

/// What each group is, and what is wrong with it; `manifest_file` is where the manifest was read from.
pub fn understand(
    manifest: &Manifest,
    manifest_file: &Path,
    found: Vec<Found>,
    static_folders: Vec<StaticFolder>,
    faults: Vec<Fault>,
    granted: &Granted,
) -> Understood {
    let mut drafts: BTreeMap<String, Draft> = BTreeMap::new();
    let mut owners = Owners::new();
    let mut places: BTreeSet<Vec<String>> = BTreeSet::new();
    for fault in faults {
        let group = owner(manifest, &fault.folders);
        drafts
            .entry(group.to_owned())
            .or_default()
            .diagnostics
            .push(fault.diagnostic);
        places.insert(fault.folders);
    }
    for found in found {
        let folders = folders(&found.id);
        let group = owner(manifest, &folders);
        let draft = drafts.entry(group.to_owned()).or_default();
        if let Some(unclaimed) = unclaimed(manifest, manifest_file, group, &folders)
            && !draft.diagnostics.contains(&unclaimed)
        {
            draft.diagnostics.push(unclaimed);
        }
        owners.insert(found.id.clone(), group.to_owned());
        draft.found.entry(found.id.clone()).or_default().push(found);
        places.insert(folders);
    }
    let mut unserved = Vec::new();
    for folder in static_folders {
        let group = &owner(manifest, &folder.folders).to_owned();
        match drafts.get_mut(group) {
            Some(draft) => {
                let unclaimed = unclaimed(manifest, manifest_file, group, &folder.folders);
                draft.diagnostics.extend(unclaimed);
                places.insert(folder.folders.clone());
                draft.add_files(group, folder);
            }
            None => unserved.push(nobodys(group, &folder)),
        }
    }
    let no_lines = GroupManifest::default();
    let finish = |(name, draft): (String, Draft)| {
        let written = manifest.groups.get(&name).unwrap_or(&no_lines);
        let references = References {
            group: &name,
            owners: &owners,
            granted,
            manifest_file,
        };
        draft.finish(&name, written, &references)
    };
    let mut warnings = empty::namespaces(&manifest.claims, manifest_file, &places);
    warnings.extend(unserved);
    Understood {
        groups: drafts.into_iter().map(finish).collect(),
        warnings,
    }
}

/// The names of the folders that a component of that id lies in.
fn folders(id: &ComponentId) -> Vec<String> {
    id.namespace()
        .split('.')
        .filter(|folder| !folder.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The group that claims the folders, else the one that the top folder forms.
pub fn owner<'a>(manifest: &'a Manifest, folders: &'a [String]) -> &'a str {
    let top = || folders.first().map_or(ROOT_GROUP, String::as_str);
    manifest.claims.owner(folders).unwrap_or_else(top)
}

/// A folder that nobody claims has the name of a group that leaves it out: nobody can tell what was meant.
fn unclaimed(manifest: &Manifest, file: &Path, group: &str, folders: &[String]) -> Option<Diagnostic> {
    let top = folders.first()?;
    let namespaces = manifest.groups.get(top)?.namespaces.as_ref()?;
    if manifest.claims.owner(folders).is_some() {
        return None;
    }
    let namespace = folders.join(".");
    let message = format!(
        "namespace \"{namespace}\" belongs to no group: its folder would form the group {group}, \
         whose namespaces are \"{}\"",
        namespaces.join("\", \"")
    );
    let help = format!("add \"{namespace}\" to the namespaces of {group} or of another group");
    Some(
        Diagnostic::new("namespace-unclaimed", message)
            .file(file)
            .position(namespaces.position)
            .help(help),
    )
}

/// Static files of a group that there is none of.
fn nobodys(group: &str, folder: &StaticFolder) -> Diagnostic {
    let path = &folder.path;
    let message = format!(
        "the files in {} are not served: the group {group} has no component",
        path.display()
    );
    Diagnostic::new("static-without-group", message)
        .file(path)
        .help("a page has to be in the group; move the folder to one that has")
        .warning()
}

/// A group while it is put together.
#[derive(Default)]
struct Draft {
    found: BTreeMap<ComponentId, Vec<Found>>,
    files: BTreeMap<String, StaticFile>,
    diagnostics: Vec<Diagnostic>,
}

impl Draft {
    /// A group of several namespaces may have several folders; they are served as one.
    fn add_files(&mut self, group: &str, folder: StaticFolder) {
        self.diagnostics.extend(folder.faults);
        for (name, file) in folder.files {
            match self.files.entry(name) {
                Entry::Vacant(entry) => drop(entry.insert(file)),
                Entry::Occupied(entry) => self.diagnostics.push(file_twice(group, &entry, &file)),
            }
        }
    }

    fn finish(self, name: &str, written: &GroupManifest, references: &References<'_>) -> PartialGroup {
        let Self {
            found,
            files,
            mut diagnostics,
        } = self;
        let (mut components, mut unread) = (BTreeMap::new(), BTreeSet::new());
        for (id, files) in found {
            match component(&id, files) {
                Ok(component) => drop(components.insert(id, component)),
                Err(diagnostic) => {
                    diagnostics.push(diagnostic);
                    unread.insert(id);
                }
            }
        }
        diagnostics.extend(
            written
                .routes
                .iter()
                .filter_map(|line| references.check_route(line)),
        );
        diagnostics.extend(written.wire.iter().flat_map(|line| references.check_wire(line)));
        let (grants, missing) = references.grants(written);
        diagnostics.extend(missing);
        let spec = GroupSpec {
            name: name.to_owned(),
            components,
            files,
            routes: written.routes.iter().map(route).collect(),
            wire: wire(&written.wire),
            instances: written.instances,
            state: written.state,
            checkpoint: written.checkpoint,
            limits: written.limits.clone(),
            grants,
            drain: written.drain,
            requests: written.requests,
            probation: written.probation,
            digest: Digest::of(&[]),
            wire_places: wire_places(references.manifest_file, &written.wire),
        };
        PartialGroup {
            spec: spec.with_digest(),
            unread,
            diagnostics,
        }
    }
}

fn file_twice(group: &str, known: &OccupiedEntry<'_, String, StaticFile>, other: &StaticFile) -> Diagnostic {
    let (name, first) = (known.key(), known.get());
    let message = format!(
        "/{group}/{STATIC}/{name} is two files: {} and {}",
        first.path.display(),
        other.path.display()
    );
    Diagnostic::new("static-duplicate", message)
        .file(&other.path)
        .help("rename one, or remove it: the namespaces of a group share its URLs")
}

fn component(id: &ComponentId, mut files: Vec<Found>) -> Result<Component, Diagnostic> {
    match files.pop() {
        Some(Found { id, path, content }) if files.is_empty() => content.map(|(digest, content)| Component {
            id,
            path,
            digest,
            content,
        }),
        last => {
            let paths: Vec<_> = files
                .iter()
                .chain(&last)
                .map(|found| found.path.display().to_string())
                .collect();
            let message = format!("component {id} has {} files: {}", paths.len(), paths.join(", "));
            let diagnostic = Diagnostic::new("id-duplicate", message).help("remove all but one");
            Err(match last {
                Some(found) => diagnostic.file(found.path),
                None => diagnostic,
            })
        }
    }
}

fn route(line: &RouteLine) -> Route {
    Route {
        pattern: line.pattern.clone(),
        component: line.component.value.clone(),
    }
}

fn wire(lines: &[WireLine]) -> BTreeMap<ComponentId, BTreeMap<String, ComponentId>> {
    let mut wire: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for WireLine {
        importer,
        interface,
        exporter,
    } in lines
    {
        wire.entry(importer.value.clone())
            .or_default()
            .insert(interface.value.clone(), exporter.value.clone());
    }
    wire
}

fn wire_places(file: &Path, lines: &[WireLine]) -> BTreeMap<(ComponentId, String), Place> {
    let place = |line: &WireLine| {
        let key = (line.importer.value.clone(), line.interface.value.clone());
        let place = Place {
            file: file.to_owned(),
            position: line.interface.position,
        };
        (key, place)
    };
    lines.iter().map(place).collect()
}

/// The group of every component that there is a file of, whole or not.
type Owners = BTreeMap<ComponentId, String>;

/// Checks the ids that a group's lines in the manifest refer to.
struct References<'a> {
    group: &'a str,
    owners: &'a Owners,
    granted: &'a Granted,
    manifest_file: &'a Path,
}

impl References<'_> {
    fn check_route(&self, line: &RouteLine) -> Option<Diagnostic> {
        let what = format!("route {:?}", line.pattern);
        self.check("route-unknown-component", &what, &line.component)
    }

    fn check_wire(&self, line: &WireLine) -> impl Iterator<Item = Diagnostic> {
        let what = format!("the wire of {:?}", line.interface.value);
        let check = |id| self.check("wire-unknown-component", &what, id);
        [check(&line.importer), check(&line.exporter)]
            .into_iter()
            .flatten()
    }

    /// What is granted, and what is wrong with its folders and secrets.
    fn grants(&self, written: &GroupManifest) -> (Grants, Vec<Diagnostic>) {
        let lines = &written.grants;
        let (mut directories, mut missing) = (Vec::new(), Vec::new());
        for line in &lines.directories {
            match self.directory(line) {
                Ok(directory) => directories.push(directory),
                Err(diagnostic) => missing.push(diagnostic),
            }
        }
        let grants = Grants {
            http: lines.http.clone(),
            env: self.texts(&lines.env, &mut missing),
            config: self.texts(&lines.config, &mut missing),
            directories,
            keyvalue: self.keyvalue(lines.keyvalue.as_ref(), &mut missing),
        };
        (grants, missing)
    }

    fn texts(
        &self,
        lines: &BTreeMap<String, TextLine>,
        missing: &mut Vec<Diagnostic>,
    ) -> BTreeMap<String, Text> {
        let mut texts = BTreeMap::new();
        for (name, line) in lines {
            match self.text(name, line) {
                Ok(text) => drop(texts.insert(name.clone(), text)),
                Err(diagnostic) => missing.push(diagnostic),
            }
        }
        texts
    }

    fn text(&self, name: &str, line: &TextLine) -> Result<Text, Diagnostic> {
        match line {
            TextLine::Written(text) => Ok(Text::Written(text.clone())),
            TextLine::Secret(source) => match self.granted.secrets.get(&source.value) {
                Some(Ok(secret)) => Ok(Text::Secret(secret.clone())),
                Some(Err(reason)) => Err(self.no_secret(name, source, reason)),
                None => Err(self.no_secret(name, source, "it was not looked for")),
            },
        }
    }

    fn keyvalue(&self, line: Option<&KeyValueLine>, missing: &mut Vec<Diagnostic>) -> Option<KeyValue> {
        match line? {
            KeyValueLine::Durable => Some(KeyValue::Durable),
            KeyValueLine::Url(line) => match self.text("keyvalue", line) {
                Ok(url) => Some(KeyValue::Url(url)),
                Err(diagnostic) => {
                    missing.push(diagnostic);
                    None
                }
            },
        }
    }

    fn no_secret(&self, name: &str, source: &Placed<Source>, reason: &str) -> Diagnostic {
        let message = format!("group {} is granted the secret {name}, but {reason}", self.group);
        Diagnostic::new("secret-missing", message)
            .file(self.manifest_file)
            .position(source.position)
            .help("a path is relative to the root; a variable is one that the server is started with")
    }

    fn directory(&self, line: &DirectoryLine) -> Result<Directory, Diagnostic> {
        let DirectoryLine { host, guest, write } = line;
        let path = match self.granted.folders.get(&host.value) {
            Some(Ok(path)) => path.clone(),
            Some(Err(reason)) => return Err(self.no_directory(host, reason)),
            None => return Err(self.no_directory(host, "it was not looked at")),
        };
        Ok(Directory {
            host: path,
            guest: guest.clone(),
            write: *write,
        })
    }

    fn no_directory(&self, host: &Placed<PathBuf>, reason: &str) -> Diagnostic {
        let message = format!(
            "group {} is granted the directory {:?}, but {reason}",
            self.group, host.value
        );
        Diagnostic::new("directory-missing", message)
            .file(self.manifest_file)
            .position(host.position)
            .help("a path is relative to the root: make the folder, or correct the path")
    }

    fn check(&self, code: &'static str, what: &str, id: &Placed<ComponentId>) -> Option<Diagnostic> {
        let group = self.group;
        let (message, help) = match self.owners.get(&id.value) {
            Some(owner) if owner == group => return None,
            Some(owner) => {
                let help = "components of one group only can be named here".to_owned();
                (
                    format!(
                        "{what} of group {group} names {}, which is in group {owner}",
                        id.value
                    ),
                    help,
                )
            }
            None => (
                format!("{what} of group {group} names {}, which is not there", id.value),
                self.guess(id),
            ),
        };
        Some(
            Diagnostic::new(code, message)
                .file(self.manifest_file)
                .position(id.position)
                .help(help),
        )
    }

    fn guess(&self, id: &ComponentId) -> String {
        const MOST: usize = 20;
        let members = || {
            self.owners
                .iter()
                .filter(|(_, owner)| *owner == self.group)
                .map(|(id, _)| id.as_str())
        };
        match names::nearest(id.as_str(), members()) {
            Some(guess) => format!("did you mean {guess}?"),
            None => {
                let more = if members().count() > MOST { ", …" } else { "" };
                format!(
                    "in the group: {}{more}",
                    members().take(MOST).collect::<Vec<_>>().join(", ")
                )
            }
        }
    }
}
