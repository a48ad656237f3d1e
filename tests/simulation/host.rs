//! One run: the real control, and a model of all that carries out what it decides, on a clock that
//! jumps from event to event. The same seed gives the same run.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    time::{Duration, Instant},
};

use wasmhost::{
    project::Digest,
    reload::control::{Deed, Input, Readiness},
};

use super::{
    disk::{Content, Disk, FILES, File, GROUPS, Kind, MS, Snapshot, Time, name, number},
    edits::{self, Write},
    guarantees::{Broken, Guarantee, Monitor, REST},
    mutants::{Mutant, Steered},
    random::Random,
};

/// When what still runs on a generation that was replaced is ended.
pub const DRAIN: Time = 2_000 * MS;
/// For how long a request waits for a swap at most.
const REQUEST_TIME: Time = 10_000 * MS;
/// How often a tree is compared with what it was, where events may be lost.
const SAFETY: Time = 2_000 * MS;
/// Former content comes back only where the present one lay there for so long: two looks do not take as
/// long, so that what both found has been there as a whole.
const STEADY: Time = 500 * MS;
const MOST_STEPS: usize = 40_000;
/// How long a file goes on changing when nothing else does any more: by then all else has come to rest.
const ENDLESS: Time = 12_000 * MS;

pub struct Generation {
    pub group: usize,
    pub number: u64,
    pub snapshot: Snapshot,
    pub started: bool,
    pub alive: bool,
    pub retired: Option<Time>,
    pub leases: usize,
    began: Time,
    /// What serves again if it traps on probation.
    standby: Option<Snapshot>,
}

pub struct Request {
    id: u64,
    pub group: usize,
    pub arrived: Time,
    /// What it runs on, once it runs.
    pub generation: Option<usize>,
}

enum Event {
    Edit,
    Write(Write),
    /// The watch sees that something happened.
    Noticed,
    /// The control plane comes to hear of what was seen.
    Told,
    /// Polling comes round.
    Polled,
    LookDone,
    BuildDone(u64),
    HandedOver(u64),
    /// What served before does again, unless there is no candidate.
    WentBack(usize, Option<usize>),
    Wake,
    Arrival,
    /// A request that waits for a swap waits no longer.
    WaitOver(u64),
    RequestDone(u64),
    /// The guest of a request traps.
    Trapped(u64),
    /// The client of a request goes away.
    Gone(u64),
    DrainOver(usize),
    /// The file that changes for ever does.
    Changes,
    /// The rest of a publication in two steps.
    Rest(Vec<usize>),
}

struct Look {
    began: Time,
    known: BTreeSet<Digest>,
    folders: [bool; GROUPS],
}

struct Build {
    number: u64,
    candidates: Vec<usize>,
    handing_over: bool,
    /// Those that cannot be read again, for nobody kept what they are.
    lost: BTreeSet<usize>,
}

/// An event in its place of the queue: by time, and then by turn.
struct Queued(Time, u64, Event);

pub struct Host {
    random: Random,
    start: Instant,
    now: Time,
    turn: u64,
    queue: BinaryHeap<Reverse<Queued>>,
    disk: Disk,
    versions: u32,
    control: Steered,
    /// Some hints are lost, and polling makes up for them.
    lossy: bool,
    /// Groups whose state is handed over.
    migrates: [bool; GROUPS],
    /// Groups with a probation.
    tries: [bool; GROUPS],
    watched: [bool; GROUPS],
    noticed: Option<(Time, Time)>,
    polling: bool,
    wake: Option<Time>,
    look: Option<Look>,
    seen: BTreeMap<usize, Snapshot>,
    known: BTreeSet<Digest>,
    refused: BTreeSet<Digest>,
    looked: Time,
    wrong: Option<u32>,
    build: Option<Build>,
    table: [Option<usize>; GROUPS],
    newest: [u64; GROUPS],
    generations: Vec<Generation>,
    requests: Vec<Request>,
    asked: u64,
    edits_left: usize,
    arrivals_left: usize,
    /// A file that changes for ever, and how often: in some runs.
    endless: Option<(edits::Place, Time)>,
    /// When an edit or a request came last.
    busy: Time,
    monitor: Monitor,
    log: Option<Vec<String>>,
}

