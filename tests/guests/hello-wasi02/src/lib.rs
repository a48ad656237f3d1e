//! The least that a WASI HTTP 0.2 component can answer: what is left of a request's time is its host's.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct Hello;

impl Guest for Hello {
    fn handle(_: IncomingRequest, response: ResponseOutparam) {
        let headers = Fields::new();
        let _ = headers.set("content-type", &[b"text/plain".to_vec()]);
        let answer = OutgoingResponse::new(headers);
        let Ok(body) = answer.body() else { return };
        ResponseOutparam::set(response, Ok(answer));
        let Ok(stream) = body.write() else { return };
        let _ = stream.blocking_write_and_flush(b"Hello, world!");
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
    }
}

wasip2::http::proxy::export!(Hello);
