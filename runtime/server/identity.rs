//! What a request is known by, inside and outside: its id, and the trace that it belongs to (W3C trace
//! context). What the client sent and is valid is passed on; the rest is made here, in one allocation.
//! Knows not what is logged or traced.

use std::{
    cell::Cell,
    hash::{BuildHasher, Hasher, RandomState},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

pub use crate::host::REQUEST_ID;
use crate::host::TRACEPARENT;

const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Bytes of an id that is passed on.
const LONGEST_ID: usize = 128;
/// Bytes and members of a trace's state that is passed on.
const LONGEST_STATE: usize = 8 * 1024;
const MOST_MEMBERS: usize = 32;

/// Gives a request what it lacks, and returns its id.
pub fn identify(headers: &mut HeaderMap) -> HeaderValue {
    let id = only(headers, &REQUEST_ID)
        .filter(|id| is_id(id.as_bytes()))
        .cloned();
    let traced = joins(headers);
    if !traced || !is_tracestate(headers) {
        headers.remove(TRACESTATE);
    }
    if let (Some(id), true) = (&id, traced) {
        return id.clone();
    }
    let fresh = Fresh::new();
    if !traced {
        headers.insert(TRACEPARENT, fresh.traceparent());
    }
    id.unwrap_or_else(|| {
        let id = fresh.id();
        headers.insert(REQUEST_ID, id.clone());
        id
    })
}

/// Whether a request is part of a trace that its client began.
pub fn joins(headers: &HeaderMap) -> bool {
    only(headers, &TRACEPARENT).is_some_and(|parent| is_traceparent(parent.as_bytes()))
}

/// The value of a header that is there once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Nothing that could forge a log line or end a quotation.
fn is_id(id: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=@".contains(byte);
    (1..=LONGEST_ID).contains(&id.len()) && id.iter().all(fits)
}

/// `00-<trace>-<parent>-<flags>`; a later version may go on after that.
fn is_traceparent(value: &[u8]) -> bool {
    let hex = |range: std::ops::Range<usize>| {
        let digits = value.get(range).unwrap_or_default();
        let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        !digits.is_empty() && digits.iter().all(is_digit)
    };
    let zero = |range: std::ops::Range<usize>| value[range].iter().all(|byte| *byte == b'0');
    let dashes = [2, 35, 52].iter().all(|at| value.get(*at) == Some(&b'-'));
    let ends = match value.get(..2) {
        Some(b"ff") => false,
        Some(b"00") => value.len() == 55,
        _ => value.len() == 55 || value.get(55) == Some(&b'-'),
    };
    ends && dashes && [0..2, 3..35, 36..52, 53..55].into_iter().all(hex) && !zero(3..35) && !zero(36..52)
}

/// A list of `key=value`; an empty one, or none, is one too.
fn is_tracestate(headers: &HeaderMap) -> bool {
    let (mut length, mut count) = (0, 0);
    headers.get_all(TRACESTATE).iter().all(|line| {
        length += line.len();
        line.as_bytes().split(|byte| *byte == b',').all(|member| {
            let member = member.trim_ascii();
            count += usize::from(!member.is_empty());
            length <= LONGEST_STATE && count <= MOST_MEMBERS && (member.is_empty() || is_member(member))
        })
    })
}

fn is_member(member: &[u8]) -> bool {
    let Some(equals) = member.iter().position(|byte| *byte == b'=') else {
        return false;
    };
    let (key, value) = (&member[..equals], &member[equals + 1..]);
    let in_key = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(byte);
    let in_value = |byte: &u8| (b' '..=b'~').contains(byte) && *byte != b'=';
    let starts = key
        .first()
        .is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    starts
        && key.len() <= 256
        && key.iter().all(in_key)
        && (1..=256).contains(&value.len())
        && value.iter().all(in_value)
}

/// A new trace, whose id is the request's too. It is marked as sampled: whether anyone records it is for
/// those to decide who are called.
struct Fresh(Bytes);

impl Fresh {
    fn new() -> Self {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-01";
        let number = || random().max(1).to_be_bytes();
        hex(&mut text[3..19], number());
        hex(&mut text[19..35], number());
        hex(&mut text[36..52], number());
        Self(Bytes::copy_from_slice(&text))
    }

    fn traceparent(&self) -> HeaderValue {
        header(self.0.clone())
    }

    fn id(&self) -> HeaderValue {
        header(self.0.slice(3..35))
    }
}

fn header(text: Bytes) -> HeaderValue {
    HeaderValue::from_maybe_shared(text).unwrap_or(HeaderValue::from_static(""))
}

fn hex(text: &mut [u8], bytes: [u8; 8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// Ids have to differ, not to be secret: a generator for each thread, seeded by the system
/// (`SplitMix64`).
fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().build_hasher().finish());
    }
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let lines = lines.iter();
        lines
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    fn one<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
        let mut values = headers.get_all(name).iter();
        let value = values.next().unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(values.next(), None);
        value.to_str().unwrap()
    }

    #[test]
    fn what_is_valid_is_passed_on() {
        let mut sent = headers(&[
            ("x-request-id", "a.b/c-1"),
            ("traceparent", PARENT),
            ("tracestate", "a=1, b@c=x y"),
        ]);
        let before = sent.clone();
        assert_eq!(identify(&mut sent), "a.b/c-1");
        assert_eq!(sent, before);
    }

    #[test]
    fn what_is_absent_is_made() {
        let mut sent = HeaderMap::new();
        let id = identify(&mut sent);
        assert_eq!((id.len(), one(&sent, "x-request-id")), (32, id.to_str().unwrap()));
        assert!(is_traceparent(one(&sent, "traceparent").as_bytes()));
        assert_eq!(&one(&sent, "traceparent")[3..35], id, "one id finds both");
        let mut other = HeaderMap::new();
        assert_ne!(identify(&mut other), id);
    }

    #[test]
    fn what_is_malformed_is_replaced() {
        let long = "a".repeat(129);
        for id in ["", "a b", "a\"b", "ä", &long] {
            let mut sent = headers(&[("x-request-id", id)]);
            assert_eq!(identify(&mut sent).len(), 32, "{id:?}");
            assert_eq!(one(&sent, "x-request-id").len(), 32);
        }
        let mut twice = headers(&[("x-request-id", "a")]);
        twice.append("x-request-id", HeaderValue::from_static("b"));
        assert_eq!(identify(&mut twice).len(), 32);
        assert_eq!(one(&twice, "x-request-id").len(), 32);
    }

    #[test]
    fn a_trace_that_is_no_trace_is_begun_anew_without_its_state() {
        let check = |parent: &str, valid: bool| {
            let mut sent = headers(&[("traceparent", parent), ("tracestate", "a=1")]);
            identify(&mut sent);
            assert_eq!(one(&sent, "traceparent") == parent, valid, "{parent}");
            assert_eq!(sent.contains_key("tracestate"), valid, "{parent}");
            assert!(is_traceparent(one(&sent, "traceparent").as_bytes()));
        };
        check(PARENT, true);
        check(&PARENT.replacen("00", "cc", 1), true);
        check(&format!("{}-more", PARENT.replacen("00", "cc", 1)), true);
        check(&format!("{}.more", PARENT.replacen("00", "cc", 1)), false);
        check(&format!("{PARENT}-more"), false);
        check(&PARENT.replacen("00", "ff", 1), false);
        check(&PARENT.to_uppercase(), false);
        check(
            &PARENT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            false,
        );
        check(&PARENT.replace("b7ad6b7169203331", &"0".repeat(16)), false);
        check(&PARENT[..54], false);
        check("", false);
    }

    #[test]
    fn a_state_that_is_malformed_goes_alone() {
        let many = vec!["a=1"; 33].join(",");
        for state in ["a", "=1", "A=1", "a=", "a=b=c", &many] {
            let mut sent = headers(&[("traceparent", PARENT), ("tracestate", state)]);
            identify(&mut sent);
            assert_eq!(one(&sent, "traceparent"), PARENT);
            assert!(!sent.contains_key("tracestate"), "{state}");
        }
    }
}
