//! Last good: whatever lands on disk, the group goes on serving, says why once, and takes the next good
//! content by itself.

use crate::{
    site::{cart_count, put_into_cart},
    support::{Server, Tree, touched},
};

const FILE: &str = "shop/widget/cart.wasm";

/// A core module: the bytes of one that does nothing.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// Writes `content` over the widget and expects the group to refuse it with this code, and to go on.
fn check(content: &[u8], code: &str) {
    let tree = Tree::example();
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    put_into_cart(&mut client, 2);
    let good = tree.read(FILE);

    tree.put(FILE, content);
    let rejected = server.wait("rejected");
    assert_eq!(
        (&rejected["group"], &rejected["kept"]),
        (&"shop".into(), &1.into())
    );
    let diagnostic = &rejected["diagnostics"][0];
    assert_eq!(diagnostic["code"], code, "{rejected:#}");
    assert!(
        diagnostic["file"].as_str().unwrap().ends_with(FILE),
        "{rejected:#}"
    );
    assert_eq!(cart_count(&mut client), 2, "what is served was not touched");
    assert_eq!(client.get("/").generation(), "shop@1");

    tree.put(FILE, touched(&good, 1));
    let swapped = server.wait("swapped");
    assert_eq!((&swapped["from"], &swapped["generation"]), (&1.into(), &2.into()));
    let refusals = server
        .seen()
        .iter()
        .filter(|event| event["event"] == "rejected")
        .count();
    assert_eq!(refusals, 0, "said once: {:#?}", server.seen());
}

fn good() -> Vec<u8> {
    Tree::example().read(FILE)
}

#[test]
fn a_truncated_component() {
    let good = good();
    check(&good[..good.len() / 2], "component-invalid");
}

#[test]
fn a_component_cut_off_by_one_byte() {
    let good = good();
    check(&good[..good.len() - 1], "component-invalid");
}

#[test]
fn an_empty_file() {
    check(b"", "component-invalid");
}

#[test]
fn not_wasm() {
    check(b"<!DOCTYPE html> not found", "component-invalid");
}

#[test]
fn a_core_module() {
    check(CORE_MODULE, "component-core-module");
}

#[test]
fn code_that_is_not_valid() {
    // Well-formed sections around a function body that ends in the middle of an instruction.
    let mut broken = good();
    let length = broken.len();
    let code = broken
        .windows(4)
        .rposition(|bytes| bytes == [0x0b, 0x0b, 0x00, 0x0a])
        .unwrap_or(length / 2);
    broken[code..code + 64].fill(0xff);
    check(&broken, "component-invalid");
}

#[test]
fn a_file_that_is_deleted() {
    let tree = Tree::example();
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    put_into_cart(&mut client, 2);
    let good = tree.read(FILE);
    tree.remove(FILE);
    let rejected = server.wait("rejected");
    assert_eq!(rejected["kept"], 1);
    assert_eq!(
        rejected["diagnostics"][0]["code"], "import-missing",
        "{rejected:#}"
    );
    assert_eq!(cart_count(&mut client), 2);

    // The same content again is what is served already: no swap, and no state lost.
    tree.put(FILE, &good);
    tree.put("api/echo.wasm", touched(&tree.read("api/echo.wasm"), 1));
    server.wait_for("swapped", |event| event["group"] == "api");
    assert_eq!(cart_count(&mut client), 2);
}

#[test]
fn a_manifest_with_errors() {
    let tree = Tree::example();
    let mut server = Server::start(tree.root());
    let mut client = server.client();
    let good = tree.read("wasmhost.toml");
    tree.put("wasmhost.toml", "[groups.shop]\nroutez = 1\n");
    let rejected = server.wait("rejected");
    assert_eq!(
        rejected["diagnostics"][0]["code"], "manifest-unknown-key",
        "{rejected:#}"
    );
    assert_eq!(client.get("/cart").generation(), "shop@1");
    tree.put("wasmhost.toml", good);
    tree.put(FILE, touched(&tree.read(FILE), 1));
    server.wait("swapped");
}
