//! A toolchain of our own making in the user's cache: Debian's compiler, a standard library built from Debian's
//! source, wasi-libc, and the linkers of the rustup toolchain; rustup knows it by its name.
//!
//! `find` is cheap and silent; `set_up` takes minutes and has to be called under the lock.
//! Knows nothing of the guests, nor when this way is to be taken.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    TARGET,
    command::{self, CommandError, rust_tool},
    debian::{self, Compiler},
};

/// cargo-component asks for the second.
const TARGETS: [&str; 2] = [TARGET, "wasm32-wasip1"];

/// Names of unfinished work begin so. What has its final name is whole.
const UNFINISHED: &str = ".unfinished-";

/// The two lines that make Debian's compiler use the folder that this script lies in.
const RUSTC_SCRIPT: &str = "#!/bin/sh\nexec \"RUSTC\" --sysroot \"${0%/bin/*}\" \"$@\"\n";

#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{0}")]
    Lacking(String),
}

/// For `map_err`: what was being done to which path.
pub fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SetUpError {
    move |source| SetUpError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

/// A toolchain that is whole and that rustup knows.
#[derive(Debug)]
pub struct Linked {
    name: String,
    /// The file name of its std, with the hash that differs where Cargo built it differently.
    std: String,
}

impl Linked {
    pub fn apply(&self, cargo: &mut Command) {
        cargo.env("RUSTUP_TOOLCHAIN", &self.name);
    }

    /// Names this standard library: another one has another key.
    pub fn key(&self) -> String {
        let hash = self.std.trim_start_matches("libstd-").trim_end_matches(".rlib");
        format!("{}-{hash}", self.name)
    }

    /// The toolchain in `folder`, made known to rustup; None where something of it is missing.
    fn open(folder: &Path) -> Option<Self> {
        let name = folder.file_name()?.to_str()?.to_owned();
        let libraries = folder.join("lib/rustlib").join(TARGET).join("lib");
        let std = std_library(&libraries)?;
        // The toolchain that it borrows from may be gone.
        if !folder.join("bin/cargo").exists() {
            return None;
        }
        let linked = Self { name, std };
        if linked.libraries() != libraries.canonicalize().ok() {
            let mut rustup = rust_tool("rustup");
            rustup.args(["toolchain", "link", &linked.name]).arg(folder);
            // Whether it worked is asked just below.
            let _ = command::output(&mut rustup);
        }
        (linked.libraries() == libraries.canonicalize().ok()).then_some(linked)
    }

    /// Where the toolchain of this name has its standard library, if rustup knows the name and it runs.
    fn libraries(&self) -> Option<PathBuf> {
        let mut rustc = rust_tool("rustc");
        self.apply(&mut rustc);
        let libraries = command::output(rustc.args(["--print=target-libdir", "--target", TARGET]));
        PathBuf::from(libraries.ok()?).canonicalize().ok()
    }
}

/// The file name of the std in a folder of libraries.
pub fn std_library(libraries: &Path) -> Option<String> {
    rlibs(libraries)
        .ok()?
        .into_iter()
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .find(|name| name.starts_with("libstd-"))
}

/// The toolchain that was set up before for the compiler that is installed now; the newest, if there are several.
pub fn find(cache: &Path) -> Option<Linked> {
    let prefix = name(&debian::installed_compiler()?.version, "");
    let mut folders: Vec<PathBuf> = fs::read_dir(cache.join("toolchains"))
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
        })
        .collect();
    folders.sort();
    folders.iter().rev().find_map(|folder| Linked::open(folder))
}

/// Makes the toolchain, with the linkers and the Cargo of the one that is used in `folder`.
pub fn set_up(cache: &Path, folder: &Path, say: &mut dyn FnMut(&str)) -> Result<Linked, SetUpError> {
    let base = Base::of(folder)?;
    let compiler = debian::install_compiler(say)?;
    let toolchains = cache.join("toolchains");
    fs::create_dir_all(&toolchains).map_err(io_error("make", &toolchains))?;
    remove_unfinished(&toolchains);
    let work = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempdir_in(&toolchains)
        .map_err(io_error("make a folder in", &toolchains))?;

    let wasi_libc = debian::fetch_wasi_libc(&work.path().join("wasi-libc"), say)?;
    say(&format!(
        "building the standard library for {} (a minute or two)",
        TARGETS.join(" and ")
    ));
    let std = build_std(work.path(), &base, &compiler)?;
    let made = work.path().join("toolchain");
    assemble(&made, &base, &compiler, &std, &wasi_libc.libraries)?;

    let place = toolchains.join(name(&compiler.version, &wasi_libc.version));
    // One of this name that `find` did not take is damaged.
    let _ = fs::remove_dir_all(&place);
    fs::rename(&made, &place).map_err(io_error("rename to", &place))?;
    let linked = Linked::open(&place).ok_or_else(|| {
        SetUpError::Lacking(format!(
            "rustup does not run the toolchain in {}",
            place.display()
        ))
    })?;
    say(&format!(
        "linked it as the rustup toolchain {} ({})",
        linked.name,
        place.display()
    ));
    Ok(linked)
}

