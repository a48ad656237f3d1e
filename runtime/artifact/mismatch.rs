//! Why an import does not fit an export of the same name: what differs, in the words of WIT, with both
//! sides. Only for people: whether it fits is decided when composing. Pure.

use std::borrow::Cow;

use super::wit::{Function, Interface, Item, Type, case, definition, signature, title};
use crate::project::ComponentId;

/// What one component says of an interface.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    who: &'a ComponentId,
    interface: &'a Interface,
}

impl<'a> Side<'a> {
    pub fn new(who: &'a ComponentId, interface: &'a Interface) -> Self {
        Self { who, interface }
    }
}

/// How many differences are written out.
const MOST: usize = 3;

/// Characters of a type or signature; nobody reads more.
const LONGEST: usize = 1000;

fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// The differences between what is asked for and what is offered; `None` where there seem to be none.
/// What is offered beyond what is asked for is none.
pub fn explain(asked: Side<'_>, offered: Side<'_>) -> Option<String> {
    let comparison = Comparison { asked, offered };
    let items = asked.interface.items.iter();
    let differences: Vec<String> = items
        .filter_map(|(name, item)| comparison.item(name, item))
        .collect();
    let more = differences.len().saturating_sub(MOST);
    let mut text = differences.get(..MOST).unwrap_or(&differences).join("; ");
    if more > 0 {
        text += &format!("; and {more} more");
    }
    (!text.is_empty()).then_some(text)
}

/// The differences between what two components ask for.
pub fn both_ways(a: Side<'_>, b: Side<'_>) -> Option<String> {
    explain(a, b).or_else(|| explain(b, a))
}

struct Comparison<'a> {
    asked: Side<'a>,
    offered: Side<'a>,
}

