//! Last good survives a restart: what was served last is served again, whatever lies on disk by then.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::support::{
    Server, Tree,
    wat_site::{library, linked_page, page, site, version},
};

/// The newest content that is kept of a group: its version, as the page's text says it.
pub fn kept_version(state: &Path, group: &str) -> Option<u64> {
    let kept = state.join("kept");
    let read = |file: String| -> Option<Value> {
        Some(serde_json::from_slice(&fs::read(kept.join(file)).ok()?).unwrap())
    };
    // What was said ahead of the record is newer.
    let content = read(format!("{group}.next")).map(|next| next["content"].clone());
    let content = content.or_else(|| Some(read(format!("{group}.json"))?["contents"][0].clone()))?;
    let page = &content["components"][format!("{group}.page")]["digest"];
    let blob = fs::read_to_string(kept.join("blobs").join(page.as_str().unwrap())).unwrap();
    let version = blob.strip_prefix(";; version ").unwrap();
    Some(version.lines().next().unwrap().parse().unwrap())
}

/// Waits until that version is what a restart would find.
pub fn wait_until_kept(state: &Path, group: &str, version: u64) {
    while kept_version(state, group) != Some(version) {
        std::thread::yield_now();
    }
}

/// Waits until the record has that many contents: of quick swaps, it gets only the last.
pub fn wait_until_recorded(state: &Path, group: &str, contents: usize) {
    let recorded = || {
        let record = fs::read(state.join("kept").join(format!("{group}.json"))).ok()?;
        let record: Value = serde_json::from_slice(&record).unwrap();
        Some(record["contents"].as_array()?.len())
    };
    while recorded() != Some(contents) {
        std::thread::yield_now();
    }
}

fn state(tree: &Tree) -> PathBuf {
    tree.path(".wasmhost")
}

/// A site that served version 1 and 2 of the group `shop`, killed.
fn served() -> Tree {
    let tree = site(1);
    let mut server = Server::start(tree.root());
    wait_until_recorded(&state(&tree), "shop", 1);
    wait_until_recorded(&state(&tree), "api", 1);
    tree.put("shop/page.wat", linked_page(2));
    server.wait("swapped");
    wait_until_recorded(&state(&tree), "shop", 2);
    tree
}

/// Changes the tree of a server that was killed, and expects `shop` to be served as it was, with this code.
fn check(change: impl FnOnce(&Tree), group: Option<&str>, code: &str) {
    check_with(&[], change, group, code);
}

fn check_with(arguments: &[&str], change: impl FnOnce(&Tree), group: Option<&str>, code: &str) {
    let tree = served();
    change(&tree);
    let mut server = Server::start_with(tree.root(), arguments);
    let rejected: Vec<Value> = server.seen().to_vec();
    assert_eq!(rejected.len(), 1, "{rejected:#?}");
    let rejected = &rejected[0];
    assert_eq!(rejected["event"], "rejected");
    assert_eq!(rejected["diagnostics"][0]["code"], code, "{rejected:#}");
    assert_eq!(rejected["group"].as_str(), group);
    assert_eq!(rejected["kept"].as_u64(), group.map(|_| 1), "{rejected:#}");
    let mut client = server.client();
    assert_eq!(
        (version(&mut client, "shop"), version(&mut client, "api")),
        (2, 1)
    );
    assert_eq!(client.get("/shop/page").generation(), "shop@1");
    if arguments.contains(&"--frozen") {
        return;
    }

    // The next good content is taken by itself, and nothing was said twice.
    let _ = fs::remove_file(tree.path("shop/x.wasm"));
    tree.put("wasmhost.toml", "");
    tree.put("shop/library.wat", library("u32"));
    tree.put("shop/page.wat", linked_page(3));
    tree.put("api/page.wat", page(1, ""));
    let swapped = server.wait_for("swapped", |event| event["group"] == "shop");
    assert_eq!((&swapped["from"], &swapped["generation"]), (&1.into(), &2.into()));
    assert_eq!(version(&mut client, "shop"), 3);
    let again = server
        .seen()
        .iter()
        .filter(|event| event["diagnostics"][0]["code"] == code);
    assert_eq!(again.count(), 1, "{:#?}", server.seen());
}

#[test]
fn a_torn_file() {
    let torn = |tree: &Tree| tree.overwrite("shop/page.wat", &linked_page(3)[..200]);
    check(torn, Some("shop"), "component-invalid");
    check_with(&["--frozen"], torn, Some("shop"), "component-invalid");
}

