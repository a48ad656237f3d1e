//! A tree of source projects of a test's own, made by `wasmhost new`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Server, Tree, wasmhost};

/// A temporary folder with the root `components`; gone with the value.
pub struct SourceTree(Tree);

impl SourceTree {
    /// What Cargo compiles is shared with all trees of all test runs: the names of crates must not be.
    pub fn new() -> Self {
        let tree = Tree::empty();
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sources");
        tree.put(
            ".cargo/config.toml",
            format!("[build]\ntarget-dir = {:?}\n", target.to_str().unwrap()),
        );
        Self(tree)
    }

    /// The folder that commands are run in.
    pub fn folder(&self) -> &Path {
        self.0.root()
    }

    pub fn root(&self) -> PathBuf {
        self.0.path("components")
    }

    pub fn make(&self, arguments: &[&str]) {
        let made = wasmhost()
            .current_dir(self.folder())
            .arg("new")
            .args(arguments)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.root().join(file)).unwrap()
    }

    /// Saves a file as an editor does.
    pub fn save(&self, file: &str, text: &str) {
        self.0.put(Path::new("components").join(file), text);
    }

    /// Replaces text in a file, and saves it.
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let text = self.read(file);
        assert!(text.contains(from), "{file} has no {from:?}: {text}");
        self.save(file, &text.replacen(from, to, 1));
    }

    /// `wasmhost dev` on it; ready when all is built that builds.
    pub fn dev(&self, arguments: &[&str]) -> Server {
        let mut command = wasmhost();
        command.current_dir(self.folder()).arg("dev").args(arguments);
        Server::start_command(command)
    }
}
