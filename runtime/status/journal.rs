//! `STATE-DIR/journal.jsonl`: every event, one JSON object a line. When it has grown it becomes
//! `journal.1.jsonl`, that one `journal.2.jsonl`, and so on: it is bounded. Where records before are gone,
//! a record `state` says what they came to.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{Record, history::Histories};

/// Bytes after which a file is full.
const FILE: u64 = 8 << 20;
/// Files that are kept, with the one that is written to.
const FILES: usize = 4;

/// Records that wait for a journal that cannot be written; of more, the oldest are lost.
const MOST_UNWRITTEN: usize = 1024;

/// An open journal.
pub struct Journal {
    folder: PathBuf,
    file: File,
    /// Bytes after which it is full, without what stands at its head.
    limit: u64,
    head: u64,
    /// What the records so far come to: it is said where records before are missing, so that whoever reads
    /// the journal knows all groups for ever.
    known: Histories,
    /// Whether it is to be said before the next record.
    gap: bool,
    /// The last write failed, and may have left half a line.
    torn: bool,
    unwritten: VecDeque<String>,
    lost: u64,
    /// A failure is said once, not with every event.
    failed: bool,
    /// The file was not there when it was looked after last.
    missing: bool,
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
            head: 0,
            known: Histories::default(),
            gap: false,
            torn: false,
            unwritten: VecDeque::new(),
            lost: 0,
            failed: false,
            missing: false,
        })
    }

    /// Appends a line in one write, so that a killed process leaves no half of one. What cannot be written
    /// now is written later.
    pub fn append(&mut self, line: String) {
        self.unwritten.push_back(line);
        if self.unwritten.len() > MOST_UNWRITTEN {
            self.take_oldest();
            self.lost += 1;
            self.gap = true;
        }
        self.write_what_waits();
    }

    /// Makes a journal that was deleted anew, and writes what waits. To be called once in a while: only what
    /// was missing before too is made, since who deletes a folder and finds new files in it fails.
    pub fn tend(&mut self) {
        if !path(&self.folder, 0).exists() {
            if !std::mem::replace(&mut self.missing, true) {
                return;
            }
            self.make_anew();
        }
        self.missing = false;
        self.write_what_waits();
    }

    /// Writes what can be written yet.
    pub fn finish(&mut self) {
        if !self.unwritten.is_empty() {
            self.make_anew();
            self.write_what_waits();
        }
    }

    /// The folder alone, not those above it: were the root made anew here, it would be an empty site.
    fn make_anew(&self) {
        // Where it fails, opening the file tells why.
        let _ = fs::create_dir(&self.folder);
        let _ = open(&self.folder);
    }

    fn write_what_waits(&mut self) {
        match self.try_write() {
            Ok(()) => self.failed = false,
            Err(error) if !self.failed => {
                self.failed = true;
                tracing::error!(%error, "the journal cannot be written; serving goes on");
            }
            Err(_) => {}
        }
    }

    fn try_write(&mut self) -> io::Result<()> {
        self.follow()?;
        if self.gap {
            self.write_state()?;
        }
        while let Some(line) = self.unwritten.front().cloned() {
            let length = self.file.metadata()?.len();
            if length > self.head && length - self.head + line.len() as u64 >= self.limit {
                self.rotate()?;
            }
            self.write(&line)?;
            self.take_oldest();
        }
        Ok(())
    }

    fn take_oldest(&mut self) {
        let line = self.unwritten.pop_front().unwrap_or_default();
        if let Ok(record) = serde_json::from_str(&line) {
            self.known.tell(&record);
        }
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.torn {
            end_torn_line(&mut self.file)?;
        }
        self.torn = true;
        self.file.write_all(format!("{line}\n").as_bytes())?;
        self.torn = false;
        Ok(())
    }

    /// Writes to the file that is there: the open one may have been deleted, with its folder or without, or
    /// another server on the same folder may have started a new one.
    fn follow(&mut self) -> io::Result<()> {
        let (here, there) = (self.file.metadata()?, fs::metadata(path(&self.folder, 0))?);
        if (here.dev(), here.ino()) != (there.dev(), there.ino()) {
            self.reopen()?;
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..FILES).rev() {
            match fs::rename(path(&self.folder, number - 1), path(&self.folder, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.reopen()
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = open(&self.folder)?;
        (self.head, self.torn) = (0, false);
        self.gap |= self.file.metadata()?.len() == 0;
        if self.gap { self.write_state() } else { Ok(()) }
    }

    /// Says how many records are missing, and what all that were come to.
    fn write_state(&mut self) -> io::Result<()> {
        let is_head = self.file.metadata()?.len() == 0;
        if self.lost > 0 {
            self.write(&serde_json::to_string(&Record::lost(self.lost))?)?;
            self.lost = 0;
        }
        if let Some(state) = self.known.state() {
            self.write(&state)?;
        }
        self.gap = false;
        if is_head {
            self.head = self.file.metadata()?.len();
        }
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
    use super::{
        super::{GroupHistory, histories},
        *,
    };

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
            journal.append(record(number));
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
        Journal::open(folder.path()).unwrap().append(record(3));
        assert_eq!(numbers(folder.path()), [1, 3]);
    }

    #[test]
    fn two_servers_may_share_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut journals = [(); 2].map(|()| Journal::open_with(folder.path(), 200).unwrap());
        for number in 10..20 {
            journals[number % 2].append(record(number));
        }
        assert_eq!(numbers(folder.path()), (10..20).collect::<Vec<_>>());
    }

    const READY: &str = r#"{"event":"ready","time":"t0","groups":[
        {"group":"shop","generation":1},{"group":"api","generation":1}]}"#;

    /// Of the group `shop`.
    fn swapped(number: usize) -> String {
        format!(r#"{{"event":"swapped","group":"shop","generation":{number}}}"#)
    }

    /// The generations of both groups, as the journal tells them.
    fn generations(folder: &Path) -> Vec<(String, Option<u64>)> {
        let groups = histories(&read_journal(folder).unwrap().unwrap());
        let generation = |(name, group): (String, GroupHistory)| (name, group.generation);
        groups.into_iter().map(generation).collect()
    }

    fn expected(shop: u64) -> Vec<(String, Option<u64>)> {
        vec![("api".into(), Some(1)), ("shop".into(), Some(shop))]
    }

    fn ready(folder: &Path, limit: u64) -> Journal {
        let mut journal = Journal::open_with(folder, limit).unwrap();
        journal.append(READY.replace('\n', ""));
        journal
    }

    #[test]
    fn all_groups_are_known_whatever_was_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = ready(folder.path(), 200);
        for number in 2..100 {
            journal.append(swapped(number));
            assert_eq!(generations(folder.path()), expected(number as u64));
        }
        let kept = read_journal(folder.path()).unwrap().unwrap();
        let (first, kinds) = (&kept[0]["event"], kept.iter().map(|record| &record["event"]));
        assert_eq!(first, "state", "the file with `ready` is gone");
        assert_eq!(kinds.filter(|kind| *kind == "state").count(), FILES);
        assert!(kept.len() > 2 * FILES, "a state is no reason for a new file");
    }

    #[test]
    fn a_journal_that_was_deleted_is_made_anew() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("site/.wasmhost");
        let mut journal = ready(&folder, FILE);
        journal.append(swapped(2));
        let tend = |journal: &mut Journal| {
            journal.tend();
            journal.tend();
        };
        // With the root: nothing is made in its place.
        fs::remove_dir_all(root.path().join("site")).unwrap();
        journal.append(swapped(3));
        tend(&mut journal);
        assert!(!root.path().join("site").exists());
        fs::create_dir(root.path().join("site")).unwrap();
        tend(&mut journal);
        assert_eq!(generations(&folder), expected(3));
        let kept = read_journal(&folder).unwrap().unwrap();
        assert_eq!(
            kept.len(),
            2,
            "what was known, and what was not written: {kept:?}"
        );

        // The file alone; and nothing happens then.
        fs::remove_file(path(&folder, 0)).unwrap();
        journal.tend();
        assert!(!path(&folder, 0).exists(), "who deletes it may not be done");
        journal.tend();
        assert_eq!(generations(&folder), expected(3));

        // It is the end.
        fs::remove_dir_all(&folder).unwrap();
        journal.append(swapped(4));
        journal.finish();
        assert_eq!(generations(&folder), expected(4));
    }

    #[test]
    fn what_waits_for_the_disk_is_bounded_and_what_is_lost_is_told() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("state");
        let mut journal = ready(&folder, FILE);
        fs::remove_dir_all(&folder).unwrap();
        let last = MOST_UNWRITTEN + 7;
        (1..=last).for_each(|number| journal.append(swapped(number)));
        fs::create_dir(&folder).unwrap();
        journal.tend();
        journal.tend();
        let kept = read_journal(&folder).unwrap().unwrap();
        assert_eq!(
            (&kept[0]["event"], &kept[0]["count"]),
            (&"lost".into(), &7.into())
        );
        assert_eq!(kept.len(), 2 + MOST_UNWRITTEN);
        assert_eq!(generations(&folder), expected(last as u64));
    }
}
