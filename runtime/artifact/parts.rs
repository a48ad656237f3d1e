//! Reads the files of a group: each component is checked, taken apart and described, before anything
//! is linked. Pure but for what it remembers of components that are still in use; knows neither the
//! engine nor what is running.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use rayon::prelude::*;
use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures};

use super::{
    cache::Cache,
    compose,
    graph::{Graph, Interface, Members, Wire},
    limits::{Excess, LinkLimits},
    slices::Slice,
    split::{SplitModule, Splitting, split},
};
use crate::{
    diagnostic::Diagnostic,
    engine::Kind,
    host::{self, Handler},
    project::{Component, ComponentId, Digest, GroupSpec, Instances},
};

/// The components of a group, each taken apart, and all ready to be composed. Cheap to clone.
#[derive(Clone, Default)]
pub struct Parts {
    pub(super) members: Vec<Part>,
}

/// A component of the group and the file that its modules lie in.
#[derive(Clone)]
pub(super) struct Part {
    pub member: Arc<Member>,
    component: Component,
}

/// A component taken apart. It does not hold its modules, only where they lie.
pub struct Member {
    pub id: ComponentId,
    pub skeleton: Vec<u8>,
    /// Of the skeleton: the same as long as only code or data changes.
    pub skeleton_digest: Digest,
    pub interface: Interface,
    pub modules: Vec<SplitModule>,
    /// What its calls need of the engine.
    pub kind: Kind,
    /// Why it was not taken apart, if it was not.
    pub whole: Option<&'static str>,
}

/// Takes components apart, those that did not change only once.
pub struct Reader {
    members: Cache<(ComponentId, Digest, Splitting), Member>,
    splitting: Splitting,
    limits: LinkLimits,
}

impl Reader {
    pub fn new(splitting: Splitting) -> Self {
        Self {
            members: Cache::default(),
            splitting,
            limits: LinkLimits::DEFAULT,
        }
    }

    /// Takes every component of `spec` apart, on the threads of the caller's pool. `known` says of a
    /// digest of code that it was taken apart from its data before. Beside those that could be: the
    /// files that are no component, and why.
    pub fn read_each(
        &self,
        spec: &GroupSpec,
        known: &(dyn Fn(Digest) -> bool + Sync),
    ) -> (Parts, Vec<(ComponentId, Diagnostic)>) {
        let components: Vec<&Component> = spec.components.values().collect();
        let splitting = self.splitting_for(spec.instances);
        let read: Vec<Result<Part, Diagnostic>> = components
            .par_iter()
            .map(|component| self.part(component, splitting, known))
            .collect();
        let (mut members, mut unread) = (Vec::new(), Vec::new());
        for (part, component) in read.into_iter().zip(components) {
            match part {
                Ok(part) => members.push(part),
                Err(diagnostic) => unread.push((component.id.clone(), diagnostic)),
            }
        }
        (Parts { members }, unread)
    }

    /// A store that is made for each request gets its data as pages that are mapped, not copied: for that it
    /// has to lie with its code.
    fn splitting_for(&self, instances: Instances) -> Splitting {
        match (instances, self.splitting) {
            (Instances::Isolated, Splitting::Apart) => Splitting::Split,
            (_, splitting) => splitting,
        }
    }

    fn part(
        &self,
        component: &Component,
        splitting: Splitting,
        known: &dyn Fn(Digest) -> bool,
    ) -> Result<Part, Diagnostic> {
        let key = (component.id.clone(), component.digest, splitting);
        let take_apart = || self.take_apart(component, &binary(component)?, splitting, known);
        let (member, _) = self.members.get_or_make(key, take_apart)?;
        Ok(Part {
            member,
            component: component.clone(),
        })
    }

    fn take_apart(
        &self,
        component: &Component,
        binary: &[u8],
        splitting: Splitting,
        known: &dyn Fn(Digest) -> bool,
    ) -> Result<Member, Diagnostic> {
        self.limits
            .check(binary)
            .map_err(|excess| over_a_limit(component, &excess))?;
        let split = split(&component.id, binary, splitting, known)
            .map_err(|error| invalid(component, &error.to_string()))?;
        if let Some(reason) = split.whole {
            tracing::info!(component = %component.id, reason, "linked whole: slower to swap");
        }
        let slots: Vec<&str> = split.modules.iter().map(|module| module.slot.as_str()).collect();
        let interface =
            compose::interface(&split.skeleton, &slots).map_err(|reason| invalid(component, &reason))?;
        Ok(Member {
            id: component.id.clone(),
            skeleton_digest: Digest::of(&split.skeleton),
            kind: kind(&split.skeleton, &interface),
            skeleton: split.skeleton,
            interface,
            modules: split.modules,
            whole: split.whole,
        })
    }
}

impl Part {
    /// Where it comes from, without its bytes.
    pub fn origin(&self) -> Component {
        self.component.left()
    }

    /// What the ranges of the member's modules are in. Errors: the file was not held, and is another by now.
    pub fn binary(&self) -> Result<Bytes, Diagnostic> {
        binary(&self.component)
    }
}

impl Member {
    pub fn is_page(&self) -> bool {
        self.interface
            .exports
            .iter()
            .any(|export| Handler::of(export).is_some())
    }
}

