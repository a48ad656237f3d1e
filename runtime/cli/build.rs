//! `wasmhost build`.

use std::{path::PathBuf, time::Duration};

use super::{Root, no_runtime, progress, runtime, say, signals::Signals};
use crate::{
    build::{Plan, Report, Selection, Setting},
    diagnostic::Diagnostic,
};

/// Build every source project under ROOT into its component.
///
/// The project in ROOT/shop/screen/home becomes ROOT/shop/screen/home.wasm, replaced atomically. Projects are
/// Cargo packages whose library is a cdylib, and folders with WIT in `wit` and a package.json or a
/// pyproject.toml. Only what changed is built.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    root: Root,
    #[command(flatten)]
    limit: Limit,
}

/// How long a build may take.
#[derive(clap::Args)]
pub struct Limit {
    /// How long a compiler or a build script may run before it is ended.
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = humantime::parse_duration)]
    build_limit: Duration,
}

impl Limit {
    pub fn setting(&self, stop: tokio_util::sync::CancellationToken) -> Setting {
        Setting {
            colours: progress::colours(),
            limit: self.build_limit,
            stop,
            sink: progress::sink(),
        }
    }
}

pub fn run(arguments: Arguments) -> Result<(), Vec<Diagnostic>> {
    build(arguments.root.root, &arguments.limit).map(|report| {
        for built in &report.built {
            let state = if built.changed { "built" } else { "unchanged" };
            say(&format!("{state} {}", built.component_path.display()));
        }
    })
}

/// Builds all; a signal ends it.
pub fn build(root: PathBuf, limit: &Limit) -> Result<Report, Vec<Diagnostic>> {
    let runtime = runtime()?;
    let built = runtime.block_on(async {
        let signals = Signals::listen_with_hangup().map_err(|error| vec![no_runtime(&error)])?;
        let setting = limit.setting(signals.first);
        let reading = setting.clone();
        let plan = tokio::task::spawn_blocking(move || Plan::read(&root, &reading));
        let plan = tokio::select! {
            plan = plan => plan.map_err(|_| vec![failed_itself()])?.map_err(|diagnostic| vec![diagnostic])?,
            () = setting.stop.cancelled() => return Err(vec![stopped()]),
        };
        let report = plan.build(&Selection::All, &setting).await;
        let mut problems = plan.problems;
        problems.extend(report.diagnostics());
        if report.stopped {
            problems.push(stopped());
        }
        match problems.is_empty() {
            true => Ok(report),
            false => Err(problems),
        }
    });
    // What sets a tool up may be waiting for another program.
    runtime.shutdown_background();
    built
}

fn stopped() -> Diagnostic {
    Diagnostic::new("build-stopped", "the build was stopped before its end").machine()
}

fn failed_itself() -> Diagnostic {
    Diagnostic::new("internal", "the projects cannot be found: wasmhost itself failed")
        .help("this is a fault of wasmhost: please report it with the tree at hand")
}
