//! Tests that need of the machine what it may not have. In CI that is a failure.

use std::io::Write;

/// Says loudly that a test did not run, and what it lacks.
pub fn skipped(test: &str, lacks: &str) {
    let forbidden = ["CI", "WASMHOST_NO_SKIP"].into_iter().any(set);
    assert!(!forbidden, "{test} cannot run here: {lacks}");
    unprivileged(test, lacks);
}

/// The same where it is a right that the machine does not give, which no package brings: no failure in CI either.
pub fn unprivileged(test: &str, lacks: &str) {
    // Past the test runner, which shows nobody what a passing test prints.
    let line = format!("SKIPPED {test}: {lacks}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

fn set(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}
