//! What becomes of what components remember when one tree takes the place of another. Pure: by what they
//! export and what the manifests say.

use serde::Serialize;

use super::surface::{GroupSurface, Member, Surface};
use crate::{
    artifact::{is_state, wit},
    project::{ComponentId, Instances, State},
};

/// The state of one component, or of all in a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fate {
    pub group: String,
    /// All of the group where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<ComponentId>,
    pub carried: bool,
    /// Why it is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
}

/// Of each group of `old`, in order.
pub fn fates(old: &Surface, new: &Surface) -> Vec<Fate> {
    let each = old.groups.iter().map(|group| match new.group(&group.name) {
        None => vec![lost(group, None, "its group is gone")],
        Some(heir) if heir.state == State::Fresh => vec![lost(group, None, "state = \"fresh\"")],
        Some(_) if group.instances != Instances::Shared => vec![lost(group, None, "it had several stores")],
        Some(heir) => of_components(group, heir),
    });
    each.flatten().collect()
}

fn of_components(group: &GroupSurface, heir: &GroupSurface) -> Vec<Fate> {
    let remembering = group.members.iter().filter(|(_, member)| has_state(member));
    let each = remembering.map(|(id, _)| match heir.members.get(id) {
        None => lost(group, Some(id), "it is gone"),
        Some(member) if !has_state(member) => {
            lost(group, Some(id), "it exports no wasmhost:lifecycle/state any more")
        }
        Some(_) => Fate {
            group: group.name.clone(),
            component: Some(id.clone()),
            carried: true,
            why: None,
        },
    });
    each.collect()
}

fn has_state(member: &Member) -> bool {
    let exports: &wit::Items = &member.world.exports;
    exports.iter().any(|(name, _)| is_state(name))
}

fn lost(group: &GroupSurface, component: Option<&ComponentId>, why: &'static str) -> Fate {
    Fate {
        group: group.name.clone(),
        component: component.cloned(),
        carried: false,
        why: Some(why),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const STATE: &str = "wasmhost:lifecycle/state@0.1.0";

    /// A name, what becomes of its state, and its members with what each exports.
    type Written<'a> = (&'a str, State, &'a [(&'a str, &'a str)]);

    fn surface(groups: &[Written<'_>]) -> Surface {
        let member = |export: &str| Member {
            world: wit::World {
                imports: Vec::new(),
                exports: vec![(export.into(), wit::Item::Other("interface"))],
            },
            handler: None,
            edges: Vec::new(),
            host: Vec::new(),
            missing: Vec::new(),
            ambiguous: Vec::new(),
        };
        let id = |name: &str| ComponentId::parse(name).expect("an id");
        let group = |(name, state, members): &Written<'_>| GroupSurface {
            name: (*name).into(),
            instances: if name.starts_with("pool") {
                Instances::Isolated
            } else {
                Instances::Shared
            },
            state: *state,
            members: members
                .iter()
                .map(|(name, export)| (id(name), member(export)))
                .collect::<BTreeMap<_, _>>(),
            unread: BTreeSet::new(),
        };
        Surface {
            groups: groups.iter().map(group).collect(),
        }
    }

    #[test]
    fn state_is_carried_to_the_same_id_where_both_can() {
        use State::{Fresh, Migrate};
        let old = surface(&[
            ("api", Fresh, &[("api.echo", STATE)]),
            ("pool", Fresh, &[("pool.all", STATE)]),
            ("gone", Migrate, &[("gone.all", STATE)]),
            ("late", Migrate, &[("late.all", STATE)]),
            (
                "shop",
                Migrate,
                &[
                    ("shop.cart", STATE),
                    ("shop.home", "a:b/c"),
                    ("shop.list", STATE),
                    ("shop.old", STATE),
                ],
            ),
        ]);
        let new = surface(&[
            ("api", Migrate, &[("api.echo", STATE)]),
            ("pool", Migrate, &[("pool.all", STATE)]),
            ("late", Fresh, &[("late.all", STATE)]),
            (
                "shop",
                Migrate,
                &[("shop.cart", STATE), ("shop.home", STATE), ("shop.list", "a:b/c")],
            ),
        ]);
        let told: Vec<String> = fates(&old, &new)
            .into_iter()
            .map(|fate| {
                let what = fate
                    .component
                    .map_or(fate.group, |component| component.to_string());
                format!("{what}: {}", fate.why.unwrap_or("carried"))
            })
            .collect();
        assert_eq!(
            told,
            [
                "api.echo: carried",
                "pool: it had several stores",
                "gone: its group is gone",
                "late: state = \"fresh\"",
                "shop.cart: carried",
                "shop.list: it exports no wasmhost:lifecycle/state any more",
                "shop.old: it is gone",
            ]
        );
    }
}
