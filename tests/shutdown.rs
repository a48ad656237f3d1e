//! A server that is told to stop: no client loses a request by it, on a connection however busy.

use std::sync::{
    Barrier,
    atomic::{AtomicUsize, Ordering},
};

use http_body_util::BodyExt;

use crate::{
    http2::{odd, parts},
    support::{
        Client, Gated, Server,
        http2::{Http2, full, run},
        wat_site,
    },
};

#[test]
fn a_keep_alive_client_is_told_that_an_answer_is_its_last() {
    const CLIENTS: usize = 8;
    let tree = wat_site::site(7);
    let server = Server::start(tree.root());
    let url = server.url();
    let (ready, answered) = (Barrier::new(CLIENTS + 1), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::new(url);
                assert_eq!(client.get("/shop/page").status, 200);
                ready.wait();
                loop {
                    let reply = client.get("/shop/page");
                    assert_eq!((reply.status, &*reply.body), (200, &[7][..]));
                    answered.fetch_add(1, Ordering::Relaxed);
                    if reply.header("connection") == Some("close") {
                        return;
                    }
                }
            });
        }
        ready.wait();
        while answered.load(Ordering::Relaxed) < 10 * CLIENTS {
            std::thread::yield_now();
        }
        server.signal("TERM");
    });
    let (status, _, log) = server.ended();
    assert!(status.success() && !log.contains("still running"), "{log}");
}

#[test]
fn what_runs_is_finished_and_what_is_idle_is_closed() {
    let tree = odd("");
    let server = Server::start(tree.root());
    let (gated, _) = Gated::lockstep(&server);
    let mut idle = server.client();
    assert_eq!(idle.get("/nowhere").status, 404);
    server.signal("TERM");
    idle.receive(false).unwrap_err();
    gated.assert_goes_on_to_its_end();
    let (status, _, log) = server.ended();
    assert!(status.success(), "{log}");
}

#[test]
fn a_client_of_http2_is_told_to_go_and_finishes_what_runs() {
    let tree = odd("");
    let server = Server::start(tree.root());
    run(async {
        let mut client = Http2::connect(server.authority()).await;
        let (parts, body) = parts();
        let request = client
            .request("POST", "/odd/streams?lockstep")
            .body(body)
            .unwrap();
        parts.send("one").unwrap();
        let mut answer = client.send(request).await.unwrap().into_body();
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
        server.signal("TERM");
        // Requests are answered until the client knows.
        loop {
            let request = client.request("GET", "/nowhere").body(full("")).unwrap();
            match client.send(request).await {
                Ok(answer) => assert_eq!(answer.status(), 404),
                Err(error) => break assert!(!error.is_incomplete_message(), "{error:?}"),
            }
        }
        parts.send("two").unwrap();
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "two");
        drop(parts);
        assert_eq!(answer.collect().await.unwrap().to_bytes(), "", "to its end");
        client.connection.await.unwrap().unwrap();
    });
    assert!(server.ended().0.success());
}

#[test]
fn a_balancer_hears_of_the_end_before_a_request_does() {
    let tree = wat_site::site(7);
    tree.put(
        "wasmhost.toml",
        "[server.ready]\npath = \"/ready\"\nnotice = \"1h\"\n",
    );
    let server = Server::start(tree.root());
    let mut client = server.client();
    for method in ["GET", "HEAD", "OPTIONS"] {
        assert_eq!(client.request(method, "/ready", &[], b"").status, 200);
    }
    assert_eq!(client.get("/ready/").status, 404);
    server.signal("TERM");
    while client.get("/ready").status != 503 {}
    // Requests are answered as before, on new connections too.
    let mut new = server.client();
    for client in [&mut client, &mut new] {
        let reply = client.get("/shop/page");
        assert_eq!((reply.status, reply.header("connection")), (200, None));
    }
    assert_eq!(new.get("/ready").status, 503);
    // A second signal does not wait.
    server.signal("TERM");
    assert!(server.ended().0.success());
}
