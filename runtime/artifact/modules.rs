//! Compiles each distinct piece of code once: core modules by the digest of their bytes, composed
//! skeletons by what was composed, whatever group or generation asks. On threads of its own, so that
//! those that serve are not held up. Knows neither groups nor what is running.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use rayon::prelude::*;
use wasmtime::{Engine, Module, component::Component};

use super::cache::Cache;
use crate::project::Digest;

/// Compiled code, shared by every artifact that contains it.
pub struct Compiler {
    engine: Engine,
    modules: Cache<Digest, Module>,
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

/// One module that is needed.
pub struct Job<'a> {
    pub digest: Digest,
    pub functions: u32,
    /// Makes the binary; called only if it has to be compiled.
    pub bytes: Box<dyn Fn() -> Cow<'a, [u8]> + Sync + 'a>,
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
            pool,
        })
    }

    /// Runs `work` on the compiler's threads.
    pub fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.pool.install(work)
    }

    /// True where a module with this digest is in use.
    pub fn has(&self, digest: Digest) -> bool {
        self.modules.get(&digest).is_some()
    }

    /// Every module of `jobs`, in their order; equal ones are compiled once.
    /// Errors: the first index at fault of each distinct module that the engine refuses, and why.
    pub fn modules(&self, jobs: &[Job<'_>]) -> Result<(Vec<Arc<Module>>, Effort), Vec<Refused>> {
        let mut distinct: HashMap<Digest, usize> = HashMap::new();
        for (index, job) in jobs.iter().enumerate() {
            distinct.entry(job.digest).or_insert(index);
        }
        let firsts: Vec<usize> = distinct.into_values().collect();
        let compiled: HashMap<Digest, Result<(Arc<Module>, bool), String>> = self.install(|| {
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
    pub fn skeleton(&self, bytes: &[u8]) -> Result<Component, String> {
        self.install(|| Component::from_binary(&self.engine, bytes))
            .map_err(|error| format!("{error:#}"))
    }

    fn module(&self, job: &Job<'_>) -> Result<(Arc<Module>, bool), String> {
        let compile = || Module::from_binary(&self.engine, &(job.bytes)());
        self.modules
            .get_or_make(job.digest, compile)
            .map_err(|error| format!("{error:#}"))
    }
}
