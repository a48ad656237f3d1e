//! `checkpoint`: what components remember is saved from time to time, and is what a new store and a restart
//! begin with. The guest is `cart` of `tests/guests`.

use std::fs;

use crate::{
    metrics::scrape,
    support::{Client, Gated, Server, Tree, guests, wasmhost},
};

/// The cart, and beside it what makes its store an event loop where `interleaved`.
fn shop(interleaved: bool, checkpoint: &str) -> Tree {
    let tree = Tree::empty();
    tree.put("shop/cart.wasm", fs::read(guests().join("cart.wasm")).unwrap());
    if interleaved {
        tree.put("shop/flows.wasm", fs::read(guests().join("flows.wasm")).unwrap());
    }
    tree.put("wasmhost.toml", manifest(checkpoint, ""));
    tree
}

fn manifest(checkpoint: &str, variables: &str) -> String {
    format!(
        "[groups.shop]\nstate = \"migrate\"\n{checkpoint}\n[groups.shop.limits]\nmemory = \"256MiB\"\n\
         start-time = \"1s\"\nrequest-time = \"10m\"\n[groups.shop.grants]\nenv = {{ {variables} }}\n"
    )
}

const OFTEN: &str = "checkpoint = \"1s\"";
/// At the start and at the end.
const RARELY: &str = "checkpoint = \"1h\"";

fn add(client: &mut Client) -> u64 {
    number(client, "/shop/cart?add")
}

fn sum(client: &mut Client) -> u64 {
    number(client, "/shop/cart")
}

fn number(client: &mut Client, path: &str) -> u64 {
    let reply = client.get(path);
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.text().parse().unwrap()
}

/// Waits until all that was answered by now is saved.
fn checkpointed(server: &mut Server) {
    server.seen();
    // The first may have been saved before.
    server.wait("checkpointed");
    let event = server.wait("checkpointed");
    assert_eq!(event["group"], "shop", "{event}");
    assert_eq!(event["bytes"], 8, "{event}");
}

fn add_three(server: &mut Server) -> Client {
    let mut client = server.client();
    for expected in 1..=3 {
        assert_eq!(add(&mut client), expected);
    }
    checkpointed(server);
    client
}

/// The sum that a server begins with.
fn begins_with(tree: &Tree) -> u64 {
    let server = Server::start(tree.root());
    sum(&mut server.client())
}

#[test]
fn a_trap_goes_back_to_the_last_checkpoint() {
    for interleaved in [false, true] {
        let tree = shop(interleaved, OFTEN);
        let mut server = Server::start(tree.root());
        let mut client = add_three(&mut server);
        assert_eq!(client.get("/shop/cart?trap").status, 500);
        assert_eq!(sum(&mut client), 3);
        assert_eq!(client.get("/shop/cart?life").text(), "load start");
    }
}

#[test]
fn a_killed_server_begins_with_the_last_checkpoint() {
    let tree = shop(false, OFTEN);
    let mut server = Server::start(tree.root());
    add_three(&mut server);
    drop(server);
    let mut server = Server::start(tree.root());
    server.wait_for_log("it begins with its last checkpoint");
    let mut client = server.client();
    assert_eq!(sum(&mut client), 3);
    assert_eq!(client.get("/shop/cart?life").text(), "load start");
    // Also where a swap came between.
    tree.put("wasmhost.toml", manifest(OFTEN, "SWAP = \"1\""));
    server.wait("swapped");
    assert_eq!(add(&mut client), 4);
    checkpointed(&mut server);
    drop(server);
    assert_eq!(begins_with(&tree), 4);
}

#[test]
fn a_server_that_is_stopped_loses_nothing_and_tells_its_components() {
    for interleaved in [false, true] {
        let tree = shop(interleaved, RARELY);
        let server = Server::start(tree.root());
        let mut client = server.client();
        for expected in 1..=5 {
            assert_eq!(add(&mut client), expected);
        }
        server.signal("TERM");
        let (status, events, log) = server.ended();
        assert!(status.success(), "{log}");
        assert!(log.contains("stopped at 5"), "{log}");
        let saved = events.iter().filter(|event| event["event"] == "checkpointed");
        assert!(saved.count() > 0, "{events:?}");
        assert_eq!(begins_with(&tree), 5);
    }
}

#[test]
fn stores_of_every_kind_are_told_of_the_end_of_their_server() {
    for (instances, stops) in [("\"shared\"", 1), ("{ pool = 4 }", 1), ("\"isolated\"", 2)] {
        let tree = Tree::empty();
        tree.put("shop/cart.wasm", fs::read(guests().join("cart.wasm")).unwrap());
        tree.put(
            "wasmhost.toml",
            format!("[groups.shop]\ninstances = {instances}\n"),
        );
        let server = Server::start(tree.root());
        assert_eq!(add(&mut server.client()), 1);
        server.signal("TERM");
        let (status, _, log) = server.ended();
        assert!(status.success(), "{log}");
        assert_eq!(log.matches("stopped at").count(), stops, "{instances}: {log}");
        assert!(log.contains("stopped at 1"), "{instances}: {log}");
    }
}

#[test]
fn a_damaged_checkpoint_is_said_and_left_out() {
    let tree = shop(false, RARELY);
    let file = ".wasmhost/kept/shop.checkpoint";
    let save_three = || {
        let server = Server::start(tree.root());
        let mut client = server.client();
        let first = sum(&mut client);
        for expected in first + 1..=first + 3 {
            assert_eq!(add(&mut client), expected);
        }
        server.signal("TERM");
        server.ended();
        tree.read(file)
    };
    let whole = save_three();
    let torn = whole[..whole.len() - 1].to_vec();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damaged in [torn, flipped, b"".to_vec(), vec![b'0'; 100]] {
        tree.put(file, damaged);
        let server = Server::start(tree.root());
        server.wait_for_log("the checkpoint cannot be read: the group begins fresh");
        assert_eq!(sum(&mut server.client()), 0);
    }
    tree.put(file, whole);
    assert_eq!(begins_with(&tree), 3);
}

