//! `wasmhost inspect`.

use std::{path::PathBuf, process::ExitCode};

use super::print;
use crate::{analysis::inspect, diagnostic::Diagnostic};

/// Describe one component: kind, size, imports, exports, core modules, producers.
#[derive(clap::Args)]
pub struct Arguments {
    /// A component, as a binary or as text (.wat).
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How it is printed: for people, or as one JSON object.
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
    Json,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Vec<Diagnostic>> {
    let Arguments { file, format, json } = arguments;
    let inspection = inspect(&file)?;
    match if json { Format::Json } else { format } {
        Format::Text => print(&inspection.to_string())?,
        // Text, numbers and lists always are JSON.
        Format::Json => print(&(serde_json::to_string(&inspection).unwrap_or_default() + "\n"))?,
    }
    Ok(ExitCode::SUCCESS)
}
