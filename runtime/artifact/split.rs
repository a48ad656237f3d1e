//! Takes the core modules out of a component: what is left, the skeleton, imports each module under
//! a *slot* name, so that the modules can be compiled once each, whoever contains them. Where possible
//! a module's data is taken apart from its code (see `data`).
//! Pure bytes in, bytes out; knows neither the engine nor what is running.
//!
//! A slot is named by component and index, never by content: a change of code or data alone leaves
//! the skeleton byte-identical, and with it its compiled form.

use std::{borrow::Cow, ops::Range, sync::Arc};

use bytes::Bytes;
use wasm_encoder::{
    Component, ComponentImportSection, ComponentSectionId, ComponentTypeRef, CoreTypeSection, ModuleType,
    RawSection,
};
use wasmparser::{BinaryReaderError, ComponentAliasSectionReader, InstanceSectionReader, Parser, Payload};

use super::{
    data::{self, Separable},
    globals::Globals,
    module_type::{self, Described, Undeclarable},
    renumber::{self, Numbers, Rest},
};
use crate::project::{ComponentId, Digest};

/// How far components are taken apart. It decides what a swap costs, never what is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Splitting {
    /// Modules out of components, and data out of modules.
    #[default]
    Apart,
    /// Modules out of components, each with its data.
    Split,
    /// Not at all: the composition is compiled as one.
    Whole,
}

/// What one component came apart into.
pub struct Split {
    /// The component without its core modules; the whole component where it could not be split.
    pub skeleton: Vec<u8>,
    /// The modules in the order in which the skeleton imports them. Empty where it could not be split.
    pub modules: Vec<SplitModule>,
    /// Why it stayed whole: slower to swap, never wrong.
    pub whole: Option<&'static str>,
}

impl Split {
    fn whole(bytes: &[u8], reason: &'static str) -> Self {
        Self {
            skeleton: bytes.to_vec(),
            modules: Vec::new(),
            whole: Some(reason),
        }
    }
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
    /// The code that imports its globals, as it was made for its type to be read.
    CodeOfGlobals(Bytes),
    Globals(Arc<Globals>),
}

impl SplitModule {
    /// The module's binary, out of the component that it was split from.
    pub fn bytes<'a>(&self, component: &'a [u8]) -> Cow<'a, [u8]> {
        let module = &component[self.range.clone()];
        match &self.half {
            Half::Both => Cow::Borrowed(module),
            Half::Code(separable) => Cow::Owned(separable.code(module)),
            Half::Data(separable) => Cow::Owned(separable.data(module)),
            Half::CodeOfGlobals(code) => Cow::Owned(code.to_vec()),
            Half::Globals(globals) => Cow::Owned(globals.values(module)),
        }
    }

    /// Where the whole module lies in the component's bytes.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// True for the data or globals of a module whose code has a slot of its own.
    pub fn is_data(&self) -> bool {
        matches!(self.half, Half::Data(_) | Half::Globals(_))
    }

    fn new(range: Range<usize>, half: Half) -> Self {
        Self {
            slot: String::new(),
            digest: Digest::of(b""),
            functions: 0,
            range,
            half,
        }
    }
}

