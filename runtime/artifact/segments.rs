//! Fewer, larger data segments with the same effect on a memory that is all zero: snapshots of engines
//! come in ten thousand pieces, and the compiler pays for each. Pure.

use std::{borrow::Cow, ops::Range};

use wasmparser::{BinaryReader, BinaryReaderError, DataKind, DataSectionReader, Operator};

/// Zeros between two segments that are rather copied than skipped, in bytes.
const GAP: usize = 4096;

/// Zeros in all, for each byte of the segments and their heads.
const ZEROS_PER_BYTE: usize = 4;

/// What a segment takes beside its bytes, about.
const HEAD: usize = 6;

/// Where a segment lies in its module, and the address that it is copied to.
pub struct Place {
    pub address: u64,
    pub bytes: Range<usize>,
}

/// Bytes and the address at which they begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    pub address: u64,
    pub bytes: Cow<'a, [u8]>,
}

/// The segments of a data section that begins at `offset`. `None` where not every one is copied to a fixed
/// place of the one memory.
pub fn places(section: &[u8], offset: usize) -> Result<Option<Vec<Place>>, BinaryReaderError> {
    let mut places = Vec::new();
    for segment in DataSectionReader::new(BinaryReader::new(section, offset))? {
        let segment = segment?;
        let DataKind::Active {
            memory_index: 0,
            offset_expr,
        } = segment.kind
        else {
            return Ok(None);
        };
        let mut operators = offset_expr.get_operators_reader();
        let address = match operators.read()? {
            Operator::I32Const { value } => u64::from(value as u32),
            Operator::I64Const { value } => value as u64,
            _ => return Ok(None),
        };
        if !matches!(operators.read()?, Operator::End) {
            return Ok(None);
        }
        let bytes = segment.range.end - segment.data.len()..segment.range.end;
        places.push(Place { address, bytes });
    }
    Ok(Some(places))
}

/// Joined where little lies between them; as they were where they are not in ascending order and apart
/// from each other.
pub fn join(segments: Vec<Segment<'_>>) -> Vec<Segment<'_>> {
    let ascending = segments.windows(2).all(|pair| gap(&pair[0], &pair[1]).is_some());
    if !ascending {
        return segments;
    }
    // Many small segments far apart must not become a file of zeros.
    let bytes: usize = segments.iter().map(|segment| segment.bytes.len() + HEAD).sum();
    let mut zeros = bytes.saturating_mul(ZEROS_PER_BYTE);
    let mut joined: Vec<Segment<'_>> = Vec::new();
    for segment in segments {
        let last = joined
            .last_mut()
            .and_then(|last| Some((gap(last, &segment)?, last)));
        match last {
            Some((gap, last)) if gap <= GAP.min(zeros) => {
                zeros -= gap;
                let bytes = last.bytes.to_mut();
                bytes.resize(bytes.len() + gap, 0);
                bytes.extend_from_slice(&segment.bytes);
            }
            _ => joined.push(segment),
        }
    }
    joined
}

/// The bytes between a segment and the next; `None` where the next does not lie behind it.
fn gap(segment: &Segment<'_>, next: &Segment<'_>) -> Option<usize> {
    let end = segment.address.checked_add(segment.bytes.len() as u64)?;
    usize::try_from(next.address.checked_sub(end)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments<'a>(segments: &[(u64, &'a str)]) -> Vec<Segment<'a>> {
        let segments = segments.iter();
        segments
            .map(|(address, text)| Segment {
                address: *address,
                bytes: Cow::Borrowed(text.as_bytes()),
            })
            .collect()
    }

    fn check(before: &[(u64, &str)], expected: &[(u64, &str)]) {
        assert_eq!(join(segments(before)), segments(expected), "{before:?}");
    }

    #[test]
    fn neighbours_are_joined_and_others_are_left() {
        check(&[(8, "ab"), (12, "cd")], &[(8, "ab\0\0cd")]);
        check(
            &[(8, "ab"), (10, "cd"), (20_000, "e")],
            &[(8, "abcd"), (20_000, "e")],
        );
        for as_they_were in [
            [(8, "ab"), (9, "cd")],
            [(8, "ab"), (0, "cd")],
            [(8, "ab"), (u64::MAX, "cd")],
            [(u64::MAX, "ab"), (8, "cd")],
        ] {
            check(&as_they_were, &as_they_were);
        }
    }

    #[test]
    fn many_far_apart_do_not_become_a_file_of_zeros() {
        let far_apart: Vec<_> = (0..1000).map(|n| (n * 4000, "a")).collect();
        let joined = join(segments(&far_apart));
        let length: usize = joined.iter().map(|segment| segment.bytes.len()).sum();
        assert!(length < 40_000, "1,000 bytes became {length}");
    }

    #[test]
    fn places_are_those_that_were_written() {
        let module = wat::parse_str(
            r#"(module (memory 1) (data (i32.const 8) "ab") (data (i32.const -1) "") (data (i32.const 8) "c"))"#,
        );
        let module = module.unwrap();
        let data = wasmparser::Parser::new(0)
            .parse_all(&module)
            .find_map(|payload| match payload.unwrap() {
                wasmparser::Payload::DataSection(section) => Some(section.range()),
                _ => None,
            })
            .unwrap();
        let places = places(&module[data.clone()], data.start).unwrap().unwrap();
        let found: Vec<_> = places
            .iter()
            .map(|place| (place.address, &module[place.bytes.clone()]))
            .collect();
        assert_eq!(found, [(8, &b"ab"[..]), (0xffff_ffff, b""), (8, b"c")]);
    }
}
