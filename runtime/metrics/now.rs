//! How things stand at the moment of asking.

use std::collections::BTreeMap;

use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

use super::register;

/// What is asked for at each scrape.
#[derive(Debug, Default)]
pub struct Now {
    /// By name; `None` where the control plane does not answer.
    pub groups: Option<BTreeMap<String, GroupNow>>,
    /// Bytes that the stores of all groups take, and may take.
    pub memory: u64,
    pub memory_limit: Option<u64>,
    /// Modules that were found compiled on disk, and functions that had to be compiled, since the start.
    pub modules_found: usize,
    pub functions_compiled: u64,
}

#[derive(Clone, Debug, Default)]
pub struct GroupNow {
    /// The generation that serves.
    pub generation: Option<u64>,
    /// Older ones that still answer.
    pub draining: usize,
    pub in_flight: usize,
    pub queued: usize,
    /// Bytes of the stores of the generation that serves.
    pub memory: u64,
    /// When it was saved last, in seconds of Unix time.
    pub checkpoint: Option<u64>,
}

pub struct Gauges {
    control: IntGauge,
    generation: IntGaugeVec,
    generations: IntGaugeVec,
    in_flight: IntGaugeVec,
    queued: IntGaugeVec,
    group_memory: IntGaugeVec,
    checkpoint: IntGaugeVec,
    memory: IntGauge,
    memory_limit: IntGauge,
    modules_found: IntGauge,
    functions_compiled: IntGauge,
}

impl Gauges {
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| register(registry, IntGauge::new(name, help)?);
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
        };
        let build = Opts::new("wasmhost_build_info", "The version that runs.");
        let build = IntGauge::with_opts(build.const_label("version", env!("CARGO_PKG_VERSION")))?;
        register(registry, build)?.set(1);
        Ok(Self {
            control: gauge(
                "wasmhost_control_plane_up",
                "1 as long as changes are noticed and served.",
            )?,
            generation: gauges(
                "wasmhost_generation",
                "The number of the generation that serves; 0 where the group is down.",
                &["group"],
            )?,
            generations: gauges(
                "wasmhost_generations",
                "Generations that take memory, by what they do.",
                &["group", "state"],
            )?,
            in_flight: gauges(
                "wasmhost_requests_in_flight",
                "Requests that the generation that serves answers.",
                &["group"],
            )?,
            queued: gauges(
                "wasmhost_requests_queued",
                "Requests that wait to be in flight.",
                &["group"],
            )?,
            group_memory: gauges(
                "wasmhost_group_memory_bytes",
                "Linear memories and tables of the generation that serves.",
                &["group"],
            )?,
            checkpoint: gauges(
                "wasmhost_checkpoint_timestamp_seconds",
                "When what the group remembers was saved last, as Unix time.",
                &["group"],
            )?,
            memory: gauge(
                "wasmhost_guest_memory_bytes",
                "Linear memories and tables of all stores.",
            )?,
            memory_limit: gauge("wasmhost_guest_memory_limit_bytes", "What they may be together.")?,
            modules_found: gauge(
                "wasmhost_cache_modules_found",
                "Modules that were found compiled on disk since the start.",
            )?,
            functions_compiled: gauge(
                "wasmhost_cache_functions_compiled",
                "Functions that were found compiled nowhere since the start.",
            )?,
        })
    }

    pub fn set(&self, now: &Now) {
        let of_groups = [
            &self.generation,
            &self.generations,
            &self.in_flight,
            &self.queued,
            &self.group_memory,
            &self.checkpoint,
        ];
        of_groups.into_iter().for_each(IntGaugeVec::reset);
        self.control.set(i64::from(now.groups.is_some()));
        for (name, group) in now.groups.iter().flatten() {
            let set = |gauge: &IntGaugeVec, value: u64| gauge.with_label_values(&[name]).set(whole(value));
            set(&self.generation, group.generation.unwrap_or(0));
            set(&self.in_flight, group.in_flight as u64);
            set(&self.queued, group.queued as u64);
            set(&self.group_memory, group.memory);
            if let Some(seconds) = group.checkpoint {
                set(&self.checkpoint, seconds);
            }
            let state = |state: &str, count: usize| {
                self.generations
                    .with_label_values(&[name.as_str(), state])
                    .set(whole(count as u64));
            };
            state("serving", usize::from(group.generation.is_some()));
            state("draining", group.draining);
        }
        self.memory.set(whole(now.memory));
        self.memory_limit.set(whole(now.memory_limit.unwrap_or(0)));
        self.modules_found.set(whole(now.modules_found as u64));
        self.functions_compiled.set(whole(now.functions_compiled));
    }
}

fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
