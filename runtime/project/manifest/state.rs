//! `state` of a group: what becomes of what its components remember.

use crate::project::{Instances, State, toml_reader::Section};

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
