//! `probation`: a new generation that traps within its first requests is reverted, and its clients hardly see it.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use crate::support::{
    Client, Server, Tree, guests,
    wat_site::{page, trapping_page},
};

const CLIENTS: usize = 8;

/// A group of a page, with this in its manifest.
fn shop(group: &str, probation: &str) -> Tree {
    let tree = Tree::empty();
    tree.put("shop/page.wat", page(1, ""));
    tree.put(
        "wasmhost.toml",
        format!("[groups.shop]\n{group}\n[groups.shop.swap]\nprobation = {probation}\n"),
    );
    tree
}

/// Asks for the page from all sides while `act` runs. What was not answered with 200.
fn failures<T>(server: &mut Server, method: &str, act: impl FnOnce(&mut Server) -> T) -> (usize, T) {
    let (over, failed) = (AtomicBool::new(false), AtomicUsize::new(0));
    let authority = server.url().to_owned();
    let done = thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::new(&authority);
                while !over.load(Ordering::Relaxed) {
                    let reply = client.request(method, "/shop/page", &[], b"");
                    assert!([200, 500].contains(&reply.status), "{reply:?}");
                    failed.fetch_add(usize::from(reply.status != 200), Ordering::Relaxed);
                }
            });
        }
        let done = act(server);
        over.store(true, Ordering::Relaxed);
        done
    });
    (failed.into_inner(), done)
}

fn version(client: &mut Client) -> (u8, String) {
    let reply = client.get("/shop/page");
    assert_eq!(reply.status, 200, "{reply:?}");
    (reply.body[0], reply.generation().to_owned())
}

#[test]
fn a_trapping_release_is_reverted_and_no_client_sees_it() {
    let ways = [
        "",
        "instances = { pool = 4 }",
        "instances = \"isolated\"",
        "interleaved",
    ];
    for way in ways {
        let interleaved = way == "interleaved";
        let tree = shop(if interleaved { "" } else { way }, "{}");
        if interleaved {
            // It makes the store of the group an event loop.
            tree.put("shop/flows.wasm", fs::read(guests().join("flows.wasm")).unwrap());
        }
        let mut server = Server::start(tree.root());
        let (failed, reverted) = failures(&mut server, "GET", |server| {
            tree.put("shop/page.wat", trapping_page(2, 0));
            server.wait("reverted")
        });
        assert_eq!(failed, 0, "{way}");
        assert_eq!(
            (&reverted["from"], &reverted["to"]),
            (&2.into(), &3.into()),
            "{way}"
        );
        assert_eq!(reverted["reason"], "1 of its first 1 requests trapped", "{way}");
        let mut client = server.client();
        assert_eq!(version(&mut client), (1, "shop@3".to_owned()), "{way}");
        // What is written again is what was refused.
        tree.overwrite("shop/page.wat", trapping_page(2, 0));
        tree.put("shop/page.wat", page(4, ""));
        assert_eq!(server.wait("swapped")["from"], 3, "{way}");
        assert_eq!(version(&mut client), (4, "shop@4".to_owned()), "{way}");
    }
}

#[test]
fn who_cannot_be_answered_again_sees_no_more_errors_than_are_allowed() {
    let tree = shop("", "{ requests = 100, traps = 3 }");
    let mut server = Server::start(tree.root());
    let (failed, reverted) = failures(&mut server, "POST", |server| {
        tree.put("shop/page.wat", trapping_page(2, 1));
        server.wait("reverted")
    });
    assert_eq!(failed, 3);
    assert_eq!(reverted["reason"], "3 of its first 6 requests trapped");
    let trapped = server.seen().iter().filter(|event| event["event"] == "trapped");
    assert_eq!(trapped.count(), 3);
}

#[test]
fn what_was_handed_over_is_loaded_again() {
    let tree = shop("state = \"migrate\"", "{}");
    tree.put("shop/cart.wasm", fs::read(guests().join("cart.wasm")).unwrap());
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    let mut add = |expected: &str| assert_eq!(client.get("/shop/cart?add").text(), expected);
    add("1");
    add("2");
    tree.put("shop/page.wat", trapping_page(2, 0));
    server.wait("swapped");
    add("3");
    assert_eq!(version(&mut server.client()), (1, "shop@3".to_owned()));
    server.wait("reverted");
    // As it was when it was handed over.
    add("3");
}

#[test]
fn what_is_proven_stays() {
    let tree = shop("", "{ requests = 2, traps = 1 }");
    let mut server = Server::start(tree.root());
    tree.put("shop/page.wat", trapping_page(2, 2));
    server.wait("swapped");
    let mut client = server.client();
    assert_eq!(version(&mut client).0, 2);
    assert_eq!(version(&mut client).0, 2);
    assert_eq!(client.get("/shop/page").status, 500);
    server.wait("recovered");
    assert_eq!(version(&mut client), (2, "shop@2".to_owned()));
    assert!(server.seen().iter().all(|event| event["event"] != "reverted"));
}

/// What serves is the last content that has proven its worth, however many came after it.
#[test]
fn releases_that_follow_a_bad_one_are_reverted_past_it() {
    let tree = shop("", "{}");
    let mut server = Server::start(tree.root());
    for version in [2, 3] {
        tree.put("shop/page.wat", trapping_page(version, 0));
        server.wait("swapped");
    }
    assert_eq!(version(&mut server.client()), (1, "shop@4".to_owned()));
    assert_eq!(server.wait("reverted")["from"], 3);
}

#[test]
fn what_was_reverted_is_not_served_after_a_restart() {
    let tree = shop("", "{}");
    let mut server = Server::start(tree.root());
    tree.put("shop/page.wat", trapping_page(2, 0));
    server.wait("swapped");
    assert_eq!(version(&mut server.client()).0, 1);
    server.wait("reverted");
    server.signal("KILL");
    drop(server);
    let mut server = Server::start(tree.root());
    assert_eq!(version(&mut server.client()), (1, "shop@1".to_owned()));
    tree.put("shop/page.wat", page(3, ""));
    server.wait("swapped");
    assert_eq!(version(&mut server.client()), (3, "shop@2".to_owned()));
}
