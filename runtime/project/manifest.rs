//! `wasmhost.toml` as written: text into a `Manifest`, or everything that is wrong with it.
//! Reads no file: whether the components that it names exist is for `groups` to say.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::diagnostic::Diagnostic;

use super::{
    ComponentId, Instances, Limits, Probation, Requests, ServerSpec, State,
    names::{self, SEGMENT_RULE},
    reference::Reference,
    toml_reader::{self, Entry, Placed, Section, Value},
};

mod claims;
mod grants;
mod patterns;
mod server;
mod state;

pub use claims::Claims;
pub use grants::{DirectoryLine, GrantLines, KeyValueLine, TextLine};
use patterns::Patterns;

#[derive(Debug, Default)]
pub struct Manifest {
    pub server: ServerSpec,
    pub groups: BTreeMap<String, GroupManifest>,
    pub claims: Claims,
    pub components: BTreeMap<ComponentId, Elsewhere>,
}

/// Where a component is that does not lie in the tree.
#[derive(Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// As written.
    Path(PathBuf),
    Reference(Reference),
}

#[derive(Debug)]
pub struct GroupManifest {
    /// Where the key is written: then they are all that the group takes.
    pub namespaces: Option<Placed<Vec<String>>>,
    pub routes: Vec<RouteLine>,
    pub wire: Vec<WireLine>,
    pub instances: Instances,
    pub state: State,
    pub checkpoint: Option<Duration>,
    pub limits: Limits,
    pub grants: GrantLines,
    pub drain: Duration,
    pub requests: Requests,
    pub probation: Option<Probation>,
}

#[derive(Debug)]
pub struct RouteLine {
    pub pattern: String,
    pub component: Placed<ComponentId>,
}

#[derive(Debug)]
pub struct WireLine {
    pub importer: Placed<ComponentId>,
    pub interface: Placed<String>,
    pub exporter: Placed<ComponentId>,
}

impl Default for GroupManifest {
    fn default() -> Self {
        Self {
            namespaces: None,
            routes: Vec::new(),
            wire: Vec::new(),
            instances: Instances::default(),
            state: State::default(),
            checkpoint: None,
            limits: Limits::default(),
            grants: GrantLines::default(),
            drain: Limits::DEFAULT_DRAIN,
            requests: Requests::default(),
            probation: None,
        }
    }
}

/// Reads the manifest as far as it can be understood, and all mistakes, in file order; `file` is named in
/// what is reported.
pub fn parse(file: &Path, text: &str) -> (Manifest, Vec<Diagnostic>) {
    toml_reader::read(toml_reader::MANIFEST_CODES, file, text, |document| {
        let server = document
            .get("server")
            .and_then(|value| value.section(server::server))
            .unwrap_or_default();
        let mut claims = Claims::default();
        let mut patterns = Patterns::default();
        let groups = entries(document.get("groups"));
        let groups = groups
            .iter()
            .filter_map(|entry| group(entry, &mut claims, &mut patterns))
            .collect();
        let components = entries(document.get("components"))
            .iter()
            .filter_map(elsewhere)
            .collect();
        Manifest {
            server,
            groups,
            claims,
            components,
        }
    })
}

