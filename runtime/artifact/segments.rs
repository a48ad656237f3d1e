//! Fewer, larger data segments with the same effect on a memory that is all zero: snapshots of engines
//! come in ten thousand pieces, and the compiler pays for each. Pure.

use wasm_encoder::{ConstExpr, DataSection};
use wasmparser::{BinaryReader, BinaryReaderError, DataKind, DataSectionReader, Operator};

/// Zeros between two segments that are rather copied than skipped, in bytes.
const GAP: usize = 4096;

/// Zeros in all, for each byte of the section.
const ZEROS_PER_BYTE: usize = 4;

/// The segments of a data section joined where little lies between them. `None` where they are not all
/// active, in ascending order and apart from each other.
pub fn join(section: &[u8], offset: usize) -> Result<Option<DataSection>, BinaryReaderError> {
    let mut joined: Vec<(i32, Vec<u8>)> = Vec::new();
    // Many small segments far apart must not become a file of zeros.
    let mut zeros = section.len().saturating_mul(ZEROS_PER_BYTE);
    for segment in DataSectionReader::new(BinaryReader::new(section, offset))? {
        let segment = segment?;
        let DataKind::Active { offset_expr, .. } = segment.kind else {
            return Ok(None);
        };
        let Operator::I32Const { value: start } = offset_expr.get_operators_reader().read()? else {
            return Ok(None);
        };
        match joined
            .last_mut()
            .map(|(begin, bytes)| (gap(*begin, bytes.len(), start), bytes))
        {
            Some((None, _)) => return Ok(None),
            Some((Some(gap), bytes)) if gap <= GAP.min(zeros) => {
                zeros -= gap;
                bytes.resize(bytes.len() + gap, 0);
                bytes.extend_from_slice(segment.data);
            }
            _ => joined.push((start, segment.data.to_vec())),
        }
    }
    let mut section = DataSection::new();
    for (start, bytes) in joined {
        section.active(0, &ConstExpr::i32_const(start), bytes);
    }
    Ok(Some(section))
}

/// The bytes between a segment and the next; `None` where the next does not lie behind it. Addresses are
/// unsigned.
fn gap(begin: i32, length: usize, next: i32) -> Option<usize> {
    let end = (begin as u32 as usize).checked_add(length)?;
    (next as u32 as usize).checked_sub(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(segments: &[(i32, &str)], expected: Option<&[(i32, &str)]>) {
        use wasm_encoder::Encode;
        let encode = |segments: &[(i32, &str)]| {
            let mut section = DataSection::new();
            for (start, bytes) in segments {
                section.active(0, &ConstExpr::i32_const(*start), bytes.bytes());
            }
            let mut bytes = Vec::new();
            section.encode(&mut bytes);
            bytes
        };
        let section = encode(segments);
        // The section's length comes first; these are short enough for one byte of it.
        let joined = join(&section[1..], 0).unwrap().map(|section| {
            let mut bytes = Vec::new();
            section.encode(&mut bytes);
            bytes
        });
        assert_eq!(joined, expected.map(encode), "{segments:?}");
    }

    #[test]
    fn neighbours_are_joined_and_others_are_left() {
        check(&[(8, "ab"), (12, "cd")], Some(&[(8, "ab\0\0cd")]));
        check(
            &[(8, "ab"), (10, "cd"), (20_000, "e")],
            Some(&[(8, "abcd"), (20_000, "e")]),
        );
        check(
            &[(-2_000_000_000, "a"), (-1, "b")],
            Some(&[(-2_000_000_000, "a"), (-1, "b")]),
        );
        check(&[(8, "ab"), (9, "cd")], None);
        check(&[(8, "ab"), (0, "cd")], None);
    }

    #[test]
    fn many_far_apart_do_not_become_a_file_of_zeros() {
        let mut section = DataSection::new();
        for n in 0..1000 {
            section.active(0, &ConstExpr::i32_const(n * 4000), *b"a");
        }
        let mut bytes = Vec::new();
        wasm_encoder::Encode::encode(&section, &mut bytes);
        // A length of two bytes.
        let joined = join(&bytes[2..], 0).unwrap().unwrap();
        let before = bytes.len();
        let mut bytes = Vec::new();
        wasm_encoder::Encode::encode(&joined, &mut bytes);
        assert!(bytes.len() < 5 * before, "{before} bytes became {}", bytes.len());
    }
}
