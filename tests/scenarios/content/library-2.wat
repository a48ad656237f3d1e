;; What the page of version 2 is linked with. Its type is that version's alone: they fit no other.
(component
    (core module $code (func (export "which") (result i64) (i64.const 2)))
    (core instance $code (instantiate $code))
    (func $which (result u64) (canon lift (core func $code "which")))
    (instance $version (export "which" (func $which)))
    (export "site:shop/version@0.1.0" (instance $version)))
