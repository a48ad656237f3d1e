//! Bodies as they pass between clients and guests of WASI HTTP 0.2 and 0.3 alike: large ones, trailers, answers
//! that come early, and answers that are none. The guests are `streams` (0.2) and `flows` (0.3).

use std::fs;

use crate::support::{Client, Gated, Server, Tree, assert_broken, guests};

const LIMITS: &str = "[groups.odd.limits]\nrequest-time = \"10m\"\nbody = \"200MiB\"\nmemory = \"8MiB\"\n";

/// Each guest in a group of its own: they do not share a store.
fn both() -> Tree {
    let tree = Tree::empty();
    let mut manifest = String::new();
    for guest in ["streams", "flows"] {
        tree.put(
            format!("{guest}/page.wasm"),
            fs::read(guests().join(format!("{guest}.wasm"))).unwrap(),
        );
        manifest += &LIMITS.replace("odd", guest);
    }
    tree.put("wasmhost.toml", manifest);
    tree
}

fn path(guest: &str, what: &str) -> String {
    format!("/{guest}/page?{what}")
}

fn count(client: &mut Client, guest: &str) -> String {
    client.get(&path(guest, "count")).text()
}

#[test]
fn a_hundred_megabytes_pass_both_ways_in_constant_memory() {
    let tree = both();
    let server = Server::start(tree.root());
    let size = 100 << 20;
    for guest in ["streams", "flows"] {
        let mut client = server.client();
        let mut sender = client.split();
        let upload = path(guest, "lockstep");
        let sent = std::thread::spawn(move || sender.send("POST", &upload, &[], &vec![b'x'; size]));
        let head = client.receive_head().unwrap();
        assert_eq!(head.status, 200);
        assert_eq!(client.receive_only(b'x', &head).unwrap(), size, "{guest}");
        sent.join().unwrap().unwrap();
    }
    let peak = server.peak_memory();
    assert!(peak < 300 << 20, "{peak} bytes for twice 100 MiB");
}

#[test]
fn trailers_pass_both_ways() {
    let tree = both();
    let server = Server::start(tree.root());
    let headers = [
        ("transfer-encoding", "chunked"),
        ("te", "trailers"),
        ("trailer", "x-sum"),
    ];
    for guest in ["streams", "flows"] {
        let mut client = server.client();
        client
            .send("POST", &path(guest, "trailers"), &headers, b"")
            .unwrap();
        client.write(b"4\r\nbody\r\n0\r\nx-sum: 10\r\n\r\n");
        assert_eq!(client.receive_head().unwrap().status, 200);
        assert_eq!(client.chunk().unwrap().as_deref(), Some(&b"body"[..]));
        assert_eq!(client.last_chunk().unwrap(), ["x-came: 1"], "{guest}");
        assert_eq!(count(&mut client, guest), "2", "the connection goes on");
    }
}

#[test]
fn an_answer_may_come_before_its_request_is_complete() {
    let tree = both();
    let mut server = Server::start(tree.root());
    for guest in ["streams", "flows"] {
        let mut early = Gated::open(&server, &path(guest, "early"));
        let reply = early.client.receive(false).unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (200, "early"));
        early.send("late");
        early.finish();
    }
    assert_eq!(count(&mut server.client(), "streams"), "2");
    assert!(server.seen().is_empty(), "{:#?}", server.seen());
}

#[test]
fn nobody_reads_what_answers_a_head_request() {
    let tree = both();
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    for guest in ["streams", "flows"] {
        let reply = client.request("HEAD", &path(guest, "flood"), &[], b"");
        assert_eq!(reply.status, 200);
        assert_eq!(count(&mut client, guest), "2");
    }
    assert!(server.seen().is_empty(), "{:#?}", server.seen());
}

#[test]
fn an_answer_is_whole_or_broken_off_whatever_its_guest_does_after_it() {
    let tree = both();
    let mut server = Server::start(tree.root());
    let mut twice = Gated::open(&server, &path("streams", "twice"));
    let reply = twice.client.receive(false).unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (200, "the first"));
    twice.send("and again");
    assert_eq!(server.wait("trapped")["component"], "streams.page");
    server.wait("recovered");

    let mut late = Gated::open(&server, &path("streams", "write-late"));
    assert_eq!(late.client.receive_head().unwrap().status, 200);
    assert_eq!(late.receive().unwrap().as_deref(), Some("begun"));
    late.send("finish");
    assert_broken(late.receive());
    server.wait("trapped");
    assert_eq!(count(&mut server.client(), "streams"), "1");
}

#[test]
fn a_client_that_leaves_in_mid_body_is_told_to_its_guest() {
    let tree = both();
    let mut server = Server::start(tree.root());
    for guest in ["streams", "flows"] {
        let (mut stream, _) = Gated::lockstep_at(&server, &path(guest, "lockstep"));
        stream.send("and then gone");
        drop(stream);
        let mut flooded = server.client();
        flooded.send("GET", &path(guest, "flood"), &[], b"").unwrap();
        flooded.receive_head().unwrap();
        drop(flooded);
        assert_eq!(count(&mut server.client(), guest), "3");
    }
    assert!(server.seen().is_empty(), "{:#?}", server.seen());
}
