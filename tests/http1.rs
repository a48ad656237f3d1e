//! HTTP/1.1 on the wire: what is answered to requests that are whole, and what to those that could be
//! understood in two ways. By raw sockets, so that nothing between corrects them.

use std::io::{Read, Write};

use crate::support::{
    Reply, Server, Tool, Tree, connect, guests,
    wat_site::{self, page},
};

/// All that the server says to these bytes until it closes the connection. A client that closed its half
/// first would be taken for one that has left.
fn say(server: &Server, bytes: &[u8]) -> String {
    let mut stream = connect(server.authority());
    // A server that refuses may close before it has read all.
    let _ = stream.write_all(bytes);
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

fn statuses(said: &str) -> Vec<u16> {
    let answers = said.split("HTTP/1.1 ").skip(1);
    answers.map(|answer| answer[..3].parse().unwrap()).collect()
}

/// A server of a page that answers with one byte, at `/shop/page`.
fn site() -> (Tree, Server) {
    let tree = wat_site::site(7);
    let server = Server::start(tree.root());
    (tree, server)
}

#[test]
fn requests_that_could_be_understood_in_two_ways_are_refused() {
    let (_tree, server) = site();
    // Whatever follows would be a second request to whoever counts otherwise.
    let check = |head: &str, body: &str| {
        let request = format!("{head}\r\n\r\n{body}GET /shop/page HTTP/1.1\r\nhost: smuggled\r\n\r\n");
        let said = say(&server, request.as_bytes());
        assert_eq!(statuses(&said), [400], "{head:?} was answered with {said}");
    };
    let post = |lines: &str| format!("POST /shop/page HTTP/1.1\r\nhost: a\r\n{lines}");
    check(&post("content-length: 1\r\ncontent-length: 2"), "xx");
    check(&post("content-length: 1, 1"), "x");
    check(&post("content-length: +1"), "x");
    check(&post("content-length: 0x1"), "x");
    check(&post("content-length: -1"), "x");
    check(&post("content-length: 99999999999999999999"), "x");
    check(&post("content-length : 1"), "x");
    check(&post("transfer-encoding: identity"), "x");
    check(&post("transfer-encoding: chunked, identity"), "0\r\n\r\n");
    check(&post("transfer-encoding: gzip, chunked"), "0\r\n\r\n");
    check(&post("transfer-encoding: xchunked"), "0\r\n\r\n");
    check(
        &post("transfer-encoding: chunked\r\ntransfer-encoding: chunked"),
        "0\r\n\r\n",
    );
    check(&post("transfer-encoding : chunked"), "0\r\n\r\n");
    check(&post("transfer-encoding:\x0bchunked"), "0\r\n\r\n");
    check(&post("transfer-encoding: chun\rked"), "0\r\n\r\n");
    check(&post("x-a: 1\rcontent-length: 1"), "x");
    check(&post("x-a: 1\r\n content-length: 1"), "x");
    check(&post("x-a: 1\r\n\tmore"), "");
    check(&post("x-a: \0"), "");
    check(&post("x a: 1"), "");
    check(&post(": 1"), "");
    check(&post("x-a"), "");
    check(
        "POST /shop/page HTTP/1.0\r\ntransfer-encoding: chunked",
        "0\r\n\r\n",
    );
    check("GET /shop/page HTTP/1.1", "");
    check("GET /shop/page HTTP/1.1\r\nhost: a\r\nhost: b", "");
    check("GET /shop/page HTTP/1.1\r\nhost: a/b", "");
    check("GET http://a/shop/page HTTP/1.1\r\nhost: b", "");
    check("GET shop/page HTTP/1.1\r\nhost: a", "");
    check("GET * HTTP/1.1\r\nhost: a", "");
    check("GET /shop/page HTTP/1.2\r\nhost: a", "");
    check("GET /shop/page x HTTP/1.1\r\nhost: a", "");
    check(" GET /shop/page HTTP/1.1\r\nhost: a", "");
    check("G@T /shop/page HTTP/1.1\r\nhost: a", "");
}

#[test]
fn of_two_lengths_the_coding_counts_and_the_connection_ends() {
    let (_tree, server) = site();
    for lines in [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
    ] {
        let request = format!(
            "POST /shop/page HTTP/1.1\r\nhost: a\r\n{lines}\r\n\r\n0\r\n\r\n\
             GET /shop/page HTTP/1.1\r\nhost: smuggled\r\n\r\n"
        );
        let said = say(&server, request.as_bytes());
        assert_eq!(statuses(&said), [200], "{lines:?} was answered with {said}");
        assert!(said.contains("connection: close"), "{said}");
    }
}

#[test]
fn a_bare_line_feed_ends_a_line_of_a_head_wherever_it_stands() {
    let (_tree, server) = site();
    let check = |request: &str, expected: &[u16]| {
        let said = say(&server, request.as_bytes());
        assert_eq!(statuses(&said), expected, "{request:?} was answered with {said}");
    };
    check("GET /shop/page HTTP/1.1\nhost: a\nconnection: close\n\n", &[200]);
    // What another could take for a part of a value is a line of its own here, and judged as one.
    check(
        "GET /shop/page HTTP/1.1\r\nhost: a\r\nx: y\nhost: b\r\n\r\n",
        &[400],
    );
    check(
        "POST /shop/page HTTP/1.1\r\nhost: a\r\nx: y\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        &[400],
    );
    check(
        "POST /shop/page HTTP/1.1\r\nhost: a\r\nx: y\ncontent-length: 1\r\n\r\nx\
         GET /shop/page HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        &[200, 200],
    );
}

#[test]
fn a_body_that_is_broken_ends_its_connection() {
    let (_tree, server) = site();
    for body in [
        "zz\r\n",
        "5\r\nhello",
        "1\r\nxx\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n",
        "1 \rx\r\n0\r\n\r\n",
        // Bare line feeds, and what could hide behind them.
        "1\nx\r\n0\r\n\r\n",
        "1\r\nx\n0\r\n\r\n",
        "1;a\nb\r\nx\r\n0\r\n\r\n",
        "1\r\nx\r\n0\n\r\n",
    ] {
        let request = format!(
            "POST /shop/page HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{body}\
             GET /shop/page HTTP/1.1\r\nhost: smuggled\r\n\r\n"
        );
        let said = say(&server, request.as_bytes());
        assert_eq!(statuses(&said), [400], "{body:?} was answered with {said}");
    }
}

#[test]
fn requests_one_after_another_are_answered_in_order() {
    let (_tree, server) = site();
    let requests = "GET /shop/page HTTP/1.1\r\nhost: a\r\n\r\n\
                    POST /nowhere HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc\
                    POST /api/page HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n\
                    OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n\
                    TRACE /shop/page HTTP/1.1\r\nhost: a\r\n\r\n\
                    GET http://a/shop/page HTTP/1.1\r\nhost: a\r\n\r\n\
                    GET /shop/page HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n\
                    GET /shop/page HTTP/1.1\r\nhost: a\r\n\r\n";
    let said = say(&server, requests.as_bytes());
    assert_eq!(statuses(&said), [200, 404, 200, 204, 405, 200, 200], "{said}");
    let said = say(
        &server,
        b"GET /shop/page HTTP/1.0\r\n\r\nGET /shop/page HTTP/1.0\r\n\r\n",
    );
    assert!(said.starts_with("HTTP/1.0 200"), "{said}");
    assert_eq!(said.matches("HTTP/").count(), 1, "without keep-alive: {said}");
}

#[test]
fn a_head_that_is_too_large_is_said_so() {
    let tree = Tree::empty();
    tree.put("shop/page.wat", page(7, ""));
    tree.put("wasmhost.toml", "[server.limits]\nheader-size = \"8KiB\"\n");
    let server = Server::start(tree.root());
    let get = |lines: &str| {
        let said = say(
            &server,
            format!("GET /shop/page HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{lines}\r\n").as_bytes(),
        );
        statuses(&said)
    };
    assert_eq!(get(&format!("x-a: {}\r\n", "a".repeat(4000))), [200]);
    assert_eq!(get(&format!("x-a: {}\r\n", "a".repeat(8200))), [431]);
    assert_eq!(get(&"x-a: 1\r\n".repeat(98)), [200]);
    assert_eq!(get(&"x-a: 1\r\n".repeat(99)), [431]);
    assert_eq!(get(&"x: 1\r\n".repeat(100_000)), [431]);
}

#[test]
fn a_head_request_gets_the_headers_of_a_get() {
    let tree = Tree::empty();
    let guest = |name: &str| std::fs::read(guests().join(name)).unwrap();
    tree.put("odd/misbehave.wasm", guest("misbehave.wasm"));
    tree.put("odd/streams.wasm", guest("streams.wasm"));
    let server = Server::start(tree.root());
    let mut client = server.client();
    let comparable = |reply: Reply| -> Vec<(String, String)> {
        let same =
            |(name, _): &(String, String)| !["date", "x-request-id", "x-calls"].contains(&name.as_str());
        reply.headers.into_iter().filter(same).collect()
    };
    for path in ["/odd/misbehave?large=1000", "/odd/streams?count", "/nowhere"] {
        let get = client.get(path);
        assert!(!get.body.is_empty(), "{path}");
        assert!(
            get.header("date").is_some_and(|date| date.ends_with(" GMT")),
            "{get:?}"
        );
        let head = client.request("HEAD", path, &[], b"");
        assert_eq!(head.status, get.status, "{path}");
        let (head, mut get) = (comparable(head), comparable(get));
        // A length that nobody knows beforehand is no header of a HEAD.
        get.retain(|header| *header != ("transfer-encoding".into(), "chunked".into()));
        assert_eq!(head, get, "{path}");
    }
    assert_eq!(
        client.get("/odd/misbehave?count").status,
        200,
        "the connection is as it was"
    );
}

#[test]
fn methods_that_the_host_answers_itself() {
    let (_tree, server) = site();
    let mut client = server.client();
    for method in ["CONNECT", "TRACE"] {
        let said = say(
            &server,
            format!("{method} /shop/page HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes(),
        );
        assert!(
            statuses(&said) == [405] || method == "CONNECT" && statuses(&said) == [400],
            "{said}"
        );
    }
    let said = say(
        &server,
        b"CONNECT a.test:80 HTTP/1.1\r\nhost: a.test:80\r\nconnection: close\r\n\r\n",
    );
    assert_eq!(statuses(&said), [405], "{said}");
    assert!(said.contains("allow: GET, HEAD, POST"), "{said}");
    let all = client.request("OPTIONS", "*", &[], b"");
    assert_eq!((all.status, all.header("content-length")), (204, None));
    assert!(
        all.header("allow")
            .is_some_and(|methods| methods.contains("OPTIONS"))
    );
    let guests = client.request("OPTIONS", "/shop/page", &[], b"");
    assert_eq!((guests.status, guests.generation()), (200, "shop@1"));
}

#[test]
fn a_client_that_sends_too_much_still_reads_the_answer() {
    let tree = Tree::empty();
    tree.put("shop/page.wat", page(7, ""));
    tree.put("wasmhost.toml", "[groups.shop.limits]\nbody = \"1KiB\"\n");
    let server = Server::start(tree.root());
    for _ in 0..20 {
        let reply = server
            .client()
            .request("POST", "/shop/page", &[], &vec![0; 2 << 20]);
        assert_eq!(reply.status, 413);
    }
}

#[test]
fn curl_is_content() {
    let Some(curl) = Tool::new("curl") else { return };
    let (_tree, server) = site();
    let url = format!("{}/shop/page", server.url());
    let said = curl.run(&[
        "--silent",
        "--fail",
        "--include",
        "--http1.1",
        &url,
        "--next",
        "--silent",
        "--head",
        &url,
    ]);
    assert_eq!(statuses(&said), [200, 200], "{said}");
    assert_eq!(said.matches("content-length: 1\r\n").count(), 2, "{said}");
}
