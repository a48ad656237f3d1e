//! `STATE-DIR/journal.jsonl`: every event, one JSON object a line.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
};

/// An open journal.
pub struct Journal {
    file: File,
    /// A failure is said once, not with every event.
    failed: bool,
}

impl Journal {
    /// Opens the journal of a state directory and creates both where missing.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(state_dir)?;
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(state_dir.join("journal.jsonl"))?;
        Ok(Self { file, failed: false })
    }

    /// Appends a line in one write, so that a killed process leaves no half of one.
    pub fn append(&mut self, line: &str) {
        let result = self.file.write_all(format!("{line}\n").as_bytes());
        match result {
            Ok(()) => self.failed = false,
            Err(error) if !self.failed => {
                self.failed = true;
                tracing::error!(%error, "the journal cannot be written; serving goes on");
            }
            Err(_) => {}
        }
    }
}
