//! The guests that mean harm, and what the client of each gets.

use std::fs;

use super::wat::{ALARMS, CLOCK, Page, RANDOM, RESOURCE, act};
use crate::support::{Tree, guests, wat_site};

pub const POLICIES: [(&str, &str); 3] = [
    ("shared", "\"shared\""),
    ("pool", "{ pool = 2 }"),
    ("isolated", "\"isolated\""),
];

/// Small, so that each is soon reached.
const LIMITS: &str = "memory = \"8MiB\"\nrequest-time = \"1s\"\nhandles = 500\ninstances = 100\n\
                      call-size = \"2MiB\"\noutput = \"1KiB\"\n";

/// A page of component text, and what its client gets.
pub const PAGES: [(&str, u16, Page); 21] = [
    ("loop", 504, act("(loop $again (br $again))")),
    (
        "loop-of-calls",
        504,
        Page {
            act: "(loop $again (drop (call $now)) (br $again))",
            ..CLOCK
        },
    ),
    (
        "memory",
        200,
        act("(loop $again (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))"),
    ),
    (
        "memory-at-once",
        200,
        act("(drop (memory.grow (i32.const 65535)))"),
    ),
    (
        "table",
        200,
        Page {
            inside: "(table $table 0 funcref)",
            act: "(loop $again (br_if $again
                    (i32.ne (table.grow $table (ref.null func) (i32.const 1000)) (i32.const -1))))",
            ..act("")
        },
    ),
    (
        "stack",
        500,
        Page {
            inside: "(func $deeper (param i64) (result i64)
                        (i64.add (call $deeper (local.get 0)) (local.get 0)))",
            act: "(drop (call $deeper (i64.const 1)))",
            ..act("")
        },
    ),
    (
        "handles",
        500,
        Page {
            act: "(loop $again (drop (call $new (i32.const 1))) (br $again))",
            ..RESOURCE
        },
    ),
    (
        "host-handles",
        500,
        Page {
            act: "(loop $again (drop (call $alarm (i64.const 1000000000000))) (br $again))",
            ..ALARMS
        },
    ),
    (
        "random",
        500,
        Page {
            act: "(call $random (i64.const 0xffffffff) (i32.const 512))",
            ..RANDOM
        },
    ),
    // The same list of 1,000 headers over and over would be more than a call may carry.
    (
        "headers",
        500,
        act(
            "(i32.store (i32.const 20) (i32.const 1024)) (i32.store (i32.const 24) (i32.const 10000))
             (i32.store (i32.const 1024) (i32.const 0)) (i32.store (i32.const 1028) (i32.const 60000))
             (memory.fill (i32.const 1024) (i32.const 1) (i32.const 160000))",
        ),
    ),
    (
        "large-header",
        502,
        act(
            "(i32.store (i32.const 20) (i32.const 1024)) (i32.store (i32.const 24) (i32.const 1))
             (i32.store (i32.const 1024) (i32.const 64)) (i32.store (i32.const 1028) (i32.const 1))
             (i32.store (i32.const 1032) (i32.const 2048)) (i32.store (i32.const 1036) (i32.const 200000))
             (memory.fill (i32.const 2048) (i32.const 65) (i32.const 200000))",
        ),
    ),
    (
        "split",
        502,
        act(
            "(i32.store (i32.const 20) (i32.const 1024)) (i32.store (i32.const 24) (i32.const 1))
             (i32.store (i32.const 1024) (i32.const 64)) (i32.store (i32.const 1028) (i32.const 1))
             (i32.store (i32.const 1032) (i32.const 2048)) (i32.store (i32.const 1036) (i32.const 2))
             (i32.store (i32.const 2048) (i32.const 0x0a0d))",
        ),
    ),
    (
        "no-utf8",
        500,
        act(
            "(i32.store (i32.const 20) (i32.const 1024)) (i32.store (i32.const 24) (i32.const 1))
             (i32.store (i32.const 1024) (i32.const 2048)) (i32.store (i32.const 1028) (i32.const 2))
             (i32.store (i32.const 2048) (i32.const 0xfeff))",
        ),
    ),
    (
        "four-gigabytes",
        500,
        act("(i32.store (i32.const 32) (i32.const -1))"),
    ),
    (
        "body",
        500,
        act("(drop (memory.grow (i32.const 64))) (i32.store (i32.const 32) (i32.const 3000000))"),
    ),
    ("trap-in-handle", 500, act("unreachable")),
    (
        // The answer was read by then, but nobody knows what the store is worth.
        "trap-after",
        500,
        Page {
            after: "(if (global.get $acts) (then unreachable))",
            ..act("")
        },
    ),
    (
        "trap-in-drop",
        500,
        Page {
            act: "(call $drop (call $new (i32.const 1)))",
            ..RESOURCE
        },
    ),
    (
        "loop-after",
        504,
        Page {
            after: "(if (global.get $acts) (then (loop $again (br $again))))",
            ..act("")
        },
    ),
    (
        // Nothing may leave a component while its answer is taken away.
        "call-after",
        500,
        Page {
            after: "(if (global.get $acts) (then (drop (call $now))))",
            ..CLOCK
        },
    ),
    ("wild", 500, act("(i32.store (i32.const -4) (i32.const 1))")),
];

