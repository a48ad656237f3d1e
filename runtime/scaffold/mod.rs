//! `wasmhost new`: a project in the tree that builds, serves and tests at once, small enough to read whole.
//! Overwrites nothing. Knows neither how projects are built nor who serves them.

mod names;
mod templates;
mod workspace;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use self::names::Names;
use crate::{diagnostic::Diagnostic, project::ComponentId};

/// What a project is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Rust,
    JavaScript,
    Python,
}

/// What a project's component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Answers requests by `wasmhost:page`.
    Page,
    /// Answers requests by WASI HTTP 0.2.
    WasiHttp,
    /// Exports an interface to other components.
    Library,
}

/// A project to be made.
#[derive(Clone, Debug)]
pub struct NewProject {
    /// The folder of components. It is made where it is missing.
    pub root: PathBuf,
    /// `shop.screen.home` or `shop/screen/home`.
    pub name: String,
    pub language: Language,
    pub kind: Kind,
}

/// A project that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub id: ComponentId,
    pub folder: PathBuf,
    /// Where it will answer; `None` for a library.
    pub route: Option<String>,
    /// All files of it, from its folder.
    pub files: Vec<PathBuf>,
}

impl NewProject {
    /// Writes the project. Errors: its name, or something that is there already.
    pub fn make(&self) -> Result<Made, Diagnostic> {
        let id = names::id(&self.name)?;
        let folder = names::folder(&self.root, &id);
        free(&folder)?;
        free(&folder.with_extension("wasm"))?;
        let names = Names::of(&id);
        let mut files = templates::files(self.language, self.kind);
        files.sort_by_key(|(path, _)| path.clone());
        for (path, template) in &files {
            let path = folder.join(path);
            write_new(&path, &names.fill(template))
                .map_err(|error| Diagnostic::io("project-unwritable", "write", &path, &error))?;
        }
        if self.language == Language::Rust {
            workspace::join(&self.root, &folder)?;
        }
        Ok(Made {
            route: (self.kind != Kind::Library).then(|| id.default_route()),
            id,
            folder,
            files: files.into_iter().map(|(path, _)| path).collect(),
        })
    }
}

/// Errors: there is something of that name.
fn free(path: &Path) -> Result<(), Diagnostic> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Diagnostic::io("project-unwritable", "look at", path, &error)),
        Ok(_) => {
            let message = format!("{} is there already, and nothing is overwritten", path.display());
            Err(Diagnostic::new("project-exists", message)
                .file(path)
                .help("choose another name, or remove it first"))
        }
    }
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = fs::File::create_new(path)?;
    io::Write::write_all(&mut file, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(root: &Path, name: &str, language: Language, kind: Kind) -> Result<Made, Diagnostic> {
        let name = name.to_owned();
        NewProject {
            root: root.to_owned(),
            name,
            language,
            kind,
        }
        .make()
    }

    #[test]
    fn no_template_leaves_a_place_unfilled() {
        let root = tempfile::tempdir().expect("makes a folder");
        for language in [Language::Rust, Language::JavaScript, Language::Python] {
            for kind in [Kind::Page, Kind::WasiHttp, Kind::Library] {
                let name = format!("shop.{language:?}-{kind:?}").to_lowercase();
                let made = new(root.path(), &name, language, kind).expect("makes it");
                for file in &made.files {
                    let text = fs::read_to_string(made.folder.join(file)).expect("reads");
                    assert!(!text.contains("{{"), "{}: {text}", file.display());
                }
                let lines = made
                    .files
                    .iter()
                    .filter(|file| !file.starts_with("wit/deps"))
                    .map(|file| {
                        let text = fs::read_to_string(made.folder.join(file)).expect("reads");
                        text.lines().count()
                    });
                assert!(lines.sum::<usize>() < 100, "{name} can be read whole");
                assert_eq!(made.route.is_none(), kind == Kind::Library);
            }
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let root = tempfile::tempdir().expect("makes a folder");
        fs::write(root.path().join("home.wasm"), "mine").expect("writes");
        let refused = |name| {
            new(root.path(), name, Language::Python, Kind::Page)
                .expect_err("is there")
                .code
        };
        assert_eq!(refused("home"), "project-exists");
        new(root.path(), "shop.cart", Language::JavaScript, Kind::Page).expect("makes it");
        assert_eq!(refused("shop/cart"), "project-exists");
    }

    #[test]
    fn names_that_are_no_ids_are_refused_with_a_proposal() {
        let root = tempfile::tempdir().expect("makes a folder");
        for name in [
            "",
            "Shop",
            "shop..cart",
            "../cart",
            "shop.target",
            "my shop",
            "/etc/x",
        ] {
            let refused = new(root.path(), name, Language::Rust, Kind::Page).expect_err("is no id");
            assert_eq!(refused.code, "name-invalid", "{name}");
        }
        let refused = new(root.path(), "Shop/My Cart", Language::Rust, Kind::Page).expect_err("is no id");
        assert!(refused.help.expect("helps").contains("shop.my-cart"));
        assert_eq!(fs::read_dir(root.path()).expect("reads").count(), 0);
    }
}
