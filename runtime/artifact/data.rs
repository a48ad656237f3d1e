//! Takes a core module's data apart from its code, where that changes nothing: the code is then the
//! same from edit to edit of whatever lives in the data (a script and its engine, a text and its page)
//! and compiled once. Pure bytes in, bytes out.
//!
//! The data becomes a module of its own that imports the memory and is instantiated right after the
//! code, before anything runs. That is the same only if the memory is exported, every segment is
//! active at a fixed place, nothing starts by itself, and no code asks for a segment later.
//!
//! How large a memory is to begin with follows from the data too: a script of one page more would be
//! another engine. So where the memory is the code's own, the code asks for no more than others in the
//! component need to import it, and the data grows it to its size before it fills it.

use std::{borrow::Cow, ops::Range};

use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataCountSection, DataSection, Encode, EntityType, Function,
    FunctionSection, ImportSection, Instruction, MemoryType, Module, ModuleType, RawSection, SectionId,
    StartSection, TypeSection,
};
use wasmparser::{
    BinaryReader, BinaryReaderError, CodeSectionReader, ExternalKind, KnownCustom, Operator, Parser, Payload,
    TypeRef,
};

use super::segments::{self, Place, Segment};
use crate::project::Digest;

/// What the data module imports the memory from.
pub const MEMORY_OWNER: &str = "code";

/// A module whose data can be taken out, and where everything lies in its bytes.
pub struct Separable {
    /// All sections but the data's, as id and content.
    code: Vec<(u8, Range<usize>)>,
    /// The content of the data section.
    data: Range<usize>,
    /// As the code has it once it is on its own.
    memory: MemoryType,
    /// The name under which the code exports the memory.
    memory_name: String,
    /// The memory is the module's own, so it is all zero before the data comes.
    owns_memory: bool,
    /// Pages that the data adds to the memory before it fills it.
    grows: u64,
    places: Vec<Place>,
}

/// The most pages that a core module of `component` needs of a memory that it imports.
pub fn pages_imported(component: &[u8]) -> Result<u64, BinaryReaderError> {
    let mut pages = 0;
    for payload in Parser::new(0).parse_all(component) {
        if let Payload::ImportSection(section) = payload? {
            for import in section.into_imports() {
                if let TypeRef::Memory(memory) = import?.ty {
                    pages = pages.max(memory.initial);
                }
            }
        }
    }
    Ok(pages)
}

impl Separable {
    /// `None` where the data has to stay with the code. `pages` is what others need of the memory.
    /// `known` says of a digest of code that it was found fit before, which spares reading it again.
    pub fn find(
        module: &[u8],
        pages: u64,
        known: &dyn Fn(Digest) -> bool,
    ) -> Result<Option<Self>, BinaryReaderError> {
        let Some((mut found, code_section)) = Survey::of(module)?.separable(pages) else {
            return Ok(None);
        };
        let fit = match code_section {
            Some(section) => known(found.code_digest(module)) || !uses_segments(module, section)?,
            None => true,
        };
        let Some(places) = segments::places(&module[found.data.clone()], found.data.start)? else {
            return Ok(None);
        };
        found.places = places;
        Ok(fit.then_some(found))
    }

    /// Identifies the code by what is in it.
    pub fn code_digest(&self, module: &[u8]) -> Digest {
        let sections: Vec<_> = self.code_sections(module).collect();
        Digest::of_parts(
            sections
                .iter()
                .flat_map(|(id, content)| [std::slice::from_ref(id), content]),
        )
    }

    /// Identifies the data by its bytes and the memory it goes into.
    pub fn data_digest(&self, module: &[u8]) -> Digest {
        let memory = format!("{:?} {} {}", self.memory, self.memory_name, self.grows);
        Digest::of_parts([b"data", memory.as_bytes(), &module[self.data.clone()]])
    }

    /// The module without its data.
    pub fn code(&self, module: &[u8]) -> Vec<u8> {
        let mut code = Module::new();
        for (id, content) in self.code_sections(module) {
            code.section(&RawSection { id, data: &content });
        }
        code.finish()
    }

    /// The memory of the code once it is on its own.
    pub fn memory(&self) -> MemoryType {
        self.memory
    }

