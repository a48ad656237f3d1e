//! Components as text: libraries, importers and pages of a few lines each.

/// The interface that most of them export or import.
pub const COUNTER: &str = "site:shop/counter@0.1.0";

/// The type of its function `next`.
pub const NEXT: &str = "(result u32)";

/// A library whose interface has a function `next`, which counts its own calls.
pub fn counter(interface: &str) -> String {
    counter_from(interface, 0)
}

pub fn counter_from(interface: &str, start: u32) -> String {
    format!(
        r#"(component
            (core module $code
                (global $count (mut i32) (i32.const {start}))
                (func (export "next") (result i32)
                    (global.set $count (i32.add (global.get $count) (i32.const 1)))
                    (global.get $count)))
            (core instance $code (instantiate $code))
            (func $next (result u32) (canon lift (core func $code "next")))
            (instance $counter (export "next" (func $next)))
            (export "{interface}" (instance $counter)))"#
    )
}

/// A library that imports an interface whose `next` has the type `next`.
pub fn importer(interface: &str, next: &str) -> String {
    format!(r#"(component (import "{interface}" (instance (export "next" (func {next})))))"#)
}

/// A library that exports what it imports under another name.
pub fn passing(import: &str, export: &str) -> String {
    format!(
        r#"(component
            (import "{import}" (instance $imported (export "next" (func (result u32)))))
            (export "{export}" (instance $imported)))"#
    )
}

/// An import of a record `goods` alone, with a price of the type `price`.
pub fn types(price: &str) -> String {
    format!(
        r#"(import "site:shop/types@0.1.0" (instance
            (type $record (record (field "price" {price})))
            (export "goods" (type (eq $record)))))"#
    )
}

pub fn types_importer(price: &str) -> String {
    format!("(component {})", types(price))
}

/// A library with a function `next` that takes a `goods` of the type `record`: one number.
pub fn record_exporter(record: &str) -> String {
    format!(
        r#"(component
            (core module $code (func (export "next") (param i32) (result i32) (local.get 0)))
            (core instance $code (instantiate $code))
            (type $goods {record})
            (func $next (param "goods" $goods) (result u32) (canon lift (core func $code "next")))
            (instance $counter (export "goods" (type $goods)) (export "next" (func $next)))
            (export "{COUNTER}" (instance $counter)))"#
    )
}

pub fn record_importer(record: &str) -> String {
    format!(
        r#"(component (import "{COUNTER}" (instance
            (type $record {record})
            (export "goods" (type $goods (eq $record)))
            (export "next" (func (param "goods" $goods) (result u32))))))"#
    )
}

/// A library with a resource `counter`: a constructor and the method `next`. Each is 3, always.
pub fn resource_exporter() -> String {
    format!(
        r#"(component
            (type $counter (resource (rep i32)))
            (core func $new (canon resource.new $counter))
            (core module $code
                (import "" "new" (func $new (param i32) (result i32)))
                (func (export "make") (result i32) (call $new (i32.const 3)))
                (func (export "next") (param i32) (result i32) (local.get 0)))
            (core instance $code (instantiate $code (with "" (instance (export "new" (func $new))))))
            (func $make (result (own $counter)) (canon lift (core func $code "make")))
            (func $next (param "self" (borrow $counter)) (result u32) (canon lift (core func $code "next")))
            (component $interface
                (import "counter" (type $inner (sub resource)))
                (import "make" (func $make (result (own $inner))))
                (import "next" (func $next (param "self" (borrow $inner)) (result u32)))
                (export $outer "counter" (type $inner))
                (export "[constructor]counter" (func $make) (func (result (own $outer))))
                (export "[method]counter.next" (func $next)
                    (func (param "self" (borrow $outer)) (result u32))))
            (instance $exported (instantiate $interface
                (with "counter" (type $counter)) (with "make" (func $make)) (with "next" (func $next))))
            (export "{COUNTER}" (instance $exported)))"#
    )
}

/// The import of that resource, with a method of the given result.
fn resource_import(result: &str) -> String {
    format!(
        r#"(import "{COUNTER}" (instance $counter
            (export "counter" (type $resource (sub resource)))
            (export "[constructor]counter" (func (result (own $resource))))
            (export "[method]counter.next" (func (param "self" (borrow $resource)) {result}))))"#
    )
}

pub fn resource_importer(result: &str) -> String {
    format!("(component {})", resource_import(result))
}

