//! WASI HTTP 0.3: requests of one store that interleave, what each of them may take, and what its end
//! leaves of the others. The guest is `flows` of `tests/guests`.

use std::{
    fs,
    sync::mpsc::channel,
    time::{Duration, Instant},
};

use crate::support::{Client, Gated, PATIENCE, Reply, Server, Tree, assert_broken, guests, touched};

/// For tests that hold a guest at its gate: however slow the machine is, the guest is not late.
const PATIENT: &str = "[groups.odd.limits]\nrequest-time = \"10m\"\n";
const HASTY: &str = "[groups.odd.limits]\nrequest-time = \"1s\"\n";

/// A guest of each world in one group.
fn odd(manifest: &str) -> Tree {
    let tree = Tree::empty();
    for guest in ["flows.wasm", "misbehave.wasm", "streams.wasm"] {
        tree.put(format!("odd/{guest}"), fs::read(guests().join(guest)).unwrap());
    }
    tree.put("wasmhost.toml", manifest);
    tree
}

fn flows(client: &mut Client, what: &str) -> Reply {
    client.get(&format!("/odd/flows?{what}"))
}

/// How often the page was called in its store; this is a call too.
fn count(client: &mut Client) -> u64 {
    let reply = flows(client, "count");
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.text().parse().unwrap()
}

fn assert_status(reply: &Reply, expected: &str) {
    assert_eq!(reply.text(), format!("{expected}\n"));
    assert_eq!(reply.status.to_string(), expected[..3]);
}

/// That a guest's death was reported, and the next store after it.
fn assert_replaced(server: &mut Server, message: &str) {
    let trapped = server.wait("trapped");
    assert_eq!(trapped["component"], "odd.flows", "{trapped}");
    let said = trapped["message"].as_str().unwrap();
    assert!(said.contains(message), "{trapped}");
    assert_eq!(server.wait("recovered")["generation"], 1);
}

fn assert_untouched(server: &mut Server) {
    assert!(server.seen().is_empty(), "{:#?}", server.seen());
}

/// A request that is under way, with its guest at the gate.
fn lockstep(server: &Server) -> Gated {
    Gated::lockstep_at(server, "/odd/flows?lockstep").0
}

#[test]
fn a_request_comes_as_it_was_sent() {
    let tree = odd("");
    let server = Server::start(tree.root());
    let authority = server.url().strip_prefix("http://").unwrap();
    let reply = server.client().request("PUT", "/odd/flows?describe", &[], b"");
    let expected =
        format!(r#"Method::Put Some(Scheme::Http) Some("{authority}") Some("/odd/flows?describe")"#);
    assert_eq!((reply.status, reply.text()), (200, expected));
    assert_eq!(reply.generation(), "odd@1");
}

#[test]
fn requests_of_one_store_meet_in_it() {
    let tree = odd(PATIENT);
    let server = Server::start(tree.root());
    let (sender, replies) = channel();
    for _ in 0..8 {
        let (mut client, sender) = (server.client(), sender.clone());
        std::thread::spawn(move || sender.send(flows(&mut client, "barrier=8")));
    }
    for _ in 0..8 {
        let reply = replies.recv_timeout(PATIENCE).unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (200, "met"));
    }
    assert_eq!(count(&mut server.client()), 9, "one store, one state");
}

#[test]
fn requests_that_sleep_sleep_at_once() {
    let tree = odd(PATIENT);
    let server = Server::start(tree.root());
    let (sender, replies) = channel();
    let began = Instant::now();
    for _ in 0..20 {
        let (mut client, sender) = (server.client(), sender.clone());
        std::thread::spawn(move || sender.send(flows(&mut client, "sleep=1000")));
    }
    for _ in 0..20 {
        let reply = replies.recv_timeout(PATIENCE).unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (200, "awake"));
    }
    let took = began.elapsed();
    let one_by_one = Duration::from_secs(20);
    assert!(took < one_by_one / 2, "{took:?}");
}

#[test]
fn requests_of_other_worlds_run_one_at_a_time_beside_them() {
    let tree = odd(PATIENT);
    let mut server = Server::start(tree.root());
    let [first, second] = [(); 2].map(|()| lockstep(&server));
    let mut client = server.client();
    for expected in ["1", "2", "3"] {
        assert_eq!(client.get("/odd/misbehave?count").text(), expected);
        assert_eq!(client.get("/odd/streams?count").text(), expected);
    }
    first.assert_goes_on_to_its_end();
    second.assert_goes_on_to_its_end();
    assert_eq!(count(&mut client), 3);
    let (in_line, _) = Gated::lockstep_at(&server, "/odd/streams?lockstep");
    in_line.assert_goes_on_to_its_end();
    for what in ["unfinished", "forgotten"] {
        let path = format!("/odd/streams?{what}");
        assert_broken(client.try_request("GET", &path, &[], b""));
        client = server.client();
    }
    assert_status(&client.get("/odd/streams?silent"), "502 Bad Gateway");
    assert_eq!(client.get("/odd/streams?count").text(), "8");
    assert_untouched(&mut server);
}

