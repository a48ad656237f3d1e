//! Clients that are slow on purpose hold nothing for ever: neither a connection, nor a place in a group.

use std::io::{ErrorKind, Read, Write};

use http_body_util::BodyExt;

use crate::{
    http2::odd,
    support::{
        Server, Tree, connect,
        http2::{Http2, full, run},
        wat_site,
    },
};

/// Waits until the server has closed the connection: what it said before, and whether it was a clean end.
fn rest(stream: &mut impl Read) -> (String, bool) {
    let mut said = Vec::new();
    let end = stream.read_to_end(&mut said);
    let clean = match &end {
        Ok(_) => true,
        Err(error) => {
            assert_ne!(error.kind(), ErrorKind::WouldBlock, "it was not closed");
            false
        }
    };
    (String::from_utf8_lossy(&said).into_owned(), clean)
}

fn site(limits: &str) -> Tree {
    let tree = wat_site::site(7);
    tree.put("wasmhost.toml", format!("[server.limits]\n{limits}"));
    tree
}

#[test]
fn a_head_that_does_not_come_ends_its_connection() {
    let tree = site("header-time = \"300ms\"\n");
    let server = Server::start(tree.root());
    let mut silent = connect(server.authority());
    let mut half = connect(server.authority());
    half.write_all(b"GET /shop/page HTTP/1.1\r\nhost: a\r\n").unwrap();
    let mut preface = connect(server.authority());
    preface.write_all(b"PRI * HTTP/2.0\r\n").unwrap();
    // One byte after another does not help: the head has its time, whatever comes of it.
    let mut dripping = connect(server.authority());
    let mut dripped = 0;
    while dripping.write_all(b"G").is_ok() && dripped < 8 << 20 {
        dripped += 1;
        if dripped % 1000 == 0 {
            std::thread::yield_now();
        }
    }
    for stream in [&mut silent, &mut half, &mut preface] {
        assert_eq!(rest(stream).0, "", "closed without a word");
    }
    let mut client = server.client();
    assert_eq!(client.get("/shop/page").status, 200);
    // The second head of a connection has its time too.
    client.write(b"GET /shop/page HTTP/1.1\r\n");
    assert_eq!(
        client.receive(false).unwrap_err().kind(),
        ErrorKind::UnexpectedEof
    );
}

#[test]
fn an_idle_connection_ends_at_its_time() {
    let tree = site("idle-time = \"300ms\"\n");
    let server = Server::start(tree.root());
    let mut client = server.client();
    assert_eq!(client.get("/shop/page").status, 200);
    assert_eq!(
        client.receive(false).unwrap_err().kind(),
        ErrorKind::UnexpectedEof
    );
    run(async {
        let mut client = Http2::connect(server.authority()).await;
        assert_eq!(client.get("/shop/page").await.status(), 200);
        // Told by GOAWAY, so that no request is lost.
        client.connection.await.unwrap().unwrap();
    });
}

#[test]
fn a_client_that_reads_nothing_does_not_keep_its_place() {
    let limits = "[server.limits]\nwrite-time = \"300ms\"\n";
    let tree = odd(limits);
    let manifest = String::from_utf8(tree.read("wasmhost.toml")).unwrap();
    tree.put("wasmhost.toml", manifest + "in-flight = 1\nqueue = 0\n");
    let server = Server::start(tree.root());
    let mut greedy = connect(server.authority());
    greedy
        .write_all(b"GET /odd/streams?flood HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    greedy.read_exact(&mut [0; 12]).unwrap();
    let mut client = server.client();
    assert_eq!(
        client.get("/odd/misbehave").status,
        503,
        "the only place is taken"
    );
    while client.get("/odd/misbehave").status == 503 {
        std::thread::yield_now();
    }
    assert!(
        !rest(&mut greedy).0.ends_with("0\r\n\r\n"),
        "the answer must not look complete"
    );
}

#[test]
fn a_stream_that_is_not_read_ends_alone() {
    let limits = "[server.limits]\nwrite-time = \"300ms\"\nheader-time = \"300ms\"\n";
    let tree = odd(limits);
    let manifest = String::from_utf8(tree.read("wasmhost.toml")).unwrap();
    tree.put("wasmhost.toml", manifest + "in-flight = 1\nqueue = 0\n");
    let server = Server::start(tree.root());
    run(async {
        let mut client = Http2::connect(server.authority()).await;
        let get = |client: &Http2, path: &str| client.request("GET", path).body(full("")).unwrap();
        // It writes for as long as anyone reads, and nobody does.
        let flood = get(&client, "/odd/streams?flood");
        let flood = client.send(flood).await.unwrap();
        let mut refused = 0;
        loop {
            let count = get(&client, "/odd/misbehave?count");
            match client.send(count).await.unwrap().status().as_u16() {
                503 => refused += 1,
                status => break assert_eq!(status, 200),
            }
        }
        assert!(refused > 0, "the only place was taken");
        flood
            .into_body()
            .collect()
            .await
            .expect_err("it must not look complete");
        assert_eq!(
            client.get("/odd/misbehave?count").await.status(),
            200,
            "the connection goes on"
        );
    });
}

#[test]
fn a_client_that_resets_all_it_asks_for_does_no_harm() {
    let tree = odd("");
    let manifest = String::from_utf8(tree.read("wasmhost.toml")).unwrap();
    tree.put("wasmhost.toml", manifest + "in-flight = 4\nqueue = 4\n");
    let server = Server::start(tree.root());
    run(async {
        let mut rude = Http2::connect(server.authority()).await;
        for _ in 0..500 {
            let flood = rude.request("GET", "/odd/streams?flood").body(full("")).unwrap();
            // The server may have had enough of it.
            if rude.requests.ready().await.is_err() {
                break;
            }
            let mut asked = std::pin::pin!(rude.requests.send_request(flood));
            let _ = futures::poll!(asked.as_mut());
        }
        let mut other = Http2::connect(server.authority()).await;
        while other.get("/odd/misbehave?count").await.status() != 200 {
            tokio::task::yield_now().await;
        }
    });
}