/// Runs a seed: what was broken, and the log if it was wanted.
pub fn run(seed: u64, mutant: Option<Mutant>, log: bool) -> (Option<Broken>, Vec<String>) {
    let mut host = Host::new(seed, mutant, log);
    let broken = host.run();
    (broken, host.log.unwrap_or_default())
}

impl Host {
    fn new(seed: u64, mutant: Option<Mutant>, log: bool) -> Self {
        let mut random = Random::new(seed);
        let absent = random.below(GROUPS * 2);
        let mut host = Self {
            start: Instant::now(),
            now: 0,
            turn: 0,
            queue: BinaryHeap::new(),
            disk: Disk::new(|group, file| file < 3 && (file == 0 || group != absent)),
            versions: 0,
            control: Steered::new(mutant),
            lossy: random.percent(40),
            migrates: std::array::from_fn(|_| random.percent(40)),
            tries: std::array::from_fn(|_| random.percent(40)),
            watched: [false; GROUPS],
            noticed: None,
            polling: false,
            wake: None,
            look: None,
            seen: BTreeMap::new(),
            known: BTreeSet::new(),
            refused: BTreeSet::new(),
            looked: 0,
            wrong: None,
            build: None,
            table: [None; GROUPS],
            newest: [0; GROUPS],
            generations: Vec::new(),
            requests: Vec::new(),
            asked: 0,
            edits_left: 3 + random.below(20),
            arrivals_left: 10 + random.below(60),
            endless: random.percent(6).then(|| {
                let file = (random.below(GROUPS), 1 + random.below(FILES - 1));
                (file, random.between(10 * MS, 80 * MS))
            }),
            busy: 0,
            monitor: Monitor::new(),
            log: log.then(Vec::new),
            random,
        };
        (0..GROUPS).for_each(|group| host.begin(group));
        host.at(0, Event::Edit);
        host.at(0, Event::Arrival);
        host.at(0, Event::Changes);
        host
    }

    /// The first generation of a group.
    fn begin(&mut self, group: usize) {
        let snapshot = self.disk.now(group);
        if !snapshot.is_there() {
            return;
        }
        let digest = snapshot.digest(group);
        self.control.begin(&name(group), snapshot.sight(group, digest));
        let first = self.candidate(group, snapshot);
        self.generations[first].started = true;
        self.table[group] = Some(first);
        self.newest[group] = 1;
        self.watched[group] = true;
        self.monitor.begins(group, snapshot, first);
    }

    fn run(&mut self) -> Option<Broken> {
        let mut steps = 0;
        while let Some(Reverse(Queued(at, _, event))) = self.queue.pop() {
            self.now = at;
            self.happen(event);
            self.schedule_wake();
            self.monitor
                .check(&self.table, &self.generations, &self.requests, self.now);
            if let Some(broken) = self.monitor.verdict() {
                return Some(broken);
            }
            if self.edits_left > 0 || self.arrivals_left > 0 {
                self.busy = self.now;
            }
            steps += 1;
            let rests = steps < MOST_STEPS && self.now < self.busy + REST;
            self.monitor
                .must(rests, Guarantee::Newest, || "it never comes to rest".into());
        }
        let waiting = self.requests.len();
        self.monitor.must(waiting == 0, Guarantee::NoneLost, || {
            format!("{waiting} requests wait for ever")
        });
        self.monitor.settled(&self.disk, &self.table, &self.generations);
        self.monitor.verdict()
    }

    fn at(&mut self, delay: Time, event: Event) {
        self.turn += 1;
        self.queue
            .push(Reverse(Queued(self.now + delay, self.turn, event)));
    }

    fn say(&mut self, what: impl FnOnce(&Self) -> String) {
        if self.log.is_some() {
            let line = format!("{:>9.3} ms  {}", self.now as f64 / MS as f64, what(self));
            self.log.get_or_insert_default().push(line);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Edit => self.edit(),
            Event::Write(write) => self.write(write),
            Event::Noticed => self.notice(),
            Event::Told => self.told(),
            Event::Polled => {
                self.polling = false;
                self.notice();
            }
            Event::LookDone => self.look_done(),
            Event::BuildDone(number) => self.build_done(number),
            Event::HandedOver(number) => self.handed_over(number),
            Event::WentBack(group, candidate) => self.went_back(group, candidate),
            Event::Wake => {
                self.wake = None;
                self.step(self.now, Input::Woken);
            }
            Event::Arrival => self.arrive(),
            Event::WaitOver(id) => self.serve(id),
            Event::RequestDone(id) => self.end_request(id),
            Event::Trapped(id) => self.trap(id),
            Event::Gone(id) => self.go_away(id),
            Event::DrainOver(generation) => self.end_drain(generation),
            Event::Changes => self.change_for_ever(),
            Event::Rest(candidates) => candidates.into_iter().for_each(|at| self.publish(at)),
        }
    }

