//! Generated components as text.

use std::fmt::Write;

use super::{
    abi::{Flat, Image, Scope, Value},
    generate::{Call, Component, Data, Group, Interface, Kind, Shape},
};

/// Where the data begins, with the component's state. What it is given is put behind the first page.
const DATA_BASE: u32 = 1024;

const HANDLER: &str = "wasmhost:page/handler@0.1.0";

const HANDLER_TYPES: &str = r#"
    (type $field (tuple string (list u8)))
    (type $request (record
        (field "method" string) (field "authority" string) (field "path" string)
        (field "query" (option string)) (field "params" (list (tuple string string)))
        (field "headers" (list $field)) (field "body" (list u8))))
    (type $response (record
        (field "status" u16) (field "headers" (list $field)) (field "body" (list u8))))"#;

/// A host function that the core code calls.
struct Lowered {
    params: Vec<Flat>,
    result: Option<Flat>,
    /// What it is the lowering of: `canon lower …` without its options.
    canon: String,
    needs_memory: bool,
}

impl Lowered {
    fn signature(&self) -> String {
        let result = self
            .result
            .map_or_else(String::new, |flat| format!(" (result {})", flat.wat()));
        signature(&self.params) + &result
    }
}

fn signature(params: &[Flat]) -> String {
    let params = params.iter().map(|flat| format!(" {}", flat.wat()));
    format!("(param{})", params.collect::<String>())
}

struct Writer<'a> {
    group: &'a Group,
    component: &'a Component,
    image: Image,
    lowered: Vec<Lowered>,
    /// The core functions that are lifted.
    functions: String,
}

pub fn component(group: &Group, component: &Component) -> String {
    let mut writer = Writer {
        group,
        component,
        image: Image {
            base: DATA_BASE,
            bytes: component.seed.to_le_bytes().to_vec(),
        },
        lowered: Vec::new(),
        functions: String::new(),
    };
    let text = writer.text();
    if component.wrapped {
        writer.wrap(&text)
    } else {
        text
    }
}

