//! What people and tools do to a tree: each edit is a few writes, some of them later.

use super::{
    disk::{FILES, GROUPS, Kind, MANIFEST, MS, Time},
    random::Random,
};

/// One step of an edit, when its time has come.
#[derive(Clone, Copy, Debug)]
pub enum Write {
    /// New content; the stamp is that of the moment, or so much older.
    New {
        file: Place,
        kind: Kind,
        older: Time,
    },
    /// What the file was before.
    Former(Place),
    /// The same content with another stamp.
    Touch(Place),
    Delete(Place),
    /// The same content at another place.
    Rename {
        from: Place,
        to: Place,
    },
    DeleteGroup(usize),
    /// The tree cannot be understood, or can be again.
    Spoil(bool),
}

/// A group and a file of it.
pub type Place = (usize, usize);

/// An edit: its writes, each with its delay.
pub fn edit(random: &mut Random) -> Vec<(Time, Write)> {
    let (group, file) = (random.below(GROUPS), 1 + random.below(FILES - 1));
    let place = (group, file);
    match random.below(100) {
        0..20 => vec![(0, whole(random, place))],
        20..32 => torn(random, place),
        32..40 => delete_and_recreate(random, place),
        40..46 => vec![(0, rename(random, place))],
        46..60 => burst(random),
        60..66 => vec![(0, Write::Touch(place))],
        66..76 => vec![(0, Write::Former(place))],
        76..81 => vec![(0, Write::Delete(place))],
        81..87 => manifest(random, group),
        87..91 => folder_out_and_in(random, group),
        91..95 => spoil(random),
        95..97 => churn(random, place),
        _ => vec![(0, Write::DeleteGroup(group))],
    }
}

/// What people leave behind at last: nothing that is still to be written.
pub fn mend(group: usize) -> Vec<(Time, Write)> {
    let good = |file| Write::New {
        file: (group, file),
        kind: Kind::Good,
        older: 0,
    };
    vec![(0, good(MANIFEST)), (0, good(1))]
}

fn new(file: Place, kind: Kind) -> Write {
    Write::New { file, kind, older: 0 }
}

fn whole(random: &mut Random, file: Place) -> Write {
    let kind = if random.percent(20) { Kind::Bad } else { Kind::Good };
    let older = if random.percent(30) {
        random.between(0, 100_000 * MS)
    } else {
        0
    };
    Write::New { file, kind, older }
}

/// Written piece by piece, or a core module first and the component after it. Some are never finished.
fn torn(random: &mut Random, file: Place) -> Vec<(Time, Write)> {
    let mut writes = Vec::new();
    let mut at = 0;
    for _ in 0..random.between(1, 3) {
        writes.push((at, new(file, Kind::Unfinished)));
        at += random.mostly(40 * MS, 2500 * MS);
    }
    if random.percent(90) {
        writes.push((at, whole(random, file)));
    }
    writes
}

fn delete_and_recreate(random: &mut Random, file: Place) -> Vec<(Time, Write)> {
    let again = if random.percent(30) {
        Write::Former(file)
    } else {
        whole(random, file)
    };
    vec![
        (0, Write::Delete(file)),
        (random.mostly(30 * MS, 600 * MS), again),
    ]
}

fn rename(random: &mut Random, from: Place) -> Write {
    Write::Rename {
        from,
        to: (from.0, 1 + random.below(FILES - 1)),
    }
}

/// The files of one build.
fn burst(random: &mut Random) -> Vec<(Time, Write)> {
    let mut writes = Vec::new();
    let mut at = 0;
    for _ in 0..random.between(2, 8) {
        let file = (random.below(GROUPS), 1 + random.below(FILES - 1));
        writes.push((at, whole(random, file)));
        at += random.mostly(8 * MS, 60 * MS);
    }
    writes
}

fn manifest(random: &mut Random, group: usize) -> Vec<(Time, Write)> {
    let file = (group, MANIFEST);
    let mended = (random.mostly(200 * MS, 3000 * MS), new(file, Kind::Good));
    match random.percent(30) {
        true => vec![(0, new(file, Kind::Unfinished)), mended],
        false => vec![(0, whole(random, file))],
    }
}

fn folder_out_and_in(random: &mut Random, group: usize) -> Vec<(Time, Write)> {
    let back = random.mostly(100 * MS, 1500 * MS);
    let mut writes = vec![(0, Write::DeleteGroup(group))];
    writes.extend((1..FILES).map(|file| (back, Write::Former((group, file)))));
    writes
}

fn spoil(random: &mut Random) -> Vec<(Time, Write)> {
    let mended = random.mostly(300 * MS, 2000 * MS);
    match random.percent(20) {
        true => vec![(0, Write::Spoil(true))],
        false => vec![(0, Write::Spoil(true)), (mended, Write::Spoil(false))],
    }
}

/// A file that changes for a long time.
fn churn(random: &mut Random, file: Place) -> Vec<(Time, Write)> {
    let writes = (0..random.between(20, 80)).map(|n| (n * 7 * MS, new(file, Kind::Good)));
    writes.collect()
}
