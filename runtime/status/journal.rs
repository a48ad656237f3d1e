//! `STATE-DIR/journal.jsonl`: every event, one JSON object a line. When it has grown it becomes
//! `journal.1.jsonl`, that one `journal.2.jsonl`, and so on: it is bounded.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// Bytes after which a file is full.
const FILE: u64 = 8 << 20;
/// Files that are kept, with the one that is written to.
const FILES: usize = 4;

/// An open journal.
pub struct Journal {
    folder: PathBuf,
    file: File,
    /// Bytes after which it is full.
    limit: u64,
    /// A failure is said once, not with every event.
    failed: bool,
}

impl Journal {
    /// Opens the journal of a state directory and creates both where missing.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        Self::open_with(state_dir, FILE)
    }

    fn open_with(state_dir: &Path, limit: u64) -> io::Result<Self> {
        fs::create_dir_all(state_dir)?;
        let mut file = open(state_dir)?;
        end_torn_line(&mut file)?;
        Ok(Self {
            folder: state_dir.to_owned(),
            file,
            limit,
            failed: false,
        })
    }

    /// Appends a line in one write, so that a killed process leaves no half of one.
    pub fn append(&mut self, line: &str) {
        match self.write(line) {
            Ok(()) => self.failed = false,
            Err(error) if !self.failed => {
                self.failed = true;
                tracing::error!(%error, "the journal cannot be written; serving goes on");
            }
            Err(_) => {}
        }
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        if length > 0 && length + line.len() as u64 >= self.limit {
            self.rotate()?;
        }
        self.file.write_all(format!("{line}\n").as_bytes())
    }

    /// Starts a new file. Another server on the same folder may have done so: then its file is taken.
    fn rotate(&mut self) -> io::Result<()> {
        let here = self.file.metadata()?.ino();
        let there = fs::metadata(path(&self.folder, 0)).map(|metadata| metadata.ino());
        if there.is_ok_and(|there| there == here) {
            for number in (1..FILES).rev() {
                match fs::rename(path(&self.folder, number - 1), path(&self.folder, number)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        self.file = open(&self.folder)?;
        Ok(())
    }
}

/// Every record of a state directory's journal, oldest first; what a killed process or a full disk left
/// half written is passed over. `None` where there is no journal.
pub fn read_journal(state_dir: &Path) -> io::Result<Option<Vec<Value>>> {
    let mut records = None;
    for number in (0..FILES).rev() {
        let bytes = match read(&path(state_dir, number)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let lines = bytes.split(|byte| *byte == b'\n');
        let found = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
        let records = records.get_or_insert_with(Vec::new);
        records.extend(found.filter(|record| record["event"].is_string()));
    }
    Ok(records)
}

fn path(folder: &Path, number: usize) -> PathBuf {
    match number {
        0 => folder.join("journal.jsonl"),
        number => folder.join(format!("journal.{number}.jsonl")),
    }
}

fn open(folder: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).read(true).append(true);
    options.open(path(folder, 0))
}

/// A file may be over its limit by what several servers appended at once.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(2 * FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a full disk or a power loss cut off must not swallow the next record.
fn end_torn_line(file: &mut File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if length > 0 {
        std::os::unix::fs::FileExt::read_exact_at(file, &mut last, length - 1)?;
    }
    if last != [b'\n'] {
        file.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: usize) -> String {
        format!(r#"{{"event":"swapped","generation":{number}}}"#)
    }

    fn numbers(folder: &Path) -> Vec<u64> {
        let records = read_journal(folder).unwrap().unwrap();
        records
            .iter()
            .map(|record| record["generation"].as_u64().unwrap())
            .collect()
    }

    #[test]
    fn it_is_bounded_and_read_in_order() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read_journal(folder.path()).unwrap(), None);
        let mut journal = Journal::open_with(folder.path(), 100).unwrap();
        for number in 10..30 {
            journal.append(&record(number));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), FILES);
        let numbers = numbers(folder.path());
        let last: Vec<u64> = (10..30).skip(20 - numbers.len()).collect();
        assert_eq!(numbers, last);
        assert!(numbers.len() >= 2 * FILES - 1);
    }

    #[test]
    fn a_torn_line_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let torn = format!("{}\n{}", record(1), &record(2)[..12]);
        fs::write(folder.path().join("journal.jsonl"), torn).unwrap();
        assert_eq!(numbers(folder.path()), [1]);
        Journal::open(folder.path()).unwrap().append(&record(3));
        assert_eq!(numbers(folder.path()), [1, 3]);
    }

    #[test]
    fn two_servers_may_share_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut journals = [(); 2].map(|()| Journal::open_with(folder.path(), 200).unwrap());
        for number in 10..20 {
            journals[number % 2].append(&record(number));
        }
        assert_eq!(numbers(folder.path()), (10..20).collect::<Vec<_>>());
    }
}
