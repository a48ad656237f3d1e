//! Records of the journal as a person reads them. They may be another version's: what is not known is
//! shown as it is.

use std::fmt::Write;

use serde_json::Value;

/// One record: a line, and one for each reason.
pub fn text(record: &Value) -> String {
    let field = |name: &str| plain(&record[name]);
    let of = match (record["group"].as_str(), record["generation"].as_u64()) {
        (Some(group), Some(generation)) => format!("{group}@{generation}"),
        (Some(group), None) => group.to_owned(),
        (None, _) => String::new(),
    };
    let details = match record["event"].as_str() {
        Some("ready") => format!("{} {}", field("url"), groups(record)),
        Some("swapped") => format!(
            "{of} (from {}): {}, in {} ms",
            or_none(&record["from"]),
            causes(record),
            plain(&record["ms"]["total"])
        ),
        Some("rejected") => refusal(record),
        Some("retired") => format!(
            "{of} after {} ms, {} requests ended",
            field("ms"),
            field("aborted")
        ),
        Some("trapped") => format!(
            "{of}: {}, request {}: {}",
            field("component"),
            or_none(&record["request"]),
            field("message")
        ),
        Some("recovered") => of,
        Some("mended") => format!("{of}: what lies on disk is what serves"),
        Some("checkpointed") => format!("{of}: {} bytes, saved in {} ms", field("bytes"), field("ms")),
        Some("lost") => format!("{} events are missing here", field("count")),
        Some("reverted") => format!(
            "{of} from {} to {}: {}",
            field("from"),
            field("to"),
            field("reason")
        ),
        _ => record.to_string(),
    };
    format!("{} {:9} {details}", field("time"), field("event"))
}

/// Who goes on serving, and the reasons, each on lines of its own.
pub fn refusal(record: &Value) -> String {
    let mut text = match (record["group"].as_str(), record["kept"].as_u64()) {
        (Some(group), Some(kept)) => format!("{group}: {group}@{kept} goes on serving"),
        (Some(group), None) => format!("{group}: nothing to serve yet"),
        (None, _) => "the tree: everything goes on as it was".into(),
    };
    for diagnostic in record["diagnostics"].as_array().into_iter().flatten() {
        let part = |name: &str| plain(&diagnostic[name]);
        let _ = write!(text, "\n  error[{}]: {}", part("code"), part("message"));
        if !diagnostic["file"].is_null() {
            let _ = write!(text, "\n    --> {}", part("file"));
            if !diagnostic["line"].is_null() {
                let _ = write!(text, ":{}:{}", part("line"), part("column"));
            }
        }
        if !diagnostic["help"].is_null() {
            let _ = write!(text, "\n    help: {}", part("help"));
        }
    }
    text
}

/// Why a group was swapped.
pub fn causes(record: &Value) -> String {
    let causes = record["causes"].as_array().into_iter().flatten();
    let causes: Vec<String> = causes
        .map(|cause| {
            let content = cause.get("file").unwrap_or(&cause["component"]);
            format!("{} {}", plain(content), plain(&cause["change"]))
        })
        .collect();
    match causes.as_slice() {
        [] => "the manifest changed".into(),
        causes => causes.join(", "),
    }
}

fn groups(ready: &Value) -> String {
    let groups = ready["groups"].as_array().into_iter().flatten();
    let groups: Vec<String> = groups
        .map(|group| match group["generation"].as_u64() {
            Some(generation) => format!("{}@{generation}", plain(&group["group"])),
            None => format!("{} (down)", plain(&group["group"])),
        })
        .collect();
    groups.join(" ")
}

fn or_none(value: &Value) -> String {
    if value.is_null() {
        "none".into()
    } else {
        plain(value)
    }
}

/// Without the quotes of a text.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
