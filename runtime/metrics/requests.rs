//! Requests, by group, page and class of status, and how long their answers took.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use http::StatusCode;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};

use super::{
    labels::{MOST, OTHERS},
    register,
};

/// In seconds. A small page takes a tenth of a millisecond; the default request-time is ten seconds.
const BUCKETS: [f64; 15] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

pub struct Requests {
    answered: IntCounterVec,
    took: HistogramVec,
    unrouted: IntCounterVec,
    /// Of each page that is routed, or answers still.
    meters: Mutex<HashMap<Name, Weak<Meter>>>,
}

/// A group and its page.
type Name = (String, String);

/// Counts the requests of one page. Gone, its counts are.
pub struct Meter {
    classes: [IntCounter; CLASSES.len()],
    took: Histogram,
    name: Name,
    requests: Arc<Requests>,
}

impl Meter {
    /// An answer's head went out, so long after the request's head came in.
    pub fn answered(&self, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(2);
        self.classes[class.min(CLASSES.len() - 1)].inc();
        self.took.observe(took.as_secs_f64());
    }
}

impl Requests {
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let took = HistogramOpts::new(
            "wasmhost_request_duration_seconds",
            "From a request's head to the head of its answer.",
        );
        let took = HistogramVec::new(took.buckets(BUCKETS.to_vec()), &["group", "page"])?;
        Ok(Self {
            answered: counter(
                "wasmhost_requests_total",
                "Requests that were led to a page of a group, by the class of the answer's status.",
                &["group", "page", "status"],
            )?,
            took: register(registry, took)?,
            unrouted: counter(
                "wasmhost_requests_unrouted_total",
                "Requests that the host answered without asking a group, by status.",
                &["status"],
            )?,
            meters: Mutex::default(),
        })
    }

    pub fn unrouted(&self, status: StatusCode) {
        self.unrouted.with_label_values(&[status.as_str()]).inc();
    }

    pub fn meter(self: &Arc<Self>, group: &str, page: &str) -> Arc<Meter> {
        let mut meters = self.lock();
        let mut name: Name = (group.to_owned(), page.to_owned());
        if !meters.contains_key(&name) && meters.len() >= MOST {
            name = (OTHERS.to_owned(), OTHERS.to_owned());
        }
        if let Some(meter) = meters.get(&name).and_then(Weak::upgrade) {
            return meter;
        }
        let labels = [name.0.as_str(), name.1.as_str()];
        let class = |class| self.answered.with_label_values(&[labels[0], labels[1], class]);
        let meter = Arc::new(Meter {
            classes: CLASSES.map(class),
            took: self.took.with_label_values(&labels),
            name: name.clone(),
            requests: self.clone(),
        });
        meters.insert(name, Arc::downgrade(&meter));
        meter
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Weak<Meter>>> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let Self { name, requests, .. } = &*self;
        let mut meters = requests.lock();
        let is_own = |meter: &Weak<Self>| std::ptr::eq(meter.as_ptr(), &raw const *self);
        // A new one may have come meanwhile, and counts on.
        if !meters.get(name).is_some_and(is_own) {
            return;
        }
        meters.remove(name);
        let (group, page) = (name.0.as_str(), name.1.as_str());
        // What is not there need not be removed.
        let _ = requests.took.remove_label_values(&[group, page]);
        for class in CLASSES {
            let _ = requests.answered.remove_label_values(&[group, page, class]);
        }
    }
}
