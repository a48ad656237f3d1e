//! Events as a developer reads them in `wasmhost dev`: one calm screen, and then one line a swap. What the
//! developer did not do is not told: the end of an old generation, unless requests were ended with it.

use std::fmt::{self, Write};

use super::{Change, Event, ReadyGroup, Swapped, text::counted};
use crate::diagnostic::Diagnostic;

/// Paints for a terminal, or not.
#[derive(Clone, Copy)]
pub struct Paint {
    pub colours: bool,
}

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "1;31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const BLUE: &str = "1;34";

impl Paint {
    fn with(self, style: &'static str, text: impl fmt::Display) -> String {
        match self.colours {
            true => format!("\x1b[{style}m{text}\x1b[0m"),
            false => text.to_string(),
        }
    }

    /// `None` for what is not told.
    pub fn render(self, event: &Event) -> Option<String> {
        Some(match event {
            Event::Ready { url, groups } => self.ready(url, groups),
            Event::Swapped(swapped) => self.swapped(swapped),
            Event::Rejected {
                group,
                kept,
                diagnostics,
            } => self.rejected(group.as_deref(), *kept, diagnostics),
            Event::Mended { group } => {
                let what = group.as_deref().unwrap_or("the tree");
                format!("{what} is again what serves")
            }
            Event::Retired {
                group,
                generation,
                aborted,
                ..
            } if *aborted > 0 => {
                format!("{group}@{generation} ended at its deadline, and {aborted} requests with it")
            }
            Event::Trapped {
                group,
                generation,
                component,
                message,
                ..
            } => {
                let title = self.with(RED, format!("{group}@{generation} {component} trapped"));
                format!("{title}\n{message}")
            }
            Event::Reverted {
                group,
                from,
                to,
                reason,
                ..
            } => {
                let title = self.with(RED, format!("{group}@{from} was reverted"));
                format!("{title}: {reason}\n{group}@{to} has the content before it")
            }
            Event::Lost { count } => format!("{count} events were not printed"),
            Event::Retired { .. }
            | Event::Recovered { .. }
            | Event::Checkpointed { .. }
            | Event::Committed { .. }
            | Event::Stale { .. }
            | Event::Refused { .. } => return None,
        })
    }

    fn ready(self, url: &str, groups: &[ReadyGroup]) -> String {
        let mut text = String::from("\n");
        for group in groups {
            let name = match group.generation {
                Some(generation) => self.with(BOLD, format!("{}@{generation}", group.group)),
                None => self.with(RED, format!("{} (down)", group.group)),
            };
            let count = counted(group.components.len(), "component");
            let files = match group.files {
                0 => String::new(),
                files => {
                    let files = counted(files, "static file");
                    format!(", {files} below /{}/static/", group.group)
                }
            };
            let _ = writeln!(text, "  {name}  {}", self.with(DIM, count + &files));
            let width = group.routes.iter().map(|route| route.pattern.len()).max();
            for route in &group.routes {
                let pattern = format!("{:width$}", route.pattern, width = width.unwrap_or(0));
                let _ = writeln!(text, "    {pattern}  {}", self.with(DIM, &route.component));
            }
        }
        if groups.is_empty() {
            let _ = writeln!(
                text,
                "  nothing to serve yet: make a component with `wasmhost new NAME`"
            );
        }
        let _ = write!(text, "\n  {}", self.with(BLUE, url));
        let _ = writeln!(text, "  {}", self.with(DIM, "Ctrl-C ends it"));
        text
    }

    /// `shop@3  widget.cart changed  12 ms  compile 6 ms · 1 of 9 modules`
    fn swapped(self, swapped: &Swapped) -> String {
        let Swapped {
            group,
            generation,
            causes,
            modules_compiled,
            modules_reused,
            ms,
            ..
        } = swapped;
        let prefix = format!("{group}.");
        let causes: Vec<String> = causes
            .iter()
            .map(|cause| {
                let name = cause.content.to_string();
                let name = name.strip_prefix(&prefix).unwrap_or(&name);
                let verb = match cause.change {
                    Change::Added => "added",
                    Change::Changed => "changed",
                    Change::Removed => "removed",
                };
                format!("{name} {verb}")
            })
            .collect();
        let causes = match causes.len() {
            0 => "manifest changed".to_owned(),
            1..=3 => causes.join(", "),
            many => format!("{} and {} more", causes[..2].join(", "), many - 2),
        };
        let total = ms.total.as_secs_f64() * 1e3;
        let compile = ms.compile.as_secs_f64() * 1e3;
        let modules = modules_compiled + modules_reused;
        let costs = match modules_compiled {
            0 => "nothing compiled".to_owned(),
            some => format!("compile {compile:.0} ms · {some} of {modules} modules"),
        };
        format!(
            "{}  {causes}  {total:.0} ms  {}",
            self.with(GREEN, format!("{group}@{generation}")),
            self.with(DIM, costs)
        )
    }

