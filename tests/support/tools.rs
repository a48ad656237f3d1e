//! Programs of others that tests prove something with, where the machine has them.

use std::{
    io::{Seek, Write},
    process::{Command, Stdio},
};

use super::skipped;

/// A program that runs here.
pub struct Tool(&'static str);

impl Tool {
    /// `None`, and loudly so, on a machine without it. In CI that is a failure.
    pub fn new(name: &'static str) -> Option<Self> {
        Self::known_by(name, "--version")
    }

    /// As `new`, of a program that answers to something else.
    pub fn known_by(name: &'static str, argument: &str) -> Option<Self> {
        let mut asked = Command::new(name);
        asked.arg(argument).stdout(Stdio::null()).stderr(Stdio::null());
        if asked.status().is_ok() {
            return Some(Self(name));
        }
        skipped(name, "it does not run here");
        None
    }

    /// What it says on standard output; it has to succeed.
    pub fn run(&self, arguments: &[&str]) -> String {
        self.run_on("", arguments)
    }

    /// As `run`, with a standard input.
    pub fn run_on(&self, input: &str, arguments: &[&str]) -> String {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(input.as_bytes()).unwrap();
        file.rewind().unwrap();
        let output = Command::new(self.0).args(arguments).stdin(file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{} {arguments:?}: {}\n{said}\n{errors}",
            self.0,
            output.status
        );
        said
    }
}
