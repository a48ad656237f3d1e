//! A core module with functions put before those that it exports, or before its start. What was there stays
//! where it was.

use std::{collections::BTreeMap, convert::Infallible};

use wasm_encoder::{
    BlockType, CodeSection, ExportSection, Function, FunctionSection, Instruction, MemArg, Module, SectionId,
    StartSection, TypeSection, ValType,
    reencode::{self, Reencode},
};
use wasmparser::{BinaryReaderError, ExternalKind, Parser, Payload, TypeRef};

use super::{CannotFault, Kind};

/// How long it computes that is slow: about a tenth of a second.
const STEPS: i64 = 50_000_000;
const PAGE_SIZE: i32 = 65_536;
/// Why it says no, in words of eight bytes.
const REFUSAL: [&[u8; 8]; 3] = [b"injected", b" by the ", b"test kit"];
/// Where that lies, in the page of the answer.
const TEXT: i32 = 16;

/// What is put into one module.
pub struct Faulty {
    kind: Kind,
    wrappers: Vec<Wrapper>,
    /// Functions of the module before.
    functions: u32,
    /// By export, which wrapper stands for it.
    exports: BTreeMap<String, usize>,
    start: Option<Start>,
}

struct Wrapper {
    ty: u32,
    params: u32,
    /// What it stands before.
    calls: Option<u32>,
}

#[derive(Clone, Copy)]
struct Start {
    wrapper: usize,
    /// The type of a start function is new in the module.
    new_type: bool,
    /// The module had no start function.
    added: bool,
}

/// What a module has.
#[derive(Default)]
struct Inventory {
    /// Of each type, its parameters where it is a function's.
    types: Vec<Option<u32>>,
    /// Types without parameters and results.
    plain: Option<u32>,
    /// Types of functions, those that are imported first.
    functions: Vec<u32>,
    exports: BTreeMap<String, u32>,
    start: Option<u32>,
    has_code: bool,
}