fn entries(value: Option<Value<'_>>) -> Vec<Entry<'_>> {
    value.and_then(|value| value.entries()).unwrap_or_default()
}

fn elsewhere(entry: &Entry<'_>) -> Option<(ComponentId, Elsewhere)> {
    let id = id_key(entry)?.value;
    let wrong = |message: &str, help: String| {
        let message = format_args!("{} {message}", entry.value.path()).to_string();
        entry.value.wrong("manifest-value", message, Some(help))
    };
    let keys = entry
        .value
        .section(|component| (component.get("path"), component.get("oci")))?;
    let elsewhere = match keys {
        (Some(path), None) => match path.string()? {
            "" => path.expected("the path of a component"),
            text => Some(Elsewhere::Path(text.into())),
        },
        (None, Some(reference)) => self::reference(&reference),
        (Some(_), Some(_)) => wrong(
            "has both path and oci",
            "a component lies in one place: remove one".into(),
        ),
        (None, None) => wrong(
            "has neither path nor oci",
            format!("a dotted id is written in quotes: [components.\"{id}.NAME\"]"),
        ),
    };
    Some((id, elsewhere?))
}

fn reference(value: &Value<'_>) -> Option<Elsewhere> {
    let text = value.string()?;
    match text.strip_prefix("oci://").unwrap_or(text).parse::<Reference>() {
        Ok(reference) => Some(Elsewhere::Reference(reference)),
        Err(error) => value.wrong(
            "manifest-value",
            format_args!("{text:?} names no component of a registry: {error}"),
            Some("write REGISTRY/REPOSITORY:TAG, or REGISTRY/REPOSITORY@sha256:DIGEST".to_owned()),
        ),
    }
}

fn group(entry: &Entry<'_>, claims: &mut Claims, patterns: &mut Patterns) -> Option<(String, GroupManifest)> {
    let name = entry.key().value;
    if !names::is_segment(name) {
        entry.wrong_key(
            format_args!("{name:?} is not a group's name: that is {SEGMENT_RULE}"),
            None,
        );
    }
    let group = entry.value.section(|section| {
        let namespaces = claims::namespaces(section, entry, claims);
        let instances = section.get("instances").and_then(|value| instances(&value));
        let instances = instances.unwrap_or_default();
        let state = state::state(section, instances);
        let checkpoint = state::checkpoint(section, state);
        let routes = entries(section.get("routes"));
        let routes = routes
            .iter()
            .filter_map(|line| route(line, name, patterns))
            .collect();
        let wire = entries(section.get("wire")).iter().flat_map(wire).collect();
        let limits = section
            .get("limits")
            .and_then(|value| value.section(limits))
            .unwrap_or_default();
        let grants = section
            .get("grants")
            .and_then(|value| value.section(grants::grants))
            .unwrap_or_default();
        let swap = section.get("swap").and_then(|value| value.section(swap));
        let (requests, probation, drain) = swap.unwrap_or_default();
        GroupManifest {
            namespaces,
            routes,
            wire,
            instances,
            state,
            checkpoint,
            limits,
            grants,
            drain: drain.unwrap_or(Limits::DEFAULT_DRAIN),
            requests: requests.unwrap_or_default(),
            probation,
        }
    })?;
    Some((name.to_owned(), group))
}

fn instances(value: &Value<'_>) -> Option<Instances> {
    const EXPECTED: &str = "\"shared\", \"isolated\" or { pool = 4 }";
    if value.is_table() {
        return match value.section(|section| section.get("pool"))? {
            Some(pool) => usize::try_from(pool.number(Limits::POOL)?)
                .ok()
                .map(Instances::Pool),
            None => value.expected(EXPECTED),
        };
    }
    match value.as_str() {
        Some("shared") => Some(Instances::Shared),
        Some("isolated") => Some(Instances::Isolated),
        _ => value.expected(EXPECTED),
    }
}

fn route(line: &Entry<'_>, group: &str, patterns: &mut Patterns) -> Option<RouteLine> {
    let pattern = line.key();
    if let Err(unfit) = patterns.add(&pattern, group) {
        line.wrong_key(unfit.message, Some(unfit.help.to_owned()));
    }
    Some(RouteLine {
        pattern: pattern.value.to_owned(),
        component: id_value(&line.value)?,
    })
}

fn wire(importer: &Entry<'_>) -> Vec<WireLine> {
    let Some(id) = id_key(importer) else {
        return Vec::new();
    };
    let line = |line: &Entry<'_>| {
        let interface = line.key();
        if interface.is_empty() || interface.contains(char::is_whitespace) {
            line.wrong_key(
                format_args!(
                    "{:?} is not an interface such as \"shop:theme/page\"",
                    interface.value
                ),
                None,
            );
        }
        let exporter = id_value(&line.value)?;
        Some(WireLine {
            importer: id.clone(),
            interface: Placed {
                value: interface.value.to_owned(),
                position: interface.position,
            },
            exporter,
        })
    };
    importer
        .value
        .entries()
        .unwrap_or_default()
        .iter()
        .filter_map(line)
        .collect()
}

