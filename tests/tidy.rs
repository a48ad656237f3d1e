//! The architecture as rules over the text of `runtime/`: who may import whom, and how long things may
//! get. Tests inside of modules are exempt from all of it but the opening comment.

use std::{collections::BTreeSet, fs, path::Path};

const LONGEST_FILE: usize = 500;
const LONGEST_FUNCTION: usize = 70;

/// A crate and where alone it may be named: modules, or files.
const CONFINED: &[(&str, &[&str])] = &[
    ("wasmtime", &["engine", "host", "artifact", "generation"]),
    ("wasmtime_wasi", &["host"]),
    ("wasmtime_wasi_http", &["host"]),
    ("wasmtime_wasi_config", &["host"]),
    ("wac_graph", &["artifact"]),
    // As a server, and as the client of what guests send.
    (
        "hyper",
        &[
            "server",
            "host/outgoing.rs",
            "admin/client.rs",
            "testing/client.rs",
        ],
    ),
    (
        "hyper_util",
        &[
            "server",
            "host/outgoing.rs",
            "host/names.rs",
            "admin/client.rs",
            "testing/client.rs",
        ],
    ),
    ("axum", &["admin"]),
    ("prometheus", &["metrics"]),
    ("tracing_subscriber", &["logging"]),
    ("opentelemetry", &["tracer", "server/account.rs"]),
    ("opentelemetry_otlp", &["tracer"]),
    ("opentelemetry_sdk", &["tracer"]),
    ("hyper_rustls", &["host/outgoing.rs"]),
    // `certificate` reads what `server` serves with: `check` has to read it too.
    (
        "tokio_rustls",
        &["certificate", "server", "host/outgoing.rs", "release/registry.rs"],
    ),
    // For the registry's client, which brings no provider of its own.
    ("rustls", &["certificate", "server", "release/registry.rs"]),
    ("tower_http", &["files"]),
    ("notify", &["reload/watch.rs", "dev/sources.rs"]),
    ("open", &["cli"]),
    ("cargo_metadata", &["build"]),
    ("toml_edit", &["scaffold", "release/gather.rs"]),
    ("async_nats", &["bucket", "fleet/nats.rs", "keyvalue/nats.rs"]),
    ("oci_client", &["release", "project/reference.rs"]),
    ("docker_credential", &["release/credentials.rs"]),
    ("sha2", &["release/artifact.rs"]),
    ("indicatif", &["cli"]),
    ("redb", &["keyvalue"]),
    ("redis", &["keyvalue/redis.rs"]),
    ("clap", &["cli"]),
    ("quick_junit", &["cli"]),
    ("anyhow", &["cli", "testing"]),
];

/// Who may go by the system's clock alone, which a test cannot move: all limits are of `clock`.
const REAL_TIME: &[&str] = &[
    "clock",
    // What waits for a peer or the machine: a collector, the service manager, a socket, the queue of the kernel.
    "tracer",
    "service",
    "admin",
    "keyvalue/redis.rs",
    "keyvalue/nats.rs",
    "fleet",
    "server/mod.rs",
    // A developer's loop, which no test of a tree starts.
    "build",
    "dev",
    "browser",
    // The kit is the other process, and its patience is real.
    "testing",
];

/// Modules that never import each other, whatever their order.
const STRANGERS: &[(&str, &str)] = &[("server", "reload")];

#[test]
fn modules_import_only_those_above_them() {
    let order = modules();
    let place = |module: &str| order.iter().position(|other| other == module);
    report(|file| {
        let own =
            place(file.module()).unwrap_or_else(|| panic!("{} belongs to no module of lib.rs", file.path));
        file.imports()
            .into_iter()
            .filter(|import| import != file.module())
            .filter(|import| place(import).is_none_or(|place| place > own))
            .map(|import| {
                format!(
                    "imports crate::{import}, which is not above {} in lib.rs",
                    file.module()
                )
            })
            .collect()
    });
}

#[test]
fn strangers_do_not_import_each_other() {
    report(|file| {
        let imports = file.imports();
        let both_ways = STRANGERS.iter().flat_map(|&(a, b)| [(a, b), (b, a)]);
        both_ways
            .filter(|(from, to)| file.module() == *from && imports.contains(*to))
            .map(|(from, to)| format!("imports crate::{to}: {from} and {to} know nothing of each other"))
            .collect()
    });
}

#[test]
fn crates_stay_where_they_belong() {
    report(|file| {
        CONFINED
            .iter()
            .filter(|(_, places)| !places.contains(&file.module()) && !places.contains(&file.path.as_str()))
            .filter(|(name, _)| mentions(&file.code, name))
            .map(|(name, places)| {
                format!(
                    "names the crate {name}, which belongs to {} alone",
                    places.join(", ")
                )
            })
            .collect()
    });
}

#[test]
fn limits_go_by_the_clock_that_a_test_can_move() {
    let timers = ["tokio::time::", "time::{Instant, Sleep", "time::{Instant, sleep"];
    report(|file| {
        let is_real = REAL_TIME.contains(&file.module()) || REAL_TIME.contains(&file.path.as_str());
        let timer = timers.iter().find(|timer| file.code.contains(**timer));
        let wrong = timer.filter(|_| !is_real);
        wrong
            .map(|timer| format!("names {timer}: limits on time go by crate::clock"))
            .into_iter()
            .collect()
    });
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    report(|file| match file.text.starts_with("//! ") {
        true => vec![],
        false => vec!["does not open with `//!`".into()],
    });
}

#[test]
fn files_are_of_one_concept() {
    report(|file| {
        let lines = file.code.lines().count();
        let too_long = lines > LONGEST_FILE && !file.path.ends_with("/tests.rs");
        too_long
            .then(|| format!("has {lines} lines without its tests; {LONGEST_FILE} are the most"))
            .into_iter()
            .collect()
    });
}

