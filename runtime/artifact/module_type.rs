//! The exact type of a core module, as a component that imports it has to declare it.
//! Pure; function bodies are left to the compiler.

use wasm_encoder::{EntityType, MemoryType, ModuleType, ValType};
use wasmparser::{
    BinaryReaderError, Encoding, Parser, Payload, ValidPayload, Validator, WasmFeatures,
    types::{EntityType as ParsedType, Types},
};

/// A module's type, and how many functions it defines.
pub struct Described {
    pub ty: ModuleType,
    pub functions: u32,
}

/// Why a module's type cannot be declared outside of its component.
pub enum Undeclarable {
    Malformed(BinaryReaderError),
    Type(&'static str),
}

impl From<BinaryReaderError> for Undeclarable {
    fn from(error: BinaryReaderError) -> Self {
        Self::Malformed(error)
    }
}

/// The type of `module`, with `memory` in the place of the type that its only memory has in it.
pub fn describe(module: &[u8], memory: Option<MemoryType>) -> Result<Described, Undeclarable> {
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let (mut imports, mut exports, mut functions) = (Vec::new(), Vec::new(), 0);
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload?;
        if let Payload::Version {
            encoding: Encoding::Component,
            ..
        } = payload
        {
            return Err(Undeclarable::Type("a component lies where a core module should"));
        }
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
        if let ValidPayload::End(types) = validated {
            let ty = module_type(&types, &imports, &exports, memory)?;
            return Ok(Described { ty, functions });
        }
    }
    Err(Undeclarable::Type("a core module does not end"))
}

fn module_type(
    types: &Types,
    imports: &[wasmparser::Import<'_>],
    exports: &[wasmparser::Export<'_>],
    memory: Option<MemoryType>,
) -> Result<ModuleType, Undeclarable> {
    const DANGLING: Undeclarable =
        Undeclarable::Type("a core module imports or exports what it does not have");
    let mut declared = ModuleType::new();
    for import in imports {
        let entity = types.as_ref().entity_type_from_import(import).ok_or(DANGLING)?;
        let entity = declare(&mut declared, types, entity)?;
        declared.import(import.module, import.name, entity);
    }
    for export in exports {
        let entity = types.as_ref().entity_type_from_export(export).ok_or(DANGLING)?;
        let entity = match (declare(&mut declared, types, entity)?, memory) {
            (EntityType::Memory(_), Some(memory)) => EntityType::Memory(memory),
            (entity, _) => entity,
        };
        declared.export(export.name, entity);
    }
    Ok(declared)
}

/// The type of one import or export; a function's type is declared in `module` first.
fn declare(module: &mut ModuleType, types: &Types, entity: ParsedType) -> Result<EntityType, Undeclarable> {
    let unsupported = |_| Undeclarable::Type("a core module uses a type that cannot be declared outside");
    Ok(match entity {
        ParsedType::Func(id) => {
            let function = types[id].unwrap_func();
            let params = convert(function.params())?;
            let results = convert(function.results())?;
            let index = module.type_count();
            module.ty().function(params, results);
            EntityType::Function(index)
        }
        ParsedType::Table(ty) => EntityType::Table(ty.try_into().map_err(unsupported)?),
        ParsedType::Memory(ty) => EntityType::Memory(ty.into()),
        ParsedType::Global(ty) => EntityType::Global(ty.try_into().map_err(unsupported)?),
        ParsedType::Tag(_) | ParsedType::FuncExact(_) => {
            return Err(Undeclarable::Type(
                "a core module shares exceptions or exact functions",
            ));
        }
    })
}

fn convert(types: &[wasmparser::ValType]) -> Result<Vec<ValType>, Undeclarable> {
    let unsupported =
        |_| Undeclarable::Type("a core module's function has a type that cannot be declared outside");
    types
        .iter()
        .map(|ty| ValType::try_from(*ty).map_err(unsupported))
        .collect()
}
