//! What is told of all groups: who serves, with which routes, and how much runs there.

use std::collections::BTreeMap;

use super::{Draining, Serving};
use crate::{
    orders::{DrainingStatus, GroupStatus},
    project::{ComponentId, ContentId},
    reload::group::{Group, Running},
    router::patterns,
    status::{ReadyGroup, RouteLine},
};

impl Serving {
    /// All groups as the `ready` event shows them.
    pub fn ready(&self) -> Vec<ReadyGroup> {
        self.groups
            .iter()
            .map(|(name, group)| self.ready_group(name, group))
            .collect()
    }

    /// All groups as they are at this moment.
    pub fn status(&self) -> BTreeMap<String, GroupStatus> {
        let groups = self.groups.iter();
        groups
            .map(|(name, group)| (name.clone(), self.group_status(name, group)))
            .collect()
    }

    fn group_status(&self, name: &str, group: &Group) -> GroupStatus {
        let running = group.running.as_ref().map(|running| &running.generation);
        let draining = self
            .draining
            .iter()
            .filter(|draining| &*draining.id.group == name && !draining.task.is_finished());
        let draining = draining.map(|Draining { id, generation, .. }| DrainingStatus {
            generation: id.number,
            in_flight: generation
                .upgrade()
                .map_or(0, |generation| generation.in_flight()),
        });
        GroupStatus {
            serving: self.ready_group(name, group),
            in_flight: running.map_or(0, |generation| generation.in_flight()),
            queued: running.map_or(0, |generation| generation.queued()),
            memory: running.map_or(0, |generation| generation.memory()),
            draining: draining.collect(),
            on_probation: group
                .running
                .as_ref()
                .is_some_and(|running| running.standby.is_some()),
            pinned: self.standing(name).pinned,
            checkpoint: group
                .running
                .as_ref()
                .and_then(|running| running.checkpoints.as_ref()?.last()),
        }
    }

    fn ready_group(&self, name: &str, group: &Group) -> ReadyGroup {
        let (components, routes) = match &group.running {
            Some(Running {
                generation,
                contents,
                built,
                ..
            }) => {
                let mut lines = patterns(&built.spec.routes, generation.pages());
                lines.retain(|(pattern, page)| !self.is_shadowed(pattern, page));
                let routes = lines.into_iter().map(|(pattern, component)| RouteLine {
                    pattern,
                    component: component.clone(),
                });
                let components = contents.keys().filter_map(ContentId::component);
                (components.cloned().collect(), routes.collect())
            }
            None => (group.components.clone(), Vec::new()),
        };
        ReadyGroup {
            group: name.to_owned(),
            generation: group.serving(),
            components,
            routes,
            files: group
                .running
                .as_ref()
                .map_or(0, |running| running.built.spec.files.len()),
        }
    }

    fn is_shadowed(&self, pattern: &str, page: &ComponentId) -> bool {
        self.shadowed
            .iter()
            .any(|route| route.pattern == pattern && route.component.as_ref() == Some(page))
    }
}
