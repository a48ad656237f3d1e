//! Finds the projects under a root, and which Cargo workspace each of Cargo's belongs to.
//! Reads manifests through `cargo metadata`; builds nothing and writes nothing.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use cargo_metadata::{Metadata, MetadataCommand, Package, PackageId, Target};
use walkdir::{DirEntry, WalkDir};

use super::{
    command::{self, CommandError, rust_tool},
    script_project::Language,
};
use crate::{
    diagnostic::Diagnostic,
    project::{SKIPPED_FOLDERS, is_segment},
};

/// What makes a folder a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// `Cargo.toml` with a package.
    Cargo,
    /// The manifest of another language, and a folder `wit`.
    Script(Language),
}

/// The projects that one `cargo build` makes.
#[derive(Debug)]
pub struct Workspace {
    pub root: PathBuf,
    pub target_dir: PathBuf,
    pub projects: Vec<CargoProject>,
    /// The folders of all packages of the workspace, and of those that they depend on by path.
    pub packages: Vec<PathBuf>,
}

/// Where Cargo, or cargo-component, leaves components: the target and the profile.
const OUTPUTS: [&str; 4] = [
    "wasm32-wasip2/release",
    "wasm32-wasip2/debug",
    "wasm32-wasip1/release",
    "wasm32-wasip1/debug",
];

impl Workspace {
    /// A project of cargo-component whose bindings were never generated.
    pub fn lacks_bindings(&self) -> Option<&CargoProject> {
        let mut projects = self.projects.iter();
        projects.find(|project| {
            project.has_generated_bindings && !project.folder.join("src/bindings.rs").exists()
        })
    }

    /// Each file below a target folder that may hold one of the components, with the component's place.
    pub fn artifacts(&self, target_dir: &Path) -> impl Iterator<Item = (PathBuf, PathBuf)> {
        self.projects.iter().flat_map(move |project| {
            OUTPUTS.iter().map(move |output| {
                let file = target_dir.join(output).join(format!("{}.wasm", project.library));
                (file, project.component_path())
            })
        })
    }
}

/// A package whose library is a cdylib: a component. Projects of cargo-component are the same to plain Cargo
/// once their bindings are generated.
#[derive(Debug)]
pub struct CargoProject {
    /// As found under the root, so that messages show what the user typed.
    pub folder: PathBuf,
    pub package: PackageId,
    /// It is a project of cargo-component.
    pub has_generated_bindings: bool,
    /// The library target's name, which is Cargo's name for the file it makes.
    library: String,
}

impl CargoProject {
    pub fn manifest(&self) -> PathBuf {
        self.folder.join("Cargo.toml")
    }

    pub fn component_path(&self) -> PathBuf {
        component_path(&self.folder)
    }
}

/// Beside a project's folder, by the folder's name.
pub fn component_path(folder: &Path) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(".wasm");
    folder.with_file_name(name)
}

/// The folders under `root` that are projects. The root is none: its component would lie outside of it.
pub fn find(root: &Path, problems: &mut Vec<Diagnostic>) -> Vec<(PathBuf, Marker)> {
    let mut found = Vec::new();
    let mut walk = WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter();
    while let Some(entry) = walk.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                problems.push(unreadable(root, error));
                continue;
            }
        };
        if !entry.file_type().is_dir() {
            continue;
        }
        if is_skipped(&entry) {
            walk.skip_current_dir();
            continue;
        }
        let markers = markers(entry.path());
        let Some(marker) = markers.first() else {
            continue;
        };
        walk.skip_current_dir();
        if markers.len() > 1 {
            problems.push(ambiguous(entry.path()));
            continue;
        }
        match invalid_segment(root, entry.path()) {
            None => found.push((entry.into_path(), *marker)),
            Some(segment) => problems.push(name_invalid(&segment, entry.path())),
        }
    }
    found
}

/// What the folder is a project by. Without WIT, a manifest of another language than Rust is about something
/// else: a formatter, a test.
fn markers(folder: &Path) -> Vec<Marker> {
    let mut markers = Vec::new();
    if has_package(&folder.join("Cargo.toml")) {
        markers.push(Marker::Cargo);
    }
    if folder.join("wit").is_dir() {
        let languages = [Language::JavaScript, Language::Python];
        let languages = languages
            .into_iter()
            .filter(|language| folder.join(language.manifest()).exists());
        markers.extend(languages.map(Marker::Script));
    }
    markers
}

