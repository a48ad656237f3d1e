;; A page that counts its requests, in six digits.
(component
    (core module $memory
        (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
    (core instance $memory (instantiate $memory))
    (core module $code
        (import "memory" "memory" (memory 1))
        (data (i32.const 64) "count: 000000")
        (global $count (mut i32) (i32.const 0))
        (func (export "handle") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (local $at i32) (local $left i32)
            (global.set $count (i32.add (global.get $count) (i32.const 1)))
            (local.set $left (global.get $count))
            (local.set $at (i32.const 76))
            (loop $digits
                (i32.store8 (local.get $at)
                    (i32.add (i32.const 48) (i32.rem_u (local.get $left) (i32.const 10))))
                (local.set $left (i32.div_u (local.get $left) (i32.const 10)))
                (local.set $at (i32.sub (local.get $at) (i32.const 1)))
                (br_if $digits (i32.gt_u (local.get $at) (i32.const 70))))
            (i32.store16 (i32.const 16) (i32.const 200))
            (i32.store (i32.const 28) (i32.const 64))
            (i32.store (i32.const 32) (i32.const 13))
            (i32.const 16)))
    (core instance $code (instantiate $code (with "memory" (instance $memory))))
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
