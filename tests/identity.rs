//! What a request is known by: the same id for the client, the guest and the log, and the client's trace.

use std::fs;

use crate::support::{Reply, Server, Tree, guests, wasmhost};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn site() -> Tree {
    let tree = Tree::empty();
    tree.put(
        "odd/page.wasm",
        fs::read(guests().join("misbehave.wasm")).unwrap(),
    );
    tree
}

/// The values of a header as the guest saw it.
fn seen(reply: &Reply, name: &str) -> Vec<String> {
    let text = reply.text();
    let begin = format!("header (\"{name}\", \"");
    let values = text
        .lines()
        .filter_map(|line| line.strip_prefix(&begin)?.strip_suffix("\")"));
    values.map(str::to_owned).collect()
}

#[test]
fn an_id_is_made_or_passed_on_and_given_back() {
    let tree = site();
    let server = Server::start(tree.root());
    let mut client = server.client();
    let made = client.get("/odd/page");
    let id = made.header("x-request-id").unwrap();
    assert_eq!(seen(&made, "x-request-id"), [id]);
    let again = client.get("/odd/page");
    assert_ne!(again.header("x-request-id"), Some(id));
    let sent = client.request("GET", "/odd/page", &[("x-request-id", "order/17")], b"");
    assert_eq!(sent.header("x-request-id"), Some("order/17"));
    assert_eq!(seen(&sent, "x-request-id"), ["order/17"]);
    let forged = client.request("GET", "/odd/page", &[("x-request-id", "a\" error")], b"");
    assert_eq!(
        seen(&forged, "x-request-id"),
        [forged.header("x-request-id").unwrap()]
    );
    assert!(!forged.text().contains("a\\\" error"));
    let hosts = client.request("GET", "/nowhere", &[("x-request-id", "lost")], b"");
    assert_eq!((hosts.status, hosts.header("x-request-id")), (404, Some("lost")));
}

#[test]
fn a_trace_goes_on_or_begins_anew() {
    let tree = site();
    let server = Server::start(tree.root());
    let mut client = server.client();
    let begun = client.get("/odd/page");
    let [parent] = &seen(&begun, "traceparent")[..] else {
        panic!("{}", begun.text());
    };
    assert_eq!(
        &parent[3..35],
        begun.header("x-request-id").unwrap(),
        "one id finds both"
    );
    let sent = [("traceparent", PARENT), ("tracestate", "a=1,b=2")];
    let passed = client.request("GET", "/odd/page", &sent, b"");
    assert_eq!(seen(&passed, "traceparent"), [PARENT]);
    assert_eq!(seen(&passed, "tracestate"), ["a=1,b=2"]);
    let malformed = [("traceparent", "00-0-0-01"), ("tracestate", "a=1,b=2")];
    let anew = client.request("GET", "/odd/page", &malformed, b"");
    assert_eq!(seen(&anew, "traceparent").len(), 1);
    assert_ne!(seen(&anew, "traceparent"), ["00-0-0-01"]);
    assert!(seen(&anew, "tracestate").is_empty());
}

#[test]
fn what_a_guest_prints_is_logged_with_its_request_and_trace() {
    let tree = Tree::empty();
    for guest in ["flows.wasm", "streams.wasm"] {
        tree.put(format!("odd/{guest}"), fs::read(guests().join(guest)).unwrap());
    }
    let server = Server::start(tree.root());
    let mut client = server.client();
    for (page, id) in [("flows", "order-1"), ("streams", "order-2")] {
        let sent = [("x-request-id", id), ("traceparent", PARENT)];
        let reply = client.request("GET", &format!("/odd/{page}?print"), &sent, b"");
        assert_eq!(reply.text(), "printed");
    }
    let made = client.get("/odd/streams?print");
    let made = made.header("x-request-id").unwrap();
    server.signal("TERM");
    let (_, _, log) = server.ended();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("words")).collect();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    for (line, (page, id, trace)) in lines.iter().zip([
        ("flows", "order-1", trace),
        ("streams", "order-2", trace),
        ("streams", made, made),
    ]) {
        let names = format!("component=\"odd.{page}\" stream=\"stdout\" request=\"{id}\" trace=\"{trace}\"");
        assert!(line.contains(&names), "{line}");
    }
    assert_eq!(lines.len(), 3, "{log}");
}

#[test]
fn a_trap_is_reported_with_its_request_and_trace() {
    for (guest, instances) in [
        ("misbehave", "\"shared\""),
        ("misbehave", "{ pool = 1 }"),
        ("streams", "\"isolated\""),
        ("flows", "\"shared\""),
        ("flows", "\"isolated\""),
    ] {
        let tree = Tree::empty();
        tree.put(
            "odd/page.wasm",
            fs::read(guests().join(guest).with_extension("wasm")).unwrap(),
        );
        tree.put(
            "wasmhost.toml",
            format!("[groups.odd]\ninstances = {instances}\n"),
        );
        let mut server = Server::start(tree.root());
        let sent = [("x-request-id", "order-19"), ("traceparent", PARENT)];
        let reply = server.client().request("GET", "/odd/page?trap", &sent, b"");
        assert_eq!(reply.status, 500, "{guest} {instances}");
        let trapped = server.wait("trapped");
        assert_eq!(trapped["request"], "order-19", "{guest} {instances}");
        assert_eq!(trapped["trace"], "0af7651916cd43dd8448eb211c80319c");
        let journal = wasmhost()
            .args(["journal", "--event", "trapped", "--root"])
            .arg(tree.root())
            .output();
        let journal = String::from_utf8(journal.unwrap().stdout).unwrap();
        assert!(journal.contains("odd.page, request order-19: "), "{journal}");
    }
}

#[test]
fn a_failure_is_logged_with_its_id() {
    let tree = site();
    let server = Server::start(tree.root());
    let mut client = server.client();
    let reply = client.request("GET", "/odd/page?trap", &[("x-request-id", "order-18")], b"");
    assert_eq!(
        (reply.status, reply.header("x-request-id")),
        (500, Some("order-18"))
    );
    server.signal("TERM");
    let (_, _, log) = server.ended();
    let line = log
        .lines()
        .find(|line| line.contains("request failed"))
        .expect(&log);
    assert!(line.contains("order-18"), "{line}");
}
