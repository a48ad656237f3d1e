//! `wasmhost kv`, beside a server and without one.

use std::{
    io::Write,
    process::{Output, Stdio},
};

use serde_json::Value;

use super::{ask, set, site};
use crate::support::{Server, Tree, wasmhost};

fn kv(tree: &Tree, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = wasmhost();
    command.args(["kv", "--root"]).arg(tree.root()).args(arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may not want to read it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn done(tree: &Tree, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let output = kv(tree, arguments, input);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output.stdout
}

fn refused(tree: &Tree, arguments: &[&str], input: &[u8], code: i32) -> String {
    let output = kv(tree, arguments, input);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// All commands; whoever answers them.
pub fn all_commands(tree: &Tree) {
    let bytes: Vec<u8> = (0..=255).collect();
    // In this order a NATS lists them too.
    done(tree, &["rich", "set", "a\nb"], &bytes);
    done(tree, &["rich", "set", "b", "two"], b"");
    assert_eq!(done(tree, &["rich", "list"], b""), b"a\\nb\nb\n");
    assert_eq!(done(tree, &["rich", "get", "b"], b""), b"two");
    assert_eq!(done(tree, &["rich", "get", "a\nb"], b""), bytes);
    assert!(
        refused(tree, &["rich", "get", "c"], b"", 1).contains("error[key-missing]: there is no key \"c\"")
    );

    let exported = done(tree, &["rich", "export"], b"");
    let lines: Vec<Value> = exported
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["key"], &lines[1]["value"]),
        (&"a\nb".into(), &"dHdv".into())
    );
    done(tree, &["rich", "delete", "b"], b"");
    done(tree, &["rich", "set", "a\nb", "changed"], b"");
    done(tree, &["rich", "import"], &exported);
    assert_eq!(done(tree, &["rich", "export"], b""), exported);

    let broken = refused(
        tree,
        &["rich", "import"],
        b"{\"key\": \"x\", \"value\": \"eA==\"}\n{\"key\": 1}\n",
        1,
    );
    assert!(
        broken.contains("error[import-line]: line 2 of standard input"),
        "{broken}"
    );
    let large = refused(tree, &["rich", "set", "large"], &vec![b'x'; (1 << 20) + 1], 1);
    assert!(large.contains("a value has at most 1048576 bytes"), "{large}");
    let unknown = refused(tree, &["rihc", "list"], b"", 1);
    assert!(
        unknown.contains("the group rihc has no keys and values"),
        "{unknown}"
    );
}

#[test]
fn a_running_server_is_asked() {
    let tree = site();
    let server = Server::start(tree.root());
    all_commands(&tree);
    let mut client = server.client();
    assert_eq!(ask(&mut client, "rich", "get=b"), "two");
    set(&mut client, "rich", "b", "three");
    assert_eq!(done(&tree, &["rich", "get", "b"], b""), b"three");
}

#[test]
fn without_a_server_the_file_is_opened() {
    let tree = site();
    let missing = refused(&tree, &["rich", "list"], b"", 1);
    assert!(
        missing.contains("error[keyvalue-missing]: there are no keys and values in"),
        "{missing}"
    );
    all_commands(&tree);
    let server = Server::start(tree.root());
    assert_eq!(ask(&mut server.client(), "rich", "get=b"), "two");
}

#[test]
fn an_export_is_whole_however_large_it_is() {
    let tree = site();
    let server = Server::start(tree.root());
    let mut client = server.client();
    for prefix in ["a", "b", "c"] {
        ask(&mut client, "rich", &format!("set-many={prefix},1000"));
    }
    for index in 0..12 {
        ask(&mut client, "rich", &format!("set-size=large{index},1000000"));
    }
    let exported = done(&tree, &["rich", "export"], b"");
    let lines = exported.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(lines, 3012);
    drop(server);
    let copy = site();
    done(&copy, &["other", "import"], &exported);
    assert_eq!(done(&copy, &["other", "export"], b""), exported);
}

#[test]
fn a_second_process_on_the_file_is_told_so() {
    let tree = site();
    let server = Server::start(tree.root());
    set(&mut server.client(), "rich", "a", "one");
    // Without its socket, the server cannot be asked.
    tree.remove(".wasmhost/admin.sock");
    let told = refused(&tree, &["rich", "get", "a"], b"", 3);
    assert!(told.contains("another process has the store open"), "{told}");
    assert_eq!(ask(&mut server.client(), "rich", "get=a"), "one");
}
