//! The ways in which the files of a site are replaced, each of which is one swap.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crate::{load::pause, support::touched};

/// One change: of a part of the site, or of something else in it.
pub struct Change<'a> {
    pub root: &'a Path,
    /// The part, and its new content.
    pub file: PathBuf,
    pub content: &'a [u8],
    pub number: u64,
}

pub struct Way {
    pub name: &'static str,
    pub carry_out: fn(&Change),
    /// Whether the part has its new content then.
    pub replaces: bool,
}

pub const WAYS: [Way; 13] = [
    replaces("in place", in_place),
    replaces("rename", rename),
    replaces("delete and recreate", recreate),
    replaces("hard link", hard_link),
    replaces("symlink switch", symlink_switch),
    replaces("older stamp", older_stamp),
    changes("same second, same size", same_stamp_and_size),
    replaces("torn, then whole", torn),
    replaces("core module first", core_module_first),
    replaces("folder out and in", folder_out_and_in),
    changes("component added", component_added),
    changes("component removed", component_removed),
    changes("manifest changed", manifest_changed),
];

const fn replaces(name: &'static str, carry_out: fn(&Change)) -> Way {
    Way {
        name,
        carry_out,
        replaces: true,
    }
}

const fn changes(name: &'static str, carry_out: fn(&Change)) -> Way {
    Way {
        name,
        carry_out,
        replaces: false,
    }
}

/// The new content in a file that the server does not look at.
fn beside(change: &Change) -> PathBuf {
    let beside = change.file.with_extension("new");
    let _ = fs::remove_file(&beside);
    fs::write(&beside, change.content).unwrap();
    beside
}

fn in_place(change: &Change) {
    if change.file.is_symlink() {
        return rename(change);
    }
    fs::write(&change.file, change.content).unwrap();
}

fn rename(change: &Change) {
    fs::rename(beside(change), &change.file).unwrap();
}

fn recreate(change: &Change) {
    fs::remove_file(&change.file).unwrap();
    fs::write(&change.file, change.content).unwrap();
}

/// As cargo does: unlinked, then linked from elsewhere.
fn hard_link(change: &Change) {
    let beside = beside(change);
    fs::remove_file(&change.file).unwrap();
    fs::hard_link(beside, &change.file).unwrap();
}

fn symlink_switch(change: &Change) {
    let target = change.file.with_extension(format!("v{}", change.number % 256));
    fs::write(&target, change.content).unwrap();
    let link = change.file.with_extension("link");
    let _ = fs::remove_file(&link);
    symlink(target, &link).unwrap();
    fs::rename(link, &change.file).unwrap();
}

fn older_stamp(change: &Change) {
    let beside = beside(change);
    stamp(
        &beside,
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000),
    );
    fs::rename(beside, &change.file).unwrap();
}

/// The part as it is, but for a number in it that nobody sees.
fn same_stamp_and_size(change: &Change) {
    let present = fs::read(&change.file).unwrap();
    let made = fs::metadata(&change.file).unwrap().modified().unwrap();
    let number = touched(&[], 0).len();
    let content = touched(&present[..present.len() - number], change.number);
    assert_eq!(present.len(), content.len());
    let beside = beside(&Change {
        content: &content,
        file: change.file.clone(),
        ..*change
    });
    stamp(&beside, made);
    fs::rename(beside, &change.file).unwrap();
}

fn torn(change: &Change) {
    let _ = fs::remove_file(&change.file);
    fs::write(&change.file, &change.content[..change.content.len() / 2]).unwrap();
    pause(Duration::from_millis(30));
    fs::write(&change.file, change.content).unwrap();
}

/// As cargo-component does: what the compiler made lies there until it is a component.
fn core_module_first(change: &Change) {
    let _ = fs::remove_file(&change.file);
    fs::write(&change.file, b"\0asm\x01\0\0\0").unwrap();
    pause(Duration::from_millis(30));
    hard_link(change);
}

fn folder_out_and_in(change: &Change) {
    let folder = change.file.parent().unwrap();
    let out = change.root.join("_out");
    fs::rename(folder, &out).unwrap();
    rename(&Change {
        file: out.join(change.file.file_name().unwrap()),
        ..*change
    });
    fs::rename(out, folder).unwrap();
}

/// A page that no other part knows.
fn added(change: &Change) -> PathBuf {
    change.root.join("shop/screen/added.wasm")
}

fn component_added(change: &Change) {
    let page = fs::read(change.root.join("api/echo.wasm")).unwrap();
    let file = added(change);
    rename(&Change {
        file,
        content: &touched(&page, change.number),
        ..*change
    });
}

fn component_removed(change: &Change) {
    fs::remove_file(added(change)).unwrap();
}

fn manifest_changed(change: &Change) {
    let manifest = change.root.join("wasmhost.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let (rest, _) = text.split_once("\n[groups.shop.limits]").unwrap_or((&text, ""));
    let limit = 1000 + change.number;
    let text = format!("{rest}\n[groups.shop.limits]\nin-flight = {limit}\n");
    rename(&Change {
        file: manifest,
        content: text.as_bytes(),
        ..*change
    });
}

fn stamp(file: &Path, time: SystemTime) {
    let file = fs::File::options().write(true).open(file).unwrap();
    file.set_modified(time).unwrap();
}
