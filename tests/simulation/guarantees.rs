//! The guarantees of the contract, as far as they concern the control plane, and who breaks them.
//! Sees the disk, what is served and what is said; knows nothing of how that came about.

use std::collections::BTreeSet;

use super::{
    disk::{Disk, GROUPS, MS, Snapshot, Time},
    host::{Generation, Request},
};
use wasmhost::reload::control::{GONE, UNFINISHED};

/// How long before it counts as seen a content may have been read: longer than any look takes.
const LOOK: Time = 500 * MS;

/// A guarantee that does not hold, and how that was seen.
#[derive(Clone, Debug)]
pub struct Broken {
    pub guarantee: Guarantee,
    pub how: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// A request runs on one generation to its end.
    OneGeneration,
    /// No request is lost, or waits for ever.
    NoneLost,
    /// What serves is whole, started and good.
    LastGood,
    /// A swap happens when the content differs, and only then; a refusal is said once.
    ContentDecides,
    /// Finished content is served, or refused, soon.
    Newest,
    /// The groups of one change are published in one step.
    Together,
    /// A request that waits is answered by what lay on the disk when it came, or by newer.
    Fresh,
    /// Two generations of a group, and those that drain.
    Bounded,
}

/// What was found of one group so far.
#[derive(Default)]
struct Group {
    serving: Option<Snapshot>,
    /// What was refused last, as long as nothing else was there.
    last_refused: Option<Snapshot>,
    refused: Vec<Snapshot>,
    /// What was taken back, and what else was seen since did not come to anything.
    withdrawn: Option<Snapshot>,
}

pub struct Monitor {
    groups: Vec<Group>,
    /// What each group should be routed to, by what was decided last.
    decided: [Option<usize>; GROUPS],
    /// When trees that cannot be understood were refused, and which.
    refused_trees: Vec<(Time, u32)>,
    broken: Option<Broken>,
}

impl Monitor {
    pub fn new() -> Self {
        Self {
            groups: (0..GROUPS).map(|_| Group::default()).collect(),
            decided: [None; GROUPS],
            refused_trees: Vec::new(),
            broken: None,
        }
    }

    /// The first guarantee that did not hold.
    pub fn verdict(&mut self) -> Option<Broken> {
        self.broken.take()
    }

