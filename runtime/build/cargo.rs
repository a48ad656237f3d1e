//! One `cargo build` of a workspace's components, and which file each package became.
//! Knows nothing of where the files go.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use cargo_metadata::{Artifact, Message, PackageId, Target};

use super::{
    TARGET,
    command::{CommandError, rust_tool},
    projects::{Workspace, cargo_missing},
    toolchain::Toolchain,
};
use crate::diagnostic::Diagnostic;

/// Builds as many of the workspace's projects as build; a project that failed has no file in the answer.
/// `target_dir` is used instead of the workspace's own.
pub fn build(
    workspace: &Workspace,
    toolchain: &Toolchain,
    target_dir: Option<&Path>,
) -> Result<HashMap<PackageId, PathBuf>, Diagnostic> {
    let mut cargo = command(workspace, toolchain, target_dir);
    let mut child = cargo
        .spawn()
        .map_err(|error| not_started(CommandError::from_start(&cargo, error)))?;
    let artifacts = child
        .stdout
        .take()
        .map(|stdout| artifacts(BufReader::new(stdout)))
        .unwrap_or_default();
    // How Cargo ended tells nothing more: what failed sent no artifact, and the reason is on standard error.
    child
        .wait()
        .map_err(|error| Diagnostic::io("build-failed", "wait for cargo in", &workspace.root, &error))?;
    Ok(artifacts)
}

fn command(workspace: &Workspace, toolchain: &Toolchain, target_dir: Option<&Path>) -> Command {
    let mut cargo = rust_tool("cargo");
    cargo
        .current_dir(&workspace.root)
        .args(["build", "--release", "--lib", "--keep-going", "--target", TARGET])
        .arg("--message-format=json-render-diagnostics")
        .arg("--target-dir")
        .arg(toolchain.target_dir(target_dir.unwrap_or(&workspace.target_dir)));
    for project in &workspace.projects {
        cargo.arg("--package").arg(&project.package.repr);
    }
    toolchain.apply(&mut cargo);
    // Standard error is ours, unpiped: Cargo sees whether it is a terminal and colours its messages itself.
    cargo.stdin(Stdio::null()).stdout(Stdio::piped());
    cargo
}

/// The `.wasm` of each package's cdylib, as Cargo's messages tell.
fn artifacts(messages: impl BufRead) -> HashMap<PackageId, PathBuf> {
    Message::parse_stream(messages)
        .map_while(Result::ok)
        .filter_map(|message| match message {
            Message::CompilerArtifact(artifact) => component(artifact),
            _ => None,
        })
        .collect()
}

fn component(artifact: Artifact) -> Option<(PackageId, PathBuf)> {
    if !Target::is_cdylib(&artifact.target) {
        return None;
    }
    let mut files = artifact.filenames.into_iter();
    let file = files.find(|file| file.extension() == Some("wasm"))?;
    Some((artifact.package_id, file.into()))
}

fn not_started(error: CommandError) -> Diagnostic {
    match error {
        CommandError::Missing { .. } => cargo_missing(),
        error => Diagnostic::new("cargo-failed", error.to_string()).machine(),
    }
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
        let messages = [
            artifact("helper", "lib", "/t/libhelper.rlib"),
            "a build script's own line".to_owned(),
            artifact("home", "cdylib", "/t/home.wasm"),
            artifact("native", "cdylib", "/t/libnative.so"),
            r#"{"reason":"build-finished","success":false}"#.to_owned(),
        ]
        .join("\n");
        let found = artifacts(messages.as_bytes());
        let home = PackageId {
            repr: "path+file:///home#1.0.0".into(),
        };
        assert_eq!(found, HashMap::from([(home, PathBuf::from("/t/home.wasm"))]));
    }
}
