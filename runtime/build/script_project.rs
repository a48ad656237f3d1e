//! A project whose component carries the engine of its language: what its manifest says of how it is built.
//! Reads manifests only.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value as Json;

use super::{
    projects::component_path,
    tools::{COMPONENTIZE_JS, COMPONENTIZE_PY},
};
use crate::diagnostic::{Diagnostic, Position};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Language {
    JavaScript,
    Python,
}

impl Language {
    /// The file that makes a folder with WIT a project.
    pub fn manifest(self) -> &'static str {
        match self {
            Self::JavaScript => "package.json",
            Self::Python => "pyproject.toml",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptProject {
    pub language: Language,
    /// As found under the root.
    pub folder: PathBuf,
    /// The file of JavaScript, or the module of Python, that the component is made of.
    pub entry: String,
    /// `None` where the WIT has one only.
    pub world: Option<String>,
    /// The version of the tool that makes the component, as its installer wants it.
    pub tool: String,
    /// What a Python project needs of others, as pip wants it.
    pub dependencies: Vec<String>,
    /// A JavaScript project that is bundled first: it has a script `build`.
    pub bundled: bool,
}

impl ScriptProject {
    /// Errors: its manifest is none.
    pub fn read(folder: PathBuf, language: Language) -> Result<Self, Diagnostic> {
        let file = folder.join(language.manifest());
        let text = fs::read_to_string(&file);
        let text = text.map_err(|error| Diagnostic::io("project-invalid", "read", &file, &error))?;
        match language {
            Language::JavaScript => Self::of_npm(folder, &file, &text),
            Language::Python => Self::of_python(folder, &file, &text),
        }
    }

    pub fn manifest(&self) -> PathBuf {
        self.folder.join(self.language.manifest())
    }

    pub fn component_path(&self) -> PathBuf {
        component_path(&self.folder)
    }

    fn of_npm(folder: PathBuf, file: &Path, text: &str) -> Result<Self, Diagnostic> {
        let manifest: Json = serde_json::from_str(text).map_err(|error| {
            let place = Position {
                line: u32::try_from(error.line()).unwrap_or(1),
                column: u32::try_from(error.column()).unwrap_or(1).max(1),
            };
            invalid(file, &error.to_string()).position(place)
        })?;
        let words = |value: &Json| value.as_str().map(str::to_owned);
        let of = |table: &str, key: &str| words(&manifest[table][key]);
        let name = "@bytecodealliance/componentize-js";
        let tool = of("devDependencies", name).or_else(|| of("dependencies", name));
        Ok(Self {
            language: Language::JavaScript,
            folder,
            entry: words(&manifest["main"]).unwrap_or_else(|| "index.js".to_owned()),
            world: of("wasmhost", "world"),
            tool: tool.unwrap_or_else(|| COMPONENTIZE_JS.to_owned()),
            dependencies: Vec::new(),
            bundled: of("scripts", "build").is_some(),
        })
    }

    fn of_python(folder: PathBuf, file: &Path, text: &str) -> Result<Self, Diagnostic> {
        let manifest: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let at = error.span().map_or(0, |span| span.start);
            invalid(file, error.message()).position(Position::of(text, at))
        })?;
        let table = |path: &[&str]| {
            path.iter().try_fold(&manifest, |table, name| {
                table.get(*name).and_then(toml::Value::as_table)
            })
        };
        let own = table(&["tool", "wasmhost"]);
        let of = |key: &str| own?.get(key)?.as_str().map(str::to_owned);
        let groups = table(&["dependency-groups"]);
        let groups = groups.into_iter().flat_map(|groups| groups.values());
        let tool = groups
            .flat_map(texts)
            .find(|requirement| requirement.starts_with("componentize-py"));
        let dependencies = table(&["project"]).and_then(|project| project.get("dependencies"));
        Ok(Self {
            language: Language::Python,
            folder,
            entry: of("module").unwrap_or_else(|| "app".to_owned()),
            world: of("world"),
            tool: tool.unwrap_or_else(|| format!("componentize-py=={COMPONENTIZE_PY}")),
            dependencies: dependencies.into_iter().flat_map(texts).collect(),
            bundled: false,
        })
    }
}

fn texts(list: &toml::Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

fn invalid(file: &Path, reason: &str) -> Diagnostic {
    let message = format!("{} cannot be read: {reason}", file.display());
    Diagnostic::new("project-invalid", message).file(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(language: Language, text: &str) -> Result<ScriptProject, Diagnostic> {
        let folder = tempfile::tempdir().expect("makes a folder");
        fs::write(folder.path().join(language.manifest()), text).expect("writes");
        ScriptProject::read(folder.path().to_owned(), language)
    }

    #[test]
    fn a_manifest_says_how_it_is_built() {
        let js = read(
            Language::JavaScript,
            r#"{"main": "a.js", "wasmhost": {"world": "w"}, "scripts": {"build": "x"},
                "devDependencies": {"@bytecodealliance/componentize-js": "^0.22.0"}}"#,
        )
        .expect("is one");
        assert_eq!(
            (&*js.entry, js.world.as_deref(), &*js.tool, js.bundled),
            ("a.js", Some("w"), "^0.22.0", true)
        );
        let js = read(Language::JavaScript, "{}").expect("is one");
        assert_eq!(
            (&*js.entry, js.world, &*js.tool, js.bundled),
            ("index.js", None, COMPONENTIZE_JS, false)
        );
        let python = read(
            Language::Python,
            "[project]\ndependencies = [\"markupsafe\"]\n[dependency-groups]\nb = [\"x\", \"componentize-py>=0.24\"]\n\
             [tool.wasmhost]\nmodule = \"m\"\n",
        )
        .expect("is one");
        assert_eq!(
            (&*python.entry, &*python.tool, python.dependencies),
            ("m", "componentize-py>=0.24", vec!["markupsafe".to_owned()])
        );
    }

    #[test]
    fn a_torn_manifest_is_refused_with_its_place() {
        let at = |language, text: &str| {
            let refused = read(language, text).expect_err("is torn");
            assert_eq!(refused.code, "project-invalid");
            refused.position.map(|position| position.line)
        };
        assert_eq!(at(Language::JavaScript, "{\n  \"main\": \n"), Some(3));
        assert_eq!(at(Language::Python, "[project]\nname = \n"), Some(2));
    }
}
