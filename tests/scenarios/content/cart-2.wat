;; A page that counts its requests, in six digits, and hands the count over. Its version is 2.
(component
    (core module $memory
        (memory (export "memory") 1)
        (global $next (mut i32) (i32.const 1024))
        ;; Each time the next piece, of any alignment, and from the start again when half of the memory is used.
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
            (local.set $at (global.get $next))
            (global.set $next (i32.and (i32.const -8)
                (i32.add (i32.const 7) (i32.add (global.get $next) (local.get 3)))))
            (if (i32.gt_u (global.get $next) (i32.const 32768))
                (then (global.set $next (i32.const 1024))))
            (local.get $at)))
    (core instance $memory (instantiate $memory))
    (core module $code
        (import "memory" "memory" (memory 1))
        (data (i32.const 64) "cart 2, count: 000000")
        (data (i32.const 96) "cart/1")
        ;; The count is the snapshot too: four bytes at 48.
        (func (export "handle") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (local $at i32) (local $left i32)
            (i32.store (i32.const 48) (i32.add (i32.load (i32.const 48)) (i32.const 1)))
            (local.set $left (i32.load (i32.const 48)))
            (local.set $at (i32.const 84))
            (loop $digits
                (i32.store8 (local.get $at)
                    (i32.add (i32.const 48) (i32.rem_u (local.get $left) (i32.const 10))))
                (local.set $left (i32.div_u (local.get $left) (i32.const 10)))
                (local.set $at (i32.sub (local.get $at) (i32.const 1)))
                (br_if $digits (i32.gt_u (local.get $at) (i32.const 78))))
            (i32.store16 (i32.const 16) (i32.const 200))
            (i32.store (i32.const 28) (i32.const 64))
            (i32.store (i32.const 32) (i32.const 21))
            (i32.const 16))
        (func (export "save") (result i32)
            (i32.store8 (i32.const 128) (i32.const 0))
            (i32.store (i32.const 132) (i32.const 96))
            (i32.store (i32.const 136) (i32.const 6))
            (i32.store (i32.const 140) (i32.const 48))
            (i32.store (i32.const 144) (i32.const 4))
            (i32.const 128))
        (func (export "load") (param $schema i32) (param $name i32) (param $bytes i32) (param $count i32) (result i32)
            (i32.store (i32.const 48) (i32.load (local.get $bytes)))
            (i32.store8 (i32.const 160) (i32.const 0))
            (i32.const 160)))
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
    (export "wasmhost:page/handler@0.1.0" (instance $handler))
    (type $snapshot (record (field "schema" string) (field "bytes" (list u8))))
    (func $save (result (result $snapshot (error string))) (canon lift
        (core func $code "save") (memory (core memory $memory "memory"))))
    (func $load (param "snapshot" $snapshot) (result (result (error string))) (canon lift
        (core func $code "load") (memory (core memory $memory "memory"))
        (realloc (core func $memory "realloc"))))
    (instance $state
        (export "snapshot" (type $snapshot))
        (export "save" (func $save)) (export "load" (func $load)))
    (export "wasmhost:lifecycle/state@0.1.0" (instance $state)))
