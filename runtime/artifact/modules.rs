//! Compiles each distinct piece of code once: core modules by the digest of their bytes, composed
//! skeletons likewise, whatever group or generation asks. Knows neither groups nor what is running.
//!
//! The caches hold no code alive: an artifact owns what it uses, and the last one to go frees it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use rayon::prelude::*;
use wasmtime::{Engine, Module, component::Component};

use crate::project::Digest;

/// Compiled code, shared by every artifact that contains it.
pub struct Compiler {
    engine: Engine,
    modules: Cache<Module>,
    skeletons: Cache<Component>,
    pool: rayon::ThreadPool,
}

/// What one build compiled and what it found compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    pub modules_compiled: usize,
    pub modules_reused: usize,
    /// Functions in the modules that were compiled.
    pub functions_compiled: u64,
}

/// The index of a job that the engine refuses, and why.
pub type Refused = (usize, String);

/// One module to compile.
pub struct Job<'a> {
    pub digest: Digest,
    pub bytes: &'a [u8],
    pub functions: u32,
}

impl Compiler {
    /// A compiler with one thread a core. Errors: threads cannot be started.
    pub fn new(engine: Engine) -> Result<Self, rayon::ThreadPoolBuildError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .thread_name(|n| format!("compile-{n}"))
            .build()?;
        Ok(Self {
            engine,
            modules: Cache::default(),
            skeletons: Cache::default(),
            pool,
        })
    }

    /// Every module of `jobs`, in their order; equal ones are compiled once.
    /// Errors: the first index at fault of each distinct module that the engine refuses, and why.
    pub fn modules(&self, jobs: &[Job<'_>]) -> Result<(Vec<Arc<Module>>, Effort), Vec<Refused>> {
        let mut distinct: HashMap<Digest, usize> = HashMap::new();
        for (index, job) in jobs.iter().enumerate() {
            distinct.entry(job.digest).or_insert(index);
        }
        let firsts: Vec<usize> = distinct.values().copied().collect();
        let compiled: HashMap<Digest, Result<(Arc<Module>, bool), String>> = self.pool.install(|| {
            firsts
                .par_iter()
                .map(|&index| (jobs[index].digest, self.module(&jobs[index])))
                .collect()
        });

        let mut effort = Effort::default();
        let mut refused = Vec::new();
        for &index in &firsts {
            match &compiled[&jobs[index].digest] {
                Ok((_, true)) => {
                    effort.modules_compiled += 1;
                    effort.functions_compiled += u64::from(jobs[index].functions);
                }
                Ok((_, false)) => {}
                Err(reason) => refused.push((index, reason.clone())),
            }
        }
        if !refused.is_empty() {
            return Err(refused);
        }
        effort.modules_reused = jobs.len() - effort.modules_compiled;
        let modules = jobs.iter().filter_map(|job| compiled[&job.digest].as_ref().ok());
        Ok((modules.map(|(module, _)| module.clone()).collect(), effort))
    }

    /// The composition's own code: adapters and trampolines between the members.
    pub fn skeleton(&self, bytes: &[u8]) -> Result<Arc<Component>, String> {
        let compile = || self.pool.install(|| Component::from_binary(&self.engine, bytes));
        let (skeleton, _) = self.skeletons.get_or_insert(Digest::of(bytes), compile)?;
        Ok(skeleton)
    }

    fn module(&self, job: &Job<'_>) -> Result<(Arc<Module>, bool), String> {
        self.modules
            .get_or_insert(job.digest, || Module::from_binary(&self.engine, job.bytes))
    }
}

/// What is alive of a kind of code, by digest.
struct Cache<T>(Mutex<HashMap<Digest, Weak<T>>>);

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Cache<T> {
    /// The code with this digest, and whether it had to be compiled.
    fn get_or_insert(
        &self,
        digest: Digest,
        compile: impl FnOnce() -> wasmtime::Result<T>,
    ) -> Result<(Arc<T>, bool), String> {
        if let Some(found) = self.lock().get(&digest).and_then(Weak::upgrade) {
            return Ok((found, false));
        }
        let compiled = Arc::new(compile().map_err(|error| format!("{error:#}"))?);
        let mut cache = self.lock();
        cache.retain(|_, code| code.strong_count() > 0);
        cache.insert(digest, Arc::downgrade(&compiled));
        Ok((compiled, true))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Weak<T>>> {
        // A panic while compiling leaves the map as it was.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
