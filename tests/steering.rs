//! Commands that steer a running server, over the socket in its state directory.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    process::{Output, Stdio},
    thread,
};

use serde_json::Value;

use crate::support::{
    Gated, Server, Tree, guests, touched, wasmhost,
    wat_site::{linked_page, page},
};

fn site() -> Tree {
    let tree = Tree::empty();
    tree.put("shop/page.wat", page(1, ""));
    tree.put("api/page.wat", page(1, ""));
    tree
}

fn run(tree: &Tree, arguments: &[&str]) -> Output {
    let mut command = wasmhost();
    command.args(arguments).arg("--root").arg(tree.root());
    command.output().unwrap()
}

/// What a command prints, and its exit code.
fn said(tree: &Tree, arguments: &[&str]) -> (String, i32) {
    let output = run(tree, arguments);
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (text, output.status.code().unwrap())
}

fn status(tree: &Tree) -> Value {
    serde_json::from_str(&said(tree, &["status", "--json"]).0).unwrap()
}

#[test]
fn a_frozen_server_swaps_on_command() {
    let tree = site();
    let mut server = Server::start_with(tree.root(), &["--frozen"]);
    tree.put("shop/page.wat", page(2, ""));
    tree.put("api/page.wat", page(2, ""));
    let swapped = ("shop@2 serves, in the place of shop@1\n".to_owned(), 0);
    assert_eq!(said(&tree, &["swap", "shop"]), swapped);
    assert_eq!(server.wait("swapped")["group"], "shop");
    let all = "api@2 serves, in the place of api@1\nshop@2 is what lies on disk\n";
    assert_eq!(said(&tree, &["swap"]), (all.to_owned(), 0));
    assert_eq!(server.client().get("/shop/page").generation(), "shop@2");

    let (text, code) = said(&tree, &["swap", "shpo"]);
    assert_eq!(code, 1);
    for part in [
        "error[group-unknown]: the server has no group shpo",
        "help: its groups are: api, shop",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[test]
fn a_swap_tells_what_is_refused() {
    let tree = site();
    let server = Server::start_with(tree.root(), &["--frozen"]);
    tree.put("shop/page.wat", linked_page(1));
    // The second time nothing is new, and the answer is the same.
    for _ in 0..2 {
        let (text, code) = said(&tree, &["swap"]);
        assert_eq!(code, 1, "{text}");
        for part in [
            "api@1 is what lies on disk\n",
            "shop: shop@1 goes on serving\n  error[import-missing]:",
        ] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }
    assert_eq!(server.client().get("/shop/page").generation(), "shop@1");
}

#[test]
fn the_status_tells_what_runs() {
    let tree = Tree::empty();
    let file = "odd/streams.wasm";
    tree.put(file, fs::read(guests().join("streams.wasm")).unwrap());
    tree.put("wasmhost.toml", "[groups.odd.limits]\nrequest-time = \"10m\"\n");
    let mut server = Server::start(tree.root());
    let (old, _) = Gated::lockstep(&server);
    tree.put(file, touched(&tree.read(file), 1));
    server.wait("swapped");
    let (new, _) = Gated::lockstep(&server);
    let told = status(&tree);
    assert_eq!(
        (&told["running"], &told["pid"]),
        (&true.into(), &server.pid().into())
    );
    assert_eq!(told["url"], server.url());
    let odd = &told["groups"]["odd"];
    assert_eq!((&odd["generation"], &odd["in_flight"]), (&2.into(), &1.into()));
    assert_eq!(
        odd["draining"],
        serde_json::json!([{ "generation": 1, "in_flight": 1 }])
    );
    assert_eq!(odd["swapped"]["from"], 1);
    assert_eq!(told["fleet"], Value::Null);
    let (text, _) = said(&tree, &["status"]);
    assert!(text.contains(", 1 in flight, @1 ends with 1\n"), "{text}");

    old.assert_goes_on_to_its_end();
    server.wait("retired");
    let digest = odd["swapped"]["digest"].clone();
    // What it can go back to: both, once the disk has them.
    let kept = loop {
        let kept = status(&tree)["groups"]["odd"]["kept"].take();
        if kept[0] == digest && kept[1].is_string() {
            break kept;
        }
    };
    assert_eq!(kept.as_array().unwrap().len(), 2);
    assert_eq!(status(&tree)["groups"]["odd"]["draining"], serde_json::json!([]));
    new.assert_goes_on_to_its_end();
    drop(server);
    let told = status(&tree);
    assert_eq!(
        (&told["running"], &told["groups"]["odd"]["generation"]),
        (&false.into(), &2.into())
    );
}

#[test]
fn a_drain_ends_the_server_after_its_last_request() {
    let tree = Tree::empty();
    tree.put(
        "odd/streams.wasm",
        fs::read(guests().join("streams.wasm")).unwrap(),
    );
    let server = Server::start(tree.root());
    let (stream, _) = Gated::lockstep(&server);
    let mut command = wasmhost();
    command.args(["drain", "--root"]).arg(tree.root());
    let mut drain = command.stdout(Stdio::piped()).spawn().unwrap();
    while status(&tree)["draining"] != true {
        thread::yield_now();
    }
    assert!(drain.try_wait().unwrap().is_none(), "a request still runs");
    stream.assert_goes_on_to_its_end();
    assert!(drain.wait().unwrap().success());
    let (ended, ..) = server.ended();
    assert!(ended.success());
    assert!(!tree.path(".wasmhost/admin.sock").exists());
}

#[test]
fn the_socket_is_for_its_owner_and_answers_what_it_does_not_know() {
    let tree = site();
    let (text, code) = said(&tree, &["drain"]);
    assert_eq!(code, 3);
    assert!(
        text.contains("error[server-missing]: no server answers in "),
        "{text}"
    );

    let _server = Server::start(tree.root());
    let socket = tree.path(".wasmhost/admin.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    for (request, answer) in [
        ("GET /v1/nothing", "404"),
        ("GET /v1/swap", "405"),
        ("GET /v1/ready", "200"),
        ("POST /v1/swap", "415"),
    ] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        write!(
            stream,
            "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(
            text.starts_with(&format!("HTTP/1.1 {answer} ")),
            "{request}: {text}"
        );
    }
}

#[test]
fn a_group_is_rolled_back_and_forward() {
    let tree = site();
    let mut server = Server::start(tree.root());
    let page_is = |server: &Server, version: u8, generation: &str| {
        let reply = server.client().get("/shop/page");
        assert_eq!((reply.body[0], reply.generation()), (version, generation));
    };
    tree.put("shop/page.wat", page(2, ""));
    server.wait("swapped");
    let older = "shop@3 serves an older content, in the place of shop@2\n".to_owned();
    assert_eq!(said(&tree, &["rollback", "shop"]), (older, 0));
    page_is(&server, 1, "shop@3");
    // What lies there was taken back, until someone asks for it.
    tree.overwrite("shop/page.wat", page(2, ""));
    tree.put("api/page.wat", page(2, ""));
    server.wait_for("swapped", |swapped| swapped["group"] == "api");
    page_is(&server, 1, "shop@3");
    let forward = "shop@4 serves, in the place of shop@3\n".to_owned();
    assert_eq!(said(&tree, &["swap", "shop"]), (forward, 0));
    page_is(&server, 2, "shop@4");

    let (text, code) = said(&tree, &["rollback", "shop", "1", "--json"]);
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (code, &told["from"], &told["generation"]),
        (0, &4.into(), &5.into())
    );
    page_is(&server, 1, "shop@5");
    for (wanted, part) in [
        (
            "shop@3",
            "error[rollback-nothing]: shop serves that content already",
        ),
        (
            "7",
            "error[rollback-unknown]: no content of shop is kept under the name \"7\"",
        ),
    ] {
        let (text, code) = said(&tree, &["rollback", "shop", wanted]);
        assert_eq!(code, 1, "{text}");
        assert!(
            text.contains(part) && text.contains("help: kept are @5 ("),
            "{text}"
        );
    }
    let (text, code) = said(&tree, &["rollback", "shpo"]);
    assert!(
        code == 1 && text.contains("no other content of shpo is kept"),
        "{text}"
    );
}

