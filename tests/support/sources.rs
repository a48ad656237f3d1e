//! The example site, built from source once a test run, and variants of it with changed sources.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{LazyLock, Mutex},
};

use super::wasmhost;

/// Where the example site lies, with its `.wasm` files built.
pub fn example() -> &'static Path {
    static EXAMPLE: LazyLock<PathBuf> = LazyLock::new(|| {
        let components = Path::new(env!("CARGO_MANIFEST_DIR")).join("components");
        build(&components);
        components
    });
    &EXAMPLE
}

/// Where the components of `tests/guests` lie, which do what a guest should not, built.
pub fn guests() -> &'static Path {
    static GUESTS: LazyLock<PathBuf> = LazyLock::new(|| {
        let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests");
        build(&guests);
        guests
    });
    &GUESTS
}

/// The example site built from sources in which each `(file, from, to)` was replaced.
/// Variants share what Cargo has built for them, and are kept for the next run.
pub fn variant(name: &str, edits: &[(&str, &str, &str)]) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(components) = built.get(name) {
        return components.clone();
    }

    let repository = example().parent().expect("components lies in the repository");
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("variants").join(name);
    let components = copy.join("components");
    copy_sources(&repository.join("wit"), &copy.join("wit"));
    copy_sources(&repository.join("components"), &components);
    for (file, from, to) in edits {
        let path = components.join(file);
        let source = fs::read_to_string(&path).unwrap();
        assert!(source.contains(from), "{file} has no {from:?} to replace");
        write_if_changed(&path, source.replace(from, to).as_bytes());
    }
    build(&components);
    built.insert(name.to_owned(), components.clone());
    components
}

fn build(components: &Path) {
    let built = wasmhost()
        .arg("build")
        .arg(components)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(
        built.success(),
        "wasmhost build {} failed; its output is above",
        components.display()
    );
}

/// Copies what Cargo reads. What is equal is left alone, so that Cargo has nothing to do again.
fn copy_sources(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let skipped = name == "target" || name.as_encoded_bytes().starts_with(b".");
        if skipped
            || Path::new(&name)
                .extension()
                .is_some_and(|ending| ending == "wasm")
        {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            copy_sources(&entry.path(), &to.join(name));
        } else {
            write_if_changed(&to.join(name), &fs::read(entry.path()).unwrap());
        }
    }
}

fn write_if_changed(path: &Path, content: &[u8]) {
    if fs::read(path).ok().as_deref() != Some(content) {
        fs::write(path, content).unwrap();
    }
}
