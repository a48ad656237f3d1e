//! Spans for OpenTelemetry: of requests, of the guests that they call, and of swaps. Off unless the usual
//! variables name a collector (`OTEL_EXPORTER_OTLP_ENDPOINT`); then they go there over OTLP (HTTP, protobuf).
//! Who serves never waits for a collector: what finds no room in the queue is lost, and that is said.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, SpanKind, Status, TraceState},
};
use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks},
};
use tokio::sync::{mpsc, oneshot};

use crate::diagnostic::Diagnostic;

/// Variables that name a collector.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];
/// Spans that may wait to be sent.
const MAX_WAITING: usize = 8192;
/// Spans that are sent at once, and how long they are gathered.
const BATCH: usize = 512;
const GATHER: Duration = Duration::from_millis(200);
/// How long the end waits for a collector.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// Where spans go. Cheap to clone; off, it does nothing.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Sending>>);

struct Sending {
    queue: mpsc::Sender<Piece>,
    full: AtomicBool,
}

enum Piece {
    Span(Box<SpanData>),
    /// All before it are to be sent.
    Flush(oneshot::Sender<()>),
}

/// A place in a trace: of a request or of what it calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    trace: TraceId,
    span: SpanId,
    parent: SpanId,
    /// The parent is a client's.
    is_remote: bool,
}

impl Tracer {
    /// Begins to send, where a collector is named. Errors: it cannot be spoken to in this way.
    pub fn start() -> Result<Self, Diagnostic> {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if !ENDPOINTS.into_iter().any(is_set) {
            return Ok(Self::default());
        }
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .build();
        let mut exporter = exporter.map_err(|error| {
            let message = format!("spans cannot be sent to the collector: {error}");
            let help = "name one in OTEL_EXPORTER_OTLP_ENDPOINT, as in http://127.0.0.1:4318, or unset it";
            Diagnostic::new("tracing-failed", message).help(help).machine()
        })?;
        exporter.set_resource(&Resource::builder().with_service_name("wasmhost").build());
        let (queue, pieces) = mpsc::channel(MAX_WAITING);
        tokio::spawn(send_all(pieces, exporter));
        let full = AtomicBool::new(false);
        Ok(Self(Some(Arc::new(Sending { queue, full }))))
    }

    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Waits until what was told so far is sent, but not long.
    pub async fn flush(&self) {
        if let Some(sending) = &self.0 {
            let (done, sent) = oneshot::channel();
            let flushed = async {
                let _ = sending.queue.send(Piece::Flush(done)).await;
                let _ = sent.await;
            };
            // A collector that hangs is not waited for.
            let _ = tokio::time::timeout(LAST_SPANS, flushed).await;
        }
    }

    /// Tells what began then and ends now.
    pub fn ended(&self, place: Place, kind: SpanKind, name: String, began: Instant, facts: Facts) {
        let now = SystemTime::now();
        self.tell(place, kind, name, (now - began.elapsed(), now), facts);
    }

