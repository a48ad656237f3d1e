//! What is logged: to standard error, as text or as JSON, and held for those who follow a running server. How
//! much can be changed while it runs. Knows not what there is to log.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
};

use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::LevelFilter, fmt, fmt::MakeWriter, layer::SubscriberExt, reload,
    util::SubscriberInitExt,
};

use crate::feed::Feed;

const DEFAULT: &str = "info";
/// Of their own doings these say what looks like trouble, and is none. Who wants to know names them.
const QUIET: &str = "notify=error,wasmtime_internal_cache=error,async_nats=error";
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
        let wanted = std::env::var(VARIABLE).ok().filter(|wanted| !wanted.is_empty());
        let level = wanted.unwrap_or_else(|| DEFAULT.to_owned());
        let (level, filter, refused) = match filter(&level) {
            Ok(filter) => (level, filter, None),
            Err(why) => (DEFAULT.to_owned(), EnvFilter::new(with_quiet(DEFAULT)), Some(why)),
        };
        let (filter, handle) = reload::Layer::new(filter);
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
        if let Some(why) = refused {
            tracing::warn!("{VARIABLE} is passed over: {why}");
        }
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
        let filter = filter(level)?;
        self.filter.reload(filter).map_err(|error| error.to_string())?;
        level.clone_into(&mut self.level.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }
}

/// Errors: what is wrong with it. A word alone has to be a level: the filter would take it for a module, and let
/// nothing else through.
fn filter(level: &str) -> Result<EnvFilter, String> {
    let words = level.split(',');
    for word in words.filter(|word| !word.contains(['=', '[', ':'])) {
        // Nothing parses too, as a level of its own.
        if word.is_empty() || word.parse::<LevelFilter>().is_err() {
            return Err(format!("{word:?} is no level"));
        }
    }
    EnvFilter::try_new(with_quiet(level)).map_err(|error| error.to_string())
}

/// What is said later counts.
fn with_quiet(level: &str) -> String {
    format!("{QUIET},{level}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_refused() {
        for level in [
            "debug",
            "off",
            "info,wasmhost::server=debug",
            "warn,notify=trace",
            "WARN",
        ] {
            assert!(filter(level).is_ok(), "{level}");
        }
        for level in ["", "debgu", "info,loud", "wasmhost=loud"] {
            assert!(filter(level).is_err(), "{level}");
        }
    }

    #[test]
    fn who_names_a_quiet_module_hears_it() {
        let told = filter("info,notify=debug").map(|filter| filter.to_string());
        let told = told.unwrap_or_default();
        assert!(
            told.contains("notify=debug") && !told.contains("notify=error"),
            "{told}"
        );
    }
}