impl Parts {
    /// What each component imports and exports.
    pub fn interfaces(&self) -> Members {
        let members = self.members.iter().map(|part| &part.member);
        members
            .map(|member| (member.id.clone(), member.interface.clone()))
            .collect()
    }

    /// Drops all components but these.
    pub fn retain(&mut self, keep: impl Fn(&ComponentId) -> bool) {
        self.members.retain(|part| keep(&part.member.id));
    }

    /// The engine that can run all of them: one component that needs the event loop has it turn for all that
    /// it may meet in a store.
    pub(super) fn kind(&self) -> Kind {
        let kinds = self.members.iter().map(|part| part.member.kind);
        kinds.max().unwrap_or_default()
    }

    /// The components that answer requests.
    pub(super) fn pages(&self) -> impl Iterator<Item = &ComponentId> {
        let members = self.members.iter().map(|part| &part.member);
        members.filter(|member| member.is_page()).map(|member| &member.id)
    }

    /// Every core module, in the order of the components, with the component that it lies in.
    pub(super) fn modules(&self) -> impl Iterator<Item = (&Part, &SplitModule)> {
        self.members
            .iter()
            .flat_map(|part| part.member.modules.iter().map(move |module| (part, module)))
    }

    /// Identifies the composition: what is composed and for which stores, but neither code nor data.
    pub(super) fn composition(&self, wire: &Wire, sliced: bool) -> Digest {
        let text = format!("{:?} {wire:?} {sliced}", self.skeletons(|_| true));
        Digest::of(text.as_bytes())
    }

    /// Identifies one slice of a composition.
    pub(super) fn slice(&self, slice: &Slice, edges: &Graph) -> Digest {
        let members = self.skeletons(|id| slice.members.contains(id));
        Digest::of(format!("{members:?} {:?} {edges:?}", slice.serves).as_bytes())
    }

    fn skeletons(&self, of: impl Fn(&ComponentId) -> bool) -> Vec<String> {
        let members = self.members.iter().map(|part| &part.member);
        members
            .filter(|member| of(&member.id))
            .map(|member| format!("{} {}", member.id, member.skeleton_digest))
            .collect()
    }
}

/// What a component needs: by its types and instructions, or by what it imports.
fn kind(skeleton: &[u8], interface: &Interface) -> Kind {
    let without = WasmFeatures::all().difference(WasmFeatures::CM_ASYNC);
    let mut validator = Validator::new_with_features(without);
    // Its functions are left aside: none of this is in them.
    let is_plain = |payload: wasmparser::Result<Payload<'_>>| {
        payload.is_ok_and(|payload| validator.payload(&payload).is_ok())
    };
    let imports = interface.imports.iter();
    let imports_it = imports
        .into_iter()
        .any(|import| host::is_concurrent(&import.name));
    if imports_it || !Parser::new(0).parse_all(skeleton).all(is_plain) {
        Kind::CONCURRENT
    } else {
        Kind::PLAIN
    }
}

/// The component's binary: as read, or encoded from its text. Errors: neither text nor a component.
fn binary(component: &Component) -> Result<Bytes, Diagnostic> {
    let is_text = component.path.extension().is_some_and(|ending| ending == "wat");
    let content = component.bytes()?;
    let binary = match is_text.then(|| wat::parse_bytes(&content)).transpose() {
        Ok(Some(Cow::Owned(encoded))) => Bytes::from(encoded),
        Ok(_) => content,
        Err(mut error) => {
            error.set_path(&component.path);
            return Err(invalid(component, &error.to_string()));
        }
    };
    if binary.is_empty() {
        return Err(invalid(component, "the file is empty"));
    }
    if !b"\0asm".starts_with(&binary[..binary.len().min(4)]) {
        return Err(invalid(component, "the file is not WebAssembly"));
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
    .help("write the whole file again, best by a rename")
}

fn over_a_limit(component: &Component, excess: &Excess) -> Diagnostic {
    match excess {
        Excess::Unreadable(error) => invalid(component, &error.to_string()),
        Excess::Over { .. } => {
            let message = format!("{} has {excess}, the most for a component", component.id);
            Diagnostic::new("component-too-large", message)
                .file(&component.path)
                .help("divide it into several components")
        }
    }
}

fn core_module(component: &Component) -> Diagnostic {
    let message = format!("{} is a core module, not a component", component.id);
    Diagnostic::new("component-core-module", message)
        .file(&component.path)
        .help("build it with `--target wasm32-wasip2`, or turn it into one with `wasm-tools component new`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_needs_the_event_loop_gets_it() {
        for (text, expected) in [
            (r#"(import "wasi:io/error@0.2.0" (instance))"#, Kind::PLAIN),
            (r#"(core module (func unreachable))"#, Kind::PLAIN),
            (
                r#"(import "wasi:cli/environment@0.3.0" (instance))"#,
                Kind::CONCURRENT,
            ),
            ("(type (stream u8))", Kind::CONCURRENT),
            ("(type (func async))", Kind::CONCURRENT),
        ] {
            let component = wat::parse_str(format!("(component {text})")).unwrap();
            let interface = compose::interface(&component, &[]).unwrap();
            assert_eq!(kind(&component, &interface), expected, "{text}");
        }
    }
}
