//! Keys of a group whose features are still to come: their values are checked like all others, and refused
//! where they ask for more than the default. A feature that arrives takes its key out of here.
//! Knows none of the features.

use crate::project::{
    limits::Limits,
    toml_reader::{Section, Value},
};

pub fn state(value: &Value<'_>) -> Option<()> {
    match value.as_str() {
        Some("fresh") => Some(()),
        Some("migrate") => not_yet(value, "state = \"migrate\"", "only \"fresh\" is"),
        _ => value.expected("\"fresh\" or \"migrate\""),
    }
}

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

/// Each kind of grant for itself; what grants nothing is in order.
pub fn grants(grants: &mut Section<'_>) {
    type Grants = fn(&Value<'_>) -> Option<bool>;
    let kinds: [(&'static str, Grants); 5] = [
        ("http", |value| {
            Some(value.elements("URLs")?.iter().filter_map(Value::string).count() > 0)
        }),
        ("env", texts),
        ("config", texts),
        ("directories", |value| {
            Some(
                value
                    .elements("directories")?
                    .iter()
                    .filter_map(directory)
                    .count()
                    > 0,
            )
        }),
        ("keyvalue", |value| value.boolean()),
    ];
    for (key, grants_something) in kinds {
        if let Some(value) = grants.get(key)
            && grants_something(&value) == Some(true)
        {
            not_yet(&value, value.path(), "nothing can be granted");
        }
    }
}

fn texts(value: &Value<'_>) -> Option<bool> {
    Some(
        value
            .entries()?
            .iter()
            .filter_map(|entry| entry.value.string())
            .count()
            > 0,
    )
}

fn directory(value: &Value<'_>) -> Option<()> {
    value.section(|directory| {
        directory.get("write").and_then(|write| write.boolean());
        let [host, guest] = ["host", "guest"].map(|key| directory.get(key));
        match (host, guest) {
            (Some(host), Some(guest)) => host.string().and(guest.string()).map(|_| ()),
            _ => value.expected("a table with host and guest"),
        }
    })?
}

fn not_yet(value: &Value<'_>, what: &str, instead: &str) -> Option<()> {
    value.wrong(
        "manifest-not-yet",
        format_args!("{what} is not supported yet; {instead}"),
        None,
    )
}