/// A page that traps while its request is handed to it: no client gets anything, until it rests.
pub const NEVER: [(&str, Page); 2] = [
    (
        "trap-in-realloc",
        Page {
            realloc: "unreachable",
            ..act("")
        },
    ),
    (
        "call-in-realloc",
        Page {
            realloc: "(drop (call $now))",
            ..CLOCK
        },
    ),
];

/// The answer may have begun by then: it is 500, or breaks off.
pub const BROKEN: u16 = 0;
/// On a busy machine its time is over before it is done.
pub const AS_FAR_AS_IT_GETS: u16 = 1;

/// What the guests of Rust can do, and what their clients get.
pub const ACTS: [(&str, u16); 13] = [
    ("misbehave?hoard", 500),
    ("misbehave?sleep", 504),
    ("misbehave?exit=0", 500),
    ("misbehave?exit=1", 500),
    ("misbehave?recursion", 500),
    ("misbehave?panic", 500),
    ("misbehave?print-on", 504),
    ("misbehave?large=9000000", 500),
    ("misbehave?many-headers=33000", 502),
    ("streams?trap", 500),
    ("streams?silent", 502),
    ("streams?outgoing-flood=3000", AS_FAR_AS_IT_GETS),
    ("streams?write-at-once=3000000", BROKEN),
];

/// What the guest of WASI 0.3 can do, in a store with an event loop.
pub const FLOWS: [(&str, u16); 5] = [
    ("flows?trap", 500),
    ("flows?loop", 504),
    ("flows?stuck", 504),
    ("flows?status=99", 500),
    ("flows?outgoing-at-once=127.0.0.1:9", 200),
];

/// A group of all of them for each policy, and a group that has to do with nothing.
pub fn site() -> Tree {
    let tree = Tree::empty();
    let mut manifest = String::new();
    for (group, instances) in POLICIES {
        for (name, _, page) in PAGES {
            tree.put(format!("{group}/{name}.wat"), page.text());
        }
        for (name, page) in NEVER {
            tree.put(format!("{group}/{name}.wat"), page.text());
        }
        for guest in ["misbehave.wasm", "streams.wasm"] {
            tree.put(
                format!("{group}/{guest}"),
                fs::read(guests().join(guest)).unwrap(),
            );
        }
        tree.put(
            format!("flows-{group}/flows.wasm"),
            fs::read(guests().join("flows.wasm")).unwrap(),
        );
        manifest += &format!(
            "[groups.{group}]\ninstances = {instances}\n[groups.{group}.limits]\n{LIMITS}\n\
             [groups.{group}.grants]\nhttp = [\"http://127.0.0.1:9\"]\n\
             [groups.flows-{group}]\ninstances = {instances}\n[groups.flows-{group}.limits]\n{LIMITS}\n"
        );
    }
    // The memory of the shared store is for many pages.
    let manifest = manifest.replacen("memory = \"8MiB\"", "memory = \"24MiB\"", 1);
    let manifest = manifest.replacen("instances = 100", "instances = 1000", 1);
    tree.put("wasmhost.toml", manifest);
    tree.put("calm/page.wat", wat_site::page(1, ""));
    tree
}
