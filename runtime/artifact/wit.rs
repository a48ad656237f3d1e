//! Interfaces as WIT has them: owned, free of any parser's tables, to be shown and compared.
//! Knows neither bytes nor components.

use std::fmt;

/// What a component imports and exports, by name, in the order of its binary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    pub imports: Items,
    pub exports: Items,
}

pub type Items = Vec<(String, Item)>;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Interface(Interface),
    Function(Function),
    Type(Type),
    Resource,
    /// What another interface, of this name, defines.
    Use(String, Box<Item>),
    /// What WIT has no word for: a core module, a component.
    Other(&'static str),
}

/// Types, resources and functions under one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    pub items: Items,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    pub params: Vec<(String, Type)>,
    pub result: Option<Type>,
    pub is_async: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    Primitive(&'static str),
    /// A type that its interface defines under this name.
    Named(String),
    /// Handles, by the resource's name.
    Own(String),
    Borrow(String),
    /// `list`, `option`, `stream` and the like, with their parameters; `None` is written `_`.
    Generic(&'static str, Vec<Option<Type>>),
    FixedList(Box<Type>, u32),
    Record(Vec<(String, Type)>),
    Variant(Vec<(String, Option<Type>)>),
    Enum(Vec<String>),
    Flags(Vec<String>),
}

impl Interface {
    pub fn get(&self, name: &str) -> Option<&Item> {
        find(&self.items, name)
    }

    /// The type behind any number of names.
    pub fn resolve<'a>(&'a self, mut ty: &'a Type) -> &'a Type {
        // No WIT has a type that refers to itself, but the number of steps is bounded all the same.
        for _ in 0..self.items.len() {
            match ty {
                Type::Named(name) => match self.get(name).map(Item::itself) {
                    Some(Item::Type(definition)) => ty = definition,
                    _ => break,
                },
                _ => break,
            }
        }
        ty
    }
}

impl Item {
    /// What is behind a `use`.
    pub fn itself(&self) -> &Self {
        match self {
            Self::Use(_, item) => item,
            item => item,
        }
    }
}

pub fn find<'a>(items: &'a Items, name: &str) -> Option<&'a Item> {
    let found = items.iter().find(|(other, _)| other == name);
    found.map(|(_, item)| item)
}

/// A definition in WIT: `record link { label: string }`, `page.render: func() -> string`.
pub fn definition(name: &str, item: &Item) -> String {
    match item {
        Item::Type(Type::Record(_) | Type::Variant(_) | Type::Enum(_) | Type::Flags(_)) => {
            let text = item.to_string();
            let (keyword, body) = text.split_once(' ').unwrap_or((&text, ""));
            format!("{keyword} {name} {body}")
        }
        Item::Type(ty) => format!("type {name} = {ty}"),
        Item::Use(interface, _) => format!("use {interface}.{{{name}}}"),
        Item::Resource => format!("resource {name}"),
        Item::Function(function) => format!("{}: {}", plain(name), signature(name, function)),
        Item::Interface(_) | Item::Other(_) => format!("{item} {name}"),
    }
}

/// What an item is and its name: `record link`, `function page.render`.
pub fn title(name: &str, item: &Item) -> String {
    let kind = match item {
        Item::Interface(_) => "interface",
        Item::Function(_) => "function",
        Item::Resource => "resource",
        Item::Use(_, item) => return title(name, item),
        Item::Other(kind) => kind,
        Item::Type(Type::Record(_)) => "record",
        Item::Type(Type::Variant(_)) => "variant",
        Item::Type(Type::Enum(_)) => "enum",
        Item::Type(Type::Flags(_)) => "flags",
        Item::Type(_) => "type",
    };
    format!("{kind} {}", plain(name))
}

/// A function's type as WIT writes it inside its resource: without the handle to itself.
pub fn signature(name: &str, function: &Function) -> String {
    let Function {
        params,
        result,
        is_async,
    } = function;
    let is_method = name.starts_with("[method]");
    let params = fields(params.iter().skip(usize::from(is_method)));
    let result = result.as_ref().map(|ty| format!(" -> {ty}")).unwrap_or_default();
    if name.starts_with("[constructor]") {
        return format!("constructor({params})");
    }
    let stat = if name.starts_with("[static]") {
        "static "
    } else {
        ""
    };
    let asynchronous = if *is_async { "async " } else { "" };
    format!("{stat}{asynchronous}func({params}){result}")
}

