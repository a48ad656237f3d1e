//! What is logged: to standard error, as text or as JSON, and held for those who follow a running server. How
//! much can be changed while it runs. Knows not what there is to log.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
};

use tracing_subscriber::{
    EnvFilter, Layer, Registry, fmt, fmt::MakeWriter, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use crate::feed::Feed;

/// Of their own doings these two say what looks like trouble, and is none.
const DEFAULT: &str = "info,notify=error,wasmtime_internal_cache=error,async_nats=error";
/// The variable that says how much is logged.
const VARIABLE: &str = "WASMHOST_LOG";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The log of this process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Logging {
    filter: reload::Handle<EnvFilter, Registry>,
    /// What the filter is made of.
    level: Arc<Mutex<String>>,
    lines: Feed,
}

impl Logging {
    /// Starts logging, which a process does once.
    pub fn start(format: LogFormat) -> Self {
        let wanted = std::env::var(VARIABLE).ok();
        let wanted = wanted.filter(|wanted| EnvFilter::try_new(wanted).is_ok());
        let level = wanted.unwrap_or_else(|| DEFAULT.to_owned());
        let (filter, handle) = reload::Layer::new(EnvFilter::new(&level));
        let lines = Feed::default();
        let printed = fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(format == LogFormat::Text && io::stderr().is_terminal());
        let printed = match format {
            LogFormat::Text => printed.boxed(),
            LogFormat::Json => printed.json().flatten_event(true).boxed(),
        };
        let held = fmt::layer()
            .json()
            .flatten_event(true)
            .with_ansi(false)
            .with_writer(Held(lines.clone()));
        tracing_subscriber::registry()
            .with(filter)
            .with(printed)
            .with(held)
            .init();
        Self {
            filter: handle,
            level: Arc::new(Mutex::new(level)),
            lines,
        }
    }

    /// Lines of JSON: `timestamp`, `level`, `target`, `message` and what else is known.
    pub fn lines(&self) -> &Feed {
        &self.lines
    }

    pub fn level(&self) -> String {
        self.level.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `debug`, or by module: `info,wasmhost::server=trace`. Errors: what is wrong with it.
    pub fn set_level(&self, level: &str) -> Result<(), String> {
        let filter = EnvFilter::try_new(level).map_err(|error| error.to_string())?;
        self.filter.reload(filter).map_err(|error| error.to_string())?;
        level.clone_into(&mut self.level.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }
}

/// Where lines go that may be followed.
struct Held(Feed);

/// One line; it comes in one piece.
struct Line(Feed);

impl<'w> MakeWriter<'w> for Held {
    type Writer = Line;

    fn make_writer(&'w self) -> Line {
        Line(self.0.clone())
    }
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(String::from_utf8_lossy(line.trim_ascii_end()));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
