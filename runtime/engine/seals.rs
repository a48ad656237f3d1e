//! Seals on the compiled modules on disk. The engine runs what lies in its cache as it is: one bit that
//! flipped there would run too, or crash the server at every start. So each file gets a seal, an empty
//! file with the digest of the content in its name, and what does not fit its seal goes before the engine
//! looks. It compiles again what is missing.
//!
//! A file that has no seal yet (a killed process, another server's newest) goes too: nobody vouches for it.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

pub struct Seals {
    /// Where modules lie, in one folder for each version of the compiler.
    modules: PathBuf,
    folder: PathBuf,
    /// Files that were sealed, or found to fit their seals, by name.
    sealed: Mutex<HashSet<String>>,
}

/// A compiled module on disk.
struct Compiled {
    path: PathBuf,
    /// With the compiler's version.
    name: String,
}

impl Seals {
    /// Looks at every module in `modules`. What does not fit its seal in `folder` is removed, and said.
    pub fn check(modules: PathBuf, folder: PathBuf) -> Self {
        let seals = Self {
            modules,
            folder,
            sealed: Mutex::default(),
        };
        let mut unused: HashSet<String> = names(&seals.folder).collect();
        let mut damaged = 0;
        for (compiled, seal) in with_seals(compiled(&seals.modules)) {
            if seal.is_some_and(|seal| unused.remove(&seal)) {
                seals.lock().insert(compiled.name);
                continue;
            }
            damaged += usize::from(unused.iter().any(|seal| seal.starts_with(&compiled.name)));
            // One that cannot be removed was not written by this server either; and it is said.
            if let Err(error) = fs::remove_file(&compiled.path) {
                tracing::warn!(file = %compiled.path.display(), %error, "a doubtful cache file was not removed");
            }
        }
        if damaged > 0 {
            let folder = seals.modules.display();
            tracing::warn!(%folder, "{damaged} damaged cache files were removed; their modules are compiled again");
        }
        for seal in unused {
            // Of a module that is gone. Another server may have removed it.
            let _ = fs::remove_file(seals.folder.join(seal));
        }
        seals
    }

    /// Seals what was written since the last time. Errors: the disk.
    pub fn seal(&self) -> io::Result<()> {
        let mut sealed = self.lock();
        let mut new = compiled(&self.modules);
        new.retain(|compiled| !sealed.contains(&compiled.name));
        if new.is_empty() {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)?;
        for (compiled, seal) in with_seals(new) {
            // It may be gone already, for want of room.
            if let Some(seal) = seal {
                File::create(self.folder.join(seal))?;
                sealed.insert(compiled.name);
            }
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        // Nothing panics while it is locked that could leave it half changed.
        self.sealed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The modules below a folder. Files with an ending are the cache's own notes.
fn compiled(modules: &Path) -> Vec<Compiled> {
    let mut found = Vec::new();
    for version in names(modules) {
        let folder = modules.join(&version);
        let modules = names(&folder).filter(|name| !name.contains('.'));
        found.extend(modules.map(|name| Compiled {
            path: folder.join(&name),
            name: format!("{version}~{name}"),
        }));
    }
    found
}

/// Each with the name that its seal has to have; `None` where it cannot be read. Reads on a few threads.
fn with_seals(modules: Vec<Compiled>) -> Vec<(Compiled, Option<String>)> {
    let seal = |compiled: &Compiled| {
        let content = fs::read(&compiled.path).ok()?;
        Some(format!("{}.{}", compiled.name, blake3::hash(&content).to_hex()))
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let share = modules.len().div_ceil(threads).max(1);
    let seals: Vec<Option<String>> = std::thread::scope(|scope| {
        let chunks = modules.chunks(share);
        let workers: Vec<_> = chunks
            .map(|chunk| (chunk.len(), scope.spawn(move || chunk.iter().map(seal).collect())))
            .collect();
        let seals = workers
            .into_iter()
            .map(|(count, worker)| worker.join().unwrap_or_else(|_| vec![None; count]));
        seals.collect::<Vec<_>>().concat()
    });
    modules.into_iter().zip(seals).collect()
}

/// The names in a folder; none where it cannot be read.
fn names(folder: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, name: &str, content: &str) {
        let path = root.join("modules/compiler-1.0").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn check(root: &Path) -> Seals {
        Seals::check(root.join("modules"), root.join("seals"))
    }

    fn left(root: &Path) -> Vec<String> {
        let mut left: Vec<String> = names(&root.join("modules/compiler-1.0")).collect();
        left.sort();
        left
    }

    #[test]
    fn what_does_not_fit_its_seal_goes() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let seals = check(root);
        for name in ["good", "bad", "short", "gone", "good.stats"] {
            write(root, name, "what was compiled");
        }
        seals.seal().unwrap();
        write(root, "bad", "what was campiled");
        write(root, "short", "");
        write(root, "unsealed", "whatever");
        fs::remove_file(root.join("modules/compiler-1.0/gone")).unwrap();

        let seals = check(root);
        assert_eq!(left(root), ["good", "good.stats"]);
        assert_eq!(names(&root.join("seals")).count(), 1);
        write(root, "bad", "what was compiled");
        seals.seal().unwrap();
        check(root);
        assert_eq!(left(root), ["bad", "good", "good.stats"]);
    }

    #[test]
    fn no_folder_is_no_modules() {
        let folder = tempfile::tempdir().unwrap();
        check(&folder.path().join("none")).seal().unwrap();
    }
}
