//! Requests and responses between clients and guests that do what a guest should not: what the client
//! gets, what the store keeps, and which generation it was. The guests are those of `tests/guests`.

use std::{
    fs,
    sync::mpsc::{Receiver, channel},
};

use serde_json::Value;

use crate::support::{Client, Gated, PATIENCE, Reply, Server, Tree, assert_broken, guests, touched};

/// For tests that hold a guest at its gate: however slow the machine is, the guest is not late.
const PATIENT: &str = "[groups.odd.limits]\nrequest-time = \"10m\"\n";

/// Both guests in one group, and so in one store.
fn odd(manifest: &str) -> Tree {
    let tree = Tree::empty();
    for guest in ["misbehave.wasm", "streams.wasm"] {
        tree.put(format!("odd/{guest}"), fs::read(guests().join(guest)).unwrap());
    }
    tree.put("wasmhost.toml", manifest);
    tree
}

fn page(client: &mut Client, what: &str) -> Reply {
    client.get(&format!("/odd/misbehave?{what}"))
}

fn streams(client: &mut Client, what: &str) -> Reply {
    client.get(&format!("/odd/streams?{what}"))
}

/// How often the page was called in its store; this is a call too.
fn count(client: &mut Client) -> u64 {
    let reply = page(client, "count");
    assert_eq!((reply.status, reply.generation()), (200, "odd@1"));
    reply.text().parse().unwrap()
}

/// That the host answered for the guest, and named nothing of the inside.
fn assert_bare(reply: &Reply, expected: &str) {
    assert_eq!(reply.text(), format!("{expected}\n"));
    assert_eq!(reply.status.to_string(), expected[..3]);
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
}

/// That the guest's death was reported, and the next store after it.
fn assert_replaced(server: &mut Server, component: &str) -> Value {
    let trapped = server.wait("trapped");
    assert_eq!(
        (&trapped["group"], &trapped["generation"]),
        (&"odd".into(), &1.into())
    );
    assert_eq!(trapped["component"], component, "{trapped}");
    let recovered = server.wait("recovered");
    assert_eq!(
        (&recovered["group"], &recovered["generation"]),
        (&"odd".into(), &1.into())
    );
    trapped
}

/// Sends the requests at once, each on a connection of its own; the replies come in their order of arrival.
fn at_once(server: &Server, paths: &[&str]) -> Receiver<Reply> {
    let (sender, replies) = channel();
    for path in paths {
        let (mut client, path, sender) = (server.client(), (*path).to_owned(), sender.clone());
        std::thread::spawn(move || sender.send(client.get(&path)));
    }
    replies
}

#[test]
fn a_page_receives_the_request_as_it_came() {
    let tree = odd("[groups.odd.routes]\n\"/items/{first}/{second}\" = \"odd.misbehave\"\n");
    let server = Server::start(tree.root());
    let mut client = server.client();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let headers = [
        ("X-Twice", "one"),
        ("x-twice", "two, three"),
        ("traceparent", parent),
        ("x-request-id", "mine"),
    ];
    let reply = client.request(
        "PUT",
        "/items/a%20b%2Fc/%C3%A9?x=%2F&y",
        &headers,
        b"h\xc3\xa9llo",
    );
    let authority = server.url().strip_prefix("http://").unwrap();
    let expected = format!(
        r#"method "PUT"
authority "{authority}"
path "/items/a%20b%2Fc/%C3%A9"
query Some("x=%2F&y")
param ("first", "a b/c")
param ("second", "é")
header ("host", "{authority}")
header ("x-twice", "one")
header ("x-twice", "two, three")
header ("traceparent", "{parent}")
header ("x-request-id", "mine")
header ("content-length", "6")
body "héllo"
"#
    );
    assert_eq!(reply.text(), expected);
    assert!(
        client
            .get("/odd/misbehave")
            .text()
            .contains("\nquery None\nheader")
    );
    assert_eq!(
        client.get("/items/a/%FF").status,
        400,
        "a parameter is a string, and this is none"
    );
}

