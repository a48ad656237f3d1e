//! Keys and values of groups: what guests can do with them, what outlives what, and what commands see.

mod commands;
mod crashes;
mod nats;
mod redis;

use std::fs;

use crate::support::{Client, Reply, Server, Tree, guests, touched, wasmhost};

/// The same guest in two groups that have a space each, and in one that has none.
fn site() -> Tree {
    let tree = Tree::empty();
    let guest = fs::read(guests().join("keyvalue.wasm")).unwrap();
    for group in ["rich", "other", "poor"] {
        tree.put(format!("{group}/keyvalue.wasm"), &guest);
    }
    let granted = ["rich", "other"].map(|group| format!("[groups.{group}.grants]\nkeyvalue = true\n"));
    tree.put("wasmhost.toml", granted.concat());
    tree
}

fn try_ask(client: &mut Client, group: &str, what: &str, body: &[u8]) -> Reply {
    client.request("POST", &format!("/{group}/keyvalue?{what}"), &[], body)
}

/// What the guest answers where all goes well.
fn ask(client: &mut Client, group: &str, what: &str) -> String {
    let reply = try_ask(client, group, what, b"");
    assert_eq!(reply.status, 200, "{what}: {reply:?}");
    reply.text()
}

/// What the guest was told by the error that it got.
fn refusal(client: &mut Client, group: &str, what: &str) -> String {
    let reply = try_ask(client, group, what, b"");
    assert_eq!(reply.status, 400, "{what}: {reply:?}");
    reply.text()
}

fn set(client: &mut Client, group: &str, key: &str, value: &str) {
    let reply = try_ask(client, group, &format!("set={key}"), value.as_bytes());
    assert_eq!(reply.status, 200, "{key}: {reply:?}");
}

#[test]
fn a_value_is_set_read_and_deleted() {
    let tree = site();
    let server = Server::start(tree.root());
    let mut client = server.client();
    does_all(&mut client);
    // One byte below the first key, and all bytes in a value.
    let bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(try_ask(&mut client, "rich", "set=bytes", &bytes).status, 200);
    assert_eq!(try_ask(&mut client, "rich", "get=bytes", b"").body, bytes);
}

