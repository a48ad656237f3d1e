//! The host's own answers in dev: what is wrong, with all that is known of it, for people and for scripts.

use std::time::Duration;

use http::{HeaderValue, Response, header};

use super::{Asked, Browser, Problem};
use crate::host::body::{self, Body};

/// How long the place of a trap is waited for: it is looked up beside the request.
const TRAP: Duration = Duration::from_millis(500);

impl Browser {
    /// The same answer with a body that tells why. `request` is the request's id.
    pub async fn explained(&self, asked: &Asked, request: &str, response: Response<Body>) -> Response<Body> {
        let status = response.status();
        if !(status.is_client_error() || status.is_server_error()) {
            return response;
        }
        let trap = match status.as_u16() {
            500 => self.trap(request).await,
            _ => None,
        };
        let problems = self.0.picture.borrow().problems().to_vec();
        let trap = trap.map(|text| Problem {
            title: "the component trapped".into(),
            text,
        });
        let problems: Vec<Problem> = trap.into_iter().chain(problems).collect();
        let title = format!(
            "{} {}",
            status.as_u16(),
            status.canonical_reason().unwrap_or_default()
        );
        let (kind, text) = match asked.html {
            true => ("text/html; charset=utf-8", html(&title, &problems)),
            false => ("text/plain; charset=utf-8", plain(&title, &problems)),
        };
        let (mut head, _) = response.into_parts();
        head.headers.remove(header::CONTENT_LENGTH);
        head.headers
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        let response = Response::from_parts(head, body::full(text));
        self.with_script(asked, "", response)
    }

    async fn trap(&self, request: &str) -> Option<String> {
        let mut pictures = self.0.picture.subscribe();
        let told = pictures.wait_for(|picture| picture.trap(request).is_some());
        let told = tokio::time::timeout(TRAP, told);
        let told = told.await.ok()?.ok()?;
        told.trap(request).map(str::to_owned)
    }
}

fn plain(title: &str, problems: &[Problem]) -> String {
    let problems = problems.iter().map(|problem| format!("\n{}\n", problem.text));
    format!("{title}\n{}", problems.collect::<String>())
}

fn html(title: &str, problems: &[Problem]) -> String {
    let problems = problems.iter().map(|Problem { title, text }| {
        format!("<h2>{}</h2>\n<pre>{}</pre>\n", escaped(title), escaped(text))
    });
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<h1>{title}</h1>\n{}\
         <p>This page is wasmhost's. It is loaded anew when something changes.</p>\n",
        problems.collect::<String>()
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_cannot_be_markup() {
        let problem = Problem {
            title: "<b>".into(),
            text: "a < b && c".into(),
        };
        let page = html("404 Not Found", std::slice::from_ref(&problem));
        assert!(page.contains("<h2>&lt;b&gt;</h2>\n<pre>a &lt; b &amp;&amp; c</pre>"));
        assert_eq!(
            plain("404 Not Found", &[problem]),
            "404 Not Found\n\na < b && c\n"
        );
    }
}
