//! A scenario out of its text, with all that is wrong in it, each with its place.

mod watching;

use std::{
    collections::BTreeMap,
    fs,
    ops::RangeInclusive,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{Action, ENDING, Expect, ExpectLoad, Scenario, Source, Step};
use crate::{
    diagnostic::Diagnostic,
    project::{
        ComponentId,
        toml_reader::{self, Codes, Section, Value},
    },
    testing::{
        client::TestRequest,
        fault::{Kind, Moment},
        project::Way,
    },
};

const CODES: Codes = Codes {
    syntax: "scenario-syntax",
    value: "scenario-value",
    unknown_key: "scenario-unknown-key",
};

/// What a step can be; one of them.
const ACTIONS: [&str; 13] = [
    "request",
    "hold",
    "release",
    "load",
    "expect-load",
    "put",
    "remove",
    "touch",
    "advance",
    "wait",
    "expect-events",
    "status",
    "fault",
];
const WITHIN: Duration = Duration::from_secs(10);
const TIMES: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);
const TIMES_AHEAD: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(10 * 365 * 86_400);
const CLIENTS: RangeInclusive<u64> = 1..=1024;
const COUNTS: RangeInclusive<u64> = 0..=1_000_000_000;

/// # Errors
/// The file cannot be read, or is no scenario: all that is wrong with it.
pub fn read(file: &Path) -> Result<Scenario, Vec<Diagnostic>> {
    let text = fs::read_to_string(file)
        .map_err(|error| vec![Diagnostic::io("scenario-unreadable", "read", file, &error)])?;
    let (scenario, diagnostics) = toml_reader::read(CODES, file, &text, |document| scenario(file, document));
    match scenario {
        Some(scenario) if diagnostics.is_empty() => Ok(scenario),
        _ => Err(diagnostics),
    }
}

fn scenario(file: &Path, document: &mut Section<'_>) -> Option<Scenario> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let name = document.get("name").and_then(|value| value.string());
    let tree = document.get("tree").map(|value| {
        let tree = folder.join(value.string()?);
        let missing = || format!("there is no folder {}", tree.display());
        match tree.is_dir() {
            true => Some(tree),
            false => value.wrong(
                "scenario-missing",
                missing(),
                Some("it is as seen from the scenario's file".into()),
            ),
        }
    });
    let within = document.get("within").and_then(|value| value.duration(TIMES));
    let env = document.get("env").and_then(|value| texts(&value));
    let http = document.get("http").and_then(|value| strings(&value));
    let steps = document
        .get("step")
        .and_then(|value| value.elements("steps, each under [[step]]"));
    let steps: Option<Vec<_>> = steps.map(|steps| {
        let steps: Vec<_> = steps
            .into_iter()
            .filter_map(|value| placed(folder, value))
            .collect();
        judged(&steps);
        steps
            .into_iter()
            .map(|(value, step)| value.placed(step))
            .collect()
    });
    if tree.is_none() {
        document.lacks::<()>("tree", "the folder of components that is copied and served");
    }
    let steps = match steps {
        Some(steps) => steps,
        None => return document.lacks("step", "what is done, as [[step]]"),
    };
    Some(Scenario {
        name: name.map_or_else(|| stem(file), str::to_owned),
        file: file.to_owned(),
        tree: tree??,
        within: within.unwrap_or(WITHIN),
        env: env.unwrap_or_default(),
        http: http.unwrap_or_default(),
        steps,
    })
}

fn placed<'t>(folder: &Path, value: Value<'t>) -> Option<(Value<'t>, Step)> {
    let step = value.section(|section| step(folder, section, &value))??;
    Some((value, step))
}