#[test]
fn a_head_request_is_answered_without_a_body() {
    let tree = odd(PATIENT);
    let server = Server::start(tree.root());
    let mut client = server.client();
    let reply = client.request("HEAD", "/odd/misbehave?large=1000", &[], b"");
    assert_eq!(
        (reply.status, reply.header("content-length")),
        (200, Some("1000"))
    );
    let reply = client.request("HEAD", "/odd/streams?flood", &[], b"");
    assert_eq!(reply.status, 200, "even where the guest would never stop writing");
    assert_eq!(
        count(&mut client),
        2,
        "the connection and the store are as they were"
    );
}

#[test]
fn what_the_host_answers_itself_names_no_inside() {
    let tree = odd("");
    let server = Server::start(tree.root());
    for (method, path, expected) in [
        ("GET", "/odd", "404 Not Found"),
        ("GET", "/odd/nothing?trap", "404 Not Found"),
        ("GET", "/odd/misbehave/more", "404 Not Found"),
        ("TRACE", "/odd/misbehave", "405 Method Not Allowed"),
        ("CONNECT", "example.com:80", "405 Method Not Allowed"),
    ] {
        let reply = server.client().request(method, path, &[], b"");
        assert_bare(&reply, expected);
        assert_eq!(reply.header("allow").is_some(), reply.status == 405, "{method}");
    }
    let reply = server
        .client()
        .request("GET", "/odd/misbehave", &[("x-many", "y"); 200], b"");
    assert_eq!(reply.status, 431);
}

#[test]
fn a_body_over_the_limit_is_refused() {
    let tree = odd("[groups.odd.limits]\nbody = \"1KiB\"\n");
    let server = Server::start(tree.root());
    for path in ["/odd/misbehave", "/odd/streams?size"] {
        for (size, status) in [(1024, 200), (1025, 413)] {
            let body = "x".repeat(size);
            let reply = server.client().request("POST", path, &[], body.as_bytes());
            assert_eq!(reply.status, status, "{path} with a body of {size} bytes");
            let mut chunked = Gated::open(&server, path);
            chunked.send(&body);
            chunked.finish();
            let reply = chunked.client.receive(false).unwrap();
            assert_eq!(reply.status, status, "{path} with {size} bytes in chunks");
            if status == 413 {
                assert_bare(&reply, "413 Payload Too Large");
            }
        }
    }
    assert_eq!(
        count(&mut server.client()),
        3,
        "the page saw only what is within the limit"
    );
}

#[test]
fn a_trap_ends_one_store_and_no_connection() {
    let tree = odd("[groups.odd.limits]\nmemory = \"16MiB\"\n");
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    for (what, message) in [
        ("trap", "unreachable"),
        ("panic", "unreachable"),
        ("hoard", "unreachable"),
        ("recursion", "call stack exhausted"),
        ("exit=0", "exit"),
    ] {
        assert_eq!((count(&mut client), count(&mut client)), (1, 2));
        let reply = page(&mut client, what);
        assert_bare(&reply, "500 Internal Server Error");
        assert_eq!(reply.generation(), "odd@1");
        let trapped = assert_replaced(&mut server, "odd.misbehave");
        assert!(
            trapped["message"].as_str().unwrap().contains(message),
            "{what}: {trapped}"
        );
    }
    assert_eq!(count(&mut client), 1);
    assert_bare(&streams(&mut client, "trap"), "500 Internal Server Error");
    assert_replaced(&mut server, "odd.streams");
    assert_eq!(count(&mut client), 1, "the store was that of the whole group");
}

#[test]
fn a_trap_takes_no_other_request_with_it() {
    let tree = odd(PATIENT);
    let server = Server::start(tree.root());
    let mut paths = ["/odd/misbehave?count"; 30];
    for trap in [5, 6, 20] {
        paths[trap] = "/odd/misbehave?trap";
    }
    let mut statuses: Vec<u16> = at_once(&server, &paths)
        .iter()
        .map(|reply| reply.status)
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![200; 27], vec![500; 3]].concat());
}

#[test]
fn a_guest_that_does_not_come_back_ends_at_the_request_time() {
    let tree = odd("[groups.odd.limits]\nrequest-time = \"1s\"\n");
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    for what in ["loop", "sleep"] {
        assert_eq!(count(&mut client), 1);
        assert_bare(&page(&mut client, what), "504 Gateway Timeout");
        let trapped = assert_replaced(&mut server, "odd.misbehave");
        assert_eq!(trapped["message"], "the request took longer than 1s");
    }
    assert_eq!(count(&mut client), 1);
}

