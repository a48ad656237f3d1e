//! Compiles each distinct piece of code once: core modules by the digest of their bytes, composed
//! skeletons by what was composed, whatever group or generation asks. On threads of its own, so that
//! those that serve are not held up. Knows neither groups nor what is running.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use rayon::prelude::*;
use tokio_util::sync::CancellationToken;
use wasmtime::{Module, component::Component};

use super::cache::Cache;
use crate::{
    engine::{Caches, Engines, Kind},
    project::Digest,
};

/// How much less of the processor compiling gets where serving wants it too, as in `nice(1)`.
const NICE: i32 = 10;

/// Lets the threads that serve go first. On Linux this is the calling thread's own priority.
fn make_way() {
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "compiling goes on at the same priority as serving");
    }
}

/// Compiled code, shared by every artifact that contains it.
pub struct Compiler {
    engines: Engines,
    caches: Caches,
    modules: Cache<(Kind, Digest), Module>,
    turn: Mutex<()>,
    pool: rayon::ThreadPool,
}

/// What one build compiled and what it found compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    pub modules_compiled: usize,
    pub modules_reused: usize,
    /// Functions of which no compiled form was known.
    pub functions_compiled: u64,
}

/// The index of a job that the engine refuses, and why.
pub type Refused = (usize, String);

/// A module and whether it had to be made, or why it cannot be.
type Made = Result<(Arc<Module>, bool), String>;

/// One module that is needed.
pub struct Job<'a> {
    pub digest: Digest,
    /// It has no function of its own.
    pub is_data: bool,
    /// Makes the binary; called only if it has to be compiled. Errors: it cannot be read any more.
    pub bytes: Box<dyn Fn() -> Result<Vec<u8>, String> + Sync + 'a>,
}

impl Compiler {
    /// A compiler with one thread a core. Errors: threads cannot be started.
    pub fn new(engines: Engines, caches: Caches) -> Result<Self, rayon::ThreadPoolBuildError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .thread_name(|n| format!("compile-{n}"))
            .start_handler(|_| make_way())
            .build()?;
        Ok(Self {
            engines,
            caches,
            modules: Cache::default(),
            turn: Mutex::new(()),
            pool,
        })
    }

    /// Runs `work` on the compiler's threads.
    pub fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.pool.install(work)
    }

    /// True where a module with this digest is in use.
    pub fn has(&self, digest: Digest) -> bool {
        let is_in_use = |kind| self.modules.get(&(kind, digest)).is_some();
        Kind::ALL.into_iter().any(is_in_use)
    }

    /// How many modules are in use.
    pub fn live(&self) -> usize {
        self.modules.live()
    }

    /// Every module of `jobs`, in their order; equal ones are compiled once. One call at a time, so that
    /// each knows its own effort. Once nobody wants the result any more, it ends early, with an error.
    /// Errors: the first index at fault of each distinct module that the engine refuses, and why.
    pub fn modules(
        &self,
        kind: Kind,
        jobs: &[Job<'_>],
        give_up: &CancellationToken,
    ) -> Result<(Vec<Arc<Module>>, Effort), Vec<Refused>> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut distinct: HashMap<Digest, usize> = HashMap::new();
        for (index, job) in jobs.iter().enumerate() {
            distinct.entry(job.digest).or_insert(index);
        }
        let firsts = distinct.values().copied();
        let (data, code): (Vec<usize>, Vec<usize>) = firsts.partition(|&index| jobs[index].is_data);
        let before = self.caches.tally();
        let mut compiled = self.each(kind, jobs, &code, give_up);
        let functions = self.caches.tally().functions_compiled;
        // The engine makes a function that copies the data in; nobody wrote it, so nobody counts it.
        compiled.extend(self.each(kind, jobs, &data, give_up));
        let after = self.caches.tally();

        let (mut made, mut refused) = (0, Vec::new());
        for (digest, index) in distinct {
            match &compiled[&digest] {
                Ok((_, new)) => made += usize::from(*new),
                Err(reason) => refused.push((index, reason.clone())),
            }
        }
        if !refused.is_empty() {
            return Err(refused);
        }
        let modules_compiled = made.saturating_sub(after.modules_found - before.modules_found);
        let effort = Effort {
            modules_compiled,
            modules_reused: jobs.len() - modules_compiled,
            functions_compiled: functions - before.functions_compiled,
        };
        let modules = jobs.iter().filter_map(|job| compiled[&job.digest].as_ref().ok());
        Ok((modules.map(|(module, _)| module.clone()).collect(), effort))
    }

    /// These jobs, in parallel.
    fn each(
        &self,
        kind: Kind,
        jobs: &[Job<'_>],
        indices: &[usize],
        give_up: &CancellationToken,
    ) -> HashMap<Digest, Made> {
        self.install(|| {
            let made = indices.par_iter().map(|&index| &jobs[index]);
            made.map(|job| (job.digest, self.module(kind, job, give_up)))
                .collect()
        })
    }

    /// See [`Caches::check`].
    pub fn check_caches(&self) {
        self.caches.check();
    }

    /// Puts what was compiled on disk. Blocks.
    pub fn save(&self) {
        self.caches.save();
    }

    /// The composition's own code: adapters and trampolines between the members.
    pub fn skeleton(&self, kind: Kind, bytes: &[u8]) -> Result<Component, String> {
        self.install(|| Component::from_binary(self.engines.of(kind), bytes))
            .map_err(|error| format!("{error:#}"))
    }

    fn module(&self, kind: Kind, job: &Job<'_>, give_up: &CancellationToken) -> Made {
        let compile = || {
            wasmtime::ensure!(!give_up.is_cancelled(), "newer content is there already");
            let bytes = (job.bytes)().map_err(wasmtime::Error::msg)?;
            Module::from_binary(self.engines.of(kind), &bytes)
        };
        self.modules
            .get_or_make((kind, job.digest), compile)
            .map_err(|error| format!("{error:#}"))
    }
}
