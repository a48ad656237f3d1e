//! Puts a built component into its place by rename, and only if its content is new there.
//! Knows nothing of who built it; looks at no more of the content than that it is a component.

use std::{
    fs::{self, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use wasmparser::Parser;

use crate::diagnostic::Diagnostic;

/// The magic number, then version 13 in layer 1: a component. A core module has version 1 in layer 0.
const COMPONENT_HEADER: &[u8] = b"\0asm\x0d\0\x01\0";

/// True if the content of `place` changed. A file of the same content is not touched.
pub fn place(artifact: &Path, place: &Path) -> Result<bool, Diagnostic> {
    let content =
        fs::read(artifact).map_err(|error| Diagnostic::io("build-failed", "read", artifact, &error))?;
    if !content.starts_with(COMPONENT_HEADER) {
        return Err(not_a_component(artifact, place));
    }
    if fs::read(place).is_ok_and(|old| old == content) {
        return Ok(false);
    }
    replace(place, &content).map_err(|error| Diagnostic::io("place-failed", "write", place, &error))?;
    Ok(true)
}

/// Whether a file is a whole component. A build may be half done: a core module, or cut off.
pub fn is_component(file: &Path) -> bool {
    let whole = |content: &[u8]| Parser::new(0).parse_all(content).all(|payload| payload.is_ok());
    fs::read(file).is_ok_and(|content| content.starts_with(COMPONENT_HEADER) && whole(&content))
}

/// Who reads `place` meanwhile sees the old content or the new one, whole; so does who reads it after a crash.
fn replace(place: &Path, content: &[u8]) -> io::Result<()> {
    let (Some(folder), Some(name)) = (place.parent(), place.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    // A name that begins with a dot is not watched.
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    let mut file = tempfile::Builder::new()
        .prefix(&prefix)
        .permissions(Permissions::from_mode(0o666)) // less the umask, as any new file
        .tempfile_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(place)?;
    Ok(())
}

fn not_a_component(artifact: &Path, place: &Path) -> Diagnostic {
    Diagnostic::new(
        "not-a-component",
        format!(
            "what was built for {} is not a WebAssembly component",
            place.display()
        ),
    )
    .file(artifact)
    .help("the project's own settings changed the linker or the crate type; a component needs neither")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("reads the folder");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("reads").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn new_content_is_placed_and_the_same_content_is_not_touched() {
        let folder = tempfile::tempdir().expect("makes a folder");
        let (artifact, home) = (folder.path().join("a.wasm"), folder.path().join("home.wasm"));
        let build = |tail: &[u8]| fs::write(&artifact, [COMPONENT_HEADER, tail].concat()).expect("writes");
        build(b"one");
        assert_eq!(place(&artifact, &home), Ok(true));
        let before = fs::metadata(&home).expect("is there");
        assert_eq!(place(&artifact, &home), Ok(false));
        let after = fs::metadata(&home).expect("is there");
        assert_eq!(
            std::os::unix::fs::MetadataExt::ino(&before),
            std::os::unix::fs::MetadataExt::ino(&after)
        );
        assert_eq!(
            before.modified().expect("has a time"),
            after.modified().expect("has a time")
        );
        build(b"two");
        assert_eq!(place(&artifact, &home), Ok(true));
        assert!(fs::read(&home).expect("reads").ends_with(b"two"));
        assert_eq!(names(folder.path()), ["a.wasm", "home.wasm"]);
        assert_ne!(after.permissions().mode() & 0o044, 0, "others may read it");
    }

    #[test]
    fn a_core_module_is_refused_and_the_old_component_stays() {
        let folder = tempfile::tempdir().expect("makes a folder");
        let (artifact, home) = (folder.path().join("a.wasm"), folder.path().join("home.wasm"));
        fs::write(&home, b"old").expect("writes");
        fs::write(&artifact, b"\0asm\x01\0\0\0").expect("writes");
        let refused = place(&artifact, &home).expect_err("is no component");
        assert_eq!(refused.code, "not-a-component");
        assert_eq!(fs::read(&home).expect("reads"), b"old");
    }

    #[test]
    fn a_folder_in_the_way_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("makes a folder");
        let (artifact, home) = (folder.path().join("a.wasm"), folder.path().join("home.wasm"));
        fs::create_dir(&home).expect("makes a folder");
        fs::write(&artifact, COMPONENT_HEADER).expect("writes");
        let refused = place(&artifact, &home).expect_err("cannot replace a folder");
        assert_eq!(refused.code, "place-failed");
        assert_eq!(names(folder.path()), ["a.wasm", "home.wasm"]);
    }
}
