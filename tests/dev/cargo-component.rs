#[allow(warnings)]
mod bindings;

use bindings::exports::wasmhost::page::handler::{Guest, Request, Response};

struct Page;

impl Guest for Page {
    fn handle(_: Request) -> Response {
        Response {
            status: 200,
            headers: vec![],
            body: "one".into(),
        }
    }
}

bindings::export!(Page with_types_in bindings);
