//! The Cargo workspace that a new Rust project is a member of: the one around it, else one at the root, so
//! that all Rust components of a tree share what is compiled. As `cargo new`, it adds the member to the list.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use toml_edit::{Array, DocumentMut, Item, Table, Value};

use crate::{build, diagnostic::Diagnostic};

const MANIFEST: &str = "Cargo.toml";

/// Makes the project in `folder` a member of its workspace.
pub fn join(root: &Path, folder: &Path) -> Result<(), Diagnostic> {
    let found = root.ancestors_of(folder).find_map(|folder| {
        let file = folder.join(MANIFEST);
        let manifest: DocumentMut = fs::read_to_string(&file).ok()?.parse().ok()?;
        manifest.contains_key("workspace").then_some((file, manifest))
    });
    let (file, mut manifest) = match found {
        // It is one already where the list has a pattern that fits.
        Some(_) if build::is_cargo_project(folder) => return Ok(()),
        Some(found) => found,
        None => {
            let file = root.join(MANIFEST);
            if file.exists() {
                // A package of its own: its author decides what its workspace is.
                return Ok(());
            }
            let manifest = include_str!("templates/rust/workspace.toml").parse();
            (file, manifest.unwrap_or_default())
        }
    };
    let member = folder.strip_prefix(file.parent().unwrap_or(root));
    let member = member.unwrap_or(folder).to_string_lossy().into_owned();
    members(&mut manifest).push(member);
    replace(&file, &manifest.to_string())
        .map_err(|error| Diagnostic::io("project-unwritable", "add the project to", &file, &error))
}

/// The folders from the one around `folder` up to a root.
trait Around {
    fn ancestors_of<'p>(&self, folder: &'p Path) -> impl Iterator<Item = &'p Path>;
}

impl Around for Path {
    fn ancestors_of<'p>(&self, folder: &'p Path) -> impl Iterator<Item = &'p Path> {
        let inside = folder.ancestors().skip(1);
        inside.take_while(move |above| above.starts_with(self))
    }
}

fn members(manifest: &mut DocumentMut) -> &mut Array {
    let table = |item: &mut Item| {
        if !item.is_table() {
            *item = Item::Table(Table::new());
        }
    };
    let workspace = manifest.entry("workspace").or_insert(Item::Table(Table::new()));
    table(workspace);
    let members = &mut workspace["members"];
    if !members.is_array() {
        *members = Item::Value(Value::Array(Array::new()));
    }
    match members {
        Item::Value(Value::Array(members)) => members,
        _ => unreachable!("it was made an array just above"),
    }
}

/// Whole or not at all.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let folder: PathBuf = file.parent().unwrap_or(Path::new(".")).to_owned();
    let mut whole = tempfile::NamedTempFile::new_in(folder)?;
    io::Write::write_all(&mut whole, text.as_bytes())?;
    if let Ok(old) = fs::metadata(file) {
        fs::set_permissions(whole.path(), old.permissions())?;
    } else {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(whole.path(), fs::Permissions::from_mode(0o644))?;
    }
    whole.persist(file)?;
    Ok(())
}
