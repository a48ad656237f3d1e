//! `wasmhost graph`.

use std::process::ExitCode;

use super::{Root, exit_code, print, runtime, say};
use crate::{
    analysis::{
        Surface,
        drawing::{dot, json, svg, text},
    },
    diagnostic::Diagnostic,
    project::Location,
    release::components::provide_aside,
};

/// Show who imports what from whom.
///
/// What does not fit together is drawn as far as it can be read, and reported on standard error.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    root: Root,
    /// A list for people, the language of Graphviz, JSON, or a picture.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The same as `--format json`.
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Clone, Copy, Default, clap::ValueEnum)]
enum Format {
    #[default]
    Text,
    Dot,
    Json,
    Svg,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Vec<Diagnostic>> {
    let Arguments {
        root: Root { root },
        format,
        json,
    } = arguments;
    let format = if json { Format::Json } else { format };
    let drawn = runtime()?.block_on(async {
        let components = provide_aside(&root).await?;
        Ok(Surface::read(&Location::new(&root, components.path())).await)
    });
    let (surface, diagnostics) = drawn.map_err(|error: Diagnostic| vec![error])?;
    for diagnostic in &diagnostics {
        say(&diagnostic.to_string());
    }
    print(&match format {
        Format::Text => text::draw(&surface),
        Format::Dot => dot::draw(&surface),
        Format::Json => json::draw(&surface),
        Format::Svg => svg::draw(&surface),
    })?;
    Ok(exit_code(&diagnostics))
}
