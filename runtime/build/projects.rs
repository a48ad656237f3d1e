//! Finds the Cargo projects under a root and which Cargo workspace each belongs to.
//! Reads manifests through `cargo metadata`; builds nothing and writes nothing.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use cargo_metadata::{Metadata, MetadataCommand, Package, PackageId, Target};
use walkdir::{DirEntry, WalkDir};

use super::command::{self, CommandError, rust_tool};
use crate::diagnostic::Diagnostic;

/// Folders that hold no projects, as the contract says; so do all whose name begins with `.` or `_`.
const SKIPPED: &[&str] = &["target", "node_modules", "static"];

/// The projects that one `cargo build` makes.
#[derive(Debug)]
pub struct Workspace {
    pub root: PathBuf,
    pub target_dir: PathBuf,
    pub projects: Vec<Project>,
}

/// A package whose library is a cdylib: a component. Projects of cargo-component are the same to plain Cargo,
/// as long as their generated bindings lie in the tree.
#[derive(Debug)]
pub struct Project {
    /// As found under the root, so that messages show what the user typed.
    pub folder: PathBuf,
    pub package: PackageId,
    /// The library target's name, which is Cargo's name for the file it makes.
    library: String,
}

impl Project {
    pub fn manifest(&self) -> PathBuf {
        self.folder.join("Cargo.toml")
    }

    /// Beside the project's folder, by the folder's name.
    pub fn component_path(&self) -> PathBuf {
        let mut name = self.folder.file_name().unwrap_or_default().to_owned();
        name.push(".wasm");
        self.folder.with_file_name(name)
    }
}

/// The folders under `root` that have a Cargo package. The root is none: its component would lie outside of it.
pub fn find(root: &Path, problems: &mut Vec<Diagnostic>) -> Vec<PathBuf> {
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
        } else if has_package(&entry.path().join("Cargo.toml")) {
            walk.skip_current_dir();
            match invalid_segment(root, entry.path()) {
                None => found.push(entry.into_path()),
                Some(segment) => problems.push(name_invalid(&segment, entry.path())),
            }
        }
    }
    found
}

fn is_skipped(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    name.starts_with(['.', '_']) || SKIPPED.contains(&&*name)
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
        .find(|segment| !is_id_segment(segment))
}

/// `[a-z0-9][a-z0-9_-]*`
fn is_id_segment(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.starts_with(plain) && name.chars().all(|c| plain(c) || c == '_' || c == '-')
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
            .filter_map(|folder| project(&packages, folder))
            .collect();
        let projects = without_collisions(projects, problems);
        if !projects.is_empty() {
            workspaces.push(Workspace {
                root: metadata.workspace_root.clone().into(),
                target_dir: metadata.target_directory.clone().into(),
                projects,
            });
        }
    }
    workspaces
}

fn metadata(folder: &Path) -> Result<Metadata, CommandError> {
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

/// None for a helper crate, which has no component to place.
fn project(packages: &HashMap<PathBuf, &Package>, folder: PathBuf) -> Option<Project> {
    let package = packages.get(&real(&folder))?;
    let library = package.targets.iter().find(|target| Target::is_cdylib(target))?;
    Some(Project {
        folder,
        package: package.id.clone(),
        library: library.name.replace('-', "_"),
    })
}

/// Cargo writes two libraries of one name to one file, and the wrong one could be placed.
fn without_collisions(projects: Vec<Project>, problems: &mut Vec<Diagnostic>) -> Vec<Project> {
    let mut kept: Vec<Project> = Vec::new();
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
    Diagnostic::new(
        "project-invalid",
        format!("Cargo cannot read the project {}: {reason}", folder.display()),
    )
    .file(folder.join("Cargo.toml"))
}

fn library_taken(project: &Project, other: &Project) -> Diagnostic {
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
            .map(|folder| {
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
        assert_eq!(find(root.path(), &mut problems), [root.path().join("ok-1_x")]);
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
            ("shop/home", &package("shop-home", CDYLIB)),
            ("shop/item", &package("shop-item", CDYLIB)),
            ("shop/common", &package("common", "")),
            (
                "shop/twin",
                &package("twin", &format!("name = \"shop_item\"\n{CDYLIB}")),
            ),
            ("blog", &package("blog", CDYLIB)),
            ("torn", "[package]\n"),
        ]);
        let mut problems = Vec::new();
        let folders = find(root.path(), &mut problems);
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
        assert_eq!(codes, ["library-name-taken", "project-invalid"]);
    }
}
