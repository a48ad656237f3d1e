//! The least that a page can answer: what is left of a request's time is its host's.

use exports::wasmhost::page::handler::{Guest, Request, Response};

wit_bindgen::generate!({
    path: "../../../wit/page.wit",
    world: "wasmhost:page/page",
    generate_all,
});

struct Hello;

impl Guest for Hello {
    fn handle(_: Request) -> Response {
        Response {
            status: 200,
            headers: vec![("content-type".into(), b"text/plain".to_vec())],
            body: b"Hello, world!".to_vec(),
        }
    }
}

export!(Hello);
