//! Folders of the state directory, which lies in the root unless it is told otherwise.

use std::{fs, io, path::Path};

/// Folders of the state directory lie so deep, itself included.
const LEVELS: usize = 3;

/// Makes a folder of the state directory, and that directory where it is gone. A root that was deleted is
/// not made with it: who deleted it would find it again, and empty.
/// Errors: where the state directory was is nothing any more, or no folder can be made.
pub fn make_state_folder(folder: &Path) -> io::Result<()> {
    let missing = folder.ancestors().take_while(|folder| !folder.exists());
    if missing.count() > LEVELS {
        return Err(io::ErrorKind::NotFound.into());
    }
    fs::create_dir_all(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_is_gone_is_not_made_again() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("site");
        let folder = root.join(".wasmhost/cache/functions");
        assert!(make_state_folder(&folder).is_err());
        assert!(!root.exists());
        fs::create_dir(&root).unwrap();
        make_state_folder(&folder).unwrap();
        assert!(folder.is_dir());
    }
}