#[test]
fn a_pool_and_isolated_stores_take_one_request_at_a_time() {
    let tree = odd(&format!("[groups.odd]\ninstances = {{ pool = 1 }}\n{PATIENT}"));
    let server = Server::start(tree.root());
    let first = lockstep(&server);
    let mut second = server.client();
    second.send("GET", "/odd/flows?count", &[], b"").unwrap();
    assert_eq!(
        server.client().get("/odd/misbehave?count").text(),
        "1",
        "other pages have other stores"
    );
    first.assert_goes_on_to_its_end();
    assert_eq!(second.receive(false).unwrap().text(), "2");

    let tree = odd(&format!("[groups.odd]\ninstances = \"isolated\"\n{PATIENT}"));
    let mut server = Server::start(tree.root());
    let first = lockstep(&server);
    assert_eq!(count(&mut server.client()), 1);
    assert_status(&flows(&mut server.client(), "trap"), "500 Internal Server Error");
    assert_eq!(server.wait("trapped")["component"], "odd.flows");
    first.assert_goes_on_to_its_end();
    assert_untouched(&mut server);
}

#[test]
fn a_trap_ends_all_requests_of_its_store_and_no_connection() {
    let tree = odd(PATIENT);
    let mut server = Server::start(tree.root());
    let mut streaming = lockstep(&server);
    let mut waiting = server.client();
    waiting.send("GET", "/odd/flows?barrier=99", &[], b"").unwrap();
    let mut client = server.client();
    // It came before, but on another connection: it is inside once it is counted beside the stream and these.
    (1..).find(|asked| count(&mut client) > 1 + asked);
    assert_status(&flows(&mut client, "trap"), "500 Internal Server Error");
    assert_replaced(&mut server, "unreachable");
    assert_broken(streaming.receive());
    assert_status(&waiting.receive(false).unwrap(), "500 Internal Server Error");
    assert_eq!(count(&mut client), 1, "a new store");
    assert_eq!(count(&mut waiting), 2, "on the same connection");
}

#[test]
fn a_guest_that_breaks_off_in_mid_body_looks_broken() {
    let tree = odd(PATIENT);
    let mut server = Server::start(tree.root());
    for what in ["trap-midway", "abort"] {
        let mut stream = Gated::open(&server, &format!("/odd/flows?{what}"));
        assert_eq!(stream.client.receive_head().unwrap().status, 200);
        assert_eq!(stream.receive().unwrap().as_deref(), Some("begun"));
        stream.send("now");
        assert_broken(stream.receive());
        if what == "trap-midway" {
            assert_replaced(&mut server, "unreachable");
        }
    }
    for what in ["short", "long"] {
        assert_broken(
            server
                .client()
                .try_request("GET", &format!("/odd/flows?{what}"), &[], b""),
        );
    }
    assert_eq!(count(&mut server.client()), 4, "to be wrong is no trap");
    let mut stream = Gated::open(&server, "/odd/flows?trap-late");
    let reply = stream.client.receive(false).unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (200, "complete"));
    stream.send("now trap");
    assert_replaced(&mut server, "unreachable");
}

#[test]
fn a_response_that_http_cannot_carry_is_a_bad_gateway() {
    let tree = odd("");
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    for what in ["error", "status=101"] {
        assert_status(&flows(&mut client, what), "502 Bad Gateway");
    }
    assert_eq!(flows(&mut client, "status=404").status, 404);
    assert_eq!(count(&mut client), 4);
    assert_untouched(&mut server);
}

#[test]
fn a_stuck_request_costs_only_itself_an_answer() {
    let tree = odd(HASTY);
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    assert_eq!(count(&mut client), 1);
    assert_status(&flows(&mut client, "stuck"), "504 Gateway Timeout");
    assert_replaced(&mut server, "the request took longer than 1s");
    assert_eq!(count(&mut client), 1, "its store is not used any more");
}

#[test]
fn a_loop_ends_at_the_request_time() {
    let tree = odd(HASTY);
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    assert_status(&flows(&mut client, "loop"), "504 Gateway Timeout");
    assert_replaced(&mut server, "the request took longer than 1s");
    assert_eq!(count(&mut client), 1);
}