/// Splits `bytes`, a component binary. `known` says of a digest of code that it was taken apart from its
/// data before. Errors: bytes that are no well-formed component.
pub fn split(
    id: &ComponentId,
    bytes: &[u8],
    splitting: Splitting,
    known: &dyn Fn(Digest) -> bool,
) -> Result<Split, Malformed> {
    let numbers = match splitting {
        Splitting::Apart if renumber::possible(bytes)? => Some(Numbers::default()),
        Splitting::Apart | Splitting::Split => None,
        Splitting::Whole => return Ok(Split::whole(bytes, "splitting is off")),
    };
    let mut splitter = Splitter {
        id,
        bytes,
        known,
        skeleton: Component::new(),
        modules: Vec::new(),
        numbers,
        pages: data::pages_imported(bytes)?,
    };
    match splitter.run() {
        Ok(()) => Ok(Split {
            skeleton: splitter.skeleton.finish(),
            modules: splitter.modules,
            whole: None,
        }),
        Err(Obstacle::Whole(reason)) => Ok(Split::whole(bytes, reason)),
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
    /// The most pages that a module of the component needs of a memory it imports.
    pages: u64,
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

    /// Puts imports of the exact types of the module, or of the two that it comes apart into, in its place.
    fn take_module(&mut self, range: Range<usize>) -> Result<(), Obstacle> {
        let module = self.section(&range)?;
        if self.numbers.is_some() {
            if let Some(separable) = Separable::find(module, self.pages, self.known)? {
                return self.take_data(&range, module, Arc::new(separable));
            }
            if let Some(globals) = Globals::find(module)?
                && let Some(code) = globals.code(module)
            {
                return self.take_globals(&range, module, Arc::new(globals), code);
            }
        }
        let Described { ty, functions } = module_type::describe(module, None)?;
        let slot = self.slot('m');
        let code = self.import(
            slot,
            &ty,
            SplitModule {
                digest: Digest::of(module),
                functions,
                ..SplitModule::new(range, Half::Both)
            },
        );
        self.number(code, None);
        Ok(())
    }

    fn take_data(
        &mut self,
        range: &Range<usize>,
        module: &[u8],
        separable: Arc<Separable>,
    ) -> Result<(), Obstacle> {
        let Described { ty, functions } = module_type::describe(module, Some(separable.memory()))?;
        let (code_slot, data_slot) = (self.slot('m'), self.slot('d'));
        let code = self.import(
            code_slot,
            &ty,
            SplitModule {
                digest: separable.code_digest(module),
                functions,
                ..SplitModule::new(range.clone(), Half::Code(separable.clone()))
            },
        );
        let data = self.import(
            data_slot,
            &separable.data_type(),
            SplitModule {
                digest: separable.data_digest(module),
                ..SplitModule::new(range.clone(), Half::Data(separable))
            },
        );
        self.number(code, Some(Rest::Data(data)));
        Ok(())
    }

    fn take_globals(
        &mut self,
        range: &Range<usize>,
        module: &[u8],
        globals: Arc<Globals>,
        code: Vec<u8>,
    ) -> Result<(), Obstacle> {
        let Described { ty, functions } = module_type::describe(&code, None)?;
        let (code_slot, values_slot) = (self.slot('m'), self.slot('d'));
        let code = self.import(
            code_slot,
            &ty,
            SplitModule {
                digest: globals.code_digest(module),
                functions,
                ..SplitModule::new(range.clone(), Half::CodeOfGlobals(code.into()))
            },
        );
        let values = self.import(
            values_slot,
            &globals.values_type(),
            SplitModule {
                digest: globals.values_digest(module),
                ..SplitModule::new(range.clone(), Half::Globals(globals))
            },
        );
        self.number(code, Some(Rest::Globals(values)));
        Ok(())
    }

    fn number(&mut self, code: u32, rest: Option<Rest>) {
        if let Some(numbers) = &mut self.numbers {
            numbers.module(code, rest);
        }
    }

    /// `m0-x1f…` for code and `d0-x1f…` for data: a kebab name, since a component id with its dots is none.
    fn slot(&self, kind: char) -> String {
        let number = self.modules.iter().filter(|module| !module.is_data()).count();
        let digest = Digest::of(self.id.as_str().as_bytes()).to_string();
        format!("{kind}{number}-x{}", &digest[..24])
    }

    /// Declares the import of a module. Returns its index: imports are all the modules that there are.
    fn import(&mut self, slot: String, ty: &ModuleType, module: SplitModule) -> u32 {
        let index = self.modules.len() as u32;
        let mut types = CoreTypeSection::new();
        types.ty().module(ty);
        self.skeleton.section(&types);
        let mut imports = ComponentImportSection::new();
        imports.import(slot.as_str(), ComponentTypeRef::Module(index));
        self.skeleton.section(&imports);
        self.modules.push(SplitModule { slot, ..module });
        index
    }
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

#[cfg(test)]
mod tests {
    use wasmparser::{Instance, Validator, WasmFeatures};

    use super::*;

    const MEMORY: &str = r#"(memory (export "memory") 1)"#;

    fn binary(component: &str) -> Vec<u8> {
        wat::parse_str(component).unwrap()
    }

    fn split_as(component: &[u8], splitting: Splitting) -> Split {
        let id = ComponentId::parse("shop.home").unwrap();
        split(&id, component, splitting, &|_| false).unwrap()
    }

    /// Splits a component, and checks what is true of every split.
    fn split_valid(component: &str) -> Split {
        let component = binary(component);
        for splitting in [Splitting::Whole, Splitting::Split, Splitting::Apart] {
            let split = split_as(&component, splitting);
            valid(&split.skeleton);
            for module in &split.modules {
                valid(&module.bytes(&component));
            }
        }
        split_as(&component, Splitting::Apart)
    }

    fn valid(binary: &[u8]) {
        Validator::new_with_features(WasmFeatures::all())
            .validate_all(binary)
            .unwrap();
    }

    /// `m0`, `d0`: the kinds and numbers of the slots.
    fn slots(split: &Split) -> Vec<&str> {
        let slots = split.modules.iter();
        slots
            .map(|module| module.slot.split_once('-').unwrap().0)
            .collect()
    }

    /// The core instances of a skeleton: `2(code=0)` is module 2 with instance 0, `()` a bag of exports.
    fn instances(split: &Split) -> Vec<String> {
        let mut found = Vec::new();
        for payload in Parser::new(0).parse_all(&split.skeleton) {
            let Payload::InstanceSection(section) = payload.unwrap() else {
                continue;
            };
            found.extend(section.into_iter().map(|instance| match instance.unwrap() {
                Instance::Instantiate { module_index, args } => {
                    let args = args.iter().map(|arg| format!("{}={}", arg.name, arg.index));
                    format!("{module_index}({})", args.collect::<Vec<_>>().join(" "))
                }
                Instance::FromExports(_) => "()".into(),
            }));
        }
        found
    }

    #[test]
    fn data_is_instantiated_right_after_its_code() {
        let split = split_valid(&format!(
            r#"(component
                (core module $plain (func (export "f")))
                (core module $data {MEMORY} (data (i32.const 0) "a"))
                (core module $user (import "x" "memory" (memory 1)) (import "y" "f" (func)))
                (core instance $plain (instantiate $plain))
                (core instance $data (instantiate $data))
                (core instance $bag (export "f" (func $plain "f")))
                (core instance (instantiate $user (with "x" (instance $data)) (with "y" (instance $bag)))))"#
        ));
        assert_eq!(slots(&split), ["m0", "m1", "d1", "m2"]);
        assert_eq!(instances(&split), ["0()", "1()", "2(code=1)", "()", "3(x=1 y=3)"]);
    }

    #[test]
    fn globals_are_instantiated_right_before_their_code() {
        let component = |code: &str| {
            format!(
                r#"(component
                    (core module $libc {MEMORY})
                    (core module $code (import "libc" "memory" (memory 1)) {code})
                    (core instance $libc (instantiate $libc))
                    (core instance $code (instantiate $code (with "libc" (instance $libc))))
                    (core instance (instantiate $code (with "libc" (instance $libc))))
                    (alias core export $code "f" (core func)))"#
            )
        };
        let function = r#"(func (export "f"))"#;
        let apart = |globals: &str| {
            let split = split_valid(&component(&format!("{globals} {function}")));
            assert_eq!(slots(&split), ["m0", "m1", "d1"], "{globals}");
            let with_globals = ["0()", "2()", "1(libc=0 globals=1)", "2()", "1(libc=0 globals=3)"];
            assert_eq!(instances(&split), with_globals, "{globals}");
        };
        apart("(global (mut i32) (i32.const 7))");
        apart(
            r#"(global (mut i64) (i64.const -1)) (global (export "g") f32 (f32.const 1)) (global f64 (f64.const 2))"#,
        );
        let in_one = |more: &str| {
            let split = split_valid(&component(&format!("{more} {function}")));
            assert_eq!(slots(&split), ["m0", "m1"], "{more}");
        };
        let global = "(global (mut i32) (i32.const 7))";
        in_one("");
        in_one("(global i32 (i32.const 7))");
        in_one("(global (mut i32) (i32.add (i32.const 3) (i32.const 4)))");
        in_one("(global $a (mut i32) (i32.const 7)) (global (mut funcref) (ref.null func))");
        in_one(&format!("{global} (func $start) (start $start)"));
        in_one(&format!("{global} (memory 1)"));
        in_one(&format!("{global} (data (i32.const 0) \"a\")"));
        in_one(&format!("{global} {}", "(func)".repeat(64)));
    }

    #[test]
    fn two_instances_of_one_module_have_their_data_each() {
        let split = split_valid(&format!(
            r#"(component
                (core module $data {MEMORY} (data (i32.const 0) "a"))
                (core module $user (import "x" "memory" (memory 1)) (import "y" "memory" (memory 1)))
                (core instance $one (instantiate $data))
                (core instance $two (instantiate $data))
                (core instance (instantiate $user (with "x" (instance $one)) (with "y" (instance $two))))
                (alias core export $two "memory" (core memory)))"#
        ));
        assert_eq!(slots(&split), ["m0", "d0", "m1"]);
        let expected = ["0()", "1(code=0)", "0()", "1(code=2)", "2(x=0 y=2)"];
        assert_eq!(instances(&split), expected);
    }

    #[test]
    fn where_others_name_modules_data_stays() {
        let split = split_valid(&format!(
            r#"(component $outer
                (core module $data {MEMORY} (data (i32.const 0) "a"))
                (core module $other)
                (component $inner
                    (alias outer $outer $data (core module $again))
                    (core instance (instantiate $again)))
                (instance (instantiate $inner))
                (core instance (instantiate $data)))"#
        ));
        assert_eq!(slots(&split), ["m0", "m1"]);
        assert_eq!(
            instances(&split),
            ["0()", "0()"],
            "the inner one's and the outer one's"
        );
        assert_eq!(split.whole, None);
    }

    #[test]
    fn nested_components_are_copied() {
        let component = format!(
            r#"(component
                (component $inner
                    (core module $data {MEMORY} (data (i32.const 0) "a"))
                    (core instance (instantiate $data)))
                (instance (instantiate $inner))
                (core module $mine {MEMORY} (data (i32.const 0) "b"))
                (core instance (instantiate $mine)))"#
        );
        let split = split_valid(&component);
        assert_eq!(slots(&split), ["m0", "d0"]);
        assert_eq!(instances(&split), ["0()", "0()", "1(code=0)"]);
    }

    #[test]
    fn core_types_keep_a_component_whole() {
        let split = split_valid("(component (core type $f (func)) (core module (func)))");
        assert_eq!(split.whole, Some("it declares core types of its own"));
        assert!(split.modules.is_empty());
    }

    #[test]
    fn a_module_with_a_start_keeps_its_data() {
        let split = split_valid(&format!(
            r#"(component (core module {MEMORY} (data (i32.const 0) "a") (func $start) (start $start)))"#
        ));
        assert_eq!(slots(&split), ["m0"]);
    }

    #[test]
    fn a_change_of_code_or_data_leaves_the_skeleton_as_it_is() {
        let component = |code: u32, data: &str| {
            format!(
                r#"(component
                    (core module $m {MEMORY} (data (i32.const 0) "{data}")
                        (func (export "f") (result i32) (i32.const {code})))
                    (core instance $m (instantiate $m))
                    (func $f (result u32) (canon lift (core func $m "f")))
                    (export "f" (func $f)))"#
            )
        };
        let before = split_valid(&component(1, "a"));
        let digests = |split: &Split| {
            split
                .modules
                .iter()
                .map(|module| module.digest)
                .collect::<Vec<_>>()
        };
        for (code, data) in [(1, "much longer"), (70_000, "a")] {
            let after = split_valid(&component(code, data));
            assert_eq!(after.skeleton, before.skeleton);
            let same: Vec<bool> = std::iter::zip(digests(&before), digests(&after))
                .map(|(a, b)| a == b)
                .collect();
            assert_eq!(same, [code == 1, data == "a"], "{code} {data}");
        }
    }

    #[test]
    fn a_larger_memory_leaves_the_code_and_the_skeleton_as_they_are() {
        let component = |pages: u32| {
            format!(
                r#"(component
                    (core module $m (memory (export "memory") {pages}) (data (i32.const 0) "a"))
                    (core module $user (import "x" "memory" (memory 2)))
                    (core instance $m (instantiate $m))
                    (core instance (instantiate $user (with "x" (instance $m)))))"#
            )
        };
        let (before, after) = (split_valid(&component(3)), split_valid(&component(40)));
        assert_eq!(slots(&before), ["m0", "d0", "m1"]);
        assert_eq!(before.skeleton, after.skeleton);
        let same: Vec<bool> = std::iter::zip(&before.modules, &after.modules)
            .map(|(before, after)| before.digest == after.digest)
            .collect();
        assert_eq!(same, [true, false, true]);
    }

    #[test]
    fn functions_are_counted_once() {
        let split = split_valid(&format!(
            r#"(component (core module {MEMORY} (data (i32.const 0) "a") (func) (func)) (core module (func)))"#
        ));
        let functions: Vec<u32> = split.modules.iter().map(|module| module.functions).collect();
        assert_eq!(functions, [2, 0, 1]);
    }

    #[test]
    fn a_component_in_the_place_of_a_module_is_not_read() {
        // Sections: a core module that has the header of a component.
        let mut component = binary("(component)");
        component.extend([1, 8]);
        component.extend(binary("(component)"));
        let split = split_as(&component, Splitting::Apart);
        assert!(split.whole.is_some() && split.modules.is_empty());
    }

    #[test]
    fn what_is_cut_off_is_malformed() {
        let component = binary(&format!(
            r#"(component (core module {MEMORY} (data (i32.const 0) "a")) (component (core module)))"#
        ));
        let id = ComponentId::parse("shop.home").unwrap();
        let mut ends = 0;
        for length in 0..component.len() {
            let cut = &component[..length];
            ends += usize::from(split(&id, cut, Splitting::Apart, &|_| false).is_ok());
        }
        assert_eq!(ends, 2, "the end of the header, and of the module");
    }
}
