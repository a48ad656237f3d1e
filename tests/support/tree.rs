//! A tree of components of a test's own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::example;

/// A temporary root; gone with the value.
pub struct Tree(TempDir);

impl Tree {
    pub fn empty() -> Self {
        Self(
            tempfile::Builder::new()
                .prefix("wasmhost-test-")
                .tempdir()
                .unwrap(),
        )
    }

    /// The example site, its components and manifest without its sources.
    pub fn example() -> Self {
        let tree = Self::empty();
        tree.copy_from(example());
        tree
    }

    /// Puts the components and the manifest of another tree here.
    pub fn copy_from(&self, root: &Path) {
        for file in served_files(root) {
            self.put(&file, fs::read(root.join(&file)).unwrap());
        }
    }

    pub fn root(&self) -> &Path {
        self.0.path()
    }

    pub fn path(&self, file: impl AsRef<Path>) -> PathBuf {
        self.root().join(file)
    }

    pub fn read(&self, file: impl AsRef<Path>) -> Vec<u8> {
        fs::read(self.path(file)).unwrap()
    }

    /// Writes a file as a deployment should: whole, then renamed into place.
    pub fn put(&self, file: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.path(file);
        let folder = path.parent().unwrap();
        fs::create_dir_all(folder).unwrap();
        let mut whole = tempfile::Builder::new()
            .prefix(".put-")
            .tempfile_in(folder)
            .unwrap();
        std::io::Write::write_all(&mut whole, content.as_ref()).unwrap();
        whole.persist(path).unwrap();
    }

    /// Writes a file in place, as `cp` does.
    pub fn overwrite(&self, file: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        fs::write(self.path(file), content).unwrap();
    }

    pub fn remove(&self, file: impl AsRef<Path>) {
        fs::remove_file(self.path(file)).unwrap();
    }
}

/// Every component under `root`, its manifest and its static files, relative to it.
pub fn served_files(root: &Path) -> Vec<PathBuf> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    walk(root, &path, found);
                }
            } else if name.ends_with(".wasm") || name == "wasmhost.toml" || is_static(&path) {
                found.push(path.strip_prefix(root).unwrap().to_owned());
            }
        }
    }
    fn is_static(path: &Path) -> bool {
        path.parent().is_some_and(|folder| folder.ends_with("static"))
    }
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found.sort();
    found
}

/// The same component with other content: a custom section that says nothing.
pub fn touched(component: &[u8], nonce: u64) -> Vec<u8> {
    let mut touched = component.to_vec();
    // Custom section, 10 bytes long: the name "n", then the nonce.
    touched.extend([0, 10, 1, b'n']);
    touched.extend(nonce.to_le_bytes());
    touched
}
