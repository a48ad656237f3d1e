//! What changed in the interfaces from one tree to another: which components, which interfaces, which
//! definitions, and what breaks with it. Pure.
//!
//! A change breaks where a component of the old tree would not fit with it, where an import finds nobody,
//! or where a page stops answering. Bodies of functions are not looked at.

use std::{collections::BTreeSet, fmt};

use serde::Serialize;

use super::surface::{GroupSurface, Member, Surface};
use crate::{
    artifact::{
        Side, explain,
        graph::{Edge, same_interface},
        wit::{self, Item, Items},
    },
    host::Handler,
    project::ComponentId,
    status::Change,
};

#[derive(Debug, Serialize)]
pub struct ComponentChange {
    pub component: ComponentId,
    pub change: Change,
    pub breaking: bool,
    /// What breaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Of a component that was changed.
    pub interfaces: Vec<InterfaceChange>,
}

#[derive(Debug, Serialize)]
pub struct InterfaceChange {
    pub direction: Direction,
    pub interface: String,
    /// Its name in the old tree, where the version changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formerly: Option<String>,
    pub change: Change,
    pub breaking: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Of an interface that was changed.
    pub definitions: Vec<DefinitionChange>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    Import,
    Export,
}

/// A function or type, in WIT.
#[derive(Debug, Serialize)]
pub struct DefinitionChange {
    /// `record link`
    pub definition: String,
    pub change: Change,
    pub before: Option<String>,
    pub after: Option<String>,
}

/// What two trees differ in, and what nobody can tell.
#[derive(Debug, Serialize)]
pub struct Comparison {
    pub changes: Vec<ComponentChange>,
    /// Components that cannot be read on one side or the other.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub not_compared: BTreeSet<ComponentId>,
}

/// What changed from `old` to `new`, by component.
pub fn between(old: &Surface, new: &Surface) -> Comparison {
    let groups = old.groups.iter().chain(&new.groups);
    let not_compared: BTreeSet<_> = groups.flat_map(|group| group.unread.clone()).collect();
    let mut changes = Vec::new();
    for before in places(old) {
        match places(new).find(|after| after.id == before.id) {
            Some(after) => changes.extend(changed(before, after)),
            None => changes.push(removed(before, new.group(&before.group.name))),
        }
    }
    let is_new = |after: &Place<'_>| places(old).all(|before| before.id != after.id);
    let added_ones = places(new).filter(is_new);
    changes.extend(added_ones.map(|after| added(after, old.group(&after.group.name))));
    changes.retain(|change| !not_compared.contains(&change.component));
    changes.sort_by(|a, b| a.component.cmp(&b.component));
    Comparison {
        changes,
        not_compared,
    }
}

/// A component among the others of its group.
#[derive(Clone, Copy)]
struct Place<'a> {
    group: &'a GroupSurface,
    id: &'a ComponentId,
    member: &'a Member,
}

fn places(surface: &Surface) -> impl Iterator<Item = Place<'_>> {
    let members = surface.members();
    members.map(|(group, id, member)| Place { group, id, member })
}

fn added(after: Place<'_>, before: Option<&GroupSurface>) -> ComponentChange {
    let imports = after.member.world.imports.iter();
    let unmet = imports.filter_map(|(name, _)| Some(format!("{name}: {}", unmet(name, after)?)));
    let exports = after.member.world.exports.iter();
    let confused = exports.filter_map(|(name, _)| now_ambiguous(name, after, before));
    let mut why: Vec<_> = unmet.chain(confused).collect();
    why.dedup();
    ComponentChange {
        component: after.id.clone(),
        change: Change::Added,
        breaking: !why.is_empty(),
        why: (!why.is_empty()).then(|| why.join("; ")),
        interfaces: Vec::new(),
    }
}

