//! One `cargo build` of a workspace's components: which file each package became, and what the compiler said
//! of each that became none. Knows nothing of where the files go.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
    process::Command,
};

use cargo_metadata::{Artifact, Message, PackageId, Target, diagnostic::DiagnosticLevel};

use super::{
    Built, Progress, Report, Setting, TARGET,
    command::{CommandError, rust_tool},
    place::place,
    process::{self, Line, RunError},
    projects::{CargoProject, Workspace, cargo_missing},
    toolchain::Toolchain,
};
use crate::diagnostic::Diagnostic;

/// Builds as many of the projects as build. `target_dir` is used instead of the workspace's own.
pub async fn build(
    workspace: &Workspace,
    projects: &[&CargoProject],
    toolchain: &Toolchain,
    target_dir: Option<&Path>,
    setting: &Setting,
) -> Report {
    let mut report = Report::default();
    if projects.iter().any(|project| project.has_generated_bindings)
        && let Err((diagnostic, output)) = generate_bindings(workspace, setting).await
    {
        report.fail(&workspace.root, diagnostic, output);
        return report;
    }
    let command = command(workspace, projects, toolchain, target_dir, setting);
    let mut said = Said::default();
    let ended = process::run(command, setting, |line| said.take(line, workspace, setting)).await;
    match ended {
        // How Cargo ended tells nothing more: what failed sent no artifact.
        Ok(_) => {}
        Err(RunError::Stopped) => {
            report.stopped = true;
            return report;
        }
        Err(error) => {
            report.fail(&workspace.root, not_run(workspace, error), said.output);
            return report;
        }
    }
    said.conclude(workspace, projects, setting, &mut report);
    report
}

fn command(
    workspace: &Workspace,
    projects: &[&CargoProject],
    toolchain: &Toolchain,
    target_dir: Option<&Path>,
    setting: &Setting,
) -> Command {
    let mut cargo = rust_tool("cargo");
    let format = match setting.colours {
        true => "--message-format=json-diagnostic-rendered-ansi",
        false => "--message-format=json",
    };
    cargo
        .current_dir(&workspace.root)
        .args(["build", "--release", "--lib", "--keep-going", "--target", TARGET])
        .arg(format)
        .arg("--target-dir")
        .arg(toolchain.target_dir(target_dir.unwrap_or(&workspace.target_dir)));
    for project in projects {
        cargo.arg("--package").arg(&project.package.repr);
    }
    toolchain.apply(&mut cargo);
    colour(&mut cargo, setting);
    cargo
}

/// Its standard error is a pipe: it cannot see where that leads.
fn colour(cargo: &mut Command, setting: &Setting) {
    cargo.env(
        "CARGO_TERM_COLOR",
        if setting.colours { "always" } else { "never" },
    );
    cargo.env("CARGO_TERM_PROGRESS_WHEN", "never");
}

/// Makes `src/bindings.rs` of the projects that are cargo-component's from their WIT.
async fn generate_bindings(workspace: &Workspace, setting: &Setting) -> Result<(), (Diagnostic, String)> {
    let mut bindings = rust_tool("cargo");
    bindings
        .current_dir(&workspace.root)
        .args(["component", "bindings"]);
    colour(&mut bindings, setting);
    let mut output = String::new();
    let take = |line| {
        let (Line::Out(line) | Line::Err(line)) = line;
        push_line(&mut output, &line);
    };
    let ended = process::run(bindings, setting, take).await;
    match ended {
        Ok(status) if status.success() => Ok(()),
        // Cargo does not know the command.
        Ok(_) if output.contains("no such command") => match workspace.lacks_bindings() {
            None => Ok(()),
            Some(project) => Err((cargo_component_missing(project), String::new())),
        },
        Ok(_) => {
            setting.tell(Progress::Message(output.clone()));
            Err((bindings_failed(workspace), output))
        }
        Err(RunError::Stopped) => Ok(()),
        Err(error) => Err((not_run(workspace, error), output)),
    }
}

/// What Cargo has said so far.
#[derive(Default)]
struct Said {
    artifacts: HashMap<PackageId, PathBuf>,
    /// What the compiler said of each package that does not compile.
    errors: BTreeMap<PackageId, String>,
    /// All that belongs to no package.
    output: String,
}

