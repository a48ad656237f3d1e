//! How what goes wrong is answered: as diagnostics, whoever found it.

use axum::{
    Json,
    body::to_bytes,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{diagnostic::Diagnostic, orders::NoControl};

/// Bytes of a text that says what is wrong.
const LONGEST_TEXT: usize = 64 << 10;

/// Why an order was not carried out.
pub struct Failure(pub StatusCode, pub Vec<Diagnostic>);

impl Failure {
    pub fn one(status: StatusCode, diagnostic: Diagnostic) -> Self {
        Self(status, vec![diagnostic])
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self(status, diagnostics) = self;
        (status, Json(json!({ "diagnostics": diagnostics }))).into_response()
    }
}

impl From<NoControl> for Failure {
    fn from(error: NoControl) -> Self {
        let diagnostic = Diagnostic::new("control-failed", error.to_string());
        let diagnostic = diagnostic.help("what serves goes on; restart the server, and report its log");
        Self::one(StatusCode::INTERNAL_SERVER_ERROR, diagnostic)
    }
}

/// What axum says of a request that no handler takes is a text, or nothing.
pub async fn explain(response: Response) -> Response {
    let status = response.status();
    let is_json = |kind: &header::HeaderValue| kind == "application/json";
    let is_told = response.headers().get(header::CONTENT_TYPE).is_some_and(is_json);
    if is_told || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (head, body) = response.into_parts();
    let text = to_bytes(body, LONGEST_TEXT).await.unwrap_or_default();
    let message = match String::from_utf8_lossy(&text).trim() {
        "" => format!("the request is refused: {status}"),
        text => text.to_owned(),
    };
    let diagnostic = Diagnostic::new("request-invalid", message);
    let help = "GET /v1/openapi.json describes what is taken";
    let mut told = Failure::one(status, diagnostic.help(help)).into_response();
    // Which methods there are.
    let allowed = head.headers.get(header::ALLOW).cloned();
    told.headers_mut()
        .extend(allowed.map(|allowed| (header::ALLOW, allowed)));
    told
}
