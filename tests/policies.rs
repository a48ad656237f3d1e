//! `instances` of the manifest: which requests meet in one store, which run at once, and what of a group a
//! store holds.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    linking::wat::{COUNTER, counter, page, page_importing, types},
    site::calls,
    support::{Client, Gated, Reply, Server, Tree, assert_broken, guests, touched},
};

const SHARED: &str = "instances = \"shared\"";
const POOL: &str = "instances = { pool = 2 }";
const ISOLATED: &str = "instances = \"isolated\"";

/// For tests that hold a guest at its gate: however slow the machine is, the guest is not late.
const PATIENT: &str = "[groups.odd.limits]\nrequest-time = \"10m\"\n";

/// Both guests in one group of this policy.
fn odd(instances: &str) -> Tree {
    odd_with(instances, "")
}

fn odd_with(instances: &str, more: &str) -> Tree {
    let tree = Tree::empty();
    for guest in ["misbehave.wasm", "streams.wasm"] {
        tree.put(format!("odd/{guest}"), fs::read(guests().join(guest)).unwrap());
    }
    tree.put(
        "wasmhost.toml",
        format!("[groups.odd]\n{instances}\n{PATIENT}{more}"),
    );
    tree
}

/// A group of component texts, with this in its table of the manifest.
fn shop(manifest: &str, files: &[(&str, &str)]) -> Tree {
    let tree = Tree::empty();
    tree.put("wasmhost.toml", format!("[groups.shop]\n{manifest}\n"));
    for (file, text) in files {
        tree.put(format!("shop/{file}.wat"), text);
    }
    tree
}

/// A library like `counter`, with this in its core module.
fn counter_with(interface: &str, more: &str) -> String {
    counter(interface).replacen("(global $count", &format!("{more} (global $count"), 1)
}

fn misbehave(client: &mut Client, what: &str) -> Reply {
    client.get(&format!("/odd/misbehave?{what}"))
}

fn streams(client: &mut Client, what: &str) -> Reply {
    client.get(&format!("/odd/streams?{what}"))
}

/// How many calls its store has seen with the one that opened this stream.
fn calls_of(head: &Reply) -> &str {
    head.header("x-calls").unwrap()
}

fn has_seen(server: &mut Server, event: &str) -> bool {
    server.seen().iter().any(|seen| seen["event"] == event)
}

#[test]
fn isolated_requests_find_everything_new() {
    let tree = Tree::example();
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    for expected in 1..=3 {
        assert_eq!(calls(&client.get("/"), "shop.screen.home"), expected);
    }
    let manifest = String::from_utf8(tree.read("wasmhost.toml")).unwrap();
    tree.put(
        "wasmhost.toml",
        format!("{manifest}\n[groups.shop]\n{ISOLATED}\n"),
    );
    let swapped = server.wait("swapped");
    assert_eq!(
        swapped["generation"], 2,
        "another policy is another generation: {swapped}"
    );
    let first = client.get("/");
    for _ in 0..3 {
        let page = client.get("/");
        assert_eq!((page.status, page.generation()), (200, "shop@2"));
        assert_eq!(page.text(), first.text());
        assert_eq!(calls(&page, "shop.screen.home"), 1);
    }
    assert_eq!(client.get("/items/nothing").status, 404, "as the page has it");
}

#[test]
fn isolated_requests_run_at_once() {
    let tree = odd(ISOLATED);
    let server = Server::start(tree.root());
    let opened = [(); 3].map(|()| Gated::lockstep(&server));
    let mut client = server.client();
    for _ in 0..3 {
        assert_eq!(misbehave(&mut client, "count").text(), "1");
        assert_eq!(streams(&mut client, "count").text(), "1");
    }
    for (stream, head) in opened {
        assert_eq!(calls_of(&head), "1");
        stream.assert_goes_on_to_its_end();
    }
}

