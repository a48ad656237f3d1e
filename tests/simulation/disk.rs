//! A file system that remembers all it ever held, so that a reader can see each file as of another
//! moment. Knows no control plane.

use wasmhost::{
    project::{ContentId, Digest},
    reload::control::{Sight, State},
};

/// Microseconds since the run began.
pub type Time = u64;

pub const MS: Time = 1000;
pub const GROUPS: usize = 3;
/// The first is the group's part of the manifest, the others are components.
pub const FILES: usize = 4;
pub const MANIFEST: usize = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    pub version: u32,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Good,
    /// It can be read, and is refused when it is built.
    Bad,
    /// No component, perhaps not yet. Of the manifest: a part that cannot be understood.
    Unfinished,
}

/// A file as it lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    pub content: Content,
    /// When its maker says that it was made: any time at all.
    pub stamp: Time,
}

/// Whatever changes with time, with all that it ever was.
#[derive(Clone, Debug)]
pub struct Track<T>(Vec<(Time, T)>);

impl<T: Copy + PartialEq> Track<T> {
    fn new(value: T) -> Self {
        Self(vec![(0, value)])
    }

    pub fn set(&mut self, now: Time, value: T) {
        self.0.push((now, value));
    }

    pub fn now(&self) -> T {
        self.0[self.0.len() - 1].1
    }

    /// Since when it is what it is now.
    pub fn since(&self) -> Time {
        self.0[self.0.len() - 1].0
    }

    pub fn at(&self, time: Time) -> T {
        let after = self.0.partition_point(|(set, _)| *set <= time);
        self.0[after.saturating_sub(1)].1
    }

    /// Whether it was `wanted` at any moment from `from` to now.
    pub fn was(&self, from: Time, mut wanted: impl FnMut(&T) -> bool) -> bool {
        let first = self.0.partition_point(|(set, _)| *set <= from).saturating_sub(1);
        self.0[first..].iter().any(|(_, value)| wanted(value))
    }

    /// Whether it was `wanted` at any moment until `until`.
    pub fn had_been(&self, until: Time, mut wanted: impl FnMut(&T) -> bool) -> bool {
        let after = self.0.partition_point(|(set, _)| *set <= until);
        self.0[..after].iter().any(|(_, value)| wanted(value))
    }

    /// Whether it was `wanted` at any moment from `from` until `until`.
    pub fn was_between(&self, from: Time, until: Time, mut wanted: impl FnMut(&T) -> bool) -> bool {
        let first = self.0.partition_point(|(set, _)| *set <= from).saturating_sub(1);
        let after = self.0.partition_point(|(set, _)| *set <= until);
        self.0[first..after.max(first)]
            .iter()
            .any(|(_, value)| wanted(value))
    }

    /// What it was before it became what it is.
    pub fn before(&self) -> Option<T> {
        self.0.iter().rev().nth(1).map(|(_, value)| *value)
    }
}

/// The content of a group: that of its files, where they are there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Snapshot(pub [Option<Content>; FILES]);

pub struct Disk {
    files: Vec<Vec<Track<Option<File>>>>,
    /// What makes the tree as a whole impossible to understand.
    wrong: Track<Option<u32>>,
    /// Every content that any group had, whole, and since when.
    existed: Vec<Vec<Snapshot>>,
}

impl Disk {
    /// All groups with these files, of good content.
    pub fn new(there: impl Fn(usize, usize) -> bool) -> Self {
        let file = |group, file| {
            let content = Content {
                version: 0,
                kind: Kind::Good,
            };
            Track::new(there(group, file).then_some(File { content, stamp: 0 }))
        };
        let files = (0..GROUPS).map(|group| (0..FILES).map(|at| file(group, at)).collect());
        let mut disk = Self {
            files: files.collect(),
            wrong: Track::new(None),
            existed: vec![Vec::new(); GROUPS],
        };
        (0..GROUPS).for_each(|group| disk.note(group));
        disk
    }

    pub fn file(&self, group: usize, file: usize) -> &Track<Option<File>> {
        &self.files[group][file]
    }

    pub fn wrong(&self) -> &Track<Option<u32>> {
        &self.wrong
    }

    pub fn write(&mut self, now: Time, group: usize, file: usize, what: Option<File>) {
        self.files[group][file].set(now, what);
        self.note(group);
    }

    pub fn spoil(&mut self, now: Time, wrong: Option<u32>) {
        self.wrong.set(now, wrong);
    }

    fn note(&mut self, group: usize) {
        let now = self.now(group);
        if self.existed[group].last() != Some(&now) {
            self.existed[group].push(now);
        }
    }

