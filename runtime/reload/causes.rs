//! What of a group changed. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    project::{ComponentId, Digest, GroupSpec},
    status::{Cause, Change},
};

/// The components by content, to compare generations with.
pub type Contents = BTreeMap<ComponentId, Digest>;

pub fn contents(spec: &GroupSpec) -> Contents {
    spec.components
        .iter()
        .map(|(id, component)| (id.clone(), component.digest))
        .collect()
}

/// Which components make the difference. Empty where only the manifest does.
pub fn causes(old: Option<&Contents>, new: &Contents) -> Vec<Cause> {
    let nothing = Contents::new();
    let old = old.unwrap_or(&nothing);
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

    #[test]
    fn causes_are_the_components_that_differ() {
        let contents = |pairs: &[(&str, &str)]| -> Contents {
            pairs
                .iter()
                .map(|(id, content)| (ComponentId::parse(id).unwrap(), Digest::of(content.as_bytes())))
                .collect()
        };
        let old = contents(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let new = contents(&[("a", "1"), ("b", "2"), ("d", "1")]);
        let found: Vec<_> = causes(Some(&old), &new)
            .iter()
            .map(|cause| format!("{} {:?}", cause.component, cause.change))
            .collect();
        assert_eq!(found, ["b Changed", "c Removed", "d Added"]);
    }
}
