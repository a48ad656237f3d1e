//! What happened, told afterwards: `wasmhost journal` and `wasmhost status` read what a server wrote.

use std::{fs, io::Write, process::Output};

use serde_json::Value;

use crate::support::{
    Server, Tree, wasmhost,
    wat_site::{library, linked_page, site},
};

fn run(arguments: &[&str]) -> Output {
    wasmhost().args(arguments).output().unwrap()
}

/// Standard output of what must succeed.
fn said(tree: &Tree, arguments: &[&str]) -> String {
    let root = tree.root().to_str().unwrap();
    let output = run(&[arguments, &["--root", root]].concat());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), error.as_str()), (Some(0), ""));
    String::from_utf8(output.stdout).unwrap()
}

/// Fails with exit code 1, saying all of this.
fn fails(arguments: &[&str], says: &[&str]) {
    let output = run(arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    for part in says {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
}

/// A site whose group `shop` was swapped once and refused once since; its server was killed.
fn history() -> (Tree, Value, Value) {
    let tree = site(1);
    let mut server = Server::start(tree.root());
    tree.put("shop/page.wat", linked_page(2));
    let swapped = server.wait("swapped");
    server.wait("retired");
    tree.put("shop/library.wat", library("s32"));
    let rejected = server.wait("rejected");
    // The journal is written after standard output.
    let journal = tree.path(".wasmhost/journal.jsonl");
    while fs::read_to_string(&journal).unwrap().lines().count() < 4 {
        std::thread::yield_now();
    }
    drop(server);
    (tree, swapped, rejected)
}

#[test]
fn the_journal_is_read() {
    let (tree, swapped, rejected) = history();
    // As a power loss leaves it.
    let mut file = fs::File::options()
        .append(true)
        .open(tree.path(".wasmhost/journal.jsonl"))
        .unwrap();
    file.write_all(b"{\"event\":\"retired\",\"gro").unwrap();

    let records = |arguments: &[&str]| -> Vec<Value> {
        let text = said(&tree, &[&["journal", "--json"], arguments].concat());
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let names: Vec<Value> = records(&[])
        .iter()
        .map(|record| record["event"].clone())
        .collect();
    assert_eq!(names, ["ready", "swapped", "retired", "rejected"]);
    assert_eq!(records(&["--event", "swapped"]), [swapped]);
    assert_eq!(records(&["--group", "shop", "--last", "1"]), [rejected]);
    assert_eq!(records(&["--group", "api"]), [Value::Null; 0]);

    let text = said(&tree, &["journal"]);
    assert_eq!(
        text.lines().filter(|line| line.starts_with("20")).count(),
        4,
        "{text}"
    );
    assert!(text.contains("shop@2 (from 1): shop.page changed, in "), "{text}");
    assert!(
        text.contains("shop: shop@2 goes on serving\n  error[import-mismatch]: shop.page and"),
        "{text}"
    );
}

#[test]
fn a_swap_and_a_refusal_are_explained() {
    let (tree, swapped, rejected) = history();
    let text = said(&tree, &["status", "--explain", "shop"]);
    assert!(
        text.starts_with("shop@2\nswapped from generation 1 at "),
        "{text}"
    );
    for part in [
        ": shop.page changed\n",
        " compile ",
        " total ",
        "what came then was refused at",
        "import-mismatch",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let explained: Value =
        serde_json::from_str(&said(&tree, &["status", "--explain", "shop", "--json"])).unwrap();
    assert_eq!(explained["history"]["swapped"], swapped);
    assert_eq!(explained["history"]["rejected"], rejected);

    let text = said(&tree, &["status", "--explain", "api"]);
    assert!(
        text.contains("not swapped since the server was ready at"),
        "{text}"
    );
    assert!(text.contains("unchanged since"), "{text}");
    let text = said(&tree, &["status"]);
    let lines: Vec<&str> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(lines, ["api@1", "shop@2"]);

    // A server that begins with what was kept.
    drop(Server::start(tree.root()));
    let text = said(&tree, &["status", "--explain", "shop"]);
    assert!(
        text.starts_with("shop@1\n") && text.contains("import-mismatch"),
        "{text}"
    );
}

#[test]
fn what_is_not_there_is_said() {
    let (tree, ..) = history();
    let root = tree.root().to_str().unwrap();
    fails(
        &["status", "--explain", "shpo", "--root", root],
        &[
            "error[group-unknown]: the journal knows no group shpo",
            "help: its groups are: api, shop",
        ],
    );
    let empty = Tree::empty();
    let state = empty.path("state");
    for command in ["journal", "status"] {
        fails(
            &[command, "--state-dir", state.to_str().unwrap()],
            &[
                "error[journal-missing]: there is no journal in ",
                "--state-dir DIR",
            ],
        );
    }
    let help = String::from_utf8(run(&["status", "--help"]).stdout).unwrap();
    assert!(help.contains("journal"), "{help}");
}