    // The tree, and those who change it.

    fn edit(&mut self) {
        let mut writes = edits::edit(&mut self.random);
        self.edits_left -= 1;
        if self.edits_left > 0 {
            let pause = self.random.mostly(150 * MS, 4000 * MS);
            self.at(pause, Event::Edit);
        } else if self.random.percent(50) {
            writes.extend(edits::mend(self.random.below(GROUPS)));
        }
        for (delay, write) in writes {
            self.at(delay, Event::Write(write));
        }
    }

    /// Until all else has been at rest for long: then it is seen whether that was held up.
    fn change_for_ever(&mut self) {
        let Some((file, pause)) = self.endless else { return };
        if self.now < self.busy + ENDLESS {
            let (kind, older) = (Kind::Good, 0);
            self.write(Write::New { file, kind, older });
            self.at(pause, Event::Changes);
        } else {
            self.monitor.settled_beside(&self.disk, file.0);
        }
    }

    fn write(&mut self, write: Write) {
        let before: [bool; GROUPS] = std::array::from_fn(|group| self.disk.is_there(group, self.now));
        match write {
            Write::New { file, kind, older } => {
                self.versions += 1;
                let content = Content {
                    version: self.versions,
                    kind,
                };
                self.put(
                    file,
                    Some(File {
                        content,
                        stamp: self.now.saturating_sub(older),
                    }),
                );
            }
            Write::Former(file) => self.put_former(file),
            Write::Touch(file) => {
                let touched = self.disk.file(file.0, file.1).now();
                self.put(
                    file,
                    touched.map(|touched| File {
                        stamp: self.now,
                        ..touched
                    }),
                );
            }
            Write::Delete(file) => self.put(file, None),
            Write::Rename { from, to } => {
                let moved = self.disk.file(from.0, from.1);
                let free = self.disk.file(to.0, to.1);
                if free.now().is_none()
                    && self.now - free.since() > STEADY
                    && self.now - moved.since() > STEADY
                {
                    self.put(to, moved.now());
                    self.put(from, None);
                }
            }
            Write::DeleteGroup(group) => (1..FILES).for_each(|file| self.put((group, file), None)),
            Write::Spoil(wrong) => {
                self.versions += 1;
                let wrong = wrong.then_some(self.versions);
                self.disk.spoil(self.now, wrong);
                self.say(|_| format!("the tree is wrong: {wrong:?}"));
            }
        }
        let group = match write {
            Write::New { file, .. } | Write::Former(file) | Write::Touch(file) | Write::Delete(file) => {
                Some(file.0)
            }
            Write::Rename { from, .. } => Some(from.0),
            Write::DeleteGroup(group) => Some(group),
            Write::Spoil(_) => None,
        };
        self.hint(group, before);
    }

    fn put(&mut self, (group, file): edits::Place, what: Option<File>) {
        self.disk.write(self.now, group, file, what);
        self.say(|host| format!("disk: g{group} is {}", host.disk.now(group)));
    }

    fn put_former(&mut self, file: edits::Place) {
        let track = self.disk.file(file.0, file.1);
        let (former, now) = (track.before().flatten(), track.now());
        let steady = now.is_none() || self.now - track.since() > STEADY;
        if let Some(former) = former
            && steady
        {
            self.put(file, Some(former));
        }
    }

    /// What the watch makes of a write: nothing, where the folder is not watched yet; and some are lost.
    fn hint(&mut self, group: Option<usize>, before: [bool; GROUPS]) {
        let mut heard = group.is_none();
        if let Some(group) = group {
            let there = self.disk.is_there(group, self.now);
            // A folder comes into the root, or goes from it, which is always watched.
            heard = self.watched[group] || there != before[group];
            self.watched[group] &= there;
        }
        if self.lossy && !self.polling {
            self.polling = true;
            let next = SAFETY - self.now % SAFETY;
            self.at(next, Event::Polled);
        }
        if !heard || (self.lossy && self.random.percent(30)) {
            return;
        }
        for _ in 0..1 + u64::from(self.random.percent(10)) {
            let late = self.random.mostly(2 * MS, 300 * MS);
            self.at(late, Event::Noticed);
        }
    }

