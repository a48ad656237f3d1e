//! Runs other programs: Cargo and rustc without what a surrounding Cargo put into the environment, and any
//! program for its output, with a failure told in one line. Knows nothing of what the programs are for.

use std::{
    env,
    process::{Command, Stdio},
};

/// A failed program's reason is abridged to about this many characters.
const REASON_LIMIT: usize = 400;

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("{program} is not installed")]
    Missing { program: String },
    #[error("cannot start {program}: {source}")]
    Start { program: String, source: std::io::Error },
    #[error("`{line}` failed: {reason}")]
    Failed { line: String, reason: String },
}

impl CommandError {
    pub fn from_start(command: &Command, source: std::io::Error) -> Self {
        let program = command.get_program().to_string_lossy().into_owned();
        match source.kind() {
            std::io::ErrorKind::NotFound => Self::Missing { program },
            _ => Self::Start { program, source },
        }
    }
}

/// A command of the Rust toolchain for guests. What `cargo run` and `cargo test` set for this process is about
/// the host's build and would change or break the guests'; the user's own settings of Cargo stay.
pub fn rust_tool(program: &str) -> Command {
    let mut command = Command::new(program);
    let under_cargo = env::var_os("CARGO").is_some();
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| leaks(name, under_cargo)) {
            command.env_remove(&name);
        }
    }
    command
}

fn leaks(name: &str, under_cargo: bool) -> bool {
    const NAMES: &[&str] = &[
        "CARGO",
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_BUILD_TARGET_DIR",
        "CARGO_CRATE_NAME",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_MAKEFLAGS",
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_LINKS",
        "CARGO_MANIFEST_PATH",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_TARGET_DIR",
        "CARGO_TARGET_TMPDIR",
        "MAKEFLAGS",
        "MFLAGS",
        "OUT_DIR",
        "RUSTC",
        "RUSTC_BOOTSTRAP",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTDOC",
        "RUSTFLAGS",
        "__CARGO_DEFAULT_LIB_METADATA",
    ];
    // Under `cargo` the variable is rustup's doing and names the host's toolchain; else the user set it.
    (name == "RUSTUP_TOOLCHAIN" && under_cargo)
        || NAMES.contains(&name)
        || name.starts_with("CARGO_PKG_")
        || name.starts_with("CARGO_BIN_EXE_")
}

/// Runs `command` to its end and returns its standard output, trimmed.
pub fn output(command: &mut Command) -> Result<String, CommandError> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| CommandError::from_start(command, error))?;
    if !output.status.success() {
        return Err(CommandError::Failed {
            line: line(command),
            reason: reason(
                &String::from_utf8_lossy(&output.stderr),
                &output.status.to_string(),
            ),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The program and its first arguments that are not options: enough to know the command again.
fn line(command: &Command) -> String {
    let words = command
        .get_args()
        .map(|word| word.to_string_lossy())
        .filter(|word| !word.starts_with('-') && !word.contains(['=', '/']))
        .take(4);
    let program = command.get_program().to_string_lossy().into_owned();
    std::iter::once(program.into())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

/// What a program said from its first error on, in one line; its last lines where it named no error.
fn reason(stderr: &str, status: &str) -> String {
    let lines: Vec<&str> = stderr
        .lines()
        .map(str::trim)
        .take_while(|line| !line.eq_ignore_ascii_case("stack backtrace:"))
        .filter(|line| !line.is_empty() && !line.eq_ignore_ascii_case("caused by:"))
        .collect();
    let first = lines
        .iter()
        .position(|line| line.starts_with("error") || line.starts_with("E:"))
        .unwrap_or(lines.len().saturating_sub(3));
    let said: Vec<&str> = lines[first..]
        .iter()
        .map(|line| line.trim_start_matches("error: ").trim_start_matches("E: "))
        .collect();
    if said.is_empty() {
        return status.to_owned();
    }
    abridged(&said.join("; ").replace(":; ", ": "))
}

/// Without its middle where it is long: the first error and the last cause tell most.
fn abridged(reason: &str) -> String {
    let characters: Vec<char> = reason.chars().collect();
    if characters.len() <= REASON_LIMIT {
        return reason.to_owned();
    }
    let (head, tail) = (
        &characters[..REASON_LIMIT / 2],
        &characters[characters.len() - REASON_LIMIT / 2..],
    );
    head.iter().chain(&[' ', '…', ' ']).chain(tail).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_surrounding_cargo_does_not_leak() {
        let check = |name, under_cargo, expected| assert_eq!(leaks(name, under_cargo), expected, "{name}");
        check("CARGO_TARGET_DIR", false, true);
        check("CARGO_PKG_VERSION_MAJOR", true, true);
        check("RUSTUP_TOOLCHAIN", true, true);
        check("RUSTUP_TOOLCHAIN", false, false);
        check("CARGO_HOME", true, false);
        check("CARGO_TERM_COLOR", true, false);
        check("RUSTUP_HOME", true, false);
        check("PATH", true, false);
    }

    #[test]
    fn a_failure_is_told_from_its_first_error_on() {
        let check = |stderr, expected| assert_eq!(reason(stderr, "exit status: 1"), expected);
        check("", "exit status: 1");
        check("one\ntwo\nthree\nfour\n", "two; three; four");
        check(
            "info: trying\nerror: no\n\nCaused by:\n  a reason\n",
            "no; a reason",
        );
        check(
            "error: two of a name:\n- one\n- two\n",
            "two of a name: - one; - two",
        );
        check(
            "W: hm\nE: Unable to locate package x\n",
            "Unable to locate package x",
        );
    }

    #[test]
    fn a_long_reason_loses_its_middle() {
        let long = abridged(&format!("first{}last", "-".repeat(1000)));
        assert!(long.starts_with("first--") && long.contains("- … -") && long.ends_with("--last"));
        assert_eq!(long.chars().count(), REASON_LIMIT + 3);
        assert_eq!(abridged("short"), "short");
    }

    #[test]
    fn commands_are_named_without_their_options() {
        let mut command = Command::new("apt-get");
        command.args(["-o", "Dir::Cache=/x", "install", "--yes", "rustc-web"]);
        assert_eq!(line(&command), "apt-get install rustc-web");
    }

    #[test]
    fn output_tells_a_missing_program_from_a_failed_one() {
        assert!(matches!(
            output(&mut Command::new("wasmhost-no-such-program")),
            Err(CommandError::Missing { .. })
        ));
        let failed = output(Command::new("sh").args(["-c", "echo 'error: why' >&2; exit 4"]));
        assert_eq!(
            failed.map_err(|error| error.to_string()),
            Err("`sh echo 'error: why' >&2; exit 4` failed: why".into())
        );
    }
}
