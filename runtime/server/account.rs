//! What is told of a request beside its answer, where someone wants to know: a line of the access log, and spans
//! of the request and of the guest's call.

use std::{sync::OnceLock, time::Instant};

use http::{HeaderValue, Method, Request, Response};
use opentelemetry::trace::SpanKind;

use super::{answer::GENERATION, identity};
use crate::{
    host::TRACEPARENT,
    project::ComponentId,
    tracer::{Facts, Place, Tracer},
};

/// Who wants to know.
#[derive(Clone, Default)]
pub struct Accounts {
    pub tracer: Tracer,
    /// A line for each request.
    pub access_log: bool,
}

/// What is to be told of one request.
pub struct Account {
    method: Method,
    path: String,
    began: Instant,
    /// Of the request and of the guest's call.
    places: Option<(Place, Place)>,
    /// Who answers, and since when.
    called: OnceLock<(Instant, ComponentId)>,
}

impl Accounts {
    /// To be asked before the request is given a trace of its own.
    pub fn joins<B>(&self, request: &Request<B>) -> bool {
        self.tracer.is_on() && identity::joins(request.headers())
    }

    /// `None` where nobody wants to know. Whoever is called is told that its caller is this call.
    pub fn begin<B>(&self, request: &mut Request<B>, joins: bool) -> Option<Box<Account>> {
        if !self.access_log && !self.tracer.is_on() {
            return None;
        }
        let places = self.tracer.is_on().then(|| place(request, joins)).flatten();
        let places = places.map(|place| (place, place.below()));
        if let Some((_, guest)) = &places
            && let Ok(parent) = HeaderValue::try_from(guest.traceparent())
        {
            request.headers_mut().insert(TRACEPARENT, parent);
        }
        Some(Box::new(Account {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            began: Instant::now(),
            places,
            called: OnceLock::new(),
        }))
    }

    pub fn end<B>(&self, account: Account, response: &Response<B>, id: &HeaderValue) {
        let Account {
            method,
            path,
            began,
            places,
            called,
        } = account;
        let status = response.status();
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let generation = response.headers().get(GENERATION).map(text).unwrap_or_default();
        if self.access_log {
            let ms = began.elapsed().as_micros() as f64 / 1000.0;
            let (status, id) = (status.as_u16(), text(id));
            tracing::info!(target: "access", %method, path, status, generation, ms, id, "answered");
        }
        let Some((request, guest)) = places else { return };
        if let Some((since, component)) = called.into_inner() {
            let facts = Facts::default()
                .with("wasmhost.generation", generation.clone())
                .with("wasmhost.component", component.to_string())
                .failed(status.is_server_error());
            self.tracer
                .ended(guest, SpanKind::Internal, component.to_string(), since, facts);
        }
        let facts = Facts::default()
            .with("http.request.method", method.to_string())
            .with("url.path", path)
            .with("http.response.status_code", i64::from(status.as_u16()))
            .with("wasmhost.generation", generation)
            .with("wasmhost.request", text(id))
            .failed(status.is_server_error());
        self.tracer
            .ended(request, SpanKind::Server, method.to_string(), began, facts);
    }
}

impl Account {
    /// A guest has the request from here on.
    pub fn called(&self, component: &ComponentId) {
        let _ = self.called.set((Instant::now(), component.clone()));
    }
}

fn place<B>(request: &Request<B>, joins: bool) -> Option<Place> {
    let parent = request.headers().get(TRACEPARENT)?;
    Place::of(parent.to_str().ok()?, joins)
}