/// A page that makes a `counter` and answers with its number.
pub fn resource_page() -> String {
    let lowered = r#"
        (alias export $counter "counter" (type $resource))
        (core func $make (canon lower (func $counter "[constructor]counter")))
        (core func $next (canon lower (func $counter "[method]counter.next")))
        (core func $drop (canon resource.drop $resource))
        (core instance $imports
            (export "make" (func $make)) (export "next" (func $next)) (export "drop" (func $drop)))"#;
    let code = r#"
        (import "" "make" (func $make (result i32)))
        (import "" "next" (func $next (param i32) (result i32)))
        (import "" "drop" (func $drop (param i32)))"#;
    let digit = r#"
        (local.set $handle (call $make))
        (call $next (local.get $handle))
        (call $drop (local.get $handle))"#;
    page_of(&format!("{}{lowered}", resource_import(NEXT)), code, digit)
}

/// A page that answers with the digit that `next` of an interface returns.
pub fn page(interface: &str) -> String {
    let import = format!(
        r#"(import "{interface}" (instance $counter (export "next" (func (result u32)))))
           (core func $next (canon lower (func $counter "next")))
           (core instance $imports (export "next" (func $next)))"#
    );
    page_of(
        &import,
        r#"(import "" "next" (func $next (result i32)))"#,
        "call $next",
    )
}

/// A page that asks the page that it wraps, and answers with the digit after that one's.
pub fn wrapping_page() -> String {
    let import = r#"
        (import "wasmhost:page/handler@0.1.0" (instance $wrapped
            (type $field (tuple string (list u8)))
            (type $asked (record
                (field "method" string) (field "authority" string) (field "path" string)
                (field "query" (option string)) (field "params" (list (tuple string string)))
                (field "headers" (list $field)) (field "body" (list u8))))
            (export "request" (type $request (eq $asked)))
            (type $answered (record
                (field "status" u16) (field "headers" (list $field)) (field "body" (list u8))))
            (export "response" (type $response (eq $answered)))
            (export "handle" (func (param "request" $request) (result $response)))))
        (core module $store
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 512))
            ;; The first byte of the body, a digit, of the response at 256.
            (func (export "digit") (result i32)
                (i32.sub (i32.load8_u (i32.load (i32.const 268))) (i32.const 48))))
        (core instance $store (instantiate $store))
        (core func $ask (canon lower (func $wrapped "handle")
            (memory (core memory $store "memory")) (realloc (core func $store "realloc"))))
        (core instance $imports
            (export "ask" (func $ask)) (export "digit" (func $store "digit")))"#;
    let sixteen = "i32 ".repeat(16);
    // An empty request is all zeros; where the response goes is the last parameter.
    let request = "(i32.const 0) ".repeat(15);
    page_of(
        import,
        &format!(
            r#"(import "" "ask" (func $ask (param {sixteen})))
               (import "" "digit" (func $digit (result i32)))"#
        ),
        &format!("(call $ask {request} (i32.const 256)) (i32.add (call $digit) (i32.const 1))"),
    )
}

/// A page that answers with a digit of its own; its imports are for their types alone.
pub fn page_importing(imports: &str, digit: &str) -> String {
    page_of(&format!("{imports} (core instance $imports)"), "", digit)
}

/// A page component: `imports` ends with the core instance `$imports`, whose functions the module
/// imports with `code`; `digit` leaves the number to answer with, and may use the local `$handle`.
fn page_of(imports: &str, code: &str, digit: &str) -> String {
    format!(
        r#"(component
            {imports}
            (core module $code
                {code}
                (memory (export "memory") 1)
                (global $free (mut i32) (i32.const 1024))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                    (local $at i32)
                    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
                    (global.set $free (i32.add (local.get $at) (local.get 3)))
                    (local.get $at))
                ;; The request, flat, to a response at 16: its status, no headers, a body of one byte at 64.
                (func (export "handle")
                    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                    (local $handle i32) (local $digit i32)
                    (global.set $free (i32.const 1024))
                    {digit}
                    (local.set $digit)
                    (i32.store8 (i32.const 64) (i32.add (i32.const 48) (local.get $digit)))
                    (i32.store16 (i32.const 16) (i32.const 200))
                    (i32.store (i32.const 28) (i32.const 64))
                    (i32.store (i32.const 32) (i32.const 1))
                    (i32.const 16)))
            (core instance $code (instantiate $code (with "" (instance $imports))))
            (type $field (tuple string (list u8)))
            (type $request (record
                (field "method" string) (field "authority" string) (field "path" string)
                (field "query" (option string)) (field "params" (list (tuple string string)))
                (field "headers" (list $field)) (field "body" (list u8))))
            (type $response (record
                (field "status" u16) (field "headers" (list $field)) (field "body" (list u8))))
            (func $handle (param "request" $request) (result $response) (canon lift
                (core func $code "handle")
                (memory (core memory $code "memory")) (realloc (core func $code "realloc"))))
            (instance $handler
                (export "request" (type $request)) (export "response" (type $response))
                (export "handle" (func $handle)))
            (export "wasmhost:page/handler@0.1.0" (instance $handler)))"#
    )
}