/// More than the engine's pool has room for, each held in mid-request.
#[test]
fn isolated_stores_that_find_no_place_in_the_pool_are_made_on_demand() {
    let handles = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: handles.maximum,
        ..handles
    };
    setrlimit(Resource::Nofile, all).unwrap();
    let tree = odd_with(ISOLATED, "in-flight = 3000\n");
    let mut server = Server::start(tree.root());
    let opened: Vec<_> = (0..2060).map(|_| Gated::lockstep(&server)).collect();
    let mut client = server.client();
    assert_eq!(streams(&mut client, "count").text(), "1");
    assert_eq!(misbehave(&mut client, "count").text(), "1");
    let guest = fs::read(guests().join("misbehave.wasm")).unwrap();
    tree.put("odd/streams.wasm", guest);
    assert_eq!(
        server.wait("swapped")["generation"],
        2,
        "a swap finds room too: {:?}",
        server.seen()
    );
    for (stream, head) in opened {
        assert_eq!(calls_of(&head), "1");
        stream.assert_goes_on_to_its_end();
    }
    assert_eq!(misbehave(&mut client, "count").text(), "1");
}

#[test]
fn a_trap_of_an_isolated_request_is_its_own() {
    let tree = odd(ISOLATED);
    let mut server = Server::start(tree.root());
    let (stream, _) = Gated::lockstep(&server);
    let mut client = server.client();
    assert_eq!(streams(&mut client, "trap").status, 500);
    assert_eq!(server.wait("trapped")["component"], "odd.streams");
    let mut midway = Gated::open(&server, "/odd/streams?trap-midway");
    assert_eq!(midway.client.receive_head().unwrap().status, 200);
    assert_eq!(midway.receive().unwrap().as_deref(), Some("begun"));
    midway.send("now trap");
    assert_broken(midway.receive());
    server.wait("trapped");
    for what in ["unfinished", "forgotten", "short"] {
        let path = format!("/odd/streams?{what}");
        assert_broken(server.client().try_request("GET", &path, &[], b""));
    }
    assert_eq!(misbehave(&mut client, "count").text(), "1");
    stream.assert_goes_on_to_its_end();
    assert!(!has_seen(&mut server, "recovered"), "nothing was to be replaced");
    assert!(!has_seen(&mut server, "trapped"), "to be wrong is no trap");
}

#[test]
fn a_pool_runs_as_many_requests_as_it_has_stores() {
    let tree = odd(POOL);
    let server = Server::start(tree.root());
    let mut client = server.client();
    for expected in ["1", "2", "3"] {
        // No second store as long as the first is free.
        assert_eq!(streams(&mut client, "count").text(), expected);
    }
    let (first, head) = Gated::lockstep(&server);
    assert_eq!(calls_of(&head), "4");
    let (second, head) = Gated::lockstep(&server);
    assert_eq!(calls_of(&head), "1", "each store has a state of its own");

    let mut third = server.client();
    third.send("GET", "/odd/streams?count", &[], b"").unwrap();
    assert_eq!(
        misbehave(&mut client, "count").text(),
        "1",
        "another page has other stores"
    );
    second.assert_goes_on_to_its_end();
    assert_eq!(
        third.receive(false).unwrap().text(),
        "2",
        "it waited for a store, instead of being given a third one"
    );
    first.assert_goes_on_to_its_end();
    assert_eq!(misbehave(&mut client, "count").text(), "2");
}

#[test]
fn a_trap_in_a_pool_leaves_the_other_stores() {
    let tree = odd(POOL);
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    assert_eq!(streams(&mut client, "count").text(), "1");
    let (stream, head) = Gated::lockstep(&server);
    assert_eq!(calls_of(&head), "2");
    assert_eq!(streams(&mut client, "count").text(), "1");
    assert_eq!(streams(&mut client, "trap").status, 500);
    assert_eq!(server.wait("trapped")["component"], "odd.streams");
    assert_eq!(server.wait("recovered")["generation"], 1);
    assert_eq!(streams(&mut client, "count").text(), "1", "a new one took over");
    stream.assert_goes_on_to_its_end();
}