    fn notice(&mut self) {
        match &mut self.noticed {
            Some((_, last)) => *last = self.now,
            None => {
                self.noticed = Some((self.now, self.now));
                let busy = self.random.mostly(MS / 10, 20 * MS);
                self.at(busy, Event::Told);
            }
        }
    }

    fn told(&mut self) {
        let Some((first, last)) = self.noticed.take() else {
            return;
        };
        self.step(first, Input::Hint);
        self.step(last, Input::Hint);
    }

    // The control plane, and what carries out its deeds.

    fn step(&mut self, at: Time, input: Input) {
        let now = self.start + Duration::from_micros(at);
        let deeds = self.control.step(now, input);
        for deed in deeds {
            self.say(|_| say(&deed));
            self.act(deed);
        }
    }

    fn schedule_wake(&mut self) {
        let Some(wake) = self.control.wake_at() else {
            return;
        };
        let wake = wake.saturating_duration_since(self.start).as_micros() as Time;
        let wake = wake.max(self.now);
        if self.wake.is_none_or(|planned| planned > wake) {
            self.wake = Some(wake);
            let late = self.random.mostly(MS / 10, 3 * MS);
            self.at(wake - self.now + late, Event::Wake);
        }
    }

    fn act(&mut self, deed: Deed) {
        match deed {
            // Nothing holds it.
            Deed::Held { .. } => {}
            Deed::Look => self.begin_look(),
            Deed::Build { build, groups, .. } => self.begin_build(build, &groups),
            Deed::HandOver { build, .. } => {
                self.build.iter_mut().for_each(|build| build.handing_over = true);
                let takes = self.random.mostly(20 * MS, 3000 * MS);
                self.at(takes, Event::HandedOver(build));
            }
            Deed::GoBack(group) => self.go_back(number(&group)),
            Deed::GiveUp { .. } => self.give_up(),
            Deed::Commit { publish, refuse, .. } => {
                for candidate in self.built(&publish) {
                    let group = self.generations[candidate].group;
                    self.monitor.decided(group, Some(candidate));
                }
                self.commit(&publish, &refuse);
            }
            Deed::Remove(groups) => groups.iter().map(|name| number(name)).for_each(|group| {
                self.monitor.decided(group, None);
                self.remove(group);
            }),
            Deed::Refuse(groups) => groups.iter().for_each(|name| {
                let group = number(name);
                if let Some(snapshot) = self.seen.get(&group).copied() {
                    self.refuse(group, snapshot);
                }
            }),
            // It is said, and nothing else follows from it.
            Deed::SayUnsettled(_) => {}
            Deed::RefuseTree => {
                if let Some(wrong) = self.wrong {
                    self.monitor.refused_tree(wrong, self.now);
                }
            }
            Deed::Answer(requests) => requests.into_iter().for_each(|id| self.serve(id)),
        }
    }

    fn begin_look(&mut self) {
        let serving = self.table.iter().flatten().copied();
        let building = self
            .build
            .iter()
            .flat_map(|build| build.candidates.iter().copied());
        let known = serving.chain(building).map(|at| self.generations[at].digest());
        self.look = Some(Look {
            began: self.now,
            known: known.chain(self.refused.iter().copied()).collect(),
            folders: std::array::from_fn(|group| self.disk.is_there(group, self.now)),
        });
        let takes = self.random.mostly(8 * MS, 80 * MS);
        self.at(takes, Event::LookDone);
    }

