//! `wasmhost check`, `graph` and `inspect`: what they print is compared, word for word, with what was
//! reviewed in `tests/golden`.

mod diagnostics;
mod drawings;

use std::{path::Path, process::Output};

use serde_json::Value;

use crate::{
    site::second_version,
    support::{Tree, example, golden, wasmhost, wit},
};

/// Runs `wasmhost` and expects this exit code. What it prints, on both outputs, with `ROOT` for the tree.
fn run(arguments: &[&str], root: &Path, code: i32) -> (String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = wasmhost()
        .args(arguments)
        .env("WASMHOST_LOG", "off")
        .output()
        .unwrap();
    let text = |bytes| {
        String::from_utf8(bytes)
            .unwrap()
            .replace(root.to_str().unwrap(), "ROOT")
    };
    let (stdout, stderr) = (text(stdout), text(stderr));
    assert_eq!(status.code(), Some(code), "{arguments:?}\n{stdout}{stderr}");
    (stdout, stderr)
}

/// What `check` says of a tree, and its exit code.
fn check(name: &str, tree: &Tree, code: i32) {
    let root = tree.root().to_str().unwrap();
    let (report, _) = run(&["check", root], tree.root(), code);
    golden(&format!("check-{name}"), &report);
}

/// A tree of these files.
fn tree(files: &[(&str, &[u8])]) -> Tree {
    let tree = Tree::empty();
    for (file, content) in files {
        tree.put(file, content);
    }
    tree
}

/// A page that needs nobody.
fn page() -> Vec<u8> {
    wit::page(&[])
}

#[test]
fn a_good_tree() {
    check("nothing-wrong", &Tree::example(), 0);
}

#[test]
fn the_report_as_json() {
    let tree = tree(&[
        ("shop/home.wasm", &wit::page(&[("cart", "count: func() -> u32;")])),
        ("blog/index.wasm", &page()),
        (
            "blog/old.wasm",
            &wit::library(&[("feed", "entries: func() -> u32;")]),
        ),
    ]);
    let root = tree.root().to_str().unwrap();
    let (report, _) = run(&["check", root, "--format", "json"], tree.root(), 1);
    assert_eq!(run(&["check", root, "--json"], tree.root(), 1).0, report);
    let report: Value = serde_json::from_str(&report).unwrap();
    golden(
        "check-json",
        &(serde_json::to_string_pretty(&report).unwrap() + "\n"),
    );
    let fields = |at: usize| {
        report["diagnostics"][at]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        fields(0),
        ["code", "file", "help", "message"],
        "an error as the contract has it"
    );
    assert_eq!(fields(1), ["code", "file", "help", "message", "severity"]);
}

/// No socket, and nothing left behind.
#[test]
fn checking_leaves_the_tree_alone() {
    let tree = tree(&[("index.wasm", &page())]);
    let root = tree.root().to_str().unwrap();
    run(&["check", root], tree.root(), 0);
    let files: Vec<_> = std::fs::read_dir(tree.root())
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    assert_eq!(files, ["index.wasm"]);
}

#[test]
fn the_example_against_its_second_version() {
    let next = second_version();
    let (old, new) = (example().to_str().unwrap(), next.to_str().unwrap());
    let (report, _) = run(&["check", new, "--against", old], &next, 0);
    golden("against-second-version", &report);
    let (report, _) = run(&["check", new, "--against", old, "--format", "json"], &next, 0);
    let report: Value = serde_json::from_str(&report).unwrap();
    let changes = report["changes"].as_array().unwrap();
    let changed: Vec<_> = changes
        .iter()
        .map(|change| change["component"].as_str().unwrap())
        .collect();
    assert!(changed.contains(&"shop.layout.frame"), "{changed:?}");
    let frame = changes
        .iter()
        .find(|change| change["component"] == "shop.layout.frame")
        .unwrap();
    assert_eq!(frame["breaking"], true);
    assert_eq!(
        frame["interfaces"][0]["definitions"][0]["definition"],
        "record link"
    );
}

