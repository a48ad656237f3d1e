//! What a look at the disk asks for: decides by digest alone, group by group. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    project::{ComponentId, Digest, GroupSpec},
    status::{Cause, Change},
};

/// What is known of a group before the look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The content that is served.
    pub serving: Option<Digest>,
    /// The content that was refused last.
    pub refused: Option<Digest>,
}

/// What the look found of a group: content to serve, or content that is refused before it is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Spec(Digest),
    Refusal(Digest),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Build it and swap to it.
    Build,
    /// Say that it is refused.
    Refuse,
    /// What is served is what lies there, or what lies there was refused before.
    Keep,
    /// Nothing is left of the group.
    Remove,
}

/// One action for every group that is known or was found.
pub fn between(known: &BTreeMap<String, Known>, found: &BTreeMap<String, Found>) -> BTreeMap<String, Action> {
    let names: BTreeSet<&String> = known.keys().chain(found.keys()).collect();
    names
        .into_iter()
        .map(|name| {
            let known = known.get(name).copied().unwrap_or_default();
            (name.clone(), action(known, found.get(name)))
        })
        .collect()
}

fn action(known: Known, found: Option<&Found>) -> Action {
    match found {
        None => Action::Remove,
        Some(Found::Spec(digest)) if known.serving == Some(*digest) => Action::Keep,
        Some(Found::Spec(digest) | Found::Refusal(digest)) if known.refused == Some(*digest) => Action::Keep,
        Some(Found::Spec(_)) => Action::Build,
        Some(Found::Refusal(_)) => Action::Refuse,
    }
}

/// The components by content, to compare generations with.
pub type Contents = BTreeMap<ComponentId, Digest>;

pub fn contents(spec: &GroupSpec) -> Contents {
    spec.components
        .iter()
        .map(|(id, component)| (id.clone(), component.digest))
        .collect()
}

/// Which components make the difference. Empty where only the manifest does.
pub fn causes(old: &Contents, new: &Contents) -> Vec<Cause> {
    let ids: BTreeSet<&ComponentId> = old.keys().chain(new.keys()).collect();
    let change = |id| match (old.get(id), new.get(id)) {
        (None, _) => Some(Change::Added),
        (_, None) => Some(Change::Removed),
        (Some(old), Some(new)) if old != new => Some(Change::Changed),
        _ => None,
    };
    ids.into_iter()
        .filter_map(|id| {
            Some(Cause {
                component: id.clone(),
                change: change(id)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    #[test]
    fn content_decides() {
        let check = |serving: &str, refused: &str, found: Option<Found>, expected| {
            let some = |name: &str| (!name.is_empty()).then(|| digest(name));
            let known = Known {
                serving: some(serving),
                refused: some(refused),
            };
            assert_eq!(
                action(known, found.as_ref()),
                expected,
                "{serving} {refused} {found:?}"
            );
        };
        let spec = |name| Some(Found::Spec(digest(name)));
        let refusal = |name| Some(Found::Refusal(digest(name)));
        check("", "", spec("a"), Action::Build);
        check("a", "", spec("a"), Action::Keep);
        check("a", "", spec("b"), Action::Build);
        check("a", "b", spec("b"), Action::Keep);
        check("a", "b", spec("a"), Action::Keep);
        check("a", "b", spec("c"), Action::Build);
        check("a", "", refusal("b"), Action::Refuse);
        check("a", "b", refusal("b"), Action::Keep);
        check("a", "", None, Action::Remove);
        check("", "b", None, Action::Remove);
    }

    #[test]
    fn causes_are_the_components_that_differ() {
        let contents = |pairs: &[(&str, &str)]| -> Contents {
            pairs
                .iter()
                .map(|(id, content)| (ComponentId::parse(id).unwrap(), digest(content)))
                .collect()
        };
        let old = contents(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let new = contents(&[("a", "1"), ("b", "2"), ("d", "1")]);
        let found: Vec<_> = causes(&old, &new)
            .iter()
            .map(|cause| format!("{} {:?}", cause.component, cause.change))
            .collect();
        assert_eq!(found, ["b Changed", "c Removed", "d Added"]);
    }
}
