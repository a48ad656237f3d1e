//! What the control plane did: swaps and what they cost, refusals, ends of generations, traps.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use super::{labels::Labels, register};

/// In seconds: an edit takes milliseconds, a new engine half a minute.
const BUCKETS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0,
];

pub struct Swaps {
    groups: Labels,
    outcomes: IntCounterVec,
    stages: HistogramVec,
    total: Histogram,
    modules: IntCounterVec,
    functions_compiled: IntCounter,
    traps: IntCounterVec,
    recoveries: IntCounterVec,
    drains: Histogram,
    aborted: IntCounterVec,
    events_lost: IntCounter,
    fleet: Fleet,
}

struct Fleet {
    commit: IntGauge,
    stale: IntGauge,
}

/// What one swap took.
pub struct Effort<'a> {
    pub modules_compiled: usize,
    pub modules_reused: usize,
    pub functions_compiled: u64,
    /// Each by its name.
    pub stages: &'a [(&'static str, Duration)],
    pub total: Duration,
}

impl Swaps {
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| register(registry, IntCounter::new(name, help)?);
        let counters = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let opts = |name: &str, help: &str| HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
        let stages = opts(
            "wasmhost_swap_stage_duration_seconds",
            "What each stage of a swap took.",
        );
        let total = opts(
            "wasmhost_swap_duration_seconds",
            "From the first sign of a change until it was served.",
        );
        let drains = opts(
            "wasmhost_drain_duration_seconds",
            "How long old generations went on after they were replaced.",
        );
        Ok(Self {
            groups: Labels::default(),
            outcomes: counters(
                "wasmhost_swaps_total",
                "Changes by what came of them: swapped, rejected, or reverted. The tree as a whole has no group.",
                &["group", "outcome"],
            )?,
            stages: register(registry, HistogramVec::new(stages, &["stage"])?)?,
            total: register(registry, Histogram::with_opts(total)?)?,
            modules: counters(
                "wasmhost_swap_modules_total",
                "Core modules of swaps, by whether their compiled code was known.",
                &["compiled"],
            )?,
            functions_compiled: counter(
                "wasmhost_swap_functions_compiled_total",
                "Functions of swaps whose compiled code was known nowhere.",
            )?,
            traps: counters(
                "wasmhost_traps_total",
                "Guests that trapped or ran out of time.",
                &["group"],
            )?,
            recoveries: counters(
                "wasmhost_recoveries_total",
                "New stores that took over from dead ones.",
                &["group"],
            )?,
            drains: register(registry, Histogram::with_opts(drains)?)?,
            aborted: counters(
                "wasmhost_requests_aborted_total",
                "Requests that were ended at their generation's drain deadline.",
                &["group"],
            )?,
            fleet: fleet(registry)?,
            events_lost: counter(
                "wasmhost_events_lost_total",
                "Events that nobody could write down.",
            )?,
        })
    }

    pub fn swapped(&self, group: &str, effort: &Effort<'_>) {
        self.outcome(group, "swapped");
        for (stage, took) in effort.stages {
            self.stages
                .with_label_values(&[*stage])
                .observe(took.as_secs_f64());
        }
        self.total.observe(effort.total.as_secs_f64());
        self.functions_compiled.inc_by(effort.functions_compiled);
        let modules = |label, count: usize| self.modules.with_label_values(&[label]).inc_by(count as u64);
        modules("now", effort.modules_compiled);
        modules("before", effort.modules_reused);
    }

    /// `group` is empty for the tree as a whole.
    pub fn rejected(&self, group: &str) {
        self.outcome(group, "rejected");
    }

    fn outcome(&self, group: &str, outcome: &str) {
        let group = self.groups.bound(group);
        self.outcomes.with_label_values(&[group, outcome]).inc();
    }

    pub fn retired(&self, group: &str, drained: Duration, aborted: usize) {
        self.drains.observe(drained.as_secs_f64());
        let group = self.groups.bound(group);
        self.aborted.with_label_values(&[group]).inc_by(aborted as u64);
    }

    pub fn trapped(&self, group: &str) {
        self.traps.with_label_values(&[self.groups.bound(group)]).inc();
    }

    pub fn reverted(&self, group: &str) {
        self.outcome(group, "reverted");
    }

    pub fn recovered(&self, group: &str) {
        self.recoveries
            .with_label_values(&[self.groups.bound(group)])
            .inc();
    }

    pub fn lost(&self, count: u64) {
        self.events_lost.inc_by(count);
    }

    pub fn committed(&self, number: u64) {
        self.fleet.commit.set(i64::try_from(number).unwrap_or(i64::MAX));
        self.fleet.stale.set(0);
    }

    pub fn stale(&self) {
        self.fleet.stale.set(1);
    }
}

fn fleet(registry: &Registry) -> prometheus::Result<Fleet> {
    let gauge = |name: &str, help: &str| register(registry, IntGauge::new(name, help)?);
    Ok(Fleet {
        commit: gauge(
            "wasmhost_fleet_commit",
            "The number of the fleet's commit that is served; 0 outside of a fleet.",
        )?,
        stale: gauge(
            "wasmhost_fleet_stale",
            "1 where what is served is not, or may not be, what the fleet has committed.",
        )?,
    })
}
