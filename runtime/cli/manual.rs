//! `wasmhost completions` and `wasmhost manual`: what shells and `man` read, made from the commands themselves.

use std::{fs, path::PathBuf};

use clap::CommandFactory;

use super::print;
use crate::diagnostic::Diagnostic;

/// Print completions of commands and options for a shell.
#[derive(clap::Args)]
pub struct Completions {
    shell: clap_complete::Shell,
}

/// Write the manual: a page for each command.
#[derive(clap::Args)]
pub struct Manual {
    /// The folder that the pages go to, such as /usr/local/share/man/man1.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub fn completions(arguments: &Completions) -> Result<(), Vec<Diagnostic>> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut super::Arguments::command(),
        "wasmhost",
        &mut script,
    );
    print(&String::from_utf8_lossy(&script))
}

pub fn manual(arguments: Manual) -> Result<(), Vec<Diagnostic>> {
    let Manual { folder } = arguments;
    let written = fs::create_dir_all(&folder)
        .and_then(|()| clap_mangen::generate_to(super::Arguments::command(), &folder));
    written.map_err(|error| {
        vec![Diagnostic::io("manual-failed", "write the manual to", folder, &error).machine()]
    })
}
