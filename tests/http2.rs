//! HTTP/2 by prior knowledge, on the same port as HTTP/1.1: what is the same, and what only it has.

use std::fs;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;

use crate::support::{
    Server, Tool, Tree, guests,
    http2::{Body, Http2, full, run, whole},
    touched, wat_site,
};

/// Both guests in one group, whose requests have time.
pub fn odd(more: &str) -> Tree {
    let tree = Tree::empty();
    for guest in ["misbehave.wasm", "streams.wasm"] {
        tree.put(format!("odd/{guest}"), fs::read(guests().join(guest)).unwrap());
    }
    let manifest = format!("{more}\n[groups.odd.limits]\nrequest-time = \"10m\"\n");
    tree.put("wasmhost.toml", manifest);
    tree
}

/// A body whose parts a test sends when it wants.
pub fn parts() -> (tokio::sync::mpsc::UnboundedSender<&'static str>, Body) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let parts = futures::stream::unfold(receiver, |mut receiver| async move {
        let part: &str = receiver.recv().await?;
        Some((Ok(Frame::data(Bytes::from_static(part.as_bytes()))), receiver))
    });
    // The client takes bodies that may go from thread to thread at once.
    (sender, BodyExt::boxed(StreamBody::new(sync_wrapper(parts))))
}

fn sync_wrapper<
    S: futures::Stream<Item = Result<Frame<Bytes>, std::convert::Infallible>> + Send + 'static,
>(
    stream: S,
) -> impl futures::Stream<Item = Result<Frame<Bytes>, std::convert::Infallible>> + Send + Sync + 'static {
    struct Sync<S>(std::sync::Mutex<std::pin::Pin<Box<S>>>);
    impl<S: futures::Stream> futures::Stream for Sync<S> {
        type Item = S::Item;
        fn poll_next(
            self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<S::Item>> {
            self.0.lock().unwrap().as_mut().poll_next(context)
        }
    }
    Sync(std::sync::Mutex::new(Box::pin(stream)))
}

#[test]
fn one_connection_asks_many_things_at_once() {
    let tree = wat_site::site(7);
    let server = Server::start(tree.root());
    run(async {
        let client = Http2::connect(server.authority()).await;
        let asking = (0..300).map(|number| {
            let mut requests = client.requests.clone();
            let path = if number % 3 == 0 { "/nowhere" } else { "/shop/page" };
            let request = client.request("GET", path).body(full("")).unwrap();
            async move {
                requests.ready().await.unwrap();
                let answer = whole(requests.send_request(request).await.unwrap()).await;
                let expected = if path == "/nowhere" { 404 } else { 200 };
                assert_eq!(answer.status(), expected);
                assert!(answer.headers().contains_key("date"));
                assert_eq!(
                    answer.headers().contains_key("wasmhost-generation"),
                    expected == 200
                );
                assert!(expected != 200 || answer.body()[..] == [7]);
            }
        });
        futures::future::join_all(asking).await;
    });
    assert_eq!(
        server.client().get("/shop/page").body,
        [7],
        "HTTP/1.1 on the same port"
    );
}

#[test]
fn a_head_request_gets_no_body() {
    let tree = odd("");
    let server = Server::start(tree.root());
    run(async {
        let mut client = Http2::connect(server.authority()).await;
        let request = client
            .request("HEAD", "/odd/misbehave?large=1000")
            .body(full(""))
            .unwrap();
        let head = whole(client.send(request).await.unwrap()).await;
        assert_eq!(
            (head.status().as_u16(), &head.headers()["content-length"]),
            (200, &"1000".parse().unwrap())
        );
        assert!(head.body().is_empty());
        assert_eq!(client.get("/odd/misbehave?large=1000").await.body().len(), 1000);
        let bodiless = client.get("/odd/misbehave?status=204").await;
        assert_eq!((bodiless.status().as_u16(), bodiless.body().len()), (204, 0));
        assert!(!bodiless.headers().contains_key("content-length"));
        for method in ["TRACE", "OPTIONS"] {
            let request = client.request(method, "/odd/misbehave").body(full("")).unwrap();
            let answer = client.send(request).await.unwrap();
            assert_eq!(answer.status(), if method == "TRACE" { 405 } else { 200 });
        }
    });
}

