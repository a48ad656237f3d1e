//! Modules and interfaces from the generators of the Bytecode Alliance, for what nobody writes by hand.

use std::collections::BTreeMap;

use arbtest::arbitrary::{self, Unstructured};
use wasmhost::artifact::Splitting;
use wasmparser::{ExternalKind, Parser, Payload, TypeRef};
use wit_component::{
    ComponentEncoder, DecodedWasm, StringEncoding, decode, dummy_module, embed_component_metadata,
};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

use super::{
    SPLITTINGS, answers,
    group::{Running, Workshop, group, refused},
    repeat, wat_binary,
};

/// The exact type of any module can be declared, and its data lands where it would have.
#[test]
fn any_module_can_be_taken_out() {
    let workshops = SPLITTINGS.map(Workshop::new);
    repeat(2500, |u| {
        let module = module(u)?;
        let files = BTreeMap::from([("page".to_owned(), page_around(&module))]);
        let spec = group(&files);
        let [apart, split, whole] = workshops.each_ref().map(|workshop| {
            let (artifact, _) = workshop
                .build(&spec)
                .unwrap_or_else(|diagnostics| refused(&diagnostics));
            // One whose data does not fit traps, and has to trap however it is linked.
            Running::try_start(&spec, artifact)
                .ok()
                .map(|running| answers(&running, "shop.page"))
        });
        assert_eq!(apart, whole);
        assert_eq!(split, whole);
        Ok(())
    });
}

/// A module without imports that the engine takes.
fn module(u: &mut Unstructured<'_>) -> arbitrary::Result<Vec<u8>> {
    let config = wasm_smith::Config {
        min_memories: 1,
        max_memories: u.int_in_range(1..=2)?,
        max_memory32_bytes: 4 << 20,
        max_memory64_bytes: 4 << 20,
        memory_offset_choices: wasm_smith::MemoryOffsetChoices(90, 9, 1),
        min_data_segments: 1,
        max_data_segments: 4,
        max_imports: 0,
        max_funcs: 10,
        max_table_elements: 1000,
        export_everything: u.ratio(3, 4)?,
        exceptions_enabled: false,
        gc_enabled: false,
        reference_types_enabled: false,
        threads_enabled: false,
        memory64_enabled: true,
        // A start function that never ends would be interrupted, but not soon.
        allow_start_export: false,
        ..Default::default()
    };
    Ok(wasm_smith::Module::new(config, u)?.to_bytes())
}

/// A page that answers with a sum over the first memory that the module exports.
fn page_around(module: &[u8]) -> Vec<u8> {
    let (import, read) = match memory(module) {
        Some((name, ty)) => {
            let name: String = name.bytes().map(|byte| format!("\\{byte:02x}")).collect();
            let (index, end) = if ty.memory64 {
                ("i64", "")
            } else {
                ("i32", "(i64.extend_i32_u")
            };
            let pages = ty
                .maximum
                .map_or_else(|| ty.initial.to_string(), |most| format!("{} {most}", ty.initial));
            let close = if end.is_empty() { "" } else { ")" };
            let address = if ty.memory64 {
                "(local.get $at)"
            } else {
                "(i32.wrap_i64 (local.get $at))"
            };
            (
                format!(r#"(import "smith" "{name}" (memory $smith {index} {pages}))"#),
                format!(
                    "(local.set $end (i64.mul (i64.const 65536) {end} (memory.size $smith){close}))
                    (block $done (loop $next
                        (br_if $done (i64.ge_u (local.get $at) (local.get $end)))
                        (local.set $sum (i64.add (i64.load $smith {address})
                            (i64.mul (local.get $sum) (i64.const 0x100000001b3))))
                        (local.set $at (i64.add (local.get $at) (i64.const 8)))
                        (br $next)))"
                ),
            )
        }
        None => Default::default(),
    };
    let text = format!(
        r#"(component
            (core module $smith)
            (core instance $smith (instantiate $smith))
            (core module $page
                {import}
                (memory $own (export "memory") 2)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
                (func (export "b0") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                    (local $at i64) (local $end i64) (local $sum i64)
                    {read}
                    (i64.store $own (i32.const 64) (local.get $sum))
                    (i32.store16 $own (i32.const 16) (i32.const 200))
                    (i32.store $own (i32.const 28) (i32.const 64))
                    (i32.store $own (i32.const 32) (i32.const 8))
                    (i32.const 16)))
            (core instance $code (instantiate $page (with "smith" (instance $smith))))
            {})"#,
        super::wat::handler("$code")
    );
    in_place_of_the_first(&wat_binary(&text), module)
}

