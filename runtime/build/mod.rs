//! `wasmhost build`: makes every Cargo component project under a root into the `.wasm` beside its folder.
//!
//! A project in `shop/screen/home/` becomes `shop/screen/home.wasm`: the folder's name decides, not the crate's.
//! Knows nothing of serving, groups or wasmtime; that a component links is found out by those who link it.

mod cargo;
mod command;
mod debian;
mod linked;
mod place;
mod projects;
mod toolchain;

use std::path::PathBuf;

use crate::{diagnostic::Diagnostic, project::Project};
use projects::Workspace;
use toolchain::Toolchain;

/// The target of every guest: components with WASI 0.2.
const TARGET: &str = "wasm32-wasip2";

pub struct BuildOptions {
    pub root: PathBuf,
    /// One Cargo target folder for all workspaces, instead of each workspace's own.
    pub target_dir: Option<PathBuf>,
}

/// One component that is in its place now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    pub component_path: PathBuf,
    /// The project's folder.
    pub project: PathBuf,
    /// The content differs from what was there before.
    pub changed: bool,
}

/// Builds and places all that it can; what it cannot is reported together at the end.
/// Says what it does through `say`, in lines for people; the compiler's own messages go to standard error.
pub fn build(options: &BuildOptions, say: &mut dyn FnMut(&str)) -> Result<Vec<Built>, Vec<Diagnostic>> {
    Project::root(&options.root).map_err(|diagnostic| vec![diagnostic])?;
    let mut built = Vec::new();
    let mut problems = Vec::new();
    let folders = projects::find(&options.root, &mut problems);
    for workspace in projects::by_workspace(folders, &mut problems) {
        match Toolchain::for_guests(&workspace.root, say) {
            Ok(toolchain) => {
                build_workspace(&workspace, &toolchain, options, say, &mut built, &mut problems);
            }
            // The machine lacks something: the other workspaces would only say it again.
            Err(diagnostic) => {
                problems.push(diagnostic);
                break;
            }
        }
    }
    built.sort_by(|a, b| a.component_path.cmp(&b.component_path));
    if problems.is_empty() {
        Ok(built)
    } else {
        Err(problems)
    }
}

fn build_workspace(
    workspace: &Workspace,
    toolchain: &Toolchain,
    options: &BuildOptions,
    say: &mut dyn FnMut(&str),
    built: &mut Vec<Built>,
    problems: &mut Vec<Diagnostic>,
) {
    let count = match workspace.projects.len() {
        1 => "1 component".to_owned(),
        many => format!("{many} components"),
    };
    say(&format!("building {count} in {}", workspace.root.display()));
    let artifacts = match cargo::build(workspace, toolchain, options.target_dir.as_deref()) {
        Ok(artifacts) => artifacts,
        Err(diagnostic) => return problems.push(diagnostic),
    };
    for project in &workspace.projects {
        let Some(artifact) = artifacts.get(&project.package) else {
            problems.push(
                Diagnostic::new(
                    "build-failed",
                    format!("{} did not build", project.folder.display()),
                )
                .file(project.manifest())
                .help("the compiler's messages are above"),
            );
            continue;
        };
        match place::place(artifact, &project.component_path()) {
            Ok(changed) => built.push(Built {
                component_path: project.component_path(),
                project: project.folder.clone(),
                changed,
            }),
            Err(diagnostic) => problems.push(diagnostic),
        }
    }
}
