//! What a component is made of, for people: its interfaces in WIT, its core modules, who produced it.
//! Pure; nothing that serves depends on it.

use std::collections::BTreeMap;

use serde::Serialize;
use wac_graph::types::{Package, Types};
use wasmparser::{KnownCustom, Parser, Payload, ProducersSectionReader};

use super::{
    Parts,
    parts::{Member, Part},
    types,
    wit::World,
};
use crate::project::ComponentId;

/// One component, described.
#[derive(Clone, Debug)]
pub struct Description {
    pub world: World,
    /// The core modules that were taken out. Empty for a component that is linked whole.
    pub modules: Vec<CoreModule>,
    /// Why it is linked whole, if it is: slower to swap, never wrong.
    pub whole: Option<&'static str>,
    /// Core modules anywhere in it, those in nested components included.
    pub modules_in_all: usize,
    /// Those in nested components: they stay where they are.
    pub nested: usize,
    /// Functions of those modules.
    pub functions: u64,
    pub producers: Vec<Producer>,
}

/// One core module of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CoreModule {
    pub functions: u32,
    /// Bytes, without the data where that is apart.
    pub bytes: usize,
    /// Bytes of the data, where it is compiled apart from the code: an edit of data alone compiles nothing.
    pub data: Option<usize>,
}

/// A tool or language that says it took part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Producer {
    /// `language`, `processed-by`, `sdk`.
    pub role: String,
    pub name: String,
    pub version: String,
}

impl Parts {
    /// What every component imports and exports, in WIT.
    pub fn worlds(&self) -> BTreeMap<ComponentId, World> {
        let members = self.members.iter().map(|part| &part.member);
        members.map(|member| (member.id.clone(), world(member))).collect()
    }

    /// Of all whose files were held, or are still the same.
    pub fn descriptions(&self) -> BTreeMap<ComponentId, Description> {
        let describe = |part: &Part| {
            let binary = part.binary().ok()?;
            Some((part.member.id.clone(), describe(&part.member, &binary)))
        };
        self.members.iter().filter_map(describe).collect()
    }
}

fn world(member: &Member) -> World {
    let mut types = Types::default();
    let wanted = |name: &str| member.interface.imports.iter().any(|import| import.name == name);
    // It was read before, or it would be no member.
    match Package::from_bytes("a:member", None, member.skeleton.as_slice(), &mut types) {
        Ok(package) => types::world(&types, package.ty(), wanted),
        Err(_) => World::default(),
    }
}

fn describe(member: &Member, binary: &[u8]) -> Description {
    let mut modules: Vec<CoreModule> = Vec::new();
    for module in &member.modules {
        let bytes = module.bytes(binary).len();
        match modules.last_mut() {
            // The half with the data comes right after the half with the code.
            Some(code) if module.is_data() => code.data = Some(bytes),
            _ => modules.push(CoreModule {
                functions: module.functions,
                bytes,
                data: None,
            }),
        }
    }
    let mut description = Description {
        world: world(member),
        modules,
        whole: member.whole,
        modules_in_all: 0,
        nested: 0,
        functions: 0,
        producers: Vec::new(),
    };
    for payload in Parser::new(0).parse_all(binary).flatten() {
        match payload {
            Payload::ModuleSection { .. } => description.modules_in_all += 1,
            Payload::FunctionSection(section) => description.functions += u64::from(section.count()),
            Payload::CustomSection(custom) => {
                if let KnownCustom::Producers(section) = custom.as_known() {
                    description.producers.extend(producers(section));
                }
            }
            _ => {}
        }
    }
    if member.whole.is_none() {
        let taken_out = member.modules.iter().filter(|module| !module.is_data()).count();
        description.nested = description.modules_in_all.saturating_sub(taken_out);
    }
    description.producers.sort();
    description.producers.dedup();
    description
}

/// What cannot be read is left out: nobody depends on it.
fn producers(section: ProducersSectionReader<'_>) -> Vec<Producer> {
    let fields = section.into_iter().flatten();
    let values = fields.flat_map(|field| {
        field
            .values
            .into_iter()
            .flatten()
            .map(move |value| (field.name, value))
    });
    let producer = |(role, value): (&str, wasmparser::ProducersFieldValue<'_>)| Producer {
        role: role.to_owned(),
        name: value.name.to_owned(),
        version: value.version.to_owned(),
    };
    values.map(producer).collect()
}
