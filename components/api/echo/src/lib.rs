//! A standard `wasi:http` component: `/api/...` answers what it was asked as JSON, `POST /api/echo` streams the
//! body back. Nothing in it is of wasmhost, so it runs on any host that speaks wasi:http 0.2.

mod json;

use std::cell::Cell;
use std::io::{self, Write};

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::StreamError;

const VERSION: &str = "1.0.0";
const CHUNK: u64 = 64 * 1024;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Echo;

impl Guest for Echo {
    fn handle(request: IncomingRequest, response: ResponseOutparam) {
        CALLS.set(CALLS.get() + 1);
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        // An error here means that the client is gone. The body then ends unfinished, and the host breaks it off.
        let _ = match (path, request.method()) {
            ("/api/echo", Method::Post) => stream(&request, response),
            (_, method) => describe(&method, path, query, response),
        };
    }
}

wasip2::http::proxy::export!(Echo);

fn describe(method: &Method, path: &str, query: &str, response: ResponseOutparam) -> io::Result<()> {
    let answer = json::object(&[
        ("component", json::string("api.echo")),
        ("version", json::string(VERSION)),
        ("requests", CALLS.get().to_string()),
        ("method", json::string(name(method))),
        ("path", json::string(path)),
        ("query", json::string(query)),
    ]);
    let body = open(response, "application/json")?;
    let mut out = body.write().map_err(|()| unusable())?;
    out.write_all(answer.as_bytes())?;
    out.blocking_flush().map_err(io::Error::other)?;
    drop(out);
    OutgoingBody::finish(body, None).map_err(io::Error::other)
}

/// The body goes from stream to stream in the host: however long it is, this component holds none of it.
fn stream(request: &IncomingRequest, response: ResponseOutparam) -> io::Result<()> {
    let kind = request.headers().get("content-type").pop();
    let kind = kind.and_then(|kind| String::from_utf8(kind).ok());
    let incoming = request.consume().map_err(|()| unusable())?;
    let body = open(response, kind.as_deref().unwrap_or("application/octet-stream"))?;
    let from = incoming.stream().map_err(|()| unusable())?;
    let out = body.write().map_err(|()| unusable())?;
    loop {
        match out.blocking_splice(&from, CHUNK) {
            Ok(_) => {}
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(io::Error::other(error.to_debug_string()));
            }
        }
    }
    // Either side may have closed: a flush tells whether the client is still there.
    out.blocking_flush().map_err(io::Error::other)?;
    drop((out, from));
    IncomingBody::finish(incoming);
    OutgoingBody::finish(body, None).map_err(io::Error::other)
}

fn open(response: ResponseOutparam, kind: &str) -> io::Result<OutgoingBody> {
    let headers = [
        ("content-type", kind),
        ("cache-control", "no-store"),
        ("x-component-version", VERSION),
    ];
    let headers = headers.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    let answer = OutgoingResponse::new(Fields::from_list(&headers).map_err(io::Error::other)?);
    let body = answer.body().map_err(|()| unusable())?;
    ResponseOutparam::set(response, Ok(answer));
    Ok(body)
}

fn unusable() -> io::Error {
    io::Error::other("a body or its stream was taken twice")
}

fn name(method: &Method) -> &str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(name) => name,
    }
}
