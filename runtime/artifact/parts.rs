//! Reads the files of a group: each component is checked, taken apart and described, before anything
//! is linked. Pure; knows neither the engine nor what is running.

use std::borrow::Cow;

use bytes::Bytes;
use wasmparser::{Encoding, Parser, Payload};

use super::{
    compose::Composer,
    graph::Members,
    split::{SplitModule, split},
};
use crate::{
    diagnostic::Diagnostic,
    project::{Component, ComponentId, GroupSpec},
};

/// The components of a group, each taken apart, and all ready to be composed.
pub struct Parts {
    pub(super) composer: Composer,
    /// Every core module, with the bytes of the component that it lies in.
    pub(super) modules: Vec<Part>,
}

/// A core module and the component that it came from.
pub(super) struct Part {
    pub owner: ComponentId,
    pub module: SplitModule,
    binary: Bytes,
}

impl Part {
    pub fn bytes(&self) -> &[u8] {
        &self.binary[self.module.range.clone()]
    }
}

impl Parts {
    /// Reads every component of `spec`. Errors: all files that are no component, at once.
    pub fn read(spec: &GroupSpec) -> Result<Self, Vec<Diagnostic>> {
        let mut parts = Self {
            composer: Composer::new(),
            modules: Vec::new(),
        };
        let diagnostics: Vec<_> = spec
            .components
            .values()
            .filter_map(|component| parts.add(component).err())
            .collect();
        if diagnostics.is_empty() {
            Ok(parts)
        } else {
            Err(diagnostics)
        }
    }

    /// What each component imports and exports.
    pub fn interfaces(&self) -> &Members {
        self.composer.interfaces()
    }

    fn add(&mut self, component: &Component) -> Result<(), Diagnostic> {
        let binary = binary(component)?;
        let split = split(&component.id, &binary).map_err(|error| invalid(component, &error.to_string()))?;
        if let Some(reason) = split.whole {
            tracing::info!(component = %component.id, reason, "linked whole: slower to swap");
        }
        let slots: Vec<&str> = split.modules.iter().map(|module| module.slot.as_str()).collect();
        self.composer
            .add(&component.id, split.skeleton, &slots)
            .map_err(|reason| invalid(component, &reason))?;
        let owner = &component.id;
        self.modules.extend(split.modules.into_iter().map(|module| Part {
            owner: owner.clone(),
            module,
            binary: binary.clone(),
        }));
        Ok(())
    }
}

/// The component's binary: as read, or encoded from its text. Errors: neither text nor a component.
fn binary(component: &Component) -> Result<Bytes, Diagnostic> {
    let is_text = component.path.extension().is_some_and(|ending| ending == "wat");
    let binary = match is_text.then(|| wat::parse_bytes(&component.bytes)).transpose() {
        Ok(Some(Cow::Owned(encoded))) => Bytes::from(encoded),
        Ok(_) => component.bytes.clone(),
        Err(error) => return Err(invalid(component, &error.to_string())),
    };
    if binary.is_empty() {
        return Err(invalid(component, "the file is empty"));
    }
    let head = Parser::new(0).parse_all(&binary).next();
    match head {
        Some(Ok(Payload::Version {
            encoding: Encoding::Component,
            ..
        })) => {}
        Some(Err(error)) => return Err(invalid(component, &error.to_string())),
        _ => return Err(core_module(component)),
    }
    Ok(binary)
}

/// A file that is no component, whatever else it may be.
pub(super) fn invalid(component: &Component, reason: &str) -> Diagnostic {
    Diagnostic::new(
        "component-invalid",
        format!("{} is not a valid component: {reason}", component.id),
    )
    .file(&component.path)
    .help("write the whole file again, best by a rename; what was served before goes on being served")
}

fn core_module(component: &Component) -> Diagnostic {
    let message = format!("{} is a core module, not a component", component.id);
    Diagnostic::new("component-core-module", message)
        .file(&component.path)
        .help("build it with `--target wasm32-wasip2`, or turn it into one with `wasm-tools component new`")
}
