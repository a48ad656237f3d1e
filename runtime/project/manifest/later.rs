//! Keys of a group whose features are still to come: their values are checked like all others, and refused
//! where they ask for more than the default. A feature that arrives takes its key out of here.
//! Knows none of the features.

use crate::project::{limits::Limits, toml_reader::Value};

pub fn probation(value: &Value<'_>) -> Option<()> {
    value.section(|probation| {
        for key in ["requests", "traps"] {
            probation
                .get(key)
                .and_then(|count| count.number(Limits::IN_FLIGHT));
        }
    })?;
    not_yet(value, "probation", "a new generation is never reverted")
}

fn not_yet(value: &Value<'_>, what: &str, instead: &str) -> Option<()> {
    value.wrong(
        "manifest-not-yet",
        format_args!("{what} is not supported yet; {instead}"),
        None,
    )
}