/// A name without the brackets of the binary format: `[method]page.render` is `page.render`.
fn plain(name: &str) -> &str {
    name.rsplit_once(']').map_or(name, |(_, name)| name)
}

fn fields<'a>(fields: impl Iterator<Item = &'a (String, Type)>) -> String {
    let fields: Vec<_> = fields.map(|(name, ty)| format!("{name}: {ty}")).collect();
    fields.join(", ")
}

/// A case of a variant: `too-many(u32)`.
pub fn case(name: &str, payload: Option<&Type>) -> String {
    payload.map_or_else(|| name.to_owned(), |ty| format!("{name}({ty})"))
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(_) => f.write_str("interface"),
            Self::Function(function) => f.write_str(&signature("", function)),
            Self::Type(ty) => ty.fmt(f),
            Self::Resource => f.write_str("resource"),
            Self::Use(_, item) => item.fmt(f),
            Self::Other(kind) => f.write_str(kind),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Primitive(name) => f.write_str(name),
            Self::Named(name) | Self::Own(name) => f.write_str(name),
            Self::Borrow(name) => write!(f, "borrow<{name}>"),
            Self::Generic(name, params) => {
                // `result<_, string>`, but `result<string>` and `result`.
                let written = params
                    .iter()
                    .rposition(Option::is_some)
                    .map_or(0, |last| last + 1);
                if written == 0 {
                    return f.write_str(name);
                }
                let params = params[..written].iter();
                let params: Vec<_> = params
                    .map(|ty| ty.as_ref().map_or_else(|| "_".into(), ToString::to_string))
                    .collect();
                write!(f, "{name}<{}>", params.join(", "))
            }
            Self::FixedList(ty, length) => write!(f, "list<{ty}, {length}>"),
            Self::Record(members) => write!(f, "record {{ {} }}", fields(members.iter())),
            Self::Variant(cases) => {
                let cases: Vec<_> = cases.iter().map(|(name, ty)| case(name, ty.as_ref())).collect();
                write!(f, "variant {{ {} }}", cases.join(", "))
            }
            Self::Enum(cases) => write!(f, "enum {{ {} }}", cases.join(", ")),
            Self::Flags(flags) => write!(f, "flags {{ {} }}", flags.join(", ")),
        }
    }
}

/// Each definition of an interface, one a line.
pub fn definitions(interface: &Interface) -> impl Iterator<Item = String> {
    interface.items.iter().map(|(name, item)| definition(name, item))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_written_as_in_wit() {
        let check = |name: &str, item: Item, text: &str| assert_eq!(definition(name, &item), text);
        let string = || Type::Primitive("string");
        let function = |params: &[&str], result| {
            let params = params.iter().map(|name| ((*name).to_owned(), string()));
            Item::Function(Function {
                params: params.collect(),
                result,
                is_async: false,
            })
        };
        check("f", function(&["a", "b"], None), "f: func(a: string, b: string)");
        check(
            "[method]page.title",
            function(&["self"], Some(string())),
            "page.title: func() -> string",
        );
        check(
            "[constructor]page",
            function(&["title"], Some(Type::Own("page".into()))),
            "page: constructor(title: string)",
        );
        check("[static]page.of", function(&[], None), "page.of: static func()");
        check(
            "link",
            Item::Type(Type::Record(vec![("href".into(), string())])),
            "record link { href: string }",
        );
        let result = |ok, error| Item::Type(Type::Generic("result", vec![ok, error]));
        check("r", result(None, None), "type r = result");
        check("r", result(Some(string()), None), "type r = result<string>");
        check("r", result(None, Some(string())), "type r = result<_, string>");
        let cases = vec![("none".into(), None), ("some".into(), Some(string()))];
        check(
            "v",
            Item::Type(Type::Variant(cases)),
            "variant v { none, some(string) }",
        );
    }
}
