//! Which scenarios run, while they run: a bar on a terminal, and a line for each that has ended.

use std::{collections::BTreeSet, io::IsTerminal, sync::Mutex, sync::PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::report;
use crate::{
    cli::print,
    testing::{Outcome, scenario::Scenario},
};

pub struct Display {
    bar: ProgressBar,
    running: Mutex<BTreeSet<String>>,
    /// The report is for a machine: nothing else goes to standard output.
    quiet: bool,
}

impl Display {
    pub fn new(scenarios: usize, quiet: bool) -> Self {
        let count = u64::try_from(scenarios).unwrap_or(u64::MAX);
        let target = if std::io::stderr().is_terminal() && !quiet {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(count), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {wide_msg}") {
            bar.set_style(style);
        }
        let display = Self {
            bar,
            running: Mutex::default(),
            quiet,
        };
        display.say(&report::running(scenarios));
        display
    }

    pub fn began(&self, scenario: &Scenario) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(scenario.name.clone());
        self.show(&running);
    }

    pub fn ended(&self, outcome: &Outcome) {
        self.say(&report::line(outcome));
        self.bar.inc(1);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.remove(&outcome.name);
        self.show(&running);
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn show(&self, running: &BTreeSet<String>) {
        let names: Vec<&str> = running.iter().map(String::as_str).collect();
        self.bar.set_message(names.join(", "));
    }

    fn say(&self, line: &str) {
        if !self.quiet {
            // Nobody reads any more: the exit code still tells.
            let _ = self.bar.suspend(|| print(line));
        }
    }
}
