//! WASI HTTP 0.2: a request as a guest receives it, and the response as it gives it.

use http::uri;
use wasmtime::component::Resource;
use wasmtime_wasi_http::{
    WasiHttpView,
    p2::{
        bindings::http::types::{ErrorCode, Scheme},
        body::{HostOutgoingBody, HyperOutgoingBody, StreamContext},
        types::{HostIncomingRequest, HostResponseOutparam},
    },
};

use super::{
    Host,
    body::{self, Body},
    exchange::{Exchange, Upload},
    is_status_of_a_response,
};

/// What the exported function takes.
pub type Params = (Resource<HostIncomingRequest>, Resource<HostResponseOutparam>);

/// What a guest answers.
pub type Answer = Result<http::Response<HyperOutgoingBody>, ErrorCode>;

/// Puts a request into the store. `answer` takes the guest's answer while its function still runs, and while
/// it may keep all else of its store from running.
/// Errors: a request that WASI HTTP cannot express.
pub fn incoming(
    host: &mut Host,
    request: http::Request<Upload>,
    answer: impl FnOnce(Answer) + Send + Sync + 'static,
) -> wasmtime::Result<Params> {
    let is_tls = body::scheme(&request) == uri::Scheme::HTTPS;
    let scheme = if is_tls { Scheme::Https } else { Scheme::Http };
    let request = host.http().new_incoming_request(scheme, request)?;
    let outparam = host.http().new_response_outparam_from_callback(answer)?;
    Ok((request, outparam))
}

/// The guest's response as the client gets it.
/// Errors: what HTTP cannot carry, as text for the log.
pub fn outgoing(
    response: http::Response<HyperOutgoingBody>,
    exchange: &Exchange,
) -> Result<http::Response<Body>, String> {
    let status = response.status().as_u16();
    if !is_status_of_a_response(status) {
        return Err(format!("{status} is no status for a response"));
    }
    Ok(response.map(|body| exchange.download(body)))
}

/// Ends with an error whatever body the guest of a dying store has not finished. Dropped with the store,
/// the body would look finished to its client.
pub fn break_off(host: &mut Host) {
    for resource in host.table.iter_mut() {
        if let Some(body) = resource.downcast_mut::<HostOutgoingBody>() {
            let (nothing, _) = HostOutgoingBody::new(StreamContext::Response, None, 1, 1);
            std::mem::replace(body, nothing).abort();
        }
    }
}
