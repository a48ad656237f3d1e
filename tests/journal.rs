//! What happened, told afterwards: `wasmhost journal` and `wasmhost status` read what a server wrote.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Child, Output, Stdio},
    time::Instant,
};

use serde_json::Value;

use crate::{
    hostile::wat::act,
    restart::wait_until_kept,
    support::{
        Client, PATIENCE, Server, Tree, wasmhost,
        wat_site::{library, linked_page, page, site},
    },
};

fn run(arguments: &[&str]) -> Output {
    wasmhost().args(arguments).output().unwrap()
}

/// Standard output of what must succeed.
fn said(tree: &Tree, arguments: &[&str]) -> String {
    let root = tree.root().to_str().unwrap();
    let output = run(&[arguments, &["--root", root]].concat());
    let error = String::from_utf8_lossy(&output.stderr);
    let error = error.replace("no server answers: this is what its journal ends with\n", "");
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
            "error[group-unknown]: no group shpo is known",
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

#[test]
fn a_root_that_is_deleted_takes_the_journal_with_it_and_brings_it_back() {
    let place = Tree::empty();
    let root = place.path("site");
    let put = |version: u64| {
        place.put("site/shop/library.wat", library("u32"));
        place.put("site/api/page.wat", page(1, ""));
        place.put("site/shop/page.wat", linked_page(version));
    };
    put(1);
    let server = Server::start(&root);
    for group in ["shop", "api"] {
        wait_until_kept(&root.join(".wasmhost"), group, 1);
    }
    drop(server);
    // All is compiled and kept: nobody writes into what is deleted now.
    let mut server = Server::start(&root);
    fs::rename(&root, place.path("gone")).unwrap();
    fs::remove_dir_all(place.path("gone")).unwrap();
    let rejected = server.wait("rejected");
    assert_eq!(rejected["diagnostics"][0]["code"], "root-missing");
    assert!(!root.exists(), "the journal makes no root");
    put(2);
    let swapped = server.wait("swapped");
    until("the journal is there again", || {
        lines(&root.join(".wasmhost/journal.jsonl")).contains(&swapped)
    });
    assert!(lines(&root.join(".wasmhost/journal.jsonl")).contains(&rejected));
    let arguments = ["--root", root.to_str().unwrap()];
    let status = run(&[&["status"], &arguments[..]].concat());
    let text = String::from_utf8(status.stdout).unwrap();
    let groups: Vec<&str> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(groups, ["api@1", "shop@2"], "{text}");
}

#[test]
fn groups_of_records_that_are_gone_are_known() {
    let tree = Tree::empty();
    let state = r#"{"event":"state","time":"2026-01-02T03:04:05Z","groups":{
        "api":{"generation":1,"ready":"2026-01-01T03:04:05Z"},
        "shop":{"generation":7,"swapped":{"event":"swapped","time":"2026-01-01T04:04:05Z","causes":[]}}}}"#;
    let recovered = r#"{"event":"recovered","time":"2026-01-02T03:04:06Z","group":"api","generation":1}"#;
    let journal = format!("{}\n{recovered}\n", state.replace('\n', ""));
    tree.put(".wasmhost/journal.jsonl", journal);
    assert_eq!(
        said(&tree, &["status"]),
        "api@1 since 2026-01-01T03:04:05Z\nshop@7 since 2026-01-01T04:04:05Z\n"
    );
    let text = said(&tree, &["status", "--explain", "shop"]);
    assert!(text.contains("the manifest changed"), "{text}");
    let text = said(&tree, &["journal"]);
    assert_eq!(
        text, "2026-01-02T03:04:06Z recovered api@1\n",
        "what happened alone"
    );
    assert!(said(&tree, &["journal", "--event", "state"]).contains("shop"));
}

#[test]
fn a_reader_that_hangs_does_not_hold_up_the_journal() {
    // More than a pipe takes: each request ends in two events.
    const REQUESTS: usize = 600;
    let tree = Tree::empty();
    tree.put("shop/page.wat", act("unreachable").text());
    let mut command = wasmhost();
    command.arg("serve").arg(tree.root());
    command.args(["--listen", "127.0.0.1:0", "--format", "json"]);
    let mut server = Unread(
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let journal = tree.path(".wasmhost/journal.jsonl");
    until("it is ready", || !lines(&journal).is_empty());
    let url = lines(&journal)[0]["url"].as_str().unwrap().to_owned();
    let mut client = Client::new(&url);
    for _ in 0..REQUESTS {
        assert_eq!(client.get("/shop/page?act").status, 500);
        // Or it would rest.
        assert_eq!(client.get("/shop/page").status, 200);
    }
    let of = |kind: &str| {
        lines(&journal)
            .iter()
            .filter(|record| record["event"] == kind)
            .count()
    };
    until("all of it is in the journal", || {
        (of("trapped"), of("recovered")) == (REQUESTS, REQUESTS)
    });
    assert!(
        fs::metadata(&journal).unwrap().len() > 3 << 16,
        "more than the pipe takes"
    );
    // Nor does it hold up the end.
    let killed = std::process::Command::new("kill")
        .arg(server.0.id().to_string())
        .status();
    assert!(killed.unwrap().success());
    until("it ends", || server.0.try_wait().unwrap().is_some());
}

/// A server whose standard output nobody reads; killed with the value.
struct Unread(Child);

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The whole records of a file, where it is there.
fn lines(journal: &Path) -> Vec<Value> {
    let text = fs::read_to_string(journal).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn until(what: &str, is: impl FnMut() -> bool) {
    let (began, mut is) = (Instant::now(), is);
    while !is() {
        assert!(began.elapsed() < PATIENCE, "not yet: {what}");
        std::thread::yield_now();
    }
}
