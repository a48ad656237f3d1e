//! Which projects are to be built when which files changed. Pure, but for what Cargo noted of its builds.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use crate::build::Plan;

/// Manifests: what there is to build may have changed with one.
const MANIFESTS: [&str; 3] = ["Cargo.toml", "package.json", "pyproject.toml"];
/// What Cargo's projects may be made of outside of their own folders.
const SHARED_ENDINGS: [&str; 2] = ["rs", "wit"];
const SHARED_NAMES: [&str; 3] = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"];

/// Where the sources of what lie, in absolute paths.
#[derive(Debug, Default)]
pub struct Layout {
    root: PathBuf,
    /// The folder of each project, by its absolute path.
    projects: BTreeMap<PathBuf, PathBuf>,
    /// Cargo's workspaces: their roots and their packages, and their projects.
    workspaces: Vec<Workspace>,
    /// What Cargo and cargo-component leave, and where it belongs.
    artifacts: BTreeMap<PathBuf, PathBuf>,
    /// Files outside of the root that Cargo's projects are made of.
    outside: BTreeSet<PathBuf>,
}

#[derive(Debug)]
struct Workspace {
    root: PathBuf,
    packages: Vec<PathBuf>,
    /// As the plan has them.
    projects: Vec<PathBuf>,
}

/// What follows from changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The projects to be built, as the plan has them.
    pub folders: BTreeSet<PathBuf>,
    /// The plan is to be read anew.
    pub plan: bool,
    /// Each artifact with its component's place.
    pub artifacts: Vec<(PathBuf, PathBuf)>,
}

fn absolute(path: &Path) -> PathBuf {
    path.canonicalize()
        .or_else(|_| std::path::absolute(path))
        .unwrap_or_else(|_| path.to_owned())
}

impl Layout {
    pub fn of(root: &Path, plan: &Plan) -> Self {
        let projects = plan.components();
        let workspaces = plan.workspaces().map(|workspace| Workspace {
            root: absolute(&workspace.root),
            packages: workspace.packages.iter().map(|folder| absolute(folder)).collect(),
            projects: workspace
                .projects
                .iter()
                .map(|project| project.folder.clone())
                .collect(),
        });
        let mut layout = Self {
            root: absolute(root),
            projects: projects
                .map(|(folder, _)| (absolute(folder), folder.to_owned()))
                .collect(),
            workspaces: workspaces.collect(),
            artifacts: plan.artifacts().into_iter().collect(),
            outside: BTreeSet::new(),
        };
        layout.learn(plan);
        layout
    }

    /// Reads which files Cargo has found its projects to be made of.
    pub fn learn(&mut self, plan: &Plan) {
        let files = plan.dependencies();
        self.outside = files.filter(|file| !file.starts_with(&self.root)).collect();
    }

    /// The projects, as the plan has them.
    pub fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        self.projects.values()
    }

    /// Folders outside of the root whose sources matter as a whole.
    pub fn packages_outside(&self) -> impl Iterator<Item = &Path> {
        let packages = self.workspaces.iter().flat_map(|workspace| &workspace.packages);
        let outside = packages.filter(|folder| !folder.starts_with(&self.root));
        // The root may itself lie in a package, whose own sources are another matter.
        outside
            .filter(|folder| !self.root.starts_with(folder))
            .map(PathBuf::as_path)
    }

    /// Single files that matter, wherever they are.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.outside
            .iter()
            .chain(self.artifacts.keys())
            .map(PathBuf::as_path)
    }

    pub fn choose(&self, changed: &BTreeSet<PathBuf>) -> Choice {
        let mut choice = Choice::default();
        for path in changed {
            if let Some(place) = self.artifacts.get(path) {
                choice.artifacts.push((path.clone(), place.clone()));
                continue;
            }
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            choice.plan |= MANIFESTS.contains(&name);
            match self.project_at(path) {
                Some(project) => drop(choice.folders.insert(project.clone())),
                None => self.add_shared(path, &mut choice),
            }
        }
        choice
    }

    fn project_at(&self, path: &Path) -> Option<&PathBuf> {
        let mut folders = path.ancestors();
        folders.find_map(|folder| self.projects.get(folder))
    }

    /// A file that belongs to no project alone.
    fn add_shared(&self, path: &Path, choice: &mut Choice) {
        let ending = path.extension().and_then(|ending| ending.to_str());
        let name = path.file_name().and_then(|name| name.to_str());
        let is_source = ending.is_some_and(|ending| SHARED_ENDINGS.contains(&ending))
            || name.is_some_and(|name| SHARED_NAMES.contains(&name));
        let outside = self.outside.contains(path);
        for workspace in &self.workspaces {
            let helper = workspace
                .packages
                .iter()
                .any(|folder| path.starts_with(folder) && !self.root.starts_with(folder));
            if outside || helper || (is_source && path.starts_with(&workspace.root)) {
                choice.folders.extend(workspace.projects.iter().cloned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        let path = PathBuf::from;
        Layout {
            root: path("/site"),
            projects: ["home", "cart", "js"]
                .map(|name| (path("/site").join(name), path("./").join(name)))
                .into(),
            workspaces: vec![Workspace {
                root: path("/site"),
                packages: ["/site/home", "/site/cart", "/site/common", "/lib"]
                    .map(path)
                    .into(),
                projects: vec![path("./home"), path("./cart")],
            }],
            artifacts: [(
                path("/site/target/wasm32-wasip2/release/home.wasm"),
                path("./home.wasm"),
            )]
            .into(),
            outside: [path("/wit/page.wit")].into(),
        }
    }

    fn chosen(changed: &str) -> (Vec<String>, bool, usize) {
        let choice = layout().choose(&BTreeSet::from([PathBuf::from(changed)]));
        let folders = choice.folders.iter().map(|folder| folder.display().to_string());
        (folders.collect(), choice.plan, choice.artifacts.len())
    }

    #[test]
    fn what_changed_decides_what_is_built() {
        let check = |changed, folders: &[&str], plan, artifacts| {
            let folders = folders.iter().map(|folder| (*folder).to_owned()).collect();
            assert_eq!(chosen(changed), (folders, plan, artifacts), "{changed}");
        };
        let both = ["./cart", "./home"];
        check("/site/home/src/lib.rs", &["./home"], false, 0);
        check("/site/home/page.html", &["./home"], false, 0);
        check("/site/js/component.js", &["./js"], false, 0);
        check("/site/js/package.json", &["./js"], true, 0);
        check("/site/home/Cargo.toml", &["./home"], true, 0);
        check("/site/Cargo.toml", &both, true, 0);
        check("/site/wit/shop.wit", &both, false, 0);
        check("/site/common/src/text.txt", &both, false, 0);
        check("/lib/src/lib.rs", &both, false, 0);
        check("/wit/page.wit", &both, false, 0);
        check("/site/new/pyproject.toml", &[], true, 0);
        check("/site/static/site.css", &[], false, 0);
        check("/site/wasmhost.toml", &[], false, 0);
        check("/site/target/wasm32-wasip2/release/home.wasm", &[], false, 1);
    }
}
