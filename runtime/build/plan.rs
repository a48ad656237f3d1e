//! What there is to build under a root, and the building of some of it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Instant,
};

use futures::future::join_all;
use tokio::sync::Semaphore;

use super::{
    Progress, Report, Setting, cargo,
    projects::{self, Marker, Workspace},
    script,
    script_project::ScriptProject,
    toolchain::Toolchain,
};
use crate::{diagnostic::Diagnostic, project::Project};

/// The source projects under a root, as their manifests tell.
#[derive(Debug, Default)]
pub struct Plan {
    workspaces: Vec<(Workspace, Result<Toolchain, Diagnostic>)>,
    scripts: Vec<ScriptProject>,
    /// One Cargo target folder for all workspaces, instead of each workspace's own.
    target_dir: Option<PathBuf>,
    /// What is wrong with manifests, and with folders that look like projects.
    pub problems: Vec<Diagnostic>,
}

/// Which projects are to be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    All,
    /// Those in these folders.
    Only(BTreeSet<PathBuf>),
}

impl Selection {
    fn has(&self, folder: &Path) -> bool {
        match self {
            Self::All => true,
            Self::Only(folders) => folders.contains(folder),
        }
    }
}

impl Plan {
    /// Finds the projects, and sets up what is needed to build them where it is missing. May take long.
    /// Errors: the root is none.
    pub fn read(root: &Path, setting: &Setting) -> Result<Self, Diagnostic> {
        Project::root(root)?;
        let mut plan = Self::default();
        let (mut cargo, mut scripts) = (Vec::new(), Vec::new());
        for (folder, marker) in projects::find(root, &mut plan.problems) {
            match marker {
                Marker::Cargo => cargo.push(folder),
                Marker::Script(language) => scripts.push((folder, language)),
            }
        }
        let mut say = |line: &str| setting.say(line);
        for workspace in projects::by_workspace(cargo, &mut plan.problems) {
            let toolchain = Toolchain::for_guests(&workspace.root, &mut say);
            plan.workspaces.push((workspace, toolchain));
        }
        for (folder, language) in scripts {
            match ScriptProject::read(folder, language) {
                Ok(project) => plan.scripts.push(project),
                Err(diagnostic) => plan.problems.push(diagnostic),
            }
        }
        Ok(plan)
    }

    pub fn with_target_dir(self, target_dir: Option<PathBuf>) -> Self {
        Self { target_dir, ..self }
    }

    /// The folder and the place of each component.
    pub fn components(&self) -> impl Iterator<Item = (&Path, PathBuf)> {
        let cargo = self
            .workspaces
            .iter()
            .flat_map(|(workspace, _)| &workspace.projects);
        let cargo = cargo.map(|project| (&*project.folder, project.component_path()));
        let scripts = self
            .scripts
            .iter()
            .map(|project| (&*project.folder, project.component_path()));
        cargo.chain(scripts)
    }

    /// Cargo's workspaces: the root of each, the folders of its projects, and all folders of sources that
    /// they are made of.
    pub fn workspaces(&self) -> impl Iterator<Item = &Workspace> {
        self.workspaces.iter().map(|(workspace, _)| workspace)
    }

    /// The files that plain Cargo or cargo-component leave for each project, whoever ran them, with the
    /// component's place.
    pub fn artifacts(&self) -> Vec<(PathBuf, PathBuf)> {
        let mut artifacts = Vec::new();
        for (workspace, toolchain) in &self.workspaces {
            let usual = self.target_dir.as_deref().unwrap_or(&workspace.target_dir);
            let own = toolchain.as_ref().ok().map(|own| own.target_dir(usual));
            let mut folders = BTreeSet::from([usual.to_owned()]);
            folders.extend(own);
            for folder in folders {
                artifacts.extend(workspace.artifacts(&folder));
            }
        }
        artifacts
    }

    /// Every file that Cargo has found its projects to be made of, as it noted beside its artifacts.
    pub fn dependencies(&self) -> impl Iterator<Item = PathBuf> {
        let artifacts = self.artifacts().into_iter();
        artifacts.flat_map(|(artifact, _)| {
            let noted = std::fs::read_to_string(artifact.with_extension("d"));
            dependencies(&noted.unwrap_or_default())
        })
    }

    /// Builds and places all of the selection that it can; what it cannot is reported at the end.
    pub async fn build(&self, selection: &Selection, setting: &Setting) -> Report {
        let began = Instant::now();
        let wanted = self
            .components()
            .filter(|(folder, _)| selection.has(folder))
            .count();
        setting.tell(Progress::Begins(wanted));
        let cores = Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from));
        let cargo = self.build_cargo(selection, setting);
        let scripts = self
            .scripts
            .iter()
            .filter(|project| selection.has(&project.folder));
        let scripts = join_all(scripts.map(|project| async {
            // It is never closed.
            let _core = cores.acquire().await;
            script::build(project, setting).await
        }));
        let (mut report, scripts) = tokio::join!(cargo, scripts);
        scripts.into_iter().for_each(|other| report.add(other));
        report
            .built
            .sort_by(|a, b| a.component_path.cmp(&b.component_path));
        report.took = began.elapsed();
        report
    }

    /// One workspace after another: Cargo takes all cores for each.
    async fn build_cargo(&self, selection: &Selection, setting: &Setting) -> Report {
        let mut report = Report::default();
        for (workspace, toolchain) in &self.workspaces {
            let projects: Vec<_> = workspace
                .projects
                .iter()
                .filter(|project| selection.has(&project.folder))
                .collect();
            if projects.is_empty() || setting.stop.is_cancelled() {
                continue;
            }
            match toolchain {
                Ok(toolchain) => {
                    let target_dir = self.target_dir.as_deref();
                    report.add(cargo::build(workspace, &projects, toolchain, target_dir, setting).await);
                }
                Err(diagnostic) => report.fail(&workspace.root, diagnostic.clone(), String::new()),
            }
        }
        report.stopped |= setting.stop.is_cancelled();
        report
    }
}

/// The files behind the colon of each line: `home.wasm: a.rs b\\ c.wit`.
fn dependencies(noted: &str) -> Vec<PathBuf> {
    const BLANK: &str = "\u{1}";
    let lines = noted.lines().filter_map(|line| line.split_once(": "));
    let files = lines.flat_map(|(_, files)| {
        let files = files.replace("\\ ", BLANK);
        let files: Vec<_> = files
            .split_whitespace()
            .map(|file| PathBuf::from(file.replace(BLANK, " ")))
            .collect();
        files
    });
    files.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_noted_is_read() {
        let noted = "/t/home.wasm: /s/src/lib.rs /s/my\\ wit/a.wit\n\n/t/x.d: /s/b.rs\n";
        let expected = ["/s/src/lib.rs", "/s/my wit/a.wit", "/s/b.rs"].map(PathBuf::from);
        assert_eq!(dependencies(noted), expected);
    }
}
