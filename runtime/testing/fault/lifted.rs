//! Which core functions the functions of a component are lifted from, and what they are exported as.

use std::collections::BTreeMap;

use wasmparser::{
    BinaryReaderError, CanonicalFunction, ComponentAlias, ComponentExternalKind, ComponentInstance,
    ComponentOuterAliasKind, ComponentTypeRef, ExternalKind, Instance, Parser, Payload,
};

/// A function of a component's own, not of components nested in it.
pub struct Lifted {
    /// The core module, counted among those that lie in the component.
    pub module: usize,
    /// Its name there.
    pub export: String,
    /// What it is exported as: interface and function.
    names: Vec<(String, String)>,
}

impl Lifted {
    pub fn is_of(&self, interface: &str, function: &str) -> bool {
        self.names
            .iter()
            .any(|(own, name)| unversioned(own) == interface && name == function)
    }

    pub fn is_lifecycle(&self) -> bool {
        self.names
            .iter()
            .any(|(interface, _)| interface.starts_with("wasmhost:lifecycle/"))
    }
}

fn unversioned(interface: &str) -> &str {
    interface.split('@').next().unwrap_or(interface)
}

/// All of them that are lifted from a module which lies in the component.
pub fn lifted(component: &[u8]) -> Result<Vec<Lifted>, BinaryReaderError> {
    let mut spaces = Spaces::default();
    let mut nested_until = 0;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload?;
        let section = payload.as_section();
        if section.is_some_and(|(_, range)| range.start < nested_until) {
            continue;
        }
        match payload {
            Payload::ModuleSection { unchecked_range, .. } => {
                nested_until = unchecked_range.end;
                spaces.modules.push(Some(spaces.inline));
                spaces.inline += 1;
            }
            Payload::ComponentSection { unchecked_range, .. } => nested_until = unchecked_range.end,
            payload => spaces.read(payload)?,
        }
    }
    Ok(spaces.lifted())
}

/// The index spaces of a component, as far as functions come from there.
#[derive(Default)]
struct Spaces {
    /// How many modules lie in the component.
    inline: usize,
    /// Of each module, which of those it is.
    modules: Vec<Option<usize>>,
    core_instances: Vec<CoreInstance>,
    core_functions: Vec<Option<(u32, String)>>,
    /// Of each function, the core function that it is lifted from.
    functions: Vec<Option<u32>>,
    /// Of each instance, its functions by name.
    instances: Vec<BTreeMap<String, u32>>,
    exported: Vec<(String, u32)>,
}

enum CoreInstance {
    Of(u32),
    Exports(BTreeMap<String, u32>),
}

