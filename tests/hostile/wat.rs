//! Pages of component text that answer `200`, and with a query do what no page should.

/// What a page is made of beside its answer.
#[derive(Clone, Copy, Default)]
pub struct Page {
    /// Imports, types and functions of the component.
    pub outside: &'static str,
    /// What the core module gets of them: `(export "now" (func $now))`.
    pub given: &'static str,
    /// Imports of the core module, which come first.
    pub imports: &'static str,
    /// Its other fields.
    pub inside: &'static str,
    /// What `handle` does with a query. It may leave a response, or fall through to the good one.
    pub act: &'static str,
    /// The body of `realloc`, which every request comes by.
    pub realloc: &'static str,
    /// The body of the function that is called after the answer was read.
    pub after: &'static str,
}

/// A page that does all its work in `act`.
pub const fn act(act: &'static str) -> Page {
    Page {
        outside: "",
        given: "",
        imports: "",
        inside: "",
        act,
        realloc: "",
        after: "",
    }
}

impl Page {
    pub fn text(&self) -> String {
        let Self {
            outside,
            given,
            imports,
            inside,
            act,
            realloc,
            after,
        } = self;
        format!(
            r#"(component
            {outside}
            (core module $code
                {imports}
                (memory (export "memory") 4)
                (global $acts (mut i32) (i32.const 0))
                (global $next (mut i32) (i32.const 4096))
                {inside}
                (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                    {realloc}
                    ;; Aligned, and begun anew with each request.
                    (global.set $next (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
                    (global.get $next)
                    (global.set $next (i32.add (global.get $next) (local.get 3))))
                ;; The request, flat; its query is there where the seventh is 1. To a response at 16: its
                ;; status, no headers, and a body of four bytes at 64.
                (func (export "handle")
                    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                    (global.set $next (i32.const 4096))
                    (i32.store (i32.const 64) (i32.const 0x646f6f67))
                    (i32.store16 (i32.const 16) (i32.const 200))
                    (i64.store (i32.const 20) (i64.const 0))
                    (i32.store (i32.const 28) (i32.const 64))
                    (i32.store (i32.const 32) (i32.const 4))
                    (global.set $acts (local.get 6))
                    (if (local.get 6) (then {act}))
                    (i32.const 16))
                (func (export "after") (param i32) {after}))
            (core instance $code (instantiate $code (with "" (instance {given}))))
            (type $field (tuple string (list u8)))
            (type $request (record
                (field "method" string) (field "authority" string) (field "path" string)
                (field "query" (option string)) (field "params" (list (tuple string string)))
                (field "headers" (list $field)) (field "body" (list u8))))
            (type $response (record
                (field "status" u16) (field "headers" (list $field)) (field "body" (list u8))))
            (func $handle (param "request" $request) (result $response) (canon lift
                (core func $code "handle") (post-return (core func $code "after"))
                (memory (core memory $code "memory")) (realloc (core func $code "realloc"))))
            (instance $handler
                (export "request" (type $request)) (export "response" (type $response))
                (export "handle" (func $handle)))
            (export "wasmhost:page/handler@0.1.0" (instance $handler)))"#
        )
    }
}

/// A clock, to be called: `(call $now)`.
pub const CLOCK: Page = Page {
    outside: r#"
        (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock (export "now" (func (result u64)))))
        (core func $now (canon lower (func $clock "now")))"#,
    given: r#"(export "now" (func $now))"#,
    imports: r#"(import "" "now" (func $now (result i64)))"#,
    ..act("")
};

/// Alarms, each a handle on something of the host's: `(call $alarm (i64.const 1))`.
pub const ALARMS: Page = Page {
    outside: r#"
        (import "wasi:io/poll@0.2.0" (instance $poll
            (export "pollable" (type (sub resource)))))
        (alias export $poll "pollable" (type $pollable))
        (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
            (alias outer 1 $pollable (type $outer))
            (export "pollable" (type $alarm (eq $outer)))
            (export "subscribe-duration" (func (param "when" u64) (result (own $alarm))))))
        (core func $alarm (canon lower (func $clock "subscribe-duration")))"#,
    given: r#"(export "alarm" (func $alarm))"#,
    imports: r#"(import "" "alarm" (func $alarm (param i64) (result i32)))"#,
    ..act("")
};

/// A resource of its own, whose end traps: `(call $new (i32.const 1))`.
pub const RESOURCE: Page = Page {
    outside: r#"
        (core module $end (func (export "end") (param i32) unreachable))
        (core instance $end (instantiate $end))
        (type $thing (resource (rep i32) (dtor (core func $end "end"))))
        (core func $new (canon resource.new $thing))
        (core func $drop (canon resource.drop $thing))"#,
    given: r#"(export "new" (func $new)) (export "drop" (func $drop))"#,
    imports: r#"(import "" "new" (func $new (param i32) (result i32)))
                (import "" "drop" (func $drop (param i32)))"#,
    ..act("")
};

/// Random bytes, as many as wanted, to be returned at 512: `(call $random (i64.const 8) (i32.const 512))`.
pub const RANDOM: Page = Page {
    outside: r#"
        (core module $libc
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
        (core instance $libc (instantiate $libc))
        (import "wasi:random/random@0.2.0" (instance $random
            (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
        (core func $random (canon lower (func $random "get-random-bytes")
            (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))"#,
    given: r#"(export "random" (func $random))"#,
    imports: r#"(import "" "random" (func $random (param i64 i32)))"#,
    ..act("")
};