    pub fn now(&self, group: usize) -> Snapshot {
        self.read(group, |track| track.now())
    }

    /// The group as a reader finds it that comes to each file at a moment of its own.
    pub fn read(&self, group: usize, mut read: impl FnMut(&Track<Option<File>>) -> Option<File>) -> Snapshot {
        Snapshot(std::array::from_fn(|file| {
            read(&self.files[group][file]).map(|file| file.content)
        }))
    }

    pub fn is_there(&self, group: usize, at: Time) -> bool {
        self.files[group][1..].iter().any(|file| file.at(at).is_some())
    }

    /// Whether the group ever was this, as a whole.
    pub fn existed(&self, group: usize, snapshot: &Snapshot) -> bool {
        self.existed[group].contains(snapshot)
    }

    /// Whether each file of the group was this at some moment from `from` to now.
    pub fn each_was(&self, group: usize, snapshot: &Snapshot, from: Time) -> bool {
        let mut files = self.files[group].iter().zip(snapshot.0);
        files.all(|(track, content)| track.was(from, |file| file.map(|file| file.content) == content))
    }

    /// Whether each file of the group had been this at some moment until `until`.
    pub fn each_had_been(&self, group: usize, snapshot: &Snapshot, until: Time) -> bool {
        let mut files = self.files[group].iter().zip(snapshot.0);
        files.all(|(track, content)| track.had_been(until, |file| file.map(|file| file.content) == content))
    }

    /// Whether some file of the group was unfinished at some moment from `from` until `until`.
    pub fn some_was_unfinished(&self, group: usize, from: Time, until: Time) -> bool {
        let unfinished = |file: &Option<File>| file.is_some_and(|file| file.content.kind == Kind::Unfinished);
        let mut files = self.files[group].iter();
        files.any(|track| track.was_between(from, until, unfinished))
    }

    /// Whether every component of the group was gone at some moment from `from` to now.
    pub fn each_was_gone(&self, group: usize, from: Time) -> bool {
        self.files[group][1..]
            .iter()
            .all(|track| track.was(from, Option::is_none))
    }
}

impl Snapshot {
    fn has(&self, kind: Kind) -> bool {
        self.0.iter().flatten().any(|content| content.kind == kind)
    }

    pub fn is_there(&self) -> bool {
        self.0[1..].iter().any(Option::is_some)
    }

    /// It can be served.
    pub fn is_good(&self) -> bool {
        self.is_there() && !self.has(Kind::Bad) && !self.has(Kind::Unfinished)
    }

    /// It may still become something else by itself: that is given time.
    pub fn is_pending(&self) -> bool {
        self.has(Kind::Unfinished)
    }

    /// Some component of it is not finished; its part of the manifest can be understood.
    pub fn is_unfinished(&self) -> bool {
        self.is_pending() && !self.is_wrong()
    }

    fn is_wrong(&self) -> bool {
        self.0[MANIFEST].is_some_and(|content| content.kind == Kind::Unfinished)
    }

    pub fn digest(&self, group: usize) -> Digest {
        let mut bytes = vec![group as u8];
        for content in self.0 {
            let (version, kind) = content.map_or((0, 9), |content| (content.version, content.kind as u8));
            bytes.push(kind);
            bytes.extend(version.to_le_bytes());
        }
        Digest::of(&bytes)
    }

    pub fn sight(&self, group: usize, digest: Digest) -> Sight {
        let wrong = self.is_wrong();
        let state = match () {
            () if wrong => State::Wrong,
            () if self.has(Kind::Unfinished) => State::Unfinished,
            () => State::Whole,
        };
        let there = (1..FILES).filter(|file| self.0[*file].is_some() && !wrong);
        let contents = there.map(|file| ContentId::File(format!("{}/c{file}", name(group))));
        Sight {
            digest,
            contents: contents.collect(),
            state,
        }
    }
}

/// `m4 2 - 7!`: the manifest's version and those of the components; `-` is gone, `!` bad, `?` unfinished.
impl std::fmt::Display for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("m")?;
        for (file, content) in self.0.iter().enumerate() {
            let gap = if file == 0 { "" } else { " " };
            match content {
                None => write!(f, "{gap}-")?,
                Some(Content { version, kind }) => {
                    let mark = match kind {
                        Kind::Good => "",
                        Kind::Bad => "!",
                        Kind::Unfinished => "?",
                    };
                    write!(f, "{gap}{version}{mark}")?;
                }
            }
        }
        Ok(())
    }
}

pub fn name(group: usize) -> String {
    format!("g{group}")
}

pub fn number(name: &str) -> usize {
    name[1..].parse().unwrap()
}