impl Writer<'_> {
    fn interface(&self, index: usize) -> &Interface {
        &self.group.interfaces[index]
    }

    fn name(&self, (index, patch): (usize, u32)) -> String {
        format!("{}@0.1.{patch}", self.interface(index).name)
    }

    fn text(&mut self) -> String {
        let imports = self.imports();
        self.write_bodies();
        let core = match self.component.shape {
            Shape::Table(data) => self.core_with_table(data),
            Shape::Libc(data) => self.core_with_libc(data),
        };
        let exports = self.exports();
        format!("(component $self {imports} {core} {exports})")
    }

    /// The whole component inside of one that only passes imports and exports on.
    fn wrap(&self, inner: &str) -> String {
        let mut text = format!("(component {} ", self.imports());
        let with = self.component.imports.iter().enumerate();
        let with = with.map(|(n, import)| format!(" (with \"{}\" (instance $i{n}))", self.name(*import)));
        let _ = write!(
            text,
            "{inner} (instance $inner (instantiate $self{}))",
            with.collect::<String>()
        );
        let mut names: Vec<String> = self
            .component
            .exports
            .iter()
            .map(|export| self.name(*export))
            .collect();
        if names.is_empty() {
            names.push(HANDLER.into());
        }
        for (n, name) in names.iter().enumerate() {
            let _ = write!(
                text,
                " (alias export $inner \"{name}\" (instance $out{n})) (export \"{name}\" (instance $out{n}))"
            );
        }
        text + ")"
    }

    fn imports(&self) -> String {
        let imports = self.component.imports.iter().enumerate();
        imports.map(|(n, import)| self.import(n, *import)).collect()
    }

    /// With those functions alone that some body calls.
    fn import(&self, n: usize, import: (usize, u32)) -> String {
        let mut items = String::new();
        match &self.interface(import.0).kind {
            Kind::Functions {
                definitions,
                functions,
            } => {
                let scope = Scope(definitions);
                for (index, definition) in definitions.iter().enumerate() {
                    let _ = write!(
                        items,
                        " (type $d{index} {}) (export \"t{index}\" (type $t{index} (eq $d{index})))",
                        scope.definition_wat(definition, "t")
                    );
                }
                for (index, function) in functions
                    .iter()
                    .enumerate()
                    .filter(|(index, _)| self.calls(n, *index))
                {
                    let params = function.params.iter().enumerate();
                    let params = params.map(|(p, ty)| format!(" (param \"p{p}\" {})", scope.wat(ty, "t")));
                    let _ = write!(
                        items,
                        " (export \"f{index}\" (func{} (result {})))",
                        params.collect::<String>(),
                        scope.wat(&function.result(), "t")
                    );
                }
            }
            Kind::Resource => {
                items += r#"
                    (export "counter" (type $counter (sub resource)))
                    (export "[constructor]counter" (func (param "from" u32) (result (own $counter))))
                    (export "[method]counter.next" (func (param "self" (borrow $counter)) (result u32)))"#;
            }
        }
        format!(" (import \"{}\" (instance $i{n}{items}))", self.name(import))
    }

    fn calls(&self, import: usize, function: usize) -> bool {
        let mut calls = self.component.bodies.iter().flatten();
        calls.any(|call| matches!(call, Call::Function(i, f, _) if (*i, *f) == (import, function)))
    }

    fn lower(&mut self, lowered: Lowered) -> usize {
        let same = self.lowered.iter().position(|other| other.canon == lowered.canon);
        same.unwrap_or_else(|| {
            self.lowered.push(lowered);
            self.lowered.len() - 1
        })
    }

    /// The core function of each body, named `b0`, `b1`, …
    fn write_bodies(&mut self) {
        let component = self.component;
        if component.exports.is_empty() {
            let calls: String = component.bodies[0].iter().map(|call| self.call(call)).collect();
            // Status, no headers, and as the body the state.
            let at = self.image.allocate(20, 4);
            self.image.write(at, &200_u16.to_le_bytes());
            self.image.write(at + 12, &DATA_BASE.to_le_bytes());
            self.image.write(at + 16, &8_u32.to_le_bytes());
            self.write_body(0, &[Flat::I32; 15], &calls, "", at);
            return;
        }
        let mut body = 0;
        for (index, _) in &component.exports {
            let Kind::Functions {
                definitions,
                functions,
            } = &self.group.interfaces[*index].kind
            else {
                continue;
            };
            let scope = Scope(definitions);
            for function in functions {
                let mut text = format!("(call $mix (i64.const {body}))");
                let params = scope.params(&function.params);
                for (n, flat) in params.iter().enumerate() {
                    let bits = match flat {
                        Flat::I32 => format!("(i64.extend_i32_u (local.get {n}))"),
                        Flat::I64 => format!("(local.get {n})"),
                        Flat::F64 => format!("(i64.reinterpret_f64 (local.get {n}))"),
                    };
                    let _ = write!(text, "(call $mix {bits})");
                }
                for call in &component.bodies[body] {
                    text += &self.call(call);
                }
                let result = function.result();
                let (size, align) = scope.layout(&result);
                let at = self.image.allocate(size, align);
                let value = Value::Fields(vec![Value::Number(0), function.constant.1.clone()]);
                scope.store(&result, &value, at, &mut self.image);
                let finish = format!("(i64.store (i32.const {at}) (call $state))");
                self.write_body(body, &params, &text, &finish, at);
                body += 1;
            }
        }
    }

    /// All that was put into the heap meanwhile is mixed in: what was given, and what the calls returned.
    fn write_body(&mut self, number: usize, params: &[Flat], text: &str, finish: &str, result: u32) {
        let salt = self.component.salt;
        let _ = write!(
            self.functions,
            r#"(func (export "b{number}") {} (result i32)
                (call $ensure) (call $mix (i64.const {salt})) (call $mix (global.get $seed))
                (global.set $seed (i64.add (global.get $seed) (i64.const 1)))
                {text}
                (call $mix_heap)
                (call $reset)
                {finish}
                (i32.const {result}))"#,
            signature(params)
        );
    }

    fn call(&mut self, call: &Call) -> String {
        match call {
            Call::Function(import, function, values) => {
                let index = self.component.imports[*import].0;
                let Kind::Functions {
                    definitions,
                    functions,
                } = &self.group.interfaces[index].kind
                else {
                    panic!("a function of a resource");
                };
                let scope = Scope(definitions);
                let called = &functions[*function];
                let mut params = scope.params(&called.params);
                params.push(Flat::I32);
                let number = self.lower(Lowered {
                    params,
                    result: None,
                    canon: format!("(func $i{import} \"f{function}\")"),
                    needs_memory: true,
                });
                let arguments = scope.arguments(&called.params, values, &mut self.image);
                let arguments = arguments.into_iter().map(|(flat, bits)| flat.constant(bits));
                let (size, align) = scope.layout(&called.result());
                let at = self.image.allocate(size, align);
                format!(
                    "(call $l{number} {} (i32.const {at})) (call $mix_range (i32.const {at}) (i32.const {size}))",
                    arguments.collect::<String>()
                )
            }
            Call::Resource(import) => {
                let mut lower = |params: &[Flat], result, canon: String| {
                    self.lower(Lowered {
                        params: params.to_vec(),
                        result,
                        canon,
                        needs_memory: false,
                    })
                };
                let i32s = &[Flat::I32];
                let make = lower(
                    i32s,
                    Some(Flat::I32),
                    format!("(func $i{import} \"[constructor]counter\")"),
                );
                let next = lower(
                    i32s,
                    Some(Flat::I32),
                    format!("(func $i{import} \"[method]counter.next\")"),
                );
                let drop = lower(i32s, None, format!("$i{import}"));
                format!(
                    "(global.set $handle (call $l{make} (i32.const 7)))
                     (call $mix (i64.extend_i32_u (call $l{next} (global.get $handle))))
                     (call $mix (i64.extend_i32_u (call $l{next} (global.get $handle))))
                     (call $l{drop} (global.get $handle))"
                )
            }
        }
    }

    fn lowerings(&self, memory: &str) -> String {
        let mut text = String::new();
        for (n, lowered) in self.lowered.iter().enumerate() {
            let canon = &lowered.canon;
            let _ = if let Some(import) = canon.strip_prefix('$') {
                write!(
                    text,
                    " (alias export ${import} \"counter\" (type $r{import}))
                      (core func $l{n} (canon resource.drop $r{import}))"
                )
            } else if lowered.needs_memory {
                write!(
                    text,
                    " (core func $l{n} (canon lower {canon} {}))",
                    options(memory)
                )
            } else {
                write!(text, " (core func $l{n} (canon lower {canon}))")
            };
        }
        text
    }

    /// The core instance `$code` that exports the bodies, and `$memory` that exports memory and realloc.
    fn core_with_table(&self, data: Data) -> String {
        let module = self.code(data, r#"(memory (export "memory") 4)"#, HEAP_FUNCTIONS, true);
        let instantiate = if self.lowered.is_empty() {
            "(instantiate $code)"
        } else {
            r#"(instantiate $code (with "imports" (instance $shim)))"#
        };
        let spare = match data {
            Data::Twice => format!("(core instance $spare {instantiate})"),
            Data::Aliased => "(component $inside (alias outer $self $code (core module $again)))
                 (instance $inside (instantiate $inside))"
                .into(),
            _ => String::new(),
        };
        let (shim, fixup) = self.shim();
        let lowerings = self.lowerings("$code");
        format!("{shim} {module} {spare} (core instance $code {instantiate}) {lowerings} {fixup}")
    }

    /// A module with a table, through which it calls, and one that fills the table.
    fn shim(&self) -> (String, String) {
        let count = self.lowered.len();
        if count == 0 {
            return Default::default();
        }
        let (mut stubs, mut imports, mut args) = (String::new(), String::new(), String::new());
        for (n, lowered) in self.lowered.iter().enumerate() {
            let signature = lowered.signature();
            let gets: String = (0..lowered.params.len())
                .map(|n| format!("(local.get {n})"))
                .collect();
            let _ = write!(
                stubs,
                r#"(type $t{n} (func {signature}))
                   (func (export "l{n}") (type $t{n}) (call_indirect (type $t{n}) {gets} (i32.const {n})))"#
            );
            let _ = write!(imports, r#"(import "" "l{n}" (func $l{n} {signature}))"#);
            let _ = write!(args, r#"(export "l{n}" (func $l{n}))"#);
        }
        let elements: String = (0..count).map(|n| format!(" $l{n}")).collect();
        let shim = format!(
            r#"(core module $shim {stubs} (table (export "table") {count} {count} funcref))
               (core instance $shim (instantiate $shim))"#
        );
        let fixup = format!(
            r#"(core module $fixup {imports} (import "" "table" (table {count} {count} funcref))
                   (elem (i32.const 0) func{elements}))
               (core instance (instantiate $fixup (with ""
                   (instance {args} (export "table" (table $shim "table"))))))"#
        );
        (shim, fixup)
    }

    fn core_with_libc(&self, data: Data) -> String {
        let in_code = matches!(data, Data::Imported | Data::ImportedAndExported | Data::Passive);
        let active = if in_code { String::new() } else { self.active() };
        let libc = format!(
            r#"(core module $libc (memory (export "memory") 4)
                {HEAP_FUNCTIONS} {active})"#
        );
        let again = if data == Data::ImportedAndExported {
            r#"(export "memory" (memory 0))"#
        } else {
            ""
        };
        let module = self.code(
            data,
            &format!(
                r#"(import "libc" "memory" (memory 4)) (import "libc" "used" (func $used (result i32)))
                   (import "libc" "reset" (func $reset)) {again}"#
            ),
            "",
            in_code,
        );
        let spare = match data {
            Data::Twice => "(core instance $spare (instantiate $libc))",
            Data::Aliased => {
                "(component $inside (alias outer $self $libc (core module $again))
                    (core instance (instantiate $again)))
                 (instance $inside (instantiate $inside))"
            }
            _ => "",
        };
        let lowerings = self.lowerings("$libc");
        let args = (0..self.lowered.len()).map(|n| format!(r#"(export "l{n}" (func $l{n}))"#));
        let args = args.collect::<String>();
        format!(
            r#"{libc} {module} {spare} (core instance $libc (instantiate $libc)) {lowerings}
               (core instance $imports {args})
               (core instance $code (instantiate $code
                   (with "libc" (instance $libc)) (with "imports" (instance $imports))))"#
        )
    }

    fn memory(&self) -> &'static str {
        match self.component.shape {
            Shape::Table(_) => "$code",
            Shape::Libc(_) => "$libc",
        }
    }

    fn active(&self) -> String {
        format!("(data (i32.const {DATA_BASE}) {})", bytes(&self.image.bytes))
    }

    /// The module with the bodies. `first` are imports and the memory, `has_data` whether data is its.
    fn code(&self, data: Data, first: &str, more: &str, has_data: bool) -> String {
        let imports = self.lowered.iter().enumerate();
        let imports = imports.map(|(n, lowered)| {
            format!(
                r#"(import "imports" "l{n}" (func $l{n} {}))"#,
                lowered.signature()
            )
        });
        let imports = imports.collect::<String>();
        let active = if has_data && data != Data::Passive {
            self.active()
        } else {
            String::new()
        };
        let peculiar = match data {
            Data::Passive => format!(
                r#"(data $image {}) (global $ready (mut i32) (i32.const 0))
                   (func $ensure (if (i32.eqz (global.get $ready)) (then
                       (memory.init $image (i32.const {DATA_BASE}) (i32.const 0) (i32.const {}))
                       (data.drop $image) (global.set $ready (i32.const 1)))))"#,
                bytes(&self.image.bytes),
                self.image.bytes.len()
            ),
            Data::Started => "(func $ensure) (start $started)
                (func $started (call $mix (i64.const 99)) (call $mix_range (i32.const 1024) (i32.const 16)))"
                .into(),
            Data::TwoMemories => r#"(memory $second 1) (data (memory $second) (i32.const 8) "secondly")
                (func $ensure (call $mix (i64.load $second (i32.const 8))))"#
                .into(),
            _ => "(func $ensure)".into(),
        };
        let seed = if self.component.shape.has_globals_apart() {
            self.component.seed
        } else {
            0
        };
        format!(
            r#"(core module $code {imports} {first}
                (global $handle (mut i32) (i32.const 0)) (global $seed (mut i64) (i64.const {seed}))
                {more} {MIX} {peculiar} {active} {})"#,
            self.functions
        )
    }

    fn exports(&self) -> String {
        let memory = self.memory();
        if self.component.exports.is_empty() {
            return handler(memory);
        }
        let (mut text, mut body) = (String::new(), 0);
        for (e, export) in self.component.exports.iter().enumerate() {
            let Kind::Functions {
                definitions,
                functions,
            } = &self.interface(export.0).kind
            else {
                text += &resource(e, self.component.seed as u32);
                let _ = write!(text, " (export \"{}\" (instance $x{e}))", self.name(*export));
                continue;
            };
            let (scope, prefix) = (Scope(definitions), format!("x{e}t"));
            let mut items = String::new();
            for (index, definition) in definitions.iter().enumerate() {
                let _ = write!(
                    text,
                    " (type ${prefix}{index} {})",
                    scope.definition_wat(definition, &prefix)
                );
                let _ = write!(items, " (export \"t{index}\" (type ${prefix}{index}))");
            }
            for (index, function) in functions.iter().enumerate() {
                let params = function.params.iter().enumerate();
                let params = params.map(|(p, ty)| format!(" (param \"p{p}\" {})", scope.wat(ty, &prefix)));
                let _ = write!(
                    text,
                    " (func $x{e}f{index}{} (result {}) (canon lift (core func $code \"b{body}\") {}))",
                    params.collect::<String>(),
                    scope.wat(&function.result(), &prefix),
                    options(memory)
                );
                let _ = write!(items, " (export \"f{index}\" (func $x{e}f{index}))");
                body += 1;
            }
            let _ = write!(
                text,
                " (instance $x{e}{items}) (export \"{}\" (instance $x{e}))",
                self.name(*export)
            );
        }
        text
    }
}