fn is_skipped(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    name.starts_with(['.', '_']) || SKIPPED_FOLDERS.contains(&&*name)
}

/// A manifest that cannot be read is taken for a package's: Cargo says what is wrong with it.
fn has_package(manifest: &Path) -> bool {
    match fs::read_to_string(manifest) {
        Ok(text) => text
            .parse::<toml::Table>()
            .map_or(true, |table| table.contains_key("package")),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

/// The first folder name on the way from `root` to `folder` that cannot be part of a component's id.
fn invalid_segment(root: &Path, folder: &Path) -> Option<String> {
    let path = folder.strip_prefix(root).unwrap_or(folder);
    path.iter()
        .map(|segment| segment.to_string_lossy().into_owned())
        .find(|segment| !is_segment(segment))
}

/// The workspaces of `folders`, each with its projects that are components.
pub fn by_workspace(mut folders: Vec<PathBuf>, problems: &mut Vec<Diagnostic>) -> Vec<Workspace> {
    let mut workspaces = Vec::new();
    while !folders.is_empty() {
        let first = folders.remove(0);
        let metadata = match metadata(&first) {
            Ok(metadata) => metadata,
            Err(CommandError::Missing { .. }) => {
                problems.push(cargo_missing());
                break;
            }
            Err(error) => {
                problems.push(project_invalid(&first, &error.to_string()));
                continue;
            }
        };
        let packages = by_folder(&metadata);
        let (mut members, others): (Vec<_>, Vec<_>) = folders
            .into_iter()
            .partition(|folder| packages.contains_key(&real(folder)));
        members.insert(0, first);
        folders = others;
        let projects = members
            .into_iter()
            .filter_map(|folder| project(&packages, folder, problems))
            .collect();
        let projects = without_collisions(projects, problems);
        if !projects.is_empty() {
            workspaces.push(Workspace {
                root: metadata.workspace_root.clone().into(),
                target_dir: metadata.target_directory.clone().into(),
                packages: source_folders(&metadata),
                projects,
            });
        }
    }
    workspaces
}

/// Of the workspace that a folder's package belongs to.
pub fn metadata(folder: &Path) -> Result<Metadata, CommandError> {
    let mut cargo = rust_tool("cargo");
    // Run inside the folder, so that its own .cargo/config.toml and rust-toolchain.toml hold.
    cargo
        .current_dir(folder)
        .args(["metadata", "--no-deps", "--format-version=1"]);
    let json = command::output(&mut cargo)?;
    MetadataCommand::parse(&json).map_err(|error| CommandError::Failed {
        line: "cargo metadata".into(),
        reason: error.to_string(),
    })
}

fn by_folder(metadata: &Metadata) -> HashMap<PathBuf, &Package> {
    metadata
        .packages
        .iter()
        .filter_map(|package| Some((real(package.manifest_path.parent()?.as_std_path()), package)))
        .collect()
}

/// Cargo and the walk may reach one folder by different links.
fn real(folder: &Path) -> PathBuf {
    folder.canonicalize().unwrap_or_else(|_| folder.to_owned())
}

/// The folders of a workspace's packages, and of those that they depend on by path.
fn source_folders(metadata: &Metadata) -> Vec<PathBuf> {
    let own = metadata
        .packages
        .iter()
        .filter_map(|package| Some(package.manifest_path.parent()?.into()));
    let others = metadata
        .packages
        .iter()
        .flat_map(|package| &package.dependencies)
        .filter_map(|dependency| dependency.path.clone());
    let mut folders: Vec<PathBuf> = own.chain(others.map(Into::into)).collect();
    folders.sort();
    folders.dedup();
    folders
}

/// None for a helper crate, which has no component to place.
fn project(
    packages: &HashMap<PathBuf, &Package>,
    folder: PathBuf,
    problems: &mut Vec<Diagnostic>,
) -> Option<CargoProject> {
    let package = packages.get(&real(&folder))?;
    let Some(library) = package.targets.iter().find(|target| Target::is_cdylib(target)) else {
        if !is_helper(package, packages.values().copied()) {
            problems.push(no_component(&folder, package));
        }
        return None;
    };
    Some(CargoProject {
        folder,
        package: package.id.clone(),
        has_generated_bindings: package.metadata.get("component").is_some(),
        library: library.name.replace('-', "_"),
    })
}

/// Whether another package is made of this one.
fn is_helper<'a>(package: &Package, mut all: impl Iterator<Item = &'a Package>) -> bool {
    let folder = package.manifest_path.parent();
    let depends = |other: &Package| {
        let mut paths = other
            .dependencies
            .iter()
            .filter_map(|dependency| dependency.path.as_deref());
        paths.any(|path| Some(path) == folder)
    };
    all.any(depends)
}

/// Cargo writes two libraries of one name to one file, and the wrong one could be placed.
fn without_collisions(projects: Vec<CargoProject>, problems: &mut Vec<Diagnostic>) -> Vec<CargoProject> {
    let mut kept: Vec<CargoProject> = Vec::new();
    for project in projects {
        match kept.iter().find(|other| other.library == project.library) {
            Some(other) => problems.push(library_taken(&project, other)),
            None => kept.push(project),
        }
    }
    kept
}

pub fn cargo_missing() -> Diagnostic {
    Diagnostic::new(
        "cargo-missing",
        "cargo is not installed, and a Cargo project is to be built",
    )
    .machine()
    .help("install Rust with rustup: https://rustup.rs")
}

fn unreadable(root: &Path, error: walkdir::Error) -> Diagnostic {
    let path = error.path().unwrap_or(root).to_owned();
    Diagnostic::io("folder-unreadable", "read", path, &error.into())
}

fn ambiguous(folder: &Path) -> Diagnostic {
    let message = format!(
        "{} is a project of several languages, and all of them would make {}",
        folder.display(),
        component_path(folder).display()
    );
    Diagnostic::new("project-ambiguous", message)
        .file(folder)
        .help("give each a folder of its own")
}

/// A package that nobody is made of, and that is no component.
fn no_component(folder: &Path, package: &Package) -> Diagnostic {
    let library = package
        .targets
        .iter()
        .any(|target| target.is_lib() || target.is_rlib() || target.is_dylib() || target.is_proc_macro());
    let (message, help) = if library {
        (
            "is a library for Rust alone: it makes no component",
            "add `crate-type = [\"cdylib\"]` under [lib] in its Cargo.toml",
        )
    } else {
        (
            "has no library target, and so makes no component",
            "move its code to src/lib.rs, and add [lib] with `crate-type = [\"cdylib\"]` to its Cargo.toml",
        )
    };
    Diagnostic::new(
        "project-without-component",
        format!("{} {message}", folder.display()),
    )
    .file(folder.join("Cargo.toml"))
    .help(format!(
        "{help}; or let the folder's name begin with `_`, if it is something else"
    ))
}

fn name_invalid(segment: &str, folder: &Path) -> Diagnostic {
    Diagnostic::new(
        "name-invalid",
        format!(
            "the folder name `{segment}` of the project {} cannot be part of a component's id",
            folder.display()
        ),
    )
    .file(folder.join("Cargo.toml"))
    .help("rename the folder: lower-case letters, digits, `-` and `_`, and a letter or digit first")
}

fn project_invalid(folder: &Path, reason: &str) -> Diagnostic {
    let help = if reason.contains("two packages named") {
        "give one of them another `name` in its Cargo.toml: it need not be that of its folder"
    } else {
        "mend it, and the projects of its workspace are built again"
    };
    Diagnostic::new(
        "project-invalid",
        format!("Cargo cannot read the project {}: {reason}", folder.display()),
    )
    .file(folder.join("Cargo.toml"))
    .help(help)
}

fn library_taken(project: &CargoProject, other: &CargoProject) -> Diagnostic {
    Diagnostic::new(
        "library-name-taken",
        format!(
            "{} and {} are of one workspace and both name their library `{}`",
            other.folder.display(),
            project.folder.display(),
            project.library
        ),
    )
    .file(project.manifest())
    .help("give one of them another `name` under [lib]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().expect("has a parent")).expect("creates the folder");
        fs::write(path, text).expect("writes");
    }

    fn tree(manifests: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("makes a folder");
        for (folder, manifest) in manifests {
            write(&root.path().join(folder).join("Cargo.toml"), manifest);
            if manifest.contains("[package]") {
                write(&root.path().join(folder).join("src/lib.rs"), "");
            }
        }
        root
    }

    fn package(name: &str, lib: &str) -> String {
        format!("[package]\nname = \"{name}\"\nversion = \"1.0.0\"\nedition = \"2024\"\n[lib]\n{lib}\n")
    }

    const CDYLIB: &str = "crate-type = [\"cdylib\"]";

    #[test]
    fn projects_are_found_but_not_inside_of_others_or_of_skipped_folders() {
        let p = package("p", "");
        let root = tree(&[
            ("", "[workspace]\n"),
            ("shop/screen/home", &p),
            ("shop/screen/home/inner", &p),
            ("shop/_draft", &p),
            ("shop/.hidden", &p),
            ("target/debris", &p),
            ("static/site", &p),
            ("shop/virtual", "[workspace]\n"),
            ("shop/virtual/one", &p),
            ("torn", "[package"),
        ]);
        let mut problems = Vec::new();
        let found: Vec<String> = find(root.path(), &mut problems)
            .iter()
            .map(|(folder, _)| {
                folder
                    .strip_prefix(root.path())
                    .expect("is below")
                    .display()
                    .to_string()
            })
            .collect();
        assert_eq!(found, ["shop/screen/home", "shop/virtual/one", "torn"]);
        assert_eq!(problems, []);
    }

    #[test]
    fn names_that_are_no_ids_are_refused() {
        let p = package("p", "");
        let root = tree(&[
            ("shop/Home", &p),
            ("My Shop/item", &p),
            ("a.b", &p),
            ("ok-1_x", &p),
        ]);
        let mut problems = Vec::new();
        assert_eq!(
            find(root.path(), &mut problems),
            [(root.path().join("ok-1_x"), Marker::Cargo)]
        );
        let mut refused: Vec<_> = problems
            .iter()
            .map(|p| (p.code.as_ref(), p.file.clone()))
            .collect();
        refused.sort();
        let refusal = |folder: &str| ("name-invalid", Some(root.path().join(folder).join("Cargo.toml")));
        assert_eq!(
            refused,
            [refusal("My Shop/item"), refusal("a.b"), refusal("shop/Home")]
        );
    }

    #[test]
    fn a_missing_root_is_a_problem() {
        let mut problems = Vec::new();
        assert!(find(Path::new("/no/such/root"), &mut problems).is_empty());
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].file.as_deref(), Some(Path::new("/no/such/root")));
    }

    #[test]
    fn projects_of_one_workspace_are_built_together_and_helpers_not_at_all() {
        let root = tree(&[
            ("shop", "[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\n"),
            (
                "shop/home",
                &(package("shop-home", CDYLIB) + "[dependencies]\ncommon.path = \"../common\"\n"),
            ),
            ("shop/item", &package("shop-item", CDYLIB)),
            ("shop/common", &package("common", "")),
            (
                "shop/twin",
                &package("twin", &format!("name = \"shop_item\"\n{CDYLIB}")),
            ),
            ("shop/alone", &package("alone", "")),
            ("blog", &package("blog", CDYLIB)),
            ("torn", "[package]\n"),
        ]);
        let mut problems = Vec::new();
        let folders = find(root.path(), &mut problems);
        let folders = folders.into_iter().map(|(folder, _)| folder).collect();
        let workspaces = by_workspace(folders, &mut problems);
        let names: Vec<Vec<String>> = workspaces
            .iter()
            .map(|w| {
                w.projects
                    .iter()
                    .map(|p| p.component_path().display().to_string())
                    .collect()
            })
            .collect();
        let path = |name: &str| root.path().join(name).display().to_string();
        assert_eq!(
            names,
            [
                vec![path("blog.wasm")],
                vec![path("shop/home.wasm"), path("shop/item.wasm")]
            ]
        );
        let codes: Vec<_> = problems.iter().map(|p| p.code.as_ref()).collect();
        assert_eq!(
            codes,
            [
                "project-without-component",
                "library-name-taken",
                "project-invalid"
            ]
        );
    }
}
