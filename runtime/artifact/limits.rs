//! How much a component may consist of, looked at before anything else reads it. The readers of the
//! libraries recurse into types that are nested in types, and a stack that overflows ends the process:
//! here nothing recurses, and nothing is kept. Pure.

use wasmparser::{
    BinaryReader, BinaryReaderError, Chunk, ComponentType, ComponentTypeDeclaration,
    ComponentTypeSectionReader, Parser, Payload,
};

/// What a component may consist of; more is an error with the name of the limit.
#[derive(Clone, Debug)]
pub struct LinkLimits {
    /// Imports of the component itself.
    pub imports: usize,
    /// Exports of the component itself.
    pub exports: usize,
    /// Core modules, those of nested components included.
    pub modules: usize,
    /// Components within components, and types of components within such types.
    pub nesting: usize,
}

impl LinkLimits {
    pub const DEFAULT: Self = Self {
        imports: 1000,
        exports: 1000,
        modules: 500,
        nesting: 32,
    };
}

/// Why a component is not looked at further.
#[derive(Debug, thiserror::Error)]
pub enum Excess {
    #[error(transparent)]
    Unreadable(#[from] BinaryReaderError),
    #[error("more than {limit} {what}")]
    Over { limit: usize, what: &'static str },
}

impl LinkLimits {
    /// Errors: a component over a limit, or one whose sections cannot be read.
    pub fn check(&self, component: &[u8]) -> Result<(), Excess> {
        let mut count = Count::default();
        // Of the components around the current one.
        let mut outer: Vec<Parser> = Vec::new();
        let mut parser = Parser::new(0);
        let mut rest = component;
        loop {
            let Chunk::Parsed { consumed, payload } = parser.parse(rest, true)? else {
                return Ok(());
            };
            rest = &rest[consumed..];
            match payload {
                Payload::ModuleSection { unchecked_range, .. } => {
                    count.modules += 1;
                    within(count.modules, self.modules, "core modules")?;
                    // One that is cut off is somebody else's to find.
                    rest = rest.get(unchecked_range.len()..).unwrap_or_default();
                }
                Payload::ComponentSection { parser: inner, .. } => {
                    outer.push(std::mem::replace(&mut parser, inner));
                    within(outer.len(), self.nesting, "components within each other")?;
                }
                Payload::ComponentImportSection(section) if outer.is_empty() => {
                    count.imports += section.count() as usize;
                    within(count.imports, self.imports, "imports")?;
                }
                Payload::ComponentExportSection(section) if outer.is_empty() => {
                    count.exports += section.count() as usize;
                    within(count.exports, self.exports, "exports")?;
                }
                Payload::ComponentTypeSection(section) => self.check_types(component, &section)?,
                Payload::End(_) => match outer.pop() {
                    Some(around) => parser = around,
                    None => return Ok(()),
                },
                _ => {}
            }
        }
    }

    fn check_types(&self, component: &[u8], section: &ComponentTypeSectionReader<'_>) -> Result<(), Excess> {
        let range = section.range();
        let Some(types) = component.get(range.clone()) else {
            return Ok(());
        };
        let mut reader = BinaryReader::new(types, range.start);
        for _ in 0..reader.read_var_u32()? {
            self.check_type(&mut reader)?;
        }
        Ok(())
    }

    /// Reads one type and all that is declared in it.
    fn check_type(&self, reader: &mut BinaryReader<'_>) -> Result<(), Excess> {
        // Declarations left to read, of each type that is open.
        let mut open: Vec<u32> = Vec::new();
        loop {
            if opens_a_scope(reader)? {
                reader.read_u8()?;
                open.push(reader.read_var_u32()?);
                within(open.len(), self.nesting, "types within each other")?;
            } else {
                reader.read::<ComponentType<'_>>()?;
            }
            if !next_type(reader, &mut open)? {
                return Ok(());
            }
        }
    }
}

/// True where a component's or an instance's type begins, which has declarations.
fn opens_a_scope(reader: &BinaryReader<'_>) -> Result<bool, BinaryReaderError> {
    let mut ahead = reader.clone();
    Ok(matches!(ahead.read_u8()?, 0x41 | 0x42))
}

/// Reads on to the next declared type. False at the end of the outermost one.
fn next_type(reader: &mut BinaryReader<'_>, open: &mut Vec<u32>) -> Result<bool, BinaryReaderError> {
    const TYPE: u8 = 0x01;
    while let Some(left) = open.last_mut() {
        if *left == 0 {
            open.pop();
            continue;
        }
        *left -= 1;
        if reader.clone().read_u8()? == TYPE {
            reader.read_u8()?;
            return Ok(true);
        }
        reader.read::<ComponentTypeDeclaration<'_>>()?;
    }
    Ok(false)
}

#[derive(Default)]
struct Count {
    modules: usize,
    imports: usize,
    exports: usize,
}

fn within(count: usize, limit: usize, what: &'static str) -> Result<(), Excess> {
    if count > limit {
        Err(Excess::Over { limit, what })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [u8; 8] = *b"\0asm\x0d\0\x01\0";

    /// A component of one section.
    fn component(id: u8, content: &[u8]) -> Vec<u8> {
        let mut component = HEADER.to_vec();
        component.push(id);
        let mut length = content.len();
        while length > 0x7f {
            component.push(length as u8 | 0x80);
            length >>= 7;
        }
        component.push(length as u8);
        component.extend(content);
        component
    }

    /// An instance type in an instance type, and so on.
    fn nested_types(depth: usize) -> Vec<u8> {
        let mut types = vec![1];
        types.extend([0x42, 1, 1].repeat(depth - 1));
        types.extend([0x42, 0]);
        component(7, &types)
    }

    fn nested_components(depth: usize) -> Vec<u8> {
        let inner = HEADER.to_vec();
        (0..depth).fold(inner, |inner, _| component(4, &inner))
    }

    fn check(component: &[u8]) -> Result<(), String> {
        LinkLimits::DEFAULT
            .check(component)
            .map_err(|excess| excess.to_string())
    }

    fn refused(component: &[u8], expected: &str) {
        assert_eq!(check(component), Err(expected.to_owned()));
    }

    #[test]
    fn whatever_is_nested_without_end_is_refused() {
        assert_eq!(check(&nested_types(32)), Ok(()));
        refused(&nested_types(33), "more than 32 types within each other");
        refused(&nested_types(1_000_000), "more than 32 types within each other");
        assert_eq!(check(&nested_components(32)), Ok(()));
        refused(
            &nested_components(33),
            "more than 32 components within each other",
        );
        refused(
            &nested_components(3000),
            "more than 32 components within each other",
        );
    }

    #[test]
    fn types_beside_each_other_are_not_nested() {
        let text = format!(
            "(component (type (component {})))",
            "(type (instance)) (type u8)".repeat(100)
        );
        assert_eq!(check(&wat::parse_str(text).unwrap()), Ok(()));
    }

    #[test]
    fn too_many_of_a_kind_are_refused() {
        let check = |item: fn(usize) -> String, limit: usize, expected: &str| {
            let text = |count| format!("(component {})", (0..count).map(item).collect::<String>());
            assert_eq!(check(&wat::parse_str(text(limit)).unwrap()), Ok(()));
            refused(&wat::parse_str(text(limit + 1)).unwrap(), expected);
        };
        check(
            |n| format!(r#"(import "i{n}" (func))"#),
            1000,
            "more than 1000 imports",
        );
        check(
            |n| format!(r#"(instance $i{n}) (export "i{n}" (instance $i{n}))"#),
            1000,
            "more than 1000 exports",
        );
        check(|_| "(core module)".into(), 500, "more than 500 core modules");
        check(
            |_| "(component (component (core module)))".into(),
            500,
            "more than 500 core modules",
        );
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        // A type section that says it has more than there is, outside and inside of a type.
        assert!(check(&component(7, &[2, 0x42, 0])).is_err());
        assert!(check(&component(7, &[1, 0x42, 9])).is_err());
        assert!(check(&component(7, &[0xff, 0xff, 0xff, 0xff, 0x0f])).is_err());
        assert!(check(b"\0asm").is_err());
        // A module that ends too early is found by who reads it.
        assert_eq!(check(&[&HEADER[..], &[1, 20, 0, 1, 2]].concat()), Ok(()));
    }
}
