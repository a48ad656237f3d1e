//! `wasmhost inspect`: one component file, described. Nothing is compiled.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::surface::builder;
use crate::{
    artifact::{
        CoreModule, Description, Producer,
        wit::{self, Item, Items},
    },
    diagnostic::Diagnostic,
    host::Handler,
    project::{Digest, GroupSpec},
};

/// What a component file is.
#[derive(Debug, Serialize)]
pub struct Inspection {
    pub file: PathBuf,
    pub kind: Kind,
    /// The interface by which a page is called.
    pub handler: Option<String>,
    /// Bytes.
    pub size: u64,
    pub digest: Digest,
    pub imports: Vec<Interface>,
    pub exports: Vec<Interface>,
    pub code: Code,
    pub producers: Vec<Producer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Page,
    Library,
}

#[derive(Debug, Serialize)]
pub struct Interface {
    pub name: String,
    /// In WIT.
    pub definitions: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Code {
    /// Core modules anywhere in the component, and their functions.
    pub modules: usize,
    pub functions: u64,
    /// Those that are compiled each for itself, and once for all that contain them.
    pub split: Vec<CoreModule>,
    /// How many of all lie in nested components: they are compiled with the group.
    pub nested: usize,
    /// Why none is, if none is: every change compiles the whole component.
    pub whole: Option<&'static str>,
}

/// Errors: a file that is no component.
pub fn inspect(file: &Path) -> Result<Inspection, Vec<Diagnostic>> {
    let group = GroupSpec::of_file(file).map_err(|diagnostic| vec![diagnostic])?;
    let (_ticking, builder) = builder()?;
    let parts = builder.read(&group)?;
    let described = group.components.into_iter().zip(parts.descriptions()).next();
    let Some(((_, component), (_, description))) = described else {
        let message = format!("{} is not a component", file.display());
        return Err(vec![Diagnostic::new("component-invalid", message).file(file)]);
    };
    let Description {
        world,
        modules,
        whole,
        modules_in_all,
        nested,
        functions,
        producers,
    } = description;
    let handlers = world
        .exports
        .iter()
        .filter_map(|(name, _)| Some((Handler::of(name)?, name)));
    let handler = handlers.max().map(|(_, name)| name.clone());
    Ok(Inspection {
        file: file.to_owned(),
        kind: if handler.is_some() {
            Kind::Page
        } else {
            Kind::Library
        },
        handler,
        size: component.size(),
        digest: component.digest,
        imports: interfaces(&world.imports),
        exports: interfaces(&world.exports),
        code: Code {
            modules: modules_in_all,
            functions,
            split: modules,
            nested,
            whole,
        },
        producers,
    })
}

fn interfaces(items: &Items) -> Vec<Interface> {
    let interface = |(name, item): &(String, Item)| Interface {
        name: name.clone(),
        definitions: match item {
            Item::Interface(interface) => wit::definitions(interface).collect(),
            item => vec![wit::definition(name, item)],
        },
    };
    items.iter().map(interface).collect()
}

/// Without what a terminal would obey: the text is a stranger's.
fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

/// For a terminal.
impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = bytesize::ByteSize(self.size);
        match &self.handler {
            Some(handler) => writeln!(f, "{}: a page, answers by {handler}", self.file.display())?,
            None => writeln!(f, "{}: a library", self.file.display())?,
        }
        writeln!(f, "size: {} bytes ({size})", self.size)?;
        writeln!(f, "digest: {}", self.digest)?;
        self.code.fmt(f)?;
        for Producer { role, name, version } in &self.producers {
            let [role, name, version] = [role, name, version].map(|text| printable(text));
            writeln!(f, "{role}: {name} {version}")?;
        }
        for (title, interfaces) in [("imports", &self.imports), ("exports", &self.exports)] {
            if interfaces.is_empty() {
                writeln!(f, "{title}: nothing")?;
                continue;
            }
            writeln!(f, "{title}:")?;
            for Interface { name, definitions } in interfaces {
                writeln!(f, "  {name}")?;
                // What the host offers is the same in every component.
                let shown = definitions.iter().filter(|_| !name.starts_with("wasi:"));
                shown.into_iter().try_for_each(|line| writeln!(f, "    {line}"))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            modules,
            functions,
            split,
            nested,
            whole,
        } = self;
        writeln!(f, "core modules: {modules}, with {functions} functions")?;
        if let Some(reason) = whole {
            return writeln!(f, "  linked whole, so every change compiles all of it: {reason}");
        }
        for (
            number,
            CoreModule {
                functions,
                bytes,
                data,
            },
        ) in split.iter().enumerate()
        {
            write!(f, "  {number}: {functions} functions, {bytes} bytes")?;
            match data {
                Some(data) => writeln!(f, "; data apart, {data} bytes")?,
                None => writeln!(f, ", code and data together")?,
            }
        }
        if *nested > 0 {
            writeln!(f, "  {nested} in nested components, compiled with the group")?;
        }
        Ok(())
    }
}
