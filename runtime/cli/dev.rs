//! `wasmhost dev`.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Root,
    build::Limit,
    no_runtime, runtime,
    serve::{FormatArgument, TASKS_END},
    signals::Signals,
};
use crate::{
    app::{App, Config, Releases},
    browser::{self, Browser},
    dev::Dev,
    diagnostic::Diagnostic,
    logging::Logging,
    project::Address,
    reload::Mode,
    status::{Format, Writer},
};

/// Serve ROOT, build what changes, and have open pages follow.
///
/// Sources and manifests are watched: what changed is built and swapped, pages load anew by themselves, styles
/// and pictures are replaced in place, and what does not build or fit is shown above the page while the last
/// good goes on serving. Requests wait for what was saved before them. Only for developers: answers name the
/// inside.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    root: Root,
    /// Listen here instead of where the manifest says; port 0 takes any free one. May be repeated.
    #[arg(long, value_name = "ADDR")]
    listen: Vec<Address>,
    /// How events are printed: for people, or one JSON object a line.
    #[arg(long, value_enum, default_value_t)]
    format: FormatArgument,
    /// Where the journal is kept [default: ROOT/.wasmhost].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Open the site in the browser.
    #[arg(long)]
    open: bool,
    #[command(flatten)]
    limit: Limit,
}

pub fn run(arguments: Arguments, logging: Logging) -> Result<(), Vec<Diagnostic>> {
    let runtime = runtime()?;
    let served = runtime.block_on(async {
        let signals = Signals::listen_with_hangup().map_err(|error| vec![no_runtime(&error)])?;
        let (first, second) = (signals.first.clone(), signals.second.clone());
        let started = tokio::select! {
            started = start(&arguments, &signals, logging) => started?,
            () = second.cancelled() => return Ok(None),
        };
        let Some((app, dev)) = started else {
            return Ok(None);
        };
        if arguments.open {
            open(app.url());
        }
        let stop = first.clone();
        let following = tokio::spawn(dev.run(stop));
        let writer = tokio::select! {
            writer = app.run() => Some(writer),
            () = second.cancelled() => None,
        };
        // What it has started ends first.
        let _ = following.await;
        Ok(writer)
    });
    runtime.shutdown_timeout(TASKS_END);
    served.map(|writer| writer.into_iter().for_each(Writer::finish))
}

/// Builds all, and makes the server ready. `None` where it was told to stop meanwhile.
async fn start(
    arguments: &Arguments,
    signals: &Signals,
    logging: Logging,
) -> Result<Option<(App, Dev)>, Vec<Diagnostic>> {
    let root = arguments.root.root.clone();
    let (browser, waiting) = browser::browser();
    let setting = arguments.limit.setting(signals.first.clone());
    let dev = Dev::start(root.clone(), setting, browser.clone(), waiting).await;
    let dev = dev.map_err(|diagnostic| vec![without_root(&root, diagnostic)])?;
    if signals.first.is_cancelled() {
        return Ok(None);
    }
    let app = config(arguments, root, browser, logging)
        .build(signals.first.clone())
        .await?;
    Ok(Some((app, dev)))
}

fn config(arguments: &Arguments, root: PathBuf, browser: Browser, logging: Logging) -> Config {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let colours = std::io::stdout().is_terminal() && !set("NO_COLOR");
    Config {
        root,
        listen: arguments.listen.clone(),
        format: match arguments.format {
            FormatArgument::Text => Format::Screen { colours },
            FormatArgument::Json => Format::Json,
        },
        state_dir: arguments.state_dir.clone(),
        frozen: false,
        recorder: None,
        watch: Mode::Auto,
        logging,
        access_log: false,
        releases: Releases::None,
        movable_clock: false,
        poll: Duration::from_secs(10),
        browser: Some(browser),
    }
}

fn without_root(root: &Path, diagnostic: Diagnostic) -> Diagnostic {
    match diagnostic.code.as_ref() {
        "root-missing" => diagnostic.help(format!(
            "make the first component with `wasmhost new hello`, or name the folder that holds yours instead of {}",
            root.display()
        )),
        _ => diagnostic,
    }
}

/// Nobody waits for the browser, and where there is none the address is on the screen.
fn open(url: &str) {
    if let Err(error) = open::that_detached(url) {
        tracing::warn!(%error, "the browser cannot be opened");
    }
}
