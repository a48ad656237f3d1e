//! `wasmhost status`.

use std::{collections::BTreeMap, fmt::Write, process::ExitCode};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{print, records, say, state::StateDir, steer};
use crate::{
    diagnostic::Diagnostic,
    status::{GroupHistory, histories},
};

/// Show each group's generation, or why a group was swapped or was not.
///
/// The running server is asked. Where none answers, it is read from the journal: then what is shown is what
/// was known when the journal ends.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    state_dir: StateDir,
    /// Why this group was swapped last, and what was refused since.
    #[arg(long, value_name = "GROUP")]
    explain: Option<String>,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Vec<Diagnostic>> {
    let Arguments {
        state_dir,
        explain,
        json,
    } = arguments;
    let live = steer::status(&state_dir)?;
    let groups = match &live {
        Some(live) => BTreeMap::deserialize(&live["groups"]).unwrap_or_default(),
        None => histories(&state_dir.journal()?),
    };
    let report = match explain {
        Some(name) => {
            let group = groups.get(&name).ok_or_else(|| vec![unknown(&name, &groups)])?;
            if json {
                json!({ "group": name, "history": group }).to_string() + "\n"
            } else {
                explained(&name, group)
            }
        }
        None if json => {
            let ended = || json!({ "running": false, "groups": groups });
            live.unwrap_or_else(ended).to_string() + "\n"
        }
        None => match live {
            Some(live) => running(&live) + &listed(&groups, &live["groups"]),
            None => {
                say("no server answers: this is what its journal ends with");
                listed(&groups, &Value::Null)
            }
        },
    };
    print(&report)?;
    Ok(ExitCode::SUCCESS)
}

fn running(live: &Value) -> String {
    let is = |state: &str| live[state] == true;
    let states = ["frozen", "draining"].into_iter().filter(|state| is(state));
    let states: String = states.map(|state| format!(", {state}")).collect();
    let fleet = match live["fleet"].is_null() {
        true => String::new(),
        false => records::text(&live["fleet"]) + "\n",
    };
    format!(
        "{} process {}{states}\n{fleet}",
        live["url"].as_str().unwrap_or("?"),
        live["pid"]
    )
}

fn unknown(name: &str, groups: &BTreeMap<String, GroupHistory>) -> Diagnostic {
    let names: Vec<&str> = groups.keys().map(String::as_str).collect();
    let help = match names.as_slice() {
        [] => "there is none yet".to_owned(),
        names => format!("its groups are: {}", names.join(", ")),
    };
    Diagnostic::new("group-unknown", format!("no group {name} is known")).help(help)
}

fn listed(groups: &BTreeMap<String, GroupHistory>, live: &Value) -> String {
    let mut text = String::new();
    for (name, group) in groups {
        let since = group.swapped.as_ref().map(time);
        let since = since.or(group.ready.as_deref()).unwrap_or("?");
        let refused = match &group.rejected {
            Some(record) => format!(", other content was refused at {}", time(record)),
            None => String::new(),
        };
        let reverted = match &group.reverted {
            Some(record) => format!(", reverted from @{} at {}", record["from"], time(record)),
            None => String::new(),
        };
        let load = load(&live[name]);
        let _ = writeln!(
            text,
            "{} since {since}{load}{reverted}{refused}",
            serving(name, group)
        );
    }
    text
}

/// What runs in a group at this moment.
fn load(live: &Value) -> String {
    let mut text = match live["in_flight"].as_u64() {
        Some(requests) => format!(", {requests} in flight"),
        None => String::new(),
    };
    if let Some(queued) = live["queued"].as_u64().filter(|queued| *queued > 0) {
        let _ = write!(text, ", {queued} queued");
    }
    for standing in ["pinned", "on_probation"] {
        if live[standing] == true {
            let _ = write!(text, ", {}", standing.replace('_', " "));
        }
    }
    if let Some(time) = live["checkpoint"]["time"].as_str() {
        let _ = write!(text, ", saved at {time}");
    }
    for old in live["draining"].as_array().into_iter().flatten() {
        let _ = write!(text, ", @{} ends with {}", old["generation"], old["in_flight"]);
    }
    text
}

fn explained(name: &str, group: &GroupHistory) -> String {
    let mut text = format!("{}\n", serving(name, group));
    let _ = match &group.swapped {
        Some(record) => write!(text, "{}", swap(record)),
        None => writeln!(
            text,
            "not swapped since the server was ready at {}",
            group.ready.as_deref().unwrap_or("?")
        ),
    };
    if let Some(record) = &group.reverted {
        let _ = writeln!(text, "{}", records::text(record));
    }
    if let Some(record) = &group.trapped {
        let _ = writeln!(text, "{}", records::text(record));
    }
    let _ = match &group.rejected {
        Some(record) => writeln!(
            text,
            "what came then was refused at {}\n{}",
            time(record),
            records::refusal(record)
        ),
        None => writeln!(text, "unchanged since: no other content was found"),
    };
    text
}

fn swap(record: &Value) -> String {
    let from = match record["from"].as_u64() {
        Some(from) => format!("from generation {from}"),
        None => "as a new group".into(),
    };
    let mut text = format!(
        "swapped {from} at {}: {}\n ",
        time(record),
        records::causes(record)
    );
    for stage in [
        "detect",
        "read",
        "link",
        "compile",
        "instantiate",
        "load",
        "commit",
        "total",
    ] {
        let _ = write!(text, " {stage} {} ms,", record["ms"][stage]);
    }
    let _ = writeln!(
        text,
        " {} modules compiled, {} reused",
        record["modules_compiled"], record["modules_reused"]
    );
    text
}

fn serving(name: &str, group: &GroupHistory) -> String {
    match group.generation {
        Some(generation) => format!("{name}@{generation}"),
        None => format!("{name} (down)"),
    }
}

fn time(record: &Value) -> &str {
    record["time"].as_str().unwrap_or("?")
}
