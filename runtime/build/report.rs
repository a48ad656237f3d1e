//! What a build tells while it runs, and what it came to.

use std::{path::PathBuf, time::Duration};

use crate::diagnostic::Diagnostic;

/// One thing that a build tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A line of the build itself, for people.
    Says(String),
    /// So many components are to be built.
    Begins(usize),
    /// What a compiler is at.
    Doing(String),
    /// What a compiler has to say, as it came: lines with its own colours.
    Message(String),
    /// One of them is done, or has failed.
    Ended,
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

/// What did not build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The folder of the project, or of the workspace where it is nobody's alone.
    pub project: PathBuf,
    pub diagnostic: Diagnostic,
    /// What the compiler said of it, with its colours; empty where it said nothing.
    pub output: String,
}

/// What a build came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub built: Vec<Built>,
    pub failures: Vec<Failure>,
    pub took: Duration,
    /// It was told to stop: what is missing here is neither built nor at fault.
    pub stopped: bool,
}

impl Report {
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let diagnostics = self.failures.iter().map(|failure| failure.diagnostic.clone());
        diagnostics.collect()
    }

    pub(super) fn add(&mut self, other: Self) {
        self.built.extend(other.built);
        self.failures.extend(other.failures);
        self.stopped |= other.stopped;
    }

    pub(super) fn fail(&mut self, project: impl Into<PathBuf>, diagnostic: Diagnostic, output: String) {
        self.failures.push(Failure {
            project: project.into(),
            diagnostic,
            output,
        });
    }
}
