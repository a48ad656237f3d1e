//! What comes from Debian: a compiler with the source of its standard library, installed, and wasi-libc, only
//! unpacked. Knows Debian's packages and apt; knows nothing of how a toolchain is made of them.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    TARGET, command,
    linked::{SetUpError, io_error},
};

/// The newest Rust in a stable Debian, kept up to date for its browsers.
const COMPILER: &str = "rustc-web";
const SOURCE: &str = "rust-web-src";

/// The wasi-libc of a stable Debian can be too old for WASI 0.2. It is the same for every architecture.
const WASI_LIBC: &str = "wasi-libc";
const WASI_LIBC_SUITES: [&str; 2] = ["sid", "testing"];

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Debian's compiler, whose standard library's source is installed too.
pub struct Compiler {
    pub rustc: PathBuf,
    /// The Debian package's version.
    pub version: String,
    /// The triple of this machine.
    pub host: String,
    pub host_libraries: PathBuf,
}

pub struct WasiLibc {
    pub version: String,
    /// Has a folder for each target.
    pub libraries: PathBuf,
}

/// None where it, or the source of the same version, is not installed.
pub fn installed_compiler() -> Option<Compiler> {
    let version = installed_version(COMPILER)?;
    if installed_version(SOURCE)? != version {
        return None;
    }
    let files = command::output(&mut tool("dpkg-query", &["--listfiles", COMPILER])).ok()?;
    let rustc = files.lines().find(|file| file.ends_with("/bin/rustc"))?;
    let libraries = command::output(&mut tool(rustc, &["--print=target-libdir"])).ok()?;
    let host_libraries = PathBuf::from(libraries);
    Some(Compiler {
        rustc: rustc.into(),
        version,
        host: host_libraries.parent()?.file_name()?.to_str()?.to_owned(),
        host_libraries,
    })
}

fn installed_version(package: &str) -> Option<String> {
    let format = "--showformat=${db:Status-Status} ${Version}";
    let answer = command::output(&mut tool("dpkg-query", &["--show", format, package])).ok()?;
    answer.strip_prefix("installed ").map(str::to_owned)
}

