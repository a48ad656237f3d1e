//! Builds one project of JavaScript or Python, if its sources are not those of the component that is there.
//! Knows nothing of Cargo.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use super::{
    Built, Progress, Report, Setting,
    command::CommandError,
    place::place,
    process::{self, Line, RunError},
    script_project::{Language, ScriptProject},
    tools::{self, Unavailable},
};
use crate::{
    diagnostic::{Diagnostic, Position},
    project::Digest,
};

const COMPONENTIZE: &str = include_str!("componentize.mjs");

/// Beside a source: made by tools, not by people.
const NO_SOURCES: &[&str] = &["target", "node_modules", "__pycache__", "dist"];

/// What the component in its place was made of.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    sources: String,
    component: String,
}

pub async fn build(project: &ScriptProject, setting: &Setting) -> Report {
    let mut report = Report::default();
    let sources = sources(project);
    let place = project.component_path();
    if is_of(project, &sources) {
        report.built.push(built(project, false));
    } else if setting.stop.is_cancelled() {
        report.stopped = true;
    } else {
        setting.tell(Progress::Doing(format!("building {}", project.folder.display())));
        match make(project, setting).await {
            Ok(component) => match self::place(&component, &place) {
                Ok(changed) => {
                    note(project, sources);
                    report.built.push(built(project, changed));
                }
                Err(diagnostic) => report.fail(&project.folder, diagnostic, String::new()),
            },
            Err(_) if setting.stop.is_cancelled() => report.stopped = true,
            Err((diagnostic, output)) => report.fail(&project.folder, diagnostic, output),
        }
    }
    setting.tell(Progress::Ended);
    report
}

fn built(project: &ScriptProject, changed: bool) -> Built {
    Built {
        component_path: project.component_path(),
        project: project.folder.clone(),
        changed,
    }
}

/// Makes the component in the project's own `target`.
async fn make(project: &ScriptProject, setting: &Setting) -> Result<PathBuf, Unavailable> {
    let folder = std::path::absolute(&project.folder).unwrap_or_else(|_| project.folder.clone());
    let target = folder.join("target");
    let unwritable = |error| {
        let diagnostic = Diagnostic::io("build-failed", "make", &target, &error);
        (diagnostic, String::new())
    };
    fs::create_dir_all(&target).map_err(unwritable)?;
    let output = target.join("component.wasm");
    let command = match project.language {
        Language::JavaScript => {
            if project.bundled {
                bundle(project, &folder, setting).await?;
            }
            javascript(project, &folder, &output, setting).await?
        }
        Language::Python => python(project, &folder, &output, setting).await?,
    };
    let made = run(project, command, setting).await;
    if made.is_err() && project.language == Language::JavaScript && !setting.stop.is_cancelled() {
        // The component's engine names no place in what it cannot parse.
        let mut check = Command::new("node");
        check.arg("--check").arg(folder.join(&project.entry));
        run(project, check, setting).await?;
    }
    made.map(|()| output)
}

/// Installs what the project depends on, and runs its own script `build`.
async fn bundle(project: &ScriptProject, folder: &Path, setting: &Setting) -> Result<(), Unavailable> {
    let npm = |arguments: &str| {
        let mut npm = Command::new("npm");
        npm.current_dir(folder).args(arguments.split(' '));
        npm
    };
    if !folder.join("node_modules").exists() {
        run(
            project,
            npm("install --no-audit --no-fund --loglevel=error"),
            setting,
        )
        .await?;
    }
    run(project, npm("run --silent build"), setting).await
}

async fn javascript(
    project: &ScriptProject,
    folder: &Path,
    output: &Path,
    setting: &Setting,
) -> Result<Command, Unavailable> {
    let own = folder.join("node_modules/@bytecodealliance/componentize-js");
    let tool = match own.exists() {
        true => folder.to_owned(),
        false => tools::componentize_js(&project.tool, setting).await?,
    };
    let mut node = Command::new("node");
    // Node looks for the package in the folder that it is started in.
    node.current_dir(tool);
    node.args(["--input-type=module", "--eval", COMPONENTIZE]);
    node.arg(folder.join(&project.entry))
        .arg(folder.join("wit"))
        .arg(output);
    node.args(&project.world);
    Ok(node)
}

async fn python(
    project: &ScriptProject,
    folder: &Path,
    output: &Path,
    setting: &Setting,
) -> Result<Command, Unavailable> {
    let tool = tools::python_packages(std::slice::from_ref(&project.tool), setting).await?;
    let mut python = Command::new("python3");
    // No bytecode beside the sources.
    python
        .env("PYTHONPATH", &tool)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    python.env_remove("RUST_BACKTRACE");
    python.arg(tool.join("bin/componentize-py")).arg("--quiet");
    if let Some(world) = &project.world {
        python.args(["--world", world]);
    }
    python.arg("--wit-path").arg(folder.join("wit"));
    python
        .args(["componentize", &project.entry, "--python-path"])
        .arg(folder);
    if !project.dependencies.is_empty() {
        let packages = tools::python_packages(&project.dependencies, setting).await?;
        python.arg("--python-path").arg(packages);
    }
    python.arg("--output").arg(output);
    Ok(python)
}

