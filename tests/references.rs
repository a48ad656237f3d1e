//! Components by reference, from a real registry: pulled, kept, followed, and swapped like files; and what goes wrong.

use std::{fs, process::Command};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    fleet::cable::Cable,
    releases::push,
    support::{
        Client, Registry, Server, Tree, connect, wasmhost,
        wat_site::{linked_page, page, version},
    },
};

fn component(number: u32) -> Vec<u8> {
    wat::parse_str(page(number.into(), "")).unwrap()
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

/// As `wkg oci push` does it: one layer, and a config that names it. Returns the artifact's digest.
fn push_component(registry: &Registry, name: &str, bytes: &[u8]) -> String {
    let config = json!({ "created": "2026-11-26T00:00:00Z", "architecture": "wasm", "os": "wasip2",
        "layerDigests": [digest(bytes)], "component": { "exports": [], "imports": [] } });
    let config = config.to_string().into_bytes();
    let mut client = Client::over(connect(&registry.address), &registry.address);
    let (repository, tag) = name.split_once(':').unwrap();
    for blob in [&config, &bytes.to_vec()] {
        let begun = client.request("POST", &format!("/v2/{repository}/blobs/uploads/"), &[], b"");
        assert_eq!(begun.status, 202, "{begun:?}");
        let place = begun.header("location").unwrap();
        let path = place
            .split_once(&*registry.address)
            .map_or(place, |(_, path)| path);
        let path = format!("{path}&digest={}", digest(blob));
        let sent = client.request(
            "PUT",
            &path,
            &[("content-type", "application/octet-stream")],
            blob,
        );
        assert_eq!(sent.status, 201, "{sent:?}");
    }
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.wasm.config.v0+json", "digest": digest(&config), "size": config.len() },
        "layers": [{ "mediaType": "application/wasm", "digest": digest(bytes), "size": bytes.len() }],
    });
    let manifest = manifest.to_string();
    let media_type = [("content-type", "application/vnd.oci.image.manifest.v1+json")];
    let put = client.request(
        "PUT",
        &format!("/v2/{repository}/manifests/{tag}"),
        &media_type,
        manifest.as_bytes(),
    );
    assert_eq!(put.status, 201, "{put:?}");
    digest(manifest.as_bytes())
}

/// A site whose shop is pulled, and whose api is a file.
fn site(reference: &str) -> Tree {
    let tree = Tree::empty();
    tree.put("api/page.wat", page(1, ""));
    tree.put("wasmhost.toml", manifest(reference));
    tree
}

fn manifest(reference: &str) -> String {
    format!("[components.\"shop.page\"]\noci = \"{reference}\"\n")
}

fn serve(tree: &Tree) -> Command {
    let mut command = wasmhost();
    command
        .env("DOCKER_CONFIG", "/nowhere")
        .arg("serve")
        .arg(tree.root())
        .args(["--poll", "50ms"]);
    command
}

fn run(arguments: &[&str], tree: &Tree) -> (Option<i32>, String) {
    let mut command = wasmhost();
    command
        .env("DOCKER_CONFIG", "/nowhere")
        .args(arguments)
        .arg(tree.root());
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn a_component_is_pulled_followed_and_swapped_with_its_group() {
    let Some(registry) = Registry::start() else { return };
    push_component(&registry, "shop/cart:prod", &component(1));
    let tree = site(&format!("{}/shop/cart:prod", registry.address));
    tree.put("shop/other.wat", page(1, ""));
    let (code, said) = run(&["check"], &tree);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("group shop: ok, 2 components"), "{said}");
    let (_, drawn) = run(&["graph"], &tree);
    assert!(drawn.contains("shop.page"), "{drawn}");
    assert!(!tree.path(".wasmhost").exists(), "to look leaves nothing");

    let mut server = Server::start_command(serve(&tree));
    let mut client = server.client();
    assert_eq!(version(&mut client, "shop"), 1);
    push_component(&registry, "shop/cart:prod", &component(2));
    let swapped = server.wait("swapped");
    assert_eq!(
        (&swapped["group"], &swapped["causes"]),
        (
            &json!("shop"),
            &json!([{ "component": "shop.page", "change": "changed" }])
        )
    );
    assert_eq!(version(&mut client, "shop"), 2);
    assert_eq!(
        client.get("/shop/other").header("wasmhost-generation"),
        Some("shop@2")
    );
    assert_eq!(version(&mut client, "api"), 1);
    let blobs = || {
        fs::read_dir(tree.path(".wasmhost/components/blobs"))
            .unwrap()
            .count()
    };
    assert_eq!(blobs(), 1, "what nothing leads to is gone");

    // One that is fixed by its digest, and a release of our own with one component.
    let third = push_component(&registry, "shop/cart:prod", &component(3));
    server.wait("swapped");
    let fixed = format!("{}/shop/cart@{third}", registry.address);
    tree.put("wasmhost.toml", manifest(&fixed));
    server.wait_for_log("a component was pulled");
    push_component(&registry, "shop/cart:prod", &component(4));
    let one = Tree::empty();
    one.put("cart.wasm", component(5));
    push(&one, &format!("{}/shop/release:1", registry.address));
    tree.put(
        "wasmhost.toml",
        manifest(&format!("{}/shop/release:1", registry.address)),
    );
    let is_fifth = |event: &Value| event["group"] == "shop";
    server.wait_for("swapped", is_fifth);
    assert_eq!(version(&mut client, "shop"), 5);
    assert!(
        server.seen().iter().all(|event| event["event"] != "rejected"),
        "what is not pulled yet is waited for"
    );

    // And all of it is a release again.
    push(&tree, &format!("{}/shop/site:prod", registry.address));
}

