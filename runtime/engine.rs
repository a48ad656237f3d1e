//! The one wasmtime engine of a server, and the clock that interrupts guests.
//! Knows neither groups nor routes.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::Duration,
};

use wasmtime::{Config, Engine, WasmBacktraceDetails};

/// How often a running guest gives the thread back, and so how exactly a deadline can be kept.
pub const TICK: Duration = Duration::from_millis(5);

/// An engine whose epoch advances by one every [`TICK`], as long as the value lives.
pub struct Ticking {
    pub engine: Engine,
    ticker: Option<(Sender<()>, JoinHandle<()>)>,
}

/// Builds the engine. Errors: the machine cannot run one.
pub fn start() -> wasmtime::Result<Ticking> {
    let engine = Engine::new(&config())?;
    let (stop, stopped) = channel();
    let clock = engine.clone();
    let thread = std::thread::Builder::new()
        .name("epoch".into())
        .spawn(move || tick(&clock, &stopped))?;
    Ok(Ticking {
        engine,
        ticker: Some((stop, thread)),
    })
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config
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
