//! Events as a person reads them: a table at the start, one line a swap.

use std::{fmt::Write, time::Duration};

use comfy_table::{Table, presets};

use super::{Change, Event, ReadyGroup, Stages, Swapped};
use crate::diagnostic::Diagnostic;

pub fn render(event: &Event) -> String {
    match event {
        Event::Ready { url, groups } => format!("{}\nserving {url}", table(groups)),
        Event::Swapped(swapped) => render_swapped(swapped),
        Event::Rejected {
            group,
            kept,
            diagnostics,
        } => {
            let text = match (group, kept) {
                (Some(group), Some(kept)) => format!("rejected {group}: {group}@{kept} goes on serving"),
                (Some(group), None) => format!("rejected {group}: nothing to serve yet"),
                (None, _) => "rejected: everything goes on as it was".into(),
            };
            with(text, diagnostics)
        }
        Event::Retired {
            group,
            generation,
            ms,
            aborted,
        } => render_retired(&format!("{group}@{generation}"), *ms, *aborted),
        Event::Mended { group } => {
            let what = group.as_deref().unwrap_or("the tree");
            format!("mended {what}: what lies on disk is what serves")
        }
        Event::Trapped {
            group,
            generation,
            component,
            message,
            request,
            ..
        } => {
            let request = request.as_deref().unwrap_or("unknown");
            format!("trapped {group}@{generation}: {component}, request {request}: {message}")
        }
        Event::Reverted {
            group,
            from,
            to,
            reason,
            ..
        } => format!("reverted {group}@{from} -> {to}: {reason}"),
        Event::Recovered { group, generation } => format!("recovered {group}@{generation} with a new store"),
        Event::Checkpointed {
            group,
            generation,
            bytes,
            ms,
        } => {
            let ms = ms.as_secs_f64() * 1e3;
            format!("checkpointed {group}@{generation}: {bytes} bytes, saved in {ms:.1} ms")
        }
        Event::Committed { number, release } => format!("committed {number} of the fleet: {release}"),
        Event::Stale { reason, diagnostics } => with(format!("stale: {reason}"), diagnostics),
        Event::Refused {
            release,
            node,
            diagnostics,
        } => with(format!("refused for the fleet by {node}: {release}"), diagnostics),
        Event::Lost { count } => format!("lost: {count} events were not printed"),
    }
}

fn render_retired(name: &str, took: Duration, aborted: usize) -> String {
    let aborted = match aborted {
        0 => String::new(),
        some => format!(", {some} requests ended"),
    };
    format!("retired {name} after {:.1} ms{aborted}", took.as_secs_f64() * 1e3)
}

fn with(mut text: String, diagnostics: &[Diagnostic]) -> String {
    for diagnostic in diagnostics {
        let _ = write!(text, "\n{diagnostic}");
    }
    text
}

fn render_swapped(swapped: &Swapped) -> String {
    let Swapped {
        group,
        generation,
        from,
        causes,
        modules_compiled,
        modules_reused,
        ms,
        ..
    } = swapped;
    let from = from.map_or_else(String::new, |from| format!("@{from} -> "));
    let causes: Vec<String> = causes
        .iter()
        .map(|cause| {
            let sign = match cause.change {
                Change::Added => "+",
                Change::Changed => "~",
                Change::Removed => "-",
            };
            format!("{sign}{}", cause.content)
        })
        .collect();
    let causes = if causes.is_empty() {
        "manifest".into()
    } else {
        causes.join(" ")
    };
    let Stages { total, compile, .. } = ms;
    format!(
        "swapped {group}{from}{}{generation} ({causes}) in {:.1} ms; compiled {modules_compiled} of {} modules in {:.1} ms",
        if from.is_empty() { "@" } else { "" },
        total.as_secs_f64() * 1e3,
        modules_compiled + modules_reused,
        compile.as_secs_f64() * 1e3,
    )
}

/// "1 file", "2 files".
pub(super) fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn table(groups: &[ReadyGroup]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_header(["group", "component", "routes"]);
    for group in groups {
        let mut name = match group.generation {
            Some(generation) => format!("{}@{generation}", group.group),
            None => format!("{} (down)", group.group),
        };
        for component in &group.components {
            let routes: Vec<&str> = group
                .routes
                .iter()
                .filter(|route| route.component == *component)
                .map(|route| route.pattern.as_str())
                .collect();
            table.add_row([
                std::mem::take(&mut name),
                component.to_string(),
                routes.join("  "),
            ]);
        }
        if group.files > 0 {
            table.add_row([
                name,
                counted(group.files, "static file"),
                format!("/{}/static/", group.group),
            ]);
        }
    }
    table
}
