//! Where a server listens: several sockets at once, Unix sockets and their files, and how many
//! connections it takes.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    process::Output,
};

use crate::support::{Client, Server, Tree, connect, wasmhost, wat_site};

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

/// What a server says that does not come to serve.
fn refused(tree: &Tree, address: &str) -> String {
    let mut command = wasmhost();
    command.arg("serve").arg(tree.root()).args(["--listen", address]);
    let Output { status, stderr, .. } = command.output().unwrap();
    assert_eq!(status.code(), Some(3));
    String::from_utf8(stderr).unwrap()
}

#[test]
fn all_of_the_manifests_addresses_are_served() {
    let tree = wat_site::site(7);
    tree.put("run/x", "");
    tree.put(
        "wasmhost.toml",
        "[server]\nlisten = [\"unix:run/site.sock\", \"http://127.0.0.1:0\"]\n",
    );
    let server = Server::start_on(tree.root(), &[]);
    let path = tree.path("run/site.sock");
    assert_eq!(server.url(), format!("unix:{}", path.display()));
    assert_eq!(mode(&path), 0o600, "for its owner alone");
    assert_eq!(server.client().get("/shop/page").body, [7]);
    server.signal("TERM");
    let (status, _, log) = server.ended();
    assert!(status.success(), "{log}");
    let other = log
        .lines()
        .filter_map(|line| line.split_once("listening on "))
        .nth(1);
    assert!(
        other.is_some_and(|(_, url)| url.starts_with("http://127.0.0.1:")),
        "{log}"
    );
    assert!(!path.exists(), "removed at the end");
}

#[test]
fn what_a_killed_server_left_is_replaced() {
    let tree = wat_site::site(7);
    let path = tree.path("site.sock");
    let address = format!("unix:{}", path.display());
    drop(UnixListener::bind(&path).unwrap());
    assert!(
        path.exists() && UnixStream::connect(&path).is_err(),
        "nobody answers"
    );
    let server = Server::start_on(tree.root(), &[&address, "127.0.0.1:0"]);
    assert_eq!(Client::new(&address).get("/shop/page").body, [7]);
    drop(server);
    assert!(path.exists(), "killed, it could not tidy up");
    let server = Server::start_on(tree.root(), &[&address]);
    assert_eq!(server.client().get("/shop/page").body, [7]);
}

#[test]
fn a_socket_that_somebody_answers_on_is_left_alone() {
    let tree = wat_site::site(7);
    let path = tree.path("site.sock");
    let address = format!("unix:{}", path.display());
    let first = Server::start_on(tree.root(), &[&address]);
    let said = refused(&tree, &address);
    assert!(
        said.contains(&format!("error[listen-failed]: cannot listen on {address}")),
        "{said}"
    );
    assert!(
        said.contains("help: another program answers on this socket"),
        "{said}"
    );
    assert_eq!(first.client().get("/shop/page").body, [7]);

    // One that somebody else put in the place is not the server's to remove.
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    first.signal("TERM");
    assert!(first.ended().0.success());
    assert!(path.exists());
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let tree = wat_site::site(7);
    tree.put("notes.txt", "mine");
    let said = refused(&tree, &format!("unix:{}", tree.path("notes.txt").display()));
    assert!(said.contains("help: what lies there is no socket"), "{said}");
    assert_eq!(tree.read("notes.txt"), b"mine");
    let said = refused(&tree, &format!("unix:{}", tree.path("none/site.sock").display()));
    assert!(said.contains("help: make its folder first"), "{said}");
    let said = refused(&tree, &format!("unix:{}", tree.path("a".repeat(200)).display()));
    assert!(
        said.contains("help: a socket's path has at most 107 bytes"),
        "{said}"
    );
}

#[test]
fn connections_over_the_limit_wait_for_their_turn() {
    let tree = wat_site::site(7);
    tree.put("wasmhost.toml", "[server.limits]\nconnections = 2\n");
    let server = Server::start(tree.root());
    let (mut one, mut two) = (server.client(), server.client());
    assert_eq!(
        (one.get("/shop/page").status, two.get("/shop/page").status),
        (200, 200)
    );
    let mut third = connect(server.authority());
    third
        .write_all(b"GET /shop/page HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .unwrap();
    third.set_nonblocking(true).unwrap();
    for _ in 0..100 {
        assert_eq!(one.get("/shop/page").status, 200);
        let nothing = third.read(&mut [0]).unwrap_err();
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock, "it has to wait");
    }
    drop(two);
    third.set_nonblocking(false).unwrap();
    let mut answer = String::new();
    third.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
