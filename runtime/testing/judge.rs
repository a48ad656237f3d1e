//! Whether what came is what was expected, and if not, both in words. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use serde_json::Value;

use super::{
    client::Reply,
    load::{Count, LoadReport, excerpt},
    run::Wrong,
    scenario::{Expect, ExpectLoad, ExpectStatus},
};

/// Without any expectation, it must not be a failure of the server's.
pub fn reply(expect: &Expect, reply: &Reply) -> Result<(), Wrong> {
    let answered = || {
        format!(
            "status {}, body {}",
            reply.status.as_u16(),
            excerpt(&reply.text())
        )
    };
    if *expect == Expect::default() && reply.status.is_server_error() {
        return Err(Wrong::new("a status below 500", answered()));
    }
    if let Some(status) = expect.status
        && reply.status.as_u16() != status
    {
        return Err(Wrong::new(format!("status {status}"), answered()));
    }
    for (name, value) in &expect.headers {
        let found = reply.header(name);
        if found != Some(value) {
            let found = match found {
                Some(found) => format!("{name}: {found}"),
                None => format!("no {name}; {}", answered()),
            };
            return Err(Wrong::new(format!("{name}: {value}"), found));
        }
    }
    let text = reply.text();
    if let Some(body) = &expect.body
        && *body != text
    {
        return Err(Wrong::new(format!("body {}", excerpt(body)), answered()));
    }
    for part in &expect.body_contains {
        if !text.contains(part.as_str()) {
            return Err(Wrong::new(format!("a body that contains {part:?}"), answered()));
        }
    }
    Ok(())
}

/// `goes_on`: answers still came at the end.
pub fn load(expect: &ExpectLoad, report: &LoadReport, goes_on: bool) -> Result<(), Wrong> {
    let most = |name: &str, most: Option<u64>, count: &Count| match most {
        Some(most) if count.count > most => {
            let told: String = count.told.iter().map(|what| format!("\n{what}")).collect();
            Err(Wrong::new(
                format!("{name}: at most {most}"),
                format!(
                    "{} of {} requests:{told}",
                    count.count,
                    report.answers + report.failed.count
                ),
            ))
        }
        _ => Ok(()),
    };
    most("failed", expect.failed.or(Some(0)), &report.failed)?;
    if !goes_on {
        return Err(Wrong::new("answers until the end", "no more came"));
    }
    match &report.mixed {
        Some(mixed) => most("mixed", expect.mixed, mixed)?,
        None if expect.mixed.is_some() => {
            let found = "the page does not answer the same every time, so it cannot be told: name in the load, \
                         as marks, one text for each version of the page";
            return Err(Wrong::new("a count of mixed answers", found));
        }
        None => {}
    }
    match (report.lost_state, expect.lost_state) {
        (Some(lost), Some(most)) if lost > most => {
            return Err(Wrong::new(
                format!("lost-state: at most {most}"),
                format!("{lost} of {} requests are missing in the counter", report.answers),
            ));
        }
        _ => {}
    }
    match expect.answers {
        Some(least) if report.answers < least => Err(Wrong::new(
            format!("at least {least} answers"),
            report.answers.to_string(),
        )),
        _ => Ok(()),
    }
}

/// What was forgotten while a load ran that has no counter: a swap of a group in `fresh` begins without what was
/// remembered, and so does a store that takes over after a trap.
pub fn forgotten(
    most: u64,
    report: &LoadReport,
    events: &[Value],
    fresh: &BTreeSet<String>,
) -> Result<(), Wrong> {
    let mut found = Count::default();
    for event in events {
        let Some(group) = event["group"].as_str() else {
            continue;
        };
        let mut generations = report.generations.keys();
        if !generations.any(|id| id.rsplit_once('@').is_some_and(|(name, _)| name == group)) {
            continue;
        }
        let of = of(Some(group), event["generation"].as_u64());
        match event["event"].as_str() {
            Some("swapped") if !event["from"].is_null() && fresh.contains(group) => {
                found.add(|| format!("swapped{of}: the group has state = \"fresh\""));
            }
            Some("recovered") => {
                found.add(|| format!("recovered{of}: a store ended with what it remembered"))
            }
            _ => {}
        }
    }
    if found.count <= most {
        return Ok(());
    }
    let told: String = found.told.iter().map(|what| format!("\n{what}")).collect();
    Err(Wrong::new(
        format!("lost-state: at most {most}"),
        format!("{} times:{told}", found.count),
    ))
}