impl Said {
    fn take(&mut self, line: Line, workspace: &Workspace, setting: &Setting) {
        match line {
            Line::Out(line) => self.message(&line, workspace, setting),
            Line::Err(line) => {
                if is_status(&line) {
                    return setting.tell(Progress::Doing(line));
                }
                push_line(&mut self.output, &line);
                setting.tell(Progress::Message(line));
            }
        }
    }

    fn message(&mut self, line: &str, workspace: &Workspace, setting: &Setting) {
        match serde_json::from_str(line) {
            Ok(Message::CompilerArtifact(artifact)) => self.artifacts.extend(component(artifact)),
            Ok(Message::CompilerMessage(message)) => {
                let Some(rendered) = message.message.rendered else {
                    return;
                };
                let places = message.message.spans.iter().map(|span| span.file_name.as_str());
                let rendered = clickable(&rendered, places, &workspace.root);
                let level = message.message.level;
                if matches!(level, DiagnosticLevel::Error | DiagnosticLevel::Ice) {
                    *self.errors.entry(message.package_id).or_default() += &rendered;
                }
                setting.tell(Progress::Message(rendered.trim_end().to_owned()));
            }
            Ok(_) => {}
            // A build script's own line.
            Err(_) => setting.tell(Progress::Message(line.to_owned())),
        }
    }

    /// Places what was built, and tells why the rest was not.
    fn conclude(
        mut self,
        workspace: &Workspace,
        projects: &[&CargoProject],
        setting: &Setting,
        report: &mut Report,
    ) {
        let others: String = {
            let own: HashSet<&PackageId> = projects.iter().map(|project| &project.package).collect();
            let others = self.errors.iter().filter(|(package, _)| !own.contains(package));
            others.map(|(_, said)| said.as_str()).collect()
        };
        for project in projects {
            if let Some(artifact) = self.artifacts.get(&project.package) {
                match place(artifact, &project.component_path()) {
                    Ok(changed) => report.built.push(Built {
                        component_path: project.component_path(),
                        project: project.folder.clone(),
                        changed,
                    }),
                    Err(diagnostic) => report.fail(&project.folder, diagnostic, String::new()),
                }
            } else {
                let own = self.errors.remove(&project.package);
                let output = own.or_else(|| (!others.is_empty()).then(|| others.clone()));
                let output = output.unwrap_or_else(|| self.output.clone());
                report.fail(&project.folder, did_not_build(project), output);
            }
            setting.tell(Progress::Ended);
        }
        debug_assert!(workspace.projects.len() >= projects.len());
    }
}

/// Paths as seen from here, so that terminals and editors find them: the compiler writes them as seen from
/// the workspace.
fn clickable<'p>(rendered: &str, places: impl Iterator<Item = &'p str>, workspace: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let root = workspace.strip_prefix(&here).unwrap_or(workspace);
    if root.as_os_str().is_empty() {
        return rendered.to_owned();
    }
    let mut places: Vec<&str> = places.filter(|place| Path::new(place).is_relative()).collect();
    places.sort_unstable();
    places.dedup();
    places.iter().fold(rendered.to_owned(), |text, place| {
        let found = root.join(place).display().to_string();
        // With the line's number behind and a blank or a colour's end before it: the path's own place.
        let from = [format!(" {place}:"), format!("m{place}:")];
        let to = [format!(" {found}:"), format!("m{found}:")];
        text.replace(&from[0], &to[0]).replace(&from[1], &to[1])
    })
}

/// Whether a line tells what Cargo is at: `   Compiling home v1.0.0`.
fn is_status(line: &str) -> bool {
    const WIDTH: usize = 12;
    let plain = plain(line);
    let Some((verb, rest)) = plain.split_at_checked(WIDTH) else {
        return false;
    };
    let word = verb.trim_start();
    rest.starts_with(' ')
        && word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.chars().all(|c| c.is_ascii_alphabetic())
}

/// Without colours.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            // A control sequence ends with a letter.
            '\u{1b}' => drop(rest.find(char::is_ascii_alphabetic)),
            c => plain.push(c),
        }
    }
    plain
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn component(artifact: Artifact) -> Option<(PackageId, PathBuf)> {
    if !Target::is_cdylib(&artifact.target) {
        return None;
    }
    let mut files = artifact.filenames.into_iter();
    let file = files.find(|file| file.extension() == Some("wasm"))?;
    Some((artifact.package_id, file.into()))
}