#[test]
fn a_request_that_waits_for_its_client_ends_at_the_request_time() {
    let tree = odd("[groups.odd.limits]\nrequest-time = \"1s\"\nin-flight = 1\n");
    let server = Server::start(tree.root());
    assert_eq!(count(&mut server.client()), 1);
    let mut upload = Gated::open(&server, "/odd/misbehave");
    upload.send("and then nothing");
    assert_bare(&upload.client.receive(false).unwrap(), "504 Gateway Timeout");
    assert_eq!(
        count(&mut server.client()),
        2,
        "the guest was not called: it is not to blame"
    );
}

#[test]
fn a_client_that_keeps_its_guest_waiting_is_cut_off_without_harm() {
    let tree = odd("[groups.odd.limits]\nrequest-time = \"1s\"\n");
    let mut server = Server::start(tree.root());
    assert_eq!(count(&mut server.client()), 1);
    // One that never sends the rest, and one that never reads.
    let (mut stream, _) = Gated::lockstep(&server);
    let mut flooded = server.client();
    flooded.send("GET", "/odd/streams?flood", &[], b"").unwrap();
    assert_broken(stream.receive());
    flooded.receive_head().unwrap();
    assert_eq!(count(&mut server.client()), 2, "the state is as it was");
    assert_broken(flooded.receive_rest());
    assert_eq!(streams(&mut server.client(), "count").text(), "3");
    assert!(server.seen().is_empty(), "{:#?}", server.seen());
}

#[test]
fn memory_is_limited_for_all_components_of_a_store_together() {
    let tree = odd("[groups.odd.limits]\nmemory = \"8MiB\"\n");
    let server = Server::start(tree.root());
    let mut client = server.client();
    let grown: u64 = page(&mut client, "grow").text().parse().unwrap();
    assert!(
        (4 << 20..7 << 20).contains(&grown),
        "{grown}: the other component needs more than 1 MiB"
    );
    assert_eq!(count(&mut client), 2, "to be refused memory is no trap");
    assert_eq!(streams(&mut client, "count").status, 200);
}

#[test]
fn a_response_that_http_cannot_carry_is_a_bad_gateway() {
    let tree = odd("");
    let server = Server::start(tree.root());
    let mut client = server.client();
    let rows = [
        "status=0",
        "status=99",
        "status=100",
        "status=101",
        "status=600",
        "name",
        "split-name",
        "value",
    ];
    for what in rows {
        let reply = page(&mut client, what);
        assert_bare(&reply, "502 Bad Gateway");
        assert_eq!(reply.generation(), "odd@1");
    }
    for what in ["silent", "error", "status=101", "status=600"] {
        assert_bare(&streams(&mut client, what), "502 Bad Gateway");
    }
    assert_eq!(
        count(&mut client),
        rows.len() as u64 + 1,
        "to be wrong is no trap"
    );
    assert_eq!(streams(&mut client, "count").text(), "5");
}

#[test]
fn a_guest_does_not_speak_for_the_host() {
    let tree = odd("");
    let server = Server::start(tree.root());
    let mut client = server.client();
    let reply = page(&mut client, "length");
    assert_eq!(
        (reply.header("content-length"), reply.text().as_str()),
        (Some("13"), "with a header")
    );
    let generations: Vec<_> = page(&mut client, "claim").headers;
    let generations: Vec<_> = generations
        .iter()
        .filter(|(name, _)| name == "wasmhost-generation")
        .collect();
    assert_eq!(
        generations,
        [&("wasmhost-generation".to_owned(), "odd@1".to_owned())]
    );
    for (status, length) in [(204, None), (304, None), (599, Some("6"))] {
        let reply = page(&mut client, &format!("status={status}"));
        assert_eq!(reply.status, status);
        assert_eq!(reply.header("content-length").filter(|_| status == 599), length);
    }
    assert_eq!(page(&mut client, "large=1000000").body, vec![b'x'; 1_000_000]);
}

