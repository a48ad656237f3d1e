//! The least that a WASI HTTP 0.3 component can answer: what is left of a request's time is its host's.

use exports::wasi::http::handler::Guest;
use wasi::http::types::{ErrorCode, Fields, Request, Response};
use wit_bindgen::spawn_local;

wit_bindgen::generate!({
    path: "../flows/wit",
    // Of what it imports, only what is used is kept.
    world: "flows",
    generate_all,
});

struct Hello;

impl Guest for Hello {
    async fn handle(_: Request) -> Result<Response, ErrorCode> {
        let headers = Fields::new();
        let _ = headers.set("content-type", &[b"text/plain".to_vec()]);
        let (mut body, content) = wit_stream::new();
        let (end, trailers) = wit_future::new(|| Ok(None));
        let (response, _) = Response::new(headers, Some(content), trailers);
        spawn_local(async move {
            body.write_all(b"Hello, world!".to_vec()).await;
            drop(body);
            let _ = end.write(Ok(None)).await;
        });
        Ok(response)
    }
}

export!(Hello);
