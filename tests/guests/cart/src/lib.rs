//! A page that counts: `?add` adds one and answers with the sum, anything else answers with the sum alone.
//! It hands the sum over at a swap. Variables say what goes wrong: `SAVE`, `LOAD` and `START` are `trap`,
//! `loop`, `error` or `large`; `SCHEMA` is the layout that it writes and reads; `BULK` is bytes to carry along.
//! `?save=trap` has its next saves go wrong, whatever the variable says.

use std::arch::wasm32;
use std::cell::{Cell, RefCell};
use std::env;
use std::hint::black_box;

use exports::wasmhost::lifecycle::{hooks, state};
use exports::wasmhost::page::handler::{Guest, Request, Response};

wit_bindgen::generate!({
    path: ["../../../wit/page.wit", "../../../wit/lifecycle.wit"],
    inline: "
        package test:cart;
        world cart {
            export wasmhost:page/handler@0.1.0;
            export wasmhost:lifecycle/state@0.1.0;
            export wasmhost:lifecycle/hooks@0.1.0;
        }
    ",
    world: "test:cart/cart",
    generate_all,
});

thread_local! {
    static SUM: Cell<u64> = const { Cell::new(0) };
    static BULK: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static SAVE: RefCell<String> = const { RefCell::new(String::new()) };
    static LIFE: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
}

struct Cart;

impl Guest for Cart {
    fn handle(request: Request) -> Response {
        let query = request.query.as_deref().unwrap_or_default();
        let (what, how) = query.split_once('=').unwrap_or((query, ""));
        match what {
            "add" => SUM.set(SUM.get() + 1),
            "save" => SAVE.set(how.to_owned()),
            "life" => return ok(LIFE.with_borrow(|life| life.join(" "))),
            "trap" => {
                SUM.set(SUM.get() + 1);
                wasm32::unreachable()
            }
            _ => {}
        }
        ok(SUM.get().to_string())
    }
}

impl state::Guest for Cart {
    fn save() -> Result<state::Snapshot, String> {
        let asked = SAVE.with_borrow(String::clone);
        let way = if asked.is_empty() { variable("SAVE") } else { asked };
        let mut bytes = SUM.get().to_le_bytes().to_vec();
        match way.as_str() {
            "large" => bytes.resize(100 << 20, 0),
            way => go_wrong(way)?,
        }
        BULK.with_borrow_mut(|bulk| {
            let most = variable("BULK").parse().unwrap_or(0);
            bulk.resize(most, 7);
            bytes.extend_from_slice(bulk);
        });
        Ok(state::Snapshot {
            schema: schema(),
            bytes,
        })
    }

    fn load(snapshot: state::Snapshot) -> Result<(), String> {
        LIFE.with_borrow_mut(|life| life.push("load"));
        go_wrong(&variable("LOAD"))?;
        if snapshot.schema != schema() {
            return Err(format!("{} is not {}", snapshot.schema, schema()));
        }
        let (sum, bulk) = snapshot.bytes.split_first_chunk().ok_or("too short")?;
        SUM.set(u64::from_le_bytes(*sum));
        BULK.set(bulk.to_vec());
        Ok(())
    }
}

impl hooks::Guest for Cart {
    fn start() -> Result<(), String> {
        LIFE.with_borrow_mut(|life| life.push("start"));
        go_wrong(&variable("START"))
    }

    fn stop() {
        println!("stopped at {}", SUM.get());
    }
}

fn go_wrong(way: &str) -> Result<(), String> {
    match way {
        "trap" => wasm32::unreachable(),
        "loop" => loop {
            black_box(());
        },
        "error" => Err("as it was told to".into()),
        "large" => {
            black_box(vec![1u8; 100 << 20]);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn schema() -> String {
    let schema = variable("SCHEMA");
    if schema.is_empty() { "cart/1".into() } else { schema }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

fn ok(text: String) -> Response {
    Response {
        status: 200,
        headers: vec![("content-type".into(), b"text/plain".to_vec())],
        body: text.into_bytes(),
    }
}

export!(Cart);
