//! What a call from one component to another costs, in a group that was split and in one that was
//! composed whole.

use std::{collections::BTreeMap, time::Instant};

use wasmhost::artifact::Splitting;

use crate::{
    edits::TIMES,
    group::{Running, Workshop, group},
    table::{head, median, row},
};

const CALLS: u32 = 1_000_000;

pub fn run() {
    head("a million calls between two components");
    calls("a number each way", "(call $add (local.get $sum))");
    calls(
        "a text of 64 bytes",
        "(call $length (i32.const 128) (i32.const 64))",
    );
}

/// Each measure of one way is followed by one of the other.
fn calls(what: &str, call: &str) {
    let files = BTreeMap::from([
        ("caller".to_owned(), wat::parse_str(caller(call)).unwrap()),
        ("called".to_owned(), wat::parse_str(CALLED).unwrap()),
    ]);
    let spec = group(&files);
    let workshops = [Splitting::Whole, Splitting::Apart].map(Workshop::new);
    let running: Vec<Running> = workshops.iter().map(|workshop| workshop.start(&spec).0).collect();
    let mut times = [vec![], vec![]];
    for time in 0..=TIMES {
        for (running, times) in std::iter::zip(&running, &mut times) {
            let began = Instant::now();
            assert_eq!(running.get("shop.caller", "/").unwrap().0, 200);
            // The first is for the caches.
            if time > 0 {
                times.push(began.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    let [whole, apart] = times;
    row(&format!("{what}: composed whole"), "ms", &whole);
    row(&format!("{what}: split, code and data apart"), "ms", &apart);
    println!(
        "| – against whole | {:.2} | | | |",
        median(&apart) / median(&whole)
    );
}

const CALLED: &str = r#"(component
    (core module $code
        (memory (export "memory") 1)
        (data (i32.const 8) "apart")
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
        (func (export "add") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
        (func (export "length") (param i32 i32) (result i32) (local.get 1)))
    (core instance $code (instantiate $code))
    (func $add (param "n" u32) (result u32) (canon lift (core func $code "add")))
    (func $length (param "text" string) (result u32) (canon lift (core func $code "length")
        (memory (core memory $code "memory")) (realloc (core func $code "realloc"))))
    (instance $calls (export "add" (func $add)) (export "length" (func $length)))
    (export "site:shop/calls@0.1.0" (instance $calls)))"#;

/// A page that does `call` again and again, to `$sum`.
fn caller(call: &str) -> String {
    format!(
        r#"(component
            (import "site:shop/calls@0.1.0" (instance $calls
                (export "add" (func (param "n" u32) (result u32)))
                (export "length" (func (param "text" string) (result u32)))))
            (core module $memory
                (memory (export "memory") 1)
                (data (i32.const 128) "apart")
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
            (core instance $memory (instantiate $memory))
            (core func $add (canon lower (func $calls "add")))
            (core func $length (canon lower (func $calls "length") (memory (core memory $memory "memory"))))
            (core module $code
                (import "calls" "add" (func $add (param i32) (result i32)))
                (import "calls" "length" (func $length (param i32 i32) (result i32)))
                (import "memory" "memory" (memory 1))
                (func (export "handle")
                    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                    (local $left i32) (local $sum i32)
                    (local.set $left (i32.const {CALLS}))
                    (loop $again
                        (local.set $sum {call})
                        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                        (br_if $again (local.get $left)))
                    (i32.store (i32.const 64) (local.get $sum))
                    (i32.store16 (i32.const 16) (i32.const 200))
                    (i32.store (i32.const 28) (i32.const 64))
                    (i32.store (i32.const 32) (i32.const 4))
                    (i32.const 16)))
            (core instance $code (instantiate $code
                (with "calls" (instance (export "add" (func $add)) (export "length" (func $length))))
                (with "memory" (instance $memory))))
            (type $field (tuple string (list u8)))
            (type $request (record
                (field "method" string) (field "authority" string) (field "path" string)
                (field "query" (option string)) (field "params" (list (tuple string string)))
                (field "headers" (list $field)) (field "body" (list u8))))
            (type $response (record
                (field "status" u16) (field "headers" (list $field)) (field "body" (list u8))))
            (func $handle (param "request" $request) (result $response) (canon lift
                (core func $code "handle")
                (memory (core memory $memory "memory")) (realloc (core func $memory "realloc"))))
            (instance $handler
                (export "request" (type $request)) (export "response" (type $response))
                (export "handle" (func $handle)))
            (export "wasmhost:page/handler@0.1.0" (instance $handler)))"#
    )
}
