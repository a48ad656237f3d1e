//! The answers of the host itself. Their bodies name nothing of the inside; the log does.

use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use crate::{
    generation::{RETRY_AFTER, RequestError},
    host::body::{self, Body},
    router::RouteError,
};

/// The generation that a response is of, `shop@3`.
pub const GENERATION: HeaderName = HeaderName::from_static("wasmhost-generation");

/// Marks an answer of the host itself.
#[derive(Clone, Copy)]
pub struct Own;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

pub fn unrouted(error: &RouteError) -> Response<Body> {
    plain(match error {
        RouteError::NoRoute => StatusCode::NOT_FOUND,
        RouteError::Down => StatusCode::SERVICE_UNAVAILABLE,
        RouteError::BadPath => StatusCode::BAD_REQUEST,
    })
}

/// What the host says of itself: for programs, so in dev too.
pub fn of_host(status: StatusCode) -> Response<Body> {
    let mut response = plain(status);
    response.extensions_mut().remove::<Own>();
    response
}

/// A request that is refused before anyone is asked.
pub fn refused(status: StatusCode) -> Response<Body> {
    plain(status)
}

pub fn method_not_allowed() -> Response<Body> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(header::ALLOW, METHODS);
    response
}

/// `OPTIONS *`: what the server as a whole takes.
pub fn options() -> Response<Body> {
    let mut response = Response::new(body::full(""));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, METHODS);
    response
}

pub fn failed(error: &RequestError) -> Response<Body> {
    let mut response = plain(match error {
        RequestError::Trapped => StatusCode::INTERNAL_SERVER_ERROR,
        RequestError::BadResponse(_) => StatusCode::BAD_GATEWAY,
        RequestError::QueueFull
        | RequestError::NoMemory
        | RequestError::Ended
        | RequestError::NotBegun(_)
        | RequestError::Resting(_) => StatusCode::SERVICE_UNAVAILABLE,
        RequestError::TimeOver => StatusCode::GATEWAY_TIMEOUT,
        RequestError::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        RequestError::BadRequest(_) => StatusCode::BAD_REQUEST,
    });
    if let RequestError::Resting(left) = error {
        // In whole seconds, as the header has it, and never too early.
        let seconds = left.as_secs() + 1;
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// The answer of a group's static files. Where there is no file, the host says so.
pub fn file(mut response: Response<Body>, label: HeaderValue) -> Response<Body> {
    if response.status().is_client_error() {
        let (mut head, body) = plain(response.status()).into_parts();
        head.headers.extend(std::mem::take(response.headers_mut()));
        response = Response::from_parts(head, body);
    }
    name_generation(&mut response, label);
    response
}

/// Says which generation a response is of, whatever the guest wrote there.
pub fn name_generation<B>(response: &mut Response<B>, label: HeaderValue) {
    response.headers_mut().insert(GENERATION, label);
}

fn plain(status: StatusCode) -> Response<Body> {
    let reason = status.canonical_reason().unwrap_or_default();
    let mut response = Response::new(body::full(format!("{} {reason}\n", status.as_u16())));
    *response.status_mut() = status;
    response.extensions_mut().insert(Own);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER.as_secs()));
    }
    response
}