    fn code_sections<'a>(&'a self, module: &'a [u8]) -> impl Iterator<Item = (u8, Cow<'a, [u8]>)> {
        self.code.iter().map(|(id, range)| {
            if self.grows > 0 && *id == u8::from(SectionId::Memory) {
                let mut one_memory = vec![1];
                self.memory.encode(&mut one_memory);
                return (*id, Cow::Owned(one_memory));
            }
            (*id, Cow::Borrowed(&module[range.clone()]))
        })
    }

    /// The data as a module of its own.
    pub fn data(&self, module: &[u8]) -> Vec<u8> {
        let segments = self.places.iter().map(|place| Segment {
            address: place.address,
            bytes: Cow::Borrowed(&module[place.bytes.clone()]),
        });
        let segments: Vec<_> = segments.collect();
        if !self.owns_memory {
            return self.copying(&segments);
        }
        // Joining fills gaps with zeros, which only a fresh memory is full of.
        let segments = segments::join(segments);
        match self.grows {
            0 => self.copying(&segments),
            _ => self.growing(&segments),
        }
    }

    fn copying(&self, segments: &[Segment<'_>]) -> Vec<u8> {
        let mut data = DataSection::new();
        for Segment { address, bytes } in segments {
            let address = match self.memory.memory64 {
                true => ConstExpr::i64_const(*address as i64),
                false => ConstExpr::i32_const(*address as i32),
            };
            data.active(0, &address, bytes.iter().copied());
        }
        let mut module = Module::new();
        module.section(&self.imports()).section(&data);
        module.finish()
    }

    /// A module that makes room before it copies: in WebAssembly that takes a function that runs at start.
    fn growing(&self, segments: &[Segment<'_>]) -> Vec<u8> {
        let mut types = TypeSection::new();
        types.ty().function([], []);
        let mut functions = FunctionSection::new();
        functions.function(0);
        let mut code = CodeSection::new();
        code.function(&self.grow_and_fill(segments));
        let mut data = DataSection::new();
        for segment in segments {
            data.passive(segment.bytes.iter().copied());
        }
        let mut module = Module::new();
        module
            .section(&types)
            .section(&self.imports())
            .section(&functions)
            .section(&StartSection { function_index: 0 })
            .section(&DataCountSection {
                count: segments.len() as u32,
            })
            .section(&code)
            .section(&data);
        module.finish()
    }

    /// Grows the memory, or traps, and copies each segment to its place.
    fn grow_and_fill(&self, segments: &[Segment<'_>]) -> Function {
        let address = |value: u64| match self.memory.memory64 {
            true => Instruction::I64Const(value as i64),
            false => Instruction::I32Const(value as i32),
        };
        let mut function = Function::new([]);
        function.instruction(&address(self.grows));
        function.instruction(&Instruction::MemoryGrow(0));
        function.instruction(&address(u64::MAX));
        function.instruction(&match self.memory.memory64 {
            true => Instruction::I64Eq,
            false => Instruction::I32Eq,
        });
        function.instructions().if_(BlockType::Empty).unreachable().end();
        for (index, segment) in (0..).zip(segments) {
            function.instruction(&address(segment.address));
            let mut body = function.instructions();
            body.i32_const(0).i32_const(segment.bytes.len() as i32);
            body.memory_init(0, index).data_drop(index);
        }
        function.instructions().end();
        function
    }

    fn imports(&self) -> ImportSection {
        let mut imports = ImportSection::new();
        imports.import(MEMORY_OWNER, &self.memory_name, self.memory);
        imports
    }

    /// The type of the data's module.
    pub fn data_type(&self) -> ModuleType {
        let mut module = ModuleType::new();
        module.import(MEMORY_OWNER, &self.memory_name, EntityType::Memory(self.memory));
        module
    }
}

/// What a module consists of, as far as it matters here.
#[derive(Default)]
struct Survey {
    code: Vec<(u8, Range<usize>)>,
    data: Option<Range<usize>>,
    code_section: Option<Range<usize>>,
    counts_data: bool,
    starts: bool,
    memories: Vec<MemoryType>,
    owns_memory: bool,
    memory_name: Option<String>,
}

impl Survey {
    fn of(module: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut survey = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            survey.see(&payload?)?;
        }
        Ok(survey)
    }

    fn see(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::DataSection(section) => self.data = Some(section.range()),
            Payload::DataCountSection { .. } => self.counts_data = true,
            Payload::CustomSection(section) if !matches!(section.as_known(), KnownCustom::Name(_)) => {}
            other => {
                self.code.extend(other.as_section());
                self.note(other)?;
            }
        }
        Ok(())
    }

    fn note(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::StartSection { .. } => self.starts = true,
            Payload::CodeSectionStart { range, .. } => self.code_section = Some(range.clone()),
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    if let TypeRef::Memory(memory) = import?.ty {
                        self.memories.push(memory.into());
                    }
                }
            }
            Payload::MemorySection(section) => {
                for memory in section.clone() {
                    self.memories.push(memory?.into());
                    self.owns_memory = true;
                }
            }
            Payload::ExportSection(section) => {
                for export in section.clone() {
                    let export = export?;
                    if export.kind == ExternalKind::Memory {
                        self.memory_name.get_or_insert_with(|| export.name.to_owned());
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The parts, and the code section where it still has to be searched.
    fn separable(self, pages: u64) -> Option<(Separable, Option<Range<usize>>)> {
        let (Some(data), Some(memory_name), [memory]) =
            (self.data, self.memory_name, self.memories.as_slice())
        else {
            return None;
        };
        if self.starts || memory.shared {
            return None;
        }
        // Without a data count, validation itself forbids code to name a segment.
        let search = self.code_section.filter(|_| self.counts_data);
        let (memory, grows) = match self.owns_memory {
            true => on_its_own(*memory, pages),
            false => (*memory, 0),
        };
        Some((
            Separable {
                code: self.code,
                data,
                memory,
                memory_name,
                owns_memory: self.owns_memory,
                grows,
                places: Vec::new(),
            },
            search,
        ))
    }
}

/// A code's memory without what only its data needs, and the pages that it then lacks. Others import at
/// most `pages` of it.
fn on_its_own(memory: MemoryType, pages: u64) -> (MemoryType, u64) {
    let minimum = memory.minimum.min(pages);
    (MemoryType { minimum, ..memory }, memory.minimum - minimum)
}

/// True where some function asks for a data segment when it runs.
fn uses_segments(module: &[u8], section: Range<usize>) -> Result<bool, BinaryReaderError> {
    let reader = BinaryReader::new(&module[section.clone()], section.start);
    for body in CodeSectionReader::new(reader)? {
        for operator in body?.get_operators_reader()? {
            match operator? {
                Operator::MemoryInit { .. }
                | Operator::DataDrop { .. }
                | Operator::ArrayNewData { .. }
                | Operator::ArrayInitData { .. } => return Ok(true),
                _ => {}
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use wasmparser::{Validator, WasmFeatures};

    use super::*;

    fn find(module: &[u8]) -> Option<Separable> {
        Separable::find(module, 0, &|_| false).unwrap()
    }

    fn binary(module: &str) -> Vec<u8> {
        wat::parse_str(module).unwrap()
    }

    fn sections(module: &[u8]) -> Vec<u8> {
        let payloads = Parser::new(0).parse_all(module);
        payloads
            .filter_map(|payload| Some(payload.unwrap().as_section()?.0))
            .collect()
    }

    /// The module comes apart into two that are valid, the code without data and data count.
    fn apart(module: &str) {
        let text = module;
        let module = binary(module);
        let separable = find(&module).unwrap_or_else(|| panic!("stays in one: {text}"));
        let (code, data) = (separable.code(&module), separable.data(&module));
        for half in [&code, &data] {
            let validated = Validator::new_with_features(WasmFeatures::all()).validate_all(half);
            validated.unwrap_or_else(|error| panic!("{error}: {text}"));
        }
        let code = sections(&code);
        for only_of_data in [SectionId::DataCount, SectionId::Data].map(u8::from) {
            assert!(!code.contains(&only_of_data), "{code:?}: {text}");
        }
        let data = sections(&data);
        for not_of_data in [SectionId::Export, SectionId::Memory, SectionId::Global].map(u8::from) {
            assert!(!data.contains(&not_of_data), "{data:?}: {text}");
        }
    }

    fn in_one(module: &str) {
        assert!(find(&binary(module)).is_none(), "comes apart: {module}");
    }

    #[test]
    fn data_that_is_copied_to_a_fixed_place_comes_apart() {
        apart(r#"(module (memory (export "memory") 1) (data (i32.const 8) "a") (data (i32.const 9) "b"))"#);
        apart(r#"(module (memory (export "m") i64 1) (data (i64.const 8) "a"))"#);
        // One that is imported, if it is exported too.
        apart(r#"(module (import "x" "m" (memory 1 2)) (export "m" (memory 0)) (data (i32.const 8) "a"))"#);
        apart(
            r#"(module (memory (export "a") (export "b") 1) (data (i32.const 8) "a")
                (func (export "f") (result i32) (i32.load (i32.const 8))))"#,
        );
        // Nothing to copy is nothing to copy.
        apart(r#"(module (memory (export "memory") 1) (data (i32.const 8) ""))"#);
    }

    #[test]
    fn a_data_count_goes_with_the_data() {
        let mut module = Module::new();
        let mut memories = wasm_encoder::MemorySection::new();
        let memory = MemoryType {
            minimum: 1,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        };
        memories.memory(memory);
        let mut exports = wasm_encoder::ExportSection::new();
        exports.export("memory", wasm_encoder::ExportKind::Memory, 0);
        let mut data = wasm_encoder::DataSection::new();
        data.active(0, &wasm_encoder::ConstExpr::i32_const(4), *b"text");
        module
            .section(&memories)
            .section(&exports)
            .section(&wasm_encoder::DataCountSection { count: 1 })
            .section(&data);
        let module = module.finish();
        assert!(sections(&module).contains(&SectionId::DataCount.into()));
        let separable = find(&module).unwrap();
        let code = separable.code(&module);
        assert_eq!(
            sections(&code),
            [SectionId::Memory, SectionId::Export].map(u8::from)
        );
        Validator::new().validate_all(&code).unwrap();
    }

    #[test]
    fn data_that_something_depends_on_stays() {
        let memory = r#"(memory (export "memory") 1)"#;
        let active = r#"(data $text (i32.const 8) "a")"#;
        // It may read the data before it would be there.
        in_one(&format!(
            "(module {memory} {active} (func $start) (start $start))"
        ));
        in_one(&format!(r#"(module {memory} {active} (data "passive"))"#));
        for operator in [
            "(memory.init $text (i32.const 0) (i32.const 0) (i32.const 0))",
            "(data.drop $text)",
        ] {
            in_one(&format!("(module {memory} {active} (func {operator}))"));
        }
        in_one(&format!(
            r#"(module {memory} {active} (type $bytes (array (mut i8)))
                (func (drop (array.new_data $bytes $text (i32.const 0) (i32.const 1)))))"#
        ));
        // Nobody outside could copy it there.
        in_one(&format!("(module (memory 1) {active})"));
        in_one(&format!("(module {memory} (memory 1) {active})"));
        in_one(&format!(
            r#"(module {memory} (memory 1) (data (memory 1) (i32.const 8) "a"))"#
        ));
        in_one(r#"(module (memory (export "m") 1 1 shared) (data (i32.const 8) "a"))"#);
        // Only the code knows the place.
        in_one(&format!(
            r#"(module (import "x" "base" (global $base i32)) {memory} (data (global.get $base) "a"))"#
        ));
        in_one(&format!(
            r#"(module {memory} (data (i32.add (i32.const 1) (i32.const 2)) "a"))"#
        ));
        in_one(&format!("(module {memory})"));
    }

    #[test]
    fn code_and_data_are_told_apart_by_their_digests() {
        let digests = |name: &str, memory: u32, code: u32, text: &str| {
            let module = binary(&format!(
                r#"(module (memory (export "{name}") {memory}) (data (i32.const 8) "{text}")
                    (func (export "f") (result i32) (i32.const {code})))"#
            ));
            let separable = find(&module).unwrap();
            (separable.code_digest(&module), separable.data_digest(&module))
        };
        let (code, data) = digests("m", 1, 1, "a");
        assert_eq!(digests("m", 1, 1, "a"), (code, data));
        let (same, other) = digests("m", 1, 1, "b");
        assert!(same == code && other != data, "only data changed");
        let (other, same) = digests("m", 1, 2, "a");
        assert!(other != code && same == data, "only code changed");
        // The same bytes, but they go elsewhere.
        assert_ne!(digests("n", 1, 1, "a").1, data);
        // The data makes room for itself, so the code is the same.
        let (same, other) = digests("m", 2, 1, "a");
        assert!(same == code && other != data, "only the memory changed");
    }

    /// The memory's minimum in the code, and the pages by which the data grows it.
    fn pages(module: &str, imported: u64) -> (u64, u64) {
        let separable = Separable::find(&binary(module), imported, &|_| false)
            .unwrap()
            .unwrap();
        (separable.memory.minimum, separable.grows)
    }

    #[test]
    fn the_data_grows_the_memory_to_its_size() {
        let own = r#"(module (memory (export "m") 5 9) (data (i32.const 8) "a"))"#;
        assert_eq!(pages(own, 0), (0, 5));
        assert_eq!(pages(own, 2), (2, 3), "as much as others import");
        assert_eq!(pages(own, 7), (5, 0), "they import another one");
        let wide = r#"(module (memory (export "m") i64 5) (data (i64.const 8) "a"))"#;
        assert_eq!(pages(wide, 0), (0, 5));
        let imported =
            r#"(module (import "x" "m" (memory 5)) (export "m" (memory 0)) (data (i32.const 8) "a"))"#;
        assert_eq!(pages(imported, 0), (5, 0));
    }

    #[test]
    fn debug_information_is_no_code() {
        let module = |custom: &str| {
            binary(&format!(
                r#"(module $named (memory (export "m") 1) (data (i32.const 8) "a") {custom})"#
            ))
        };
        let plain = module("");
        let debug = module(r#"(@custom "build-id" "1234")"#);
        let (a, b) = (find(&plain).unwrap(), find(&debug).unwrap());
        assert_eq!(a.code_digest(&plain), b.code_digest(&debug));
        assert_eq!(a.code(&plain), b.code(&debug));
    }
}
