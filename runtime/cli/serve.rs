//! `wasmhost serve`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use http::HeaderName;

use super::{
    build::Limit,
    fleet::{fleet_address, fleet_of_environment},
    no_runtime, runtime,
    signals::Signals,
};
use crate::{
    app::{Config, Releases},
    diagnostic::Diagnostic,
    fleet::FleetAddress,
    logging::{LogFormat, Logging},
    project::Address,
    release::reference,
    reload::Mode,
    server::{Recorder, Recording},
    status::{Format, Writer},
};

/// How long background work may go on after the last request.
pub const TASKS_END: Duration = Duration::from_secs(2);

/// Serve ROOT, watch it, and swap the groups that change.
#[derive(clap::Args)]
pub struct Arguments {
    /// The folder of components; or a release, oci://registry.example.com/site:prod.
    #[arg(value_name = "ROOT", default_value = "./components")]
    root: PathBuf,
    /// Listen here instead of where the manifest says: 127.0.0.1:8080, https://127.0.0.1:8443 or
    /// unix:/run/site.sock; port 0 takes any free one. May be repeated.
    #[arg(long, value_name = "ADDR")]
    listen: Vec<Address>,
    /// How events are printed: for people, or one JSON object a line.
    #[arg(long, value_enum, default_value_t)]
    format: FormatArgument,
    /// How logs are printed, on standard error: for people, or one JSON object a line.
    #[arg(long, value_enum, default_value_t)]
    log_format: FormatArgument,
    /// Log a line for each request.
    #[arg(long)]
    access_log: bool,
    /// Where the journal is kept [default: ROOT/.wasmhost].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// How often a registry is asked whether the release, or a component by reference, is another one.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    poll: Duration,
    /// Swap as one with the other servers of this fleet, nats://HOST:PORT/NAME: what all of them can serve is
    /// committed, and nothing else is served. The variable WASMHOST_FLEET does the same, and shows no password.
    #[arg(long, value_name = "URL", value_parser = fleet_address)]
    fleet: Option<FleetAddress>,
    /// Who this server is to NATS: a file of NATS' own (.creds).
    #[arg(long, value_name = "FILE")]
    fleet_credentials: Option<PathBuf>,
    /// Do not watch the tree: swap only on `wasmhost swap`.
    #[arg(long)]
    frozen: bool,
    /// How changes are noticed: by the system's events where there are any, or by polling.
    #[arg(long, value_enum, default_value_t, conflicts_with = "frozen")]
    watch: WatchArgument,
    /// Append what is asked of pages to FILE, for `wasmhost test --upgrade --replay`: at most 64 KiB of a
    /// body, and no cookie or authorization.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// A header whose value is not recorded either. May be repeated.
    #[arg(long, value_name = "HEADER", requires = "record")]
    redact: Vec<HeaderName>,
    /// Let the clock that limits and guests go by be moved on by `POST /v1/clock` of the admin interface: for tests alone.
    #[arg(long, hide = true)]
    movable_clock: bool,
    /// Build the sources under ROOT first.
    #[arg(long)]
    build: bool,
    #[command(flatten)]
    limit: Limit,
}

#[derive(Clone, Copy, Default, clap::ValueEnum)]
enum WatchArgument {
    #[default]
    Auto,
    Poll,
}

#[derive(Clone, Copy, Default, clap::ValueEnum)]
pub enum FormatArgument {
    #[default]
    Text,
    Json,
}

impl From<FormatArgument> for Format {
    fn from(argument: FormatArgument) -> Self {
        match argument {
            FormatArgument::Text => Self::Text,
            FormatArgument::Json => Self::Json,
        }
    }
}

impl From<WatchArgument> for Mode {
    fn from(argument: WatchArgument) -> Self {
        match argument {
            WatchArgument::Auto => Self::Auto,
            WatchArgument::Poll => Self::Poll,
        }
    }
}

impl Arguments {
    pub fn log_format(&self) -> LogFormat {
        match self.log_format {
            FormatArgument::Text => LogFormat::Text,
            FormatArgument::Json => LogFormat::Json,
        }
    }
}

pub fn run(arguments: Arguments, logging: Logging) -> Result<(), Vec<Diagnostic>> {
    let Arguments {
        root,
        listen,
        format,
        log_format: _,
        access_log,
        state_dir,
        poll,
        fleet,
        fleet_credentials,
        frozen,
        watch,
        record,
        redact,
        movable_clock,
        build,
        limit,
    } = arguments;
    let release = root.to_str().filter(|root| root.starts_with("oci://"));
    let release = release.map(reference).transpose().map_err(|error| vec![error])?;
    let fleet = named_fleet(fleet, release.is_some())?;
    if build && release.is_none() {
        super::build::build(root.clone(), &limit)?;
    }
    let recording = record.map(|file| start_recording(&file, &redact)).transpose()?;
    let (recorder, recording) = recording.unzip();
    let mut config = Config {
        root,
        listen,
        format: format.into(),
        state_dir,
        frozen,
        watch: watch.into(),
        browser: None,
        releases: Releases::None,
        recorder,
        logging,
        access_log,
        movable_clock,
        poll,
    };
    let runtime = runtime()?;
    let served = runtime.block_on(async {
        let signals = Signals::listen().map_err(|error| vec![no_runtime(&error)])?;
        let app = async {
            let credentials = fleet_credentials.as_deref();
            match (release, &fleet) {
                (Some(release), Some(fleet)) => config.join(fleet, credentials, release, poll).await?,
                (Some(release), None) => config.follow(release, poll).await?,
                (None, _) => {}
            }
            config.build(signals.first.clone()).await
        };
        let app = tokio::select! {
            app = app => app?,
            () = signals.first.cancelled() => return Ok(None),
        };
        tokio::select! {
            writer = app.run() => Ok(Some(writer)),
            () = signals.second.cancelled() => Ok(None),
        }
    });
    runtime.shutdown_timeout(TASKS_END);
    recording.into_iter().for_each(Recording::finish);
    served.map(|writer| writer.into_iter().for_each(Writer::finish))
}

/// Errors: there is one, and no release that it could serve.
fn named_fleet(
    fleet: Option<FleetAddress>,
    has_release: bool,
) -> Result<Option<FleetAddress>, Vec<Diagnostic>> {
    let fleet = fleet.map_or_else(fleet_of_environment, |fleet| Ok(Some(fleet)))?;
    if fleet.is_some() && !has_release {
        let message = "a fleet serves releases of a registry, and ROOT is a folder";
        let help = "push it with `wasmhost push ROOT REFERENCE`, and serve oci://REFERENCE";
        return Err(vec![Diagnostic::new("fleet-release", message).help(help)]);
    }
    Ok(fleet)
}

fn start_recording(file: &Path, redact: &[HeaderName]) -> Result<(Recorder, Recording), Vec<Diagnostic>> {
    let started = Recorder::start(file, redact);
    started.map_err(|error| vec![Diagnostic::io("recording-failed", "write", file, &error)])
}
