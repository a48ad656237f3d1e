//! What the server counts, for Prometheus: requests by page, swaps by stage, and how things stand at the
//! moment of asking. Labels are bounded. Knows not who counts, nor who asks.
//!
//! Requests are counted by meters that routes hold, so that counting one takes neither a lock nor a search.

mod labels;
mod now;
mod requests;
mod swaps;

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{Registry, TextEncoder, core::Collector, process_collector::ProcessCollector};

use self::{now::Gauges, requests::Requests};
pub use self::{
    now::{GroupNow, Now},
    requests::Meter,
    swaps::{Effort, Swaps},
};

/// The content type of [`Metrics::text`].
pub const TEXT_FORMAT: &str = prometheus::TEXT_FORMAT;

/// Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

struct Families {
    registry: Registry,
    requests: Arc<Requests>,
    swaps: Swaps,
    /// One scrape at a time: they are set for each.
    gauges: Mutex<Gauges>,
}

impl Metrics {
    /// Errors: a name that Prometheus does not take, which a test would see.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let metrics = Families {
            requests: Arc::new(Requests::new(&registry)?),
            swaps: Swaps::new(&registry)?,
            gauges: Mutex::new(Gauges::new(&registry)?),
            registry,
        };
        let process = ProcessCollector::for_self();
        metrics.registry.register(Box::new(process))?;
        Ok(Self(Arc::new(metrics)))
    }

    /// The meter of a page of a group. Its counts go on as long as someone holds it.
    pub fn page(&self, group: &str, page: &str) -> Arc<Meter> {
        self.0.requests.meter(group, page)
    }

    /// The host answered without asking a group.
    pub fn unrouted(&self, status: http::StatusCode) {
        self.0.requests.unrouted(status);
    }

    pub fn swaps(&self) -> &Swaps {
        &self.0.swaps
    }

    /// All of it, in Prometheus' text format.
    pub fn text(&self, now: &Now) -> prometheus::Result<String> {
        let gauges = self.0.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.set(now);
        TextEncoder::new().encode_to_string(&self.0.registry.gather())
    }
}

/// Registers a family, and hands it back.
fn register<C: Collector + Clone + 'static>(registry: &Registry, family: C) -> prometheus::Result<C> {
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;

    use super::*;

    fn text(metrics: &Metrics) -> String {
        metrics.text(&Now::default()).unwrap()
    }

    #[test]
    fn a_request_is_counted_for_its_page_and_its_class() {
        let metrics = Metrics::new().unwrap();
        let meter = metrics.page("shop", "shop.home");
        meter.answered(StatusCode::NOT_FOUND, Duration::from_micros(300));
        metrics
            .page("shop", "shop.home")
            .answered(StatusCode::IM_A_TEAPOT, Duration::from_secs(60));
        let text = text(&metrics);
        for line in [
            r#"wasmhost_requests_total{group="shop",page="shop.home",status="4xx"} 2"#,
            r#"wasmhost_requests_total{group="shop",page="shop.home",status="2xx"} 0"#,
            r#"wasmhost_request_duration_seconds_bucket{group="shop",page="shop.home",le="0.00025"} 0"#,
            r#"wasmhost_request_duration_seconds_bucket{group="shop",page="shop.home",le="0.0005"} 1"#,
            r#"wasmhost_request_duration_seconds_bucket{group="shop",page="shop.home",le="+Inf"} 2"#,
        ] {
            assert!(text.contains(line), "{line}:\n{text}");
        }
    }

    #[test]
    fn what_is_gone_is_told_no_more() {
        let metrics = Metrics::new().unwrap();
        let (first, second) = (metrics.page("shop", "a"), metrics.page("shop", "a"));
        drop(first);
        assert!(text(&metrics).contains(r#"page="a""#));
        drop(second);
        assert!(!text(&metrics).contains(r#"page="a""#));
        drop(metrics.page("shop", "a"));
        let again = metrics.page("shop", "a");
        again.answered(StatusCode::OK, Duration::ZERO);
        assert!(text(&metrics).contains(r#"page="a",status="2xx"} 1"#));
    }

    #[test]
    fn labels_are_bounded() {
        let metrics = Metrics::new().unwrap();
        let pages: Vec<_> = (0..3000)
            .map(|number| metrics.page("shop", &format!("page{number}")))
            .collect();
        pages
            .iter()
            .for_each(|page| page.answered(StatusCode::OK, Duration::ZERO));
        for number in 0..3000 {
            metrics.swaps().rejected(&format!("group{number}"));
        }
        let text = text(&metrics);
        let series = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
        assert_eq!(series("wasmhost_requests_total{"), 4 * (labels::MOST + 1));
        assert_eq!(series("wasmhost_swaps_total{"), labels::MOST + 1);
        assert!(
            text.contains(r#"wasmhost_requests_total{group="(others)",page="(others)",status="2xx"} 2000"#)
        );
    }
}