fn did_not_build(project: &CargoProject) -> Diagnostic {
    let message = format!("{} did not build", project.folder.display());
    Diagnostic::new("build-failed", message)
        .file(project.manifest())
        .help("the compiler's messages are above")
}

fn not_run(workspace: &Workspace, error: RunError) -> Diagnostic {
    let place = workspace.root.join("Cargo.toml");
    match error {
        RunError::Command(CommandError::Missing { .. }) => cargo_missing(),
        RunError::TimeOver(_) => {
            let message = format!("the build of {} did not end: {error}", workspace.root.display());
            Diagnostic::new("build-too-long", message)
                .file(place)
                .help("find out what hangs, perhaps a build script; or allow more with --build-limit")
        }
        error => Diagnostic::new("cargo-failed", error.to_string())
            .file(place)
            .machine(),
    }
}

fn bindings_failed(workspace: &Workspace) -> Diagnostic {
    let message = format!(
        "cargo-component cannot make the bindings of {}",
        workspace.root.display()
    );
    Diagnostic::new("build-failed", message)
        .file(workspace.root.join("Cargo.toml"))
        .help("its messages are above")
}

fn cargo_component_missing(project: &CargoProject) -> Diagnostic {
    let message = format!(
        "{} is a project of cargo-component without its generated src/bindings.rs, and cargo-component is not installed",
        project.folder.display()
    );
    Diagnostic::new("cargo-component-missing", message)
        .file(project.manifest())
        .machine()
        .help("install it with `cargo install cargo-component --locked`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_wasm_of_a_cdylib_counts() {
        let artifact = |package: &str, kind: &str, file: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"path+file:///{package}#1.0.0","manifest_path":"/{package}/Cargo.toml","target":{{"kind":["{kind}"],"crate_types":["{kind}"],"name":"{package}","src_path":"/{package}/src/lib.rs","edition":"2024","doc":true,"doctest":true,"test":true}},"profile":{{"opt_level":"3","debuginfo":0,"debug_assertions":false,"overflow_checks":false,"test":false}},"features":[],"filenames":["{file}"],"executable":null,"fresh":false}}"#
            )
        };
        let lines = [
            artifact("helper", "lib", "/t/libhelper.rlib"),
            artifact("home", "cdylib", "/t/home.wasm"),
            artifact("native", "cdylib", "/t/libnative.so"),
        ];
        let found: HashMap<_, _> = lines
            .iter()
            .filter_map(|line| match serde_json::from_str(line) {
                Ok(Message::CompilerArtifact(artifact)) => component(artifact),
                _ => None,
            })
            .collect();
        let home = PackageId {
            repr: "path+file:///home#1.0.0".into(),
        };
        assert_eq!(found, HashMap::from([(home, PathBuf::from("/t/home.wasm"))]));
    }

    #[test]
    fn what_cargo_is_at_is_told_from_what_it_has_to_say() {
        let check = |line, expected| assert_eq!(is_status(line), expected, "{line}");
        check("   Compiling home v1.0.0 (/x)", true);
        check("\u{1b}[1m\u{1b}[92m    Finished\u{1b}[0m `release` profile", true);
        check("error: could not compile `home`", false);
        check("warning: unused manifest key", false);
        check("", false);
        check("  process didn't exit successfully", false);
    }

    #[test]
    fn paths_are_as_seen_from_here() {
        let here = std::env::current_dir().expect("is somewhere");
        let rendered = "error: no\n  --> shop/src/lib.rs:3:5\n \u{1b}[34m--> \u{1b}[0mshop/src/lib.rs:3:5 \n";
        let seen = |workspace: &Path| clickable(rendered, ["shop/src/lib.rs"].into_iter(), workspace);
        assert_eq!(seen(&here), rendered);
        assert_eq!(
            seen(&here.join("components")),
            rendered.replace("shop/src", "components/shop/src")
        );
        assert_eq!(
            seen(Path::new("/elsewhere")),
            rendered.replace("shop/src", "/elsewhere/shop/src")
        );
    }
}