impl Spaces {
    fn read(&mut self, payload: Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::ComponentImportSection(section) => {
                for import in section {
                    self.import(import?.ty);
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    self.alias(&alias?);
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    match function? {
                        CanonicalFunction::Lift { core_func_index, .. } => {
                            self.functions.push(Some(core_func_index));
                        }
                        _ => self.core_functions.push(None),
                    }
                }
            }
            Payload::InstanceSection(section) => {
                for instance in section {
                    self.core_instance(instance?);
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section {
                    self.instance(instance?);
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    let export = export?;
                    self.export(export.name.name, export.kind, export.index);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, ty: ComponentTypeRef) {
        match ty {
            ComponentTypeRef::Module(_) => self.modules.push(None),
            ComponentTypeRef::Func(_) => self.functions.push(None),
            ComponentTypeRef::Instance(_) => self.instances.push(BTreeMap::new()),
            _ => {}
        }
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>) {
        match alias {
            ComponentAlias::InstanceExport {
                kind,
                instance_index,
                name,
            } => {
                let function = self.instances.get(*instance_index as usize);
                let function = function.and_then(|instance| instance.get(*name).copied());
                match kind {
                    ComponentExternalKind::Module => self.modules.push(None),
                    ComponentExternalKind::Func => {
                        let core = function.and_then(|function| self.functions.get(function as usize));
                        self.functions.push(core.copied().flatten());
                    }
                    ComponentExternalKind::Instance => self.instances.push(BTreeMap::new()),
                    _ => {}
                }
            }
            ComponentAlias::CoreInstanceExport {
                kind: ExternalKind::Func,
                instance_index,
                name,
            } => self
                .core_functions
                .push(Some((*instance_index, (*name).to_owned()))),
            ComponentAlias::Outer {
                kind: ComponentOuterAliasKind::CoreModule,
                ..
            } => self.modules.push(None),
            _ => {}
        }
    }

    fn core_instance(&mut self, instance: Instance<'_>) {
        self.core_instances.push(match instance {
            Instance::Instantiate { module_index, .. } => CoreInstance::Of(module_index),
            Instance::FromExports(exports) => {
                let functions = exports.iter().filter(|export| export.kind == ExternalKind::Func);
                CoreInstance::Exports(
                    functions
                        .map(|export| (export.name.to_owned(), export.index))
                        .collect(),
                )
            }
        });
    }

    fn instance(&mut self, instance: ComponentInstance<'_>) {
        // The tools nest a component that exports, by another name, the functions that it is given.
        const GIVEN: &str = "import-func-";
        let functions = match instance {
            ComponentInstance::Instantiate { args, .. } => {
                let functions = args.iter().filter(|arg| arg.kind == ComponentExternalKind::Func);
                functions
                    .map(|arg| (arg.name.trim_start_matches(GIVEN).to_owned(), arg.index))
                    .collect()
            }
            ComponentInstance::FromExports(exports) => {
                let functions = exports
                    .iter()
                    .filter(|export| export.kind == ComponentExternalKind::Func);
                functions
                    .map(|export| (export.name.name.to_owned(), export.index))
                    .collect()
            }
        };
        self.instances.push(functions);
    }

    /// What is exported is counted anew.
    fn export(&mut self, name: &str, kind: ComponentExternalKind, index: u32) {
        match kind {
            ComponentExternalKind::Func => {
                let core = self.functions.get(index as usize).copied().flatten();
                self.functions.push(core);
            }
            ComponentExternalKind::Instance => {
                let functions = self.instances.get(index as usize).cloned().unwrap_or_default();
                self.instances.push(functions);
                self.exported.push((name.to_owned(), index));
            }
            ComponentExternalKind::Module => {
                let module = self.modules.get(index as usize).copied().flatten();
                self.modules.push(module);
            }
            _ => {}
        }
    }

    fn lifted(&self) -> Vec<Lifted> {
        let mut cores: Vec<u32> = self.functions.iter().copied().flatten().collect();
        cores.sort_unstable();
        cores.dedup();
        let lifted = |core| {
            let (module, export) = self.source(core)?;
            let names = self.names(core);
            Some(Lifted {
                module,
                export,
                names,
            })
        };
        cores.into_iter().filter_map(lifted).collect()
    }

    /// The module and export that a core function comes from.
    fn source(&self, core: u32) -> Option<(usize, String)> {
        let (instance, name) = self.core_functions.get(core as usize)?.as_ref()?;
        match self.core_instances.get(*instance as usize)? {
            CoreInstance::Of(module) => {
                let module = self.modules.get(*module as usize).copied().flatten()?;
                Some((module, name.clone()))
            }
            // Made of what was there before it, so this ends.
            CoreInstance::Exports(exports) => self.source(*exports.get(name)?),
        }
    }

    fn names(&self, core: u32) -> Vec<(String, String)> {
        let of_interface = |(interface, instance): &(String, u32)| {
            let functions = self.instances.get(*instance as usize).into_iter().flatten();
            let is_it = |(_, function): &(&String, &u32)| {
                self.functions.get(**function as usize).copied().flatten() == Some(core)
            };
            let names = functions
                .filter(is_it)
                .map(|(name, _)| (interface.clone(), name.clone()));
            names.collect::<Vec<_>>()
        };
        self.exported.iter().flat_map(of_interface).collect()
    }
}