fn limits(section: &mut Section<'_>) -> Limits {
    let default = Limits::default();
    let mut size = |key, range, default| section.get(key).and_then(|v| v.size(range)).unwrap_or(default);
    let memory = size("memory", Limits::MEMORY, default.memory);
    let body = size("body", Limits::BODY, default.body);
    let static_files = size("static", Limits::STATIC_FILES, default.static_files);
    let call_size = size("call-size", Limits::CALL_SIZE, default.call_size);
    let output = size("output", Limits::OUTPUT, default.output);
    let snapshot = size("snapshot", Limits::SNAPSHOT, default.snapshot);
    let keyvalue = size("keyvalue", Limits::KEYVALUE, default.keyvalue);
    let mut time = |key, default| {
        section
            .get(key)
            .and_then(|v| v.duration(Limits::TIME))
            .unwrap_or(default)
    };
    let request_time = time("request-time", default.request_time);
    let start_time = time("start-time", default.start_time);
    let mut count = |key, range, default| {
        let count = section
            .get(key)
            .and_then(|v| v.number(range))
            .map(usize::try_from);
        count.and_then(Result::ok).unwrap_or(default)
    };
    let in_flight = count("in-flight", Limits::IN_FLIGHT, default.in_flight);
    let queue = count("queue", Limits::QUEUE, default.queue);
    let handles = count("handles", Limits::HANDLES, default.handles);
    let files = count("files", Limits::FILES, default.files);
    let connections = count("connections", Limits::CONNECTIONS, default.connections);
    let instances = count("instances", Limits::INSTANCES, default.instances);
    Limits {
        memory,
        request_time,
        start_time,
        in_flight,
        queue,
        body,
        static_files,
        handles,
        files,
        connections,
        instances,
        call_size,
        output,
        snapshot,
        keyvalue,
    }
}

/// What is written of `requests`, `probation` and `drain`.
fn swap(section: &mut Section<'_>) -> (Option<Requests>, Option<Probation>, Option<Duration>) {
    let requests = section.get("requests").and_then(|value| requests(&value));
    let probation = section
        .get("probation")
        .and_then(|value| value.section(probation));
    let drain = section
        .get("drain")
        .and_then(|value| value.duration(Limits::DRAIN));
    (requests, probation, drain)
}

fn probation(section: &mut Section<'_>) -> Probation {
    let default = Probation::default();
    let mut count = |key, range, default| {
        let count = section.get(key).and_then(|value| value.number(range));
        count.unwrap_or(default)
    };
    let requests = count("requests", Limits::PROBATION, default.requests);
    // More could never come together.
    let traps = count("traps", 1..=requests, default.traps);
    Probation { requests, traps }
}

fn requests(value: &Value<'_>) -> Option<Requests> {
    match value.as_str() {
        Some("serve-old") => Some(Requests::ServeOld),
        Some("wait") => Some(Requests::Wait),
        _ => value.expected("\"serve-old\" or \"wait\""),
    }
}

fn id_key(entry: &Entry<'_>) -> Option<Placed<ComponentId>> {
    let key = entry.key();
    match ComponentId::parse(&key) {
        Ok(value) => Some(Placed {
            value,
            position: key.position,
        }),
        Err(error) => {
            entry.wrong_key(error, None);
            None
        }
    }
}

fn id_value(value: &Value<'_>) -> Option<Placed<ComponentId>> {
    match ComponentId::parse(value.string()?) {
        Ok(id) => Some(value.placed(id)),
        Err(error) => value.wrong("manifest-value", error, None),
    }
}

#[cfg(test)]
mod tests;
