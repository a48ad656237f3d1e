//! Which folders belong to which group, where the manifest says so.
//! Knows no tree: the folders that nobody claims form groups by themselves.

use std::collections::BTreeMap;

use crate::project::{
    ROOT_GROUP, names,
    names::SEGMENT_RULE,
    toml_reader::{Entry, Placed, Section, Value},
};

/// Prefixes of folders, each with its group; the empty one stands for the files in the root.
#[derive(Debug, Default)]
pub struct Claims(BTreeMap<Vec<String>, Placed<String>>);

impl Claims {
    /// The group that claims the longest prefix of `folders`.
    pub fn owner(&self, folders: &[String]) -> Option<&str> {
        let claim = (1..=folders.len())
            .rev()
            .find_map(|length| self.0.get(&folders[..length]));
        claim.map(|group| group.value.as_str())
    }

    /// Every prefix and the group that claims it.
    pub fn iter(&self) -> impl Iterator<Item = (&[String], &Placed<String>)> {
        self.0.iter().map(|(prefix, group)| (prefix.as_slice(), group))
    }

    /// The error says whose the prefix is already.
    fn add(&mut self, prefix: &[String], group: Placed<String>) -> Result<(), String> {
        let owner = self.0.entry(prefix.to_vec()).or_insert_with(|| group.clone());
        if owner.value == group.value {
            return Ok(());
        }
        let prefix = prefix.join(".");
        let Placed {
            value: owner,
            position,
        } = owner;
        Err(format!(
            "namespace \"{prefix}\" of group {} is group {owner}'s (line {})",
            group.value, position.line
        ))
    }
}

const HELP: &str =
    "a namespace belongs to one group; a group without the key namespaces has the one of its name";

/// Reads the key `namespaces` of a group into `claims`; `None` where it is not written.
pub fn namespaces(
    section: &mut Section<'_>,
    group: &Entry<'_>,
    claims: &mut Claims,
) -> Option<Placed<Vec<String>>> {
    let Some(written) = section.get("namespaces") else {
        claim_own_name(group, claims);
        return None;
    };
    let elements = written.elements("namespaces")?;
    if elements.is_empty() {
        return written.wrong(
            "manifest-value",
            format_args!("{} has no namespace", written.path()),
            None,
        );
    }
    let read = |value: &Value<'_>| namespace(value, group.key().value, claims);
    let namespaces = elements.iter().filter_map(read).collect();
    Some(written.placed(namespaces))
}

fn claim_own_name(group: &Entry<'_>, claims: &mut Claims) {
    let Placed {
        value: name,
        position,
    } = group.key();
    let claim = Placed {
        value: name.to_owned(),
        position,
    };
    // The namespace of this one is the root itself.
    let prefix: &[String] = if name == ROOT_GROUP {
        &[]
    } else {
        &[name.to_owned()]
    };
    if let Err(message) = claims.add(prefix, claim) {
        group.wrong_key(message, Some(HELP.to_owned()));
    }
}

fn namespace(value: &Value<'_>, group: &str, claims: &mut Claims) -> Option<String> {
    let text = value.string()?;
    if text.is_empty() {
        if group == ROOT_GROUP {
            // Nobody else can claim it.
            let _ = claims.add(&[], value.placed(group.to_owned()));
            return Some(String::new());
        }
        let help = format!("they form the group {ROOT_GROUP}");
        let message = format!(
            "{} is \"\": the files that lie directly in the root",
            value.path()
        );
        return value.wrong("manifest-value", message, Some(help));
    }
    let prefix: Vec<String> = text.split('.').map(str::to_owned).collect();
    if !prefix.iter().all(|segment| names::is_segment(segment)) {
        let message = format!(
            "{} must be a namespace such as \"shop.screen\", not {text:?}",
            value.path()
        );
        return value.wrong(
            "manifest-value",
            message,
            Some(format!("each part is {SEGMENT_RULE}")),
        );
    }
    match claims.add(&prefix, value.placed(group.to_owned())) {
        Ok(()) => Some(text.to_owned()),
        Err(message) => value.wrong("manifest-value", message, Some(HELP.to_owned())),
    }
}