impl Comparison<'_> {
    fn item(&self, name: &str, asked: &Item) -> Option<String> {
        let what = title(name, asked);
        let Some(offered) = self.offered.interface.get(name) else {
            let (importer, exporter) = (self.asked.who, self.offered.who);
            let written = definition(name, asked);
            return Some(format!(
                "{what}: {importer} asks for \"{written}\", {exporter} has none"
            ));
        };
        match (asked.itself(), offered.itself()) {
            (Item::Function(asked), Item::Function(offered)) => self.function(name, asked, offered),
            (Item::Type(asked), Item::Type(offered)) => self.definition(name, &what, asked, offered),
            (Item::Resource, Item::Resource) | (Item::Interface(_), Item::Interface(_)) => None,
            (asked, offered) if asked == offered => None,
            (asked, offered) => Some(self.both(name, &definition(name, asked), &definition(name, offered))),
        }
    }

    fn both(&self, what: &str, asked: &str, offered: &str) -> String {
        let (importer, exporter) = (self.asked.who, self.offered.who);
        let (asked, offered) = (shortened(asked), shortened(offered));
        format!("{what} is \"{asked}\" in {importer} but \"{offered}\" in {exporter}")
    }

    fn function(&self, name: &str, asked: &Function, offered: &Function) -> Option<String> {
        let what = title(name, &Item::Function(asked.clone()));
        let same_shape = asked.is_async == offered.is_async
            && asked.params.len() == offered.params.len()
            && asked.result.is_some() == offered.result.is_some();
        if !same_shape {
            return Some(self.both(&what, &signature(name, asked), &signature(name, offered)));
        }
        let pairs = asked.params.iter().zip(&offered.params).enumerate();
        for (index, (a, b)) in pairs {
            if a.0 != b.0 || !self.same(&a.1, &b.1) {
                let number = index + usize::from(!name.starts_with("[method]"));
                let what = format!("{what}: parameter {number}");
                return Some(self.both(&what, &field(a), &field(b)));
            }
        }
        match (&asked.result, &offered.result) {
            (Some(a), Some(b)) if !self.same(a, b) => {
                Some(self.both(&format!("{what}: the result"), &a.to_string(), &b.to_string()))
            }
            _ => None,
        }
    }

    fn definition(&self, name: &str, what: &str, asked: &Type, offered: &Type) -> Option<String> {
        let members = |of: &str, a: Vec<Member<'_>>, b: Vec<Member<'_>>| self.members(what, of, &a, &b);
        match (asked, offered) {
            (Type::Record(a), Type::Record(b)) => members("field", of_fields(a), of_fields(b)),
            (Type::Variant(a), Type::Variant(b)) => members("case", of_cases(a), of_cases(b)),
            (Type::Enum(a), Type::Enum(b)) => members("case", of_names(a), of_names(b)),
            (Type::Flags(a), Type::Flags(b)) => members("flag", of_names(a), of_names(b)),
            (a, b) if self.same(a, b) => None,
            (a, b) => {
                let same_kind = what == title(name, &Item::Type(b.clone()));
                let what = if same_kind { what } else { name };
                Some(self.both(what, &a.to_string(), &b.to_string()))
            }
        }
    }

    /// The first member of two types that differs.
    fn members(&self, what: &str, of: &str, asked: &[Member<'_>], offered: &[Member<'_>]) -> Option<String> {
        let differs = |index: &usize| match (asked.get(*index), offered.get(*index)) {
            (Some(a), Some(b)) => {
                a.name != b.name
                    || match (a.ty, b.ty) {
                        (Some(a), Some(b)) => !self.same(a, b),
                        (a, b) => a.is_some() != b.is_some(),
                    }
            }
            _ => true,
        };
        let index = (0..asked.len().max(offered.len())).find(differs)?;
        let what = format!("{what}: {of} {}", index + 1);
        let (importer, exporter) = (self.asked.who, self.offered.who);
        Some(match (asked.get(index), offered.get(index)) {
            (Some(a), Some(b)) => self.both(&what, &a.text, &b.text),
            (Some(a), None) => format!(
                "{what} is \"{}\" in {importer}, and {exporter} has no such {of}",
                a.text
            ),
            (None, b) => {
                let text = b.map_or("", |b| &b.text);
                format!("{what} is \"{text}\" in {exporter}, and {importer} has no such {of}")
            }
        })
    }

    /// Equal in structure. What has one name on both sides is compared where it is defined, so that a
    /// difference is told once.
    fn same(&self, a: &Type, b: &Type) -> bool {
        if let (Type::Named(a) | Type::Own(a), Type::Named(b) | Type::Own(b)) = (a, b)
            && a == b
        {
            return true;
        }
        let optional = |a: &Option<Type>, b: &Option<Type>| match (a, b) {
            (Some(a), Some(b)) => self.same(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        let (a, b) = (self.asked.interface.resolve(a), self.offered.interface.resolve(b));
        match (a, b) {
            (Type::Generic(a, of_a), Type::Generic(b, of_b)) => {
                a == b && of_a.len() == of_b.len() && of_a.iter().zip(of_b).all(|(a, b)| optional(a, b))
            }
            (Type::FixedList(a, length_a), Type::FixedList(b, length_b)) => {
                length_a == length_b && self.same(a, b)
            }
            (Type::Record(a), Type::Record(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && self.same(&a.1, &b.1))
            }
            (Type::Variant(a), Type::Variant(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && optional(&a.1, &b.1))
            }
            (a, b) => a == b,
        }
    }
}

/// A field, a case or a flag.
struct Member<'a> {
    name: &'a str,
    ty: Option<&'a Type>,
    /// As WIT writes it.
    text: String,
}

fn field((name, ty): &(String, Type)) -> String {
    format!("{name}: {ty}")
}

fn of_fields(fields: &[(String, Type)]) -> Vec<Member<'_>> {
    let members = fields.iter().map(|of| Member {
        name: &of.0,
        ty: Some(&of.1),
        text: field(of),
    });
    members.collect()
}

fn of_cases(cases: &[(String, Option<Type>)]) -> Vec<Member<'_>> {
    let members = cases.iter().map(|(name, ty)| Member {
        name,
        ty: ty.as_ref(),
        text: case(name, ty.as_ref()),
    });
    members.collect()
}

fn of_names(names: &[String]) -> Vec<Member<'_>> {
    let members = names.iter().map(|name| Member {
        name,
        ty: None,
        text: name.clone(),
    });
    members.collect()
}
