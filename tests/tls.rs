//! TLS: which protocol is spoken, whose certificate is served, and that another one on disk is served
//! without a restart.

use std::{fs, process::Command, sync::Arc};

use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use crate::support::{
    Certificate, Client, Server, Tool, Tree, guests,
    http2::{Http2, run},
    wasmhost, wat_site,
};

/// A site by TLS with this certificate.
fn site(certificate: &Certificate) -> Tree {
    let tree = wat_site::site(7);
    certificate.put(&tree);
    tree.put(
        "wasmhost.toml",
        format!(
            "[server]\nlisten = [\"https://127.0.0.1:0\"]\n{}",
            Certificate::MANIFEST
        ),
    );
    tree
}

/// Asks until a new connection gets this certificate.
fn wait_for(certificate: &Certificate, server: &Server) -> Client {
    loop {
        match certificate.client(server.authority()) {
            Ok(client) => return client,
            Err(_) => std::thread::yield_now(),
        }
    }
}

#[test]
fn a_page_by_tls() {
    let certificate = Certificate::new();
    let tree = site(&certificate);
    let server = Server::start_on(tree.root(), &[]);
    assert!(server.url().starts_with("https://127.0.0.1:"), "{}", server.url());
    let mut client = certificate.client(server.authority()).unwrap();
    assert_eq!(client.get("/shop/page").body, [7]);
    assert_eq!(client.get("/shop/page").body, [7], "on the same connection");
    Certificate::new()
        .client(server.authority())
        .err()
        .expect("another one is not trusted");
    let plain = Client::new(&format!("http://{}", server.authority())).try_request("GET", "/", &[], b"");
    assert!(plain.is_err(), "clear text is not answered");
}

#[test]
fn a_guest_is_told_the_scheme() {
    let certificate = Certificate::new();
    let tree = site(&certificate);
    for guest in ["flows.wasm", "streams.wasm"] {
        tree.put(format!("odd/{guest}"), fs::read(guests().join(guest)).unwrap());
    }
    let secure = Server::start_on(tree.root(), &[]);
    let plain = Server::start(tree.root());
    let pages = ["/odd/streams?scheme", "/odd/flows?describe"];
    for (server, client, scheme, other) in [
        (
            &secure,
            &mut certificate.client(secure.authority()).unwrap(),
            "Https",
            "http",
        ),
        (&plain, &mut plain.client(), "Http", "https"),
    ] {
        for page in pages {
            // What the client writes there does not count.
            for target in [page.to_owned(), format!("{other}://{}{page}", server.authority())] {
                let said = client.get(&target).text();
                assert!(
                    said.contains(&format!("Some(Scheme::{scheme})")),
                    "{target}: {said}"
                );
            }
        }
    }
    run(async {
        let connector = TlsConnector::from(certificate.trusted(&["h2"]));
        let stream = TcpStream::connect(secure.authority()).await.unwrap();
        let stream = connector
            .connect(ServerName::try_from("127.0.0.1").unwrap(), stream)
            .await
            .unwrap();
        let mut client = Http2::over(stream, secure.authority()).await;
        for page in pages {
            let said = client.get(page).await.into_body();
            let said = std::str::from_utf8(&said).unwrap();
            assert!(said.contains("Some(Scheme::Https)"), "{page}: {said}");
        }
    });
}

#[test]
fn the_client_chooses_the_protocol() {
    let certificate = Certificate::new();
    let tree = site(&certificate);
    let server = Server::start_on(tree.root(), &[]);
    run(async {
        for (offered, chosen) in [
            (&["h2", "http/1.1"][..], Some(&b"h2"[..])),
            (&["http/1.1"], Some(b"http/1.1")),
            (&[], None),
        ] {
            let connector = TlsConnector::from(Arc::clone(&certificate.trusted(offered)));
            let stream = TcpStream::connect(server.authority()).await.unwrap();
            let name = ServerName::try_from("127.0.0.1").unwrap();
            let stream = connector.connect(name, stream).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), chosen);
        }
    });
    let Some(curl) = Tool::new("curl") else { return };
    let (file, url) = (tree.path("tls/cert.pem"), format!("{}/shop/page", server.url()));
    for (version, says) in [("--http2", "HTTP/2 200"), ("--http1.1", "HTTP/1.1 200")] {
        let said = curl.run(&[
            "--silent",
            "--fail",
            "--include",
            version,
            "--cacert",
            file.to_str().unwrap(),
            &url,
        ]);
        assert!(said.starts_with(says), "{said}");
    }
}