    fn look_done(&mut self) {
        let Some(look) = self.look.take() else { return };
        let unwatched = (0..GROUPS).filter(|group| look.folders[*group] && !self.watched[*group]);
        let new: Vec<usize> = unwatched
            .filter(|group| self.disk.is_there(*group, self.now))
            .collect();
        for group in &new {
            self.watched[*group] = true;
        }
        if !new.is_empty() {
            self.step(self.now, Input::Hint);
        }
        (self.seen, self.known, self.looked) = (BTreeMap::new(), look.known, look.began);
        let moment = self.random.between(look.began, self.now);
        self.wrong = self.disk.wrong().at(moment);
        if let Some(wrong) = self.wrong {
            let digest = Digest::of(&wrong.to_le_bytes());
            return self.step(self.now, Input::Looked(Err(digest)));
        }
        let mut sights = BTreeMap::new();
        let mut stamps = BTreeMap::new();
        for group in 0..GROUPS {
            let (mut stamp, random, now) = (0, &mut self.random, self.now);
            let snapshot = self.disk.read(group, |track| {
                let found = track.at(random.between(look.began, now));
                stamp = stamp.max(found.map_or(0, |file| file.stamp));
                found
            });
            let there = snapshot.is_there().then_some(snapshot);
            self.monitor.seen(group, there);
            if there.is_none() {
                continue;
            }
            let digest = snapshot.digest(group);
            let mut sight = snapshot.sight(group, digest);
            if self.known.contains(&digest) && snapshot.is_unfinished() {
                // It is not read again, so nobody knows better.
                sight.state = wasmhost::reload::control::State::Whole;
            }
            self.seen.insert(group, snapshot);
            stamps.insert(name(group), stamp);
            sights.insert(name(group), sight);
        }
        self.say(|host| {
            let seen = host
                .seen
                .iter()
                .map(|(group, snapshot)| format!("g{group} {snapshot}"));
            format!(
                "seen since {}: {}",
                host.looked,
                seen.collect::<Vec<_>>().join(", ")
            )
        });
        self.control.stamps(&mut sights, stamps);
        self.step(self.now, Input::Looked(Ok(sights)));
    }

    fn candidate(&mut self, group: usize, snapshot: Snapshot) -> usize {
        self.generations.push(Generation {
            group,
            number: self.newest[group] + 1,
            snapshot,
            started: false,
            alive: true,
            retired: None,
            leases: 0,
            began: self.now,
            standby: None,
        });
        self.generations.len() - 1
    }

    fn begin_build(&mut self, build: u64, groups: &BTreeSet<String>) {
        let groups = groups.iter().map(|name| number(name));
        let seen: Vec<_> = groups
            .filter_map(|group| Some((group, *self.seen.get(&group)?)))
            .collect();
        let forgets = self.control.forgets_known();
        let mut lost = BTreeSet::new();
        let mut candidates = Vec::new();
        for (group, snapshot) in seen {
            let candidate = self.candidate(group, snapshot);
            candidates.push(candidate);
            if forgets && self.known.contains(&snapshot.digest(group)) {
                lost.insert(candidate);
            }
        }
        self.build = Some(Build {
            number: build,
            handing_over: false,
            candidates,
            lost,
        });
        let takes = self.random.mostly(60 * MS, 3000 * MS);
        self.at(takes, Event::BuildDone(build));
    }

    fn give_up(&mut self) {
        let handing_over = self.build.as_ref().is_some_and(|build| build.handing_over);
        self.monitor.must(!handing_over, Guarantee::NoneLost, || {
            "a hand-over is given up".into()
        });
        for candidate in self.build.take().into_iter().flat_map(|build| build.candidates) {
            self.generations[candidate].alive = false;
        }
    }

    fn build_done(&mut self, number: u64) {
        let Some(build) = self.build.as_ref().filter(|build| build.number == number) else {
            return;
        };
        let mut ready = BTreeMap::new();
        for candidate in &build.candidates {
            let generation = &mut self.generations[*candidate];
            generation.started = generation.snapshot.is_good() && !build.lost.contains(candidate);
            let inherits = self.migrates[generation.group] && self.table[generation.group].is_some();
            let readiness = match (generation.started, inherits) {
                (false, _) => Readiness::Refused,
                (true, false) => Readiness::Ready,
                (true, true) => Readiness::Inherits,
            };
            ready.insert(name(generation.group), readiness);
            self.refused.insert(generation.digest());
        }
        self.step(self.now, Input::Built { build: number, ready });
    }

    /// What serves hands its state over, or does not, for the candidate is at fault.
    fn handed_over(&mut self, number: u64) {
        let Some(build) = self.build.as_ref().filter(|build| build.number == number) else {
            return;
        };
        let taken = build.candidates.iter().map(|candidate| {
            let generation = &self.generations[*candidate];
            (name(generation.group), generation.started)
        });
        let taken = taken.collect();
        self.step(self.now, Input::HandedOver { build: number, taken });
    }

    fn go_back(&mut self, group: usize) {
        let serves = self.table[group].map(|serves| &self.generations[serves]);
        // Another generation may have taken its place, and proven its worth.
        let standby = serves.and_then(|serves| serves.standby);
        let candidate = standby.map(|snapshot| self.candidate(group, snapshot));
        let takes = self.random.mostly(5 * MS, 500 * MS);
        self.at(takes, Event::WentBack(group, candidate));
    }

