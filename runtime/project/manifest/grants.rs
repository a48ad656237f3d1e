//! The table `grants` of a group, as written. Whether a directory exists is for `groups` to say.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use crate::project::{
    Source,
    grants::Origin,
    toml_reader::{Entry, Placed, Section, Value},
};

#[derive(Debug, Default)]
pub struct GrantLines {
    pub http: BTreeSet<Origin>,
    pub env: BTreeMap<String, TextLine>,
    pub config: BTreeMap<String, TextLine>,
    pub directories: Vec<DirectoryLine>,
    pub keyvalue: Option<KeyValueLine>,
}

impl GrantLines {
    /// All that may be a secret.
    pub fn texts(&self) -> impl Iterator<Item = &TextLine> {
        let url = match &self.keyvalue {
            Some(KeyValueLine::Url(url)) => Some(url),
            Some(KeyValueLine::Durable) | None => None,
        };
        self.env.values().chain(self.config.values()).chain(url)
    }
}

/// A text, or where a secret is found, as written.
#[derive(Debug, PartialEq, Eq)]
pub enum TextLine {
    Written(String),
    Secret(Placed<Source>),
}

/// Where keys and values are, as written.
#[derive(Debug, PartialEq, Eq)]
pub enum KeyValueLine {
    Durable,
    /// Of a Redis or a NATS.
    Url(TextLine),
}

#[derive(Debug)]
pub struct DirectoryLine {
    /// As written, relative to the root.
    pub host: Placed<PathBuf>,
    pub guest: String,
    pub write: bool,
}

pub fn grants(section: &mut Section<'_>) -> GrantLines {
    let origins = section.get("http").and_then(|value| value.elements("URLs"));
    let origins = origins.unwrap_or_default();
    let http = origins.iter().filter_map(origin).collect();
    let mut texts = |key, check: fn(&Entry<'_>)| {
        let entries = section.get(key).and_then(|value| value.entries());
        let entries = entries.unwrap_or_default();
        entries.iter().filter_map(|entry| text(entry, check)).collect()
    };
    let env = texts("env", check_variable);
    let config = texts("config", |_| ());
    let directories = section
        .get("directories")
        .and_then(|value| value.elements("directories"));
    let directories = directories.unwrap_or_default();
    let mut taken = BTreeSet::new();
    let directories = directories
        .iter()
        .filter_map(|value| directory(value, &mut taken))
        .collect();
    let keyvalue = section.get("keyvalue").and_then(|value| keyvalue(&value));
    GrantLines {
        http,
        env,
        config,
        directories,
        keyvalue,
    }
}

fn origin(value: &Value<'_>) -> Option<Origin> {
    let text = value.string()?;
    Origin::parse(text)
        .map_err(|no_origin| {
            let message = format!(
                "{} must be an origin such as \"https://api.example.com\", not {text:?}: {}",
                value.path(),
                no_origin.reason
            );
            let help = no_origin.meant.map(|meant| format!("write {meant:?}"));
            value.wrong::<()>("manifest-value", message, help);
        })
        .ok()
}

fn text(entry: &Entry<'_>, check: fn(&Entry<'_>)) -> Option<(String, TextLine)> {
    check(entry);
    let name = entry.key().value.to_owned();
    if entry.value.is_table() {
        return Some((name, TextLine::Secret(secret(&entry.value)?)));
    }
    let value = entry.value.string()?;
    if value.contains('\0') {
        return entry.value.expected("a text without the character NUL");
    }
    Some((name, TextLine::Written(value.to_owned())))
}

pub fn secret(value: &Value<'_>) -> Option<Placed<Source>> {
    let [file, env] = value.section(|secret| [secret.get("file"), secret.get("env")])?;
    let source = match (file, env) {
        (Some(file), None) => match file.string()? {
            "" => return file.expected("the path of a file"),
            path => Source::File(path.into()),
        },
        (None, Some(env)) => match env.string()? {
            name if name.is_empty() || name.contains(['=', '\0']) => {
                return env.expected("the name of a variable");
            }
            name => Source::Env(name.to_owned()),
        },
        _ => return value.expected("a string, { file = \"PATH\" } or { env = \"NAME\" }"),
    };
    Some(value.placed(source))
}

/// What URLs of stores begin with.
const SCHEMES: [&str; 3] = ["redis://", "nats://", "tls://"];

fn keyvalue(value: &Value<'_>) -> Option<KeyValueLine> {
    if value.is_table() {
        return Some(KeyValueLine::Url(TextLine::Secret(secret(value)?)));
    }
    match (value.as_bool(), value.as_str()) {
        (Some(granted), _) => granted.then_some(KeyValueLine::Durable),
        // What comes behind it is for the client of the one or the other to read.
        (_, Some(url)) if SCHEMES.iter().any(|scheme| url.starts_with(scheme)) && !url.contains('\0') => {
            Some(KeyValueLine::Url(TextLine::Written(url.to_owned())))
        }
        _ => value.expected(
            "true, or the URL of a Redis such as \"redis://127.0.0.1:6379\" or of a NATS such as \"nats://127.0.0.1:4222\"",
        ),
    }
}

fn check_variable(entry: &Entry<'_>) {
    let name = entry.key().value;
    if name.is_empty() || name.contains(['=', '\0']) {
        entry.wrong_key(
            format_args!("{name:?} is not a variable's name: that has no \"=\""),
            None,
        );
    }
}

/// `taken` are the guest paths of those before.
fn directory(value: &Value<'_>, taken: &mut BTreeSet<String>) -> Option<DirectoryLine> {
    let (host, guest, write) = value.section(|directory| {
        let write = directory.get("write").and_then(|write| write.boolean());
        let [host, guest] = ["host", "guest"].map(|key| directory.get(key));
        (host, guest, write.unwrap_or(false))
    })?;
    let (Some(host), Some(guest)) = (host, guest) else {
        return value.expected("a table with host and guest");
    };
    let (path, name) = (host.string(), guest.string());
    let (path, name) = (path?, name?);
    if path.is_empty() {
        return host.expected("the path of a folder");
    }
    if !name.starts_with('/') || name.contains('\0') {
        return guest.expected("a path such as \"/data\"");
    }
    if !taken.insert(name.to_owned()) {
        let message = format!("{} repeats {name:?}", guest.path());
        return guest.wrong("manifest-value", message, None);
    }
    Some(DirectoryLine {
        host: host.placed(path.into()),
        guest: name.to_owned(),
        write,
    })
}