impl Inventory {
    fn of(module: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut inventory = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::TypeSection(section) => {
                    for group in section {
                        group?.types().for_each(|ty| inventory.add_type(ty));
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        if let TypeRef::Func(ty) | TypeRef::FuncExact(ty) = import?.ty {
                            inventory.functions.push(ty);
                        }
                    }
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        inventory.functions.push(ty?);
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        if export.kind == ExternalKind::Func {
                            inventory.exports.insert(export.name.to_owned(), export.index);
                        }
                    }
                }
                Payload::StartSection { func, .. } => inventory.start = Some(func),
                Payload::CodeSectionStart { count, .. } => inventory.has_code = count > 0,
                _ => {}
            }
        }
        Ok(inventory)
    }

    fn add_type(&mut self, ty: &wasmparser::SubType) {
        let function = match &ty.composite_type.inner {
            wasmparser::CompositeInnerType::Func(function) => Some(function),
            _ => None,
        };
        if function.is_some_and(|function| function.params().is_empty() && function.results().is_empty()) {
            self.plain = self.plain.or(Some(count(self.types.len())));
        }
        let params = function.map(|function| count(function.params().len()));
        self.types.push(params);
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl Faulty {
    /// `None` where the module has nothing of it.
    pub fn of(
        module: &[u8],
        kind: Kind,
        exports: &[&str],
        at_start: bool,
    ) -> Result<Option<Self>, BinaryReaderError> {
        if exports.is_empty() && !at_start {
            return Ok(None);
        }
        let inventory = Inventory::of(module)?;
        let mut faulty = Self {
            kind,
            wrappers: Vec::new(),
            functions: count(inventory.functions.len()),
            exports: BTreeMap::new(),
            start: None,
        };
        for export in exports {
            let function = inventory.exports.get(*export).copied();
            let Some(ty) = function.and_then(|function| inventory.functions.get(function as usize)) else {
                continue;
            };
            let params = inventory.types.get(*ty as usize).copied().flatten();
            faulty.exports.insert((*export).to_owned(), faulty.wrappers.len());
            faulty.wrappers.push(Wrapper {
                ty: *ty,
                params: params.unwrap_or(0),
                calls: function,
            });
        }
        if at_start && inventory.has_code {
            faulty.start = Some(Start {
                wrapper: faulty.wrappers.len(),
                new_type: inventory.plain.is_none(),
                added: inventory.start.is_none(),
            });
            faulty.wrappers.push(Wrapper {
                ty: inventory.plain.unwrap_or(count(inventory.types.len())),
                params: 0,
                calls: inventory.start,
            });
        }
        Ok((!faulty.wrappers.is_empty()).then_some(faulty))
    }

    /// How many functions go wrong.
    pub fn count(&self) -> usize {
        self.wrappers.len()
    }

    /// The module that it was made of, with it.
    pub fn write(mut self, module: &[u8]) -> Result<Vec<u8>, CannotFault> {
        let mut written = Module::new();
        self.parse_core_module(&mut written, Parser::new(0), module)
            .map_err(|error| CannotFault::Module(error.to_string()))?;
        Ok(written.finish())
    }

    fn index(&self, wrapper: usize) -> u32 {
        self.functions + count(wrapper)
    }

    fn body(&self, wrapper: &Wrapper) -> Function {
        let mut body = Function::new([(1, ValType::I64), (1, ValType::I32)]);
        let (steps, page) = (wrapper.params, wrapper.params + 1);
        match self.kind {
            Kind::Trap => {
                body.instruction(&Instruction::Unreachable);
            }
            Kind::Loop => {
                body.instruction(&Instruction::Loop(BlockType::Empty))
                    .instruction(&Instruction::Br(0))
                    .instruction(&Instruction::End)
                    .instruction(&Instruction::Unreachable);
            }
            Kind::Slow => {
                count_down(&mut body, steps);
                if let Some(function) = wrapper.calls {
                    for param in 0..wrapper.params {
                        body.instruction(&Instruction::LocalGet(param));
                    }
                    body.instruction(&Instruction::Call(function));
                }
            }
            Kind::Refuse => refuse(&mut body, page),
        }
        body.instruction(&Instruction::End);
        body
    }
}

fn count_down(body: &mut Function, steps: u32) {
    body.instruction(&Instruction::I64Const(STEPS))
        .instruction(&Instruction::LocalSet(steps))
        .instruction(&Instruction::Loop(BlockType::Empty))
        .instruction(&Instruction::LocalGet(steps))
        .instruction(&Instruction::I64Const(1))
        .instruction(&Instruction::I64Sub)
        .instruction(&Instruction::LocalTee(steps))
        .instruction(&Instruction::I64Eqz)
        .instruction(&Instruction::I32Eqz)
        .instruction(&Instruction::BrIf(0))
        .instruction(&Instruction::End);
}

/// Answers with the error of a `result<_, string>`, in memory that the guest does not know.
fn refuse(body: &mut Function, page: u32) {
    let at = |offset, align| MemArg {
        offset,
        align,
        memory_index: 0,
    };
    let length = REFUSAL.iter().fold(0, |length, word| length + word.len() as i32);
    body.instruction(&Instruction::I32Const(1))
        .instruction(&Instruction::MemoryGrow(0))
        .instruction(&Instruction::I32Const(PAGE_SIZE))
        .instruction(&Instruction::I32Mul)
        .instruction(&Instruction::LocalTee(page))
        .instruction(&Instruction::I32Const(1))
        .instruction(&Instruction::I32Store(at(0, 2)))
        .instruction(&Instruction::LocalGet(page))
        .instruction(&Instruction::LocalGet(page))
        .instruction(&Instruction::I32Const(TEXT))
        .instruction(&Instruction::I32Add)
        .instruction(&Instruction::I32Store(at(4, 2)))
        .instruction(&Instruction::LocalGet(page))
        .instruction(&Instruction::I32Const(length))
        .instruction(&Instruction::I32Store(at(8, 2)));
    for (word, offset) in REFUSAL.into_iter().zip((TEXT as u64..).step_by(8)) {
        body.instruction(&Instruction::LocalGet(page))
            .instruction(&Instruction::I64Const(i64::from_le_bytes(*word)))
            .instruction(&Instruction::I64Store(at(offset, 3)));
    }
    body.instruction(&Instruction::LocalGet(page));
}

type Written = Result<(), reencode::Error<Infallible>>;

impl Reencode for Faulty {
    type Error = Infallible;

    fn parse_type_section(
        &mut self,
        types: &mut TypeSection,
        section: wasmparser::TypeSectionReader<'_>,
    ) -> Written {
        reencode::utils::parse_type_section(self, types, section)?;
        if self.start.is_some_and(|start| start.new_type) {
            types.ty().function([], []);
        }
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: wasmparser::FunctionSectionReader<'_>,
    ) -> Written {
        reencode::utils::parse_function_section(self, functions, section)?;
        for wrapper in &self.wrappers {
            functions.function(wrapper.ty);
        }
        Ok(())
    }

    fn parse_export(&mut self, exports: &mut ExportSection, export: wasmparser::Export<'_>) -> Written {
        let wrapper = self.exports.get(export.name).copied();
        match wrapper.filter(|_| export.kind == ExternalKind::Func) {
            Some(wrapper) => {
                exports.export(export.name, wasm_encoder::ExportKind::Func, self.index(wrapper));
                Ok(())
            }
            None => reencode::utils::parse_export(self, exports, export),
        }
    }

    fn start_section(&mut self, start: u32) -> Result<u32, reencode::Error<Infallible>> {
        Ok(self.start.map_or(start, |start| self.index(start.wrapper)))
    }

    /// A start section that was not there comes before the elements, which come before the code.
    fn intersperse_section_hook(
        &mut self,
        module: &mut Module,
        _after: Option<SectionId>,
        before: Option<SectionId>,
    ) -> Written {
        let is_past = |before: SectionId| {
            matches!(
                before,
                SectionId::Element | SectionId::DataCount | SectionId::Code
            )
        };
        if let Some(start) = self.start
            && start.added
            && before.is_some_and(is_past)
        {
            let function_index = self.index(start.wrapper);
            module.section(&StartSection { function_index });
            self.start = Some(Start {
                added: false,
                ..start
            });
        }
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: wasmparser::CodeSectionReader<'_>,
    ) -> Written {
        reencode::utils::parse_code_section(self, code, section)?;
        for wrapper in &self.wrappers {
            code.function(&self.body(wrapper));
        }
        Ok(())
    }
}
