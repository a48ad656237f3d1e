//! Who may steer over an address of this machine: whoever has the token. A page of another origin does not
//! reach it even where the browser could: neither by a name that leads here (DNS rebinding) nor by a request
//! across origins. The token is no cookie: those are sent to every port of a machine, the site's own too.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::failure::Failure;
use crate::diagnostic::Diagnostic;

/// What only the one with the token can show.
#[derive(Clone)]
pub struct Guard(Arc<Token>);

/// Hashed, so that comparing tells nothing by its time, whatever the lengths.
struct Token {
    key: [u8; blake3::KEY_LEN],
    hash: blake3::Hash,
}

/// Why a request is not answered.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// It was sent to a name that is none of this machine's.
    Host,
    /// A page of another origin sent it.
    Origin,
    Token,
}

impl Guard {
    pub fn new(token: &str) -> Self {
        let key = blake3::derive_key("wasmhost 2026 admin token", token.as_bytes());
        let hash = blake3::keyed_hash(&key, token.as_bytes());
        Self(Arc::new(Token { key, hash }))
    }

    fn check(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
        let host = text(headers.get(header::HOST)).ok_or(Refusal::Host)?;
        if !is_this_machine(host) {
            return Err(Refusal::Host);
        }
        if let Some(origin) = headers.get(header::ORIGIN)
            && text(Some(origin)).and_then(|origin| origin.strip_prefix("http://")) != Some(host)
        {
            return Err(Refusal::Origin);
        }
        let site = text(headers.get("sec-fetch-site"));
        if site.is_some_and(|site| site != "same-origin" && site != "none") {
            return Err(Refusal::Origin);
        }
        if is_public(uri.path()) || self.knows(headers) {
            return Ok(());
        }
        Err(Refusal::Token)
    }

    fn knows(&self, headers: &HeaderMap) -> bool {
        let given = text(headers.get(header::AUTHORIZATION));
        let given = given.and_then(|given| given.strip_prefix("Bearer "));
        // blake3 compares hashes in constant time.
        given.is_some_and(|given| blake3::keyed_hash(&self.0.key, given.as_bytes()) == self.0.hash)
    }
}

/// The page that asks for the token, and what it is made of: it is the same for all.
fn is_public(path: &str) -> bool {
    !(path.starts_with("/v1/") || path == "/metrics") || path == "/v1/openapi.json"
}

fn is_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value?.to_str().ok()
}

impl Refusal {
    fn answer(&self) -> Response {
        let (status, diagnostic) = match self {
            Self::Host => (
                StatusCode::MISDIRECTED_REQUEST,
                Diagnostic::new("host-foreign", "the admin interface answers to names of this machine alone")
                    .help("ask for 127.0.0.1, [::1] or localhost"),
            ),
            Self::Origin => (
                StatusCode::FORBIDDEN,
                Diagnostic::new("origin-foreign", "a page of another origin may not steer this server"),
            ),
            Self::Token => (
                StatusCode::UNAUTHORIZED,
                Diagnostic::new("token-wrong", "the token is missing or wrong").help(
                    "send `authorization: Bearer TOKEN`, with the token that [server.admin] names in the manifest",
                ),
            ),
        };
        let mut response = Failure::one(status, diagnostic).into_response();
        if *self == Self::Token {
            let bearer = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

/// Answers in the place of what is guarded, where it has to.
pub async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match guard.check(request.headers(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.answer(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    const TOKEN: &str = "correct-horse-battery";

    fn check(path: &str, lines: &[(&'static str, &str)]) -> Result<(), Refusal> {
        let lines = lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        Guard::new(TOKEN).check(&lines.collect(), &path.parse().unwrap())
    }

    #[test]
    fn only_the_token_opens() {
        let with = |token: &str| {
            check(
                "/v1/status",
                &[("host", "127.0.0.1:9180"), ("authorization", token)],
            )
        };
        assert_eq!(with(&format!("Bearer {TOKEN}")), Ok(()));
        for token in [
            TOKEN,
            "Bearer ",
            "Bearer correct-horse-batter",
            "Basic Y29ycmVjdA==",
            "",
        ] {
            assert_eq!(with(token), Err(Refusal::Token), "{token}");
        }
        for path in ["/metrics", "/v1/status", "/v1/swap", "/v1/events?last=1"] {
            assert_eq!(
                check(path, &[("host", "localhost:1")]),
                Err(Refusal::Token),
                "{path}"
            );
        }
        assert_eq!(check("/", &[("host", "[::1]:9180")]), Ok(()));
        assert_eq!(check("/v1/openapi.json", &[("host", "localhost")]), Ok(()));
    }

    #[test]
    fn a_name_of_elsewhere_is_no_name_of_this_machine() {
        for host in [
            "evil.example",
            "127.0.0.1.evil.example:80",
            "10.0.0.1",
            "localhost.evil",
            "",
        ] {
            assert_eq!(check("/", &[("host", host)]), Err(Refusal::Host), "{host}");
        }
        assert_eq!(check("/", &[]), Err(Refusal::Host));
    }

    #[test]
    fn a_page_of_another_origin_is_refused_with_the_token_too() {
        let token = format!("Bearer {TOKEN}");
        let from = |name: &'static str, value: &str| {
            let lines = [
                ("host", "127.0.0.1:9180"),
                ("authorization", &token),
                (name, value),
            ];
            check("/v1/swap", &lines)
        };
        assert_eq!(from("origin", "http://127.0.0.1:9180"), Ok(()));
        assert_eq!(from("sec-fetch-site", "same-origin"), Ok(()));
        for origin in [
            "http://evil.example",
            "http://127.0.0.1:8080",
            "https://127.0.0.1:9180",
            "null",
        ] {
            assert_eq!(from("origin", origin), Err(Refusal::Origin), "{origin}");
        }
        for site in ["cross-site", "same-site"] {
            assert_eq!(from("sec-fetch-site", site), Err(Refusal::Origin), "{site}");
        }
    }
}