    fn went_back(&mut self, group: usize, candidate: Option<usize>) {
        let starts = self.random.percent(90);
        let candidate = match candidate {
            Some(candidate) if !starts => {
                self.generations[candidate].alive = false;
                None
            }
            candidate => candidate,
        };
        let content = candidate.map(|candidate| {
            self.generations[candidate].started = true;
            self.monitor.decided(group, Some(candidate));
            let Generation { number, snapshot, .. } = self.generations[candidate];
            self.newest[group] = number;
            let old = self.table[group].replace(candidate);
            self.monitor.reverted(group, snapshot);
            self.say(|_| format!("g{group}@{number} serves {snapshot} again"));
            old.into_iter().for_each(|old| self.retire(old));
            snapshot.sight(group, snapshot.digest(group))
        });
        let group = name(group);
        self.step(self.now, Input::WentBack { group, content });
    }

    /// What was built of these groups.
    fn built(&self, names: &BTreeSet<String>) -> Vec<usize> {
        let candidates = self.build.iter().flat_map(|build| &build.candidates);
        let named = candidates.filter(|at| names.contains(&name(self.generations[**at].group)));
        named.copied().collect()
    }

    fn commit(&mut self, publish: &BTreeSet<String>, refuse: &BTreeSet<String>) {
        let (mut published, refused) = (self.built(publish), self.built(refuse));
        if self.build.take().is_none() {
            return;
        }
        self.refused.clear();
        for candidate in refused {
            let Generation { group, snapshot, .. } = self.generations[candidate];
            self.generations[candidate].alive = false;
            self.refuse(group, snapshot);
        }
        if self.control.halves() && published.len() > 1 {
            let rest = published.split_off(1);
            self.at(MS / 100, Event::Rest(rest));
        }
        published
            .into_iter()
            .for_each(|candidate| self.publish(candidate));
    }

    fn refuse(&mut self, group: usize, snapshot: Snapshot) {
        self.refused.insert(snapshot.digest(group));
        self.monitor.refused(&self.disk, group, snapshot, self.now);
    }

    fn publish(&mut self, candidate: usize) {
        let Generation {
            group,
            number,
            snapshot,
            began,
            ..
        } = self.generations[candidate];
        let newer = number > self.newest[group];
        self.monitor.must(newer, Guarantee::Newest, || {
            format!("g{group}@{number} comes after a newer one")
        });
        self.newest[group] = number;
        let old = self.table[group].replace(candidate);
        if self.tries[group] {
            let before = old.map(|old| &self.generations[old]);
            let standby = before.map(|old| old.standby.unwrap_or(old.snapshot));
            self.generations[candidate].standby = standby.filter(|standby| *standby != snapshot);
        }
        self.monitor.published(&self.disk, group, snapshot, began);
        self.say(|_| format!("g{group}@{number} serves {snapshot}"));
        old.into_iter().for_each(|old| self.retire(old));
    }

    fn remove(&mut self, group: usize) {
        let old = self.table[group].take();
        self.monitor.removed(&self.disk, group, self.looked);
        old.into_iter().for_each(|old| self.retire(old));
    }

    fn retire(&mut self, at: usize) {
        let drains = self.control.drains();
        let now = self.now;
        let generation = &mut self.generations[at];
        generation.retired = Some(now);
        if generation.leases == 0 || !drains {
            generation.alive = false;
        } else {
            self.at(DRAIN, Event::DrainOver(at));
        }
    }

    /// What still runs is ended, and its clients are told.
    fn end_drain(&mut self, at: usize) {
        self.requests.retain(|request| request.generation != Some(at));
        self.generations[at].leases = 0;
        self.generations[at].alive = false;
    }

    // Requests.

    fn arrive(&mut self) {
        self.arrivals_left -= 1;
        if self.arrivals_left > 0 {
            let pause = self.random.mostly(40 * MS, 1000 * MS);
            self.at(pause, Event::Arrival);
        }
        self.asked += 1;
        let id = self.asked;
        let group = self.random.below(GROUPS);
        self.requests.push(Request {
            id,
            group,
            arrived: self.now,
            generation: None,
        });
        if self.random.percent(12) {
            let stays = self.random.mostly(60 * MS, 3000 * MS);
            self.at(stays, Event::Gone(id));
        }
        if self.random.percent(50) {
            self.say(|_| format!("request {id} for g{group} waits for what lies there"));
            self.at(REQUEST_TIME, Event::WaitOver(id));
            self.step(
                self.now,
                Input::Asked {
                    request: id,
                    group: Some(name(group)),
                },
            );
        } else {
            self.route(id);
        }
    }