/// The page handler: `b0` of the core instance `$code`, with the memory of another.
pub fn handler(memory: &str) -> String {
    format!(
        r#"{HANDLER_TYPES}
        (func $handle (param "request" $request) (result $response)
            (canon lift (core func $code "b0") {}))
        (instance $handler (export "request" (type $request)) (export "response" (type $response))
            (export "handle" (func $handle)))
        (export "{HANDLER}" (instance $handler))"#,
        options(memory)
    )
}

fn options(instance: &str) -> String {
    format!(r#"(memory (core memory {instance} "memory")) (realloc (core func {instance} "realloc"))"#)
}

fn bytes(bytes: &[u8]) -> String {
    let escaped = bytes.iter().map(|byte| format!("\\{byte:02x}"));
    format!("\"{}\"", escaped.collect::<String>())
}

/// The instance `$x<e>` with a resource, which has a module of its own.
fn resource(e: usize, seed: u32) -> String {
    let seed = bytes(&seed.to_le_bytes());
    format!(
        r#"(type $r{e} (resource (rep i32)))
        (core func $new{e} (canon resource.new $r{e}))
        (core module $resource{e}
            (import "" "new" (func $new (param i32) (result i32)))
            (memory (export "memory") 1) (data (i32.const 0) {seed})
            (func (export "make") (param i32) (result i32)
                (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (local.get 0)))
                (call $new (i32.load (i32.const 0))))
            (func (export "next") (param i32) (result i32)
                (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
                (i32.add (local.get 0) (i32.load (i32.const 0)))))
        (core instance $resource{e} (instantiate $resource{e} (with "" (instance (export "new" (func $new{e}))))))
        (func $make{e} (param "from" u32) (result (own $r{e})) (canon lift (core func $resource{e} "make")))
        (func $next{e} (param "self" (borrow $r{e})) (result u32) (canon lift (core func $resource{e} "next")))
        (component $interface{e}
            (import "counter" (type $inner (sub resource)))
            (import "make" (func $make (param "from" u32) (result (own $inner))))
            (import "next" (func $next (param "self" (borrow $inner)) (result u32)))
            (export $outer "counter" (type $inner))
            (export "[constructor]counter" (func $make) (func (param "from" u32) (result (own $outer))))
            (export "[method]counter.next" (func $next) (func (param "self" (borrow $outer)) (result u32))))
        (instance $x{e} (instantiate $interface{e}
            (with "counter" (type $r{e})) (with "make" (func $make{e})) (with "next" (func $next{e}))))"#
    )
}

const HEAP_FUNCTIONS: &str = r#"
    (global $free (mut i32) (i32.const 65536))
    (func $used (export "used") (result i32) (i32.sub (global.get $free) (i32.const 65536)))
    (func $reset (export "reset") (global.set $free (i32.const 65536)))
    (func (export "realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32) (result i32)
        (local $at i32)
        (local.set $at (i32.and
            (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
            (i32.sub (i32.const 0) (local.get $align))))
        (global.set $free (i32.add (local.get $at) (local.get $new)))
        (memory.copy (local.get $at) (local.get $old) (local.get $size))
        (local.get $at))"#;

/// The state is the first word of the data: every byte and number that is mixed in changes it for good.
const MIX: &str = r#"
    (func $state (result i64) (i64.load (i32.const 1024)))
    (func $mix (param $x i64)
        (i64.store (i32.const 1024)
            (i64.mul (i64.xor (call $state) (local.get $x)) (i64.const 0x100000001b3))))
    (func $mix_range (param $at i32) (param $length i32)
        (block $end (loop $next
            (br_if $end (i32.eqz (local.get $length)))
            (call $mix (i64.extend_i32_u (i32.load8_u (local.get $at))))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (local.set $length (i32.sub (local.get $length) (i32.const 1)))
            (br $next))))
    (func $mix_heap (call $mix_range (i32.const 65536) (call $used)))"#;