/// How many events of each name there were, of one group or of all.
pub fn events(group: Option<&str>, counts: &BTreeMap<String, u64>, events: &[Value]) -> Result<(), Wrong> {
    for (name, expected) in counts {
        let is_it =
            |event: &&Value| event["event"] == *name && group.is_none_or(|group| event["group"] == group);
        let found = events.iter().filter(is_it).count();
        if u64::try_from(found) != Ok(*expected) {
            let of = of(group, None);
            return Err(Wrong::new(
                format!("{expected} events {name}{of}"),
                format!("{found}; {}", told(events)),
            ));
        }
    }
    Ok(())
}

/// So many requests at least, whosever they are.
pub fn under_way(requests: u64, status: &Value) -> Result<(), Wrong> {
    let groups = status["groups"].as_object().into_iter().flatten();
    let found: u64 = groups.filter_map(|(_, group)| group["in_flight"].as_u64()).sum();
    match found >= requests {
        true => Ok(()),
        false => Err(Wrong::new(
            format!("{requests} requests under way"),
            format!("{found}"),
        )),
    }
}

pub fn status(group: &str, expect: &ExpectStatus, status: &Value) -> Result<(), Wrong> {
    let found = &status["groups"][group];
    if found.is_null() {
        let groups = status["groups"].as_object().into_iter().flatten();
        let names: Vec<&str> = groups.map(|(name, _)| name.as_str()).collect();
        return Err(Wrong::new(
            format!("a group {group}"),
            format!("groups {}", names.join(", ")),
        ));
    }
    let draining = found["draining"].as_array().map(|older| older.len() as u64);
    let numbers = [
        ("generation", expect.generation, found["generation"].as_u64()),
        ("draining", expect.draining, draining),
        ("in-flight", expect.in_flight, found["in_flight"].as_u64()),
    ];
    for (name, expected, found) in numbers {
        if expected.is_some() && expected != found {
            let shown = |number: Option<u64>| number.map_or("none".to_owned(), |number| number.to_string());
            return Err(Wrong::new(
                format!("{name} {}", shown(expected)),
                format!("{name} {}{}", shown(found), refusal(&status["groups"][group])),
            ));
        }
    }
    let rejected = !found["rejected"].is_null();
    match expect.rejected {
        Some(expected) if expected != rejected => {
            let shown = |rejected| {
                if rejected {
                    "content that is refused"
                } else {
                    "nothing refused"
                }
            };
            Err(Wrong::new(shown(expected), shown(rejected)))
        }
        _ => Ok(()),
    }
}

/// Why what lies on disk is not served, where it is not.
fn refusal(group: &Value) -> String {
    let diagnostics = group["rejected"]["diagnostics"].as_array().into_iter().flatten();
    let messages = diagnostics.filter_map(|diagnostic| diagnostic["message"].as_str());
    messages.map(|message| format!("\nrefused: {message}")).collect()
}

/// ` of shop@2`
pub fn of(group: Option<&str>, generation: Option<u64>) -> String {
    match (group, generation) {
        (Some(group), Some(generation)) => format!(" of {group}@{generation}"),
        (Some(group), None) => format!(" of {group}"),
        (None, Some(generation)) => format!(" of generation {generation}"),
        (None, None) => String::new(),
    }
}

/// The events in short: what a wait that got none may have been meant for.
pub fn told(events: &[Value]) -> String {
    let mut told = String::from("there were:");
    for event in events {
        let name = event["event"].as_str().unwrap_or("?");
        let _ = write!(
            told,
            " {name}{}",
            of(event["group"].as_str(), event["generation"].as_u64())
        );
    }
    told
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_forgotten_is_told_by_events() {
        let report = LoadReport {
            generations: BTreeMap::from([("shop@1".into(), 1), ("shop@2".into(), 1)]),
            ..LoadReport::default()
        };
        let check = |event: Value, fresh: &[&str], is_lost: bool| {
            let fresh = fresh.iter().map(|name| (*name).to_owned()).collect();
            let found = forgotten(0, &report, std::slice::from_ref(&event), &fresh);
            assert_eq!(found.is_err(), is_lost, "{event}");
        };
        let swapped = |group: &str| json!({ "event": "swapped", "group": group, "from": 1, "generation": 2 });
        check(swapped("shop"), &["shop"], true);
        check(swapped("shop"), &[], false);
        check(swapped("api"), &["shop", "api"], false);
        check(
            json!({ "event": "swapped", "group": "shop", "from": null }),
            &["shop"],
            false,
        );
        check(
            json!({ "event": "recovered", "group": "shop", "generation": 2 }),
            &[],
            true,
        );
        check(json!({ "event": "rejected", "group": "shop" }), &["shop"], false);
    }
}
