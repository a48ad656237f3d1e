//! Takes the core modules out of a component: what is left, the skeleton, imports each module under
//! a *slot* name, so that the modules can be compiled once each, whoever contains them. Where possible
//! a module's data is taken apart from its code (see `data`).
//! Pure bytes in, bytes out; knows neither the engine nor what is running.
//!
//! A slot is named by component and index, never by content: a change of code or data alone leaves
//! the skeleton byte-identical, and with it its compiled form.

use std::{borrow::Cow, ops::Range, sync::Arc};

use wasm_encoder::{
    Component, ComponentImportSection, ComponentSectionId, ComponentTypeRef, CoreTypeSection, ModuleType,
    RawSection,
};
use wasmparser::{BinaryReaderError, ComponentAliasSectionReader, InstanceSectionReader, Parser, Payload};

use super::{
    data::Separable,
    module_type::{self, Undeclarable},
    renumber::{self, Numbers},
};
use crate::project::{ComponentId, Digest};

/// What one component came apart into.
pub struct Split {
    /// The component without its core modules; the whole component where it could not be split.
    pub skeleton: Vec<u8>,
    /// The modules in the order in which the skeleton imports them. Empty where it could not be split.
    pub modules: Vec<SplitModule>,
    /// Why it stayed whole: slower to swap, never wrong.
    pub whole: Option<&'static str>,
}

/// One core module that was taken out, or one half of it.
pub struct SplitModule {
    /// The name under which the skeleton imports it.
    pub slot: String,
    pub digest: Digest,
    /// How many functions it defines, which is what a compiler has to do.
    pub functions: u32,
    /// Where the module lies in the component's bytes.
    range: Range<usize>,
    half: Half,
}

/// What of a module a slot stands for.
enum Half {
    Both,
    Code(Arc<Separable>),
    Data(Arc<Separable>),
}

impl SplitModule {
    /// The module's binary, out of the component that it was split from.
    pub fn bytes<'a>(&self, component: &'a [u8]) -> Cow<'a, [u8]> {
        let module = &component[self.range.clone()];
        match &self.half {
            Half::Both => Cow::Borrowed(module),
            Half::Code(separable) => Cow::Owned(separable.code(module)),
            Half::Data(separable) => Cow::Owned(separable.data(module)),
        }
    }

    /// True for the data of a module whose code has a slot of its own.
    pub fn is_data(&self) -> bool {
        matches!(self.half, Half::Data(_))
    }
}

/// Splits `bytes`, a component binary. `known` says of a digest of code that it was taken apart from its
/// data before. Errors: bytes that are no well-formed component.
pub fn split(id: &ComponentId, bytes: &[u8], known: &dyn Fn(Digest) -> bool) -> Result<Split, Malformed> {
    let numbers = if renumber::possible(bytes)? {
        Some(Numbers::default())
    } else {
        None
    };
    let mut splitter = Splitter {
        id,
        bytes,
        known,
        skeleton: Component::new(),
        modules: Vec::new(),
        numbers,
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

impl From<Undeclarable> for Obstacle {
    fn from(reason: Undeclarable) -> Self {
        match reason {
            Undeclarable::Malformed(error) => error.into(),
            Undeclarable::Type(reason) => Self::Whole(reason),
        }
    }
}

struct Splitter<'a> {
    id: &'a ComponentId,
    bytes: &'a [u8],
    known: &'a dyn Fn(Digest) -> bool,
    skeleton: Component,
    modules: Vec<SplitModule>,
    /// How indices change where data gets modules and instances of its own; `None` where they cannot.
    numbers: Option<Numbers>,
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
                    self.copy(ComponentSectionId::Component.into(), &unchecked_range)?;
                }
                Payload::CoreTypeSection(_) => {
                    return Err(Obstacle::Whole("it declares core types of its own"));
                }
                Payload::InstanceSection(section) => self.copy_instances(section)?,
                Payload::ComponentAliasSection(section) => self.copy_aliases(section)?,
                Payload::CustomSection(_) => {}
                payload => {
                    if let Some((id, range)) = payload.as_section() {
                        self.copy(id, &range)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn copy(&mut self, id: u8, range: &Range<usize>) -> Result<(), Obstacle> {
        let data = self.section(range)?;
        self.skeleton.section(&RawSection { id, data });
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

    fn copy_instances(&mut self, section: InstanceSectionReader<'_>) -> Result<(), Obstacle> {
        match &mut self.numbers {
            Some(numbers) => self.skeleton.section(&numbers.instances(section)?),
            None => {
                let range = section.range();
                return self.copy(ComponentSectionId::CoreInstance.into(), &range);
            }
        };
        Ok(())
    }

    fn copy_aliases(&mut self, section: ComponentAliasSectionReader<'_>) -> Result<(), Obstacle> {
        match &self.numbers {
            Some(numbers) => self.skeleton.section(&numbers.aliases(section)?),
            None => {
                let range = section.range();
                return self.copy(ComponentSectionId::Alias.into(), &range);
            }
        };
        Ok(())
    }

    /// Puts imports of the exact types of the module, or of its code and its data, in its place.
    fn take_module(&mut self, range: Range<usize>) -> Result<(), Obstacle> {
        let module = self.section(&range)?;
        let described = module_type::describe(module)?;
        let separable = match self.numbers {
            Some(_) => Separable::find(module, self.known)?.map(Arc::new),
            None => None,
        };
        let number = self.modules.iter().filter(|module| !module.is_data()).count();
        let functions = described.functions;
        let code = self.import(&slot_name('m', number, self.id), &described.ty);
        let (digest, half) = match &separable {
            Some(separable) => (separable.code_digest(module), Half::Code(separable.clone())),
            None => (Digest::of(module), Half::Both),
        };
        self.modules.push(SplitModule {
            slot: slot_name('m', number, self.id),
            digest,
            functions,
            range: range.clone(),
            half,
        });
        let data = separable.map(|separable| {
            let slot = slot_name('d', number, self.id);
            let index = self.import(&slot, &separable.data_type());
            let digest = separable.data_digest(module);
            let half = Half::Data(separable);
            self.modules.push(SplitModule {
                slot,
                digest,
                functions: 0,
                range,
                half,
            });
            index
        });
        if let Some(numbers) = &mut self.numbers {
            numbers.module(code, data);
        }
        Ok(())
    }

    /// Declares the import of a module. Returns its index: imports are all the modules that there are.
    fn import(&mut self, slot: &str, ty: &ModuleType) -> u32 {
        let index = self.modules.len() as u32;
        let mut types = CoreTypeSection::new();
        types.ty().module(ty);
        self.skeleton.section(&types);
        let mut imports = ComponentImportSection::new();
        imports.import(slot, ComponentTypeRef::Module(index));
        self.skeleton.section(&imports);
        index
    }
}

/// `m0-x1f…` for code and `d0-x1f…` for data: a kebab name, since a component id with its dots is none.
fn slot_name(kind: char, number: usize, id: &ComponentId) -> String {
    let digest = Digest::of(id.as_str().as_bytes()).to_string();
    format!("{kind}{number}-x{}", &digest[..24])
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