#[test]
fn an_empty_file() {
    check(
        |tree| tree.overwrite("shop/page.wat", ""),
        Some("shop"),
        "component-invalid",
    );
}

#[test]
fn wrong_types() {
    check(
        |tree| tree.put("shop/library.wat", library("s32")),
        Some("shop"),
        "import-mismatch",
    );
}

#[test]
fn a_missing_component() {
    check(
        |tree| tree.remove("shop/library.wat"),
        Some("shop"),
        "import-missing",
    );
}

#[test]
fn a_file_that_cannot_be_read() {
    check(
        |tree| symlink("/nowhere/x.wasm", tree.path("shop/x.wasm")).unwrap(),
        Some("shop"),
        "file-unreadable",
    );
}

#[test]
fn a_torn_manifest() {
    check(
        |tree| tree.put("wasmhost.toml", "[groups.shop"),
        None,
        "manifest-syntax",
    );
}

#[test]
fn no_component_at_all() {
    check(
        |tree| {
            for file in ["shop/page.wat", "shop/library.wat", "api/page.wat"] {
                tree.remove(file);
            }
        },
        None,
        "root-empty",
    );
}

#[test]
fn the_content_on_disk_wins_where_it_is_good() {
    let tree = served();
    tree.put("shop/page.wat", linked_page(7));
    let server = Server::start(tree.root());
    assert_eq!(version(&mut server.client(), "shop"), 7);
}

#[test]
fn a_group_that_is_gone_is_not_served_again() {
    let tree = served();
    fs::remove_dir_all(tree.path("shop")).unwrap();
    let server = Server::start(tree.root());
    assert_eq!(server.client().get("/shop/page").status, 404);
    while !String::from_utf8_lossy(&tree.read(".wasmhost/kept/shop.json")).contains("\"serving\": false") {
        std::thread::yield_now();
    }
    drop(server);
    // Nor when nothing else is known.
    tree.put("wasmhost.toml", "[");
    let server = Server::start(tree.root());
    assert_eq!(server.client().get("/shop/page").status, 404);
    assert_eq!(version(&mut server.client(), "api"), 1);
}

#[test]
fn a_group_that_never_was_good_does_not_keep_the_others_from_serving() {
    let tree = served();
    fs::create_dir(tree.path("new")).unwrap();
    symlink("/nowhere", tree.path("new/x.wasm")).unwrap();
    let mut server = Server::start(tree.root());
    let rejected = &server.seen()[0];
    assert_eq!(
        (&rejected["group"], &rejected["kept"]),
        (&"new".into(), &Value::Null)
    );
    assert_eq!(version(&mut server.client(), "shop"), 2);
}

#[test]
fn a_damaged_kept_component_is_not_served() {
    let tree = served();
    let blobs = fs::read_dir(tree.path(".wasmhost/kept/blobs")).unwrap();
    for blob in blobs.map(|blob| blob.unwrap().path()) {
        let text = fs::read_to_string(&blob).unwrap();
        if text.starts_with(";; version 2") {
            fs::write(blob, text.replace("version 2", "version 9")).unwrap();
        }
    }
    tree.put("shop/page.wat", "");
    let server = Server::start(tree.root());
    assert_eq!(version(&mut server.client(), "shop"), 1, "the one before it");
}

#[test]
fn a_state_directory_that_cannot_be_written_is_said_once() {
    let tree = site(1);
    tree.put("file", "");
    let state_dir = tree.path("file/state");
    let mut server = Server::start_with(tree.root(), &["--state-dir", state_dir.to_str().unwrap()]);
    for version in 2..5 {
        tree.put("shop/page.wat", linked_page(version));
        server.wait("swapped");
    }
    server.signal("TERM");
    let (status, _, log) = server.ended();
    assert_eq!(status.code(), Some(0));
    assert_eq!(log.matches("good contents are not kept").count(), 1, "{log}");
}

#[test]
fn two_servers_on_one_state_directory() {
    let tree = site(1);
    let (mut first, mut second) = (Server::start(tree.root()), Server::start(tree.root()));
    for version in 2..12 {
        tree.put("shop/page.wat", linked_page(version));
        first.wait("swapped");
        second.wait("swapped");
    }
    wait_until_kept(&state(&tree), "shop", 11);
    drop(first);
    // The other one keeps from now on.
    tree.put("shop/page.wat", linked_page(12));
    second.wait("swapped");
    wait_until_kept(&state(&tree), "shop", 12);
    drop(second);
    tree.put("shop/page.wat", "");
    let server = Server::start(tree.root());
    assert_eq!(version(&mut server.client(), "shop"), 12);
}
