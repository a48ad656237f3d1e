//! Random groups: libraries that import each other's interfaces without a circle, and one page that
//! asks them. What a group answers depends on every value that crosses between its components and on
//! every byte of data in them, so a wire, a module, or a segment in the wrong place shows.

use arbtest::arbitrary::{Result, Unstructured};

use super::abi::{Definition, Scope, Type, Value, any_definition, any_type, many};

pub struct Group {
    pub interfaces: Vec<Interface>,
    /// The last one is the page.
    pub components: Vec<Component>,
}

pub struct Interface {
    /// Without its version.
    pub name: String,
    pub kind: Kind,
}

pub enum Kind {
    Functions {
        definitions: Vec<Definition>,
        functions: Vec<Function>,
    },
    /// A resource with a constructor and a method.
    Resource,
}

/// The result is a tuple of a number that depends on all that ever happened, and of a constant.
pub struct Function {
    pub params: Vec<Type>,
    pub constant: (Type, Value),
}

impl Function {
    pub fn result(&self) -> Type {
        Type::Tuple(vec![Type::U64, self.constant.0.clone()])
    }
}

pub struct Component {
    pub id: String,
    /// Indices of interfaces, and the patch versions of each.
    pub imports: Vec<(usize, u32)>,
    pub exports: Vec<(usize, u32)>,
    /// What each exported function calls; the page has one function.
    pub bodies: Vec<Vec<Call>>,
    pub shape: Shape,
    /// Changes the data and nothing else.
    pub seed: u64,
    /// Changes the code and nothing else.
    pub salt: u64,
    /// In a component around it.
    pub wrapped: bool,
}

pub enum Call {
    /// The n-th import's function, and arguments for it.
    Function(usize, usize, Vec<Value>),
    /// Makes, asks twice, and drops a resource of the n-th import.
    Resource(usize),
}

/// How a component's core modules are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As compilers do: the code owns the memory, and calls its imports through a table that is filled later.
    Table(Data),
    /// The memory is a module of its own, which the code imports.
    Libc(Data),
}

impl Shape {
    /// Whether the code's globals can be taken apart from it: nothing else of its own is in the way.
    pub fn has_globals_apart(self) -> bool {
        matches!(self, Self::Libc(Data::Plain | Data::Twice))
    }

    /// Whether data and globals have modules of their own, all that the seed is in.
    pub fn is_apart(self) -> bool {
        match self {
            Self::Table(data) => matches!(data, Data::Plain | Data::Twice),
            Self::Libc(data) => !matches!(data, Data::Passive | Data::Imported | Data::Aliased),
        }
    }
}

/// Where the data is, and what is peculiar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// With the memory.
    Plain,
    /// With the memory, and a function that reads it when the code is instantiated.
    Started,
    /// Copied by the code when it runs first.
    Passive,
    /// In two memories.
    TwoMemories,
    /// With the code, though the memory is imported (`Shape::Libc`).
    Imported,
    /// The same, and the memory is exported again.
    ImportedAndExported,
    /// With the memory, and the module has an instance before that nobody asks.
    Twice,
    /// With the memory, in a module that a component inside instantiates too.
    Aliased,
}

const DATA: [Data; 8] = [
    Data::Plain,
    Data::Started,
    Data::Passive,
    Data::TwoMemories,
    Data::Imported,
    Data::ImportedAndExported,
    Data::Twice,
    Data::Aliased,
];

pub fn group(u: &mut Unstructured<'_>) -> Result<Group> {
    let mut group = Group {
        interfaces: Vec::new(),
        components: Vec::new(),
    };
    for number in 0..u.int_in_range(1..=4)? {
        let before = group.interfaces.len();
        group.interfaces.extend(many(u, 1..=2, interface)?);
        for (index, interface) in group.interfaces.iter_mut().enumerate().skip(before) {
            interface.name = format!("gen:group/i{index}");
        }
        let exports = (before..group.interfaces.len())
            .map(|index| Ok((index, u.int_in_range(0..=3)?)))
            .collect::<Result<_>>()?;
        let library = component(u, format!("library{number}"), &group, before, exports)?;
        group.components.push(library);
    }
    let page = component(u, "page".into(), &group, group.interfaces.len(), Vec::new())?;
    group.components.push(page);
    Ok(group)
}

fn interface(u: &mut Unstructured<'_>) -> Result<Interface> {
    let kind = if u.ratio(1, 4)? {
        Kind::Resource
    } else {
        let mut definitions = Vec::new();
        for _ in 0..u.int_in_range(0..=3)? {
            definitions.push(any_definition(u, definitions.len())?);
        }
        let functions = many(u, 1..=3, |u| function(u, &definitions))?;
        Kind::Functions {
            definitions,
            functions,
        }
    };
    Ok(Interface {
        name: String::new(),
        kind,
    })
}

fn function(u: &mut Unstructured<'_>, definitions: &[Definition]) -> Result<Function> {
    let params = many(u, 0..=5, |u| any_type(u, definitions.len(), 2))?;
    let ty = any_type(u, definitions.len(), 2)?;
    let value = Scope(definitions).any_value(u, &ty)?;
    Ok(Function {
        params,
        constant: (ty, value),
    })
}

/// A component that imports some of the first `known` interfaces.
fn component(
    u: &mut Unstructured<'_>,
    id: String,
    group: &Group,
    known: usize,
    exports: Vec<(usize, u32)>,
) -> Result<Component> {
    let mut imports: Vec<(usize, u32)> = Vec::new();
    for index in 0..known {
        if u.ratio(1, 2)? || (id == "page" && index + 1 == known) {
            imports.push((index, u.int_in_range(0..=3)?));
        }
    }
    let functions = exports
        .iter()
        .map(|(index, _)| match &group.interfaces[*index].kind {
            Kind::Functions { functions, .. } => functions.len(),
            Kind::Resource => 0,
        });
    let functions: usize = if id == "page" { 1 } else { functions.sum() };
    // A page that asks nobody would show nothing.
    let calls = if id == "page" { 2..=4 } else { 0..=2 };
    let bodies = (0..functions).map(|_| many(u, calls.clone(), |u| call(u, group, &imports)));
    let bodies = bodies.map(|calls| Ok(calls?.into_iter().flatten().collect()));
    let bodies: Vec<Vec<Call>> = bodies.collect::<Result<_>>()?;
    let data = *u.choose(&DATA)?;
    let is_libc = matches!(data, Data::Imported | Data::ImportedAndExported) || u.ratio(1, 2)?;
    Ok(Component {
        id,
        imports,
        exports,
        bodies,
        shape: if is_libc {
            Shape::Libc(data)
        } else {
            Shape::Table(data)
        },
        seed: u.arbitrary()?,
        salt: u.arbitrary()?,
        wrapped: u.ratio(1, 5)?,
    })
}

fn call(u: &mut Unstructured<'_>, group: &Group, imports: &[(usize, u32)]) -> Result<Option<Call>> {
    if imports.is_empty() {
        return Ok(None);
    }
    let import = u.choose_index(imports.len())?;
    Ok(Some(match &group.interfaces[imports[import].0].kind {
        Kind::Resource => Call::Resource(import),
        Kind::Functions {
            definitions,
            functions,
        } => {
            let function = u.choose_index(functions.len())?;
            let params = functions[function].params.iter();
            let values = params
                .map(|ty| Scope(definitions).any_value(u, ty))
                .collect::<Result<_>>()?;
            Call::Function(import, function, values)
        }
    }))
}
