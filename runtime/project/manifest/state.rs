//! `state` and `checkpoint` of a group: what becomes of what its components remember.

use std::time::Duration;

use crate::project::{Instances, Limits, State, toml_reader::Section};

/// What is written of it. Only a group of one store has one state that could be handed over.
pub fn state(section: &mut Section<'_>, instances: Instances) -> State {
    let Some(value) = section.get("state") else {
        return State::Fresh;
    };
    match value.as_str() {
        Some("fresh") => State::Fresh,
        Some("migrate") if instances == Instances::Shared => State::Migrate,
        Some("migrate") => {
            let help = "leave `instances` out, or write \"shared\"; or leave `state` out: each swap starts anew then";
            value.wrong::<()>(
                "state-not-shared",
                "state = \"migrate\" needs instances = \"shared\": where there are several stores, each has a \
                 state of its own, and none is the group's",
                Some(help.to_owned()),
            );
            State::Fresh
        }
        _ => {
            value.expected::<()>("\"fresh\" or \"migrate\"");
            State::Fresh
        }
    }
}

/// How often it is saved, where that is written. What could not be loaded again need not be.
pub fn checkpoint(section: &mut Section<'_>, state: State) -> Option<Duration> {
    let value = section.get("checkpoint")?;
    if state != State::Migrate {
        return value.wrong(
            "checkpoint-without-state",
            "checkpoint needs state = \"migrate\": only what is handed over at a swap can be saved and loaded",
            Some("write `state = \"migrate\"` beside it, or leave `checkpoint` out".to_owned()),
        );
    }
    value.duration(Limits::CHECKPOINT)
}