/// Reports loads of which nothing is expected, and expectations that no load can meet.
fn judged(steps: &[(Value<'_>, Step)]) {
    let mut loads: Vec<&Value<'_>> = Vec::new();
    for (value, step) in steps {
        match &step.action {
            Action::Load { .. } => loads.push(value),
            Action::ExpectLoad(_) => {
                if loads.is_empty() {
                    value.wrong::<()>(CODES.value, "no load runs whose answers could be judged", None);
                }
                loads.clear();
            }
            _ => {}
        }
    }
    for value in loads {
        let message = "a load without expect-load after it shows nothing";
        value.wrong::<()>(
            CODES.value,
            message,
            Some("add expect-load = { failed = 0 }".into()),
        );
    }
}

fn stem(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.trim_end_matches(ENDING).to_owned()
}

fn step(folder: &Path, section: &mut Section<'_>, whole: &Value<'_>) -> Option<Step> {
    let mut within = section.get("within").and_then(|value| value.duration(TIMES));
    let (expect, way) = (section.get("expect"), section.get("write"));
    let found = ACTIONS.map(|action| section.get(action).map(|value| (action, value)));
    let found: Vec<_> = found.into_iter().flatten().collect();
    let [(name, value)] = found.as_slice() else {
        if found.is_empty() && has_other_keys(whole) {
            // Which is said, and likely is what it was to do.
            return None;
        }
        let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
        let message = match names.as_slice() {
            [] => "a step has to do something".into(),
            names => format!("a step does one thing, not {}", names.join(" and ")),
        };
        let help = format!("it has one of: {}", ACTIONS.join(", "));
        return whole.wrong(CODES.value, message, Some(help));
    };
    let siblings: [(_, _, _, &[&str]); 2] = [
        (&expect, "expect", "request", &["request", "release"]),
        (&way, "write", "put", &["put"]),
    ];
    for (sibling, key, of, owners) in siblings {
        if let Some(sibling) = sibling
            && !owners.contains(name)
        {
            let message = format!("{key} belongs to {of}, not to {name}");
            sibling.wrong::<()>(CODES.value, message, None);
        }
    }
    let action = match *name {
        "request" => value.section(|section| request(section, expect.as_ref()))?,
        "hold" => value.section(|section| asked(section, Method::POST).map(Action::Hold))?,
        "release" => release(value, expect.as_ref()),
        "load" => value.section(load)?,
        "expect-load" => value.section(expect_load)?,
        "put" => put(folder, value, way.as_ref()),
        "remove" => places(value).map(Action::Remove),
        "touch" => places(value).map(Action::Touch),
        "advance" => value.duration(TIMES_AHEAD).map(Action::Advance),
        "wait" => value.section(|section| {
            let own = section.get("within").and_then(|value| value.duration(TIMES));
            within = own.or(within);
            watching::wait(section)
        })?,
        "expect-events" => value.section(watching::expect_events)?,
        "status" => value.section(watching::status)?,
        _ => value.section(fault)?,
    }?;
    Some(Step { within, action })
}

fn has_other_keys(step: &Value<'_>) -> bool {
    let known = ["within", "expect", "write"];
    let entries = step.entries().unwrap_or_default();
    entries.iter().any(|entry| !known.contains(&*entry.key()))
}

fn request(section: &mut Section<'_>, expect: Option<&Value<'_>>) -> Option<Action> {
    let repeat = section
        .get("repeat")
        .and_then(|value| value.number(1..=1_000_000));
    let request = asked(section, Method::GET);
    let expect = expect.and_then(|value| value.section(expected));
    Some(Action::Request {
        request: request?,
        repeat: repeat.unwrap_or(1),
        expect: expect.unwrap_or_default(),
    })
}

fn release(value: &Value<'_>, expect: Option<&Value<'_>>) -> Option<Action> {
    let expect = expect.and_then(|value| value.section(expected));
    match value.boolean()? {
        true => Some(Action::Release(expect.unwrap_or_default())),
        false => value.expected("true: what is held stays held until then"),
    }
}

/// What is asked: `method`, `path`, `headers` and `body`.
fn asked(section: &mut Section<'_>, usual: Method) -> Option<TestRequest> {
    let path = section.get("path");
    if path.is_none() {
        section.lacks::<()>("path", "what is asked for, as \"/shop/cart\"");
    }
    let path = path.and_then(|value| {
        let path = value.string()?;
        let is_path = path.starts_with('/') && path.parse::<http::Uri>().is_ok();
        if is_path {
            Some(path)
        } else {
            value.expected("a path such as \"/shop/cart\"")
        }
    });
    let method = section.get("method").map(|value| {
        let method = value.string()?.parse::<Method>();
        method
            .ok()
            .or_else(|| value.expected("a method such as \"POST\""))
    });
    let mut headers = HeaderMap::new();
    for entry in section
        .get("headers")
        .and_then(|value| value.entries())
        .unwrap_or_default()
    {
        let name = HeaderName::try_from(*entry.key());
        let value = entry.value.string().map(HeaderValue::from_str);
        match (name, value) {
            (Ok(name), Some(Ok(value))) => drop(headers.append(name, value)),
            (Err(_), _) => entry.wrong_key(format_args!("{:?} is no name of a header", *entry.key()), None),
            (_, Some(Err(_))) => {
                entry.value.expected::<()>("the value of a header");
            }
            (_, None) => {}
        }
    }
    let body = section.get("body").and_then(|value| value.string());
    Some(TestRequest {
        method: method.unwrap_or(Some(usual))?,
        path: path?.to_owned(),
        headers,
        body: body.unwrap_or_default().to_owned().into(),
    })
}

fn expected(section: &mut Section<'_>) -> Expect {
    let status = section.get("status").and_then(|value| value.number(100..=599));
    let body = section.get("body").and_then(|value| value.string());
    let contains = section
        .get("body-contains")
        .and_then(|value| match value.as_str() {
            Some(text) => Some(vec![text.to_owned()]),
            None => strings(&value),
        });
    let headers = section.get("header").and_then(|value| texts(&value));
    Expect {
        status: status.and_then(|status| u16::try_from(status).ok()),
        body: body.map(str::to_owned),
        body_contains: contains.unwrap_or_default(),
        headers: headers.unwrap_or_default(),
    }
}

fn load(section: &mut Section<'_>) -> Option<Action> {
    let clients = section.get("clients").and_then(|value| value.number(CLIENTS));
    let marks = section.get("marks").and_then(|value| strings(&value));
    let counter = section.get("counter").and_then(|value| value.string());
    Some(Action::Load {
        request: asked(section, Method::GET)?,
        clients: clients
            .and_then(|clients| usize::try_from(clients).ok())
            .unwrap_or(4),
        marks: marks.unwrap_or_default(),
        counter: counter.map(str::to_owned),
    })
}

fn expect_load(section: &mut Section<'_>) -> Option<Action> {
    let mut count = |key| {
        let value: Option<Value<'_>> = section.get(key);
        value.and_then(|value| value.number(COUNTS))
    };
    Some(Action::ExpectLoad(ExpectLoad {
        failed: count("failed"),
        mixed: count("mixed"),
        lost_state: count("lost-state"),
        answers: count("answers"),
    }))
}

fn put(folder: &Path, value: &Value<'_>, way: Option<&Value<'_>>) -> Option<Action> {
    let way = way.map(|value| match value.string()? {
        "rename" => Some(Way::Rename),
        "in-place" => Some(Way::InPlace),
        "torn" => Some(Way::Torn),
        "delete-create" => Some(Way::DeleteCreate),
        "older" => Some(Way::Older),
        _ => value.expected("\"rename\", \"in-place\", \"torn\", \"delete-create\" or \"older\""),
    });
    let mut files = Vec::new();
    for entry in value.entries()? {
        let place = inside(&entry.key());
        if place.is_none() {
            let message = format!("{} lies outside of the tree", *entry.key());
            entry.wrong_key(message, Some(INSIDE_HELP.into()));
        }
        let source = source(folder, &entry.value);
        files.extend(place.zip(source));
    }
    Some(Action::Put {
        files,
        way: way.unwrap_or(Some(Way::Rename))?,
    })
}

fn source(folder: &Path, value: &Value<'_>) -> Option<Source> {
    if value.is_table() {
        let text = value.section(|section| match section.get("text") {
            Some(text) => text.string(),
            None => section.lacks("text", "what the file is to hold"),
        })?;
        return text.map(|text| Source::Text(text.to_owned()));
    }
    let file = folder.join(value.string()?);
    if file.is_file() {
        return Some(Source::File(file));
    }
    let message = format!("there is no file {}", file.display());
    let help =
        "it is as seen from the scenario's file; { text = \"…\" } says itself what the file is to hold";
    value.wrong("scenario-missing", message, Some(help.into()))
}

const INSIDE_HELP: &str =
    "name a file of the tree, as \"shop/cart.wasm\": a scenario changes its copy of the tree alone";

/// One file of the tree, or several.
fn places(value: &Value<'_>) -> Option<Vec<PathBuf>> {
    let values = match value.as_str() {
        Some(_) => vec![value.clone()],
        None => value.elements("files of the tree")?,
    };
    let place = |value: &Value<'_>| {
        let file = value.string()?;
        let outside = || {
            let message = format!("{file} lies outside of the tree");
            value.wrong(CODES.value, message, Some(INSIDE_HELP.into()))
        };
        inside(file).or_else(outside)
    };
    Some(values.iter().filter_map(place).collect())
}

/// A path that stays below where it begins.
pub fn inside(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let stays = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    let names = path.components().any(|part| matches!(part, Component::Normal(_)));
    (names && path.components().all(stays)).then(|| path.to_owned())
}

fn fault(section: &mut Section<'_>) -> Option<Action> {
    let on = section.get("on").and_then(|value| match value.string()? {
        "start" => Some(Moment::Start),
        "load" => Some(Moment::Load),
        "save" => Some(Moment::Save),
        "request" => Some(Moment::Request),
        _ => value.expected("\"start\", \"load\", \"save\" or \"request\""),
    });
    let kinds = [
        ("trap", Kind::Trap),
        ("loop", Kind::Loop),
        ("slow", Kind::Slow),
        ("refuse", Kind::Refuse),
    ];
    let found = kinds.map(|(key, kind)| section.get(key).map(|value| (kind, value)));
    let found: Vec<_> = found.into_iter().flatten().collect();
    let [(kind, value)] = found.as_slice() else {
        return section.lacks(
            "trap",
            "the component that is to trap; or there is one of loop, slow and refuse",
        );
    };
    if *kind == Kind::Refuse && matches!(on, Some(Moment::Start | Moment::Request)) {
        return value.wrong(CODES.value, "only save and load can refuse", None);
    }
    let component = value.string()?;
    if ComponentId::parse(component).is_err() {
        return value.expected("the id of a component, as \"shop.widget.cart\"");
    }
    Some(Action::Fault {
        kind: *kind,
        on: on.unwrap_or(Moment::Request),
        component: component.to_owned(),
    })
}

fn strings(value: &Value<'_>) -> Option<Vec<String>> {
    let strings = value.elements("strings")?;
    let strings = strings.iter().filter_map(|value| value.string());
    Some(strings.map(str::to_owned).collect())
}

fn texts(value: &Value<'_>) -> Option<BTreeMap<String, String>> {
    let text =
        |entry: toml_reader::Entry<'_>| Some(((*entry.key()).to_owned(), entry.value.string()?.to_owned()));
    Some(value.entries()?.into_iter().filter_map(text).collect())
}