#[test]
fn a_client_that_leaves_takes_no_store_with_it() {
    for (instances, then) in [(POOL, "2"), (ISOLATED, "1")] {
        let tree = odd_with(instances, "in-flight = 2\n");
        let mut server = Server::start(tree.root());
        for _ in 0..8 {
            let (mut stream, _) = Gated::lockstep(&server);
            stream.send("and then gone");
        }
        let mut client = server.client();
        assert_eq!(misbehave(&mut client, "count").text(), "1");
        assert_eq!(misbehave(&mut client, "count").text(), then);
        let (stream, _) = Gated::lockstep(&server);
        stream.assert_goes_on_to_its_end();
        assert!(server.seen().is_empty(), "{:#?}", server.seen());
    }
}

#[test]
fn a_swap_leaves_running_requests_where_they_are() {
    for instances in [POOL, ISOLATED] {
        let tree = odd(instances);
        let mut server = Server::start(tree.root());
        let opened = [(); 2].map(|()| Gated::lockstep(&server));
        let file = "odd/streams.wasm";
        tree.put(file, touched(&tree.read(file), 1));
        assert_eq!(server.wait("swapped")["generation"], 2);
        let mut client = server.client();
        let meanwhile = streams(&mut client, "count");
        assert_eq!(
            (meanwhile.generation(), meanwhile.text().as_str()),
            ("odd@2", "1")
        );
        assert!(!has_seen(&mut server, "retired"), "it still streams");
        for (stream, head) in opened {
            assert_eq!(head.generation(), "odd@1");
            stream.assert_goes_on_to_its_end();
        }
        let retired = server.wait("retired");
        assert_eq!(
            (&retired["generation"], &retired["aborted"]),
            (&1.into(), &0.into())
        );
    }
}

#[test]
fn what_had_not_begun_at_the_drain_deadline_begins_in_the_new_generation() {
    for instances in [SHARED, "instances = { pool = 1 }"] {
        let tree = odd_with(instances, "[groups.odd.swap]\ndrain = \"100ms\"\n");
        let mut server = Server::start(tree.root());
        let (mut stream, _) = Gated::lockstep(&server);
        let mut waiting = server.client();
        let body = [("content-length", "5")];
        waiting
            .send("POST", "/odd/streams?lockstep", &body, b"whole")
            .unwrap();
        let file = "odd/streams.wasm";
        tree.put(file, touched(&tree.read(file), 1));

        let reply = waiting.receive(false).unwrap();
        assert_eq!((reply.status, reply.generation()), (200, "odd@2"));
        assert_eq!(reply.text(), "whole");
        assert_eq!(server.wait("retired")["aborted"], 1);
        assert_broken(stream.receive());
    }
}

#[test]
fn the_drain_deadline_ends_every_store() {
    for instances in [POOL, ISOLATED] {
        let tree = odd_with(instances, "[groups.odd.swap]\ndrain = \"100ms\"\n");
        let mut server = Server::start(tree.root());
        let opened = [(); 2].map(|()| Gated::lockstep(&server));
        let file = "odd/streams.wasm";
        tree.put(file, touched(&tree.read(file), 1));
        assert_eq!(server.wait("swapped")["generation"], 2);
        let retired = server.wait("retired");
        assert_eq!(
            (&retired["generation"], &retired["aborted"]),
            (&1.into(), &2.into())
        );
        for (mut stream, _) in opened {
            assert_broken(stream.receive());
        }
        assert_eq!(streams(&mut server.client(), "count").generation(), "odd@2");
    }
}

