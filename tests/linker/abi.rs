//! Value types of the component model, their values, and how both lie in memory: enough of the
//! canonical ABI to write components by hand that pass values of any shape.

use arbtest::arbitrary::{Result, Unstructured};

#[derive(Clone, Debug)]
pub enum Type {
    Bool,
    U8,
    U32,
    U64,
    F64,
    Char,
    String,
    List(Box<Type>),
    Tuple(Vec<Type>),
    Option(Box<Type>),
    Result(Box<Type>, Box<Type>),
    /// One of the definitions of its interface.
    Named(usize),
}

/// A type that has to have a name.
#[derive(Clone, Debug)]
pub enum Definition {
    Record(Vec<Type>),
    Variant(Vec<Option<Type>>),
    Enum(usize),
    Flags(usize),
}

#[derive(Clone, Debug)]
pub enum Value {
    /// An integer, a character, flags; a float by its bits.
    Number(u64),
    Text(&'static str),
    List(Vec<Value>),
    Fields(Vec<Value>),
    Case(usize, Option<Box<Value>>),
}

/// A core type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flat {
    I32,
    I64,
    F64,
}

/// More are passed in memory.
const MOST_FLAT_PARAMS: usize = 16;

/// What lies in a memory from `base` on.
pub struct Image {
    pub base: u32,
    pub bytes: Vec<u8>,
}

impl Image {
    pub fn allocate(&mut self, size: u32, align: u32) -> u32 {
        let at = (self.base + self.bytes.len() as u32).next_multiple_of(align);
        self.bytes.resize((at + size - self.base) as usize, 0);
        at
    }

    pub fn write(&mut self, at: u32, bytes: &[u8]) {
        let at = (at - self.base) as usize;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

impl Flat {
    pub fn wat(self) -> &'static str {
        match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }

    /// An instruction that leaves the bits as a value of this type.
    pub fn constant(self, bits: u64) -> String {
        match self {
            Self::I32 => format!("(i32.const {})", bits as u32),
            Self::I64 => format!("(i64.const {bits})"),
            Self::F64 => format!("(f64.reinterpret_i64 (i64.const {bits}))"),
        }
    }

    /// The type of a slot that holds values of either.
    fn join(self, other: Self) -> Self {
        if self == other { self } else { Self::I64 }
    }
}

/// The definitions of one interface.
pub struct Scope<'a>(pub &'a [Definition]);

