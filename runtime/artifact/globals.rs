//! Takes the initial values of a small module's globals apart from its code. A snapshot of an engine
//! keeps the state of the adapters beside it in their globals, so they differ from edit to edit like its
//! data does. Pure bytes in, bytes out.
//!
//! All globals become imports, given by a module that has nothing but them and is instantiated first.
//! That is the same only where they are plain constants, and none was imported before. It costs a load
//! at each use, so it is done for small modules without a memory of their own, never for an engine.

use std::ops::Range;

use wasm_encoder::{
    EntityType, ExportKind, ExportSection, GlobalType, ImportSection, Module, ModuleType, RawSection,
    SectionId,
    reencode::{Reencode, RoundtripReencoder},
};
use wasmparser::{
    BinaryReader, BinaryReaderError, GlobalSectionReader, ImportSectionReader, KnownCustom, Operator, Parser,
    Payload, TypeRef,
};

use crate::project::Digest;

/// What the code imports its globals from.
pub const GLOBALS_OWNER: &str = "globals";

/// Functions of a module that counts as small.
const SMALL: u32 = 64;

/// A module whose globals can be taken out, and where everything lies in its bytes.
pub struct Globals {
    /// All sections but that of the globals, as id and content.
    code: Vec<(u8, Range<usize>)>,
    /// The content of the global section.
    values: Range<usize>,
    types: Vec<GlobalType>,
}

impl Globals {
    /// `None` where the globals have to stay with the code.
    pub fn find(module: &[u8]) -> Result<Option<Self>, BinaryReaderError> {
        let mut found = Self {
            code: Vec::new(),
            values: 0..0,
            types: Vec::new(),
        };
        let mut imports = false;
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::GlobalSection(section) => {
                    found.values = section.range();
                    let Some(types) = plain(section)? else {
                        return Ok(None);
                    };
                    found.types = types;
                    continue;
                }
                Payload::MemorySection(_) | Payload::DataSection(_) | Payload::StartSection { .. } => {
                    return Ok(None);
                }
                Payload::FunctionSection(section) if section.count() > SMALL => return Ok(None),
                Payload::ImportSection(section) => {
                    if imports_global(section.clone())? {
                        return Ok(None);
                    }
                    imports = true;
                    found.code.push((SectionId::Import.into(), section.range()));
                }
                Payload::CustomSection(section) if !matches!(section.as_known(), KnownCustom::Name(_)) => {}
                other => found.code.extend(other.as_section()),
            }
        }
        let useful = imports && found.types.iter().any(|ty| ty.mutable);
        Ok(useful.then_some(found))
    }

    /// Identifies the code by what is in it.
    pub fn code_digest(&self, module: &[u8]) -> Digest {
        let types = format!("{:?}", self.types);
        let sections = self
            .code
            .iter()
            .flat_map(|(id, range)| [std::slice::from_ref(id), &module[range.clone()]]);
        Digest::of_parts(sections.chain([&b"globals"[..], types.as_bytes()]))
    }

    /// Identifies the initial values.
    pub fn values_digest(&self, module: &[u8]) -> Digest {
        Digest::of_parts([b"globals", &module[self.values.clone()]])
    }

    /// The module with imports in the place of its globals. `None` where its imports cannot be read again.
    pub fn code(&self, module: &[u8]) -> Option<Vec<u8>> {
        let mut code = Module::new();
        for (id, range) in &self.code {
            let data = &module[range.clone()];
            if *id == u8::from(SectionId::Import) {
                let reader = ImportSectionReader::new(BinaryReader::new(data, range.start)).ok()?;
                let mut imports = ImportSection::new();
                RoundtripReencoder
                    .parse_import_section(&mut imports, reader)
                    .ok()?;
                for (index, ty) in self.types.iter().enumerate() {
                    imports.import(GLOBALS_OWNER, &index.to_string(), EntityType::Global(*ty));
                }
                code.section(&imports);
            } else {
                code.section(&RawSection { id: *id, data });
            }
        }
        Some(code.finish())
    }

    /// The globals as a module of their own.
    pub fn values(&self, module: &[u8]) -> Vec<u8> {
        let mut exports = ExportSection::new();
        for index in 0..self.types.len() {
            exports.export(&index.to_string(), ExportKind::Global, index as u32);
        }
        let mut values = Module::new();
        values.section(&RawSection {
            id: SectionId::Global.into(),
            data: &module[self.values.clone()],
        });
        values.section(&exports);
        values.finish()
    }

    /// The type of the globals' module.
    pub fn values_type(&self) -> ModuleType {
        let mut module = ModuleType::new();
        for (index, ty) in self.types.iter().enumerate() {
            module.export(&index.to_string(), EntityType::Global(*ty));
        }
        module
    }
}

/// The types of globals that all begin as plain numbers; `None` where some do not.
fn plain(section: GlobalSectionReader<'_>) -> Result<Option<Vec<GlobalType>>, BinaryReaderError> {
    let mut types = Vec::new();
    for global in section {
        let global = global?;
        let mut operators = global.init_expr.get_operators_reader();
        let number = matches!(
            operators.read()?,
            Operator::I32Const { .. }
                | Operator::I64Const { .. }
                | Operator::F32Const { .. }
                | Operator::F64Const { .. }
        );
        match GlobalType::try_from(global.ty) {
            Ok(ty) if number && matches!(operators.read()?, Operator::End) && !ty.shared => types.push(ty),
            _ => return Ok(None),
        }
    }
    Ok(Some(types))
}

fn imports_global(section: ImportSectionReader<'_>) -> Result<bool, BinaryReaderError> {
    for import in section.into_imports() {
        let import = import?;
        if matches!(import.ty, TypeRef::Global(_)) || import.module == GLOBALS_OWNER {
            return Ok(true);
        }
    }
    Ok(false)
}