#[test]
fn what_cannot_be_read_is_not_compared() {
    let cart = ("cart", "count: func() -> u32;");
    let (home, library) = (wit::page(&[cart]), wit::library(&[cart]));
    let old = tree(&[
        ("shop/home.wasm", &home),
        ("shop/cart.wasm", &library),
        ("blog/index.wasm", b"torn"),
        ("news/index.wasm", &page()),
    ]);
    let new = tree(&[
        ("shop/home.wasm", &home[..100]),
        ("shop/cart.wasm", &library[..100]),
        ("shop/other.wasm", &home),
        ("blog/index.wasm", &page()),
        ("news/index.wasm", &page()),
    ]);
    let roots = [&new, &old].map(|tree| tree.root().to_str().unwrap());
    let (report, _) = run(&["check", roots[0], "--against", roots[1]], new.root(), 1);
    golden("against-unread", &report.replace(roots[1], "OLD"));
    let (report, _) = run(
        &["check", roots[0], "--against", roots[1], "--format", "json"],
        new.root(),
        1,
    );
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(
        report["not_compared"],
        serde_json::json!(["blog.index", "shop.cart", "shop.home"])
    );
}

#[test]
fn an_exporter_that_takes_the_place_of_another_breaks_nothing_but_a_second_one_does() {
    let cart = ("cart", "count: func() -> u32;");
    let tree = |exporters: &[&str]| {
        let site = tree(&[("shop/home.wasm", &wit::page(&[cart]))]);
        for exporter in exporters {
            site.put(format!("shop/{exporter}.wasm"), wit::library(&[cart]));
        }
        site
    };
    let against = |new: &Tree, old: &Tree, code| {
        let roots = [new, old].map(|tree| tree.root().to_str().unwrap());
        run(&["check", roots[0], "--against", roots[1]], new.root(), code).0
    };
    let (cart, basket, both) = (tree(&["cart"]), tree(&["basket"]), tree(&["cart", "basket"]));
    golden("against-replaced", &against(&basket, &cart, 0));
    golden("against-ambiguous", &against(&both, &cart, 1));
}

#[test]
fn all_kinds_of_changes_against_another_tree() {
    let cart = "record line { product: string } add: func(line: line) -> u32; clear: func();";
    let old = tree(&[
        ("shop/cart.wasm", &wit::library(&[("cart", cart)])),
        (
            "shop/theme.wasm",
            &wit::library(&[("theme", "colour: func() -> string;")]),
        ),
        (
            "shop/home.wasm",
            &wit::page(&[("cart", cart), ("theme", "colour: func() -> string;")]),
        ),
        ("shop/gone.wasm", &page()),
        ("shop/help.wasm", &page()),
        (
            "shop/unused.wasm",
            &wit::library(&[("notes", "all: func() -> u32;")]),
        ),
    ]);
    let cart_2 =
        "record line { product: string, amount: u32 } add: func(line: line) -> u32; count: func() -> u32;";
    let new = tree(&[
        ("shop/cart.wasm", &wit::library(&[("cart", cart_2)])),
        (
            "shop/theme.wasm",
            &wit::library(&[("theme", "colour: func() -> string; font: func() -> string;")]),
        ),
        (
            "shop/home.wasm",
            &wit::page(&[
                ("theme", "colour: func() -> string;"),
                ("search", "find: func();"),
            ]),
        ),
        (
            "shop/help.wasm",
            &wit::library(&[("helping", "text: func() -> string;")]),
        ),
        ("shop/new.wasm", &page()),
    ]);
    let roots = [&new, &old].map(|tree| tree.root().to_str().unwrap());
    let (report, _) = run(&["check", roots[0], "--against", roots[1]], new.root(), 1);
    golden("against-all-kinds", &report);
}