fn removed(before: Place<'_>, after: Option<&GroupSurface>) -> ComponentChange {
    let Place { group, id, member } = before;
    let importers = group.importers(id);
    let importers = importers.filter(|(importer, edge)| !satisfied(importer, edge, group, after));
    let mut importers: Vec<_> = importers.map(|(importer, _)| importer).collect();
    importers.dedup();
    let why = match (importers.as_slice(), member.handler) {
        ([], None) => None,
        ([], Some(_)) => Some("the page answers no longer".to_owned()),
        (importers, _) => Some(import(importers)),
    };
    ComponentChange {
        component: id.clone(),
        change: Change::Removed,
        breaking: why.is_some(),
        why,
        interfaces: Vec::new(),
    }
}

/// Whether somebody in the new group satisfies what `importer` asked for in the old one, as far as that
/// group can be read.
fn satisfied(
    importer: &ComponentId,
    edge: &Edge,
    before: &GroupSurface,
    after: Option<&GroupSurface>,
) -> bool {
    let Some(after) = after else { return false };
    let asked = before.members.get(importer).map(|member| &member.world.imports);
    let asked = asked.and_then(|imports| wit::find(imports, &edge.import));
    let linked = after.members.get(importer).and_then(|member| {
        let mut edges = member.edges.iter();
        edges.find(|linked| linked.import == edge.import)
    });
    let mut others = after.members.iter().filter(|(id, _)| *id != importer);
    let offers = |exporter: &ComponentId, export: &(String, Item)| {
        let named = match linked {
            Some(linked) => linked.exporter == *exporter && linked.export == export.0,
            None => same_interface(&export.0, &edge.import),
        };
        named && fits((importer, asked), (exporter, Some(&export.1)))
    };
    !after.unread.is_empty()
        || others.any(|(exporter, member)| {
            let mut exports = member.world.exports.iter();
            exports.any(|export| offers(exporter, export))
        })
}

/// Why an import finds nobody, if it does not: as far as the group can be read.
fn unmet(name: &String, Place { group, member, .. }: Place<'_>) -> Option<String> {
    if let Some((_, exporters)) = member.ambiguous.iter().find(|(import, _)| import == name) {
        let exporters: Vec<_> = exporters.iter().map(ComponentId::as_str).collect();
        return Some(format!(
            "{} export it, and nobody says which",
            exporters.join(" and ")
        ));
    }
    let missing = group.unread.is_empty() && member.missing.contains(name);
    missing.then(|| "nobody exports it".to_owned())
}

/// Who does not know any more from whom to import, now that this is exported too.
fn now_ambiguous(export: &str, after: Place<'_>, before: Option<&GroupSurface>) -> Option<String> {
    let ambiguous = |group: &GroupSurface, importer: &ComponentId, import: &str| {
        let member = group.members.get(importer);
        member.is_some_and(|member| member.ambiguous.iter().any(|(name, _)| name == import))
    };
    let members = after.group.members.iter();
    let imports = members.flat_map(|(id, member)| member.ambiguous.iter().map(move |import| (id, import)));
    let confused = imports.filter(|(importer, (import, exporters))| {
        let known = before.is_some_and(|before| ambiguous(before, importer, import));
        exporters.contains(after.id) && same_interface(export, import) && !known
    });
    let confused: Vec<_> = confused.map(|(importer, _)| importer.as_str()).collect();
    let importers = confused.join(", ");
    (!confused.is_empty())
        .then(|| format!("{export} is exported by others too, and nobody says which is for {importers}"))
}

fn changed(before: Place<'_>, after: Place<'_>) -> Option<ComponentChange> {
    let (old, new) = (&before.member.world, &after.member.world);
    let imports = pairs(&old.imports, &new.imports).into_iter();
    let exports = pairs(&old.exports, &new.exports).into_iter();
    let imports = imports.filter_map(|pair| interface(Direction::Import, pair, before, after));
    let exports = exports.filter_map(|pair| interface(Direction::Export, pair, before, after));
    let interfaces: Vec<_> = exports.chain(imports).collect();
    (!interfaces.is_empty()).then(|| ComponentChange {
        component: after.id.clone(),
        change: Change::Changed,
        breaking: interfaces.iter().any(|interface| interface.breaking),
        why: None,
        interfaces,
    })
}

