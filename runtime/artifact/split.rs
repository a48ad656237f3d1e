//! Takes the core modules out of a component: what is left, the skeleton, imports each module under
//! a *slot* name, so that the modules can be compiled once each, whoever contains them.
//! Pure bytes in, bytes out; knows neither the engine nor what is running.
//!
//! A slot is named by component and index, never by content: a change of code alone leaves the
//! skeleton byte-identical, and with it its compiled form.

use std::ops::Range;

use wasm_encoder::{
    Component, ComponentImportSection, ComponentSectionId, ComponentTypeRef, CoreTypeSection, EntityType,
    ModuleType, RawSection, ValType,
};
use wasmparser::{
    BinaryReaderError, Parser, Payload, Validator, WasmFeatures,
    types::{EntityType as ParsedType, Types},
};

use crate::project::{ComponentId, Digest};

/// What one component came apart into.
pub struct Split {
    /// The component without its core modules; the whole component where it could not be split.
    pub skeleton: Vec<u8>,
    /// The modules in the order in which the component has them. Empty where it could not be split.
    pub modules: Vec<SplitModule>,
    /// Why it stayed whole: slower to swap, never wrong.
    pub whole: Option<&'static str>,
}

/// One core module that was taken out.
#[derive(Clone)]
pub struct SplitModule {
    /// The name under which the skeleton imports it.
    pub slot: String,
    pub digest: Digest,
    /// Where it lies in the component's bytes.
    pub range: Range<usize>,
    /// How many functions it defines, which is what a compiler has to do.
    pub functions: u32,
}

/// Splits `bytes`, a component binary. Errors: bytes that are no well-formed component.
pub fn split(id: &ComponentId, bytes: &[u8]) -> Result<Split, Malformed> {
    let mut splitter = Splitter {
        id,
        bytes,
        skeleton: Component::new(),
        modules: Vec::new(),
    };
    match splitter.run() {
        Ok(()) => Ok(Split {
            skeleton: splitter.skeleton.finish(),
            modules: splitter.modules,
            whole: None,
        }),
        Err(Obstacle::Whole(reason)) => Ok(Split {
            skeleton: bytes.to_vec(),
            modules: Vec::new(),
            whole: Some(reason),
        }),
        Err(Obstacle::Malformed(error)) => Err(error),
    }
}

/// Bytes that are no component, for instance because the end is missing.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    #[error(transparent)]
    Unreadable(#[from] BinaryReaderError),
    #[error(
        "the file ends in the middle: a section of {section} bytes begins at {start}, but {length} bytes are all"
    )]
    CutOff {
        start: usize,
        section: usize,
        length: usize,
    },
}

/// What ends a split early.
enum Obstacle {
    Malformed(Malformed),
    /// A component, but one that has to stay whole.
    Whole(&'static str),
}

impl From<BinaryReaderError> for Obstacle {
    fn from(error: BinaryReaderError) -> Self {
        Self::Malformed(error.into())
    }
}

struct Splitter<'a> {
    id: &'a ComponentId,
    bytes: &'a [u8],
    skeleton: Component,
    modules: Vec<SplitModule>,
}

impl<'a> Splitter<'a> {
    /// Copies every section of the outermost component, modules excepted.
    fn run(&mut self) -> Result<(), Obstacle> {
        // The parser walks into nested modules and components too; those were handled whole.
        let mut nested_until = 0;
        for payload in Parser::new(0).parse_all(self.bytes) {
            match payload? {
                payload if start_of(&payload).is_some_and(|start| start < nested_until) => {}
                Payload::ModuleSection { unchecked_range, .. } => {
                    nested_until = unchecked_range.end;
                    self.take_module(unchecked_range)?;
                }
                Payload::ComponentSection { unchecked_range, .. } => {
                    nested_until = unchecked_range.end;
                    let data = self.section(&unchecked_range)?;
                    self.skeleton.section(&RawSection {
                        id: ComponentSectionId::Component.into(),
                        data,
                    });
                }
                Payload::CoreTypeSection(_) => {
                    return Err(Obstacle::Whole("it declares core types of its own"));
                }
                Payload::CustomSection(_) => {}
                payload => {
                    if let Some((id, range)) = payload.as_section() {
                        let data = self.section(&range)?;
                        self.skeleton.section(&RawSection { id, data });
                    }
                }
            }
        }
        Ok(())
    }