    fn rejected(self, group: Option<&str>, kept: Option<u64>, diagnostics: &[Diagnostic]) -> String {
        let reports = diagnostics
            .iter()
            .map(|diagnostic| self.report(diagnostic) + "\n");
        let reports: String = reports.collect();
        let goes_on = match (group, kept) {
            (Some(group), Some(kept)) => format!("{group}@{kept} goes on serving"),
            (Some(group), None) => format!("{group} has nothing to serve yet"),
            (None, _) => "everything goes on as it was".to_owned(),
        };
        format!("{reports}{}", self.with(YELLOW, goes_on))
    }

    /// As rustc reports: the code in red, the place in blue.
    fn report(self, diagnostic: &Diagnostic) -> String {
        let text = diagnostic.to_string();
        let mut lines = text.lines().map(|line| {
            let trimmed = line.trim_start();
            let indent = &line[..line.len() - trimmed.len()];
            if let Some(place) = trimmed.strip_prefix("--> ") {
                format!("{indent}{} {place}", self.with(BLUE, "-->"))
            } else if let Some(help) = trimmed.strip_prefix("help:") {
                format!("{indent}{}{help}", self.with(BOLD, "help:"))
            } else {
                line.to_owned()
            }
        });
        let first = lines.next().unwrap_or_default();
        let first = match first.split_once(": ") {
            Some((code, message)) => {
                let style = if diagnostic.is_error() { RED } else { YELLOW };
                format!("{}: {}", self.with(style, code), self.with(BOLD, message))
            }
            None => first,
        };
        std::iter::once(first).chain(lines).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        project::{ComponentId, ContentId},
        status::{Cause, RouteLine, Stages},
    };

    const PLAIN: Paint = Paint { colours: false };

    fn id(text: &str) -> ComponentId {
        ComponentId::parse(text).expect("an id")
    }

    #[test]
    fn a_swap_is_one_line() {
        let cause = Cause {
            content: ContentId::Component(id("shop.widget.cart")),
            change: Change::Changed,
        };
        let swapped = Event::Swapped(Box::new(Swapped {
            group: "shop".into(),
            generation: 3,
            from: Some(2),
            causes: vec![cause],
            digest: String::new(),
            modules_compiled: 1,
            modules_reused: 8,
            functions_compiled: 2,
            ms: Stages {
                compile: Duration::from_millis(6),
                total: Duration::from_millis(12),
                ..Stages::default()
            },
        }));
        assert_eq!(
            PLAIN.render(&swapped).as_deref(),
            Some("shop@3  widget.cart changed  12 ms  compile 6 ms · 1 of 9 modules")
        );
        let painted = Paint { colours: true }.render(&swapped).expect("is told");
        assert!(
            painted.starts_with("\x1b[32mshop@3\x1b[0m  widget.cart changed"),
            "{painted:?}"
        );
    }

    #[test]
    fn the_screen_begins_with_groups_routes_and_the_address() {
        let ready = Event::Ready {
            url: "http://127.0.0.1:8080".into(),
            groups: vec![ReadyGroup {
                group: "shop".into(),
                generation: Some(1),
                components: vec![id("shop.home"), id("shop.cart")],
                routes: vec![
                    RouteLine {
                        pattern: "/".into(),
                        component: id("shop.home"),
                    },
                    RouteLine {
                        pattern: "/shop/cart".into(),
                        component: id("shop.cart"),
                    },
                ],
                files: 2,
            }],
        };
        assert_eq!(
            PLAIN.render(&ready).as_deref(),
            Some(
                "\n  shop@1  2 components, 2 static files below /shop/static/\n    \
                 /           shop.home\n    /shop/cart  shop.cart\n\n  http://127.0.0.1:8080  Ctrl-C ends it\n"
            )
        );
    }

    #[test]
    fn a_refusal_is_reported_as_rustc_does() {
        let refused = Event::Rejected {
            group: Some("shop".into()),
            kept: Some(2),
            diagnostics: vec![
                Diagnostic::new("import-missing", "no component exports a:b/c")
                    .file("shop/home.wasm")
                    .help("add one"),
            ],
        };
        assert_eq!(
            PLAIN.render(&refused).as_deref(),
            Some(
                "error[import-missing]: no component exports a:b/c\n  --> shop/home.wasm\n  help: add one\nshop@2 goes on serving"
            )
        );
    }
}
