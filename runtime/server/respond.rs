//! One request, from its head to the head of its response: who answers it, and what it is known by.
//! Knows no socket.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body as _;

use super::{
    account::{Account, Accounts},
    activity::Activity,
    answer, conform, identity,
    pin::Pin,
    ready::Ready,
    record::Recorder,
    stream_body::StreamBody,
};
use crate::{
    browser::{Asked, Browser},
    diagnostic::brief,
    generation::{LeasedBody, RequestError},
    host::body::{self, Body},
    metrics::{Meter, Metrics},
    router::{RouteError, Routed, RoutedPage, Router, Wait},
    status::Inbox,
};

/// In dev: how long a request for what is not there waits for what lies on disk.
const UNKNOWN: Duration = Duration::from_secs(10);

pub struct Responder {
    pub router: Router,
    /// Where requests ask for what lies on disk.
    pub inbox: Inbox,
    pub metrics: Metrics,
    /// Writes down what is asked of pages.
    pub recorder: Option<Recorder>,
    pub accounts: Accounts,
    /// In dev: the pages that follow what is served.
    pub browser: Option<Browser>,
    /// In a fleet whose clients never go back.
    pub pin: Option<Arc<Pin>>,
    /// Where balancers ask.
    pub ready: Option<Arc<Ready>>,
}

/// What is known of a request from its head on.
#[derive(Clone, Copy)]
struct Known<'r> {
    id: &'r HeaderValue,
    began: Instant,
    account: Option<&'r Account>,
}

