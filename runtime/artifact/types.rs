//! The tables of wac into WIT that owns itself. Pure; decides nothing.

use std::{cell::Cell, collections::HashMap};

use wac_graph::types::{
    DefinedType, DefinedTypeId, FuncTypeId, InterfaceId, ItemKind, ResourceId, Type as WacType, Types,
    ValueType, WorldId,
};

use super::wit::{Function, Interface, Item, Type, World};

/// Types written out for one component. A binary says once what WIT has to repeat wherever it is used, so
/// a few hundred bytes can stand for gigabytes: what is over is written as `…`.
const MOST_TYPES: usize = 200_000;

/// What a component imports and exports; imports that are not `wanted` are left out.
pub fn world(types: &Types, id: WorldId, wanted: impl Fn(&str) -> bool) -> World {
    let left = Cell::new(MOST_TYPES);
    let reader = Reader::new(types, &left);
    let world = &types[id];
    let items = |(name, kind): (&String, &ItemKind)| (name.clone(), reader.item(*kind));
    World {
        imports: world
            .imports
            .iter()
            .filter(|(name, _)| wanted(name))
            .map(items)
            .collect(),
        exports: world.exports.iter().map(items).collect(),
    }
}

/// What a name stands for that is no part of an interface.
pub fn item(types: &Types, kind: ItemKind) -> Item {
    Reader::new(types, &Cell::new(MOST_TYPES)).item(kind)
}

pub fn interface(types: &Types, id: InterfaceId) -> Interface {
    Reader::interface(types, id, &Cell::new(MOST_TYPES))
}

/// Reads types as one interface names them.
struct Reader<'a> {
    types: &'a Types,
    names: HashMap<DefinedTypeId, &'a str>,
    /// Types that may still be written out.
    left: &'a Cell<usize>,
}

impl<'a> Reader<'a> {
    fn new(types: &'a Types, left: &'a Cell<usize>) -> Self {
        Self {
            types,
            names: HashMap::new(),
            left,
        }
    }

    fn interface(types: &'a Types, id: InterfaceId, left: &'a Cell<usize>) -> Interface {
        let exports = &types[id].exports;
        let names = exports.iter().filter_map(|(name, kind)| match kind {
            ItemKind::Type(WacType::Value(ValueType::Defined(id))) => Some((*id, name.as_str())),
            _ => None,
        });
        let reader = Self {
            types,
            names: names.collect(),
            left,
        };
        let item = |(name, kind): (&String, &ItemKind)| {
            let item = reader.item(*kind);
            let used = types[id]
                .uses
                .get(name)
                .and_then(|used| types[used.interface].id.clone());
            let item = match used {
                Some(interface) => Item::Use(interface, Box::new(item)),
                None => item,
            };
            (name.clone(), item)
        };
        Interface {
            items: exports.iter().map(item).collect(),
        }
    }

    fn item(&self, kind: ItemKind) -> Item {
        match kind {
            ItemKind::Instance(id) => Item::Interface(Self::interface(self.types, id, self.left)),
            ItemKind::Func(id) => Item::Function(self.function(id)),
            ItemKind::Type(WacType::Resource(_)) => Item::Resource,
            // The definition itself, not its name.
            ItemKind::Type(WacType::Value(ValueType::Defined(id))) => Item::Type(self.defined(id)),
            ItemKind::Type(WacType::Value(ty)) => Item::Type(self.value(ty)),
            ItemKind::Type(_) => Item::Other("type"),
            ItemKind::Component(_) => Item::Other("component"),
            ItemKind::Module(_) => Item::Other("core module"),
            ItemKind::Value(_) => Item::Other("value"),
        }
    }

    fn function(&self, id: FuncTypeId) -> Function {
        let function = &self.types[id];
        let params = function.params.iter();
        Function {
            params: params.map(|(name, ty)| (name.clone(), self.value(*ty))).collect(),
            result: self.optional(function.result),
            is_async: function.is_async,
        }
    }

    fn value(&self, ty: ValueType) -> Type {
        match ty {
            ValueType::Primitive(ty) => Type::Primitive(ty.desc()),
            ValueType::Own(id) => Type::Own(self.resource(id)),
            ValueType::Borrow(id) => Type::Borrow(self.resource(id)),
            ValueType::Defined(id) => match self.names.get(&id) {
                Some(name) => Type::Named((*name).to_owned()),
                None => self.defined(id),
            },
        }
    }

    fn optional(&self, ty: Option<ValueType>) -> Option<Type> {
        ty.map(|ty| self.value(ty))
    }

    /// Where it comes from decides, not what a `use` may call it.
    fn resource(&self, id: ResourceId) -> String {
        self.types[self.types.resolve_resource(id)].name.clone()
    }

    fn defined(&self, id: DefinedTypeId) -> Type {
        match self.left.get().checked_sub(1) {
            Some(left) => self.left.set(left),
            None => return Type::Primitive("…"),
        }
        let generic = |name, params: &[Option<ValueType>]| {
            Type::Generic(name, params.iter().map(|ty| self.optional(*ty)).collect())
        };
        match &self.types[id] {
            DefinedType::Alias(ty) => self.value(*ty),
            DefinedType::Tuple(types) => {
                Type::Generic("tuple", types.iter().map(|ty| Some(self.value(*ty))).collect())
            }
            DefinedType::List(ty) => generic("list", &[Some(*ty)]),
            DefinedType::FixedSizeList(ty, length) => Type::FixedList(Box::new(self.value(*ty)), *length),
            DefinedType::Map(key, value) => generic("map", &[Some(*key), Some(*value)]),
            DefinedType::Option(ty) => generic("option", &[Some(*ty)]),
            DefinedType::Result { ok, err } => generic("result", &[*ok, *err]),
            DefinedType::Stream(ty) => generic("stream", &[*ty]),
            DefinedType::Future(ty) => generic("future", &[*ty]),
            DefinedType::Variant(variant) => {
                let cases = variant.cases.iter();
                Type::Variant(
                    cases
                        .map(|(name, ty)| (name.clone(), self.optional(*ty)))
                        .collect(),
                )
            }
            DefinedType::Record(record) => {
                let fields = record.fields.iter();
                Type::Record(fields.map(|(name, ty)| (name.clone(), self.value(*ty))).collect())
            }
            DefinedType::Flags(flags) => Type::Flags(flags.0.iter().cloned().collect()),
            DefinedType::Enum(cases) => Type::Enum(cases.0.iter().cloned().collect()),
        }
    }
}