impl Scope<'_> {
    /// The type in text; `prefix` and a number name the definitions.
    pub fn wat(&self, ty: &Type, prefix: &str) -> String {
        let wat = |ty: &Type| self.wat(ty, prefix);
        match ty {
            Type::Bool => "bool".into(),
            Type::U8 => "u8".into(),
            Type::U32 => "u32".into(),
            Type::U64 => "u64".into(),
            Type::F64 => "f64".into(),
            Type::Char => "char".into(),
            Type::String => "string".into(),
            Type::List(item) => format!("(list {})", wat(item)),
            Type::Tuple(items) => format!("(tuple {})", items.iter().map(wat).collect::<Vec<_>>().join(" ")),
            Type::Option(some) => format!("(option {})", wat(some)),
            Type::Result(ok, error) => format!("(result {} (error {}))", wat(ok), wat(error)),
            Type::Named(index) => format!("${prefix}{index}"),
        }
    }

    pub fn definition_wat(&self, definition: &Definition, prefix: &str) -> String {
        let labels = |count: usize| (0..count).map(|n| format!(" \"l{n}\"")).collect::<String>();
        match definition {
            Definition::Record(fields) => {
                let fields = fields.iter().enumerate();
                let fields = fields.map(|(n, ty)| format!(" (field \"f{n}\" {})", self.wat(ty, prefix)));
                format!("(record{})", fields.collect::<String>())
            }
            Definition::Variant(cases) => {
                let cases = cases.iter().enumerate().map(|(n, case)| match case {
                    Some(ty) => format!(" (case \"c{n}\" {})", self.wat(ty, prefix)),
                    None => format!(" (case \"c{n}\")"),
                });
                format!("(variant{})", cases.collect::<String>())
            }
            Definition::Enum(count) => format!("(enum{})", labels(*count)),
            Definition::Flags(count) => format!("(flags{})", labels(*count)),
        }
    }

    fn fields(&self, ty: &Type) -> Option<Vec<Type>> {
        match ty {
            Type::Tuple(fields) => Some(fields.clone()),
            Type::Named(index) => match &self.0[*index] {
                Definition::Record(fields) => Some(fields.clone()),
                _ => None,
            },
            _ => None,
        }
    }

    fn cases(&self, ty: &Type) -> Option<Vec<Option<Type>>> {
        match ty {
            Type::Option(some) => Some(vec![None, Some((**some).clone())]),
            Type::Result(ok, error) => Some(vec![Some((**ok).clone()), Some((**error).clone())]),
            Type::Named(index) => match &self.0[*index] {
                Definition::Variant(cases) => Some(cases.clone()),
                Definition::Enum(count) => Some(vec![None; *count]),
                _ => None,
            },
            _ => None,
        }
    }

    /// Size and alignment.
    pub fn layout(&self, ty: &Type) -> (u32, u32) {
        if let Some(fields) = self.fields(ty) {
            let (mut size, mut most) = (0_u32, 1);
            for field in &fields {
                let (field, align) = self.layout(field);
                size = size.next_multiple_of(align) + field;
                most = most.max(align);
            }
            return (size.next_multiple_of(most), most);
        }
        if let Some(cases) = self.cases(ty) {
            let (payload, align) = self.payload(&cases);
            return ((align + payload).next_multiple_of(align), align);
        }
        match ty {
            Type::Bool | Type::U8 => (1, 1),
            Type::U32 | Type::Char => (4, 4),
            Type::U64 | Type::F64 => (8, 8),
            Type::Named(index) => match &self.0[*index] {
                Definition::Flags(..=8) => (1, 1),
                Definition::Flags(..=16) => (2, 2),
                _ => (4, 4),
            },
            _ => (8, 4),
        }
    }

    /// Size and alignment of what lies behind the discriminant, which is one byte.
    fn payload(&self, cases: &[Option<Type>]) -> (u32, u32) {
        let layouts = cases.iter().flatten().map(|case| self.layout(case));
        layouts.fold((0, 1), |(size, align), (case, case_align)| {
            (size.max(case), align.max(case_align))
        })
    }

    pub fn flat(&self, ty: &Type) -> Vec<Flat> {
        if let Some(fields) = self.fields(ty) {
            return fields.iter().flat_map(|field| self.flat(field)).collect();
        }
        if let Some(cases) = self.cases(ty) {
            let mut joined: Vec<Flat> = Vec::new();
            for flat in cases.iter().flatten().map(|case| self.flat(case)) {
                for (slot, flat) in flat.into_iter().enumerate() {
                    match joined.get_mut(slot) {
                        Some(slot) => *slot = slot.join(flat),
                        None => joined.push(flat),
                    }
                }
            }
            joined.insert(0, Flat::I32);
            return joined;
        }
        match ty {
            Type::U64 => vec![Flat::I64],
            Type::F64 => vec![Flat::F64],
            Type::String | Type::List(_) => vec![Flat::I32, Flat::I32],
            _ => vec![Flat::I32],
        }
    }

    /// The core parameters of a function; one pointer where there would be too many.
    pub fn params(&self, params: &[Type]) -> Vec<Flat> {
        let flat: Vec<Flat> = params.iter().flat_map(|ty| self.flat(ty)).collect();
        if flat.len() > MOST_FLAT_PARAMS {
            vec![Flat::I32]
        } else {
            flat
        }
    }

    /// Core arguments, with what they point to in `image`.
    pub fn arguments(&self, params: &[Type], values: &[Value], image: &mut Image) -> Vec<(Flat, u64)> {
        if self.params(params).len() < params.iter().map(|ty| self.flat(ty).len()).sum() {
            let tuple = Type::Tuple(params.to_vec());
            let (size, align) = self.layout(&tuple);
            let at = image.allocate(size, align);
            self.store(&tuple, &Value::Fields(values.to_vec()), at, image);
            return vec![(Flat::I32, at.into())];
        }
        let arguments = params.iter().zip(values);
        arguments
            .flat_map(|(ty, value)| self.lower(ty, value, image))
            .collect()
    }

    fn lower(&self, ty: &Type, value: &Value, image: &mut Image) -> Vec<(Flat, u64)> {
        match value {
            Value::Number(bits) => vec![(self.flat(ty)[0], *bits)],
            Value::Text(_) | Value::List(_) => {
                let (at, length) = self.store_list(ty, value, image);
                vec![(Flat::I32, at.into()), (Flat::I32, length.into())]
            }
            Value::Fields(values) => {
                let fields = self.fields(ty).expect("fields have a type with fields");
                let fields = fields.iter().zip(values);
                fields
                    .flat_map(|(ty, value)| self.lower(ty, value, image))
                    .collect()
            }
            Value::Case(case, payload) => {
                let cases = self.cases(ty).expect("a case has a type with cases");
                let mut lowered = vec![*case as u64];
                if let (Some(ty), Some(value)) = (&cases[*case], payload) {
                    lowered.extend(self.lower(ty, value, image).into_iter().map(|(_, bits)| bits));
                }
                let slots = self.flat(ty);
                lowered.resize(slots.len(), 0);
                slots.into_iter().zip(lowered).collect()
            }
        }
    }

    /// Puts a value where `at` is.
    pub fn store(&self, ty: &Type, value: &Value, at: u32, image: &mut Image) {
        match value {
            Value::Number(bits) => {
                let (size, _) = self.layout(ty);
                image.write(at, &bits.to_le_bytes()[..size as usize]);
            }
            Value::Text(_) | Value::List(_) => {
                let (start, length) = self.store_list(ty, value, image);
                image.write(at, &start.to_le_bytes());
                image.write(at + 4, &length.to_le_bytes());
            }
            Value::Fields(values) => {
                let mut next = at;
                for (ty, value) in self
                    .fields(ty)
                    .expect("fields have a type with fields")
                    .iter()
                    .zip(values)
                {
                    let (size, align) = self.layout(ty);
                    next = next.next_multiple_of(align);
                    self.store(ty, value, next, image);
                    next += size;
                }
            }
            Value::Case(case, payload) => {
                let cases = self.cases(ty).expect("a case has a type with cases");
                image.write(at, &[*case as u8]);
                if let (Some(ty), Some(value)) = (&cases[*case], payload) {
                    self.store(ty, value, at + self.payload(&cases).1, image);
                }
            }
        }
    }

    /// Where the items lie, and how many there are.
    fn store_list(&self, ty: &Type, value: &Value, image: &mut Image) -> (u32, u32) {
        match (ty, value) {
            (Type::List(item), Value::List(values)) => {
                let (size, align) = self.layout(item);
                let at = image.allocate(size * values.len() as u32, align);
                for (index, value) in values.iter().enumerate() {
                    self.store(item, value, at + size * index as u32, image);
                }
                (at, values.len() as u32)
            }
            (_, Value::Text(text)) => {
                let at = image.allocate(text.len() as u32, 1);
                image.write(at, text.as_bytes());
                (at, text.len() as u32)
            }
            _ => panic!("{value:?} is no {ty:?}"),
        }
    }
}

