//! `wasmhost build`.

use super::{Root, say};
use crate::{
    build::{self, BuildOptions},
    diagnostic::Diagnostic,
};

/// Build every source project under ROOT into its component.
///
/// The Cargo project in ROOT/shop/screen/home becomes ROOT/shop/screen/home.wasm, replaced atomically.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    root: Root,
}

pub fn run(arguments: Arguments) -> Result<(), Vec<Diagnostic>> {
    let options = BuildOptions {
        root: arguments.root.root,
        target_dir: None,
    };
    for built in build::build(&options, &mut |line| say(line))? {
        let state = if built.changed { "built" } else { "unchanged" };
        say(&format!("{state} {}", built.component_path.display()));
    }
    Ok(())
}