/// Installs it where it is not; that needs root.
pub fn install_compiler(say: &mut dyn FnMut(&str)) -> Result<Compiler, SetUpError> {
    if let Some(compiler) = installed_compiler() {
        return Ok(compiler);
    }
    command::output(&mut tool("apt-get", &["--version"]))?;
    if !is_root() {
        return Err(SetUpError::Lacking(format!(
            "needs root to install {COMPILER} and {SOURCE}"
        )));
    }
    say(&format!("installing {COMPILER} and {SOURCE} with apt-get"));
    update_indexes();
    // Not at the price of packages which exclude these, such as Debian's own rustc and rustup.
    command::output(&mut apt_get(&[
        "install",
        "--yes",
        "--no-install-recommends",
        "--no-remove",
        COMPILER,
        SOURCE,
    ]))?;
    installed_compiler().ok_or_else(|| {
        SetUpError::Lacking(format!(
            "{COMPILER} does not run, or {SOURCE} is of another version"
        ))
    })
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Downloads wasi-libc and unpacks it in `folder`, which it makes. Nothing is installed.
pub fn fetch_wasi_libc(folder: &Path, say: &mut dyn FnMut(&str)) -> Result<WasiLibc, SetUpError> {
    let archive = debian_archive()?;
    let mut failure = SetUpError::Lacking(format!("no Debian has {WASI_LIBC}"));
    for suite in WASI_LIBC_SUITES {
        say(&format!("fetching {WASI_LIBC} of Debian {suite}"));
        match fetch_from(&folder.join(suite), &archive, suite) {
            Ok(found) => return Ok(found),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// The mirror of Debian's archive which this machine uses, as apt's indexes tell; a fresh machine may have none yet.
fn debian_archive() -> Result<String, SetUpError> {
    let format = "$(ORIGIN) $(LABEL) $(REPO_URI)";
    let known = || {
        let indexes = command::output(&mut apt_get(&[
            "indextargets",
            "--format",
            format,
            "Created-By: Packages",
        ]))?;
        let archive = indexes
            .lines()
            .find_map(|line| line.strip_prefix("Debian Debian "));
        Ok::<_, SetUpError>(archive.map(str::to_owned))
    };
    if let Some(archive) = known()? {
        return Ok(archive);
    }
    update_indexes();
    known()?.ok_or_else(|| SetUpError::Lacking("apt knows no archive of Debian; is this Debian?".into()))
}

/// Some source of this machine may fail to update. If that matters, what needs the indexes says so.
fn update_indexes() {
    let _ = command::output(&mut apt_get(&["update"]));
}

fn fetch_from(folder: &Path, archive: &str, suite: &str) -> Result<WasiLibc, SetUpError> {
    let lists = folder.join("lists");
    let archives = folder.join("cache/archives");
    for needed in [lists.join("partial"), archives.join("partial")] {
        fs::create_dir_all(&needed).map_err(io_error("make", &needed))?;
    }
    let sources = folder.join("archive.list");
    let line = source_line(archive, suite, Path::new(KEYRING).exists());
    fs::write(&sources, line).map_err(io_error("write", &sources))?;

    let apt = |arguments: &[&str]| {
        let mut apt = apt_get(arguments);
        let option = |name: &str, path: &Path| format!("{name}={}", path.display());
        apt.current_dir(folder)
            .args(["-o", &option("Dir::Etc::sourcelist", &sources)])
            .args(["-o", "Dir::Etc::sourceparts=-"])
            .args(["-o", &option("Dir::State::Lists", &lists)])
            .args(["-o", &option("Dir::Cache", &folder.join("cache"))])
            .args(["-o", "Acquire::Languages=none"])
            .args(["-o", "APT::Update::Error-Mode=any"])
            // The cache folder of a user may be closed to apt's own user.
            .args(["-o", "APT::Sandbox::User=root"]);
        apt
    };
    command::output(&mut apt(&["update"]))?;
    command::output(&mut apt(&["download", WASI_LIBC]))?;
    unpack(folder)
}

fn source_line(archive: &str, suite: &str, has_keyring: bool) -> String {
    let signed = match has_keyring {
        true => format!("[signed-by={KEYRING}] "),
        // Then apt's trusted keys decide.
        false => String::new(),
    };
    format!("deb {signed}{archive} {suite} main\n")
}

/// Unpacks the one package that lies in `folder`.
fn unpack(folder: &Path) -> Result<WasiLibc, SetUpError> {
    let package = fs::read_dir(folder)
        .map_err(io_error("read", folder))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|ending| ending == "deb"))
        .ok_or_else(|| SetUpError::Lacking(format!("apt-get downloaded no {WASI_LIBC}")))?;
    let version = command::output(tool("dpkg-deb", &["--field"]).arg(&package).arg("Version"))?;
    let root = folder.join("root");
    command::output(tool("dpkg-deb", &["--extract"]).arg(&package).arg(&root))?;
    let libraries = root.join("usr/lib");
    if !libraries.join(TARGET).join("libc.a").exists() {
        return Err(SetUpError::Lacking(format!(
            "{WASI_LIBC} {version} has no {TARGET}"
        )));
    }
    Ok(WasiLibc { version, libraries })
}

fn apt_get(arguments: &[&str]) -> Command {
    let mut apt = tool("apt-get", arguments);
    apt.env("DEBIAN_FRONTEND", "noninteractive")
        // Another apt may be at work for a while.
        .args(["-o", "DPkg::Lock::Timeout=300"]);
    apt
}

/// A program whose answers are read, so that they must not be in the user's language.
fn tool(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C").args(arguments);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_taken_with_debians_keys_where_they_are_known() {
        assert_eq!(
            source_line("http://mirror/debian/", "sid", true),
            "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror/debian/ sid main\n"
        );
        assert_eq!(
            source_line("http://mirror/debian/", "sid", false),
            "deb http://mirror/debian/ sid main\n"
        );
    }
}
