//! How a build shows what it does: a line that moves on a terminal, plain lines elsewhere.

use std::{
    io::{IsTerminal, Write},
    sync::Arc,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::say;
use crate::build::{Progress, Sink};

/// Whether standard error is a terminal whose user wants colours.
pub fn colours() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !set("NO_COLOR")
}

/// Where a build tells what it does.
pub fn sink() -> Sink {
    if !std::io::stderr().is_terminal() {
        return Arc::new(|progress| match progress {
            Progress::Says(line) | Progress::Doing(line) | Progress::Message(line) => say(&line),
            Progress::Begins(_) | Progress::Ended => {}
        });
    }
    let line = Line(ProgressBar::hidden());
    Arc::new(move |progress| line.show(progress))
}

struct Line(ProgressBar);

impl Line {
    fn show(&self, progress: Progress) {
        let Self(bar) = self;
        match progress {
            Progress::Begins(0) => {}
            Progress::Begins(count) => {
                bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
                bar.reset();
                bar.set_length(count as u64);
                bar.set_position(0);
                if let Ok(style) = ProgressStyle::with_template("{spinner} {pos}/{len} {wide_msg}") {
                    bar.set_style(style);
                }
                bar.enable_steady_tick(Duration::from_millis(100));
            }
            Progress::Doing(what) => bar.set_message(what.trim().to_owned()),
            Progress::Says(line) | Progress::Message(line) => bar.suspend(|| {
                let _ = writeln!(std::io::stderr(), "{line}");
            }),
            Progress::Ended => {
                bar.inc(1);
                if Some(bar.position()) >= bar.length() {
                    bar.finish_and_clear();
                }
            }
        }
    }
}