type Named = (String, Item);

/// What stands for the same on both sides: by name, else by name without the version.
fn pairs<'a>(old: &'a Items, new: &'a Items) -> Vec<(Option<&'a Named>, Option<&'a Named>)> {
    let path = |name: &str| name.split('@').next().unwrap_or_default().to_owned();
    let mut left: Vec<&Named> = new.iter().collect();
    let mut take = |same: &dyn Fn(&str) -> bool| {
        let found = left.iter().position(|(name, _)| same(name))?;
        Some(left.remove(found))
    };
    let by_name: Vec<_> = old
        .iter()
        .map(|item| (item, take(&|name| name == item.0)))
        .collect();
    let mut pairs: Vec<_> = by_name
        .into_iter()
        .map(|(item, found)| {
            (
                Some(item),
                found.or_else(|| take(&|name| path(name) == path(&item.0))),
            )
        })
        .collect();
    pairs.extend(left.into_iter().map(|item| (None, Some(item))));
    pairs
}

fn interface(
    direction: Direction,
    pair: (Option<&Named>, Option<&Named>),
    before: Place<'_>,
    after: Place<'_>,
) -> Option<InterfaceChange> {
    let (name, _) = pair.1.or(pair.0)?;
    let (change, definitions) = match pair {
        (Some(old), Some(new)) => {
            let definitions = definitions(old, new);
            if definitions.is_empty() && old.0 == new.0 {
                return None;
            }
            (Change::Changed, definitions)
        }
        (None, _) => (Change::Added, Vec::new()),
        (_, None) => (Change::Removed, Vec::new()),
    };
    let why = match direction {
        Direction::Export => broken_export(pair, before, after),
        Direction::Import => broken_import(pair.1, after),
    };
    let formerly = pair.0.map(|(name, _)| name).filter(|old| *old != name);
    Some(InterfaceChange {
        direction,
        interface: name.clone(),
        formerly: formerly.cloned(),
        change,
        breaking: why.is_some(),
        why,
        definitions,
    })
}

/// Who in the old tree has no use for what is exported now, or in the new one no choice.
fn broken_export(
    (old, new): (Option<&Named>, Option<&Named>),
    before: Place<'_>,
    after: Place<'_>,
) -> Option<String> {
    let confused = || now_ambiguous(&new?.0, after, Some(before.group));
    let Some((old_name, _)) = old else {
        return confused();
    };
    let handled = |named: Option<&Named>| named.is_some_and(|(name, _)| Handler::of(name).is_some());
    if handled(old) && !handled(new) {
        return Some("the page answers no longer".into());
    }
    let importers = before
        .group
        .importers(before.id)
        .filter(|(_, edge)| edge.export == *old_name);
    let broken =
        importers.filter(|(importer, edge)| !satisfied(importer, edge, before.group, Some(after.group)));
    let mut broken: Vec<_> = broken.map(|(importer, _)| importer).collect();
    broken.dedup();
    if broken.is_empty() {
        return confused();
    }
    Some(format!("{} as it was", import(&broken)))
}

/// Whether somebody in the new tree satisfies what is imported now.
fn broken_import(new: Option<&Named>, after: Place<'_>) -> Option<String> {
    let (name, item) = new?;
    if let Some(why) = unmet(name, after) {
        return Some(why);
    }
    let edge = after.member.edges.iter().find(|edge| edge.import == *name)?;
    let offered = after
        .group
        .members
        .get(&edge.exporter)
        .map(|member| &member.world.exports);
    let offered = offered.and_then(|exports| wit::find(exports, &edge.export));
    let fits = fits((after.id, Some(item)), (&edge.exporter, offered));
    (!fits).then(|| format!("{} exports it otherwise", edge.exporter))
}

type SideItem<'a> = (&'a ComponentId, Option<&'a Item>);

