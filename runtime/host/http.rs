//! WASI HTTP 0.2: a request as a guest receives it, and the response as it gives it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use wasmtime::component::Resource;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpHooks, WasiHttpView,
    p2::{
        bindings::http::types::{ErrorCode, Scheme},
        body::{HostOutgoingBody, HyperOutgoingBody, StreamContext},
        types::{HostIncomingRequest, HostResponseOutparam},
    },
};

use super::{
    Host,
    body::{Body, BodyError},
    is_status_of_a_response,
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

/// The guest's response as the client gets it. `over` is cancelled when the guest's function has ended.
/// Errors: what HTTP cannot carry, as text for the log.
pub fn outgoing(
    response: http::Response<HyperOutgoingBody>,
    over: &CancellationToken,
) -> Result<http::Response<Body>, String> {
    let status = response.status().as_u16();
    if !is_status_of_a_response(status) {
        return Err(format!("{status} is no status for a response"));
    }
    let over = Box::pin(over.clone().cancelled_owned());
    Ok(response.map(|body| GuestBody { body, over }.boxed_unsync()))
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

/// A response's body that does not wait for a guest which has ended without finishing it.
struct GuestBody {
    body: HyperOutgoingBody,
    over: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl http_body::Body for GuestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_pending() && self.over.as_mut().poll(context).is_ready() {
            // The guest may have written its last between the two looks.
            frame = Pin::new(&mut self.body).poll_frame(context);
            if frame.is_pending() {
                let unfinished = BodyError::Guest("it left its body unfinished".into());
                return Poll::Ready(Some(Err(unfinished)));
            }
        }
        frame.map_err(|error| BodyError::Guest(error.to_string()))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A client's body, with its errors as a guest sees them.
struct GuestSide(Body);

impl http_body::Body for GuestSide {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Pin::new(&mut self.0)
            .poll_frame(context)
            .map_err(|error| match error {
                BodyError::TooLarge => Error::HttpRequestBodySize(None),
                BodyError::TooSlow => Error::ConnectionReadTimeout,
                BodyError::Client(_) | BodyError::Ended | BodyError::Guest(_) => Error::ConnectionTerminated,
            })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
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
