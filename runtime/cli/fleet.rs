//! `wasmhost fleet`.

use std::{fmt::Write, path::PathBuf, process::ExitCode, time::Duration};

use clap::Subcommand;
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::{print, runtime};
use crate::{
    diagnostic::Diagnostic,
    fleet::{Fleet, FleetAddress, Listed, Outcome, Overview, record::Stage},
};

/// The variable that names the fleet.
const VARIABLE: &str = "WASMHOST_FLEET";

/// Steer servers that swap as one.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What is committed, wanted and refused, and how far the servers are.
    Status(Where),
    /// The servers, and what each of them serves.
    Nodes(Where),
    /// Have all servers swap to a release, and tell what came of it. Exit code 1 where one of them cannot serve it.
    Release {
        /// What to serve: registry.example.com/site:prod, or sha256:… of a release that was pushed there.
        reference: String,
        #[command(flatten)]
        to: Where,
        #[command(flatten)]
        wait: Wait,
    },
    /// Have all servers swap to what was committed before.
    Rollback {
        #[command(flatten)]
        to: Where,
        #[command(flatten)]
        wait: Wait,
    },
}

#[derive(clap::Args)]
struct Where {
    /// nats://HOST:PORT/NAME [default: the variable WASMHOST_FLEET]
    #[arg(long, value_name = "URL", value_parser = fleet_address)]
    fleet: Option<FleetAddress>,
    /// Who we are to NATS: a file of NATS' own (.creds).
    #[arg(long, value_name = "FILE")]
    fleet_credentials: Option<PathBuf>,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Wait {
    /// How long to wait for what comes of it.
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration)]
    wait: Duration,
}

pub fn fleet_address(text: &str) -> Result<FleetAddress, String> {
    text.parse()
}

/// Errors: the variable names none.
pub fn fleet_of_environment() -> Result<Option<FleetAddress>, Vec<Diagnostic>> {
    let Some(text) = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let address = text.parse().map_err(|help: String| {
        let message = format!("the variable {VARIABLE} names no fleet");
        vec![Diagnostic::new("fleet-address", message).help(help)]
    });
    address.map(Some)
}

impl Where {
    async fn find(&self) -> Result<Fleet, Vec<Diagnostic>> {
        let named = self.fleet.clone();
        let address = named.map_or_else(fleet_of_environment, |named| Ok(Some(named)))?;
        let Some(address) = address else {
            let help = format!("write --fleet nats://HOST:PORT/NAME, or set {VARIABLE}");
            return Err(vec![
                Diagnostic::new("fleet-address", "no fleet is named").help(help),
            ]);
        };
        let found = Fleet::find(&address, self.fleet_credentials.as_deref()).await;
        found.map_err(|error| vec![error])
    }
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Vec<Diagnostic>> {
    runtime()?.block_on(async {
        match &arguments.command {
            Command::Status(place) => tell(place, status).await,
            Command::Nodes(place) => tell(place, |overview| nodes(&overview.nodes)).await,
            Command::Release { reference, to, wait } => {
                let fleet = to.find().await?;
                let release = fleet.release(reference).await.map_err(|error| vec![error])?;
                wait_for(&fleet, &release, to, wait.wait).await
            }
            Command::Rollback { to, wait } => {
                let fleet = to.find().await?;
                let release = fleet.roll_back().await.map_err(|error| vec![error])?;
                wait_for(&fleet, &release, to, wait.wait).await
            }
        }
    })
}

async fn tell(place: &Where, text: impl Fn(&Overview) -> String) -> Result<ExitCode, Vec<Diagnostic>> {
    let overview = place
        .find()
        .await?
        .overview()
        .await
        .map_err(|error| vec![error])?;
    print(&match place.json {
        true => format!("{}\n", json!(overview)),
        false => text(&overview),
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn wait_for(
    fleet: &Fleet,
    release: &str,
    to: &Where,
    limit: Duration,
) -> Result<ExitCode, Vec<Diagnostic>> {
    let told = |outcome: &str, more: Value| {
        let mut told = json!({ "release": release, "outcome": outcome });
        if let (Value::Object(told), Value::Object(more)) = (&mut told, more) {
            told.extend(more);
        }
        format!("{told}\n")
    };
    match fleet.wait(release, limit).await {
        Outcome::Committed(number) => {
            print(&match to.json {
                true => told("committed", json!({ "number": number })),
                false => format!("committed {number}: {release}\n"),
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Refused { node, diagnostics } => {
            if to.json {
                print(&told(
                    "refused",
                    json!({ "node": node, "diagnostics": diagnostics }),
                ))?;
            }
            let message = format!("{node} cannot serve {release}, so nobody does");
            let mut all = vec![Diagnostic::new("fleet-refused", message)];
            all.extend(diagnostics);
            Err(all)
        }
        Outcome::Overtaken => {
            let message = format!("another release was wanted before {release} was committed");
            Err(vec![Diagnostic::new("fleet-overtaken", message)])
        }
        Outcome::Pending => {
            let message = format!(
                "{release} is not committed after {}",
                humantime::format_duration(limit)
            );
            let help = "it still is wanted: see `wasmhost fleet status` for what it waits for";
            Err(vec![
                Diagnostic::new("fleet-pending", message).machine().help(help),
            ])
        }
    }
}

fn status(overview: &Overview) -> String {
    let record = &overview.record;
    let mut text = match &record.committed {
        Some(release) => format!("committed {}: {release}\n", record.number),
        None => "nothing is committed\n".to_owned(),
    };
    if let Some(wanted) = &record.wanted {
        let of_it = |node: &&Listed| node.state.attempt == wanted.attempt;
        let ready = overview.nodes.iter().filter(of_it);
        let ready = ready.filter(|node| node.state.stage == Stage::Ready).count();
        let all = overview.nodes.len();
        let _ = writeln!(text, "wanted: {}; {ready} of {all} are ready", wanted.release);
    }
    if let Some(refusal) = record.refused.first() {
        let _ = writeln!(text, "refused last, by {}: {}", refusal.node, refusal.release);
        for diagnostic in &refusal.diagnostics {
            let _ = writeln!(text, "{diagnostic}");
        }
    }
    text + &nodes(&overview.nodes)
}

fn nodes(nodes: &[Listed]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["node", "serves", "commit", "is", "seen"]);
    for node in nodes {
        let serves = node.state.serves.as_deref().unwrap_or("-");
        let serves = serves.get(..19).unwrap_or(serves);
        let is = match (&node.state.stage, &node.state.fault) {
            (Stage::Ready, _) => "ready",
            (Stage::Preparing, _) => "preparing",
            (Stage::Refused(_), _) => "refusing",
            (Stage::Failed(_), _) => "failing",
            (Stage::Rest, Some(_)) => "unable",
            (Stage::Rest, None) if node.is_current => "current",
            (Stage::Rest, None) => "stale",
        };
        let seen = format!("{:.1} s ago", Duration::from_millis(node.silent_ms).as_secs_f64());
        let number = node.state.number.to_string();
        table.add_row([&node.state.name, serves, &number, is, &seen]);
    }
    let mut text = format!("{}\n", table.trim_fmt());
    for node in nodes {
        for reason in reasons(node) {
            let _ = writeln!(text, "{}: {reason}", node.state.name);
        }
    }
    text
}

/// Why a node has not what it should.
fn reasons(node: &Listed) -> &[Diagnostic] {
    match (&node.state.stage, &node.state.fault) {
        (Stage::Refused(reasons) | Stage::Failed(reasons), _) => reasons,
        (Stage::Rest, Some(fault)) => &fault.diagnostics,
        _ => &[],
    }
}
