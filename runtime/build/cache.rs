//! The folder in the user's cache where tools lie that were set up for building, and its locks.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
};

use crate::diagnostic::Diagnostic;

/// `None` where there is no home.
pub fn folder() -> Option<PathBuf> {
    let absolute = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("wasmhost"))
}

/// One process at a time sets up what `name` is; the lock ends with the process, however it ends.
pub fn lock(cache: &Path, name: &str, say: &mut dyn FnMut(&str)) -> Result<File, Diagnostic> {
    let path = cache.join(format!("{name}.lock"));
    let failed = |error| Diagnostic::io("cache-unwritable", "lock", &path, &error).machine();
    fs::create_dir_all(cache).map_err(failed)?;
    let file = File::create(&path).map_err(failed)?;
    if file.try_lock().is_err() {
        say(&format!("waiting for another wasmhost that sets up {name}"));
        file.lock().map_err(failed)?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_free_again_when_its_holder_is_gone() {
        let cache = tempfile::tempdir().expect("makes a folder");
        let said = std::cell::RefCell::new(Vec::new());
        let mut say = |line: &str| said.borrow_mut().push(line.to_owned());
        drop(lock(cache.path(), "toolchain", &mut say).expect("locks"));
        drop(lock(cache.path(), "toolchain", &mut say).expect("locks again"));
        assert!(said.borrow().is_empty());
    }
}
