//! Pages of a given size, made from text: many functions, one of which, or all, or only the data of
//! which, can be changed.

use std::fmt::Write;

/// A page answers with `code`, `everywhere` and `data` as 12 bytes.
#[derive(Clone, Copy)]
pub struct Page {
    /// Tells pages of one group apart, so that no two share a module.
    pub name: u32,
    pub kib: u32,
    /// A constant of one function.
    pub code: u32,
    /// A constant of every function.
    pub everywhere: u32,
    pub data: u32,
}

impl Page {
    pub fn new(name: u32, kib: u32) -> Self {
        Self {
            name,
            kib,
            code: 1,
            everywhere: 1,
            data: 1,
        }
    }

    pub fn answer(&self) -> Vec<u8> {
        [self.code, self.everywhere, self.data]
            .map(u32::to_le_bytes)
            .concat()
    }

    pub fn component(&self) -> Vec<u8> {
        wat::parse_str(self.text()).unwrap()
    }

    /// The page with another function.
    pub fn next_component(&mut self) -> Vec<u8> {
        self.code += 1;
        self.component()
    }

    fn text(&self) -> String {
        let Self { code, everywhere, .. } = self;
        let data = format!("\\{:02x}\\{:02x}\\00\\00", self.data & 255, self.data >> 8);
        let functions = self.functions();
        format!(
            r#"(component
            (core module $code
                (memory (export "memory") 2)
                (global $free (mut i32) (i32.const 4096))
                (data (i32.const 128) "{data}")
                {functions}
                (func $changed (result i32) (i32.const {code}))
                (func $every (result i32) (i32.const {everywhere}))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                    (local $at i32)
                    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
                    (global.set $free (i32.add (local.get $at) (local.get 3)))
                    (local.get $at))
                (func (export "handle")
                    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                    (global.set $free (i32.const 4096))
                    (i32.store (i32.const 64) (call $changed))
                    (i32.store (i32.const 68) (call $every))
                    (i32.store (i32.const 72) (i32.load (i32.const 128)))
                    (i32.store16 (i32.const 16) (i32.const 200))
                    (i32.store (i32.const 28) (i32.const 64))
                    (i32.store (i32.const 32) (i32.const 12))
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

    /// Functions of three eighths of a KiB each that nobody calls: they are compiled all the same.
    fn functions(&self) -> String {
        let mut text = String::new();
        for function in 0..self.kib * 8 / 3 {
            let own = self.name * 10_000 + function + 1;
            write!(text, "(func (param i32) (result i32) (local.get 0)").unwrap();
            write!(text, "(i32.const {})(i32.add)", self.everywhere).unwrap();
            for step in 0..70_u32 {
                let operation = ["i32.add", "i32.xor", "i32.mul", "i32.rotl", "i32.sub"][step as usize % 5];
                write!(
                    text,
                    "(i32.const {})({operation})",
                    own.wrapping_mul(step * 2 + 7919)
                )
                .unwrap();
            }
            text += ")\n";
        }
        text
    }
}
