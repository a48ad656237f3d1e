//! Requests that guests send: to the origins that their group was granted, and nowhere else. The other side
//! is a second server, or a socket that does not do what a server should.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    sync::mpsc::channel,
};

use crate::support::{Gated, PATIENCE, Server, Tree, guests};

const GUESTS: [&str; 2] = ["flows.wasm", "streams.wasm"];
const PATIENT: &str = "[groups.odd.limits]\nrequest-time = \"10m\"\nbody = \"200MiB\"\n";

fn odd(manifest: &str) -> Tree {
    let tree = Tree::empty();
    for guest in GUESTS {
        tree.put(format!("odd/{guest}"), fs::read(guests().join(guest)).unwrap());
    }
    tree.put("wasmhost.toml", manifest);
    tree
}

fn granting(origins: &[&str], more: &str) -> Tree {
    odd(&format!("[groups.odd.grants]\nhttp = {origins:?}\n{more}"))
}

fn authority(url: &str) -> &str {
    url.strip_prefix("http://").unwrap()
}

/// A socket of whose connections `serve` decides.
fn socket(serve: impl Fn(&mut std::net::TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept() {
            serve(&mut stream);
            kept.push(stream);
        }
    });
    authority
}

#[test]
fn a_granted_origin_answers() {
    let there = odd(PATIENT);
    let there = Server::start(there.root());
    let here = granting(&[there.url()], PATIENT);
    let mut here = Server::start(here.root());
    let mut client = here.client();
    let upstream = authority(there.url()).to_owned();
    let path = format!("/odd/flows?outgoing={upstream}/odd/flows?count");
    for expected in ["1", "2", "3"] {
        let reply = client.get(&path);
        assert_eq!(
            (reply.status, reply.text().as_str(), reply.generation()),
            (200, expected, "odd@1")
        );
    }
    let reply = client.get(&format!("/odd/flows?outgoing={upstream}/odd/nothing"));
    assert_eq!(reply.status, 404);
    let reply = client.get(&format!("/odd/streams?outgoing={upstream}"));
    assert_eq!(reply.text(), "status 404");
    assert!(here.seen().is_empty(), "{:#?}", here.seen());
}

#[test]
fn every_other_origin_is_denied() {
    let there = odd("");
    let there = Server::start(there.root());
    let upstream = authority(there.url()).to_owned();
    let port = upstream.split_once(':').unwrap().1;
    let other = socket(|_| panic!("nobody may come here"));
    let here = granting(&[&format!("http://{other}"), &format!("https://{upstream}")], "");
    let here = Server::start(here.root());
    let mut client = here.client();
    for authority in [
        &upstream,
        &format!("localhost:{port}"),
        &format!("user@{upstream}"),
        "127.0.0.1",
    ] {
        let reply = client.get(&format!("/odd/flows?outgoing={authority}/"));
        assert_eq!(reply.text(), "ErrorCode::HttpRequestDenied", "{authority}");
        let reply = client.get(&format!("/odd/streams?outgoing={authority}"));
        assert!(reply.text().contains("HttpRequestDenied"), "{}", reply.text());
    }
    here.signal("TERM");
    let (_, _, log) = here.ended();
    let said = format!(
        "an outgoing request was denied: see `http` in [groups.odd.grants] group=\"odd\" origin=\"http://{upstream}\""
    );
    assert!(log.contains(&said), "{log}");
}

#[test]
fn a_name_is_never_taken_for_an_address_of_this_machine() {
    let port = socket(|_| panic!("nobody may come here"))
        .split_once(':')
        .unwrap()
        .1
        .to_owned();
    // It is a name, since no address is written like that, and yet systems take it for one.
    let here = granting(
        &[&format!("http://127.1:{port}"), "http://no-such-name.invalid"],
        "",
    );
    let here = Server::start(here.root());
    let mut client = here.client();
    let reply = client.get(&format!("/odd/flows?outgoing=127.1:{port}/"));
    assert_eq!(reply.text(), "ErrorCode::DestinationIpProhibited");
    let reply = client.get("/odd/flows?outgoing=no-such-name.invalid/");
    assert!(
        reply.text().starts_with("ErrorCode::DnsError"),
        "{}",
        reply.text()
    );
}

#[test]
fn both_bodies_stream_through() {
    let there = odd(PATIENT);
    let there = Server::start(there.root());
    let here = granting(&[there.url()], PATIENT);
    let here = Server::start(here.root());
    let upstream = authority(there.url());
    for page in ["flows", "streams"] {
        let path = format!("/odd/flows?outgoing={upstream}/odd/{page}?lockstep");
        let (mut stream, head) = Gated::lockstep_at(&here, &path);
        assert_eq!(head.generation(), "odd@1");
        for part in ["one", "two"] {
            stream.send(part);
            assert_eq!(stream.receive().unwrap().as_deref(), Some(part));
        }
        stream.assert_goes_on_to_its_end();
    }
}

#[test]
fn large_bodies_pass_on_in_constant_memory() {
    let there = odd(PATIENT);
    let there = Server::start(there.root());
    let here = granting(&[there.url()], PATIENT);
    let here = Server::start(here.root());
    let upstream = authority(there.url());
    let size = 50 << 20;
    for path in [
        format!("/odd/flows?outgoing={upstream}/odd/flows?size"),
        format!("/odd/streams?pass-on={upstream}/odd/flows?size"),
    ] {
        let reply = here.client().request("POST", &path, &[], &vec![b'x'; size]);
        let expected = format!("{size} bytes, broken off: false");
        assert!(reply.text().starts_with(&expected), "{path}: {}", reply.text());
    }
    let peak = here.peak_memory();
    assert!(peak < 400 << 20, "{peak} bytes for twice 50 MiB");
}

#[test]
fn what_does_not_answer_costs_no_state() {
    let (sender, came) = channel();
    let silent = socket(move |_| sender.send(()).unwrap());
    let hangs_up = socket(|stream| {
        let _ = stream.read(&mut [0; 16]);
        stream.shutdown(std::net::Shutdown::Both).unwrap();
    });
    let stops = socket(|stream| {
        let _ = stream.read(&mut [0; 1024]);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nbegun")
            .unwrap();
    });
    let unused = TcpListener::bind("127.0.0.1:0").unwrap();
    let refuses = unused.local_addr().unwrap().to_string();
    drop(unused);
    let origins = [&silent, &hangs_up, &stops, &refuses].map(|authority| format!("http://{authority}"));
    let origins: Vec<_> = origins.iter().map(String::as_str).collect();
    let here = granting(&origins, "[groups.odd.limits]\nrequest-time = \"2s\"\n");
    let mut here = Server::start(here.root());
    let mut client = here.client();
    for (authority, expected) in [
        (&silent, "ConnectionReadTimeout"),
        (&hangs_up, "ConnectionTerminated"),
        (&refuses, "ConnectionRefused"),
    ] {
        let reply = client.get(&format!("/odd/flows?outgoing={authority}/"));
        assert_eq!(reply.text(), format!("ErrorCode::{expected}"));
        let reply = client.get(&format!("/odd/streams?outgoing={authority}"));
        assert!(reply.text().contains(expected), "{}", reply.text());
    }
    came.recv_timeout(PATIENCE).unwrap();
    let path = format!("/odd/flows?outgoing={stops}/");
    assert!(here.client().try_request("GET", &path, &[], b"").is_err());
    assert_eq!(client.get("/odd/flows?count").text(), "5");
    assert!(here.seen().is_empty(), "{:#?}", here.seen());
}
