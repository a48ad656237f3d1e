//! A site of component text, small and quick to compile, whose pages answer with their version.

use super::{Client, Tree};

/// A page that answers with one byte, its version, and whose text says it. Imports are for their types.
pub fn page(version: u64, imports: &str) -> String {
    assert!(version < 200, "one byte");
    format!(
        r#";; version {version}
        (component
            {imports}
            (core module $code
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
                ;; The request, flat, to a response at 16: its status, no headers, a body of one byte at 64.
                (func (export "handle")
                    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                    (i32.store8 (i32.const 64) (i32.const {version}))
                    (i32.store16 (i32.const 16) (i32.const 200))
                    (i32.store (i32.const 28) (i32.const 64))
                    (i32.store (i32.const 32) (i32.const 1))
                    (i32.const 16)))
            (core instance $code (instantiate $code))
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

/// A page that cannot be linked without [`LIBRARY`].
pub fn linked_page(version: u64) -> String {
    page(
        version,
        r#"(import "site:shop/counter@0.1.0" (instance (export "next" (func (result u32)))))"#,
    )
}

/// What a linked page imports, with another type where `next` is not `u32`.
pub fn library(next: &str) -> String {
    format!(
        r#"(component
            (core module $code (func (export "next") (result i32) (i32.const 1)))
            (core instance $code (instantiate $code))
            (func $next (result {next}) (canon lift (core func $code "next")))
            (instance $counter (export "next" (func $next)))
            (export "site:shop/counter@0.1.0" (instance $counter)))"#
    )
}

/// The group `shop` of a page at `/shop/page` and its library, and the group `api` of a page alone at
/// `/api/page`.
pub fn site(version: u64) -> Tree {
    let tree = Tree::empty();
    tree.put("shop/page.wat", linked_page(version));
    tree.put("shop/library.wat", library("u32"));
    tree.put("api/page.wat", page(version, ""));
    tree
}

/// The version that answers for a group.
pub fn version(client: &mut Client, group: &str) -> u64 {
    let reply = client.get(&format!("/{group}/page"));
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.body[0].into()
}

/// A page that traps in each store after so many requests.
pub fn trapping_page(version: u64, after: u32) -> String {
    let module = "(core module $code";
    let answer = "(i32.store8 (i32.const 64)";
    let left = format!("{module} (global $left (mut i32) (i32.const {after}))");
    let trap = "(if (i32.eqz (global.get $left)) (then unreachable)) \
                (global.set $left (i32.sub (global.get $left) (i32.const 1)))";
    page(version, "")
        .replacen(module, &left, 1)
        .replacen(answer, &format!("{trap} {answer}"), 1)
}
