//! Requests that guests send by TLS: whom they trust, and which HTTP they speak. The other side is a server of
//! the test's own, whose certificate is by an authority of the test's own.

use std::{
    convert::Infallible,
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use crate::support::{Authority, Certificate, Server, Tree, guests, wasmhost};

type Answer = BoxBody<Bytes, hyper::Error>;

/// A server by TLS: it answers a GET with the version of HTTP that it came by, and sends back what it is sent.
struct Upstream {
    authority: String,
    connections: Arc<AtomicUsize>,
    _runtime: Runtime,
}

impl Upstream {
    fn new(certificate: &Certificate, protocols: &[&str]) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let acceptor = TlsAcceptor::from(certificate.served(protocols));
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, count) = (acceptor.clone(), count.clone());
                tokio::spawn(async move {
                    // Clients that do not trust it break off.
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                    let http = auto::Builder::new(TokioExecutor::new());
                    let _ = http
                        .serve_connection(TokioIo::new(stream), service_fn(answer))
                        .await;
                });
            }
        });
        Self {
            authority,
            connections,
            _runtime: runtime,
        }
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    let version = format!("{:?} of {}", request.version(), request.uri().path());
    let body = match request.method().as_str() {
        "GET" => Full::new(version.into()).map_err(|never| match never {}).boxed(),
        _ => request.into_body().boxed(),
    };
    Ok(Response::new(body))
}

/// Who sends requests to `upstream`, and trusts what `authorities` says.
fn sender(upstream: &Upstream, authorities: Option<&str>) -> (Tree, Server) {
    let tree = Tree::empty();
    for guest in ["flows.wasm", "streams.wasm"] {
        tree.put(format!("odd/{guest}"), fs::read(guests().join(guest)).unwrap());
    }
    let origin = format!("https://{}", upstream.authority);
    tree.put(
        "wasmhost.toml",
        format!("[groups.odd.grants]\nhttp = [\"{origin}\"]\n[groups.odd.limits]\nrequest-time = \"10m\"\n"),
    );
    let mut command = wasmhost();
    command.arg("serve").arg(tree.root());
    if let Some(authorities) = authorities {
        tree.put("authorities.pem", authorities);
        command.env("SSL_CERT_FILE", tree.path("authorities.pem"));
    }
    let server = Server::start_command(command);
    (tree, server)
}

#[test]
fn a_private_authority_is_trusted_where_it_is_named() {
    let authority = Authority::new();
    let certificate = authority.certificate("127.0.0.1");
    for (protocols, version) in [
        (&["h2", "http/1.1"][..], "HTTP/2.0"),
        (&["http/1.1"], "HTTP/1.1"),
        (&[], "HTTP/1.1"),
    ] {
        let upstream = Upstream::new(&certificate, protocols);
        // Beside others, as in a bundle.
        let bundle = Authority::new().pem() + &authority.pem();
        let (_tree, server) = sender(&upstream, Some(&bundle));
        let mut client = server.client();
        for _ in 0..3 {
            let reply = client.get(&format!("/odd/flows?outgoing=tls:{}/it", upstream.authority));
            assert_eq!((reply.status, reply.text()), (200, format!("{version} of /it")));
        }
        let reply = client.get(&format!("/odd/streams?outgoing=tls:{}", upstream.authority));
        assert_eq!(reply.text(), "status 200");
        assert_eq!(upstream.connections.load(Ordering::Relaxed), 1, "it is kept");
    }
}

#[test]
fn bodies_pass_both_ways_by_http2() {
    let authority = Authority::new();
    let upstream = Upstream::new(&authority.certificate("127.0.0.1"), &["h2"]);
    let (_tree, server) = sender(&upstream, Some(&authority.pem()));
    let path = format!("/odd/flows?outgoing=tls:{}/", upstream.authority);
    let body: Vec<u8> = (0..200 << 10).map(|at: u32| (at % 251) as u8).collect();
    // The first finds out what is spoken there.
    let mut clients: Vec<_> = (0..8).map(|_| server.client()).collect();
    assert_eq!(clients[0].get(&path).text(), "HTTP/2.0 of /");
    std::thread::scope(|scope| {
        for client in &mut clients {
            let (path, body) = (&path, &body);
            scope.spawn(move || {
                let reply = client.request("POST", path, &[], body);
                assert!(
                    reply.status == 200 && reply.body == *body,
                    "{} bytes",
                    reply.body.len()
                );
            });
        }
    });
    assert_eq!(
        upstream.connections.load(Ordering::Relaxed),
        1,
        "eight requests in one connection"
    );
}

#[test]
fn nobody_else_is_trusted() {
    let (known, unknown) = (Authority::new(), Authority::new());
    for (certificate, authorities) in [
        // By nobody that the public knows.
        (known.certificate("127.0.0.1"), None),
        (unknown.certificate("127.0.0.1"), Some(known.pem())),
        // Of another host.
        (known.certificate("localhost"), Some(known.pem())),
        (Certificate::new(), Some(known.pem())),
    ] {
        let upstream = Upstream::new(&certificate, &["h2", "http/1.1"]);
        let (_tree, server) = sender(&upstream, authorities.as_deref());
        let mut client = server.client();
        let reply = client.get(&format!("/odd/flows?outgoing=tls:{}/", upstream.authority));
        assert_eq!(reply.text(), "ErrorCode::TlsCertificateError");
        let reply = client.get(&format!("/odd/streams?outgoing=tls:{}", upstream.authority));
        assert!(reply.text().contains("TlsCertificateError"), "{}", reply.text());
        assert_eq!(upstream.connections.load(Ordering::Relaxed), 0);
    }
}
