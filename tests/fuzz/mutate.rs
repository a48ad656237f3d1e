//! Damage to bytes: some as disks and networks do it, some as one who knows the format would.

use arbtest::arbitrary::{Result, Unstructured};
use wasmparser::{Parser, Payload};

/// One of the corpus with up to four mutations.
pub fn mutate(u: &mut Unstructured<'_>, corpus: &[Vec<u8>]) -> Result<Vec<u8>> {
    let mut bytes = u.choose(corpus)?.clone();
    for _ in 0..u.int_in_range(1..=4)? {
        let other = u.choose(corpus)?;
        match u.int_in_range(0..=3)? {
            0 => edit_section(u, &mut bytes, other)?,
            _ => edit_bytes(u, &mut bytes, other)?,
        }
    }
    Ok(bytes)
}

/// The manifest with mutations, of words more often than of bytes.
pub fn mutate_text(u: &mut Unstructured<'_>, text: &str) -> Result<Vec<u8>> {
    const WORDS: [&str; 34] = [
        "\"",
        "'",
        "\"\"\"",
        "[",
        "]",
        "[[",
        "{",
        "}",
        "=",
        ".",
        ",",
        "\n",
        "#",
        "*",
        "{*x}",
        "{x}",
        "/",
        "-1",
        "0",
        "1e999",
        "99999999999999999999",
        "inf",
        "nan",
        "true",
        "1979-05-27T07:32:00Z",
        "\u{0}",
        "\u{feff}",
        "é",
        "\\u0000",
        "10s",
        "1TiB",
        "shop",
        "groups",
        "[groups.shop]",
    ];
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..u.int_in_range(1..=5)? {
        if u.ratio(1, 4)? {
            edit_bytes(u, &mut bytes, text.as_bytes())?;
        } else {
            edit_words(u, &mut bytes, &WORDS)?;
        }
    }
    Ok(bytes)
}

/// What a client sends, with mutations: of the words of HTTP, of bytes, of the frames of HTTP/2.
pub fn mutate_request(u: &mut Unstructured<'_>, corpus: &[Vec<u8>]) -> Result<Vec<u8>> {
    const WORDS: [&str; 28] = [
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\r",
        " ",
        ":",
        "HTTP/1.1",
        "HTTP/9.9",
        "HTTP/1.0",
        "GET ",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\n",
        "content-length: 5\r\n",
        "content-length: 18446744073709551616\r\n",
        "transfer-encoding: chunked\r\n",
        "transfer-encoding: gzip\r\n",
        "expect: 100-continue\r\n",
        "upgrade: h2c\r\n",
        "connection: upgrade, close\r\n",
        "host: b\r\n",
        "0\r\n\r\n",
        "ffffffffffffffff\r\n",
        "/../../%2e%2e/",
        "%00",
        "?",
        "\u{0}",
        "é",
        "a",
    ];
    let mut bytes = u.choose(corpus)?.clone();
    for _ in 0..u.int_in_range(1..=4)? {
        let other = u.choose(corpus)?;
        match u.int_in_range(0..=3)? {
            0 => edit_words(u, &mut bytes, &WORDS)?,
            1 => bytes.extend_from_slice(other),
            _ => edit_bytes(u, &mut bytes, other)?,
        }
    }
    Ok(bytes)
}

fn edit_words(u: &mut Unstructured<'_>, bytes: &mut Vec<u8>, words: &[&str]) -> Result<()> {
    let word = u.choose(words)?.as_bytes();
    let at = position(u, bytes)?;
    match u.int_in_range(0..=2)? {
        0 => drop(bytes.splice(at..at, word.iter().copied())),
        1 => {
            let end = (at + u.int_in_range(0..=20)?).min(bytes.len());
            drop(bytes.splice(at..end, word.iter().copied()));
        }
        // Many of one kind, one in another where it is a bracket.
        _ => {
            let many = word.repeat(u.int_in_range(1..=20_000)?);
            drop(bytes.splice(at..at, many));
        }
    }
    Ok(())
}