fn fits(asked: SideItem<'_>, offered: SideItem<'_>) -> bool {
    match (asked, offered) {
        ((importer, Some(Item::Interface(asked))), (exporter, Some(Item::Interface(offered)))) => {
            explain(Side::new(importer, asked), Side::new(exporter, offered)).is_none()
        }
        ((_, asked), (_, offered)) => asked == offered,
    }
}

/// What differs between two items. What only the host defines is not looked into.
fn definitions(old: &Named, new: &Named) -> Vec<DefinitionChange> {
    let none = Items::new();
    let whole = |named: &Named| match &named.1 {
        Item::Interface(_) => none.clone(),
        _ => vec![named.clone()],
    };
    if new.0.starts_with("wasi:") {
        return Vec::new();
    }
    let (old, new) = match (&old.1, &new.1) {
        (Item::Interface(old), Item::Interface(new)) => (old.items.clone(), new.items.clone()),
        _ => (whole(old), whole(new)),
    };
    let mut changes = Vec::new();
    for (name, item) in &old {
        let before = wit::definition(name, item);
        let after = wit::find(&new, name).map(|item| wit::definition(name, item));
        if after.as_ref() != Some(&before) {
            changes.push(DefinitionChange {
                definition: wit::title(name, item),
                change: if after.is_some() {
                    Change::Changed
                } else {
                    Change::Removed
                },
                before: Some(before),
                after,
            });
        }
    }
    let added = new.iter().filter(|(name, _)| wit::find(&old, name).is_none());
    changes.extend(added.map(|(name, item)| DefinitionChange {
        definition: wit::title(name, item),
        change: Change::Added,
        before: None,
        after: Some(wit::definition(name, item)),
    }));
    changes
}

/// `a, b and 3 more import it`
fn import(importers: &[&ComponentId]) -> String {
    const MOST: usize = 3;
    let shown: Vec<_> = importers.iter().take(MOST).map(|id| id.as_str()).collect();
    let more = match importers.len().saturating_sub(MOST) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let verb = if importers.len() == 1 { "imports" } else { "import" };
    format!("{}{more} {verb} it", shown.join(", "))
}

/// For a terminal: a block for a component.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            changes,
            not_compared,
        } = self;
        if changes.is_empty() {
            writeln!(f, "no interface changed")?;
        }
        changes.iter().try_for_each(|change| writeln!(f, "{change}"))?;
        if !not_compared.is_empty() {
            let ids: Vec<_> = not_compared.iter().map(ComponentId::as_str).collect();
            writeln!(f, "not compared: {}, which cannot be read", ids.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for ComponentChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            component,
            change,
            why,
            interfaces,
            ..
        } = self;
        write!(f, "{component} {}{}", word(*change), breaking(why.as_deref()))?;
        interfaces
            .iter()
            .try_for_each(|interface| write!(f, "\n  {interface}"))
    }
}

impl fmt::Display for InterfaceChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Import => "import",
            Direction::Export => "export",
        };
        write!(f, "{direction} {} {}", self.interface, word(self.change))?;
        if let Some(formerly) = &self.formerly {
            write!(f, ", formerly {formerly}")?;
        }
        f.write_str(&breaking(self.why.as_deref()))?;
        // What is imported changes as its exporter does, who shows it.
        let shown = match self.direction {
            Direction::Import if !self.breaking => [].as_slice(),
            _ => self.definitions.as_slice(),
        };
        for definition in shown {
            for (sign, text) in [('-', &definition.before), ('+', &definition.after)] {
                if let Some(text) = text {
                    write!(f, "\n    {sign} {text}")?;
                }
            }
        }
        Ok(())
    }
}

fn word(change: Change) -> &'static str {
    match change {
        Change::Added => "added",
        Change::Changed => "changed",
        Change::Removed => "removed",
    }
}

fn breaking(why: Option<&str>) -> String {
    why.map(|why| format!(" (breaking: {why})")).unwrap_or_default()
}