/// The component with another first module: text cannot contain a binary.
fn in_place_of_the_first(component: &[u8], module: &[u8]) -> Vec<u8> {
    let mut payloads = Parser::new(0).parse_all(component).map(Result::unwrap);
    let end = payloads.find_map(|payload| match payload {
        Payload::ModuleSection { unchecked_range, .. } => Some(unchecked_range.end),
        _ => None,
    });
    let mut replaced = wasm_encoder::Component::new();
    replaced.section(&wasm_encoder::RawSection { id: 1, data: module });
    let mut replaced = replaced.finish();
    replaced.extend(&component[end.unwrap()..]);
    replaced
}

fn memory(module: &[u8]) -> Option<(String, wasmparser::MemoryType)> {
    let (mut memories, mut exported) = (Vec::new(), None);
    for payload in Parser::new(0).parse_all(module) {
        match payload.unwrap() {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    if let TypeRef::Memory(memory) = import.unwrap().ty {
                        memories.push(memory);
                    }
                }
            }
            Payload::MemorySection(section) => memories.extend(section.into_iter().map(Result::unwrap)),
            Payload::ExportSection(section) => {
                let mut exports = section.into_iter().map(Result::unwrap);
                exported = exports.find(|export| export.kind == ExternalKind::Memory);
            }
            _ => {}
        }
    }
    let exported = exported?;
    Some((exported.name.to_owned(), memories[exported.index as usize]))
}

/// Whatever types interfaces have, an exporter of each and one that imports all fit together.
#[test]
fn any_interface_can_be_linked() {
    let workshops = [Splitting::Apart, Splitting::Whole].map(Workshop::new);
    repeat(3000, |u| {
        let files = one_component_for_each_interface(u)?;
        let spec = group(&files);
        for workshop in &workshops {
            let (artifact, _) = workshop
                .build(&spec)
                .unwrap_or_else(|diagnostics| refused(&diagnostics));
            Running::try_start(&spec, artifact).unwrap_or_else(|diagnostic| panic!("{diagnostic}"));
        }
        Ok(())
    });
}

fn one_component_for_each_interface(
    u: &mut Unstructured<'_>,
) -> arbitrary::Result<BTreeMap<String, Vec<u8>>> {
    let config = wit_smith::Config {
        max_packages: 2,
        max_files_per_package: 2,
        max_pkg_items: 4,
        max_type_size: 40,
        ..Default::default()
    };
    let document = wit_smith::smith(&config, u)?;
    let Ok(DecodedWasm::WitPackage(mut resolve, _)) = decode(&document) else {
        panic!("a WIT document is one");
    };
    without_external_ids(&mut resolve);
    let names: Vec<String> = resolve
        .interfaces
        .iter()
        .filter_map(|(id, _)| resolve.id_of(id))
        .collect();
    let mut files = BTreeMap::new();
    for (number, name) in names.iter().enumerate() {
        files.insert(
            format!("library{number}"),
            dummy(&resolve, &format!("export {name};")),
        );
    }
    let all: String = names.iter().map(|name| format!("import {name}; ")).collect();
    files.insert("importer".into(), dummy(&resolve, &all));
    Ok(files)
}

/// They are of a proposal that the engine does not know yet.
fn without_external_ids(resolve: &mut Resolve) {
    resolve.types.iter_mut().for_each(|(_, ty)| ty.external_id = None);
    let interfaces = resolve.interfaces.iter_mut();
    let functions = interfaces.flat_map(|(_, interface)| interface.functions.values_mut());
    functions.for_each(|function| function.external_id = None);
}

/// A component of a world with this body, whose functions trap.
fn dummy(resolve: &Resolve, world: &str) -> Vec<u8> {
    let mut resolve = resolve.clone();
    let package = resolve
        .push_str("it.wit", &format!("package gen:it; world it {{ {world} }}"))
        .unwrap();
    let world = resolve.select_world(&[package], Some("it")).unwrap();
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default()
        .module(&module)
        .unwrap()
        .encode()
        .unwrap()
}
