;; A page that says its own version, 2, and that of the library it is linked with.
(component
    (import "site:shop/version@0.1.0" (instance $version (export "which" (func (result u64)))))
    (core module $memory
        (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
    (core instance $memory (instantiate $memory))
    (core func $which (canon lower (func $version "which")))
    (core module $code
        (import "memory" "memory" (memory 1))
        (import "version" "which" (func $which (result i64)))
        (data (i32.const 64) "page 2, library 0")
        (func (export "handle") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
            (i32.store8 (i32.const 80) (i32.add (i32.const 48) (i32.wrap_i64 (call $which))))
            (i32.store16 (i32.const 16) (i32.const 200))
            (i32.store (i32.const 28) (i32.const 64))
            (i32.store (i32.const 32) (i32.const 17))
            (i32.const 16)))
    (core instance $code (instantiate $code
        (with "memory" (instance $memory))
        (with "version" (instance (export "which" (func $which))))))
    (type $field (tuple string (list u8)))
    (type $request (record
        (field "method" string) (field "authority" string) (field "path" string)
        (field "query" (option string)) (field "params" (list (tuple string string)))
        (field "headers" (list $field)) (field "body" (list u8))))
    (type $response (record
        (field "status" u16) (field "headers" (list $field)) (field "body" (list u8))))
    (func $handle (param "request" $request) (result $response) (canon lift
        (core func $code "handle") (memory (core memory $memory "memory"))
        (realloc (core func $memory "realloc"))))
    (instance $handler
        (export "request" (type $request)) (export "response" (type $response))
        (export "handle" (func $handle)))
    (export "wasmhost:page/handler@0.1.0" (instance $handler)))
