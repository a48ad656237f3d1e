//! What of a group changed. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    project::{ContentId, Digest},
    status::{Cause, Change},
};

/// What a group consists of, to compare generations with.
pub type Contents = BTreeMap<ContentId, Digest>;

/// Which components and static files make the difference. Empty where only the manifest does.
pub fn causes(old: Option<&Contents>, new: &Contents) -> Vec<Cause> {
    let nothing = Contents::new();
    let old = old.unwrap_or(&nothing);
    let ids: BTreeSet<&ContentId> = old.keys().chain(new.keys()).collect();
    let change = |id| match (old.get(id), new.get(id)) {
        (None, _) => Some(Change::Added),
        (_, None) => Some(Change::Removed),
        (Some(old), Some(new)) if old != new => Some(Change::Changed),
        _ => None,
    };
    ids.into_iter()
        .filter_map(|id| {
            Some(Cause {
                content: id.clone(),
                change: change(id)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::ComponentId;

    #[test]
    fn causes_are_the_contents_that_differ() {
        let contents = |pairs: &[(&str, &str)]| -> Contents {
            pairs
                .iter()
                .map(|(id, content)| {
                    let id = ComponentId::parse(id).map(ContentId::Component);
                    let id = id.unwrap_or_else(|other| ContentId::File(other.0));
                    (id, Digest::of(content.as_bytes()))
                })
                .collect()
        };
        let old = contents(&[("a", "1"), ("b", "1"), ("c", "1"), ("a/static/b.css", "1")]);
        let new = contents(&[("a", "1"), ("b", "2"), ("d", "1"), ("a/static/b.css", "2")]);
        let found: Vec<_> = causes(Some(&old), &new)
            .iter()
            .map(|cause| format!("{} {:?}", cause.content, cause.change))
            .collect();
        assert_eq!(
            found,
            ["b Changed", "c Removed", "d Added", "a/static/b.css Changed"]
        );
    }
}