    /// A request that waited goes on.
    fn serve(&mut self, id: u64) {
        let Some(request) = self.requests.iter().find(|request| request.id == id) else {
            return;
        };
        if request.generation.is_some() || self.asked < id {
            return;
        }
        let in_time = self.now < request.arrived + REQUEST_TIME;
        if in_time {
            self.monitor.answered(&self.disk, request, self.now);
        } else {
            // What serves answers. A group that changes for ever may take that long, no other.
            let changes = self.endless.is_some_and(|(file, _)| file.0 == request.group);
            self.monitor.must(changes, Guarantee::NoneLost, || {
                format!("request {id} was never answered")
            });
        }
        self.route(id);
    }

    /// From here on the request belongs to one generation. A slow body is a long time that it runs.
    fn route(&mut self, id: u64) {
        let Some(at) = self.requests.iter().position(|request| request.id == id) else {
            return;
        };
        match self.table[self.requests[at].group] {
            Some(generation) => {
                self.requests[at].generation = Some(generation);
                self.generations[generation].leases += 1;
                let runs = self.random.mostly(15 * MS, 5000 * MS);
                let traps = self.random.percent(10);
                self.at(
                    runs,
                    if traps {
                        Event::Trapped(id)
                    } else {
                        Event::RequestDone(id)
                    },
                );
            }
            // Its group does not run: 404 or 503.
            None => drop(self.requests.swap_remove(at)),
        }
    }

    /// Its store ends, and with it this request; the generation gets another store.
    fn trap(&mut self, id: u64) {
        let request = self.requests.iter().find(|request| request.id == id);
        if let Some(generation) = request.and_then(|request| request.generation) {
            self.say(|host| format!("request {id} traps in {}", host.generations[generation].name()));
            self.generations[generation].alive &= self.control.survives_traps();
            let group = self.generations[generation].group;
            if self.table[group] == Some(generation) && self.generations[generation].standby.is_some() {
                self.step(self.now, Input::GoBack { group: name(group) });
            }
        }
        self.end_request(id);
    }

    /// It may wait yet, may run, or be over. What is still decided about it finds it gone.
    fn go_away(&mut self, id: u64) {
        self.say(|_| format!("the client of request {id} goes away"));
        if self.control.lets_go() {
            self.end_request(id);
        } else {
            self.requests.retain(|request| request.id != id);
        }
    }

    fn end_request(&mut self, id: u64) {
        let Some(at) = self.requests.iter().position(|request| request.id == id) else {
            return;
        };
        let Some(generation) = self.requests.swap_remove(at).generation else {
            return;
        };
        let generation = &mut self.generations[generation];
        generation.leases -= 1;
        if generation.leases == 0 && generation.retired.is_some() {
            generation.alive = false;
        }
    }
}

impl Generation {
    pub fn name(&self) -> String {
        format!("g{}@{}", self.group, self.number)
    }

    fn digest(&self) -> Digest {
        self.snapshot.digest(self.group)
    }
}

fn say(deed: &Deed) -> String {
    match deed {
        Deed::Held { .. } => "held".into(),
        Deed::Look => "look".into(),
        Deed::Build { build, groups, .. } => format!("build {build} of {groups:?}"),
        Deed::HandOver { build, groups } => format!("hand over {groups:?} to build {build}"),
        Deed::GoBack(group) => format!("go back in {group}"),
        Deed::GiveUp { build } => format!("give up build {build}"),
        Deed::Commit {
            build,
            publish,
            refuse,
        } => format!("commit build {build}: {publish:?}, not {refuse:?}"),
        Deed::Remove(groups) => format!("remove {groups:?}"),
        Deed::Refuse(groups) => format!("refuse {groups:?}"),
        Deed::SayUnsettled(groups) => format!("say that {groups:?} never rest"),
        Deed::RefuseTree => "refuse the tree".into(),
        Deed::Answer(requests) => format!("answer {requests:?}"),
    }
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}
