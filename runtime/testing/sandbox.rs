//! The copy of a tree that a scenario is run on, from which nothing leads out: components that lie elsewhere
//! are brought in, and of what the manifest grants of the machine nothing is left that the scenario does
//! not allow. Keys and values that are elsewhere are the copy's own.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{
    project::{TestProject, Way},
    scenario::inside,
};
use crate::project::{MANIFEST, pulled_place};

/// Where components that lie outside of the tree are brought to: nothing is searched there.
const OUTSIDE: &str = "_outside";

pub struct Sandbox {
    pub project: TestProject,
    /// Origins that guests may really reach, of those that the manifest grants.
    http: Vec<String>,
}

/// Why there is no sandbox of a tree.
#[derive(Debug, thiserror::Error)]
pub enum Unconfined {
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    #[error("{0} reaches outside of its tree: {1}")]
    Outside(PathBuf, String),
}

impl Sandbox {
    /// # Errors
    /// The tree cannot be copied, or reaches outside of itself.
    pub fn of(tree: &Path, http: &[String]) -> Result<Self, Unconfined> {
        let failed = |error| Unconfined::Io(tree.to_owned(), error);
        let sandbox = Self {
            project: TestProject::copy_of(tree).map_err(failed)?,
            http: http.to_vec(),
        };
        let manifest = tree.join(MANIFEST);
        if manifest.is_file() {
            let text = fs::read(&manifest).map_err(|error| Unconfined::Io(manifest.clone(), error))?;
            sandbox.put(Path::new(MANIFEST), &text, tree, Way::Rename)?;
        }
        Ok(sandbox)
    }

    /// Writes a file of the copy. What a manifest names is as seen from `base`.
    ///
    /// # Errors
    /// The file cannot be written, or is a manifest that reaches outside.
    pub fn put(&self, file: &Path, content: &[u8], base: &Path, way: Way) -> Result<(), Unconfined> {
        let failed = |error| Unconfined::Io(file.to_owned(), error);
        if file != Path::new(MANIFEST) {
            return self.project.write(file, content, way).map_err(failed);
        }
        let text = String::from_utf8_lossy(content);
        let confined = confine(&text, &self.http);
        let confined = confined.map_err(|what| Unconfined::Outside(base.join(MANIFEST), what))?;
        for (source, place) in &confined.outside {
            // One that is not there is the server's to tell.
            if let Ok(component) = fs::read(base.join(source)) {
                self.project.put(place, component).map_err(failed)?;
            } else if source.starts_with(".wasmhost") {
                let what = format!("{} is not kept there: serve the tree once", source.display());
                return Err(Unconfined::Outside(base.join(MANIFEST), what));
            }
        }
        let written = confined.text.as_ref().map_or(content, |text| text.as_bytes());
        self.project.write(file, written, way).map_err(failed)
    }

    /// Where a component lies in the copy.
    pub fn component(&self, id: &str) -> Option<PathBuf> {
        let path = id.replace('.', "/");
        let places = [
            format!("{path}.wasm"),
            format!("{path}.wat"),
            format!("{OUTSIDE}/{id}.wasm"),
        ];
        let mut places = places.map(PathBuf::from).into_iter();
        places.find(|place| self.project.path(place).is_file())
    }
}

/// A manifest whose every path stays in the tree.
#[derive(Debug, Default, PartialEq, Eq)]
struct Confined {
    /// `None` where it is as it was.
    text: Option<String>,
    /// Files to bring in, and where to.
    outside: Vec<(PathBuf, PathBuf)>,
}

/// Where a server of the tree keeps a component by reference, as seen from the tree: no registry is asked. Errors: it
/// is none.
fn kept(reference: &str, what: &str) -> Result<PathBuf, String> {
    let name = reference.strip_prefix("oci://").unwrap_or(reference).parse();
    let name = name.map_err(|_| format!("{what} names {reference}, which is no reference"))?;
    Ok(pulled_place(Path::new(".wasmhost"), &name))
}

