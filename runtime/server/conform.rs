//! Requests that could be understood in two ways, or not at all, beyond what the parser refuses itself:
//! they are refused before anyone else sees them. Knows no route and no guest.
//!
//! The parser has these: `content-length` that is no number or differs, `transfer-encoding` that does not
//! end in `chunked` or comes by HTTP/1.0, folded lines, bare CR, blanks before a colon. Of both lengths
//! the coding counts, `content-length` is removed, and the connection is closed after the answer.

use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode, Version,
    header::{COOKIE, HOST, TRANSFER_ENCODING},
    uri::Authority,
};

use crate::project::ServerLimits;

/// Errors: the status that it is refused with.
pub fn check<B>(request: &Request<B>) -> Result<(), StatusCode> {
    let (headers, uri) = (request.headers(), request.uri());
    if headers.len() > ServerLimits::HEADERS {
        return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    if *request.method() == Method::CONNECT {
        // Nobody takes it, whatever it says.
        return Ok(());
    }
    let path = uri.path();
    let is_star = path == "*" && *request.method() == Method::OPTIONS;
    let has_path = path.starts_with('/') || is_star;
    let hosted = is_hosted(request.version(), headers, uri.authority());
    if has_path && hosted && is_plainly_coded(headers) {
        Ok(())
    } else {
        Err(StatusCode::BAD_REQUEST)
    }
}

/// One host at most, and the same wherever it is named; HTTP/1.1 names it always.
fn is_hosted(version: Version, headers: &HeaderMap, authority: Option<&Authority>) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    let named = host.is_some() || version != Version::HTTP_11;
    let fits = host.is_none_or(|host| is_host(host.as_bytes()));
    let same = match (host, authority) {
        (Some(host), Some(authority)) => host
            .as_bytes()
            .eq_ignore_ascii_case(authority.as_str().as_bytes()),
        _ => true,
    };
    let without_user = authority.is_none_or(|authority| !authority.as_str().contains('@'));
    hosts.next().is_none() && named && fits && same && without_user
}

fn is_host(host: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(byte);
    host.iter().all(fits)
}

/// No coding but `chunked`, and that once.
fn is_plainly_coded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    codings.next().is_none_or(chunked) && codings.next().is_none()
}

/// HTTP/2 may send cookies in several lines; those who know only one get one.
pub fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let lines: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(request_line: &str, lines: &[(&str, &str)], expected: Result<(), u16>) {
        let mut words = request_line.split(' ');
        let mut word = || words.next().unwrap();
        let mut request = Request::builder().method(word()).uri(word());
        request = request.version(match word() {
            "1.0" => Version::HTTP_10,
            "1.1" => Version::HTTP_11,
            _ => Version::HTTP_2,
        });
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let found = super::check(&request.body(()).unwrap()).map_err(|status| status.as_u16());
        assert_eq!(found, expected, "{request_line} {lines:?}");
    }

    #[test]
    fn one_host_and_no_other() {
        check("GET / 1.1", &[("host", "a.test")], Ok(()));
        check("GET / 1.1", &[("host", "")], Ok(()));
        check("GET / 1.1", &[("host", "[::1]:80")], Ok(()));
        check("GET / 1.1", &[], Err(400));
        check("GET / 1.0", &[], Ok(()));
        check("GET / 1.1", &[("host", "a.test"), ("host", "a.test")], Err(400));
        check("GET / 1.0", &[("host", "a.test"), ("host", "b.test")], Err(400));
        check("GET / 1.1", &[("host", "a.test/x")], Err(400));
        check("GET / 1.1", &[("host", "u@a.test")], Err(400));
        check("GET http://a.test/ 1.1", &[("host", "A.test")], Ok(()));
        check("GET http://a.test/ 1.1", &[("host", "b.test")], Err(400));
        check("GET http://u@a.test/ 1.1", &[("host", "u@a.test")], Err(400));
        check("GET https://a.test/ 2", &[], Ok(()));
        check("GET https://a.test/ 2", &[("host", "b.test")], Err(400));
    }

    #[test]
    fn one_coding_and_no_other() {
        let coded = |codings: &[&str], expected| {
            let codings = codings.iter().map(|coding| ("transfer-encoding", *coding));
            let lines: Vec<_> = [("host", "a")].into_iter().chain(codings).collect();
            check("POST / 1.1", &lines, expected);
        };
        coded(&["chunked"], Ok(()));
        coded(&["Chunked"], Ok(()));
        coded(&["gzip, chunked"], Err(400));
        coded(&["chunked", "chunked"], Err(400));
        coded(&["identity", "chunked"], Err(400));
    }

    #[test]
    fn targets_are_paths() {
        check("OPTIONS * 1.1", &[("host", "a")], Ok(()));
        check("GET * 1.1", &[("host", "a")], Err(400));
        check("GET a.test:80 1.1", &[("host", "a.test:80")], Err(400));
        check("CONNECT a.test:80 1.1", &[("host", "a.test:80")], Ok(()));
    }

    #[test]
    fn not_too_many_lines() {
        let lines: Vec<_> = (0..=100).map(|_| ("x-a", "1")).collect();
        check("GET https://a.test/ 2", &lines[..100], Ok(()));
        check("GET https://a.test/ 2", &lines, Err(431));
    }

    #[test]
    fn cookies_come_in_one_line() {
        let mut headers = HeaderMap::new();
        for cookie in ["a=1", "b=2", "c=3"] {
            headers.append(COOKIE, HeaderValue::from_static(cookie));
        }
        join_cookies(&mut headers);
        assert_eq!(
            headers.get_all(COOKIE).iter().collect::<Vec<_>>(),
            ["a=1; b=2; c=3"]
        );
    }
}
