//! Pages in JavaScript and Python, built from the sources in `tests/engines` by the tools of those
//! languages. Each carries its engine, so a page is 12 or 18 MB.
//!
//! The tools are installed from their registries and the pages kept, all in Cargo's folder for what tests
//! leave: half a gigabyte that goes when `target` goes, and that takes 20 seconds to have again.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::skipped;

const WIT: &str = include_str!("../../wit/page.wit");
const COMPONENTIZE: &str = include_str!("../engines/js/componentize.mjs");

/// A JavaScript page that greets with `greeting` and counts its requests, by componentize-js.
pub fn js_page(greeting: &str) -> Vec<u8> {
    JS.page(greeting)
}

/// The same page in Python, by componentize-py.
pub fn python_page(greeting: &str) -> Vec<u8> {
    PYTHON.page(greeting)
}

/// False, and loudly so, on a machine that cannot build these pages. In CI that is a failure.
pub fn available() -> bool {
    let Some(missing) = [&JS, &PYTHON].into_iter().find_map(Engine::missing) else {
        return true;
    };
    skipped("engines", &format!("`{missing}` does not run here"));
    false
}

/// A language whose components carry its engine.
struct Engine {
    name: &'static str,
    /// What has to be on the machine: commands that succeed.
    needs: &'static [&'static str],
    /// Which packages, of which versions; as a file, how its installer wants it.
    packages: (&'static str, &'static str),
    /// Installs `packages` into the folder where they lie.
    install: fn(&Path) -> Command,
    source: (&'static str, &'static str),
    /// What of `source` is the greeting.
    greeting: &'static str,
    build: fn(&Build) -> Command,
}

/// One page to build.
struct Build<'a> {
    /// Where the packages are installed.
    tool: &'a Path,
    /// The folder of the source and of `page.wit`.
    folder: &'a Path,
    source: &'a Path,
    wit: &'a Path,
    component: &'a Path,
}

const JS: Engine = Engine {
    name: "js",
    needs: &["node --version", "npm --version"],
    packages: ("package.json", include_str!("../engines/js/package.json")),
    install: |folder| {
        let mut npm = Command::new("npm");
        // Their programs come inside the packages: nothing has to run at installation.
        npm.current_dir(folder);
        npm.args("install --ignore-scripts --no-package-lock".split(' '));
        npm.args("--prefer-offline --no-audit --no-fund --loglevel=error".split(' '));
        npm
    },
    source: ("page.js", include_str!("../engines/js/page.js")),
    greeting: "\"Hello from JavaScript\"",
    build: |build| {
        let mut node = Command::new("node");
        node.current_dir(build.tool);
        node.args(["--input-type=module", "--eval", COMPONENTIZE]);
        node.args([build.source, build.wit, Path::new("page"), build.component]);
        node
    },
};

const PYTHON: Engine = Engine {
    name: "python",
    needs: &["python3 -m pip --version"],
    packages: (
        "requirements.txt",
        include_str!("../engines/python/requirements.txt"),
    ),
    install: |folder| {
        let mut pip = Command::new("python3");
        // A folder rather than a venv: a venv knows its own path, and this one is renamed when it's complete.
        pip.current_dir(folder);
        pip.args("-m pip install --quiet --no-input --disable-pip-version-check".split(' '));
        pip.args("--target . --requirement requirements.txt".split(' '));
        pip
    },
    source: ("page.py", include_str!("../engines/python/page.py")),
    greeting: "\"Hello from Python\"",
    build: |build| {
        let mut python = Command::new("python3");
        python.env("PYTHONPATH", build.tool);
        python.arg(build.tool.join("bin/componentize-py")).arg("--quiet");
        python.args(["--world", "page", "--wit-path"]).arg(build.wit);
        python.args(["componentize", "page", "--python-path"]);
        python.arg(build.folder).arg("--output").arg(build.component);
        python
    },
};

impl Engine {
    fn missing(&self) -> Option<&str> {
        let runs = |command: &str| {
            let mut words = command.split(' ');
            let mut process = Command::new(words.next().unwrap());
            let said = process.args(words).output();
            said.is_ok_and(|output| output.status.success())
        };
        self.needs.iter().copied().find(|command| !runs(command))
    }

    /// The page with this greeting, from the last run if it was built then.
    fn page(&self, greeting: &str) -> Vec<u8> {
        let source = self.source(greeting);
        let key = self.key(&[&source, WIT, COMPONENTIZE]);
        let kept = folder("pages").join(format!("{key}.wasm"));
        let _lock = self.lock();
        if !kept.exists() {
            let work = tempfile::tempdir_in(folder("work")).unwrap();
            let component = self.build(&source, work.path());
            fs::rename(component, &kept).unwrap();
        }
        fs::read(kept).unwrap()
    }

    fn source(&self, greeting: &str) -> String {
        let (file, template) = self.source;
        assert!(template.contains(self.greeting), "{file} greets otherwise");
        // A JSON string is a string in both languages.
        let greeting = serde_json::Value::from(greeting).to_string();
        template.replace(self.greeting, &greeting)
    }

    /// Builds a page, and returns where it is.
    fn build(&self, source: &str, folder: &Path) -> PathBuf {
        let (wit, component) = (folder.join("page.wit"), folder.join("page.wasm"));
        let build = Build {
            tool: &self.tool(),
            folder,
            source: &folder.join(self.source.0),
            wit: &wit,
            component: &component,
        };
        fs::write(build.source, source).unwrap();
        fs::write(build.wit, WIT).unwrap();
        run((self.build)(&build));
        component
    }

    /// Where the packages are installed; the first time, installs them.
    fn tool(&self) -> PathBuf {
        let tool = folder("tools").join(self.key(&[]));
        if !tool.exists() {
            let unfinished = tempfile::tempdir_in(folder("work")).unwrap();
            fs::write(unfinished.path().join(self.packages.0), self.packages.1).unwrap();
            run((self.install)(unfinished.path()));
            fs::rename(unfinished.keep(), &tool).unwrap();
        }
        tool
    }

    /// Names what these packages make of these sources.
    fn key(&self, sources: &[&str]) -> String {
        let mut content = blake3::Hasher::new();
        for text in [self.packages.1].iter().chain(sources) {
            content.update(blake3::hash(text.as_bytes()).as_bytes());
        }
        format!("{}-{}", self.name, &content.finalize().to_hex()[..16])
    }

    /// Held while this engine's tool is installed or at work, in any process.
    fn lock(&self) -> File {
        let lock = File::create(folder("work").join(format!("{}.lock", self.name))).unwrap();
        lock.lock().unwrap();
        lock
    }
}

/// A folder below Cargo's folder for tests.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("engines").join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn run(mut command: Command) {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = [output.stdout, output.stderr]
        .map(|said| String::from_utf8_lossy(&said).into_owned())
        .concat();
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
}
