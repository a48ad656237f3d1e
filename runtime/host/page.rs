//! The page handler: a request and a response as plain records.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header, request::Parts};

use self::bindings::wasmhost::page::types;
use super::is_status_of_a_response;

mod bindings {
    wasmtime::component::bindgen!({ path: "wit/page.wit", world: "page" });
}

pub use self::bindings::wasmhost::page::types::{Request, Response};

/// Bytes of a response's headers, as HTTP/2 counts them: 32 for each beside its name and value. Those of
/// WASI HTTP have the same limit.
const MAX_HEAD: usize = 128 << 10;

/// What a route's pattern captured, percent-decoded, in its order.
pub type Params = Vec<(String, String)>;

/// The request as a page component receives it.
pub fn request(parts: &Parts, params: Params, body: &Bytes) -> Request {
    types::Request {
        method: parts.method.as_str().into(),
        authority: authority(parts).into(),
        path: parts.uri.path().into(),
        query: parts.uri.query().map(Into::into),
        params,
        headers: parts
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().into(), value.as_bytes().to_vec()))
            .collect(),
        body: body.to_vec(),
    }
}

/// The host that the client asked for, empty if it named none.
fn authority(parts: &Parts) -> &str {
    let header = || {
        parts
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
    };
    parts
        .uri
        .authority()
        .map(|authority| authority.as_str())
        .or_else(header)
        .unwrap_or_default()
}

/// The answer of a page component as HTTP. Errors: what HTTP cannot carry, as text for the log.
pub fn response(response: Response) -> Result<http::Response<Bytes>, String> {
    let status = StatusCode::from_u16(response.status)
        .ok()
        .filter(|status| is_status_of_a_response(status.as_u16()))
        .ok_or_else(|| format!("{} is no status for a response", response.status))?;
    let mut answer = http::Response::new(Bytes::from(response.body));
    *answer.status_mut() = status;
    let lengths = response
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len() + 32);
    if lengths.sum::<usize>() > MAX_HEAD {
        return Err(format!("its headers are larger than {MAX_HEAD} bytes"));
    }
    for (name, value) in response.headers {
        let header = HeaderName::try_from(&name).map_err(|_| format!("{name:?} is no header name"))?;
        if is_hosts_own(&header) {
            continue;
        }
        let value = HeaderValue::from_maybe_shared(Bytes::from(value))
            .map_err(|_| format!("the value of {name:?} is no header value"))?;
        let added = answer.headers_mut().try_append(header, value);
        added.map_err(|_| "it has too many headers".to_owned())?;
    }
    Ok(answer)
}

/// Headers of the connection and the message frame, which belong to the server.
fn is_hosts_own(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION
            | header::CONTENT_LENGTH
            | header::TE
            | header::TRAILER
            | header::TRANSFER_ENCODING
            | header::UPGRADE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)]) -> Result<http::Response<Bytes>, String> {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).into(), value.as_bytes().to_vec()))
            .collect();
        response(Response {
            status,
            headers,
            body: b"hi".to_vec(),
        })
    }

    #[test]
    fn a_response_that_http_cannot_carry_is_refused() {
        assert!(answer(99, &[]).is_err());
        assert!(answer(101, &[]).is_err(), "informational");
        assert!(answer(600, &[]).is_err(), "of no class");
        assert!(answer(200, &[("a b", "c")]).is_err());
        let long = "y".repeat(MAX_HEAD);
        assert!(answer(200, &[("x", &long)]).is_err(), "too large");
        assert!(answer(200, &[("x", ""); 100_000]).is_err(), "too many");
        assert!(
            answer(200, &[("x", "a\r\nset-cookie: stolen")]).is_err(),
            "response splitting"
        );
    }

    #[test]
    fn framing_headers_stay_with_the_server() {
        let answer = answer(
            200,
            &[("content-length", "7"), ("set-cookie", "a"), ("set-cookie", "b")],
        )
        .unwrap();
        assert!(answer.headers().get("content-length").is_none());
        assert_eq!(answer.headers().get_all("set-cookie").iter().count(), 2);
    }

    #[test]
    fn a_request_keeps_its_path_as_it_came() {
        let request_line = http::Request::get("/items/a%20b?x=%2F").header("host", "shop.test");
        let (parts, ()) = request_line.body(()).unwrap().into_parts();
        let request = request(&parts, vec![("id".into(), "a b".into())], &Bytes::new());
        assert_eq!(
            (request.path.as_str(), request.query.as_deref()),
            ("/items/a%20b", Some("x=%2F"))
        );
        assert_eq!(request.authority, "shop.test");
    }
}
