//! Reads a TOML tree by asking it for what is known: what is wrong, and what nobody asked for, is reported
//! with its place, all of it and not only the first.
//! Knows the types of TOML only, not one key of a manifest or of a scenario.

use std::{
    cell::RefCell,
    fmt::Display,
    ops::{Deref, Range, RangeInclusive},
    path::Path,
    time::Duration,
};

use bytesize::ByteSize;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::diagnostic::{Diagnostic, Position};

use super::names;

/// Something with its place in the file it was written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<T> {
    pub value: T,
    pub position: Position,
}

impl<T> Deref for Placed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// What mistakes in a kind of document are known by.
#[derive(Clone, Copy)]
pub struct Codes {
    pub syntax: &'static str,
    pub value: &'static str,
    pub unknown_key: &'static str,
}

pub const MANIFEST_CODES: Codes = Codes {
    syntax: "manifest-syntax",
    value: "manifest-value",
    unknown_key: "manifest-unknown-key",
};

/// Parses `text` and lets `read` ask the document for what it knows, as far as it can be parsed. Beside
/// that: everything that is wrong with the syntax; else everything that `read` reported, in file order.
pub fn read<T>(
    codes: Codes,
    file: &Path,
    text: &str,
    read: impl FnOnce(&mut Section<'_>) -> T,
) -> (T, Vec<Diagnostic>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let report = Report::new(codes, file, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        report.add(
            codes.syntax,
            error.span().unwrap_or_default(),
            error.message(),
            None,
        );
    }
    // What is missing in a document with holes is the fault of the holes: that is not said.
    let of_holes = Report::new(codes, file, text);
    let mut section = Section {
        report: if errors.is_empty() { &report } else { &of_holes },
        path: String::new(),
        span: document.span(),
        table: document.get_ref(),
        known: vec![],
    };
    let value = read(&mut section);
    section.report_unknown();
    (value, report.into_diagnostics())
}

/// A table with known keys: those that are asked for.
pub struct Section<'t> {
    report: &'t Report<'t>,
    path: String,
    span: Range<usize>,
    table: &'t DeTable<'t>,
    known: Vec<&'static str>,
}

impl<'t> Section<'t> {
    pub fn get(&mut self, key: &'static str) -> Option<Value<'t>> {
        self.known.push(key);
        let (_, value) = self.table.iter().find(|(written, _)| written.get_ref() == key)?;
        Some(Value {
            report: self.report,
            path: join(&self.path, key),
            value,
        })
    }

    /// Reports that a key is not there, at the first that is.
    pub fn lacks<T>(&self, key: &str, what: &str) -> Option<T> {
        let first = self.table.keys().map(Spanned::span).min_by_key(|span| span.start);
        let whose = if self.path.is_empty() {
            "the file"
        } else {
            &self.path
        };
        let message = format!("{whose} has no {key}");
        let help = format!("it is {what}");
        self.report.add(
            self.report.codes.value,
            first.unwrap_or(self.span.clone()),
            message,
            Some(help),
        );
        None
    }

    fn report_unknown(&self) {
        for key in self
            .table
            .keys()
            .filter(|key| !self.known.contains(&key.get_ref().as_ref()))
        {
            let place = if self.path.is_empty() {
                String::new()
            } else {
                format!(" in {}", self.path)
            };
            let help = match names::nearest(key.get_ref(), self.known.iter().copied()) {
                Some(guess) => format!("did you mean {guess}?"),
                None => format!("known{place}: {}", self.known.join(", ")),
            };
            let message = format!("unknown key {}{place}", shown_key(key.get_ref()));
            self.report
                .add(self.report.codes.unknown_key, key.span(), message, Some(help));
        }
    }
}

/// A key and its value, in a table whose keys are the user's.
pub struct Entry<'t> {
    report: &'t Report<'t>,
    key: &'t Spanned<toml::de::DeString<'t>>,
    pub value: Value<'t>,
}

impl<'t> Entry<'t> {
    pub fn key(&self) -> Placed<&'t str> {
        let position = self.report.position(self.key.span());
        Placed {
            value: self.key.get_ref(),
            position,
        }
    }

    /// Reports that the key is wrong.
    pub fn wrong_key(&self, message: impl Display, help: Option<String>) {
        self.report
            .add(self.report.codes.value, self.key.span(), message, help);
    }
}

/// One value and the way to it. What reads a value reports where it is not as expected, and is `None` then.
#[derive(Clone)]
pub struct Value<'t> {
    report: &'t Report<'t>,
    path: String,
    value: &'t Spanned<DeValue<'t>>,
}

impl<'t> Value<'t> {
    /// The keys from the top: `groups.shop.limits.memory`.
    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn placed<T>(&self, value: T) -> Placed<T> {
        Placed {
            value,
            position: self.report.position(self.value.span()),
        }
    }