/// What a set-up left that was killed. Nobody else is at work here: the caller holds the lock.
fn remove_unfinished(toolchains: &Path) {
    for entry in fs::read_dir(toolchains).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The toolchain's name by the versions that it is made from.
fn name(compiler: &str, wasi_libc: &str) -> String {
    let plain = |version: &str| version.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-");
    format!("wasmhost-{}-wasi-libc-{}", plain(compiler), plain(wasi_libc))
}

/// The toolchain that has no guest target, and lends what Debian's compiler has not.
struct Base {
    cargo: PathBuf,
    linkers: PathBuf,
}

impl Base {
    fn of(folder: &Path) -> Result<Self, SetUpError> {
        let print =
            |what: &str| command::output(rust_tool("rustc").current_dir(folder).arg("--print").arg(what));
        let cargo = Path::new(&print("sysroot")?).join("bin/cargo");
        let linkers = Path::new(&print("target-libdir")?).with_file_name("bin");
        for tool in [&cargo, &linkers.join("wasm-component-ld")] {
            if !tool.exists() {
                return Err(SetUpError::Lacking(format!(
                    "the Rust toolchain has no {}",
                    tool.display()
                )));
            }
        }
        Ok(Self { cargo, linkers })
    }
}

/// Builds an empty crate together with the standard library; returns Cargo's target folder.
fn build_std(work: &Path, base: &Base, compiler: &Compiler) -> Result<PathBuf, SetUpError> {
    let source = work.join("empty");
    let manifest = "[package]\nname = \"empty\"\nedition = \"2024\"\n[workspace]\n";
    write(&source.join("Cargo.toml"), manifest)?;
    write(&source.join("src/lib.rs"), "")?;
    let target_dir = work.join("target");
    let mut cargo = rust_tool(&base.cargo.to_string_lossy());
    cargo
        .current_dir(&source)
        .args([
            "build",
            "--release",
            "-Zbuild-std=std,panic_abort,proc_macro",
            "--target-dir",
        ])
        .arg(&target_dir)
        .args(TARGETS.iter().flat_map(|target| ["--target", target]))
        .env("RUSTC", &compiler.rustc)
        // A released compiler and Cargo take -Z with this.
        .env("RUSTC_BOOTSTRAP", "1")
        // Guests with `lto = true` need the bitcode.
        .env("RUSTFLAGS", "-Cembed-bitcode=yes");
    command::output(&mut cargo)?;
    Ok(target_dir)
}

/// The toolchain's folder, as rustc expects a sysroot. `std` is Cargo's target folder.
fn assemble(
    made: &Path,
    base: &Base,
    compiler: &Compiler,
    std: &Path,
    wasi_libc: &Path,
) -> Result<(), SetUpError> {
    let bin = made.join("bin");
    let rustc = bin.join("rustc");
    write(
        &rustc,
        &RUSTC_SCRIPT.replace("RUSTC", &compiler.rustc.to_string_lossy()),
    )?;
    fs::set_permissions(&rustc, Permissions::from_mode(0o755)).map_err(io_error("make runnable", &rustc))?;
    link(&base.cargo, &bin.join("cargo"))?;

    let rustlib = made.join("lib/rustlib");
    let host = rustlib.join(&compiler.host);
    link(&compiler.host_libraries, &host.join("lib"))?;
    link(&base.linkers, &host.join("bin"))?;
    for target in TARGETS {
        let libraries = rustlib.join(target).join("lib");
        let built = std.join(target).join("release/deps");
        for rlib in rlibs(&built).map_err(io_error("read", &built))? {
            if !is_of_empty_crate(&rlib) {
                copy_into(&rlib, &libraries)?;
            }
        }
        let libc = wasi_libc.join(target);
        for file in files(&libc, &["a", "o"]).map_err(io_error("read", &libc))? {
            copy_into(&file, &libraries.join("self-contained"))?;
        }
    }
    Ok(())
}

/// The one library beside std's that `build_std` makes.
fn is_of_empty_crate(rlib: &Path) -> bool {
    rlib.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("libempty-"))
}