#[test]
fn what_a_guest_does_after_its_answer_is_bounded_too() {
    for instances in ["\"shared\"", "{ pool = 1 }"] {
        let tree = odd(&format!("[groups.odd]\ninstances = {instances}\n{HASTY}"));
        let mut server = Server::start(tree.root());
        for what in ["linger", "spin"] {
            let reply = flows(&mut server.client(), what);
            assert_eq!((reply.status, reply.text().as_str()), (200, "complete"));
            assert_replaced(&mut server, "the request took longer than 1s");
        }
        assert_eq!(count(&mut server.client()), 1);
    }
}

#[test]
fn a_client_that_keeps_its_guest_waiting_is_cut_off_without_harm() {
    let tree = odd(HASTY);
    let mut server = Server::start(tree.root());
    // One that never reads, one that never sends the rest, and one that does neither.
    let mut flooded = server.client();
    flooded.send("GET", "/odd/flows?flood", &[], b"").unwrap();
    flooded.receive_head().unwrap();
    let mut upload = Gated::open(&server, "/odd/flows?size");
    upload.send("and then nothing");
    let mut stream = lockstep(&server);
    assert_eq!(count(&mut server.client()), 4, "they keep nobody from it");
    assert_broken(stream.receive());
    let told = upload.client.receive(false).unwrap();
    assert!(
        told.text().contains("16 bytes, broken off: true"),
        "{}",
        told.text()
    );
    assert_broken(flooded.receive_rest());
    assert_eq!(count(&mut server.client()), 5, "the state is as it was");
    assert_untouched(&mut server);
}

#[test]
fn a_client_may_read_slowly_what_its_guest_has_done_with() {
    let limits = "request-time = \"1s\"\nbody = \"200MiB\"\n";
    let tree = odd(&format!(
        "[groups.odd.limits]\n{limits}[groups.clock.limits]\n{limits}"
    ));
    tree.put("clock/flows.wasm", tree.read("odd/flows.wasm"));
    let server = Server::start(tree.root());
    let size = 32 << 20;
    let mut client = server.client();
    let mut sender = client.split();
    let sent = std::thread::spawn(move || sender.send("POST", "/odd/flows?echo", &[], &vec![b'x'; size]));
    let head = client.receive_head().unwrap();
    // This takes as long as the other may.
    assert_eq!(server.client().get("/clock/flows?stuck").status, 504);
    assert_eq!(client.receive_only(b'x', &head).unwrap(), size);
    sent.join().unwrap().unwrap();
}

#[test]
fn a_client_that_leaves_takes_nothing_with_it() {
    let tree = odd(PATIENT);
    let mut server = Server::start(tree.root());
    for _ in 0..5 {
        let mut stream = lockstep(&server);
        stream.send("and then gone");
        drop(stream);
        let mut flooded = server.client();
        flooded.send("GET", "/odd/flows?flood", &[], b"").unwrap();
        flooded.receive_head().unwrap();
        drop(flooded);
        let mut waiting = server.client();
        waiting.send("GET", "/odd/flows?barrier=6", &[], b"").unwrap();
        drop(waiting);
    }
    assert_eq!(flows(&mut server.client(), "barrier=1").text(), "met");
    assert_untouched(&mut server);
}

#[test]
fn a_body_that_is_handed_on_as_it_is_takes_no_memory() {
    let limits = "[groups.odd.limits]\nbody = \"200MiB\"\nmemory = \"8MiB\"\nrequest-time = \"10m\"\n";
    let tree = odd(limits);
    let server = Server::start(tree.root());
    let size = 100 << 20;
    let reply = server
        .client()
        .request("POST", "/odd/flows?size", &[], &vec![b'x'; size]);
    let expected = format!("{size} bytes, broken off: false, memory ");
    assert!(reply.text().starts_with(&expected), "{}", reply.text());
    let mut client = server.client();
    let mut sender = client.split();
    let sent = std::thread::spawn(move || sender.send("POST", "/odd/flows?echo", &[], &vec![b'x'; size]));
    let head = client.receive_head().unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(client.receive_only(b'x', &head).unwrap(), size);
    sent.join().unwrap().unwrap();
    let peak = server.peak_memory();
    assert!(peak < 400 << 20, "{peak} bytes for twice 100 MiB");
}

#[test]
fn a_stream_ends_on_the_generation_where_it_began() {
    let tree = odd(&format!("{PATIENT}[groups.odd.swap]\ndrain = \"100ms\"\n"));
    let mut server = Server::start(tree.root());
    let mut stream = lockstep(&server);
    let file = "odd/flows.wasm";
    tree.put(file, touched(&tree.read(file), 1));
    assert_eq!(server.wait("swapped")["generation"], 2);
    let reply = flows(&mut server.client(), "count");
    assert_eq!((reply.generation(), reply.text().as_str()), ("odd@2", "1"));
    let retired = server.wait("retired");
    assert_eq!(
        (&retired["generation"], &retired["aborted"]),
        (&1.into(), &1.into())
    );
    assert_broken(stream.receive());
}
