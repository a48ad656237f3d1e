//! A page whose query says what it does: `?trap`, `?status=99`, `?count`. What it does not know it echoes.

use std::arch::wasm32;
use std::cell::Cell;
use std::fmt::Write as _;
use std::hint::black_box;
use std::io::Write as _;
use std::time::Duration;

use exports::wasmhost::page::handler::{Guest, Request, Response};

wit_bindgen::generate!({
    path: "../../../wit/page.wit",
    world: "wasmhost:page/page",
    generate_all,
});

const PAGE: usize = 64 * 1024;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Misbehave;

impl Guest for Misbehave {
    fn handle(request: Request) -> Response {
        CALLS.set(CALLS.get() + 1);
        let query = request.query.as_deref().unwrap_or_default();
        let (what, how) = query.split_once('=').unwrap_or((query, ""));
        match what {
            "count" => ok(CALLS.get().to_string()),
            "trap" => wasm32::unreachable(),
            "panic" => panic!("the guest's own words"),
            "loop" => loop {
                black_box(());
            },
            "sleep" => {
                std::thread::sleep(Duration::MAX);
                ok("awake")
            }
            "recursion" => ok(recursion(1).to_string()),
            "exit" => std::process::exit(how.parse().unwrap_or_default()),
            "work" => ok(work(how.parse().unwrap_or_default()).to_string()),
            "grow" => ok(grow().to_string()),
            "hoard" => hoard(),
            "status" => Response {
                status: how.parse().unwrap_or_default(),
                ..ok("status")
            },
            "name" => with_header("bad name", b"value"),
            "split-name" => with_header("x-a: 1\r\nset-cookie", b"stolen"),
            "value" => with_header("x-split", b"a\r\nset-cookie: stolen"),
            "length" => with_header("content-length", b"9999"),
            "claim" => with_header("wasmhost-generation", b"other@99"),
            "large" => ok(vec![b'x'; how.parse().unwrap_or_default()]),
            "print" => print(),
            "print-on" => loop {
                println!("and on it goes, and on it goes, and on it goes, and on it goes");
            },
            "many-headers" => Response {
                headers: vec![("x".into(), b"y".into()); how.parse().unwrap_or_default()],
                ..ok("with many headers")
            },
            _ => ok(describe(&request)),
        }
    }
}

export!(Misbehave);

/// Keeps the processor busy for a while, and then answers.
fn work(rounds: u64) -> u64 {
    (0..rounds).fold(CALLS.get(), |sum, round| {
        black_box(sum.wrapping_mul(31).wrapping_add(round))
    })
}

/// Never comes back: the stack ends first.
#[expect(unconditional_recursion, reason = "that is what it is for")]
fn recursion(depth: u64) -> u64 {
    recursion(black_box(depth + 1)) + black_box(depth)
}

/// Takes memory until it is refused; how many bytes there are then.
fn grow() -> usize {
    while wasm32::memory_grow::<0>(16) != usize::MAX {}
    wasm32::memory_size::<0>() * PAGE
}

/// Allocates until the allocator gives up, which is the end of a Rust program.
fn hoard() -> Response {
    let mut hoard = Vec::new();
    loop {
        hoard.push(black_box(vec![1_u8; PAGE]));
    }
}

fn print() -> Response {
    println!("plain words");
    println!("\x1b[31mred\x1b[0m\rforged");
    eprintln!("a complaint");
    print!("no line end");
    let _ = std::io::stdout().flush();
    ok("printed")
}

/// The request as this component sees it, a line for each part.
fn describe(request: &Request) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Debug| {
        let _ = writeln!(text, "{name} {value:?}");
    };
    line("method", &request.method);
    line("authority", &request.authority);
    line("path", &request.path);
    line("query", &request.query);
    for param in &request.params {
        line("param", param);
    }
    for (name, value) in &request.headers {
        line("header", &(name, String::from_utf8_lossy(value)));
    }
    line("body", &String::from_utf8_lossy(&request.body));
    text
}

fn ok(body: impl Into<Vec<u8>>) -> Response {
    let headers = vec![("content-type".into(), b"text/plain".into())];
    Response {
        status: 200,
        headers,
        body: body.into(),
    }
}

fn with_header(name: &str, value: &[u8]) -> Response {
    Response {
        headers: vec![(name.into(), value.into())],
        ..ok("with a header")
    }
}
