//! The tools that make components of JavaScript and Python, each version installed once from its registry
//! into the user's cache, for all projects. A tool that has its final name is whole.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    Progress, Setting, cache,
    command::CommandError,
    process::{self, Line, RunError},
    script_project::Language,
};
use crate::diagnostic::Diagnostic;

/// The versions that projects get which name none.
pub const COMPONENTIZE_JS: &str = "0.23.0";
pub const COMPONENTIZE_PY: &str = "0.25.1";

/// Why there is no tool, with what its installer said.
pub type Unavailable = (Diagnostic, String);

/// The folder with `node_modules` where componentize-js is installed.
pub async fn componentize_js(version: &str, setting: &Setting) -> Result<PathBuf, Unavailable> {
    let manifest = serde_json::json!({
        "private": true,
        "dependencies": { "@bytecodealliance/componentize-js": version },
    });
    let tool = Tool {
        language: Language::JavaScript,
        what: format!("componentize-js {version}"),
        file: ("package.json", manifest.to_string()),
        installer: || {
            let mut npm = Command::new("npm");
            // Its programs come inside the package: nothing has to run at installation.
            npm.args("install --ignore-scripts --no-package-lock --no-audit --no-fund".split(' '));
            npm.args(["--prefer-offline", "--loglevel=error"]);
            npm
        },
    };
    tool.folder(setting).await
}

/// The folder where these Python packages are installed, for `PYTHONPATH`.
pub async fn python_packages(requirements: &[String], setting: &Setting) -> Result<PathBuf, Unavailable> {
    let tool = Tool {
        language: Language::Python,
        what: requirements.join(", "),
        file: ("requirements.txt", requirements.join("\n") + "\n"),
        installer: || {
            let mut pip = Command::new("python3");
            // A folder rather than a venv, which knows its own path: this one is renamed when it is complete.
            pip.args("-m pip install --quiet --no-input --disable-pip-version-check".split(' '));
            pip.args("--target . --requirement requirements.txt".split(' '));
            pip
        },
    };
    tool.folder(setting).await
}

struct Tool {
    language: Language,
    /// For people.
    what: String,
    /// What is to be installed, as the installer wants it.
    file: (&'static str, String),
    /// Installs into the folder that it is started in.
    installer: fn() -> Command,
}

impl Tool {
    async fn folder(&self, setting: &Setting) -> Result<PathBuf, Unavailable> {
        let silent = |diagnostic| (diagnostic, String::new());
        let cache = cache::folder().ok_or_else(|| silent(no_home()))?;
        let tools = cache.join("tools");
        let folder = tools.join(self.key());
        if folder.exists() {
            return Ok(folder);
        }
        let _lock = self.lock(&cache, setting).await.map_err(silent)?;
        if folder.exists() {
            return Ok(folder);
        }
        let unwritable =
            |error| silent(Diagnostic::io("cache-unwritable", "write in", &tools, &error).machine());
        fs::create_dir_all(&tools).map_err(unwritable)?;
        let work = tempfile::Builder::new()
            .prefix(".unfinished-")
            .tempdir_in(&tools)
            .map_err(unwritable)?;
        fs::write(work.path().join(self.file.0), &self.file.1).map_err(unwritable)?;
        setting.say(&format!(
            "installing {} into {}, once for all projects",
            self.what,
            tools.display()
        ));
        self.install(work.path(), setting).await?;
        fs::rename(work.keep(), &folder).map_err(unwritable)?;
        Ok(folder)
    }

    /// Names what is installed.
    fn key(&self) -> String {
        let name = match self.language {
            Language::JavaScript => "js",
            Language::Python => "python",
        };
        format!("{name}-{}", &blake3::hash(self.file.1.as_bytes()).to_hex()[..16])
    }

    async fn lock(&self, cache: &Path, setting: &Setting) -> Result<File, Diagnostic> {
        let (cache, key, setting) = (cache.to_owned(), self.key(), setting.clone());
        let lock = move || cache::lock(&cache, &key, &mut |line| setting.say(line));
        tokio::task::spawn_blocking(lock)
            .await
            .unwrap_or_else(|_| Err(no_home()))
    }

    async fn install(&self, folder: &Path, setting: &Setting) -> Result<(), Unavailable> {
        let mut installer = (self.installer)();
        installer.current_dir(folder);
        let mut output = String::new();
        let take = |line| {
            let (Line::Out(line) | Line::Err(line)) = line;
            output += &(line.clone() + "\n");
            setting.tell(Progress::Message(line));
        };
        match process::run(installer, setting, take).await {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err((self.not_installed(&output), output)),
            Err(RunError::Command(CommandError::Missing { program })) => {
                Err((missing(self.language, &program), output))
            }
            Err(error) => Err((self.not_installed(&error.to_string()), output)),
        }
    }

    fn not_installed(&self, said: &str) -> Diagnostic {
        if said.contains("No module named pip") {
            return missing(Language::Python, "pip");
        }
        let message = format!("{} cannot be installed: {}", self.what, first_error(said));
        Diagnostic::new("tool-unavailable", message)
            .machine()
            .help("it is downloaded once: is this machine connected, and is there such a version?")
    }
}

/// The line of an installer's output that tells most.
fn first_error(said: &str) -> &str {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let told = |line: &&str| {
        ["ERROR:", "npm error", "npm ERR!", "error"]
            .iter()
            .any(|word| line.starts_with(word))
    };
    lines()
        .rfind(told)
        .or_else(|| lines().next_back())
        .unwrap_or("it gives no reason")
}

/// What has to be installed for a language.
pub fn missing(language: Language, program: &str) -> Diagnostic {
    let (what, help) = match language {
        Language::JavaScript => (
            "a JavaScript project",
            "install Node.js 20 or newer with npm: `apt-get install nodejs npm` on Debian, else https://nodejs.org",
        ),
        Language::Python => (
            "a Python project",
            "install Python 3.10 or newer with pip: `apt-get install python3 python3-pip` on Debian, \
             else https://python.org",
        ),
    };
    let message = format!("{program} is not installed, and {what} is to be built");
    Diagnostic::new("tool-missing", message).machine().help(help)
}

fn no_home() -> Diagnostic {
    let message = "there is no cache folder for build tools: HOME is not set";
    Diagnostic::new("tool-unavailable", message)
        .machine()
        .help("set HOME or XDG_CACHE_HOME")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_installation_is_told_by_its_error() {
        let check = |said, expected| assert_eq!(first_error(said), expected);
        check(
            "WARNING: x\nERROR: No matching distribution\n\n",
            "ERROR: No matching distribution",
        );
        check(
            "npm error code ENOTFOUND\nnpm error network x\nsee the log\n",
            "npm error network x",
        );
        check("strange\n", "strange");
        check("", "it gives no reason");
    }
}
