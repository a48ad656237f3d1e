//! Text that is compared with what was reviewed: `tests/golden/NAME.txt`. `WASMHOST_BLESS=1` writes it
//! anew, to be reviewed again.

use std::{fs, path::PathBuf};

/// Fails where `text` is not what `tests/golden/NAME.txt` holds.
pub fn golden(name: &str, text: &str) {
    let file = folder().join(format!("{name}.txt"));
    if std::env::var_os("WASMHOST_BLESS").is_some() {
        fs::create_dir_all(folder()).unwrap();
        fs::write(&file, text).unwrap();
        return;
    }
    let expected =
        fs::read_to_string(&file).unwrap_or_else(|e| panic!("{name}: {e}; WASMHOST_BLESS=1 writes it"));
    assert!(
        text == expected,
        "{name} is not as it was (WASMHOST_BLESS=1 takes it as it is):\n--- expected\n{expected}\n--- found\n{text}"
    );
}

/// All of them.
pub fn goldens() -> Vec<String> {
    let files = fs::read_dir(folder()).unwrap();
    files
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}
