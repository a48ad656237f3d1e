//! What tools read: events on standard output and in the journal, and how the program ends.

use std::{collections::BTreeSet, io::Read, process::Stdio};

use serde_json::Value;

use crate::support::{Server, Tree, touched, wasmhost};

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn events_have_the_fields_of_the_contract() {
    let tree = Tree::example();
    let mut server = Server::start(tree.root());
    let started = |event: &Value| event["event"] == "ready";
    let ready = server.seen().iter().find(|event| started(event)).cloned();
    assert!(ready.is_none(), "it was waited for, and there is one only");

    tree.put(
        "shop/widget/cart.wasm",
        touched(&tree.read("shop/widget/cart.wasm"), 1),
    );
    let swapped = server.wait("swapped");
    let expected = "event time group generation from causes digest modules_compiled modules_reused \
                    functions_compiled ms";
    assert_eq!(keys(&swapped), expected.split_whitespace().collect());
    let stages = "detect read link compile instantiate load commit total";
    assert_eq!(keys(&swapped["ms"]), stages.split_whitespace().collect());
    let ms = |stage: &str| swapped["ms"][stage].as_f64().unwrap();
    let sum: f64 = stages
        .split_whitespace()
        .filter(|stage| *stage != "total")
        .map(ms)
        .sum();
    assert!(ms("total") + 0.01 >= sum, "{swapped:#}");
    assert_eq!(
        swapped["modules_compiled"], 0,
        "only a section that says nothing was added"
    );
    assert_eq!(swapped["functions_compiled"], 0);

    let retired = server.wait("retired");
    assert_eq!(
        keys(&retired),
        "event time group generation ms aborted"
            .split_whitespace()
            .collect()
    );
    assert_eq!(
        (&retired["generation"], &retired["aborted"]),
        (&1.into(), &0.into())
    );

    tree.put("shop/widget/cart.wasm", "");
    let rejected = server.wait("rejected");
    assert_eq!(
        keys(&rejected),
        "event time group kept diagnostics".split_whitespace().collect()
    );
    assert_eq!(
        keys(&rejected["diagnostics"][0]),
        "code message file help".split_whitespace().collect()
    );
    for event in [&swapped, &retired, &rejected] {
        let time = event["time"].as_str().unwrap();
        assert!(
            time.len() >= 20 && time.ends_with('Z') && &time[10..11] == "T",
            "RFC 3339: {time}"
        );
    }
}

#[test]
fn the_ready_event_lists_groups_and_routes() {
    let tree = Tree::example();
    let server = Server::start(tree.root());
    let url = server.url().to_owned();
    server.signal("TERM");
    let (status, ..) = server.ended();
    assert_eq!(status.code(), Some(0));
    let journal = String::from_utf8(tree.read(".wasmhost/journal.jsonl")).unwrap();
    let ready: Value = serde_json::from_str(journal.lines().next().unwrap()).unwrap();
    assert_eq!((&ready["event"], &ready["url"]), (&"ready".into(), &url.into()));
    let groups = ready["groups"].as_array().unwrap();
    let names: Vec<&Value> = groups.iter().map(|group| &group["group"]).collect();
    assert_eq!(names, ["api", "shop"]);
    assert!(groups.iter().all(|group| group["generation"] == 1));
    assert_eq!(groups[1]["components"].as_array().unwrap().len(), 7);
    let route = serde_json::json!({ "pattern": "/items/{id}", "component": "shop.screen.item" });
    assert!(
        groups[1]["routes"].as_array().unwrap().contains(&route),
        "{ready:#}"
    );
}

#[test]
fn the_journal_has_what_was_printed() {
    let tree = Tree::example();
    let state = Tree::empty();
    let state_dir = state.root().join("deep/state");
    let mut server = Server::start_with(tree.root(), &["--state-dir", state_dir.to_str().unwrap()]);
    tree.put(
        "shop/widget/cart.wasm",
        touched(&tree.read("shop/widget/cart.wasm"), 1),
    );
    let swapped = server.wait("swapped");
    let retired = server.wait("retired");
    server.signal("INT");
    let (status, rest, _) = server.ended();
    assert_eq!((status.code(), rest), (Some(0), vec![]));
    let journal = std::fs::read_to_string(state_dir.join("journal.jsonl")).unwrap();
    let lines: Vec<Value> = journal
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[1..], [swapped, retired]);
    assert!(!tree.path(".wasmhost").exists());
}

#[test]
fn a_request_that_runs_is_finished_before_the_end() {
    let tree = Tree::example();
    let server = Server::start(tree.root());
    let mut client = server.client();
    // The echo answers as the body comes: the request runs until the body's last byte is there.
    client
        .send("POST", "/api/echo", &[("content-length", "10")], b"")
        .unwrap();
    client.write(b"hello");
    let head = client.receive_head().unwrap();
    assert_eq!(
        (head.status, client.chunk().unwrap().unwrap()),
        (200, b"hello".to_vec())
    );
    server.signal("TERM");
    // Once it has stopped to accept, it is waiting for what runs.
    while std::net::TcpStream::connect(server.url().trim_start_matches("http://")).is_ok() {
        std::thread::yield_now();
    }
    client.write(b"world");
    assert_eq!(client.chunk().unwrap().unwrap(), b"world");
    assert_eq!(client.chunk().unwrap(), None);
    let (status, ..) = server.ended();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_second_signal_does_not_wait() {
    let tree = Tree::example();
    let server = Server::start(tree.root());
    let mut client = server.client();
    client
        .send("POST", "/api/echo", &[("content-length", "10")], b"")
        .unwrap();
    client.write(b"hello");
    assert_eq!(client.receive_head().unwrap().status, 200);
    server.signal("TERM");
    while std::net::TcpStream::connect(server.url().trim_start_matches("http://")).is_ok() {
        std::thread::yield_now();
    }
    server.signal("TERM");
    let (status, ..) = server.ended();
    assert_eq!(status.code(), Some(0));
    assert!(client.receive_rest().is_err(), "the request was cut off");
}

#[test]
fn frozen_means_no_swap() {
    let tree = Tree::example();
    let server = Server::start_with(tree.root(), &["--frozen"]);
    tree.put(
        "shop/widget/cart.wasm",
        touched(&tree.read("shop/widget/cart.wasm"), 1),
    );
    assert_eq!(server.client().get("/").generation(), "shop@1");
    server.signal("TERM");
    let pid = server.pid();
    let (status, events, _) = server.ended();
    assert_eq!(status.code(), Some(0), "{pid}");
    assert!(
        events.iter().all(|event| event["event"] != "swapped"),
        "{events:#?}"
    );
}

#[test]
fn text_is_for_people() {
    let tree = Tree::example();
    let mut command = wasmhost();
    command
        .arg("serve")
        .arg(tree.root())
        .args(["--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped());
    let mut server = command.spawn().unwrap();
    let mut stdout = server.stdout.take().unwrap();
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains("serving http://127.0.0.1:") {
        let read = stdout.read(&mut buffer).unwrap();
        assert_ne!(read, 0, "it ended after: {text}");
        text += std::str::from_utf8(&buffer[..read]).unwrap();
    }
    let line = |part: &str| {
        text.lines()
            .find(|line| line.contains(part))
            .unwrap_or_else(|| panic!("{part}: {text}"))
    };
    assert!(line("shop.screen.item").contains("/items/{id}"));
    assert!(line("api.echo").contains("api@1"));
    server.kill().unwrap();
    server.wait().unwrap();
}