#[test]
fn without_the_registry_what_is_kept_serves() {
    let Some(registry) = Registry::start() else { return };
    push_component(&registry, "shop/cart:prod", &component(1));
    let tree = site(&format!("{}/shop/cart:prod", registry.address));
    drop(Server::start_command(serve(&tree)));
    let (folder, address) = registry.end();
    let mut server = Server::start_command(serve(&tree));
    assert_eq!(version(&mut server.client(), "shop"), 1);
    server.wait_for_log("what serves goes on, and it is tried again");
    let registry = Registry::serve(folder, &address, "");
    push_component(&registry, "shop/cart:prod", &component(2));
    server.wait("swapped");
    assert_eq!(version(&mut server.client(), "shop"), 2);
    drop(server);

    // What the disk damaged is not served.
    let blob = fs::read_dir(tree.path(".wasmhost/components/blobs"))
        .unwrap()
        .next()
        .unwrap();
    fs::write(blob.unwrap().path(), component(9)).unwrap();
    let server = Server::start_command(serve(&tree));
    assert_eq!(version(&mut server.client(), "shop"), 2);
    drop(server);
    fs::remove_dir_all(tree.path(".wasmhost")).unwrap();
    drop(registry.end());
    let (code, said) = run(&["check"], &tree);
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("error[registry-failed]: component shop.page is not to be had: cannot pull 127.0.0.1:"),
        "{said}"
    );
}

#[test]
fn what_is_wrong_is_said_and_the_last_content_serves() {
    let Some(registry) = Registry::start() else { return };
    push_component(&registry, "shop/cart:prod", &component(1));
    let reference = format!("{}/shop/cart:prod", registry.address);
    let tree = site(&reference);
    let mut server = Server::start_command(serve(&tree));
    let mut client = server.client();

    // No component at all; one that does not fit; one whose bytes are damaged, under another name first.
    push_component(&registry, "shop/cart:prod", &wat::parse_str("(module)").unwrap());
    server.wait_for_log("is not one component: it is a core module");
    push_component(
        &registry,
        "shop/cart:prod",
        &wat::parse_str(linked_page(2)).unwrap(),
    );
    server.wait("rejected");
    assert_eq!(version(&mut client, "shop"), 1);
    let good = component(2);
    push_component(&registry, "shop/cart:next", &good);
    let blob = registry.blob(&good);
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    fs::write(&blob, bad).unwrap();
    push_component(&registry, "shop/cart:prod", &good);
    server.wait_for_log("error[release-corrupt]");
    assert_eq!(version(&mut client, "shop"), 1);
    fs::write(&blob, &good).unwrap();
    server.wait("swapped");
    assert_eq!(version(&mut client, "shop"), 2, "it recovers by itself");

    // A tag that is not there: its group stays, with the reason.
    tree.put(
        "wasmhost.toml",
        manifest(&format!("{}/shop/cart:never", registry.address)),
    );
    let rejected = server.wait("rejected");
    let diagnostic = &rejected["diagnostics"][0];
    assert_eq!(
        (&diagnostic["code"], &rejected["group"]),
        (&json!("release-missing"), &json!("shop"))
    );
    let message = diagnostic["message"].as_str().unwrap();
    assert!(
        message.contains("component shop.page is not to be had: there is no 127.0.0.1:"),
        "{message}"
    );
    assert_eq!(version(&mut client, "shop"), 2);
    push_component(&registry, "shop/cart:never", &component(3));
    server.wait("swapped");
    assert_eq!(version(&mut client, "shop"), 3);
}

/// As `component`, with as much beside it as makes its layer large.
fn large_component(number: u32) -> Vec<u8> {
    let mut bytes = component(number);
    let content = [&[4][..], b"much", &[7; 1 << 20]].concat();
    // A custom section: its kind, its size, and what is in it.
    bytes.push(0);
    let mut size = content.len();
    while size >= 0x80 {
        bytes.push(size as u8 | 0x80);
        size >>= 7;
    }
    bytes.push(size as u8);
    bytes.extend(content);
    bytes
}