fn rlibs(folder: &Path) -> io::Result<Vec<PathBuf>> {
    files(folder, &["rlib"])
}

fn files(folder: &Path, endings: &[&str]) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|ending| endings.iter().any(|one| ending == *one))
        {
            found.push(path);
        }
    }
    Ok(found)
}

fn write(path: &Path, text: &str) -> Result<(), SetUpError> {
    make_parent(path)?;
    fs::write(path, text).map_err(io_error("write", path))
}

fn link(original: &Path, path: &Path) -> Result<(), SetUpError> {
    make_parent(path)?;
    symlink(original, path).map_err(io_error("link", path))
}

fn copy_into(file: &Path, folder: &Path) -> Result<(), SetUpError> {
    let to = folder.join(file.file_name().unwrap_or_default());
    make_parent(&to)?;
    fs::copy(file, &to).map_err(io_error("copy to", &to)).map(drop)
}

fn make_parent(path: &Path) -> Result<(), SetUpError> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(io_error("make", parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: &Path) {
        write(path, "").expect("writes");
    }

    #[test]
    fn names_are_of_both_versions_and_plain() {
        assert_eq!(
            name("1.96.0+dfsg1-1~deb12u2", "0.0~git20260423.161b319-2"),
            "wasmhost-1.96.0-dfsg1-1-deb12u2-wasi-libc-0.0-git20260423.161b319-2"
        );
        let linked = Linked {
            name: "wasmhost-1".into(),
            std: "libstd-ddc56cd4cde31aca.rlib".into(),
        };
        assert_eq!(linked.key(), "wasmhost-1-ddc56cd4cde31aca");
    }

    #[test]
    fn the_folder_is_a_sysroot() {
        let scratch = tempfile::tempdir().expect("makes a folder");
        let path = |name: &str| scratch.path().join(name);
        for target in TARGETS {
            touch(&path("std").join(target).join("release/deps/libstd-1.rlib"));
            touch(&path("std").join(target).join("release/deps/libstd-1.rmeta"));
            touch(&path("std").join(target).join("release/deps/libempty-1.rlib"));
            touch(&path("libc").join(target).join("libc.a"));
            touch(&path("libc").join(target).join("crt1.o"));
        }
        touch(&path("base/cargo"));
        touch(&path("base/bin/wasm-component-ld"));
        touch(&path("host/libstd-2.rlib"));
        let base = Base {
            cargo: path("base/cargo"),
            linkers: path("base/bin"),
        };
        let compiler = Compiler {
            rustc: "/bin/echo".into(),
            version: "1".into(),
            host: "here".into(),
            host_libraries: path("host"),
        };
        let made = path("made");
        assemble(&made, &base, &compiler, &path("std"), &path("libc")).expect("assembles");
        for file in [
            "bin/cargo",
            "lib/rustlib/here/bin/wasm-component-ld",
            "lib/rustlib/here/lib/libstd-2.rlib",
            "lib/rustlib/wasm32-wasip1/lib/self-contained/crt1.o",
            "lib/rustlib/wasm32-wasip2/lib/libstd-1.rlib",
            "lib/rustlib/wasm32-wasip2/lib/self-contained/libc.a",
        ] {
            assert!(made.join(file).exists(), "{file}");
        }
        for file in ["libstd-1.rmeta", "libempty-1.rlib"] {
            assert!(
                !made.join("lib/rustlib/wasm32-wasip2/lib").join(file).exists(),
                "{file}"
            );
        }
        // By `sh`, since a file just written cannot be run while another test's fork still holds it open.
        let ran = command::output(Command::new("sh").arg(made.join("bin/rustc")).arg("--version"));
        assert_eq!(
            ran.expect("runs"),
            format!("--sysroot {} --version", made.display())
        );
    }

    #[test]
    fn only_unfinished_work_is_cleared_away() {
        let toolchains = tempfile::tempdir().expect("makes a folder");
        touch(&toolchains.path().join(".unfinished-x/toolchain/bin/rustc"));
        touch(&toolchains.path().join("wasmhost-1/bin/rustc"));
        remove_unfinished(toolchains.path());
        assert!(!toolchains.path().join(".unfinished-x").exists());
        assert!(toolchains.path().join("wasmhost-1/bin/rustc").exists());
    }
}