    /// Tells of a swap that ends now, and of its stages, one after the other.
    pub fn swapped(&self, name: String, total: Duration, stages: &[(&'static str, Duration)], facts: Facts) {
        if !self.is_on() {
            return;
        }
        let end = SystemTime::now();
        let place = Place::begin();
        let mut at = end - total;
        self.tell(place, SpanKind::Internal, name, (at, end), facts);
        for (stage, took) in stages.iter().filter(|(_, took)| !took.is_zero()) {
            let ended = at + *took;
            let facts = Facts::default();
            self.tell(
                place.below(),
                SpanKind::Internal,
                (*stage).to_owned(),
                (at, ended),
                facts,
            );
            at = ended;
        }
    }

    fn tell(
        &self,
        place: Place,
        kind: SpanKind,
        name: String,
        (start_time, end_time): (SystemTime, SystemTime),
        facts: Facts,
    ) {
        let Some(sending) = &self.0 else { return };
        let sampled = TraceFlags::SAMPLED;
        let span = SpanData {
            span_context: SpanContext::new(place.trace, place.span, sampled, false, TraceState::default()),
            parent_span_id: place.parent,
            parent_span_is_remote: place.is_remote,
            span_kind: kind,
            name: name.into(),
            start_time,
            end_time,
            attributes: facts.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: if facts.failed {
                Status::error("")
            } else {
                Status::Unset
            },
            instrumentation_scope: InstrumentationScope::builder("wasmhost")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
        };
        if sending.queue.try_send(Piece::Span(Box::new(span))).is_err() && !sending.full.swap(true, Relaxed) {
            tracing::warn!("spans are lost: the collector does not keep up");
        }
    }
}

/// What is known of a span beside its name.
#[derive(Default)]
pub struct Facts {
    attributes: Vec<KeyValue>,
    failed: bool,
}

impl Facts {
    pub fn with(mut self, name: &'static str, value: impl Into<opentelemetry::Value>) -> Self {
        self.attributes.push(KeyValue::new(name, value));
        self
    }

    pub fn failed(mut self, failed: bool) -> Self {
        self.failed = failed;
        self
    }
}

impl Place {
    /// The first of a trace.
    pub fn begin() -> Self {
        Self {
            trace: TraceId::from_bytes((u128::from(random()) << 64 | u128::from(random())).to_be_bytes()),
            span: new_span(),
            parent: SpanId::INVALID,
            is_remote: false,
        }
    }

    /// Of a request, by its valid `traceparent`: below a client's span where it `joins` one, or else the span that
    /// was made up with it. `None` where the client does not want it recorded.
    pub fn of(traceparent: &str, joins: bool) -> Option<Self> {
        let trace = TraceId::from_hex(traceparent.get(3..35)?).ok()?;
        let named = SpanId::from_hex(traceparent.get(36..52)?).ok()?;
        let flags = u8::from_str_radix(traceparent.get(53..55)?, 16).ok()?;
        let place = if joins {
            Self {
                trace,
                span: new_span(),
                parent: named,
                is_remote: true,
            }
        } else {
            Self {
                trace,
                span: named,
                parent: SpanId::INVALID,
                is_remote: false,
            }
        };
        (flags & 1 == 1).then_some(place)
    }

    /// A new one below it.
    pub fn below(&self) -> Self {
        Self {
            trace: self.trace,
            span: new_span(),
            parent: self.span,
            is_remote: false,
        }
    }

    /// As what is called from here is told.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.span)
    }
}

fn new_span() -> SpanId {
    SpanId::from_bytes(random().max(1).to_be_bytes())
}

/// Ids have to differ, not to be secret.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(Instant::now())
}

async fn send_all(mut pieces: mpsc::Receiver<Piece>, exporter: opentelemetry_otlp::SpanExporter) {
    let (mut taken, mut failing) = (Vec::new(), false);
    while pieces.recv_many(&mut taken, BATCH).await > 0 {
        if taken.len() < BATCH && taken.iter().all(|piece| matches!(piece, Piece::Span(_))) {
            let more = BATCH - taken.len();
            let _ = tokio::time::timeout(GATHER, gather(&mut pieces, &mut taken, more)).await;
        }
        let (mut batch, mut flushed) = (Vec::new(), Vec::new());
        for piece in taken.drain(..) {
            match piece {
                Piece::Span(span) => batch.push(*span),
                Piece::Flush(done) => flushed.push(done),
            }
        }
        let sent = exporter.export(batch).await;
        if let Err(error) = &sent
            && !failing
        {
            tracing::warn!(%error, "spans are lost: the collector does not take them");
        }
        failing = sent.is_err();
        // Who waited may be gone.
        for done in flushed {
            let _ = done.send(());
        }
    }
}

async fn gather(pieces: &mut mpsc::Receiver<Piece>, taken: &mut Vec<Piece>, more: usize) {
    for _ in 0..more {
        match pieces.recv().await {
            Some(flush @ Piece::Flush(_)) => return taken.push(flush),
            Some(span) => taken.push(span),
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_request_is_below_its_client_and_above_its_guest() {
        let request = Place::of(PARENT, true).unwrap();
        assert_eq!(request.parent.to_string(), "b7ad6b7169203331");
        let guest = request.below();
        assert_eq!((guest.trace, guest.parent), (request.trace, request.span));
        let told = Place::of(&guest.traceparent(), true).unwrap();
        assert_eq!((told.trace, told.parent), (guest.trace, guest.span));
    }

    #[test]
    fn a_trace_that_begins_here_has_no_parent() {
        let request = Place::of(PARENT, false).unwrap();
        assert_eq!(
            (request.parent, request.span.to_string().as_str()),
            (SpanId::INVALID, "b7ad6b7169203331")
        );
    }

    #[test]
    fn what_is_not_sampled_is_not_recorded() {
        assert_eq!(Place::of(&PARENT.replace("-01", "-00"), true), None);
    }
}
