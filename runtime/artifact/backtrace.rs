//! Where a guest trapped: its functions by name, and by file and line where the component has debug
//! information. That is no part of the compiled code – an edit of a comment would compile it anew –, so it is
//! looked up in the component's file, if that still has the content that was compiled.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    ops::Range,
    sync::Arc,
};

use addr2line::{
    Context,
    gimli::{Dwarf, EndianSlice, LittleEndian},
};
use bytes::Bytes;
use wasmparser::{Parser, Payload, TypeRef};
use wasmtime::{FrameInfo, Module, WasmBacktrace};

use crate::{
    diagnostic::brief,
    project::{Component, ComponentId},
};

/// The code of one core module and where it comes from.
pub struct Code {
    pub module: Arc<Module>,
    /// Without its bytes.
    pub component: Component,
    /// Where the module lies in the component.
    pub range: Range<usize>,
}

/// The functions that were running, the innermost first.
pub struct Backtrace {
    frames: Vec<Frame>,
}

struct Frame {
    /// As it is shown.
    function: String,
    at: Option<At>,
}

/// A place in the code of a component.
struct At {
    component: Component,
    module: Range<usize>,
    function: u32,
    /// From the function's beginning.
    offset: usize,
}

/// The module that a frame is of.
fn code_of<'a>(frame: &FrameInfo, modules: &'a [Code]) -> Option<&'a Code> {
    let code = frame.module().image_range();
    modules.iter().find(|own| own.module.image_range() == code)
}

/// The component whose code trapped, as far as the error has a backtrace.
pub fn component_of<'a>(error: &wasmtime::Error, modules: &'a [Code]) -> Option<&'a ComponentId> {
    let backtrace = error.downcast_ref::<WasmBacktrace>()?;
    code_of(backtrace.frames().first()?, modules).map(|code| &code.component.id)
}

/// All that is known of an error, with the names of the guest as they can be shown.
pub fn explain_trap(error: &wasmtime::Error) -> String {
    let mut text = format!("{error:#}");
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        let frames = backtrace.frames().iter();
        let names = frames.flat_map(|frame| [frame.func_name(), frame.module().name()]);
        let names: BTreeSet<_> = names.flatten().collect();
        for name in names.into_iter().filter(|name| name.contains(char::is_control)) {
            text = text.replace(name, &plain(name));
        }
    }
    // Between the frames of a backtrace.
    let lines: Vec<_> = text.split('\n').map(plain).collect();
    lines.join("\n")
}

impl Backtrace {
    /// `None` where no guest was running.
    pub fn of(error: &wasmtime::Error, modules: &[Code]) -> Option<Self> {
        let backtrace = error.downcast_ref::<WasmBacktrace>()?;
        let frames = backtrace.frames().iter();
        let frames: Vec<_> = frames.map(|frame| Frame::of(frame, modules)).collect();
        (!frames.is_empty()).then_some(Self { frames })
    }

    /// A line for each function. Reads the files of their components, so it blocks.
    pub fn resolve(&self) -> String {
        let places = self.frames.iter().filter_map(|frame| frame.at.as_ref());
        let mut files = BTreeMap::new();
        for At { component, .. } in places {
            files
                .entry(component.id.clone())
                .or_insert_with(|| component.bytes().ok());
        }
        let mut text = String::new();
        for (number, Frame { function, at }) in self.frames.iter().enumerate() {
            let _ = write!(text, "\n  {number}: {function}");
            let place = at.as_ref().and_then(|at| {
                let file = files.get(&at.component.id)?.as_ref()?;
                at.find(file)
            });
            if let Some(place) = place {
                let _ = write!(text, "\n     at {place}");
            }
        }
        text
    }
}

impl Frame {
    fn of(frame: &FrameInfo, modules: &[Code]) -> Self {
        let code = code_of(frame, modules);
        let owner = code.map_or("wasmhost", |code| code.component.id.as_str());
        let function = match frame.func_name() {
            Some(name) => format!("{:#}", rustc_demangle::demangle(name)),
            None => format!("function {}", frame.func_index()),
        };
        let at = code.zip(frame.func_offset()).map(|(code, offset)| At {
            component: code.component.clone(),
            module: code.range.clone(),
            function: frame.func_index(),
            offset,
        });
        Self {
            function: format!("{owner}: {}", plain(&function)),
            at,
        }
    }
}

impl At {
    /// The line in the source, as `file:line:column`.
    fn find(&self, file: &Bytes) -> Option<String> {
        let module = file.get(self.module.clone())?;
        let (mut sections, mut probe) = (BTreeMap::new(), None);
        let (mut imported, mut code_start, mut body) = (0, 0, 0);
        for payload in Parser::new(0).parse_all(module) {
            match payload.ok()? {
                Payload::ImportSection(imports) => {
                    let imports = imports.into_imports().filter_map(Result::ok);
                    imported += imports
                        .filter(|import| matches!(import.ty, TypeRef::Func(_)))
                        .count();
                }
                Payload::CodeSectionStart { range, .. } => code_start = range.start,
                Payload::CodeSectionEntry(entry) => {
                    if imported + body == self.function as usize {
                        probe = Some(entry.range().start + self.offset - code_start);
                    }
                    body += 1;
                }
                Payload::CustomSection(section) => drop(sections.insert(section.name(), section.data())),
                _ => {}
            }
        }
        let load = |id: addr2line::gimli::SectionId| {
            let data = sections.get(id.name()).copied().unwrap_or_default();
            Ok::<_, addr2line::gimli::Error>(EndianSlice::new(data, LittleEndian))
        };
        let context = Context::from_dwarf(Dwarf::load(load).ok()?).ok()?;
        let location = context.find_location(probe? as u64).ok()??;
        let mut place = plain(location.file?);
        for number in [location.line, location.column].into_iter().flatten() {
            let _ = write!(place, ":{number}");
        }
        Some(place)
    }
}

/// Names are the guest's own: they are no lines, no commands to a terminal, and of no great length.
fn plain(name: &str) -> String {
    brief(name)
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