#[test]
fn another_certificate_is_served_without_a_restart() {
    let (first, second) = (Certificate::new(), Certificate::new());
    let tree = site(&first);
    let server = Server::start_on(tree.root(), &[]);
    let mut before = first.client(server.authority()).unwrap();
    assert_eq!(before.get("/shop/page").status, 200);
    second.put(&tree);
    let mut after = wait_for(&second, &server);
    assert_eq!(
        (before.get("/shop/page").status, after.get("/shop/page").status),
        (200, 200)
    );
    first
        .client(server.authority())
        .err()
        .expect("the old one is not served any more");
}

#[test]
fn a_bad_certificate_changes_nothing_and_is_said_once() {
    let (first, second, third) = (Certificate::new(), Certificate::new(), Certificate::new());
    let tree = site(&first);
    let server = Server::start_on(tree.root(), &[]);
    tree.put("tls/cert.pem", second.pem());
    server.wait_for_log("the key is not that of the certificate");
    assert_eq!(
        first.client(server.authority()).unwrap().get("/shop/page").status,
        200
    );
    tree.put("tls/key.pem", "no key");
    server.wait_for_log("it has no PEM section of the kind");
    assert_eq!(
        first.client(server.authority()).unwrap().get("/shop/page").status,
        200
    );
    third.put(&tree);
    wait_for(&third, &server);
    server.signal("TERM");
    let (_, _, log) = server.ended();
    assert_eq!(
        log.matches("the certificate that was read before is served on")
            .count(),
        2,
        "{log}"
    );
}

#[test]
fn a_server_that_has_to_refuse_its_manifest_listens_as_before() {
    let certificate = Certificate::new();
    let tree = site(&certificate);
    let server = Server::start_on(tree.root(), &[]);
    server.signal("TERM");
    assert!(server.ended().0.success());
    tree.put("wasmhost.toml", "[server\n");
    let server = Server::start_on(tree.root(), &[]);
    let mut client = certificate.client(server.authority()).unwrap();
    assert_eq!(client.get("/shop/page").body, [7]);
}

#[test]
fn an_address_by_tls_needs_a_certificate() {
    let tree = wat_site::site(7);
    let mut program = wasmhost();
    let output = program
        .arg("serve")
        .arg(tree.root())
        .args(["--listen", "https://127.0.0.1:0"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("error[certificate-missing]: https://127.0.0.1:0 needs a certificate"),
        "{said}"
    );
    assert!(said.contains("help: add [server.tls]"), "{said}");
}

#[test]
fn files_that_are_no_certificate_are_refused_at_the_start_and_by_check() {
    let certificate = Certificate::new();
    let check = |change: &dyn Fn(&Tree), says: &[&str]| {
        let tree = site(&certificate);
        change(&tree);
        for command in ["serve", "check"] {
            let mut program: Command = wasmhost();
            let output = program.arg(command).arg(tree.root()).output().unwrap();
            let said = [output.stdout, output.stderr]
                .map(|said| String::from_utf8(said).unwrap())
                .concat();
            assert_eq!(output.status.code(), Some(1), "{said}");
            for expected in says {
                assert!(said.contains(expected), "no {expected:?} in {said}");
            }
        }
    };
    check(
        &|tree| tree.remove("tls/key.pem"),
        &["error[certificate-unreadable]: cannot read", "tls/key.pem"],
    );
    check(
        &|tree| tree.put("tls/cert.pem", ""),
        &["error[certificate-invalid]", "it has no PEM section of the kind"],
    );
    check(
        &|tree| tree.put("tls/key.pem", Certificate::new().key()),
        &[
            "error[certificate-invalid]",
            "the key is not that of the certificate",
        ],
    );
    check(
        &|tree| tree.put("tls/key.pem", certificate.pem()),
        &["error[certificate-invalid]", "tls/key.pem"],
    );
}
