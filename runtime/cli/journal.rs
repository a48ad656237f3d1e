//! `wasmhost journal`.

use std::process::ExitCode;

use clap::builder::PossibleValuesParser;

use super::{print, records, state::StateDir};
use crate::{
    diagnostic::Diagnostic,
    status::{EVENTS, STATE},
};

/// Show what happened: the events that a server wrote to its journal, oldest first.
///
/// It is read from the state directory, whether or not the server runs.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    state_dir: StateDir,
    /// Only events of this group.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Only events of this name.
    #[arg(long, value_name = "EVENT", value_parser = PossibleValuesParser::new(EVENTS))]
    event: Option<String>,
    /// Only the last N of them.
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Vec<Diagnostic>> {
    let Arguments {
        state_dir,
        group,
        event,
        last,
        json,
    } = arguments;
    let mut found = state_dir.journal()?;
    found.retain(|record| {
        let is = |name: &str, wanted: &Option<String>| {
            wanted.is_none() || record[name].as_str() == wanted.as_deref()
        };
        // A state is what records before it came to: it did not happen.
        let happened = record["event"] != STATE || event.is_some();
        happened && is("group", &group) && is("event", &event)
    });
    let skipped = found.len().saturating_sub(last.unwrap_or(usize::MAX));
    let mut report = String::new();
    for record in &found[skipped..] {
        report += &if json {
            record.to_string()
        } else {
            records::text(record)
        };
        report.push('\n');
    }
    print(&report)?;
    Ok(ExitCode::SUCCESS)
}
