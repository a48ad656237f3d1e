//! Takes a core module's data apart from its code, where that changes nothing: the code is then the
//! same from edit to edit of whatever lives in the data (a script and its engine, a text and its page)
//! and compiled once. Pure bytes in, bytes out.
//!
//! The data becomes a module of its own that imports the memory and is instantiated right after the
//! code, before anything runs. That is the same only if the memory is exported, every segment is
//! active at a fixed place, nothing starts by itself, and no code asks for a segment later.

use std::ops::Range;

use wasm_encoder::{EntityType, ImportSection, MemoryType, Module, ModuleType, RawSection, SectionId};
use wasmparser::{
    BinaryReader, BinaryReaderError, CodeSectionReader, DataKind, DataSectionReader, ExternalKind,
    KnownCustom, Operator, Parser, Payload, TypeRef,
};

use crate::project::Digest;

/// What the data module imports the memory from.
pub const MEMORY_OWNER: &str = "code";

/// A module whose data can be taken out, and where everything lies in its bytes.
pub struct Separable {
    /// All sections but the data's, as id and content.
    code: Vec<(u8, Range<usize>)>,
    /// The content of the data section.
    data: Range<usize>,
    memory: MemoryType,
    /// The name under which the code exports the memory.
    memory_name: String,
}

impl Separable {
    /// `None` where the data has to stay with the code. `known` says of a digest of code that it was
    /// found fit before, which spares reading it again.
    pub fn find(module: &[u8], known: &dyn Fn(Digest) -> bool) -> Result<Option<Self>, BinaryReaderError> {
        let Some((found, code_section)) = Survey::of(module)?.separable() else {
            return Ok(None);
        };
        let fit = match code_section {
            Some(section) => known(found.code_digest(module)) || !uses_segments(module, section)?,
            None => true,
        };
        Ok((fit && plain_segments(&module[found.data.clone()], found.data.start)?).then_some(found))
    }

    /// Identifies the code by what is in it.
    pub fn code_digest(&self, module: &[u8]) -> Digest {
        Digest::of_parts(
            self.code
                .iter()
                .flat_map(|(id, range)| [std::slice::from_ref(id), &module[range.clone()]]),
        )
    }

    /// Identifies the data by its bytes and the memory it goes into.
    pub fn data_digest(&self, module: &[u8]) -> Digest {
        let memory = format!("{:?} {}", self.memory, self.memory_name);
        Digest::of_parts([b"data", memory.as_bytes(), &module[self.data.clone()]])
    }

    /// The module without its data.
    pub fn code(&self, module: &[u8]) -> Vec<u8> {
        let mut code = Module::new();
        for (id, range) in &self.code {
            code.section(&RawSection {
                id: *id,
                data: &module[range.clone()],
            });
        }
        code.finish()
    }

    /// The data as a module of its own.
    pub fn data(&self, module: &[u8]) -> Vec<u8> {
        let mut imports = ImportSection::new();
        imports.import(MEMORY_OWNER, &self.memory_name, self.memory);
        let mut data = Module::new();
        data.section(&imports);
        data.section(&RawSection {
            id: SectionId::Data.into(),
            data: &module[self.data.clone()],
        });
        data.finish()
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
    fn separable(self) -> Option<(Separable, Option<Range<usize>>)> {
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
        Some((
            Separable {
                code: self.code,
                data,
                memory: *memory,
                memory_name,
            },
            search,
        ))
    }
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

/// True where every segment is copied to a fixed place of the one memory.
fn plain_segments(section: &[u8], offset: usize) -> Result<bool, BinaryReaderError> {
    for segment in DataSectionReader::new(BinaryReader::new(section, offset))? {
        let DataKind::Active {
            memory_index: 0,
            offset_expr,
        } = segment?.kind
        else {
            return Ok(false);
        };
        let mut operators = offset_expr.get_operators_reader();
        let fixed = matches!(
            operators.read()?,
            Operator::I32Const { .. } | Operator::I64Const { .. }
        );
        if !fixed || !matches!(operators.read()?, Operator::End) {
            return Ok(false);
        }
    }
    Ok(true)
}