    /// The parser reports where a section lies before it has seen its end.
    fn section(&self, range: &Range<usize>) -> Result<&'a [u8], Obstacle> {
        let (start, section, length) = (range.start, range.len(), self.bytes.len());
        self.bytes
            .get(range.clone())
            .ok_or(Obstacle::Malformed(Malformed::CutOff {
                start,
                section,
                length,
            }))
    }

    /// Puts an import of the module's exact type in the place of the module.
    fn take_module(&mut self, range: Range<usize>) -> Result<(), Obstacle> {
        let module = self.section(&range)?;
        let (module_type, functions) = describe(module)?;
        let slot = slot_name(self.id, self.modules.len());
        // One core type a module, and no others: the indices run alike.
        let index = self.modules.len() as u32;

        let mut types = CoreTypeSection::new();
        types.ty().module(&module_type);
        self.skeleton.section(&types);
        let mut imports = ComponentImportSection::new();
        imports.import(slot.as_str(), ComponentTypeRef::Module(index));
        self.skeleton.section(&imports);

        self.modules.push(SplitModule {
            slot,
            digest: Digest::of(module),
            range,
            functions,
        });
        Ok(())
    }
}

/// `m0-x1f…`: a kebab name, since a component id with its dots is none.
fn slot_name(id: &ComponentId, index: usize) -> String {
    let digest = Digest::of(id.as_str().as_bytes()).to_string();
    format!("m{index}-x{}", &digest[..24])
}

/// Where a payload begins, for those that stand in a section of their own or in a function body.
fn start_of(payload: &Payload<'_>) -> Option<usize> {
    match payload {
        Payload::Version { range, .. } => Some(range.start),
        Payload::CodeSectionEntry(body) => Some(body.range().start),
        Payload::End(offset) => Some(offset.saturating_sub(1)),
        payload => payload.as_section().map(|(_, range)| range.start),
    }
}

/// The exact type of a module, as an importer has to declare it, and how many functions it defines.
/// Function bodies are left to the compiler.
fn describe(module: &[u8]) -> Result<(ModuleType, u32), Obstacle> {
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let (mut imports, mut exports, mut functions) = (Vec::new(), Vec::new(), 0);
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload?;
        let validated = validator.payload(&payload)?;
        match payload {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    imports.push(import?);
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    exports.push(export?);
                }
            }
            Payload::FunctionSection(section) => functions = section.count(),
            _ => {}
        }
        if let wasmparser::ValidPayload::End(types) = validated {
            return Ok((module_type(&types, &imports, &exports)?, functions));
        }
    }
    Err(Obstacle::Whole("a core module does not end"))
}

fn module_type(
    types: &Types,
    imports: &[wasmparser::Import<'_>],
    exports: &[wasmparser::Export<'_>],
) -> Result<ModuleType, Obstacle> {
    let mut declared = ModuleType::new();
    for import in imports {
        let entity = types
            .as_ref()
            .entity_type_from_import(import)
            .ok_or_else(dangling)?;
        let entity = declare(&mut declared, types, entity)?;
        declared.import(import.module, import.name, entity);
    }
    for export in exports {
        let entity = types
            .as_ref()
            .entity_type_from_export(export)
            .ok_or_else(dangling)?;
        let entity = declare(&mut declared, types, entity)?;
        declared.export(export.name, entity);
    }
    Ok(declared)
}

fn dangling() -> Obstacle {
    Obstacle::Whole("a core module imports or exports what it does not have")
}

/// The type of one import or export; a function's type is declared in `module` first.
fn declare(module: &mut ModuleType, types: &Types, entity: ParsedType) -> Result<EntityType, Obstacle> {
    let unsupported = |_| Obstacle::Whole("a core module uses a type that cannot be declared outside");
    Ok(match entity {
        ParsedType::Func(id) => {
            let function = types[id].unwrap_func();
            let params: Vec<ValType> = convert(function.params())?;
            let results: Vec<ValType> = convert(function.results())?;
            let index = module.type_count();
            module.ty().function(params, results);
            EntityType::Function(index)
        }
        ParsedType::Table(ty) => EntityType::Table(ty.try_into().map_err(unsupported)?),
        ParsedType::Memory(ty) => EntityType::Memory(ty.into()),
        ParsedType::Global(ty) => EntityType::Global(ty.try_into().map_err(unsupported)?),
        ParsedType::Tag(_) | ParsedType::FuncExact(_) => {
            return Err(Obstacle::Whole(
                "a core module shares exceptions or exact functions",
            ));
        }
    })
}

fn convert(types: &[wasmparser::ValType]) -> Result<Vec<ValType>, Obstacle> {
    let unsupported =
        |_| Obstacle::Whole("a core module's function has a type that cannot be declared outside");
    types
        .iter()
        .map(|ty| ValType::try_from(*ty).map_err(unsupported))
        .collect()
}