#[test]
fn functions_are_short() {
    report(|file| {
        let functions = functions(&file.code).into_iter();
        functions
            .filter(|function| function.lines > LONGEST_FUNCTION)
            .map(|Function { name, lines }| {
                format!("{name} has {lines} lines; {LONGEST_FUNCTION} are the most")
            })
            .collect()
    });
}

/// A file under `runtime/`.
struct File {
    /// From `runtime/`: `reload/watch.rs`.
    path: String,
    text: String,
    /// The text without comments and without the tests at its end.
    code: String,
}

impl File {
    /// The module of lib.rs that it is a part of.
    fn module(&self) -> &str {
        let top = self.path.split('/').next().unwrap_or_default();
        top.trim_end_matches(".rs")
    }

    /// The modules that it imports by `crate::`.
    fn imports(&self) -> BTreeSet<String> {
        let paths = self.code.split("crate::").skip(1).zip(self.code.split("crate::"));
        paths
            .filter(|(_, before)| !before.ends_with(|c: char| c.is_alphanumeric() || c == '_'))
            .flat_map(|(path, _)| first_names(path))
            .collect()
    }
}

/// The first names of a path or of each path in braces: `{a::b, c::{d, e}}` are `a` and `c`.
fn first_names(path: &str) -> Vec<String> {
    let ident = |text: &str| {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    let Some(list) = path.strip_prefix('{') else {
        return vec![ident(path)];
    };
    let (mut names, mut depth, mut start) = (Vec::new(), 1, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && c == ',') {
            names.push(ident(list[start..at].trim_start()));
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Whether code has a path that begins with the crate's name.
fn mentions(code: &str, name: &str) -> bool {
    let path = format!("{name}::");
    code.match_indices(&path)
        .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c)))
}

struct Function {
    name: String,
    /// From its `fn` to its closing brace.
    lines: usize,
}

/// The functions of code that rustfmt has laid out: a body ends at the closing brace with the indent of
/// its `fn`.
fn functions(code: &str) -> Vec<Function> {
    let lines: Vec<&str> = code.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut functions = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let qualifiers = [
            "pub",
            "pub(crate)",
            "pub(super)",
            "async",
            "const",
            "unsafe",
            "extern",
        ];
        let mut words = line
            .split_whitespace()
            .skip_while(|word| qualifiers.contains(word));
        let (Some("fn"), Some(name)) = (words.next(), words.next()) else {
            continue;
        };
        let name = name.split(['(', '<']).next().unwrap_or_default().to_owned();
        let head = lines[start..]
            .iter()
            .position(|line| line.ends_with(['{', '}', ';']))
            .unwrap_or_default();
        let body = match lines[start + head].ends_with('{') {
            true => lines[start + head..]
                .iter()
                .position(|end| end.trim() == "}" && indent(end) == indent(line)),
            false => Some(0),
        };
        let body = body.unwrap_or_else(|| panic!("{name} does not end: is the file formatted?"));
        functions.push(Function {
            name,
            lines: head + body + 1,
        });
    }
    functions
}

/// The modules of lib.rs in their order.
fn modules() -> Vec<String> {
    let lib = fs::read_to_string(runtime().join("lib.rs")).unwrap();
    let modules = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    modules.map(str::to_owned).collect()
}

/// Fails with what `check` finds wrong in any file of the modules.
fn report(check: impl Fn(&File) -> Vec<String>) {
    let wrong: Vec<String> = files()
        .iter()
        .flat_map(|file| {
            check(file)
                .into_iter()
                .map(|what| format!("runtime/{} {what}", file.path))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn files() -> Vec<File> {
    fn walk(folder: &Path, files: &mut Vec<File>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("templates") {
                // Other projects' sources.
                continue;
            }
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(runtime()).unwrap().display().to_string();
                files.push(File {
                    code: code(&text),
                    path,
                    text,
                });
            }
        }
    }
    let mut files = Vec::new();
    walk(runtime(), &mut files);
    files.retain(|file| !["lib.rs", "main.rs"].contains(&file.path.as_str()));
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.len() > 20, "the files are there");
    files
}

/// Without the tests and without comments, which keep their lines.
fn code(text: &str) -> String {
    let lines = text.lines().scan("", |before, line| {
        let tests = *before == "#[cfg(test)]" && line.starts_with("mod tests {");
        *before = line;
        (!tests).then_some(line)
    });
    lines
        .map(|line| {
            if line.trim_start().starts_with("//") {
                ""
            } else {
                line
            }
        })
        .collect::<Vec<_>>()
        .join("\n")
}

fn runtime() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/runtime"))
}

#[test]
fn the_rules_see_what_they_look_for() {
    assert_eq!(
        first_names("{a::b, c::{d, e::f},\n    g,\n};\nuse h"),
        ["a", "c", "g"]
    );
    assert_eq!(first_names("router::Router"), ["router"]);
    assert!(mentions("use wasmtime::Store;", "wasmtime"));
    assert!(!mentions(
        "use crate::notify::X; use tokio_hyper::Y; wasmtime_wasi::Z",
        "wasmtime"
    ));
    assert!(!mentions("crate::notify::X", "notify"));
    let source =
        "fn one() {}\npub async fn two(\n    a: u8,\n) -> u8 {\n    if a {\n    }\n    0\n}\n    fn three();";
    let found: Vec<_> = functions(source)
        .into_iter()
        .map(|function| (function.name, function.lines))
        .collect();
    assert_eq!(found, [("one".into(), 1), ("two".into(), 7), ("three".into(), 1)]);
    assert_eq!(code("a\n// b\n#[cfg(test)]\nmod tests {\n}"), "a\n\n#[cfg(test)]");
}