/// Through every function of both versions; the group's space is empty before.
fn does_all(client: &mut Client) {
    assert_eq!(ask(client, "rich", "get=a"), "nothing");
    assert_eq!(ask(client, "rich", "exists=a"), "false");
    set(client, "rich", "a", "one");
    assert_eq!(ask(client, "rich", "get=a"), "one");
    assert_eq!(ask(client, "rich", "exists=a"), "true");
    set(client, "rich", "a", "two");
    assert_eq!(ask(client, "rich", "get=a"), "two");
    ask(client, "rich", "delete=a");
    ask(client, "rich", "delete=a");
    assert_eq!(ask(client, "rich", "get=a"), "nothing");

    assert_eq!(ask(client, "rich", "increment=n,5"), "5");
    assert_eq!(ask(client, "rich", "increment=n,-7"), "-2");
    assert!(refusal(client, "rich", "increment-1=n,1").contains("below 0"));
    assert_eq!(ask(client, "rich", "increment-1=n,3"), "2");
    assert_eq!(ask(client, "rich", "get=n"), "2");
    let most = i64::MAX;
    assert!(refusal(client, "rich", &format!("increment=n,{most}")).contains("64 bits"));
    set(client, "rich", "a", "text");
    assert!(refusal(client, "rich", "increment=a,1").contains("64 bits"));
    assert_eq!(ask(client, "rich", "get=a"), "text");

    assert_eq!(ask(client, "rich", "add-by-swap=n"), "3");
    assert_eq!(ask(client, "rich", "add-by-swap=new"), "1");
    assert_eq!(ask(client, "rich", "swap-late=a"), "failed, it is changed");

    ask(client, "rich", "set-many=many,1000");
    ask(client, "rich", "set-many=more,1000");
    assert_eq!(ask(client, "rich", "get-many=many,1000"), "1000 of 1000");
    assert_eq!(ask(client, "rich", "get-many-1=more,1000"), "1000 of 1000");
    ask(client, "rich", "delete-many=many,400");
    assert_eq!(ask(client, "rich", "get-many=many,1000"), "600 of 1000");
    for list in ["list", "list-1"] {
        let listed = ask(client, "rich", list);
        // A Redis and a NATS may say a key twice.
        assert!(listed.contains("1603 of them different"), "{listed}");
        assert!(listed.contains(r#"(Some("a"), Some("new"))"#), "{listed}");
    }
    // Another group has none of it.
    assert_eq!(ask(client, "other", "get=n"), "nothing");
    assert!(ask(client, "other", "list").starts_with("0 keys"));
    set(client, "other", "n", "mine");
    assert_eq!(ask(client, "rich", "get=n"), "3");
    ask(client, "rich", "clear-1");
    assert!(ask(client, "rich", "list").starts_with("0 keys"));
    assert_eq!(ask(client, "other", "get=n"), "mine");
}

#[test]
fn a_list_goes_on_where_it_ended_whatever_was_deleted() {
    let tree = site();
    let server = Server::start(tree.root());
    let mut client = server.client();
    for prefix in ["a", "b", "c"] {
        ask(&mut client, "rich", &format!("set-many={prefix},1000"));
    }
    let listed = "3000 keys, 3000 of them different, in 3 pages, (Some(\"a00000\"), Some(\"c00999\"))";
    assert_eq!(ask(&mut client, "rich", "list"), listed);
    assert_eq!(ask(&mut client, "rich", "list-1"), listed);
    let unknown = refusal(&mut client, "rich", "list-from-1=,4711");
    assert_eq!(
        unknown,
        "the cursor is not known any more: list from the beginning"
    );
    assert_eq!(ask(&mut client, "rich", "clear-1"), "3000");
}

#[test]
fn what_is_not_granted_is_denied_and_limits_are_kept() {
    let tree = site();
    let manifest = String::from_utf8(tree.read("wasmhost.toml")).unwrap();
    tree.put(
        "wasmhost.toml",
        manifest + "[groups.other.limits]\nkeyvalue = \"10KiB\"\nbody = \"8MiB\"\n",
    );
    let server = Server::start(tree.root());
    let mut client = server.client();
    for what in ["get=a", "open=default", "list-1"] {
        assert_eq!(refusal(&mut client, "poor", what), "access denied");
    }
    for name in ["other", "rich", "/etc", "space/other"] {
        let opened = refusal(&mut client, "rich", &format!("open={name}"));
        assert_eq!(opened, "no such store");
    }
    for (what, told) in [
        ("get=", "a key has from 1 to 1024 bytes, not 0"),
        ("key-size=,1025", "a key has from 1 to 1024 bytes, not 1025"),
        (
            "set-size=a,1048577",
            "a value has at most 1048576 bytes, not 1048577",
        ),
        (
            "set-many=a,1001",
            "a batch is at most 1000 keys and 16777216 bytes",
        ),
    ] {
        assert_eq!(refusal(&mut client, "rich", what), told);
    }
    ask(&mut client, "rich", "key-size=,1024");
    ask(&mut client, "rich", "set-size=a,1048576");

    ask(&mut client, "other", "set-size=a,8000");
    let full = "the group's 10240 bytes of keys and values are used up";
    assert_eq!(refusal(&mut client, "other", "set-size=b,8000"), full);
    assert_eq!(refusal(&mut client, "other", "set-many=b,100"), full);
    ask(&mut client, "other", "set-size=a,9000");
    ask(&mut client, "other", "delete=a");
    ask(&mut client, "other", "set-size=b,8000");
    // As much as there is room for, and all of it is counted.
    assert_eq!(
        ask(&mut client, "other", "list"),
        r#"1 keys, 1 of them different, in 1 pages, (Some("b"), Some("b"))"#
    );
}

#[test]
fn values_outlive_swaps_restarts_and_the_group_itself() {
    let tree = site();
    let guest = tree.read("rich/keyvalue.wasm");
    let mut server = Server::start(tree.root());
    set(&mut server.client(), "rich", "a", "kept");
    tree.put("rich/keyvalue.wasm", touched(&guest, 1));
    server.wait("swapped");
    assert_eq!(ask(&mut server.client(), "rich", "get=a"), "kept");
    server.signal("TERM");
    assert!(server.ended().0.success());

    tree.remove("rich/keyvalue.wasm");
    let mut server = Server::start(tree.root());
    tree.put("rich/keyvalue.wasm", &guest);
    server.wait("swapped");
    assert_eq!(ask(&mut server.client(), "rich", "get=a"), "kept");
}

#[test]
fn an_old_generation_and_the_new_one_write_the_same_key_while_it_drains() {
    two_generations_write(&site());
}

/// A request of the old generation and those of the new one add to one number, at once.
fn two_generations_write(tree: &Tree) {
    const EACH: u64 = 100;
    let manifest = String::from_utf8(tree.read("wasmhost.toml")).unwrap();
    // One request must not keep the others from their store.
    tree.put(
        "wasmhost.toml",
        manifest + "[groups.rich]\ninstances = { pool = 8 }\n",
    );
    let mut server = Server::start(tree.root());
    let (mut old, mut client) = (server.client(), server.client());
    old.send("POST", "/rich/keyvalue?increment-until-stop=n", &[], b"")
        .unwrap();
    while ask(&mut client, "rich", "get=n") == "nothing" {}
    tree.put("rich/keyvalue.wasm", touched(&tree.read("rich/keyvalue.wasm"), 1));
    server.wait("swapped");
    let (mut own, mut first, mut last) = (0, None, 0);
    // Until the other was at it between ours.
    while own < EACH || last == first.unwrap_or(last) + own - 1 {
        for what in ["increment=n,1", "add-by-swap=n", "increment-1=n,1"] {
            let reply = try_ask(&mut client, "rich", what, b"");
            assert_eq!((reply.status, reply.generation()), (200, "rich@2"), "{reply:?}");
            let sum = reply.text().parse().unwrap();
            assert!(sum > last, "{sum} came after {last}");
            (own, last) = (own + 1, sum);
            first.get_or_insert(sum);
        }
    }
    set(&mut client, "rich", "stop", "");
    let reply = old.receive(false).unwrap();
    assert_eq!((reply.status, reply.generation()), (200, "rich@1"), "{reply:?}");
    let others: u64 = reply.text().parse().unwrap();
    assert_eq!(ask(&mut client, "rich", "get=n"), (own + others).to_string());
}

#[test]
fn a_check_tells_the_line_that_is_missing() {
    let tree = site();
    let output = wasmhost().arg("check").arg(tree.root()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for part in [
        "warning[keyvalue-ungranted]: poor.keyvalue imports wasi:keyvalue/",
        "help: write `keyvalue = true` into [groups.poor.grants] of wasmhost.toml",
        "errors: 0, warnings: 1\n",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert!(!tree.path(".wasmhost").exists(), "a check keeps nothing");
}