#[test]
fn a_guest_sees_one_line_of_cookies_and_one_host() {
    let tree = odd("");
    let server = Server::start(tree.root());
    run(async {
        let mut client = Http2::connect(server.authority()).await;
        let crumbs = client
            .request("GET", "/odd/misbehave")
            .header("cookie", "a=1")
            .header("cookie", "b=2");
        let answer = whole(client.send(crumbs.body(full("")).unwrap()).await.unwrap()).await;
        let text = String::from_utf8(answer.body().to_vec()).unwrap();
        assert!(text.contains("header (\"cookie\", \"a=1; b=2\")\n"), "{text}");
        assert!(
            text.contains(&format!("authority \"{}\"\n", server.authority())),
            "{text}"
        );
        let two = client
            .request("GET", "/odd/misbehave")
            .header("host", "other.test");
        assert_eq!(
            client.send(two.body(full("")).unwrap()).await.unwrap().status(),
            400
        );
    });
}

#[test]
fn a_head_that_is_too_large_is_said_so() {
    let tree = wat_site::site(7);
    tree.put("wasmhost.toml", "[server.limits]\nheader-size = \"16KiB\"\n");
    let server = Server::start(tree.root());
    run(async {
        let mut client = Http2::connect(server.authority()).await;
        let mut status = async |lines: &[(&'static str, String)]| {
            let mut request = client.request("GET", "/shop/page");
            for (name, value) in lines {
                request = request.header(*name, value);
            }
            client
                .send(request.body(full("")).unwrap())
                .await
                .map(|answer| answer.status().as_u16())
        };
        assert_eq!(status(&[("x-a", "a".repeat(8000))]).await.unwrap(), 200);
        assert_eq!(status(&vec![("x-a", "1".into()); 101]).await.unwrap(), 431);
        // The client knows the limit and does not even send it, or is told.
        let told = status(&[("x-a", "a".repeat(20_000))]).await;
        assert!(told.is_err() || told.is_ok_and(|status| status == 431));
        assert_eq!(status(&[]).await.unwrap(), 200, "the connection goes on");
    });
}

#[test]
fn a_response_streams_while_the_request_still_arrives() {
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
        let mut next = async || Some(answer.frame().await?.unwrap().into_data().unwrap());
        assert_eq!(next().await.unwrap(), "one");
        parts.send("two").unwrap();
        assert_eq!(next().await.unwrap(), "two");
        drop(parts);
        assert_eq!(answer.collect().await.unwrap().to_bytes(), "", "its end");
    });
}

#[test]
fn a_swap_leaves_streams_where_they_began() {
    let tree = odd("");
    let mut server = Server::start(tree.root());
    run(async {
        let mut client = Http2::connect(server.authority()).await;
        let (parts, body) = parts();
        let request = client
            .request("POST", "/odd/streams?lockstep")
            .body(body)
            .unwrap();
        parts.send("one").unwrap();
        let old = client.send(request).await.unwrap();
        assert_eq!(old.headers()["wasmhost-generation"], "odd@1");
        let component = tree.read("odd/misbehave.wasm");
        tree.put("odd/misbehave.wasm", touched(&component, 1));
        tokio::task::block_in_place(|| server.wait("swapped"));
        let new = client.get("/odd/misbehave").await;
        assert_eq!(
            (new.status().as_u16(), &new.headers()["wasmhost-generation"]),
            (200, &"odd@2".parse().unwrap())
        );
        parts.send("two").unwrap();
        drop(parts);
        assert_eq!(old.into_body().collect().await.unwrap().to_bytes(), "onetwo");
    });
}

#[test]
fn nobody_is_connected_through() {
    let tree = wat_site::site(7);
    let server = Server::start(tree.root());
    run(async {
        let mut client = Http2::connect(server.authority()).await;
        let request = http::Request::connect("example.test:80").body(full("")).unwrap();
        let answer = client.send(request).await.unwrap();
        assert_eq!(answer.status(), 405);
        assert!(answer.headers().contains_key("allow"));
        assert_eq!(client.get("/shop/page").await.status(), 200);
    });
}

#[test]
fn others_clients_are_content() {
    let tree = wat_site::site(7);
    let server = Server::start(tree.root());
    let url = format!("{}/shop/page", server.url());
    if let Some(curl) = Tool::new("curl") {
        let said = curl.run(&["--silent", "--fail", "--include", "--http2-prior-knowledge", &url]);
        assert!(said.starts_with("HTTP/2 200"), "{said}");
        let head = curl.run(&["--silent", "--head", "--http2-prior-knowledge", &url]);
        assert!(head.contains("content-length: 1\r\n"), "{head}");
    }
    if let Some(nghttp) = Tool::new("nghttp") {
        let said = nghttp.run(&["--no-verify-peer", "--null-out", "--stat", "--multiply=20", &url]);
        assert_eq!(said.matches(" 200 ").count(), 20, "{said}");
    }
    if let Some(h2load) = Tool::new("h2load") {
        let said = h2load.run(&[
            "--requests=2000",
            "--clients=20",
            "--max-concurrent-streams=10",
            &url,
        ]);
        assert!(
            said.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"),
            "{said}"
        );
    }
}
