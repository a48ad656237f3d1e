//! Components with a fault that really happens: where the component would start, answer, save or load, it
//! traps, loops, computes for long first or refuses. Pure bytes in, bytes out.
//!
//! `lifted` finds which core functions a component's interface is made of, `module` puts a function before
//! each.

mod lifted;
mod module;

use std::ops::Range;

use wasm_encoder::{Component, ComponentSectionId, RawSection};
use wasmparser::{BinaryReaderError, Parser, Payload};

use self::{
    lifted::{Lifted, lifted},
    module::Faulty,
};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Trap,
    /// It computes for ever.
    Loop,
    /// It computes for about a tenth of a second first.
    Slow,
    /// It says no: of `save` and `load` alone.
    Refuse,
}

/// When it goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// When the component is instantiated.
    Start,
    Load,
    Save,
    /// When any of its other functions is called.
    Request,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: Kind,
    pub on: Moment,
}

/// Why a component cannot be given a fault.
#[derive(Debug, thiserror::Error)]
pub enum CannotFault {
    #[error("it is no component: {0}")]
    Malformed(#[from] BinaryReaderError),
    #[error("it has no core module with code of its own")]
    NoCode,
    #[error("it exports no function of wasmhost:lifecycle/state")]
    NoState,
    #[error("it exports no function that a request could reach")]
    NoFunction,
    #[error("a core module of it cannot be written anew: {0}")]
    Module(String),
    #[error("only save and load can refuse")]
    NothingToRefuse,
}

impl Fault {
    /// `component`, a binary, with the fault in it.
    ///
    /// # Errors
    /// It is no component, or has nothing that could go wrong in this way.
    pub fn inject(self, component: &[u8]) -> Result<Vec<u8>, CannotFault> {
        if self.kind == Kind::Refuse && !matches!(self.on, Moment::Load | Moment::Save) {
            return Err(CannotFault::NothingToRefuse);
        }
        let mut injecting = Injecting {
            fault: self,
            injected: 0,
        };
        let faulty = injecting.component(component)?;
        match (injecting.injected, self.on) {
            (0, Moment::Start) => Err(CannotFault::NoCode),
            (0, Moment::Request) => Err(CannotFault::NoFunction),
            (0, Moment::Save | Moment::Load) => Err(CannotFault::NoState),
            _ => Ok(faulty),
        }
    }

    fn concerns(self, function: &Lifted) -> bool {
        let state = |name| function.is_of("wasmhost:lifecycle/state", name);
        match self.on {
            Moment::Start => false,
            Moment::Load => state("load"),
            Moment::Save => state("save"),
            Moment::Request => !function.is_lifecycle(),
        }
    }
}

struct Injecting {
    fault: Fault,
    /// In so many functions.
    injected: usize,
}

impl Injecting {
    /// Every section is copied but modules and nested components, which are written anew.
    fn component(&mut self, bytes: &[u8]) -> Result<Vec<u8>, CannotFault> {
        let mut functions = lifted(bytes)?;
        functions.retain(|function| self.fault.concerns(function));
        let mut faulty = Component::new();
        let (mut nested_until, mut modules) = (0, 0);
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload?;
            let section = payload.as_section();
            if section
                .as_ref()
                .is_some_and(|(_, range)| range.start < nested_until)
            {
                continue;
            }
            match payload {
                Payload::ModuleSection { unchecked_range, .. } => {
                    nested_until = unchecked_range.end;
                    let exports = functions.iter().filter(|function| function.module == modules);
                    let exports: Vec<&str> = exports.map(|function| function.export.as_str()).collect();
                    let data = self.module(slice(bytes, &unchecked_range)?, &exports)?;
                    modules += 1;
                    let id = ComponentSectionId::CoreModule.into();
                    faulty.section(&RawSection { id, data: &data });
                }
                Payload::ComponentSection { unchecked_range, .. } => {
                    nested_until = unchecked_range.end;
                    let data = self.component(slice(bytes, &unchecked_range)?)?;
                    let id = ComponentSectionId::Component.into();
                    faulty.section(&RawSection { id, data: &data });
                }
                _ => {
                    if let Some((id, range)) = section {
                        let data = slice(bytes, &range)?;
                        faulty.section(&RawSection { id, data });
                    }
                }
            }
        }
        Ok(faulty.finish())
    }

    fn module(&mut self, bytes: &[u8], exports: &[&str]) -> Result<Vec<u8>, CannotFault> {
        let at_start = self.fault.on == Moment::Start && self.injected == 0;
        let found = Faulty::of(bytes, self.fault.kind, exports, at_start)?;
        let Some(faulty) = found else {
            return Ok(bytes.to_vec());
        };
        self.injected += faulty.count();
        faulty.write(bytes)
    }
}

/// The parser tells where a section lies before it has seen its end.
fn slice<'a>(bytes: &'a [u8], range: &Range<usize>) -> Result<&'a [u8], CannotFault> {
    let cut_off = || CannotFault::Module("the file ends in the middle".into());
    bytes.get(range.clone()).ok_or_else(cut_off)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"(component
        (core module $code
            (memory (export "memory") 1)
            (func (export "answer") (param i32) (result i32) (local.get 0))
            (func (export "load") (param i32 i32 i32 i32) (result i32) (i32.const 0)))
        (core instance $code (instantiate $code))
        (func $answer (param "a" u32) (result u32) (canon lift (core func $code "answer")))
        (instance $api (export "answer" (func $answer)))
        (export "site:shop/api" (instance $api)))"#;

    fn faulty(kind: Kind, on: Moment) -> Result<String, CannotFault> {
        let component = wat::parse_str(PAGE).unwrap();
        let faulty = Fault { kind, on }.inject(&component)?;
        wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all())
            .validate_all(&faulty)
            .unwrap();
        let exports = Parser::new(0).parse_all(&faulty).find_map(|payload| {
            let Payload::ExportSection(section) = payload.unwrap() else {
                return None;
            };
            let exports = section.into_iter().map(|export| {
                let export = export.unwrap();
                format!("{}={}", export.name, export.index)
            });
            Some(exports.collect::<Vec<_>>().join(" "))
        });
        Ok(exports.unwrap())
    }

    #[test]
    fn a_function_is_put_before_what_a_request_reaches() {
        for kind in [Kind::Trap, Kind::Loop, Kind::Slow] {
            assert_eq!(faulty(kind, Moment::Request).unwrap(), "memory=0 answer=2 load=1");
            assert_eq!(faulty(kind, Moment::Start).unwrap(), "memory=0 answer=0 load=1");
        }
    }

    #[test]
    fn what_cannot_go_wrong_is_said() {
        let error = |kind, on| faulty(kind, on).unwrap_err().to_string();
        assert_eq!(
            error(Kind::Trap, Moment::Load),
            "it exports no function of wasmhost:lifecycle/state"
        );
        assert_eq!(
            error(Kind::Refuse, Moment::Start),
            "only save and load can refuse"
        );
        let fault = Fault {
            kind: Kind::Trap,
            on: Moment::Start,
        };
        assert!(fault.inject(b"no component").is_err());
    }
}
