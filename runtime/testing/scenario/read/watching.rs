//! The steps that look at the server: its events, and what runs.

use super::{CODES, COUNTS};
use crate::{
    project::{
        nearest,
        toml_reader::{Section, Value},
    },
    testing::scenario::{Action, ExpectStatus},
};

/// What a server tells of.
const EVENTS: &[&str] = &[
    "swapped",
    "rejected",
    "retired",
    "trapped",
    "recovered",
    "reverted",
    "lost",
    "unsettled",
];

pub fn wait(section: &mut Section<'_>) -> Option<Action> {
    let event = match section.get("event") {
        Some(value) => event(&value, value.string()?),
        None => section.lacks("event", "what is waited for, as \"swapped\""),
    };
    let group = section.get("group").and_then(|value| value.string());
    let generation = section.get("generation").and_then(|value| value.number(COUNTS));
    Some(Action::Wait {
        event: event?,
        group: group.map(str::to_owned),
        generation,
    })
}

fn event(value: &Value<'_>, name: &str) -> Option<String> {
    if EVENTS.contains(&name) {
        return Some(name.to_owned());
    }
    let help = match nearest(name, EVENTS.iter().copied()) {
        Some(guess) => format!("did you mean {guess}?"),
        None => format!("known: {}", EVENTS.join(", ")),
    };
    value.wrong(CODES.value, format_args!("no event is called {name}"), Some(help))
}

pub fn expect_events(section: &mut Section<'_>) -> Option<Action> {
    let group = section.get("group").and_then(|value| value.string());
    let counts = EVENTS.iter().filter_map(|event| {
        let count = section.get(event)?.number(COUNTS)?;
        Some(((*event).to_owned(), count))
    });
    Some(Action::ExpectEvents {
        counts: counts.collect(),
        group: group.map(str::to_owned),
    })
}

pub fn status(section: &mut Section<'_>) -> Option<Action> {
    let group = match section.get("group") {
        Some(value) => value.string(),
        None => section.lacks("group", "whose status it is"),
    };
    let rejected = section.get("rejected").and_then(|value| value.boolean());
    let mut number = |key| {
        let value: Option<Value<'_>> = section.get(key);
        value.and_then(|value| value.number(COUNTS))
    };
    Some(Action::Status {
        expect: ExpectStatus {
            generation: number("generation"),
            draining: number("draining"),
            in_flight: number("in-flight"),
            rejected,
        },
        group: group?.to_owned(),
    })
}