/// A type made of at most `depth` others, one in another; it may name the definitions that there are.
pub fn any_type(u: &mut Unstructured<'_>, definitions: usize, depth: u32) -> Result<Type> {
    let boxed = |u: &mut Unstructured<'_>| any_type(u, definitions, depth - 1).map(Box::new);
    if definitions > 0 && u.ratio(1, 3)? {
        return Ok(Type::Named(u.choose_index(definitions)?));
    }
    let kinds = if depth > 0 { 11 } else { 7 };
    Ok(match u.int_in_range(0..=kinds - 1)? {
        0 => Type::String,
        1 => Type::Bool,
        2 => Type::U8,
        3 => Type::U32,
        4 => Type::U64,
        5 => Type::F64,
        6 => Type::Char,
        7 => Type::List(boxed(u)?),
        8 => Type::Option(boxed(u)?),
        9 => Type::Result(boxed(u)?, boxed(u)?),
        _ => Type::Tuple(many(u, 1..=4, |u| any_type(u, definitions, depth - 1))?),
    })
}

/// A definition that may name those before it.
pub fn any_definition(u: &mut Unstructured<'_>, before: usize) -> Result<Definition> {
    let ty = |u: &mut Unstructured<'_>| any_type(u, before, 2);
    Ok(match u.int_in_range(0..=3)? {
        0 => Definition::Record(many(u, 1..=6, ty)?),
        1 => Definition::Variant(many(u, 1..=5, |u| u.ratio(2, 3)?.then(|| ty(u)).transpose())?),
        2 => Definition::Enum(u.int_in_range(1..=9)?),
        _ => Definition::Flags(u.int_in_range(1..=32)?),
    })
}

impl Scope<'_> {
    pub fn any_value(&self, u: &mut Unstructured<'_>, ty: &Type) -> Result<Value> {
        if let Some(fields) = self.fields(ty) {
            let values = fields.iter().map(|field| self.any_value(u, field));
            return Ok(Value::Fields(values.collect::<Result<_>>()?));
        }
        if let Some(cases) = self.cases(ty) {
            let case = u.choose_index(cases.len())?;
            let payload = cases[case].as_ref().map(|ty| self.any_value(u, ty)).transpose()?;
            return Ok(Value::Case(case, payload.map(Box::new)));
        }
        Ok(match ty {
            Type::Bool => Value::Number(u.int_in_range(0..=1)?),
            Type::U8 => Value::Number(u.int_in_range(0..=255)?),
            Type::U32 => Value::Number(u.arbitrary::<u32>()?.into()),
            Type::U64 => Value::Number(u.arbitrary()?),
            Type::F64 => Value::Number(f64::from(u.arbitrary::<i32>()?).to_bits()),
            Type::Char => Value::Number(u64::from(u32::from(*u.choose(&['a', 'é', '🦀'])?))),
            Type::Named(index) => match &self.0[*index] {
                Definition::Flags(count) => Value::Number(u.int_in_range(0..=(1 << count) - 1)?),
                other => panic!("{other:?} has fields or cases"),
            },
            Type::String => {
                Value::Text(u.choose(&["", "a", "hällo", "a longer text, with 🦀", "\0\u{7f}"])?)
            }
            Type::List(item) => Value::List(many(u, 0..=4, |u| self.any_value(u, item))?),
            _ => panic!("{ty:?} has fields or cases"),
        })
    }
}

pub fn many<T>(
    u: &mut Unstructured<'_>,
    count: std::ops::RangeInclusive<usize>,
    mut item: impl FnMut(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let count = u.int_in_range(count)?;
    (0..count).map(|_| item(u)).collect()
}
