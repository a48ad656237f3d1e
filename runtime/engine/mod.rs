//! The wasmtime engines of a server: their settings, their caches, the clock that interrupts guests, and
//! the threads for those that it interrupts.
//! Knows neither groups nor routes.

mod background;
mod functions;
mod memory;
mod pool;
mod seals;

use std::{
    cell::Cell,
    fmt::Display,
    path::Path,
    sync::{
        Arc, OnceLock,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use wasmtime::{Cache, CacheConfig, Config, Engine, WasmBacktraceDetails};

pub use self::background::{Background, Work};
pub use self::memory::{Exhausted, MemoryShare, Taker, TotalMemory, by_default as memory_by_default};
use self::{functions::FunctionStore, seals::Seals};
use crate::{diagnostic::Diagnostic, keyvalue::Spaces};

/// How often a running guest gives the thread back, and so how exactly a deadline can be kept.
pub const TICK: Duration = Duration::from_millis(5);

/// What compiled code may take on disk, in bytes; the least recently used goes first.
#[derive(Clone, Copy, Debug)]
pub struct DiskLimits {
    /// Of whole modules. The cache looks at it once an hour, so it may be more for a while.
    pub modules: u64,
    /// Of single functions.
    pub functions: u64,
}

impl DiskLimits {
    pub const DEFAULT: Self = Self {
        modules: 512 << 20,
        functions: 512 << 20,
    };
}

/// Engines whose epochs advance by one every [`TICK`], as long as the value lives.
pub struct Ticking {
    pub engine: Engines,
    pub caches: Caches,
    ticker: Option<(Sender<()>, JoinHandle<()>)>,
}

/// One engine of each kind. What is compiled for one cannot run on the other.
#[derive(Clone)]
pub struct Engines {
    plain: Engine,
    concurrent: Engine,
    pools: Arc<Pools>,
    /// Of the stores of all.
    pub memory: Arc<TotalMemory>,
    /// For guests that compute for long.
    pub background: Background,
    /// The keys and values of the stores of both: in memory, unless it is set before a group is built.
    pub keyvalue: Spaces,
}

/// Made when they are first asked for: most servers have no isolated group.
struct Pools {
    plain: OnceLock<Engine>,
    concurrent: OnceLock<Engine>,
    caches: Caches,
}

/// What an engine does with calls, and where its stores come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind {
    /// Every call runs in the event loop of its store, which costs as much again as the call of a small page.
    /// Otherwise it runs by itself, and the engine knows no asynchronous functions, streams and futures.
    pub concurrent: bool,
    /// The memories, tables and stacks of stores are taken from a pool and given back: that costs a fraction of
    /// mapping them anew. The pool can be exhausted, and not everything fits into it.
    pub pooled: bool,
}

impl Kind {
    pub const PLAIN: Self = Self {
        concurrent: false,
        pooled: false,
    };
    pub const CONCURRENT: Self = Self {
        concurrent: true,
        pooled: false,
    };
    pub const ALL: [Self; 4] = [
        Self::PLAIN,
        Self::PLAIN.from_pool(),
        Self::CONCURRENT,
        Self::CONCURRENT.from_pool(),
    ];

    /// The same with stores from a pool.
    pub const fn from_pool(self) -> Self {
        Self { pooled: true, ..self }
    }

    /// The same with stores that are made on demand.
    pub const fn on_demand(self) -> Self {
        Self {
            pooled: false,
            ..self
        }
    }
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

impl Engines {
    pub fn of(&self, kind: Kind) -> &Engine {
        let (on_demand, pool) = match kind.concurrent {
            false => (&self.plain, &self.pools.plain),
            true => (&self.concurrent, &self.pools.concurrent),
        };
        match kind.pooled {
            false => on_demand,
            true => pool.get_or_init(|| self.pool(kind)),
        }
    }

    /// Where the machine has no room for a pool, stores are made on demand.
    fn pool(&self, kind: Kind) -> Engine {
        engine(kind, &self.pools.caches).unwrap_or_else(|error| {
            tracing::warn!("no pool for the stores of isolated requests: {error:#}");
            self.of(kind.on_demand()).clone()
        })
    }

    fn tick(&self) {
        self.plain.increment_epoch();
        self.concurrent.increment_epoch();
        let pools = [&self.pools.plain, &self.pools.concurrent];
        for pooled in pools.into_iter().filter_map(OnceLock::get) {
            pooled.increment_epoch();
        }
    }
}

/// Builds the engines. `cache` is the folder for compiled code; without one it is kept in memory only.
/// Errors: the machine cannot run them.
pub fn start(cache: Option<&Path>) -> wasmtime::Result<Ticking> {
    start_within(cache, DiskLimits::DEFAULT)
}

/// As [`start`], with other limits.
pub fn start_within(cache: Option<&Path>, limits: DiskLimits) -> wasmtime::Result<Ticking> {
    let caches = Caches::open(cache, limits);
    let engine = Engines {
        plain: engine(Kind::PLAIN, &caches)?,
        concurrent: engine(Kind::CONCURRENT, &caches)?,
        pools: Arc::new(Pools {
            plain: OnceLock::new(),
            concurrent: OnceLock::new(),
            caches: caches.clone(),
        }),
        memory: Arc::default(),
        background: Background::new(),
        keyvalue: Spaces::in_memory(),
    };
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

fn engine(kind: Kind, caches: &Caches) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .concurrency_support(kind.concurrent)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .cache(caches.modules.as_ref().map(|modules| modules.cache.clone()))
        .enable_incremental_compilation(caches.functions.clone())?;
    if kind.concurrent {
        config.wasm_component_model_async(true);
    }
    if kind.pooled {
        config.allocation_strategy(pool::config());
    }
    Engine::new(&config)
}

/// What a user is told where the engine or what it needs cannot be had.
pub fn unavailable(error: &dyn Display) -> Diagnostic {
    let message = format!("the WebAssembly engine cannot be started: {error:#}");
    Diagnostic::new("engine-failed", message).machine()
}

impl Caches {
    fn open(folder: Option<&Path>, limits: DiskLimits) -> Self {
        let packs = folder.map(|folder| folder.join("functions"));
        let functions = Arc::new(FunctionStore::new(packs, limits.functions));
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
            modules: folder.and_then(|folder| modules_on_disk(folder, limits.modules)),
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

    /// Looks whether what lies on disk is what was put there. To be called before each build: the engine
    /// would run whatever it finds.
    pub fn check(&self) {
        if let Some(modules) = &self.modules {
            modules.seals.check_again();
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
fn modules_on_disk(folder: &Path, limit: u64) -> Option<Modules> {
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
                .with_files_total_size_soft_limit(limit)
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

thread_local! {
    static TICKS: Cell<u32> = const { Cell::new(0) };
}

/// Notes that the clock has interrupted a guest on this thread.
pub fn note_tick() {
    TICKS.set(TICKS.get() + 1);
}

/// True where the clock has interrupted a guest on this thread since its ticks were taken.
pub fn has_ticked() -> bool {
    TICKS.get() > 0
}

/// How often the clock has interrupted guests on this thread since this was asked.
pub fn take_ticks() -> u32 {
    TICKS.take()
}

fn tick(engines: &Engines, stopped: &Receiver<()>) {
    while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        engines.tick();
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        // Without a clock nothing there would ever give way.
        self.engine.background.close();
        if let Some((stop, thread)) = self.ticker.take() {
            drop(stop);
            // A ticker that panicked has nothing left to clean up.
            let _ = thread.join();
        }
    }
}