#[test]
fn a_component_that_cannot_start_is_refused_under_each_policy() {
    let trap = "(start $trap) (func $trap unreachable)";
    let good = counter("site:shop/other@0.1.0");
    let bad = counter_with("site:shop/other@0.1.0", trap);
    let [home, item] = [COUNTER, "site:shop/other@0.1.0"].map(page);
    for instances in [SHARED, POOL, ISOLATED] {
        for pages in [
            vec![("home", home.as_str()), ("item", &item)],
            vec![("home", &home)],
        ] {
            let mut files = vec![("counter", counter(COUNTER)), ("other", good.clone())];
            files.extend(pages.iter().map(|(name, text)| (*name, (*text).to_owned())));
            let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
            let tree = shop(instances, &files);
            let mut server = Server::start(tree.root());
            tree.put("shop/other.wat", &bad);
            let rejected = server.wait("rejected");
            assert_eq!(rejected["kept"], 1, "{instances}, {} pages", pages.len());
            let diagnostic = &rejected["diagnostics"][0];
            assert_eq!(diagnostic["code"], "start-trapped", "{rejected:#}");
            assert!(
                diagnostic["message"]
                    .as_str()
                    .unwrap()
                    .starts_with("shop.other failed")
            );
            assert_eq!(server.client().get("/shop/home").generation(), "shop@1");
        }
    }
}

#[test]
fn a_store_holds_only_what_its_page_reaches() {
    // Each library takes 5 MiB: two of them in one store are more than there is.
    let [first, second] =
        [COUNTER, "site:shop/other@0.1.0"].map(|interface| counter_with(interface, "(memory 80)"));
    let [home, item] = [COUNTER, "site:shop/other@0.1.0"].map(page);
    let files = [
        ("counter", first.as_str()),
        ("other", second.as_str()),
        ("home", &home),
        ("item", &item),
    ];
    let manifest = |instances: &str| format!("{instances}\nlimits.memory = \"8MiB\"");
    let tree = shop(&manifest(ISOLATED), &files);
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    let mut digits =
        || ["/shop/home", "/shop/home", "/shop/item", "/shop/item"].map(|path| client.get(path).text());
    assert_eq!(digits(), ["1"; 4]);

    tree.put("wasmhost.toml", format!("[groups.shop]\n{}\n", manifest(POOL)));
    assert_eq!(server.wait("swapped")["modules_compiled"], 0);
    assert_eq!(digits(), ["1", "2", "1", "2"]);

    tree.put("wasmhost.toml", format!("[groups.shop]\n{}\n", manifest(SHARED)));
    let rejected = server.wait("rejected");
    assert_eq!(
        rejected["diagnostics"][0]["code"], "start-trapped",
        "{rejected:#}"
    );
    assert_eq!(digits(), ["3", "4", "3", "4"]);
}

#[test]
fn components_that_never_meet_in_a_store_agree_about_types_all_the_same() {
    let [home, good, bad] = ["u32", "u32", "u64"].map(|price| page_importing(&types(price), "i32.const 7"));
    for instances in [SHARED, POOL, ISOLATED] {
        let tree = shop(instances, &[("home", &home), ("item", &good)]);
        let mut server = Server::start(tree.root());
        tree.put("shop/item.wat", &bad);
        let rejected = server.wait("rejected");
        assert_eq!(
            rejected["diagnostics"][0]["code"], "import-mismatch",
            "{rejected:#}"
        );
        assert_eq!(server.client().get("/shop/item").text(), "7");
    }
}

#[test]
fn an_edit_compiles_what_changed_once_for_all_stores() {
    let tree = Tree::example();
    let manifest = String::from_utf8(tree.read("wasmhost.toml")).unwrap();
    for instances in [POOL, ISOLATED] {
        tree.put(
            "wasmhost.toml",
            format!("{manifest}\n[groups.shop]\n{instances}\n"),
        );
        let mut server = Server::start(tree.root());
        let file = "shop/layout/frame.wasm";
        tree.put(file, touched(&tree.read(file), 1));
        let swapped = server.wait("swapped");
        assert_eq!(
            (&swapped["modules_compiled"], &swapped["functions_compiled"]),
            (&0.into(), &0.into()),
            "the frame is in three slices, and none of its modules changed: {swapped}"
        );
        assert_eq!(server.client().get("/").generation(), "shop@2");
    }
}