#[test]
fn state_is_kept_from_request_to_request() {
    let tree = odd("");
    let server = Server::start(tree.root());
    let mut client = server.client();
    for expected in 1..=100 {
        assert_eq!(count(&mut client), expected, "on one connection");
    }
    let replies = at_once(&server, &["/odd/misbehave?count"; 32]);
    let mut counts: Vec<u64> = replies
        .iter()
        .map(|reply| reply.text().parse().unwrap())
        .collect();
    counts.sort_unstable();
    assert_eq!(counts, (101..=132).collect::<Vec<_>>(), "on many at once");
}

#[test]
fn a_response_streams_while_the_request_still_arrives() {
    let tree = odd(PATIENT);
    let server = Server::start(tree.root());
    let (mut stream, head) = Gated::lockstep(&server);
    assert_eq!((head.generation(), head.header("x-calls")), ("odd@1", Some("1")));
    for part in ["one", "two", "three"] {
        stream.send(part);
        assert_eq!(stream.receive().unwrap().as_deref(), Some(part));
    }
    stream.finish();
    assert_eq!(stream.receive().unwrap(), None);
    assert_eq!(
        streams(&mut stream.client, "count").text(),
        "2",
        "the connection goes on"
    );
}

#[test]
fn a_body_that_the_guest_does_not_finish_looks_broken() {
    let tree = odd(PATIENT);
    let mut server = Server::start(tree.root());
    let mut stream = Gated::open(&server, "/odd/streams?trap-midway");
    assert_eq!(stream.client.receive_head().unwrap().status, 200);
    assert_eq!(stream.receive().unwrap().as_deref(), Some("begun"));
    stream.send("now trap");
    assert_broken(stream.receive());
    assert_replaced(&mut server, "odd.streams");

    for what in ["unfinished", "forgotten", "short"] {
        let answer = server
            .client()
            .try_request("GET", &format!("/odd/streams?{what}"), &[], b"");
        assert_broken(answer);
    }
    let long = streams(&mut server.client(), "long");
    assert_eq!(
        (long.status, long.text().as_str()),
        (200, "be"),
        "what is past its length is no part of it"
    );
    assert_eq!(
        streams(&mut server.client(), "count").text(),
        "5",
        "that is no trap"
    );
}

#[test]
fn a_trap_after_the_last_byte_takes_nothing_from_the_answer() {
    let tree = odd(PATIENT);
    let mut server = Server::start(tree.root());
    let mut stream = Gated::open(&server, "/odd/streams?trap-late");
    assert_eq!(stream.client.receive(false).unwrap().text(), "complete");
    stream.send("now trap");
    assert_replaced(&mut server, "odd.streams");
    assert_eq!(count(&mut server.client()), 1);
}

#[test]
fn a_guest_reaches_nothing_that_it_was_not_granted() {
    let tree = odd("");
    let server = Server::start(tree.root());
    let mut client = server.client();
    assert_eq!(
        streams(&mut client, "reach").text(),
        "environment 0, arguments 0, directories 0"
    );
    let authority = server.url().strip_prefix("http://").unwrap().to_owned();
    let denied = streams(&mut client, &format!("outgoing={authority}")).text();
    assert!(denied.contains("HttpRequestDenied"), "{denied}");
    let denied = streams(&mut client, &format!("connect={authority}")).text();
    assert!(denied.contains("PermissionDenied"), "{denied}");
}

#[test]
fn a_large_upload_passes_through_constant_memory() {
    let tree = odd("[groups.odd.limits]\nbody = \"64MiB\"\nmemory = \"4MiB\"\nrequest-time = \"10m\"\n");
    let server = Server::start(tree.root());
    let reply = server
        .client()
        .request("POST", "/odd/streams?size", &[], &vec![b'x'; 32 << 20]);
    let expected = "33554432 bytes, broken off: false, memory ";
    assert!(reply.text().starts_with(expected), "{}", reply.text());
}

