//! The indices of a skeleton in which some modules became two, code and data: where a module is
//! instantiated its data is instantiated right after it, so later modules and instances move up.
//! Pure.

use wasm_encoder::{Alias, ComponentAliasSection, ExportKind, InstanceSection, ModuleArg};
use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentAliasSectionReader, ComponentExternalKind, ComponentInstance,
    ComponentOuterAliasKind, ComponentTypeRef, Instance, InstanceSectionReader, Parser, Payload,
};

use super::data::MEMORY_OWNER;

/// New indices by old ones.
#[derive(Default)]
pub struct Numbers {
    modules: Vec<Module>,
    instances: Vec<u32>,
    /// The next core instance in the skeleton.
    next_instance: u32,
}

struct Module {
    code: u32,
    /// The data's module.
    data: Option<u32>,
}

/// False where modules are named by others than the instances of the component itself: those names
/// are not renumbered here.
pub fn possible(component: &[u8]) -> Result<bool, BinaryReaderError> {
    for payload in Parser::new(0).parse_all(component) {
        if names_modules(&payload?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn names_modules(payload: &Payload<'_>) -> Result<bool, BinaryReaderError> {
    Ok(match payload {
        Payload::ComponentAliasSection(section) => any(section.clone(), |alias| {
            matches!(
                alias,
                ComponentAlias::InstanceExport {
                    kind: ComponentExternalKind::Module,
                    ..
                } | ComponentAlias::Outer {
                    kind: ComponentOuterAliasKind::CoreModule,
                    ..
                }
            )
        })?,
        Payload::ComponentImportSection(section) => any(section.clone(), |import| {
            matches!(import.ty, ComponentTypeRef::Module(_))
        })?,
        Payload::ComponentExportSection(section) => any(section.clone(), |export| {
            export.kind == ComponentExternalKind::Module
        })?,
        Payload::ComponentInstanceSection(section) => any(section.clone(), |instance| match instance {
            ComponentInstance::Instantiate { args, .. } => {
                args.iter().any(|arg| arg.kind == ComponentExternalKind::Module)
            }
            ComponentInstance::FromExports(exports) => exports
                .iter()
                .any(|export| export.kind == ComponentExternalKind::Module),
        })?,
        _ => false,
    })
}

fn any<'a, T: wasmparser::FromReader<'a>>(
    section: wasmparser::SectionLimited<'a, T>,
    matches: impl Fn(&T) -> bool,
) -> Result<bool, BinaryReaderError> {
    for item in section {
        if matches(&item?) {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Numbers {
    /// Registers the next module: its new index, and its data's.
    pub fn module(&mut self, code: u32, data: Option<u32>) {
        self.modules.push(Module { code, data });
    }

    /// The section with new indices, and an instance of the data after each instance of its code.
    pub fn instances(
        &mut self,
        section: InstanceSectionReader<'_>,
    ) -> Result<InstanceSection, BinaryReaderError> {
        let mut renumbered = InstanceSection::new();
        for instance in section {
            match instance? {
                Instance::Instantiate { module_index, args } => {
                    let args = args
                        .iter()
                        .map(|arg| (arg.name, ModuleArg::Instance(self.instance(arg.index))));
                    // A module that does not exist keeps not existing: the reader of the skeleton says so.
                    let module = self.modules.get(module_index as usize);
                    let (code, data) = module.map_or((u32::MAX, None), |module| (module.code, module.data));
                    renumbered.instantiate(code, args);
                    let instance = self.add_instance();
                    if let Some(data) = data {
                        renumbered.instantiate(data, [(MEMORY_OWNER, ModuleArg::Instance(instance))]);
                        self.next_instance += 1;
                    }
                }
                Instance::FromExports(exports) => {
                    let exports = exports
                        .iter()
                        .map(|export| (export.name, ExportKind::from(export.kind), export.index));
                    renumbered.export_items(exports);
                    self.add_instance();
                }
            }
        }
        Ok(renumbered)
    }

    /// The section with new indices.
    pub fn aliases(
        &self,
        section: ComponentAliasSectionReader<'_>,
    ) -> Result<ComponentAliasSection, BinaryReaderError> {
        let mut renumbered = ComponentAliasSection::new();
        for alias in section {
            renumbered.alias(match alias? {
                ComponentAlias::InstanceExport {
                    kind,
                    instance_index,
                    name,
                } => Alias::InstanceExport {
                    instance: instance_index,
                    kind: kind.into(),
                    name,
                },
                ComponentAlias::CoreInstanceExport {
                    kind,
                    instance_index,
                    name,
                } => Alias::CoreInstanceExport {
                    instance: self.instance(instance_index),
                    kind: kind.into(),
                    name,
                },
                ComponentAlias::Outer { kind, count, index } => Alias::Outer {
                    kind: kind.into(),
                    count,
                    index,
                },
            });
        }
        Ok(renumbered)
    }

    /// The new index of a core instance. One that does not exist keeps not existing.
    fn instance(&self, old: u32) -> u32 {
        self.instances.get(old as usize).copied().unwrap_or(u32::MAX)
    }

    /// Registers the next instance and returns its new index.
    fn add_instance(&mut self) -> u32 {
        let index = self.next_instance;
        self.instances.push(index);
        self.next_instance += 1;
        index
    }
}
