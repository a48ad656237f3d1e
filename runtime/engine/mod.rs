//! The one wasmtime engine of a server: its settings, its caches, and the clock that interrupts guests.
//! Knows neither groups nor routes.

mod functions;
mod seals;

use std::{
    fmt::Display,
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use wasmtime::{Cache, CacheConfig, Config, Engine, WasmBacktraceDetails};

use self::{functions::FunctionStore, seals::Seals};
use crate::diagnostic::Diagnostic;

/// How often a running guest gives the thread back, and so how exactly a deadline can be kept.
pub const TICK: Duration = Duration::from_millis(5);

/// Bytes of compiled modules on disk; the least recently used go first.
const MODULES_ON_DISK: u64 = 2 << 30;

/// An engine whose epoch advances by one every [`TICK`], as long as the value lives.
pub struct Ticking {
    pub engine: Engine,
    pub caches: Caches,
    ticker: Option<(Sender<()>, JoinHandle<()>)>,
}

/// What is compiled already, whole modules and single functions.
#[derive(Clone)]
pub struct Caches {
    modules: Option<Modules>,
    functions: Arc<FunctionStore>,
}

/// Compiled modules on disk.
#[derive(Clone)]
struct Modules {
    cache: Cache,
    seals: Arc<Seals>,
}

/// How much the caches did up to some moment.
#[derive(Clone, Copy)]
pub struct Tally {
    /// Modules that came from disk.
    pub modules_found: usize,
    pub functions_compiled: u64,
}

/// Builds the engine. `cache` is the folder for compiled code; without one it is kept in memory only.
/// Errors: the machine cannot run one.
pub fn start(cache: Option<&Path>) -> wasmtime::Result<Ticking> {
    let caches = Caches::open(cache);
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .wasm_component_model_async(true)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .cache(caches.modules.as_ref().map(|modules| modules.cache.clone()))
        .enable_incremental_compilation(caches.functions.clone())?;
    let engine = Engine::new(&config)?;
    let (stop, stopped) = channel();
    let clock = engine.clone();
    let thread = std::thread::Builder::new()
        .name("epoch".into())
        .spawn(move || tick(&clock, &stopped))?;
    Ok(Ticking {
        engine,
        caches,
        ticker: Some((stop, thread)),
    })
}

/// What a user is told where the engine or what it needs cannot be had.
pub fn unavailable(error: &dyn Display) -> Diagnostic {
    let message = format!("the WebAssembly engine cannot be started: {error:#}");
    Diagnostic::new("engine-failed", message).machine()
}

impl Caches {
    fn open(folder: Option<&Path>) -> Self {
        let functions = Arc::new(FunctionStore::new(folder.map(|folder| folder.join("functions"))));
        if folder.is_some() {
            let store = functions.clone();
            // Until it is done, functions are compiled that need not be. Nothing waits for it.
            let loading = std::thread::Builder::new()
                .name("cache".into())
                .spawn(move || store.load());
            if let Err(error) = loading {
                tracing::warn!(%error, "the cache of compiled functions was not read");
            }
        }
        Self {
            modules: folder.and_then(modules_on_disk),
            functions,
        }
    }

    pub fn tally(&self) -> Tally {
        Tally {
            modules_found: self
                .modules
                .as_ref()
                .map_or(0, |modules| modules.cache.cache_hits()),
            functions_compiled: self.functions.compiled(),
        }
    }

    /// Puts what was compiled since the last time on disk. Serving goes on without it.
    pub fn save(&self) {
        if let Err(error) = self.functions.save() {
            tracing::warn!(%error, "compiled functions were not written to the cache");
        }
        if let Some(Err(error)) = self.modules.as_ref().map(|modules| modules.seals.seal()) {
            tracing::warn!(%error, "compiled modules were not sealed: the next start compiles them again");
        }
    }
}

/// The folder may be read-only or full: then every start compiles anew.
fn modules_on_disk(folder: &Path) -> Option<Modules> {
    // A folder of its own: the cache takes away whatever else it finds in there.
    let own = folder.join("code");
    let opened = std::fs::create_dir_all(&own)
        .map_err(wasmtime::Error::from)
        .and_then(|()| {
            let own = own.canonicalize()?;
            let seals = Seals::check(own.join("modules"), folder.join("seals"));
            let mut config = CacheConfig::new();
            config
                .with_directory(own)
                .with_files_total_size_soft_limit(MODULES_ON_DISK)
                // To compress a file again, which much used ones are, would break its seal.
                .with_optimized_compression_usage_counter_threshold(u64::MAX);
            Ok(Modules {
                cache: Cache::new(config)?,
                seals: Arc::new(seals),
            })
        });
    match opened {
        Ok(modules) => Some(modules),
        Err(error) => {
            tracing::warn!(folder = %folder.display(), "compiled code is not kept: {error:#}");
            None
        }
    }
}

fn tick(engine: &Engine, stopped: &Receiver<()>) {
    while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        engine.increment_epoch();
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.ticker.take() {
            drop(stop);
            // A ticker that panicked has nothing left to clean up.
            let _ = thread.join();
        }
    }
}
