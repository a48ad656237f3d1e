//! `wasmhost check`.

use std::{path::PathBuf, process::ExitCode};

use super::{Root, exit_code, print, runtime};
use crate::{
    analysis::{Report, check},
    diagnostic::Diagnostic,
    project::Location,
    release::components::provide_aside,
};

/// Report everything that `serve` would refuse in ROOT, without serving it.
///
/// The components are linked, compiled and started as `serve` does it. Exit code 1: something would be
/// refused; warnings alone are 0.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    root: Root,
    /// How the report is printed: for people, or as one JSON object.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The same as `--format json`.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Also report what changed in the interfaces since the tree in DIR, and what breaks with it.
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
}

#[derive(Clone, Copy, Default, clap::ValueEnum)]
enum Format {
    #[default]
    Text,
    Json,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Vec<Diagnostic>> {
    let Arguments {
        root: Root { root },
        format,
        json,
        against,
    } = arguments;
    let format = if json { Format::Json } else { format };
    let report = runtime()?.block_on(async {
        let (components, other);
        components = provide_aside(&root).await?;
        let location = Location::new(&root, components.path());
        let against = match &against {
            Some(against) => {
                other = provide_aside(against).await?;
                Some(Location::new(against, other.path()))
            }
            None => None,
        };
        Ok(check(&location, against.as_ref()).await)
    });
    let report = report.map_err(|error: Diagnostic| vec![error])?;
    match format {
        Format::Text => print(&text(&report))?,
        // Text, numbers and lists always are JSON.
        Format::Json => print(&(serde_json::to_string(&report).unwrap_or_default() + "\n"))?,
    }
    Ok(exit_code(&report.diagnostics))
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for diagnostic in &report.diagnostics {
        text += &format!("{diagnostic}\n");
    }
    if let Some(comparison) = &report.comparison {
        text += &format!("{comparison}");
    }
    for group in &report.groups {
        let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let (components, routes) = (
            count(group.components.len(), "component"),
            count(group.routes.len(), "route"),
        );
        let files = match group.files {
            0 => String::new(),
            files => format!(", {}", count(files, "static file")),
        };
        text += &match group.accepted {
            true => format!("group {}: ok, {components}, {routes}{files}\n", group.group),
            false => format!("group {}: refused\n", group.group),
        };
    }
    let (errors, warnings): (Vec<_>, Vec<_>) = report
        .diagnostics
        .iter()
        .partition(|diagnostic| diagnostic.is_error());
    text + &format!("errors: {}, warnings: {}\n", errors.len(), warnings.len())
}
