//! WASI HTTP 0.3: a request as a guest receives it, and the response as it gives it.

use std::pin::Pin;

use http::{Uri, header};
use wasmtime::{AsContextMut, component::Resource};
use wasmtime_wasi_http::{
    Error, WasiHttpView,
    p3::{Request, Response, bindings::http::types::ErrorCode},
};

use super::{
    Host,
    body::{self, Body},
    exchange::{Exchange, Upload},
    is_status_of_a_response,
};

/// What the exported function takes.
pub type Params = (Resource<Request>,);

/// What the exported function returns.
pub type Results = (Result<Resource<Response>, ErrorCode>,);

/// How the guest took its request; the guest learns the same of its response.
pub type Sent = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Puts a request into the store. Errors: a request that WASI HTTP cannot express.
pub fn incoming(host: &mut Host, request: http::Request<Upload>) -> wasmtime::Result<(Params, Sent)> {
    let view = host.http();
    let (request, sent) = Request::from_http(view.hooks, absolute(request));
    Ok(((view.table.push(request)?,), Box::pin(sent)))
}

/// The guest's response as the client gets it.
/// Errors: what HTTP cannot carry, as text for the log.
pub fn outgoing(
    mut store: impl AsContextMut<Data = Host>,
    response: Resource<Response>,
    sent: Sent,
    exchange: &Exchange,
) -> Result<http::Response<Body>, String> {
    let mut store = store.as_context_mut();
    let view = store.data_mut().http();
    let response = view.table.delete(response).map_err(|error| error.to_string())?;
    let status = response.status.as_u16();
    let response = response
        .into_http(store, sent)
        .map_err(|error| format!("{error:#}"))?;
    if !is_status_of_a_response(status) {
        return Err(format!("{status} is no status for a response"));
    }
    Ok(response.map(|body| exchange.download(body)))
}

/// With the scheme and the authority, which HTTP/1 leaves to the connection and to a header.
fn absolute(request: http::Request<Upload>) -> http::Request<Upload> {
    let scheme = body::scheme(&request);
    let (mut parts, body) = request.into_parts();
    let host = parts
        .headers
        .get(header::HOST)
        .map(|host| host.as_bytes().to_vec());
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.scheme = Some(scheme);
    uri.authority = uri
        .authority
        .or_else(|| host.and_then(|host| host.as_slice().try_into().ok()));
    if uri.authority.is_none() {
        uri.scheme = None;
    }
    parts.uri = Uri::from_parts(uri).unwrap_or_default();
    http::Request::from_parts(parts, body)
}