async fn run(project: &ScriptProject, command: Command, setting: &Setting) -> Result<(), Unavailable> {
    let mut output = String::new();
    let take = |line| {
        let (Line::Out(line) | Line::Err(line)) = line;
        output += &(line.clone() + "\n");
        setting.tell(Progress::Message(line));
    };
    let failed = |message: String| {
        let diagnostic = Diagnostic::new("build-failed", message).file(project.manifest());
        diagnostic.help("the tool's messages are above")
    };
    match process::run(command, setting, take).await {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => {
            let mut diagnostic = failed(format!("{} did not build", project.folder.display()));
            if let Some((file, position)) = place_of_error(&project.folder, &output) {
                diagnostic = diagnostic.file(file).position(position);
            }
            Err((diagnostic, output))
        }
        Err(RunError::Command(CommandError::Missing { program })) => {
            Err((tools::missing(project.language, &program), output))
        }
        Err(error) => {
            let message = format!(
                "the build of {} did not end well: {error}",
                project.folder.display()
            );
            Err((failed(message), output))
        }
    }
}

/// The place that a tool names in one of the project's files: `component.js:3:5`, or `File "…/app.py", line 3`.
fn place_of_error(folder: &Path, output: &str) -> Option<(PathBuf, Position)> {
    let number = |text: &str| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok().filter(|number| *number > 0)
    };
    let files = WalkDir::new(folder).into_iter().filter_entry(is_source).flatten();
    let files = files.filter(|entry| entry.file_type().is_file());
    files
        .filter_map(|entry| {
            let name = entry.file_name().to_str()?;
            let found = output.match_indices(name).filter_map(|(at, _)| {
                let rest = &output[at + name.len()..];
                let (line, column) = if let Some(rest) = rest.strip_prefix("\", line ") {
                    (number(rest)?, 1)
                } else {
                    let rest = rest.strip_prefix(':')?;
                    let column = rest.split_once(':').and_then(|(_, rest)| number(rest));
                    (number(rest)?, column.unwrap_or(1))
                };
                Some((at, Position { line, column }))
            });
            // The last is where it happened; those before led there.
            found
                .last()
                .map(|(at, position)| (at, entry.path().to_owned(), position))
        })
        .max_by_key(|(at, ..)| *at)
        .map(|(_, file, position)| (file, position))
}

fn is_source(entry: &walkdir::DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    entry.depth() == 0 || !(name.starts_with('.') || NO_SOURCES.contains(&&*name))
}

/// What the component is made of: the sources and the tools, by content.
fn sources(project: &ScriptProject) -> String {
    let walk = WalkDir::new(&project.folder)
        .follow_links(true)
        .sort_by_file_name();
    let mut parts: Vec<Vec<u8>> = vec![
        project.tool.clone().into(),
        env!("CARGO_PKG_VERSION").into(),
        COMPONENTIZE.into(),
    ];
    for entry in walk.into_iter().filter_entry(is_source).flatten() {
        if entry.file_type().is_file() {
            parts.push(entry.path().as_os_str().as_encoded_bytes().into());
            // What cannot be read, the tool will say.
            parts.push(fs::read(entry.path()).unwrap_or_default());
        }
    }
    Digest::of_parts(parts.iter().map(Vec::as_slice)).to_string()
}

fn stamp_file(project: &ScriptProject) -> PathBuf {
    project.folder.join("target/built.json")
}

fn component_digest(project: &ScriptProject) -> Option<String> {
    let content = fs::read(project.component_path()).ok()?;
    Some(Digest::of(&content).to_string())
}

fn is_of(project: &ScriptProject, sources: &str) -> bool {
    let noted = || {
        let text = fs::read_to_string(stamp_file(project)).ok()?;
        let noted: Stamp = serde_json::from_str(&text).ok()?;
        Some(noted.sources == sources && component_digest(project)? == noted.component)
    };
    noted().unwrap_or(false)
}

/// Where it cannot be written, it is built again the next time.
fn note(project: &ScriptProject, sources: String) {
    if let Some(component) = component_digest(project)
        && let Ok(text) = serde_json::to_string(&Stamp { sources, component })
    {
        let _ = fs::write(stamp_file(project), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_found_in_the_projects_own_files() {
        let folder = tempfile::tempdir().expect("makes a folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("component.js"), "").expect("writes");
        fs::write(path("app.py"), "").expect("writes");
        let check = |output: &str, expected: Option<(&str, u32, u32)>| {
            let found = place_of_error(folder.path(), output);
            let expected = expected.map(|(name, line, column)| (path(name), Position { line, column }));
            assert_eq!(found, expected, "{output}");
        };
        check("SyntaxError at component.js:3:7\n", Some(("component.js", 3, 7)));
        check(
            "  File \"/x/wit_world/__init__.py\", line 9\n  File \"/x/app.py\", line 4\nSyntaxError",
            Some(("app.py", 4, 1)),
        );
        check("no place at all", None);
    }
}
