//! The page {{route}}.

use exports::wasmhost::page::handler::{Guest, Request, Response};

wit_bindgen::generate!({ path: "wit", generate_all });

const GREETING: &str = "Hello from Rust";

struct Page;

impl Guest for Page {
    fn handle(_: Request) -> Response {
        Response {
            status: 200,
            headers: vec![("content-type".into(), b"text/html; charset=utf-8".to_vec())],
            body: html(GREETING).into(),
        }
    }
}

export!(Page);

fn html(greeting: &str) -> String {
    format!("<!doctype html>\n<title>{greeting}</title>\n<h1>{greeting}</h1>\n")
}

#[test]
fn the_page_greets() {
    assert!(html("Good morning").contains("<h1>Good morning</h1>"));
}
