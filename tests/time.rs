//! Time that a test moves on: limits of the server are over when it says so. They are half an hour and more here, so
//! nothing of this comes true by waiting.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread::{self, JoinHandle},
    time::Duration,
};

use wasmhost::testing::{HeldRequest, HostOptions, OpenRequest, TestHost, TestProject, TestRequest};

use crate::support::{guests, wat_site};

const HOUR: Duration = Duration::from_secs(3600);
const HALF: Duration = Duration::from_secs(1800);

const MANIFEST: &str = r#"
[server.limits]
idle-time = "1h"

[groups.shop.limits]
request-time = "1h"
in-flight = 1

[groups.streams.swap]
drain = "30m"
"#;

/// A page in the group `shop`, and the guests `streams` and `flows` in groups of their own.
fn site() -> (TestProject, TestHost) {
    let project = TestProject::new().unwrap();
    project
        .put("shop/page.wat", wat_site::page(1, "").as_bytes())
        .unwrap();
    for guest in ["streams", "flows"] {
        let limits = format!("\n[groups.{guest}.limits]\nrequest-time = \"1h\"\n");
        let before = project.read("wasmhost.toml").unwrap_or(MANIFEST.into());
        let manifest = [before, limits.into_bytes()].concat();
        project.put("wasmhost.toml", manifest).unwrap();
        let component = std::fs::read(guests().join(format!("{guest}.wasm"))).unwrap();
        project.put(format!("{guest}/page.wasm"), component).unwrap();
    }
    let options = HostOptions {
        program: Some(env!("CARGO_BIN_EXE_wasmhost").into()),
        ..HostOptions::default()
    };
    let host = TestHost::start_with(&project, &options).unwrap();
    (project, host)
}

/// Begins a request, and waits until `state` of the group has so many.
fn begin(host: &TestHost, path: &str, (state, count): (&str, u64)) -> OpenRequest {
    let open = host.client().unwrap().begin(TestRequest::post(path, "first"));
    let group = path.split('/').nth(1).unwrap();
    while host.status().unwrap()["groups"][group][state] != count {
        std::thread::yield_now();
    }
    open
}

/// A request whose guest is at the gate: its answer has begun.
fn lockstep(host: &TestHost) -> HeldRequest {
    let client = host.client().unwrap();
    let mut held = client.hold("/streams/page?lockstep", "first").unwrap();
    assert_eq!(held.status, 200);
    assert_eq!(held.receive().unwrap().as_deref(), Some(b"first".as_slice()));
    held
}

#[test]
fn a_request_is_over_and_so_is_a_wait_in_the_queue() {
    let (_project, host) = site();
    let held = begin(&host, "/shop/page", ("in_flight", 1));
    let queued = [1, 2].map(|queued| begin(&host, "/shop/page", ("queued", queued)));
    host.advance(HOUR - Duration::from_secs(60)).unwrap();
    assert_eq!(host.status().unwrap()["groups"]["shop"]["queued"], 2);
    host.advance(Duration::from_secs(60)).unwrap();
    assert_eq!(held.answer().unwrap().status, 504);
    // One of them may have taken the place that was free then, at any time.
    let queued = queued.map(|queued| thread::spawn(|| queued.answer().unwrap().status));
    while !queued.iter().all(JoinHandle::is_finished) {
        host.advance(HOUR).unwrap();
    }
    let mut answers = queued.map(|queued| queued.join().unwrap());
    answers.sort();
    assert_eq!(answers[0], 503, "{answers:?}");
    assert_eq!(host.client().unwrap().get("/shop/page").unwrap().status, 200);
}

#[test]
fn a_guest_that_waits_is_ended_at_its_time() {
    let (_project, host) = site();
    let mut held = lockstep(&host);
    host.advance(HOUR).unwrap();
    assert!(held.receive().is_err(), "it broke off");
    // In an event loop, whose time is kept by another.
    let stuck = begin(&host, "/flows/page?stuck", ("in_flight", 1));
    host.advance(HOUR).unwrap();
    assert_eq!(stuck.answer().unwrap().status, 504);
}

#[test]
fn a_generation_is_ended_at_its_drain_deadline() {
    let (project, host) = site();
    let mut held = lockstep(&host);
    let other = project.read("flows/page.wasm").unwrap();
    project.put("streams/page.wasm", other).unwrap();
    host.swap().unwrap();
    let draining = || host.status().unwrap()["groups"]["streams"]["draining"].take();
    assert_eq!(draining().as_array().unwrap().len(), 1);
    host.advance(HALF - Duration::from_secs(60)).unwrap();
    held.send("next");
    assert_eq!(held.receive().unwrap().as_deref(), Some(b"next".as_slice()));
    host.advance(Duration::from_secs(60)).unwrap();
    let retired = host.wait("retired").unwrap();
    assert_eq!(
        (&retired["generation"], &retired["aborted"]),
        (&1.into(), &1.into())
    );
    assert!(retired["ms"].as_f64().unwrap() >= HALF.as_millis() as f64);
    assert!(held.receive().is_err(), "it broke off");
}

#[test]
fn an_idle_connection_is_closed() {
    let (_project, host) = site();
    let mut idle = TcpStream::connect(host.url().trim_start_matches("http://")).unwrap();
    idle.write_all(b"GET /shop/page HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    let mut answer = vec![0; 4096];
    let read = idle.read(&mut answer).unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 200 "));
    // A client of the kit connects anew after each move, and so meets no connection that is about to be closed.
    let mut client = host.client().unwrap();
    client.get("/shop/page").unwrap();
    for _ in 0..20 {
        host.advance(HOUR).unwrap();
        assert_eq!(client.get("/shop/page").unwrap().status, 200);
    }
    while idle.read(&mut answer).unwrap() > 0 {}
}
