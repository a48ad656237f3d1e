//! `state = "migrate"`: what components remember outlives a swap, or the swap is refused. The guest is `cart`
//! of `tests/guests`, whose variables say what goes wrong.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde_json::Value;

use wasmhost::testing::{HeldRequest, HostOptions, TestHost, TestProject};

use crate::support::{Client, Gated, Server, Tree, golden, guests};

const CLIENTS: usize = 16;
const SWAPS: u64 = 200;

/// The cart, and beside it what makes its store an event loop where `interleaved`.
fn shop(interleaved: bool) -> Tree {
    let tree = Tree::empty();
    tree.put("shop/cart.wasm", fs::read(guests().join("cart.wasm")).unwrap());
    if interleaved {
        tree.put("shop/flows.wasm", fs::read(guests().join("flows.wasm")).unwrap());
    }
    tree.put("wasmhost.toml", manifest(""));
    tree
}

/// With these variables of the cart's.
fn manifest(variables: &str) -> String {
    limited("memory = \"256MiB\"\nstart-time = \"1s\"", variables)
}

/// As `manifest`, with time for what takes long on a busy machine.
fn patient(variables: &str) -> String {
    limited("memory = \"256MiB\"\nstart-time = \"60s\"", variables)
}

fn limited(limits: &str, variables: &str) -> String {
    format!(
        "[groups.shop]\nstate = \"migrate\"\n[groups.shop.limits]\nrequest-time = \"10m\"\n{limits}\n\
         [groups.shop.grants]\nenv = {{ {variables} }}\n"
    )
}

fn add(client: &mut Client) -> u64 {
    let reply = client.get("/shop/cart?add");
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.text().parse().unwrap()
}

fn sum(client: &mut Client) -> u64 {
    let reply = client.get("/shop/cart");
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.text().parse().unwrap()
}

