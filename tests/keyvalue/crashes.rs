//! What was acknowledged is there after a kill, and a disk that is full is no more than an error.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use super::{ask, set, site, try_ask};
use crate::support::{Server, wasmhost};

/// Kills where nobody asks for more.
const ROUNDS: u64 = 100;
const WRITERS: usize = 4;

/// `WASMHOST_CRASHES=1000 cargo test keyvalue::crashes` does it more often.
#[test]
fn every_acknowledged_key_is_there_after_kill_9() {
    let rounds = env::var("WASMHOST_CRASHES").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let tree = site();
    // What each writer was told to be set: its keys are 0, 1, 2 …
    let acknowledged: Vec<_> = (0..WRITERS).map(|_| Arc::new(AtomicU64::new(0))).collect();
    for round in 0..rounds {
        let server = Server::start(tree.root());
        let enough = acknowledged
            .iter()
            .map(|count| count.load(Ordering::SeqCst))
            .sum::<u64>()
            + 10
            + round % 17;
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (mut client, count) = (server.client(), acknowledged[writer].clone());
                thread::spawn(move || {
                    loop {
                        let next = count.load(Ordering::SeqCst);
                        let path = format!("/rich/keyvalue?set=w{writer}-{next}");
                        let value = format!("{writer} {next}");
                        // It breaks off with the server.
                        match client.try_request("POST", &path, &[], value.as_bytes()) {
                            Ok(reply) => assert_eq!(reply.status, 200, "{reply:?}"),
                            Err(_) => return,
                        }
                        count.store(next + 1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        // The moment of the kill follows from what is done, not from a clock.
        while acknowledged
            .iter()
            .map(|count| count.load(Ordering::SeqCst))
            .sum::<u64>()
            < enough
        {
            thread::yield_now();
        }
        drop(server);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    }
    let server = Server::start(tree.root());
    let mut client = server.client();
    for (writer, count) in acknowledged.iter().enumerate() {
        for key in 0..count.load(Ordering::SeqCst) {
            let value = ask(&mut client, "rich", &format!("get=w{writer}-{key}"));
            assert_eq!(value, format!("{writer} {key}"));
        }
    }
}

#[test]
fn a_file_that_cannot_grow_is_an_error_for_the_guest_and_no_more() {
    let tree = site();
    // No file may be larger than 8 MiB; the shell has the signal ignored that would end the server.
    let program = wasmhost();
    let mut command = std::process::Command::new("bash");
    command.args(["-c", "trap '' XFSZ; ulimit -f 8192; exec \"$@\"", "bash"]);
    command.arg(program.get_program()).arg("serve").arg(tree.root());
    let server = Server::start_command(command);
    let mut client = server.client();
    set(&mut client, "rich", "first", "kept");
    set(&mut client, "other", "first", "kept too");
    let mut done = Vec::new();
    let refused = (0..64).find_map(|index| {
        let reply = try_ask(
            &mut client,
            "rich",
            &format!("set-size=large{index},1000000"),
            b"",
        );
        match reply.status {
            200 => done.push(index),
            400 => return Some(reply.text()),
            _ => panic!("{reply:?}"),
        }
        None
    });
    assert_eq!(refused.as_deref(), Some("the store failed"));
    assert!(!done.is_empty());
    server.wait_for_log("a call of wasi:keyvalue failed");
    // It serves on, and all that was acknowledged is there.
    for index in &done {
        let value = ask(&mut client, "rich", &format!("get=large{index}"));
        assert_eq!(value.len(), 1_000_000);
    }
    assert_eq!(ask(&mut client, "rich", "get=first"), "kept");
    assert_eq!(ask(&mut client, "other", "get=first"), "kept too");
    // There is room again once something goes.
    for index in &done {
        ask(&mut client, "rich", &format!("delete=large{index}"));
    }
    set(&mut client, "rich", "first", "kept on");
    set(&mut client, "other", "first", "and on");
    assert_eq!(ask(&mut client, "rich", "get=first"), "kept on");
}
