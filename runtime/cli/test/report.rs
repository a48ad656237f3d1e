//! What came of scenarios, as `cargo test` tells it, and as JSON.

use std::{fmt::Write, time::Duration};

use serde_json::{Value, json};

use crate::{
    cli::records,
    testing::{Failure, Outcome},
};

/// Lines of a server's log that are shown.
const LAST_LINES: usize = 20;

pub struct Summary<'a> {
    pub outcomes: &'a [Outcome],
    /// Scenarios that were not meant.
    pub filtered_out: usize,
    pub took: Duration,
}

pub fn running(scenarios: usize) -> String {
    let s = if scenarios == 1 { "" } else { "s" };
    format!("\nrunning {scenarios} scenario{s}\n")
}

pub fn line(outcome: &Outcome) -> String {
    let verdict = if outcome.failure.is_none() { "ok" } else { "FAILED" };
    let took = outcome.took.as_secs_f64();
    format!("test {} ... {verdict} ({took:.2}s)\n", outcome.name)
}

/// Where a failure is, what was to come and what came.
pub fn failure(outcome: &Outcome, failure: &Failure) -> String {
    let Failure { line, step, wrong } = failure;
    let place = match line {
        Some(line) => format!("{}:{line}", outcome.file.display()),
        None => outcome.file.display().to_string(),
    };
    let indented = |text: &str| text.replace('\n', "\n              ");
    format!(
        "{place}: {step}\n    expected: {}\n       found: {}\n",
        indented(&wrong.expected),
        indented(&wrong.found)
    )
}

impl Summary<'_> {
    pub fn text(&self) -> String {
        let failed: Vec<_> = self
            .outcomes
            .iter()
            .filter_map(|outcome| Some((outcome, outcome.failure.as_ref()?)))
            .collect();
        let mut text = String::new();
        if !failed.is_empty() {
            text += "\nfailures:\n";
            for (outcome, wrong) in &failed {
                let _ = writeln!(text, "\n---- {} ----", outcome.name);
                text += &failure(outcome, wrong);
                text += "the journal of this run:\n";
                for record in &outcome.journal {
                    let _ = writeln!(text, "    {}", records::text(record).replace('\n', "\n    "));
                }
                text += &last_lines(&outcome.log);
            }
            text += "\nfailures:\n";
            for (outcome, _) in &failed {
                let _ = writeln!(text, "    {}", outcome.name);
            }
        }
        let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
        text + &format!(
            "\ntest result: {verdict}. {} passed; {} failed; {} filtered out; finished in {:.2}s\n",
            self.outcomes.len() - failed.len(),
            failed.len(),
            self.filtered_out,
            self.took.as_secs_f64()
        )
    }

    pub fn json(&self) -> String {
        let failed = self.outcomes.iter().filter(|outcome| outcome.failure.is_some());
        let failed = failed.count();
        let scenarios: Vec<Value> = self.outcomes.iter().map(told).collect();
        let report = json!({
            "passed": self.outcomes.len() - failed,
            "failed": failed,
            "filtered_out": self.filtered_out,
            "seconds": self.took.as_secs_f64(),
            "scenarios": scenarios,
        });
        format!("{report}\n")
    }
}

fn told(outcome: &Outcome) -> Value {
    let failure = outcome.failure.as_ref().map(|failure| {
        json!({
            "line": failure.line,
            "step": failure.step,
            "expected": failure.wrong.expected,
            "found": failure.wrong.found,
        })
    });
    json!({
        "name": outcome.name,
        "file": outcome.file,
        "passed": failure.is_none(),
        "seconds": outcome.took.as_secs_f64(),
        "failure": failure,
        "journal": outcome.journal,
    })
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let skipped = lines.len().saturating_sub(LAST_LINES);
    let mut text = String::new();
    if !lines.is_empty() {
        text += "the log of this run:\n";
        for line in &lines[skipped..] {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}