#[test]
fn a_registry_that_breaks_off_in_mid_layer_changes_nothing_and_is_asked_again() {
    let Some(registry) = Registry::start() else { return };
    let cable = Cable::to(&registry.address);
    push_component(&registry, "shop/cart:prod", &component(1));
    let tree = site(&format!("{}/shop/cart:prod", cable.address()));
    let mut server = Server::start_command(serve(&tree));
    cable.break_after(256 << 10);
    push_component(&registry, "shop/cart:prod", &large_component(2));
    server.wait_for_log("error[registry-failed]: cannot pull");
    assert_eq!(version(&mut server.client(), "shop"), 1);
    let folder = tree.path(".wasmhost/components");
    let files = walkdir::WalkDir::new(&folder).into_iter().map(Result::unwrap);
    let sizes = files.filter(|file| file.file_type().is_file());
    let sizes: Vec<u64> = sizes.map(|file| file.metadata().unwrap().len()).collect();
    assert_eq!(sizes, [component(1).len() as u64], "nothing of it is there");
    drop(server);

    server = Server::start_command(serve(&tree));
    server.wait_for_log("what serves goes on, and it is tried again");
    assert_eq!(version(&mut server.client(), "shop"), 1);
    cable.mend();
    server.wait("swapped");
    assert_eq!(version(&mut server.client(), "shop"), 2);
}

#[test]
fn a_registry_that_says_nothing_is_not_waited_for_where_something_is_kept() {
    let Some(registry) = Registry::start() else { return };
    let cable = Cable::to(&registry.address);
    for number in [1, 2] {
        push_component(&registry, &format!("shop/cart:{number}"), &component(number));
    }
    let reference = |number| format!("{}/shop/cart:{number}", cable.address());
    let tree = site(&reference(1));
    let mut server = Server::start_command(serve(&tree));
    assert_eq!(version(&mut server.client(), "shop"), 1);
    server.signal("TERM");
    server.ended();
    tree.put("wasmhost.toml", manifest(&reference(2)));
    cable.cut();
    server = Server::start_command(serve(&tree));
    let is_rejected = |event: &&Value| event["event"] == "rejected";
    let rejected = server.seen().iter().find(is_rejected).unwrap();
    let message = rejected["diagnostics"][0]["message"].as_str().unwrap();
    assert!(message.contains("has said nothing for 5s"), "{message}");
    assert_eq!(version(&mut server.client(), "shop"), 1);
    assert_eq!(version(&mut server.client(), "api"), 1);
    cable.mend();
    server.wait("swapped");
    assert_eq!(version(&mut server.client(), "shop"), 2);
}

#[test]
fn a_scenario_runs_on_what_is_kept_of_a_reference() {
    let Some(registry) = Registry::start() else { return };
    push_component(&registry, "shop/cart:prod", &component(1));
    let tree = site(&format!("{}/shop/cart:prod", registry.address));
    let scenarios = Tree::empty();
    let asks =
        "[[step]]\nrequest = { path = \"/shop/page\" }\nexpect = { status = 200, body = \"\\u0001\" }\n";
    let scenario = format!("tree = {:?}\n{asks}", tree.root());
    scenarios.put("kept.reload.toml", scenario);
    let (code, said) = run(&["test"], &scenarios);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is not kept there: serve the tree once"), "{said}");

    let server = Server::start_command(serve(&tree));
    // No registry is asked, whatever a tag stands for by now.
    push_component(&registry, "shop/cart:prod", &component(1));
    drop(registry.end());
    server.signal("TERM");
    assert!(server.ended().0.success());
    let (code, said) = run(&["test"], &scenarios);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_file_of_its_name_and_a_name_that_is_none_are_refused() {
    let Some(registry) = Registry::start() else { return };
    push_component(&registry, "shop/cart:prod", &component(1));
    let tree = site(&format!("{}/shop/cart:prod", registry.address));
    tree.put("shop/page.wasm", component(2));
    let (code, said) = run(&["check"], &tree);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("error[id-duplicate]: component shop.page has 2 files"),
        "{said}"
    );
    tree.put(
        "wasmhost.toml",
        "[components.\"a.b\"]\noci = \"NO REFERENCE\"\n[components.\"a.c\"]\npath = \"x\"\noci = \"a/b:c\"\n",
    );
    let (code, said) = run(&["check"], &tree);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("names no component of a registry") && said.contains("wasmhost.toml:2:7"),
        "{said}"
    );
    assert!(
        said.contains("components.\"a.c\" has both path and oci"),
        "{said}"
    );
}

#[test]
fn who_may_not_pull_is_told_to_log_in() {
    let Some(registry) = Registry::guarded() else {
        return;
    };
    let tree = site(&format!("{}/shop/cart:prod", registry.address));
    let (code, said) = run(&["check"], &tree);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("error[registry-unauthorized]: component shop.page is not to be had"),
        "{said}"
    );
    assert!(said.contains("docker login 127.0.0.1:"), "{said}");
    // Nothing of it ever served.
    let output = serve(&tree).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("error[registry-unauthorized]: component shop.page"),
        "{said}"
    );
}