#[test]
fn a_full_queue_is_said_at_once() {
    for queue in [0, 1] {
        let limits = format!("in-flight = 1\nqueue = {queue}\nrequest-time = \"10m\"");
        let tree = odd(&format!("[groups.odd.limits]\n{limits}\n"));
        let server = Server::start(tree.root());
        let (stream, _) = Gated::lockstep(&server);
        let replies = at_once(
            &server,
            &["/odd/misbehave?count", "/odd/misbehave?count"][..=queue],
        );
        let refused = replies.recv_timeout(PATIENCE).unwrap();
        assert_bare(&refused, "503 Service Unavailable");
        assert_eq!(
            (refused.header("retry-after"), refused.generation()),
            (Some("1"), "odd@1")
        );
        stream.assert_goes_on_to_its_end();
        for waited in replies {
            assert_eq!(
                (waited.status, waited.text().as_str()),
                (200, "1"),
                "it waited for its turn"
            );
        }
    }
}

#[test]
fn a_client_that_leaves_takes_no_state_with_it() {
    let tree = odd(PATIENT);
    let mut server = Server::start(tree.root());
    let mut last = 0;
    for _ in 0..10 {
        // In the middle of its own body, of the guest's work, and of a body that it does not read.
        Gated::open(&server, "/odd/misbehave").send("and then gone");
        server
            .client()
            .send("GET", "/odd/misbehave?work=3000000", &[], b"")
            .unwrap();
        let (mut stream, _) = Gated::lockstep(&server);
        stream.send("and then gone");
        drop(stream);
        let mut flooded = server.client();
        flooded.send("GET", "/odd/streams?flood", &[], b"").unwrap();
        flooded.receive_head().unwrap();
        drop(flooded);

        let now = count(&mut server.client());
        assert!(now > last, "{now} calls, and {last} before");
        last = now;
    }
    assert_eq!(streams(&mut server.client(), "count").text(), "21");
    assert!(server.seen().is_empty(), "{:#?}", server.seen());
}

#[test]
fn a_stream_ends_on_the_generation_where_it_began() {
    let tree = odd(PATIENT);
    let mut server = Server::start(tree.root());
    let (stream, head) = Gated::lockstep(&server);
    assert_eq!(head.generation(), "odd@1");

    let streams_file = "odd/streams.wasm";
    tree.put(streams_file, touched(&tree.read(streams_file), 1));
    assert_eq!(server.wait("swapped")["generation"], 2);
    let mut client = server.client();
    let meanwhile = streams(&mut client, "count");
    assert_eq!(
        (meanwhile.generation(), meanwhile.text().as_str()),
        ("odd@2", "1")
    );
    assert!(
        server.seen().iter().all(|event| event["event"] != "retired"),
        "it still streams"
    );

    stream.assert_goes_on_to_its_end();
    let retired = server.wait("retired");
    assert_eq!(
        (&retired["generation"], &retired["aborted"]),
        (&1.into(), &0.into())
    );
    assert_eq!(streams(&mut client, "count").generation(), "odd@2");
}

#[test]
fn the_drain_deadline_ends_what_still_streams() {
    let tree = odd(&format!("{PATIENT}[groups.odd.swap]\ndrain = \"100ms\"\n"));
    let mut server = Server::start(tree.root());
    let (mut stream, _) = Gated::lockstep(&server);
    let streams_file = "odd/streams.wasm";
    tree.put(streams_file, touched(&tree.read(streams_file), 1));
    assert_eq!(server.wait("swapped")["generation"], 2);
    let retired = server.wait("retired");
    assert_eq!(
        (&retired["generation"], &retired["aborted"]),
        (&1.into(), &1.into())
    );
    assert_broken(stream.receive());
    assert_eq!(streams(&mut server.client(), "count").generation(), "odd@2");
}

#[test]
fn what_a_guest_prints_is_logged_and_harmless() {
    let tree = odd("");
    let server = Server::start(tree.root());
    let mut client = server.client();
    page(&mut client, "print");
    assert_bare(&page(&mut client, "panic"), "500 Internal Server Error");
    server.signal("TERM");
    let (_, _, log) = server.ended();
    for expected in [
        "plain words",
        r"\u{1b}[31mred\u{1b}[0m\rforged",
        "a complaint",
        "the guest's own words",
        "no line end",
    ] {
        assert!(log.contains(expected), "no {expected:?} in {log}");
    }
    assert!(!log.contains('\x1b') && !log.contains('\r'), "{log:?}");
}