fn assert_nothing_is_lost(tree: &Tree, swaps: u64) {
    let mut server = Server::start(tree.root());
    let (over, authority) = (AtomicBool::new(false), server.url().to_owned());
    let mut all: Vec<u64> = thread::scope(|scope| {
        let client = || {
            let mut client = Client::new(&authority);
            let mut sums = Vec::new();
            while !over.load(Ordering::Relaxed) {
                sums.push(add(&mut client));
            }
            sums
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        for swap in 1..=swaps {
            tree.put("wasmhost.toml", manifest(&format!("SWAP = \"{swap}\"")));
            let swapped = server.wait("swapped");
            assert_eq!(swapped["generation"], swap + 1, "{swapped}");
            assert!(swapped["ms"]["load"].as_f64().unwrap() > 0.0, "{swapped}");
        }
        over.store(true, Ordering::Relaxed);
        clients
            .into_iter()
            .flat_map(|client| client.join().unwrap())
            .collect()
    });
    all.sort_unstable();
    let counted: Vec<u64> = (1..=all.len() as u64).collect();
    assert_eq!(all, counted, "each count was given once");
    assert!(server.seen().iter().all(|event| event["event"] != "rejected"));
    println!("{} counts through {swaps} swaps", all.len());
}

#[test]
fn no_count_is_lost_through_migrating_swaps() {
    assert_nothing_is_lost(&shop(false), SWAPS);
}

#[test]
fn no_count_is_lost_where_requests_interleave() {
    assert_nothing_is_lost(&shop(true), SWAPS / 4);
}

/// The reason of the next refusal.
fn refused(server: &mut Server) -> Value {
    reason_of(server.wait("rejected"))
}

fn reason_of(mut rejected: Value) -> Value {
    assert_eq!(rejected["group"], "shop", "{rejected}");
    assert_eq!(rejected["diagnostics"].as_array().unwrap().len(), 1, "{rejected}");
    rejected["diagnostics"][0].take()
}

/// As it is shown; the root is `ROOT`, and of a backtrace its end is left.
fn shown(reason: &Value, root: &Path) -> String {
    let part = |name: &str| reason[name].as_str();
    let file = part("file").map(|file| format!("  --> {file}\n"));
    let message: Vec<_> = part("message").unwrap().split('\n').collect();
    let message = match message[..] {
        [first, .., last] => format!("{first} … {}", last.split_once(">: ").unwrap().1),
        _ => message.concat(),
    };
    let (code, help) = (part("code").unwrap(), part("help").unwrap());
    let text = format!(
        "error[{code}]: {message}\n{}  help: {help}\n",
        file.unwrap_or_default()
    );
    text.replace(root.to_str().unwrap(), "ROOT")
}

fn assert_refused(interleaved: bool) {
    let tree = shop(interleaved);
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    let (mut expected, mut texts) = (0, String::new());
    let ways = [
        ("LOAD = \"trap\"", "state-load-failed"),
        ("LOAD = \"loop\"", "start-time-over"),
        ("LOAD = \"error\"", "state-load-failed"),
        ("SCHEMA = \"cart/2\"", "state-load-failed"),
        ("START = \"error\"", "start-refused"),
        ("START = \"trap\"", "start-refused"),
        // A generation that could not hand its state over again does not get to have it.
        ("SAVE = \"trap\"", "state-save-failed"),
        ("SAVE = \"loop\"", "start-time-over"),
        ("SAVE = \"error\"", "state-save-failed"),
        ("SAVE = \"large\"", "state-too-large"),
    ];
    for (variables, code) in ways {
        expected += 1;
        assert_eq!(add(&mut client), expected, "{variables}");
        let is_loop = variables.contains("loop");
        tree.put(
            "wasmhost.toml",
            if is_loop {
                manifest(variables)
            } else {
                patient(variables)
            },
        );
        let reason = refused(&mut server);
        assert_eq!(reason["code"], code, "{reason}");
        assert!(
            reason["file"].as_str().unwrap().ends_with("shop/cart.wasm"),
            "{reason}"
        );
        texts += &shown(&reason, tree.root());
        expected += 1;
        assert_eq!(add(&mut client), expected, "{variables}");
    }
    golden("hand-over-refused", &texts);
    tree.put("wasmhost.toml", manifest("FINE = \"1\""));
    assert_eq!(server.wait("swapped")["from"], 1);
    assert_eq!(sum(&mut client), expected);
    let events = server.seen().iter();
    let bad = events.filter(|event| event["event"] == "recovered");
    assert_eq!(bad.count(), 0, "no store that served has died");
}

#[test]
fn what_cannot_take_the_state_over_is_refused_and_counts_stay() {
    assert_refused(false);
}

#[test]
fn what_cannot_take_the_state_over_is_refused_where_requests_interleave() {
    assert_refused(true);
}

/// What the one takes care to hand over, the other may not take: it is said which limit that is.
#[test]
fn a_state_that_is_too_large_for_the_new_generation_is_refused_and_counts_stay() {
    const BULK: &str = "BULK = \"104857600\"";
    let patient = |limits: &str| format!("start-time = \"60s\"\n{limits}");
    let roomy = patient("memory = \"512MiB\"\nsnapshot = \"128MiB\"");
    let tree = shop(false);
    tree.put("wasmhost.toml", limited(&roomy, BULK));
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    let (mut expected, mut texts) = (0, String::new());
    let ways = [
        // It loads, and could not hand it over again.
        (
            patient("memory = \"512MiB\"\nsnapshot = \"16MiB\""),
            BULK,
            "state-too-large",
        ),
        // It has no room for it.
        (
            patient("memory = \"64MiB\"\nsnapshot = \"128MiB\""),
            "SWAP = \"1\"",
            "state-load-failed",
        ),
    ];
    for (limits, variables, code) in ways {
        expected += 1;
        assert_eq!(add(&mut client), expected, "{limits}");
        tree.put("wasmhost.toml", limited(&limits, variables));
        let reason = refused(&mut server);
        assert_eq!(reason["code"], code, "{reason}");
        texts += &shown(&reason, tree.root());
        expected += 1;
        assert_eq!(add(&mut client), expected, "{limits}");
    }
    golden("hand-over-too-large", &texts);
    tree.put("wasmhost.toml", limited(&roomy, "BULK = \"0\""));
    assert_eq!(server.wait("swapped")["from"], 1);
    assert_eq!(add(&mut client), expected + 1);
    assert!(server.seen().iter().all(|event| event["event"] != "recovered"));
}

/// A request that has the store of the group until it is ended here.
fn hold(host: &TestHost) -> HeldRequest {
    let client = host.client().unwrap();
    let held = client.hold("/shop/streams?lockstep", "first").unwrap();
    assert_eq!(held.status, 200);
    held
}

#[test]
fn a_generation_that_stays_busy_keeps_its_state() {
    let project = TestProject::new().unwrap();
    for guest in ["cart", "streams"] {
        let component = fs::read(guests().join(format!("{guest}.wasm"))).unwrap();
        project.put(format!("shop/{guest}.wasm"), component).unwrap();
    }
    let put = |variables| project.put("wasmhost.toml", manifest(variables)).unwrap();
    put("");
    let options = HostOptions {
        program: Some(env!("CARGO_BIN_EXE_wasmhost").into()),
        env: vec![(
            "WASMHOST_LOG".into(),
            "info,wasmhost::reload::handover=debug".into(),
        )],
        ..HostOptions::default()
    };
    let host = TestHost::start_with(&project, &options).unwrap();
    let add = || host.client().unwrap().get("/shop/cart?add").unwrap().text();
    assert_eq!(add(), "1");
    let until = |is_so: &dyn Fn() -> bool| {
        while !is_so() {
            thread::yield_now();
        }
    };
    // One runs, one waits for it, and the hand-over waits for both: longer than the ten minutes of each.
    let minutes = |minutes: u64| host.advance(Duration::from_secs(60 * minutes)).unwrap();
    let reason = thread::scope(|scope| {
        let first = hold(&host);
        let second = scope.spawn(|| hold(&host));
        until(&|| host.status().unwrap()["groups"]["shop"]["in_flight"] == 2);
        put("SWAP = \"1\"");
        until(&|| host.log().contains("it is to hand its state over"));
        minutes(6);
        first.finish().unwrap();
        let second = second.join().unwrap();
        minutes(5);
        let reason = reason_of(host.wait("rejected").unwrap());
        second.finish().unwrap();
        reason
    });
    golden("hand-over-busy", &shown(&reason, &project.root()));
    assert_eq!(add(), "2");
    put("SWAP = \"2\"");
    host.wait("swapped").unwrap();
    assert_eq!(add(), "3");
}

#[test]
fn a_save_that_says_no_leaves_its_store_as_it_was() {
    for way in ["error", "large"] {
        let tree = shop(false);
        tree.put("wasmhost.toml", patient(""));
        let mut server = Server::start(tree.root());
        let mut client = server.client();
        assert_eq!(add(&mut client), 1);
        client.get(&format!("/shop/cart?save={way}"));
        tree.put("wasmhost.toml", patient("SWAP = \"1\""));
        let reason = refused(&mut server);
        let message = reason["message"].as_str().unwrap();
        assert!(message.contains("save of shop.cart"), "{reason}");
        assert_eq!(add(&mut client), 2);
        client.get("/shop/cart?save=well");
        tree.put("wasmhost.toml", patient("SWAP = \"2\""));
        server.wait("swapped");
        assert_eq!(add(&mut client), 3);
        assert!(server.seen().iter().all(|event| event["event"] != "recovered"));
    }
}

#[test]
fn a_save_that_kills_its_store_costs_what_came_since_the_last_one() {
    for (interleaved, way) in [(false, "trap"), (false, "loop"), (true, "trap"), (true, "loop")] {
        let tree = shop(interleaved);
        let mut server = Server::start(tree.root());
        let mut client = server.client();
        for expected in 1..=3 {
            assert_eq!(add(&mut client), expected);
        }
        tree.put("wasmhost.toml", manifest("SWAP = \"1\""));
        server.wait("swapped");
        assert_eq!(add(&mut client), 4);
        client.get(&format!("/shop/cart?save={way}"));
        tree.put("wasmhost.toml", manifest("SWAP = \"2\""));
        let trapped = server.wait("trapped");
        assert_eq!(trapped["component"], "shop.cart", "{trapped}");
        assert_eq!(sum(&mut client), 3, "as it was handed over the last time");
        tree.put("wasmhost.toml", manifest("SWAP = \"3\""));
        assert_eq!(server.wait("swapped")["from"], 2);
        for event in ["recovered", "rejected"] {
            let mut seen = server.seen().iter();
            assert!(seen.any(|seen| seen["event"] == event), "{event}");
        }
        assert_eq!(add(&mut client), 4);
    }
}

#[test]
fn what_runs_ends_first_and_what_comes_waits() {
    let tree = shop(true);
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    assert_eq!(add(&mut client), 1);
    let (mut stream, _) = Gated::lockstep_at(&server, "/shop/flows?lockstep");
    tree.put("wasmhost.toml", manifest("SWAP = \"1\""));
    let authority = server.url().to_owned();
    thread::scope(|scope| {
        let waits = scope.spawn(move || {
            let mut client = Client::new(&authority);
            while client.get("/shop/cart").generation() != "shop@2" {}
            add(&mut client)
        });
        stream.send("x");
        assert_eq!(stream.receive().unwrap().unwrap(), "x");
        assert!(server.seen().iter().all(|event| event["event"] != "swapped"));
        stream.finish();
        assert_eq!(waits.join().unwrap(), 2);
    });
    server.wait("swapped");
}

#[test]
fn components_are_told_of_start_and_stop_in_every_group() {
    for instances in ["shared", "isolated"] {
        let tree = Tree::empty();
        tree.put("shop/cart.wasm", fs::read(guests().join("cart.wasm")).unwrap());
        let fresh = |swap| {
            format!(
                "[groups.shop]\ninstances = \"{instances}\"\n[groups.shop.grants]\nenv = {{ SWAP = \"{swap}\" }}\n"
            )
        };
        tree.put("wasmhost.toml", fresh(0));
        let mut server = Server::start(tree.root());
        let mut client = server.client();
        assert_eq!(client.get("/shop/cart?life").text(), "start");
        assert_eq!(add(&mut client), 1);
        tree.put("wasmhost.toml", fresh(1));
        server.wait("swapped");
        server.wait_for_log("stopped at 1");
        assert_eq!(sum(&mut client), 0, "fresh");
    }
    let tree = shop(false);
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    tree.put("wasmhost.toml", manifest("SWAP = \"1\""));
    server.wait("swapped");
    assert_eq!(client.get("/shop/cart?life").text(), "load start");
    server.wait_for_log("stopped at 0");
}

#[test]
fn what_is_new_or_gone_is_said() {
    let tree = shop(false);
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    assert_eq!(add(&mut client), 1);
    tree.put("shop/other.wasm", fs::read(guests().join("cart.wasm")).unwrap());
    server.wait("swapped");
    server.wait_for_log("it starts fresh: nothing was saved for it");
    assert_eq!(sum(&mut client), 1);
    assert_eq!(client.get("/shop/other?add").text(), "1");
    tree.remove("shop/cart.wasm");
    server.wait("swapped");
    server.wait_for_log("what it saved is given up");
    assert_eq!(client.get("/shop/other?add").text(), "2");
}