fn edit_bytes(u: &mut Unstructured<'_>, bytes: &mut Vec<u8>, other: &[u8]) -> Result<()> {
    let at = position(u, bytes)?;
    let end = (at + u.int_in_range(0..=64)?).min(bytes.len());
    match u.int_in_range(0..=7)? {
        // A number of one byte becomes one of the edges.
        0 => {
            let edge = *u.choose(&[0, 1, 0x3f, 0x40, 0x41, 0x42, 0x50, 0x7f, 0x80, 0xff])?;
            if let Some(byte) = bytes.get_mut(at) {
                *byte = edge;
            }
        }
        1 => {
            let bit = u.int_in_range(0..=7)?;
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        // A number that says there is more than there could be.
        2 => drop(bytes.splice(at..end.min(at + 1), [0xff, 0xff, 0xff, 0xff, 0x0f])),
        3 => bytes.truncate(at),
        4 => drop(bytes.drain(at..end)),
        5 => {
            let copy = bytes[at..end].repeat(u.int_in_range(1..=50)?);
            drop(bytes.splice(at..at, copy));
        }
        6 => {
            let from = position(u, other)?;
            let to = (from + u.int_in_range(0..=200)?).min(other.len());
            drop(bytes.splice(at..end, other[from..to].iter().copied()));
        }
        _ => {
            let new = u.bytes(u.len().min(4))?.to_vec();
            drop(bytes.splice(at..at, new));
        }
    }
    Ok(())
}

/// Removes, repeats, moves or nests a whole section, or gives it one of another component.
fn edit_section(u: &mut Unstructured<'_>, bytes: &mut Vec<u8>, other: &[u8]) -> Result<()> {
    let Some((id, range)) = section(u, bytes)? else {
        return Ok(());
    };
    let whole = encode(id, &bytes[range.clone()]);
    // From its header on; a header is never longer than that.
    let start = range.end.saturating_sub(whole.len()).max(8).min(range.start);
    match u.int_in_range(0..=4)? {
        0 => drop(bytes.drain(start..range.end)),
        1 => {
            let copies = whole.repeat(u.int_in_range(1..=30)?);
            drop(bytes.splice(range.end..range.end, copies));
        }
        2 => {
            if let Some((id, from)) = section(u, other)? {
                drop(bytes.splice(start..range.end, encode(id, &other[from])));
            }
        }
        3 => {
            let mut nested = encode(4, other);
            for _ in 0..u.int_in_range(0..=40)? {
                nested = encode(4, &[&b"\0asm\x0d\0\x01\0"[..], &nested].concat());
            }
            drop(bytes.splice(range.end..range.end, nested));
        }
        _ => {
            let id = u.int_in_range(0..=13)?;
            let content = bytes[range.clone()].to_vec();
            drop(bytes.splice(start..range.end, encode(id, &content)));
        }
    }
    Ok(())
}

fn section(u: &mut Unstructured<'_>, bytes: &[u8]) -> Result<Option<(u8, std::ops::Range<usize>)>> {
    let mut sections: Vec<(u8, std::ops::Range<usize>)> = Vec::new();
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            Ok(Payload::End(_)) | Err(_) => {}
            Ok(payload) => sections.extend(payload.as_section()),
        }
    }
    sections.retain(|(_, range)| range.end <= bytes.len());
    if sections.is_empty() {
        Ok(None)
    } else {
        u.choose(&sections).cloned().map(Some)
    }
}

fn encode(id: u8, content: &[u8]) -> Vec<u8> {
    let mut section = vec![id];
    let mut length = content.len();
    while length > 0x7f {
        section.push(length as u8 | 0x80);
        length >>= 7;
    }
    section.push(length as u8);
    section.extend(content);
    section
}

fn position(u: &mut Unstructured<'_>, bytes: &[u8]) -> Result<usize> {
    u.int_in_range(0..=bytes.len())
}