#[test]
fn a_roll_back_works_after_a_restart_and_without_the_files() {
    let tree = site();
    let mut server = Server::start(tree.root());
    tree.put("shop/page.wat", page(2, ""));
    server.wait("swapped");
    server.signal("TERM");
    server.ended();
    tree.remove("shop/page.wat");
    let server = Server::start(tree.root());
    assert_eq!(server.client().get("/shop/page").status, 404);
    assert_eq!(
        said(&tree, &["rollback", "shop"]),
        ("shop@1 serves\n".to_owned(), 0)
    );
    assert_eq!(server.client().get("/shop/page").body, [2]);
    let older = "shop@2 serves an older content, in the place of shop@1\n".to_owned();
    assert_eq!(said(&tree, &["rollback", "shop"]), (older, 0));
    server.signal("TERM");
    server.ended();
    // It was chosen, and there are still no files.
    let server = Server::start(tree.root());
    assert_eq!(server.client().get("/shop/page").body, [1]);
}

#[test]
fn a_pinned_group_stays_also_after_a_restart() {
    let tree = site();
    let mut server = Server::start(tree.root());
    let pinned = "shop is pinned: what serves stays\n".to_owned();
    assert_eq!(said(&tree, &["pin", "shop"]), (pinned, 0));
    assert_eq!(status(&tree)["groups"]["shop"]["pinned"], true);
    tree.put("shop/page.wat", page(2, ""));
    tree.put("api/page.wat", page(2, ""));
    assert_eq!(server.wait("swapped")["group"], "api");
    let (text, code) = said(&tree, &["swap", "shop"]);
    assert!(code == 1 && text.contains("error[group-pinned]"), "{text}");
    server.signal("TERM");
    server.ended();
    let mut server = Server::start(tree.root());
    assert_eq!(server.client().get("/shop/page").body, [1]);
    let follows = "shop follows what lies on disk\n".to_owned();
    assert_eq!(said(&tree, &["unpin", "shop"]), (follows, 0));
    assert_eq!(server.wait("swapped")["group"], "shop");
    assert_eq!(server.client().get("/shop/page").body, [2]);
    let (text, code) = said(&tree, &["pin", "shpo"]);
    assert!(code == 1 && text.contains("error[group-unknown]"), "{text}");
}
