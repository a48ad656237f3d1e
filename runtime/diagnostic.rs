//! What a user must be told: a code, a message, the file and place, and what to do.
//! As text for a terminal and as JSON for events. Knows no other module.

use std::{borrow::Cow, fmt, path::PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeMap};

/// Who has to act, which decides the exit code of the command that reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The user's components, manifest or sources: exit code 1.
    Input,
    /// The machine: a port that is taken, no permission, a full disk, a missing tool: exit code 3.
    Machine,
}

/// Whether it keeps something from being served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Severity {
    #[default]
    Error,
    /// It is served all the same, but hardly as it was meant.
    Warning,
}

/// A place in a text file; line and column count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    pub line: u32,
    pub column: u32,
}

impl Position {
    /// The position of the byte `offset` in `text`; an offset past the end is the end.
    pub fn of(text: &str, offset: usize) -> Self {
        let before = &text[..text.floor_char_boundary(offset.min(text.len()))];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: counted(before.matches('\n').count()),
            column: counted(before[line_start..].chars().count()),
        }
    }
}

/// From 1 on.
fn counted(before: usize) -> u32 {
    u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1)
}

/// One thing that is wrong, as its user can act on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// Stable name for tools, in kebab case: `import-missing`.
    pub code: Cow<'static, str>,
    /// One sentence that names what is wrong, and both sides where there are two.
    pub message: String,
    pub file: Option<PathBuf>,
    pub position: Option<Position>,
    /// What to do about it.
    pub help: Option<String>,
    pub severity: Severity,
    /// True where the machine, not the input, has to change.
    machine: bool,
}

impl Diagnostic {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            file: None,
            position: None,
            help: None,
            severity: Severity::Error,
            machine: false,
        }
    }

    pub fn file(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = Some(file.into());
        self
    }

    pub fn position(mut self, position: Position) -> Self {
        self.position = Some(position);
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Marks it as one that refuses nothing.
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Marks it as the machine's fault.
    pub fn machine(mut self) -> Self {
        self.machine = true;
        self
    }

    /// A failed read or write of `file`. No permission and a full disk are the machine's fault.
    pub fn io(code: &'static str, doing: &str, file: impl Into<PathBuf>, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Kind;
        let file = file.into();
        let diagnostic = Self::new(code, format!("cannot {doing} {}: {error}", file.display())).file(file);
        match error.kind() {
            Kind::PermissionDenied => diagnostic
                .machine()
                .help("give the user that runs wasmhost the permission"),
            Kind::StorageFull | Kind::QuotaExceeded | Kind::ReadOnlyFilesystem => diagnostic.machine(),
            _ => diagnostic,
        }
    }

    pub fn fault(&self) -> Fault {
        if self.machine {
            Fault::Machine
        } else {
            Fault::Input
        }
    }
}

/// Terminal text: `error[code]: message` or `warning[code]: message`, then `  --> file:line:column` and `  help: …` where known.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.is_error() { "error" } else { "warning" };
        write!(f, "{severity}[{}]: {}", self.code, self.message)?;
        if let Some(file) = &self.file {
            write!(f, "\n  --> {}", file.display())?;
            if let Some(Position { line, column }) = self.position {
                write!(f, ":{line}:{column}")?;
            }
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {}", help.replace('\n', "\n        "))?;
        }
        Ok(())
    }
}

/// `{code, message, file, help}`, `line` and `column` where known, and the `severity` of a warning.
impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("code", &self.code)?;
        map.serialize_entry("message", &self.message)?;
        map.serialize_entry("file", &self.file.as_ref().map(|file| file.to_string_lossy()))?;
        map.serialize_entry("help", &self.help)?;
        if let Some(Position { line, column }) = self.position {
            map.serialize_entry("line", &line)?;
            map.serialize_entry("column", &column)?;
        }
        if !self.is_error() {
            map.serialize_entry("severity", "warning")?;
        }
        map.end()
    }
}

/// What was serialized; whose fault it is is not told, and taken to be the input's.
impl<'de> Deserialize<'de> for Diagnostic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Told {
            code: String,
            message: String,
            file: Option<PathBuf>,
            help: Option<String>,
            line: Option<u32>,
            column: Option<u32>,
            severity: Option<String>,
        }
        let told = Told::deserialize(deserializer)?;
        let position = told.line.zip(told.column);
        Ok(Self {
            code: told.code.into(),
            message: told.message,
            file: told.file,
            position: position.map(|(line, column)| Position { line, column }),
            help: told.help,
            severity: match told.severity {
                None => Severity::Error,
                Some(_) => Severity::Warning,
            },
            machine: false,
        })
    }
}

/// The worst fault of a report: the machine's, where any is; `None` where there is no error.
pub fn worst_fault(diagnostics: &[Diagnostic]) -> Option<Fault> {
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error());
    errors.map(Diagnostic::fault).max()
}

/// An error with what led to it, in one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text += &format!(": {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Bytes of a guest's own words that are told at once.
const BRIEF: usize = 1000;

/// The beginning of a text that others wrote: a name of megabytes, told with each trap, would fill the disk.
pub fn brief(text: &str) -> Cow<'_, str> {
    if text.len() <= BRIEF {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(BRIEF);
    Cow::Owned(format!("{}… ({} bytes)", &text[..end], text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let check = |offset, line, column| {
            assert_eq!(Position::of("ab\ncä d\n", offset), Position { line, column });
        };
        check(0, 1, 1);
        check(2, 1, 3);
        check(3, 2, 1);
        check(6, 2, 3);
        check(99, 3, 1);
    }

    #[test]
    fn of_long_words_the_beginning_is_told() {
        assert_eq!(brief("short"), "short");
        let long = "ä".repeat(BRIEF);
        let told = brief(&long);
        assert!(told.len() < BRIEF + 30, "{told}");
        assert!(told.ends_with("ä… (2000 bytes)"), "{told}");
    }

    #[test]
    fn a_warning_is_no_fault() {
        let warning = Diagnostic::new("group-without-page", "no page").warning();
        assert_eq!(warning.to_string(), "warning[group-without-page]: no page");
        let json = serde_json::to_value(&warning).expect("serializes");
        assert_eq!(json["severity"], "warning");
        assert_eq!(worst_fault(&[warning]), None);
    }

    #[test]
    fn text_and_json_carry_the_same_facts() {
        let diagnostic = Diagnostic::new("import-missing", "no component exports a:b/c")
            .file("shop/home.wasm")
            .help("add one");
        assert_eq!(
            diagnostic.to_string(),
            "error[import-missing]: no component exports a:b/c\n  --> shop/home.wasm\n  help: add one"
        );
        assert_eq!(
            serde_json::to_string(&diagnostic).expect("serializes"),
            r#"{"code":"import-missing","message":"no component exports a:b/c","file":"shop/home.wasm","help":"add one"}"#
        );
        let placed = diagnostic.position(Position { line: 1, column: 2 }).warning();
        let told = serde_json::to_value(&placed).expect("serializes");
        assert_eq!(Diagnostic::deserialize(told).expect("is read again"), placed);
    }
}