/// Errors: what of it reaches outside. What is no manifest is left for the server to refuse.
fn confine(text: &str, http: &[String]) -> Result<Confined, String> {
    let Ok(mut manifest) = text.parse::<Table>() else {
        return Ok(Confined::default());
    };
    let mut confined = Confined::default();
    let mut is_changed = false;
    for (id, component) in tables(manifest.get_mut("components")) {
        if let Some(Value::String(reference)) = component.remove("oci") {
            let kept = kept(&reference, &format!("components.{id}"))?;
            let place = format!("{OUTSIDE}/{id}.wasm");
            component.insert("path".into(), Value::String(place.clone()));
            confined.outside.push((kept, place.into()));
            is_changed = true;
            continue;
        }
        let Some(Value::String(path)) = component.get_mut("path") else {
            continue;
        };
        if inside(path).is_none() {
            let place = format!("{OUTSIDE}/{id}.wasm");
            confined
                .outside
                .push((path.as_str().into(), place.clone().into()));
            *path = place;
            is_changed = true;
        }
    }
    for (name, group) in tables(manifest.get_mut("groups")) {
        let Some(Value::Table(grants)) = group.get_mut("grants") else {
            continue;
        };
        let place = format!("groups.{name}.grants");
        if let Some(Value::Array(origins)) = grants.get_mut("http") {
            let before = origins.len();
            let allowed = |origin: &Value| {
                origin
                    .as_str()
                    .is_some_and(|origin| http.iter().any(|one| one == origin))
            };
            origins.retain(allowed);
            is_changed |= origins.len() != before;
        }
        if let Some(keyvalue @ (Value::String(_) | Value::Table(_))) = grants.get_mut("keyvalue") {
            *keyvalue = Value::Boolean(true);
            is_changed = true;
        }
        if let Some(Value::Array(directories)) = grants.get("directories") {
            for directory in directories {
                stays(directory.get("host"), &format!("{place}.directories"))?;
            }
        }
        for kind in ["env", "config"] {
            for (key, value) in grants.get(kind).and_then(Value::as_table).into_iter().flatten() {
                stays(value.get("file"), &format!("{place}.{kind}.{key}"))?;
            }
        }
    }
    confined.text = is_changed.then(|| manifest.to_string());
    Ok(confined)
}

fn stays(path: Option<&Value>, what: &str) -> Result<(), String> {
    match path.and_then(Value::as_str) {
        Some(path) if inside(path).is_none() => Err(format!("{what} names {path}")),
        _ => Ok(()),
    }
}

fn tables(value: Option<&mut Value>) -> impl Iterator<Item = (&String, &mut Table)> {
    let entries = value.and_then(Value::as_table_mut).into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name, value.as_table_mut()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_inside_is_left_as_it_is() {
        let text = "[components.a]\npath = \"built/a.wasm\"\n[groups.shop.grants]\ndirectories = [{ host = \"data\", guest = \"/\" }]\n";
        assert_eq!(confine(text, &[]), Ok(Confined::default()));
        assert_eq!(confine("no [manifest", &[]), Ok(Confined::default()));
    }

    #[test]
    fn components_are_brought_in() {
        let text = "[components.\"shop.home\"]\npath = \"../home/home.wasm\"\n";
        let confined = confine(text, &[]).unwrap();
        assert_eq!(
            confined.outside,
            [("../home/home.wasm".into(), "_outside/shop.home.wasm".into())]
        );
        assert!(confined.text.unwrap().contains("_outside/shop.home.wasm"));
    }

    #[test]
    fn origins_are_withheld_that_the_scenario_does_not_allow() {
        let text = "[groups.shop.grants]\nhttp = [\"https://a.example\", \"http://127.0.0.1:9\"]\n";
        let confined = confine(text, &["http://127.0.0.1:9".into()]).unwrap();
        let text = confined.text.unwrap();
        assert!(
            !text.contains("a.example") && text.contains("127.0.0.1:9"),
            "{text}"
        );
    }

    #[test]
    fn keys_and_values_are_of_the_copy() {
        for keyvalue in ["\"redis://127.0.0.1:6379\"", "{ env = \"NATS_URL\" }"] {
            let text = format!("[groups.shop.grants]\nkeyvalue = {keyvalue}\n");
            let text = confine(&text, &[]).unwrap().text.unwrap();
            assert!(text.contains("keyvalue = true"), "{text}");
        }
    }

    #[test]
    fn what_leads_out_is_refused() {
        let check = |grant: &str, what: &str| {
            let text = format!("[groups.shop.grants]\n{grant}\n");
            assert_eq!(confine(&text, &[]), Err(format!("groups.shop.grants.{what}")));
        };
        check(
            "directories = [{ host = \"/var/data\", guest = \"/data\" }]",
            "directories names /var/data",
        );
        check(
            "env = { TOKEN = { file = \"../token\" } }",
            "env.TOKEN names ../token",
        );
    }
}