    pub fn must(&mut self, holds: bool, guarantee: Guarantee, how: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            self.broken = Some(Broken {
                guarantee,
                how: how(),
            });
        }
    }

    /// What a group serves from the start.
    pub fn begins(&mut self, group: usize, snapshot: Snapshot, generation: usize) {
        self.groups[group].serving = Some(snapshot);
        self.decided(group, Some(generation));
    }

    /// The control plane wants the group to be there when this step is over.
    pub fn decided(&mut self, group: usize, generation: Option<usize>) {
        self.decided[group] = generation;
    }

    /// A look found this of a group: a refusal of something else may be said again.
    pub fn seen(&mut self, group: usize, snapshot: Option<Snapshot>) {
        let known = &mut self.groups[group];
        if known.last_refused != snapshot {
            known.last_refused = None;
        }
        if snapshot.is_some() && known.serving == snapshot {
            known.withdrawn = None;
        }
    }

    /// A group moved to a generation with this content, the build of which began at `began`.
    pub fn published(&mut self, disk: &Disk, group: usize, snapshot: Snapshot, began: Time) {
        use Guarantee::{ContentDecides, LastGood, Newest};
        let same = self.groups[group].serving == Some(snapshot);
        self.must(!same, ContentDecides, || {
            format!("g{group} was swapped for the same: {snapshot}")
        });
        let withdrawn = self.groups[group].withdrawn == Some(snapshot);
        self.must(!withdrawn, ContentDecides, || {
            format!("g{group} serves what was taken back: {snapshot}")
        });
        self.must(snapshot.is_good(), LastGood, || {
            format!("g{group} serves {snapshot}")
        });
        let existed = disk.existed(group, &snapshot);
        self.must(existed, ContentDecides, || {
            format!("g{group} never was {snapshot}")
        });
        let lay = disk.each_was(group, &snapshot, began);
        self.must(lay, Newest, || {
            format!("g{group} was not {snapshot} since {began}")
        });
        self.groups[group].serving = Some(snapshot);
        self.groups[group].withdrawn = None;
    }

    /// What served before serves again, in the place of what trapped.
    pub fn reverted(&mut self, group: usize, snapshot: Snapshot) {
        let known = &mut self.groups[group];
        let before = known.serving.replace(snapshot);
        known.withdrawn = before;
        // Whoever waits for that is told.
        known.refused.extend(before);
        self.must(before != Some(snapshot), Guarantee::ContentDecides, || {
            format!("g{group} was reverted to the same: {snapshot}")
        });
    }

    pub fn removed(&mut self, disk: &Disk, group: usize, looked: Time) {
        let gone = disk.each_was_gone(group, looked);
        self.must(gone, Guarantee::LastGood, || {
            format!("g{group} was removed and is there")
        });
        self.groups[group].serving = None;
        self.groups[group].withdrawn = None;
    }

    /// It was said why this is not served.
    pub fn refused(&mut self, disk: &Disk, group: usize, snapshot: Snapshot, now: Time) {
        use Guarantee::{ContentDecides, Newest};
        self.must(!snapshot.is_good(), Newest, || {
            format!("g{group}: good {snapshot} was refused")
        });
        let again = self.groups[group].last_refused == Some(snapshot);
        self.must(!again, ContentDecides, || {
            format!("g{group}: {snapshot} was refused twice")
        });
        let patience = if snapshot.is_unfinished() {
            UNFINISHED
        } else {
            GONE.min(UNFINISHED)
        };
        let patience = if snapshot.is_pending() {
            patience.as_micros() as Time
        } else {
            0
        };
        // What is not finished may change meanwhile: its time runs from when the first of it was seen.
        let began = |until: Time| {
            disk.each_had_been(group, &snapshot, until)
                || snapshot.is_unfinished()
                    && disk.some_was_unfinished(group, until.saturating_sub(LOOK), until)
        };
        let early = now < patience || !began(now - patience);
        self.must(!early, ContentDecides, || {
            format!("g{group}: {snapshot} was refused too early")
        });
        self.groups[group].last_refused = Some(snapshot);
        self.groups[group].withdrawn = None;
        self.groups[group].refused.push(snapshot);
    }

    pub fn refused_tree(&mut self, wrong: u32, now: Time) {
        let again = self.refused_trees.last().is_some_and(|(_, last)| *last == wrong);
        self.must(!again, Guarantee::ContentDecides, || {
            format!("the tree {wrong} was refused twice")
        });
        self.refused_trees.push((now, wrong));
    }

    /// A request that waited is told to go on, or ran out of time to wait.
    pub fn answered(&mut self, disk: &Disk, request: &Request, now: Time) {
        let (group, arrived) = (request.group, request.arrived);
        let fresh = match &self.groups[group].serving {
            Some(serving) => disk.each_was(group, serving, arrived),
            None => disk.each_was_gone(group, arrived),
        };
        let refused = |snapshot: &Snapshot| disk.each_was(group, snapshot, arrived);
        let tree_refused = |wrong: &Option<u32>| {
            wrong.is_some_and(|wrong| self.refused_trees.iter().any(|(_, refused)| *refused == wrong))
        };
        let fresh = fresh
            || self.groups[group].refused.iter().any(refused)
            || disk.wrong().was(arrived, tree_refused);
        let serving = self.groups[group].serving;
        self.must(fresh, Guarantee::Fresh, || {
            let serving = serving.map_or("nothing".into(), |serving| serving.to_string());
            let lies = disk.now(group);
            format!("g{group} answers at {now} with {serving} who came at {arrived}; there lies {lies}")
        });
    }

    /// After each step: what is served can be, and every request has what it needs.
    pub fn check(
        &mut self,
        table: &[Option<usize>],
        generations: &[Generation],
        requests: &[Request],
        now: Time,
    ) {
        use Guarantee::{Bounded, LastGood, NoneLost, OneGeneration, Together};
        let decided = self.decided;
        self.must(table == decided, Together, || {
            format!("{decided:?} was decided, and {table:?} is published")
        });
        let alive: Vec<(usize, &Generation)> = (0..).zip(generations).filter(|(_, one)| one.alive).collect();
        for (group, serving) in table.iter().enumerate() {
            let expected = self.groups[group].serving;
            let found = serving.map(|serving| &generations[serving]);
            let same = found.map(|found| found.snapshot) == expected;
            self.must(same, LastGood, || format!("g{group} is routed to other content"));
            let serves = found.is_none_or(|found| found.started && found.alive);
            self.must(serves, LastGood, || {
                format!("g{group} is routed to what does not run")
            });
            let current = |other: &Generation| other.group == group && other.retired.is_none();
            let bound = alive.iter().filter(|(_, other)| current(other)).count() <= 2;
            self.must(bound, Bounded, || {
                format!("more than two generations of g{group}")
            });
        }
        for request in requests {
            let Some(generation) = request.generation.map(|at| &generations[at]) else {
                continue;
            };
            let lives = generation.alive;
            self.must(lives, NoneLost, || {
                format!("{} ended under a request", generation.name())
            });
            let same = generation.group == request.group;
            self.must(same, OneGeneration, || {
                format!("a request of g{} went astray", request.group)
            });
        }
        for (at, generation) in alive {
            let runs = || requests.iter().any(|request| request.generation == Some(at));
            let drains = generation
                .retired
                .is_none_or(|retired| runs() && now <= retired + super::host::DRAIN);
            self.must(drains, Bounded, || {
                format!("{} is kept for nobody", generation.name())
            });
        }
    }

    /// When all has been quiet for long: what lies there is served, or was refused.
    pub fn settled(&mut self, disk: &Disk, table: &[Option<usize>], generations: &[Generation]) {
        use Guarantee::{Bounded, Newest};
        if let Some(wrong) = disk.wrong().now() {
            let said = self.refused_trees.iter().any(|(_, refused)| *refused == wrong);
            return self.must(said, Newest, || "a tree that is wrong was never refused".into());
        }
        (0..GROUPS).for_each(|group| self.settled_group(disk, group));
        let alive: BTreeSet<usize> = (0..generations.len())
            .filter(|at| generations[*at].alive)
            .collect();
        let served: BTreeSet<usize> = table.iter().flatten().copied().collect();
        self.must(alive == served, Bounded, || "generations are left over".into());
    }

    /// The same, but that one group changes still.
    pub fn settled_beside(&mut self, disk: &Disk, changing: usize) {
        if disk.wrong().now().is_none() {
            let others = (0..GROUPS).filter(|group| *group != changing);
            others.for_each(|group| self.settled_group(disk, group));
        }
    }

    fn settled_group(&mut self, disk: &Disk, group: usize) {
        let lies = disk.now(group);
        let serving = self.groups[group].serving;
        let done = match (lies.is_there(), lies.is_good()) {
            (false, _) => serving.is_none(),
            (_, true) => serving == Some(lies) || self.groups[group].withdrawn == Some(lies),
            _ => self.groups[group].refused.contains(&lies),
        };
        self.must(done, Guarantee::Newest, || {
            let serving = serving.map_or("nothing".into(), |serving| serving.to_string());
            format!("at the end g{group} is {lies} and serves {serving}")
        });
    }
}

/// How long anything may take to come to rest, when nothing changes any more.
pub const REST: Time = 60_000 * MS;
