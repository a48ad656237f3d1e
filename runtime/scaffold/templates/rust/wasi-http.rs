//! The page {{route}}, by WASI HTTP 0.2.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

const GREETING: &str = "Hello from Rust";

struct Page;

impl Guest for Page {
    fn handle(_: IncomingRequest, response: ResponseOutparam) {
        let headers = Fields::new();
        let _ = headers.set("content-type", &[b"text/html; charset=utf-8".to_vec()]);
        let answer = OutgoingResponse::new(headers);
        let Ok(body) = answer.body() else { return };
        ResponseOutparam::set(response, Ok(answer));
        if let Ok(stream) = body.write() {
            let _ = stream.blocking_write_and_flush(html(GREETING).as_bytes());
        }
        let _ = OutgoingBody::finish(body, None);
    }
}

wasip2::http::proxy::export!(Page);

fn html(greeting: &str) -> String {
    format!("<!doctype html>\n<title>{greeting}</title>\n<h1>{greeting}</h1>\n")
}

#[test]
fn the_page_greets() {
    assert!(html("Good morning").contains("<h1>Good morning</h1>"));
}
