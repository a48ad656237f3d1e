//! WASI HTTP 0.2: a request as a guest receives it, and the response as it gives it.

use http_body_util::BodyExt;
use tokio::sync::oneshot;
use wasmtime::component::Resource;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpHooks, WasiHttpView,
    p2::{
        bindings::http::types::{ErrorCode, Scheme},
        body::HyperOutgoingBody,
        types::{HostIncomingRequest, HostResponseOutparam},
    },
};

use super::{
    Host,
    body::{Body, BodyError},
};

/// What the exported function takes.
pub type Params = (Resource<HostIncomingRequest>, Resource<HostResponseOutparam>);

/// What a guest answers.
pub type Answer = Result<http::Response<HyperOutgoingBody>, ErrorCode>;

/// Where the guest's answer arrives, while its function may still run.
pub type Response = oneshot::Receiver<Answer>;

/// Puts a request into the store. Errors: a request that WASI HTTP cannot express.
pub fn incoming(host: &mut Host, request: http::Request<Body>) -> wasmtime::Result<(Params, Response)> {
    let (sender, response) = oneshot::channel();
    let request = host
        .http()
        .new_incoming_request(Scheme::Http, request.map(GuestSide))?;
    let outparam = host.http().new_response_outparam(sender)?;
    Ok(((request, outparam), response))
}

/// The guest's response as the client gets it.
pub fn outgoing(response: http::Response<HyperOutgoingBody>) -> http::Response<Body> {
    response.map(|body| {
        body.map_err(|error| BodyError::Guest(error.to_string()))
            .boxed_unsync()
    })
}

/// A client's body, with its errors as a guest sees them.
struct GuestSide(Body);

impl http_body::Body for GuestSide {
    type Data = bytes::Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Error>>> {
        std::pin::Pin::new(&mut self.0)
            .poll_frame(context)
            .map_err(|error| match error {
                BodyError::TooLarge => Error::HttpRequestBodySize(None),
                BodyError::Client(_) | BodyError::Ended | BodyError::Guest(_) => Error::ConnectionTerminated,
            })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.0.size_hint()
    }
}

/// Outgoing requests are denied until the manifest can grant them.
pub struct NoOutgoingRequests;

type Exchange = Result<
    (
        http::Response<WasiBody>,
        Box<dyn Future<Output = Result<(), Error>> + Send>,
    ),
    Error,
>;

impl WasiHttpHooks for NoOutgoingRequests {
    fn send_request(
        &mut self,
        _: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Exchange> + Send> {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }
}
