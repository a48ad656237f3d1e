//! Adds the script to pages: HTML that is not compressed, at its end, where it disturbs no parser.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame};

use super::{Browser, SCRIPT_PATH};
use crate::host::body::{self, Body, BodyError};

/// What a request was, as far as it matters to its answer's script.
pub struct Asked {
    method: Method,
    /// It is for a page, not for a part of one that a script asks for.
    page: bool,
    /// It would rather have HTML than anything else.
    pub html: bool,
}

impl Asked {
    pub fn of(method: &Method, headers: &HeaderMap) -> Self {
        let text = |name| {
            headers
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
        };
        Self {
            method: method.clone(),
            page: text("sec-fetch-dest").is_none_or(|dest| matches!(dest, "document" | "iframe" | "frame")),
            html: text("accept").is_some_and(|accept| accept.contains("text/html")),
        }
    }
}

impl Browser {
    /// The response with the script, where it is a page. `generation` is what answered, empty for the host.
    pub fn with_script(&self, asked: &Asked, generation: &str, response: Response<Body>) -> Response<Body> {
        if !asked.page || !is_page(&response) {
            return response;
        }
        let tag = self.tag(asked, generation, response.headers());
        let (mut head, body) = response.into_parts();
        let length = head.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if let Some(length) = length {
            let length = length + tag.len() as u64;
            head.headers.insert(header::CONTENT_LENGTH, length.into());
        }
        // They tell of another content.
        for name in [header::ETAG, header::LAST_MODIFIED, header::ACCEPT_RANGES] {
            head.headers.remove(name);
        }
        head.headers
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let body = WithTail {
            body,
            tail: Some(tag.into()),
        };
        Response::from_parts(head, body::streamed(body))
    }

    fn tag(&self, asked: &Asked, generation: &str, headers: &HeaderMap) -> String {
        let policies = headers.get_all(header::CONTENT_SECURITY_POLICY);
        let nonce = policies.iter().find_map(|policy| nonce(policy.to_str().ok()?));
        let nonce = nonce.map_or_else(String::new, |nonce| format!(" nonce=\"{nonce}\""));
        format!(
            "\n<script{nonce} src=\"{SCRIPT_PATH}\" data-generation=\"{generation}\" data-method=\"{}\" data-process=\"{}\"></script>\n",
            if asked.method == Method::HEAD {
                &Method::GET
            } else {
                &asked.method
            },
            self.0.process,
        )
    }
}

fn is_page(response: &Response<Body>) -> bool {
    let headers = response.headers();
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let whole = ![
        StatusCode::PARTIAL_CONTENT,
        StatusCode::NO_CONTENT,
        StatusCode::NOT_MODIFIED,
    ]
    .contains(&response.status());
    kind.eq_ignore_ascii_case("text/html") && whole && !headers.contains_key(header::CONTENT_ENCODING)
}

/// The nonce that a policy lets scripts have. It is the page's own: characters that end an attribute are none.
fn nonce(policy: &str) -> Option<&str> {
    let (_, nonce) = policy.split_once("'nonce-")?;
    let (nonce, _) = nonce.split_once('\'')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "+/=-_".contains(c);
    nonce.chars().all(plain).then_some(nonce)
}

/// A body with something behind it.
struct WithTail {
    body: Body,
    tail: Option<Bytes>,
}

impl HttpBody for WithTail {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(match frame {
            Some(Ok(frame)) if frame.is_trailers() => self.tail.take().map(|tail| Ok(Frame::data(tail))),
            Some(Err(error)) => {
                self.tail = None;
                Some(Err(error))
            }
            Some(frame) => Some(frame),
            None => self.tail.take().map(|tail| Ok(Frame::data(tail))),
        })
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::browser::browser;

    async fn page(
        headers: &[(&'static str, &'static str)],
        asked: &[(&'static str, &'static str)],
    ) -> String {
        let mut response = Response::new(body::full("<p>hello"));
        for (name, value) in headers {
            response
                .headers_mut()
                .insert(*name, HeaderValue::from_static(value));
        }
        let mut request = HeaderMap::new();
        for (name, value) in asked {
            request.insert(*name, HeaderValue::from_static(value));
        }
        let (browser, _waiting) = browser();
        let asked = Asked::of(&Method::GET, &request);
        let response = browser.with_script(&asked, "shop@3", response);
        let length = response.headers().get("content-length").cloned();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        if let Some(length) = length {
            assert_eq!(length, body.len().to_string());
        }
        String::from_utf8(body.to_vec()).expect("is text")
    }

    #[tokio::test]
    async fn pages_get_the_script_and_nothing_else_does() {
        let html = ("content-type", "text/html; charset=utf-8");
        let with = page(&[html, ("content-length", "8")], &[]).await;
        assert!(
            with.starts_with("<p>hello\n<script src=\"/.wasmhost/live.js\" data-generation=\"shop@3\""),
            "{with}"
        );
        let policy = (
            "content-security-policy",
            "script-src 'nonce-aB+/=' 'strict-dynamic'",
        );
        assert!(
            page(&[html, policy], &[])
                .await
                .contains("<script nonce=\"aB+/=\"")
        );
        let odd = ("content-security-policy", "script-src 'nonce-a\"b'");
        assert!(page(&[html, odd], &[]).await.contains("<script src="));
        assert!(
            page(&[html], &[("sec-fetch-dest", "document")])
                .await
                .contains("<script")
        );
        for (headers, asked) in [
            (vec![html, ("content-encoding", "gzip")], vec![]),
            (vec![("content-type", "text/plain")], vec![]),
            (vec![html], vec![("sec-fetch-dest", "empty")]),
        ] {
            assert_eq!(page(&headers, &asked).await, "<p>hello", "{headers:?}");
        }
    }
}
