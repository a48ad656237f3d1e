//! Which toolchain builds the guests, and how it comes to have their target:
//!
//!   the target is installed -> a linked toolchain is in the cache -> `rustup target add` -> Debian's packages
//!
//! The first that works is taken; only the last two change the machine, and they say so.
//! Knows nothing of the guests.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    TARGET, cache,
    command::{self, CommandError, rust_tool},
    linked::{self, Linked},
    projects::cargo_missing,
};
use crate::diagnostic::Diagnostic;

#[derive(Debug)]
pub enum Toolchain {
    /// The one that rustup, or the machine, chooses in the folder: it has the target.
    Own,
    /// The one with a standard library built here.
    Linked(Linked),
}

impl Toolchain {
    /// The toolchain for the guests of the workspace in `folder`. Silent where there is nothing to set up.
    pub fn for_guests(folder: &Path, say: &mut dyn FnMut(&str)) -> Result<Self, Diagnostic> {
        let cache = cache::folder();
        if let Some(ready) = Self::ready(folder, cache.as_deref())? {
            return Ok(ready);
        }
        let cache = cache.ok_or_else(no_cache_folder)?;
        let _lock = cache::lock(&cache, "toolchain", say)?;
        // Who held the lock before may have set it up.
        match Self::ready(folder, Some(&cache))? {
            Some(ready) => Ok(ready),
            None => set_up(folder, &cache, say),
        }
    }

    fn ready(folder: &Path, cache: Option<&Path>) -> Result<Option<Self>, Diagnostic> {
        if has_target(folder)? {
            return Ok(Some(Self::Own));
        }
        Ok(cache.and_then(linked::find).map(Self::Linked))
    }

    pub fn apply(&self, cargo: &mut Command) {
        if let Self::Linked(linked) = self {
            linked.apply(cargo);
        }
    }

    /// Cargo cannot tell two builds of one standard library apart, so that each has its own target folder.
    pub fn target_dir(&self, usual: &Path) -> PathBuf {
        match self {
            Self::Own => usual.to_owned(),
            Self::Linked(linked) => usual.join(linked.key()),
        }
    }
}

fn set_up(folder: &Path, cache: &Path, say: &mut dyn FnMut(&str)) -> Result<Toolchain, Diagnostic> {
    let mut reasons = Vec::new();
    say(&format!(
        "the Rust target {TARGET} is missing: trying `rustup target add {TARGET}`"
    ));
    match rustup_target_add(folder) {
        Ok(()) if has_target(folder)? => return Ok(Toolchain::Own),
        Ok(()) => reasons.push(format!(
            "rustup added it, but the rustc used in {} does not have it",
            folder.display()
        )),
        Err(error) => reasons.push(error.to_string()),
    }
    for reason in &reasons {
        say(&format!("that failed: {reason}"));
    }
    say("trying Debian's packages: a toolchain with its own standard library, in the cache folder");
    match linked::set_up(cache, folder, say) {
        Ok(linked) => Ok(Toolchain::Linked(linked)),
        Err(error) => {
            reasons.push(format!("Debian's packages: {error}"));
            Err(target_missing(&reasons))
        }
    }
}

fn rustup_target_add(folder: &Path) -> Result<(), CommandError> {
    let mut rustup = rust_tool("rustup");
    command::output(rustup.current_dir(folder).args(["target", "add", TARGET])).map(drop)
}

/// If the compiler that is used in `folder` has the target's standard library.
fn has_target(folder: &Path) -> Result<bool, Diagnostic> {
    let mut rustc = rust_tool("rustc");
    rustc
        .current_dir(folder)
        .args(["--print=target-libdir", "--target", TARGET]);
    match command::output(&mut rustc) {
        Ok(libraries) => Ok(linked::std_library(Path::new(&libraries)).is_some()),
        Err(CommandError::Missing { .. }) => Err(cargo_missing()),
        // A toolchain that is not installed, or a compiler that does not know the target: rustup will say.
        Err(_) => Ok(false),
    }
}

fn no_cache_folder() -> Diagnostic {
    target_missing(&["there is no cache folder to set it up in: HOME is not set".to_owned()])
}

fn target_missing(reasons: &[String]) -> Diagnostic {
    Diagnostic::new(
        "target-missing",
        format!(
            "the Rust target {TARGET} is not installed and could not be set up: {}",
            reasons.join("; ")
        ),
    )
    .machine()
    .help(format!(
        "install it with `rustup target add {TARGET}`;\n\
         where rustup cannot download it, run this once as root on a Debian that offers the packages \
         rustc-web and rust-web-src"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_target_is_the_machines_fault_and_says_all_reasons() {
        let diagnostic = target_missing(&["rustup said no".into(), "apt said no".into()]);
        assert_eq!(diagnostic.code, "target-missing");
        assert_eq!(diagnostic.fault(), crate::diagnostic::Fault::Machine);
        assert!(diagnostic.message.contains("rustup said no; apt said no"));
        assert!(
            diagnostic
                .help
                .is_some_and(|help| help.contains("rustup target add wasm32-wasip2"))
        );
    }
}