#[test]
fn content_that_cannot_load_the_checkpoint_is_refused_like_at_a_swap() {
    let tree = shop(false, RARELY);
    let server = Server::start(tree.root());
    assert_eq!(add(&mut server.client()), 1);
    server.signal("TERM");
    server.ended();
    tree.put("wasmhost.toml", manifest(RARELY, "SCHEMA = \"cart/2\""));
    let mut server = Server::start(tree.root());
    let mut seen = server.seen().iter();
    let rejected = seen.find(|event| event["event"] == "rejected").unwrap();
    assert_eq!(
        rejected["diagnostics"][0]["code"], "state-load-failed",
        "{rejected}"
    );
    // What served before does again, with what it remembered.
    let mut client = server.client();
    assert_eq!(add(&mut client), 2);
    tree.put("wasmhost.toml", manifest(RARELY, "FINE = \"1\""));
    server.wait("swapped");
    assert_eq!(add(&mut client), 3);
}

#[test]
fn a_group_is_down_while_nobody_can_load_what_it_remembered() {
    let tree = shop(false, RARELY);
    tree.put("other/cart.wasm", tree.read("shop/cart.wasm"));
    let server = Server::start(tree.root());
    assert_eq!(add(&mut server.client()), 1);
    server.signal("TERM");
    server.ended();
    // Of what it was there is no other trace, so nothing older can take over.
    let checkpoint = tree.read(".wasmhost/kept/shop.checkpoint");
    fs::remove_dir_all(tree.path(".wasmhost/kept")).unwrap();
    tree.put(".wasmhost/kept/shop.checkpoint", checkpoint);
    tree.put("wasmhost.toml", manifest(RARELY, "SCHEMA = \"cart/2\""));
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    assert_eq!(client.get("/shop/cart").status, 503);
    assert_eq!(client.get("/other/cart").status, 200);
    let mut seen = server.seen().iter();
    let rejected = seen.find(|event| event["event"] == "rejected").unwrap();
    assert_eq!(rejected["kept"], serde_json::Value::Null, "{rejected}");
    // It was not written over: content that can load it begins with it.
    tree.put("wasmhost.toml", manifest(RARELY, ""));
    server.wait_for("swapped", |swapped| swapped["group"] == "shop");
    assert_eq!(add(&mut client), 2);
}

#[test]
fn a_save_that_fails_leaves_the_checkpoint_before() {
    for way in ["error", "large", "trap", "loop"] {
        let tree = shop(false, OFTEN);
        if way != "loop" {
            // On a busy machine a large one takes a while.
            let patient = manifest(OFTEN, "").replace("start-time = \"1s\"", "start-time = \"60s\"");
            tree.put("wasmhost.toml", patient);
        }
        let mut server = Server::start(tree.root());
        let mut client = add_three(&mut server);
        client.get(&format!("/shop/cart?save={way}"));
        let is_deadly = ["trap", "loop"].contains(&way);
        if !is_deadly {
            assert_eq!(add(&mut client), 4);
        }
        server.wait_for_log("no checkpoint, the one before stays");
        if is_deadly {
            server.wait("recovered");
        } else {
            assert_eq!(add(&mut client), 5, "it goes on");
        }
        assert_eq!(sum(&mut client), if is_deadly { 3 } else { 5 });
        drop(server);
        assert_eq!(begins_with(&tree), 3, "{way}");
    }
}

#[test]
fn what_runs_for_long_holds_a_checkpoint_up_and_a_checkpoint_nobody() {
    let tree = shop(true, OFTEN);
    let mut server = Server::start(tree.root());
    let mut client = add_three(&mut server);
    let (mut stream, _) = Gated::lockstep_at(&server, "/shop/flows?lockstep");
    server.wait_for_log("did not end within 100ms");
    assert_eq!(add(&mut client), 4, "it goes on beside the stream");
    stream.send("x");
    assert_eq!(stream.receive().unwrap().unwrap(), "x");
    stream.finish();
    assert_eq!(stream.receive().unwrap(), None);
    checkpointed(&mut server);
    drop(server);
    assert_eq!(begins_with(&tree), 4);
}

#[test]
fn a_group_that_no_longer_saves_does_not_come_back_to_what_it_saved() {
    let tree = shop(false, OFTEN);
    let mut server = Server::start(tree.root());
    add_three(&mut server);
    tree.put("wasmhost.toml", manifest("", ""));
    server.wait("swapped");
    assert_eq!(sum(&mut server.client()), 3);
    drop(server);
    assert!(!tree.path(".wasmhost/kept/shop.checkpoint").exists());
    tree.put("wasmhost.toml", manifest(RARELY, ""));
    assert_eq!(begins_with(&tree), 0);
}

#[test]
fn it_is_told_when_a_group_was_saved() {
    let tree = shop(false, OFTEN);
    let mut server = Server::start(tree.root());
    add_three(&mut server);
    let (_, series) = scrape(&tree);
    let time = series[r#"wasmhost_checkpoint_timestamp_seconds{group="shop"}"#];
    assert!(time > 1e9, "{time}");
    for (arguments, says) in [
        (&["status"][..], "saved at 2"),
        (
            &["journal", "--event", "checkpointed"][..],
            "checkpointed shop@1: 8 bytes, saved in",
        ),
    ] {
        let told = wasmhost()
            .args(arguments)
            .arg("--root")
            .arg(tree.root())
            .output()
            .unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        assert!(told.contains(says), "{told}");
    }
}