    pub fn as_str(&self) -> Option<&'t str> {
        self.value.get_ref().as_str()
    }

    pub fn as_bool(&self) -> Option<bool> {
        self.value.get_ref().as_bool()
    }

    pub fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    pub fn string(&self) -> Option<&'t str> {
        self.as_str().or_else(|| self.expected("a string"))
    }

    pub fn boolean(&self) -> Option<bool> {
        self.as_bool().or_else(|| self.expected("true or false"))
    }

    pub fn number(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let number = self.integer().filter(|number| range.contains(number));
        number.or_else(|| self.expected(format_args!("a number from {} to {}", range.start(), range.end())))
    }

    /// Bytes, written as a number of them or as a string with a unit.
    pub fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let written = self
            .as_str()
            .and_then(|text| text.parse().ok())
            .map(|ByteSize(bytes)| bytes);
        let size = written
            .or_else(|| self.integer())
            .filter(|size| range.contains(size));
        size.or_else(|| {
            let (least, most) = (ByteSize(*range.start()), ByteSize(*range.end()));
            self.expected(format_args!("a size such as \"64MiB\", from {least} to {most}"))
        })
    }

    pub fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let written = self
            .as_str()
            .and_then(|text| humantime::parse_duration(text).ok());
        written.filter(|duration| range.contains(duration)).or_else(|| {
            let [least, most] = [range.start(), range.end()].map(|end| humantime::format_duration(*end));
            self.expected(format_args!(
                "a time such as \"10s\" or \"500ms\", from {least} to {most}"
            ))
        })
    }

    pub fn elements(&self, what: &str) -> Option<Vec<Value<'t>>> {
        let Some(array) = self.value.get_ref().as_array() else {
            return self.expected(format_args!("a list of {what}"));
        };
        let element = |(index, value)| Value {
            report: self.report,
            path: format!("{}[{index}]", self.path),
            value,
        };
        Some(array.iter().enumerate().map(element).collect())
    }

    /// The entries of a table in file order.
    pub fn entries(&self) -> Option<Vec<Entry<'t>>> {
        let Some(table) = self.value.get_ref().as_table() else {
            return self.expected("a table");
        };
        let entry = |(key, value): (&'t Spanned<toml::de::DeString<'t>>, _)| {
            let path = join(&self.path, key.get_ref());
            Entry {
                report: self.report,
                key,
                value: Value {
                    report: self.report,
                    path,
                    value,
                },
            }
        };
        let mut entries: Vec<_> = table.iter().map(entry).collect();
        entries.sort_by_key(|entry| entry.key.span().start);
        Some(entries)
    }

    /// A table with known keys: those that `read` asks for.
    pub fn section<T>(&self, read: impl FnOnce(&mut Section<'t>) -> T) -> Option<T> {
        let Some(table) = self.value.get_ref().as_table() else {
            return self.expected("a table");
        };
        let mut section = Section {
            report: self.report,
            path: self.path.clone(),
            span: self.value.span(),
            table,
            known: vec![],
        };
        let value = read(&mut section);
        section.report_unknown();
        Some(value)
    }

    /// Reports that the value is not `what`.
    pub fn expected<T>(&self, what: impl Display) -> Option<T> {
        let found = shown_value(self.value.get_ref());
        self.wrong(
            self.report.codes.value,
            format_args!("{} must be {what}, not {found}", self.path),
            None,
        )
    }

    /// Reports that the value is wrong.
    pub fn wrong<T>(&self, code: &'static str, message: impl Display, help: Option<String>) -> Option<T> {
        self.report.add(code, self.value.span(), message, help);
        None
    }

    fn integer(&self) -> Option<u64> {
        let integer = self.value.get_ref().as_integer()?;
        u64::from_str_radix(integer.as_str(), integer.radix()).ok()
    }
}

/// What is wrong so far. Shared by all values of a document, hence the cell.
struct Report<'t> {
    codes: Codes,
    file: &'t Path,
    text: &'t str,
    /// Where each line begins, so that finding a place does not mean to read all that is before it.
    lines: Vec<usize>,
    diagnostics: RefCell<Vec<(usize, Diagnostic)>>,
}

impl<'t> Report<'t> {
    fn new(codes: Codes, file: &'t Path, text: &'t str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(newline, _)| newline + 1);
        let lines = std::iter::once(0).chain(after_newlines).collect();
        Self {
            codes,
            file,
            text,
            lines,
            diagnostics: RefCell::default(),
        }
    }

    fn position(&self, span: Range<usize>) -> Position {
        let line = self.lines.partition_point(|begin| *begin <= span.start);
        let begin = self
            .lines
            .get(line.saturating_sub(1))
            .copied()
            .unwrap_or_default();
        let Position { column, .. } = Position::of(&self.text[begin..], span.start - begin);
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        Position { line, column }
    }

    fn add(&self, code: &'static str, span: Range<usize>, message: impl Display, help: Option<String>) {
        let start = span.start;
        let mut diagnostic = Diagnostic::new(code, message.to_string())
            .file(self.file)
            .position(self.position(span));
        diagnostic.help = help;
        self.diagnostics.borrow_mut().push((start, diagnostic));
    }

    fn into_diagnostics(self) -> Vec<Diagnostic> {
        let mut diagnostics = self.diagnostics.into_inner();
        diagnostics.sort_by_key(|(start, _)| *start);
        diagnostics
            .into_iter()
            .map(|(_, diagnostic)| diagnostic)
            .collect()
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        shown_key(key)
    } else {
        format!("{path}.{}", shown_key(key))
    }
}

/// As TOML writes it: in quotes where it has to be.
fn shown_key(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) {
        key.to_owned()
    } else {
        format!("{key:?}")
    }
}

fn shown_value(value: &DeValue<'_>) -> String {
    const LONGEST: usize = 40;
    match value {
        DeValue::String(text) if text.chars().count() > LONGEST => {
            format!(
                "{:?}",
                text.chars().take(LONGEST).chain(['…']).collect::<String>()
            )
        }
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(datetime) => datetime.to_string(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
