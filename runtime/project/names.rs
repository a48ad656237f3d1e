//! What a name may be: ids of components, and proposals for names that are none.
//! Knows no files and no manifest.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// The dotted path of a component, without its ending: `shop.screen.home`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentId(Arc<str>);

/// A text that is no id of a component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a component id; one is like \"shop.screen.home\", and each part is {SEGMENT_RULE}")]
pub struct InvalidId(pub String);

/// What a group consists of, one file each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContentId {
    Component(ComponentId),
    /// A static file by its URL's path, without the slash before it: `shop/static/site.css`.
    File(String),
}

impl ContentId {
    pub fn component(&self) -> Option<&ComponentId> {
        match self {
            Self::Component(id) => Some(id),
            Self::File(_) => None,
        }
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Component(id) => id.fmt(f),
            Self::File(path) => f.pad(path),
        }
    }
}

/// What `is_segment` takes, in words.
pub(super) const SEGMENT_RULE: &str = "of a-z, 0-9, '-' and '_', and begins with a letter or a digit";

impl ComponentId {
    /// # Errors
    /// Where a part between the dots is not of `[a-z0-9][a-z0-9_-]*`.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        Self::from_segments(text.split('.')).ok_or_else(|| InvalidId(text.to_owned()))
    }

    /// `None` where one is not a segment, as a folder with a dot in its name.
    pub(super) fn from_segments<'a>(segments: impl Iterator<Item = &'a str>) -> Option<Self> {
        let segments: Option<Vec<_>> = segments
            .map(|segment| is_segment(segment).then_some(segment))
            .collect();
        segments
            .filter(|segments| !segments.is_empty())
            .map(|segments| Self(segments.join(".").into()))
    }

    /// The id of one part that is nearest to a name that may be none.
    pub(super) fn of_name(name: &str) -> Self {
        let segment = if is_segment(name) {
            name.to_owned()
        } else {
            propose_segment(name)
        };
        Self(segment.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folders, dotted: `shop.screen`; empty for a file in the root.
    pub fn namespace(&self) -> &str {
        self.0.rsplit_once('.').map_or("", |(namespace, _)| namespace)
    }

    /// The last part: `home`.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('.').map_or(&self.0, |(_, name)| name)
    }

    /// `/shop/screen/home`; the name `index` stands for its folder: `/shop/screen`, or `/` in the root.
    pub fn default_route(&self) -> String {
        let folder = self.namespace().replace('.', "/");
        match (self.name(), folder.as_str()) {
            ("index", folder) => format!("/{folder}"),
            (name, "") => format!("/{name}"),
            (name, folder) => format!("/{folder}/{name}"),
        }
    }
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for ComponentId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ComponentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Whether a name of a folder, of a file without its ending, or of a group can be part of an id.
pub fn is_segment(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.starts_with(plain) && name.chars().all(|c| plain(c) || c == '_' || c == '-')
}

/// The segment nearest to a name that is none: `My Page` -> `my-page`.
pub fn propose_segment(name: &str) -> String {
    let lower = name.to_lowercase();
    let words = lower.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let proposal = words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-");
    let proposal = proposal.trim_start_matches(['_', '-']);
    if proposal.is_empty() {
        "component".to_owned()
    } else {
        proposal.to_owned()
    }
}

/// The candidate that was probably meant by `word`.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).clamp(1, 4);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_parts_and_a_default_route() {
        let check = |text, namespace, name, route| {
            let id = ComponentId::parse(text).expect("an id");
            assert_eq!((id.as_str(), id.namespace(), id.name()), (text, namespace, name));
            assert_eq!(id.default_route(), route);
        };
        check("shop.screen.home", "shop.screen", "home", "/shop/screen/home");
        check("shop.screen.index", "shop.screen", "index", "/shop/screen");
        check("index", "", "index", "/");
        check("home", "", "home", "/home");
        check("0a.b_-9", "0a", "b_-9", "/0a/b_-9");
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "", ".", "a.", ".a", "a..b", "A", "a b", "-a", "_a", "é", "a/b", "a\n",
        ] {
            assert_eq!(ComponentId::parse(text), Err(InvalidId(text.to_owned())));
        }
    }

    #[test]
    fn a_proposal_is_always_a_segment() {
        let check = |name, proposal| {
            assert_eq!(propose_segment(name), proposal);
            assert!(is_segment(proposal));
        };
        check("My Page", "my-page");
        check("v1.2 (copy)", "v1-2-copy");
        check("Café", "caf");
        check("--_x", "x");
        check("\u{fffd}\u{fffd}", "component");
        check("ÄÖ", "component");
    }

    #[test]
    fn nearest_guesses_only_what_is_near() {
        let check = |word, guess: Option<&str>| {
            assert_eq!(nearest(word, ["memory", "queue", "body"].into_iter()), guess);
        };
        check("memroy", Some("memory"));
        check("que", None);
        check("bodi", Some("body"));
        check("x", None);
    }
}
