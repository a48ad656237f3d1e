//! `wasmhost test`.

mod junit;
mod progress;
mod report;
mod upgrade;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Instant,
};

use self::{progress::Display, report::Summary};
use super::{no_runtime, print, runtime, signals::Signals};
use crate::{
    diagnostic::Diagnostic,
    testing::{Outcome, Progress, Stop, find, run_all},
};

/// Run reload scenarios: what a swap does to a tree, tried out on a copy of it.
///
/// A scenario is a file *.reload.toml. It is run on a temporary copy of its tree, by a server with a free
/// port, a state directory of its own and an empty environment. Exit code 1: a scenario failed.
#[derive(clap::Args)]
pub struct Arguments {
    /// Scenarios, or folders that are searched for them [default: the current folder].
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Instead of scenarios: serve a copy of the tree OLD, and swap to NEW and back while requests run.
    /// Exit code 1: an answer failed or was mixed, or something was refused.
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], conflicts_with_all = ["paths", "name", "jobs", "junit"])]
    upgrade: Option<Vec<PathBuf>>,
    /// Requests for --upgrade, as `wasmhost serve --record` wrote them [default: one for each page].
    #[arg(long, value_name = "FILE", requires = "upgrade")]
    replay: Option<PathBuf>,
    /// Clients that ask during --upgrade.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    clients: u16,
    /// Only scenarios whose name or file contains this.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Servers that run at once [default: one for each core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Also write a report for machines to FILE, as JUnit does.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Print the report as one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Vec<Diagnostic>> {
    let Arguments {
        mut paths,
        upgrade,
        replay,
        clients,
        name,
        jobs,
        junit,
        json,
    } = arguments;
    if let Some([old, new]) = upgrade.as_deref() {
        return upgrade::run(old, new, replay.as_deref(), clients.into(), json);
    }
    if paths.is_empty() {
        paths.push(".".into());
    }
    let began = Instant::now();
    let mut scenarios = find(&paths)?;
    let all = scenarios.len();
    scenarios.retain(|scenario| {
        let file = scenario.file.to_string_lossy();
        let is_meant = |name: &String| scenario.name.contains(name) || file.contains(name);
        name.as_ref().is_none_or(is_meant)
    });
    let program = own_program()?;
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    let jobs = jobs.map_or_else(cores, usize::from);
    let (_listening, stop) = stop_by_signal()?;
    let display = Display::new(scenarios.len(), json);
    let outcomes = run_all(
        &scenarios,
        jobs,
        Some(&program),
        &stop,
        &|progress| match progress {
            Progress::Began(scenario) => display.began(scenario),
            Progress::Ended(outcome) => display.ended(outcome),
        },
    );
    display.finish();
    if stop.is_ordered() {
        return Err(vec![stopped()]);
    }
    let summary = Summary {
        outcomes: &outcomes,
        filtered_out: all - scenarios.len(),
        took: began.elapsed(),
    };
    print(&if json { summary.json() } else { summary.text() })?;
    if let Some(file) = junit {
        let written = std::fs::write(&file, junit::xml(&outcomes, summary.took));
        written.map_err(|error| vec![Diagnostic::io("report-failed", "write", &file, &error)])?;
    }
    Ok(exit(&outcomes))
}

/// What the first signal orders. It is listened to as long as the runtime is there.
fn stop_by_signal() -> Result<(tokio::runtime::Runtime, Stop), Vec<Diagnostic>> {
    let (runtime, stop) = (runtime()?, Stop::default());
    let signals = runtime.block_on(async { Signals::listen_with_hangup() });
    let Signals { first, .. } = signals.map_err(|error| vec![no_runtime(&error)])?;
    let ordered = stop.clone();
    runtime.spawn(async move {
        first.cancelled().await;
        ordered.order();
    });
    Ok((runtime, stop))
}

fn stopped() -> Diagnostic {
    Diagnostic::new("test-stopped", "the tests were stopped before their end").machine()
}

/// Scenarios are served by the same program that reads them.
fn own_program() -> Result<PathBuf, Vec<Diagnostic>> {
    std::env::current_exe().map_err(|error| {
        vec![Diagnostic::io("program-missing", "find", Path::new("wasmhost"), &error).machine()]
    })
}

fn exit(outcomes: &[Outcome]) -> ExitCode {
    let failures = || outcomes.iter().filter_map(|outcome| outcome.failure.as_ref());
    if failures().any(|failure| failure.wrong.machine) {
        ExitCode::from(3)
    } else {
        ExitCode::from(u8::from(failures().next().is_some()))
    }
}
