//! Where the lifecycle functions of a slice's components are found in its instances. Knows not when they
//! are called.

use std::collections::BTreeMap;

use wasmtime::component::{Component, ComponentExportIndex};

use super::compose::Export;
use crate::project::ComponentId;

/// What the components of one slice export of `wasmhost:lifecycle`, by component; others are not here.
pub type Lifecycles = BTreeMap<ComponentId, Lifecycle>;

/// What one component exports of it; at least one of both.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    pub state: Option<StateExport>,
    pub hooks: Option<HooksExport>,
}

#[derive(Clone, Copy, Debug)]
pub struct StateExport {
    pub save: ComponentExportIndex,
    pub load: ComponentExportIndex,
}

#[derive(Clone, Copy, Debug)]
pub struct HooksExport {
    pub start: ComponentExportIndex,
    pub stop: ComponentExportIndex,
}

#[derive(Clone, Copy, PartialEq)]
enum Interface {
    State,
    Hooks,
}

fn interface(name: &str) -> Option<Interface> {
    let (path, version) = name.split_once('@')?;
    match path {
        "wasmhost:lifecycle/state" if version.starts_with("0.1.") => Some(Interface::State),
        "wasmhost:lifecycle/hooks" if version.starts_with("0.1.") => Some(Interface::Hooks),
        _ => None,
    }
}

/// True for an export that the host calls at the beginning or the end of a generation.
pub fn is_lifecycle(interface_name: &str) -> bool {
    interface(interface_name).is_some()
}

/// True for the export by which a component hands over what it remembers.
pub fn is_state(interface_name: &str) -> bool {
    interface(interface_name) == Some(Interface::State)
}

/// The lifecycle functions among the exports of a composition.
pub fn lifecycles(skeleton: &Component, exports: &[Export]) -> Lifecycles {
    let mut lifecycles = Lifecycles::new();
    for export in exports {
        let Some(instance) = skeleton.get_export_index(None, &export.name) else {
            continue;
        };
        let function = |name| skeleton.get_export_index(Some(&instance), name);
        match interface(&export.interface) {
            Some(Interface::State) => {
                if let (Some(save), Some(load)) = (function("save"), function("load")) {
                    let lifecycle = lifecycles.entry(export.component.clone()).or_default();
                    lifecycle.state = Some(StateExport { save, load });
                }
            }
            Some(Interface::Hooks) => {
                if let (Some(start), Some(stop)) = (function("start"), function("stop")) {
                    let lifecycle = lifecycles.entry(export.component.clone()).or_default();
                    lifecycle.hooks = Some(HooksExport { start, stop });
                }
            }
            None => {}
        }
    }
    lifecycles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_known_by_interface_and_version() {
        assert!(is_lifecycle("wasmhost:lifecycle/state@0.1.0"));
        assert!(is_lifecycle("wasmhost:lifecycle/hooks@0.1.7"));
        assert!(!is_lifecycle("wasmhost:lifecycle/state@0.2.0"));
        assert!(!is_lifecycle("wasmhost:lifecycle/other@0.1.0"));
        assert!(!is_lifecycle("site:lifecycle/state@0.1.0"));
    }
}