impl Responder {
    /// `last`: the client is told that its connection has no other.
    pub async fn respond(
        &self,
        mut request: Box<Request<Body>>,
        activity: &Arc<Activity>,
        last: bool,
    ) -> Response<StreamBody> {
        let http2 = request.version() == Version::HTTP_2;
        let in_flight = activity.begin(http2);
        let head_only = *request.method() == Method::HEAD;
        let mut close = last;
        let mut response = match conform::check(&*request) {
            Ok(()) => {
                if http2 {
                    conform::join_cookies(request.headers_mut());
                }
                let joins = self.accounts.joins(&*request);
                let id = identity::identify(request.headers_mut());
                let account = self.accounts.begin(&mut *request, joins);
                let known = Known {
                    id: &id,
                    began: Instant::now(),
                    account: account.as_deref(),
                };
                let mut response = match (&self.browser, &self.pin) {
                    (None, None) => self.answer(request, known).await,
                    // Boxed, and for some fleets and for developers alone.
                    (None, Some(pin)) => Box::pin(self.answer_pinned(pin, request, known)).await,
                    (Some(browser), _) => Box::pin(self.answer_in_dev(browser, request, known)).await,
                };
                if let Some(account) = account {
                    self.accounts.end(*account, &response, &id);
                }
                response.headers_mut().insert(identity::REQUEST_ID, id);
                response
            }
            Err(status) => {
                close = true;
                self.unasked(answer::refused(status))
            }
        };
        if close && !http2 {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        if head_only || is_bodiless(response.status()) {
            response = without_body(response);
        }
        response.map(|body| match http2 {
            true => StreamBody::http2(body, in_flight, activity),
            false => StreamBody::http1(body, in_flight),
        })
    }

    async fn answer(&self, request: Box<Request<Body>>, known: Known<'_>) -> Response<LeasedBody> {
        let (method, path) = (request.method(), request.uri().path());
        if *method == Method::CONNECT || *method == Method::TRACE {
            return self.unasked(answer::method_not_allowed());
        }
        if path == "*" {
            return self.unasked(answer::options());
        }
        if let Some(answer) = self.ready.as_ref().and_then(|ready| ready.answer(path)) {
            return answer.map(LeasedBody::from);
        }
        if let Some(Wait { group, limit }) = self.router.waits(path) {
            // Large, and rare: no other request is to carry it.
            Box::pin(self.inbox.fresh(group, limit)).await;
        }
        match self.router.route(path) {
            Ok(Routed::Page(page)) => {
                let request = match &self.recorder {
                    Some(recorder) => Box::new(recorder.follow(*request)),
                    None => request,
                };
                match lead(page, request, known).await {
                    Ok(response) => response,
                    // Boxed, as all that few requests need.
                    Err(unbegun) => Box::pin(self.lead_again(unbegun, known)).await,
                }
            }
            Ok(Routed::File {
                generation,
                label,
                meter,
            }) => {
                // Boxed: pages are not to carry its size.
                let file = Box::pin(generation.file(method, request.uri(), request.headers()));
                let response = answer::file(file.await.map(body::streamed), label).map(LeasedBody::from);
                count(meter.as_deref(), &response, known.began);
                response
            }
            Err(error) => self.unasked(answer::unrouted(&error)),
        }
    }

    /// The same answer for who must not see what is older than what it saw.
    async fn answer_pinned(
        &self,
        pin: &Pin,
        request: Box<Request<Body>>,
        known: Known<'_>,
    ) -> Response<LeasedBody> {
        let seen = Pin::seen(request.headers());
        if !pin.admits(seen).await {
            return self.unasked(answer::refused(StatusCode::SERVICE_UNAVAILABLE));
        }
        let mut response = self.answer(request, known).await;
        pin.mark(seen, response.headers_mut());
        response
    }

    /// Counts an answer for which no group was asked.
    fn unasked(&self, response: Response<Body>) -> Response<LeasedBody> {
        self.metrics.unrouted(response.status());
        response.map(LeasedBody::from)
    }

    /// The same answer for a developer: of what was saved before the request came, with the script that follows
    /// changes, and with the reasons where the host itself answers.
    async fn answer_in_dev(
        &self,
        browser: &Browser,
        request: Box<Request<Body>>,
        known: Known<'_>,
    ) -> Response<LeasedBody> {
        let path = request.uri().path();
        if let Some(answer) = browser.answer(path) {
            return answer.map(LeasedBody::from);
        }
        let asked = Asked::of(request.method(), request.headers());
        let waits = self.router.waits(path).is_some();
        if waits
            || matches!(
                self.router.route(path),
                Err(RouteError::NoRoute | RouteError::Down)
            )
        {
            browser.built().await;
            if !waits {
                // Nobody knows yet whose it will be.
                self.inbox.fresh(None, UNKNOWN).await;
            }
        }
        let response = self.answer(request, known).await.map(body::streamed);
        let own = response.extensions().get::<answer::Own>().is_some();
        if own {
            let id = known.id.to_str().unwrap_or_default();
            return browser
                .explained(&asked, id, response)
                .await
                .map(LeasedBody::from);
        }
        let generation = response.headers().get(answer::GENERATION).cloned();
        let generation = generation.as_ref().and_then(|label| label.to_str().ok());
        let generation = generation.unwrap_or_default();
        browser
            .with_script(&asked, generation, response)
            .map(LeasedBody::from)
    }

    /// A request whose turn did not come before its generation's drain deadline: a newer one answers it. Where
    /// there is none, the server stops.
    async fn lead_again(&self, unbegun: Unbegun, known: Known<'_>) -> Response<LeasedBody> {
        let mut unbegun = unbegun;
        loop {
            let page = match self.router.route(unbegun.request.uri().path()) {
                Ok(Routed::Page(page)) if page.label != unbegun.label => page,
                Ok(_) => return self.unasked(answer::failed(&RequestError::Ended)),
                Err(error) => return self.unasked(answer::unrouted(&error)),
            };
            match lead(page, unbegun.request, known).await {
                Ok(response) => return response,
                Err(again) => unbegun = again,
            }
        }
    }
}

/// What is left of a request whose generation was ended before it began.
struct Unbegun {
    request: Box<Request<Body>>,
    /// Of the generation.
    label: HeaderValue,
}

/// Leads a request to its component. Errors: the generation was ended before the request began.
async fn lead(
    routed: RoutedPage,
    request: Box<Request<Body>>,
    known: Known<'_>,
) -> Result<Response<LeasedBody>, Unbegun> {
    let RoutedPage {
        generation,
        component,
        label,
        meter,
        params,
    } = routed;
    let answered = match generation.admit().await {
        Ok(lease) => {
            if let Some(account) = known.account {
                account.called(&component);
            }
            lease.handle(&component, params, request).await
        }
        Err(RequestError::Ended) => Err(RequestError::NotBegun(request)),
        Err(error) => Err(error),
    };
    let mut response = match answered {
        Ok(response) => response,
        Err(RequestError::NotBegun(request)) => {
            return Err(Unbegun { request, label });
        }
        Err(error) => {
            log_failure(&label, &error, component.as_str(), known.id);
            answer::failed(&error).map(LeasedBody::from)
        }
    };
    answer::name_generation(&mut response, label);
    count(meter.as_deref(), &response, known.began);
    Ok(response)
}

fn count<B>(meter: Option<&Meter>, response: &Response<B>, began: Instant) {
    if let Some(meter) = meter {
        meter.answered(response.status(), began.elapsed());
    }
}

fn is_bodiless(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// The same head without a body. Its length is the body's that a GET would get.
fn without_body(response: Response<LeasedBody>) -> Response<LeasedBody> {
    let (mut head, body) = response.into_parts();
    match body.size_hint().exact() {
        _ if head.status == StatusCode::NO_CONTENT => drop(head.headers.remove(header::CONTENT_LENGTH)),
        Some(length) if length > 0 => {
            head.headers
                .entry(header::CONTENT_LENGTH)
                .or_insert_with(|| length.into());
        }
        _ => {}
    }
    Response::from_parts(head, body::full("").into())
}

/// The client is told a status; what happened inside is for the log.
fn log_failure(generation: &HeaderValue, error: &RequestError, component: &str, id: &HeaderValue) {
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let (generation, id) = (text(generation), text(id));
    // Some of it may be the guest's own words.
    let said = error.to_string();
    let said = brief(&said);
    match error {
        RequestError::BadRequest(_) | RequestError::BodyTooLarge | RequestError::Resting(_) => {
            tracing::debug!(%generation, component, id, error = %said, "request refused");
        }
        _ => tracing::warn!(%generation, component, id, error = %said, "request failed"),
    }
}
