;; A page with a session: open for an hour from the first request on, then over.
(component
    (import "wasi:clocks/wall-clock@0.2.0" (instance $clock
        (type $time (record (field "seconds" u64) (field "nanoseconds" u32)))
        (export "datetime" (type $datetime (eq $time)))
        (export "now" (func (result $datetime)))))
    (core module $memory
        (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
    (core instance $memory (instantiate $memory))
    (core func $now (canon lower (func $clock "now") (memory (core memory $memory "memory"))))
    (core module $code
        (import "memory" "memory" (memory 1))
        (import "clock" "now" (func $now (param i32)))
        (data (i32.const 64) "openover")
        (global $began (mut i64) (i64.const 0))
        (func (export "handle") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
            (call $now (i32.const 128))
            (if (i64.eqz (global.get $began))
                (then (global.set $began (i64.load (i32.const 128)))))
            (i32.store16 (i32.const 16) (i32.const 200))
            (i32.store (i32.const 28) (i32.add (i32.const 64) (i32.mul (i32.const 4)
                (i64.ge_u (i64.sub (i64.load (i32.const 128)) (global.get $began)) (i64.const 3600)))))
            (i32.store (i32.const 32) (i32.const 4))
            (i32.const 16)))
    (core instance $code (instantiate $code
        (with "memory" (instance $memory))
        (with "clock" (instance (export "now" (func $now))))))
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
