//! Many scenarios: found, read, and run beside each other, each by itself, by a bounded number of servers.

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use walkdir::{DirEntry, WalkDir};

use super::{
    run::{Outcome, run},
    scenario::{self, ENDING, Scenario},
    stop::Stop,
};
use crate::diagnostic::Diagnostic;

/// All scenarios in `paths`, files or folders, in order of their paths.
///
/// # Errors
/// A path that is not there, a folder without one, and all that is wrong with any of them.
pub fn find(paths: &[PathBuf]) -> Result<Vec<Scenario>, Vec<Diagnostic>> {
    let (mut scenarios, mut diagnostics) = (Vec::new(), Vec::new());
    for path in paths {
        match files(path) {
            Err(diagnostic) => diagnostics.push(diagnostic),
            Ok(files) => {
                for file in files {
                    match scenario::read(&file) {
                        Ok(scenario) => scenarios.push(scenario),
                        Err(wrong) => diagnostics.extend(wrong),
                    }
                }
            }
        }
    }
    if diagnostics.is_empty() {
        Ok(scenarios)
    } else {
        Err(diagnostics)
    }
}

/// The scenarios' files under a folder; a file is meant whatever its name.
fn files(path: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    if !path.is_dir() {
        let message = format!("there is no {}", path.display());
        return Err(Diagnostic::new("scenario-missing", message).file(path));
    }
    let entries = WalkDir::new(path)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(is_searched);
    let is_scenario = |entry: &DirEntry| entry.file_name().to_string_lossy().ends_with(ENDING);
    let found: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(is_scenario)
        .map(DirEntry::into_path)
        .collect();
    if found.is_empty() {
        let message = format!("no scenario lies in {}", path.display());
        let help = format!("a scenario is a file whose name ends in {ENDING}");
        return Err(Diagnostic::new("scenario-missing", message).file(path).help(help));
    }
    Ok(found)
}

fn is_searched(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    let is_left_out = matches!(name.as_ref(), "target" | "node_modules") || name.starts_with('.');
    entry.depth() == 0 || entry.file_type().is_file() || !is_left_out
}

/// What happens while scenarios run.
pub enum Progress<'a> {
    Began(&'a Scenario),
    Ended(&'a Outcome),
}

/// Runs them, `jobs` at once, until `stop` is ordered. The outcomes are in the order of the scenarios.
pub fn run_all(
    scenarios: &[Scenario],
    jobs: usize,
    program: Option<&Path>,
    stop: &Stop,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(scenario) = scenarios.get(at).filter(|_| !stop.is_ordered()) else {
                return;
            };
            progress(Progress::Began(scenario));
            let outcome = run(scenario, program, stop);
            progress(Progress::Ended(&outcome));
            let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
            outcomes.push((at, outcome));
        }
    };
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, scenarios.len().max(1)) {
            scope.spawn(work);
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|(at, _)| *at);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}
