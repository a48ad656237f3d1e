//! The indices of a skeleton in which some modules became two: where a module is instantiated, its data is
//! instantiated right after it, or its globals before it, so later modules and instances move up.
//! Pure.

use wasm_encoder::{Alias, ComponentAliasSection, ExportKind, InstanceSection, ModuleArg};
use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentAliasSectionReader, ComponentExternalKind, ComponentInstance,
    ComponentOuterAliasKind, ComponentTypeRef, Instance, InstanceSectionReader, Parser, Payload,
};

use super::{data::MEMORY_OWNER, globals::GLOBALS_OWNER};

const NO_ARGUMENTS: [(&str, ModuleArg); 0] = [];

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
    rest: Option<Rest>,
}

/// The module of what was taken out of another, by its index.
#[derive(Clone, Copy)]
pub enum Rest {
    /// Instantiated after the code, on its memory.
    Data(u32),
    /// Instantiated before the code, which imports them.
    Globals(u32),
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
    /// Registers the next module: its new index, and that of what was taken out of it.
    pub fn module(&mut self, code: u32, rest: Option<Rest>) {
        self.modules.push(Module { code, rest });
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
                    let given = args
                        .iter()
                        .map(|arg| (arg.name, ModuleArg::Instance(self.instance(arg.index))));
                    let mut args: Vec<_> = given.collect();
                    // A module that does not exist keeps not existing: the reader of the skeleton says so.
                    let module = self.modules.get(module_index as usize);
                    let (code, rest) = module.map_or((u32::MAX, None), |module| (module.code, module.rest));
                    if let Some(Rest::Globals(globals)) = rest {
                        renumbered.instantiate(globals, NO_ARGUMENTS);
                        args.push((GLOBALS_OWNER, ModuleArg::Instance(self.next_instance)));
                        self.next_instance += 1;
                    }
                    renumbered.instantiate(code, args);
                    let instance = self.add_instance();
                    if let Some(Rest::Data(data)) = rest {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(component: &str, expected: bool) {
        let component = wat::parse_str(component).unwrap();
        assert_eq!(possible(&component).unwrap(), expected);
    }

    #[test]
    fn modules_that_others_name_keep_their_numbers() {
        check("(component)", true);
        check(
            "(component (core module $a) (core instance (instantiate $a)) (component (core module)))",
            true,
        );
        check(
            r#"(component (core module $a) (export "a" (core module $a)))"#,
            false,
        );
        check(r#"(component (import "a" (core module)))"#, false);
        check(
            "(component $c (core module $a)
                (component (alias outer $c $a (core module $b)) (core instance (instantiate $b))))",
            false,
        );
        // However deep, and in components of the component alike.
        check(
            "(component $c (core module $a)
                (component (component (alias outer $c $a (core module $b)) (core instance (instantiate $b)))))",
            false,
        );
        check(
            r#"(component (component (component (import "a" (core module)))))"#,
            false,
        );
        check(
            r#"(component (core module $a)
                (component $inner (core module $b) (export "b" (core module $b)))
                (instance $inner (instantiate $inner))
                (alias export $inner "b" (core module $b))
                (core instance (instantiate $b)))"#,
            false,
        );
        check(
            r#"(component (core module $a)
                (component $inner (import "b" (core module)))
                (instance (instantiate $inner (with "b" (core module $a)))))"#,
            false,
        );
        check(
            r#"(component (core module $a) (instance (export "a" (core module $a))))"#,
            false,
        );
    }

    #[test]
    fn what_does_not_exist_keeps_not_existing() {
        let mut numbers = Numbers::default();
        numbers.module(0, Some(Rest::Data(1)));
        assert_eq!(numbers.instance(0), u32::MAX);
        assert_eq!(numbers.add_instance(), 0);
        assert_eq!(numbers.instance(0), 0);
        assert_eq!(numbers.instance(1), u32::MAX);
    }
}
