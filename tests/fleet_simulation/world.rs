//! One run: nodes, their server and what lies between them, and what befalls them.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    time::{Duration, Instant},
};

use wasmhost::{
    diagnostic::Diagnostic,
    fleet::{
        node::{Deed, Input, Node, Outcome, Published, Settings, What, Wrote},
        record::{NodeState, Record},
    },
};

use super::{
    mutants::{Mutant, Steered},
    server::Server,
};
use crate::simulation::random::Random;

/// Something that must hold, and does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// A number stands for one release, and the next is one more.
    OneAtATime,
    /// Nobody publishes what it has not prepared.
    Unprepared,
    /// Nobody publishes what is not committed.
    Uncommitted,
    /// Nothing is committed that one who lives has not ready.
    NotReady,
    /// When all is well again, all serve what is committed.
    Apart,
}

#[derive(Clone, Debug)]
pub struct Broken {
    pub breach: Breach,
    pub how: String,
}

pub struct Run {
    pub broken: Option<Broken>,
    pub commits: u64,
    pub messages: u64,
    pub log: Vec<String>,
}

const LEASE: u64 = 3000;
/// Trouble ends then, and after that all has to come right.
const TROUBLE: u64 = 60_000;
const END: u64 = TROUBLE + 150_000;

enum Event {
    /// To the node of this incarnation.
    Arrives {
        machine: usize,
        life: u64,
        input: Input,
    },
    Wake {
        machine: usize,
        life: u64,
    },
    /// To the server.
    Asks {
        machine: usize,
        life: u64,
        deed: Deed,
    },
    Prepared {
        machine: usize,
        life: u64,
        job: u64,
        release: String,
    },
    Publishes {
        machine: usize,
        life: u64,
        number: u64,
        release: String,
    },
    Fate,
    Begin {
        machine: usize,
    },
    Resume {
        machine: usize,
    },
    Mend {
        machine: usize,
    },
    ServerBack,
    /// Whether all has come right.
    Look,
}

/// A machine, and the process that runs there, if one does.
struct Machine {
    node: Option<Steered>,
    life: u64,
    /// Since when nothing has befallen it.
    well_since: u64,
    is_cut: bool,
    is_stopped: bool,
    /// What came while it was stopped.
    waiting: Vec<Input>,
    /// What the host holds ready.
    held: Option<String>,
    preparing: Option<u64>,
    serves: Option<String>,
    follows_peers: bool,
    /// What it follows comes.
    is_told: bool,
    wake: Option<u64>,
}

struct World {
    random: Random,
    now: u64,
    start: Instant,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    what: BTreeMap<(u64, u64), Event>,
    count: u64,
    server: Server,
    machines: Vec<Machine>,
    /// In this run messages are lost, of a hundred.
    loses: u64,
    history: BTreeMap<u64, String>,
    releases: u64,
    mutant: Option<Mutant>,
    broken: Option<Broken>,
    messages: u64,
    log: Option<Vec<String>>,
    quorum: bool,
}

/// Releases by their number: some are no good on one machine, some cannot be had at first.
fn is_bad(release: &str, machine: usize, nodes: usize) -> bool {
    let number: usize = release[1..].parse().unwrap();
    number % 5 == 3 && number % nodes == machine
}

pub fn run(seed: u64, nodes: usize, mutant: Option<Mutant>, logs: bool) -> Run {
    let mut random = Random::new(seed);
    let loses = if random.percent(50) {
        0
    } else {
        random.between(1, 20)
    };
    let mut world = World {
        loses,
        quorum: random.percent(20),
        random,
        now: 0,
        start: Instant::now(),
        events: BinaryHeap::new(),
        what: BTreeMap::new(),
        count: 0,
        server: Server::default(),
        machines: Vec::new(),
        history: BTreeMap::new(),
        releases: 0,
        mutant,
        broken: None,
        messages: 0,
        log: logs.then(Vec::new),
    };
    world.server.record = Some((1, Record::default().propose("r0", true).unwrap()));
    for machine in 0..nodes {
        world.machines.push(Machine {
            node: None,
            life: 0,
            well_since: 0,
            is_cut: false,
            is_stopped: false,
            waiting: Vec::new(),
            held: None,
            preparing: None,
            serves: None,
            follows_peers: false,
            is_told: false,
            wake: None,
        });
        let at = world.random.between(0, 500);
        world.at(at, Event::Begin { machine });
    }
    world.at(1000, Event::Fate);
    world.live();
    Run {
        commits: world.history.len() as u64,
        messages: world.messages,
        broken: world.broken,
        log: world.log.unwrap_or_default(),
    }
}

impl World {
    fn at(&mut self, at: u64, event: Event) {
        self.count += 1;
        let key = (at.max(self.now), self.count);
        self.what.insert(key, event);
        self.events.push(Reverse(key));
    }

    fn after(&mut self, ms: u64, event: Event) {
        self.at(self.now + ms, event);
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(format!("{:>6} {}", self.now, line()));
        }
    }

    fn breach(&mut self, breach: Breach, how: String) {
        self.note(|| format!("BROKEN {breach:?} {how}"));
        self.broken.get_or_insert(Broken { breach, how });
    }

    fn live(&mut self) {
        while let Some(Reverse(key)) = self.events.pop() {
            if key.0 > END || self.broken.is_some() {
                break;
            }
            self.now = key.0;
            let event = self.what.remove(&key).unwrap();
            self.happen(event);
        }
        if self.broken.is_none() {
            self.check_end();
        }
    }

    fn is_live(&self, machine: usize, life: u64) -> bool {
        let machine = &self.machines[machine];
        machine.life == life && machine.node.is_some()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrives { machine, life, input } if self.is_live(machine, life) => {
                self.step(machine, input)
            }
            // Woken at another time than it last asked for, it sleeps on.
            Event::Wake { machine, life }
                if self.is_live(machine, life) && self.machines[machine].wake == Some(self.now) =>
            {
                self.machines[machine].wake = None;
                self.step(machine, Input::Woken);
            }
            Event::Asks { machine, life, deed } => self.ask(machine, life, deed),
            Event::Prepared {
                machine,
                life,
                job,
                release,
            } if self.is_live(machine, life) => {
                self.prepared(machine, job, &release);
            }
            Event::Publishes {
                machine,
                life,
                number,
                release,
            } if self.is_live(machine, life) => {
                self.publishes(machine, number, release);
            }
            Event::Fate => self.fate(),
            Event::Begin { machine } => self.begin(machine),
            Event::Look if self.apart().is_some() => self.after(1000, Event::Look),
            // Nothing more is to be seen.
            Event::Look => self.events.clear(),
            Event::Resume { machine } => self.resume(machine),
            Event::Mend { machine } => {
                self.machines[machine].is_cut = false;
                self.machines[machine].well_since = self.now;
                self.note(|| format!("n{machine} is reached again"));
            }
            Event::ServerBack => {
                self.server.is_down = false;
                self.machines
                    .iter_mut()
                    .for_each(|machine| machine.well_since = self.now);
                self.note(|| "the server is back".into());
            }
            _ => {}
        }
    }

    fn begin(&mut self, machine: usize) {
        if self.machines[machine].node.is_some() {
            return;
        }
        let life = self.machines[machine].life + 1;
        let id = format!("n{machine}-{life}");
        let settings = Settings {
            lease: Duration::from_millis(LEASE),
            quorum: self.quorum.then_some(self.machines.len() / 2 + 1),
            patience: Duration::from_millis(if self.quorum { 8000 } else { 0 }),
        };
        let serves = self.machines[machine].serves.clone();
        self.note(|| format!("{id} begins, serving {serves:?}"));
        let node = Node::new(id, format!("n{machine}"), settings, serves, None);
        let place = &mut self.machines[machine];
        place.life = life;
        place.node = Some(Steered::new(node, self.mutant));
        (place.held, place.preparing, place.wake) = (None, None, None);
        (place.follows_peers, place.is_told) = (false, false);
        place.is_stopped = false;
        place.waiting.clear();
        place.well_since = self.now;
        self.step(machine, Input::Woken);
    }

    fn step(&mut self, machine: usize, input: Input) {
        // No two clocks agree.
        let start = self.start + Duration::from_secs(977 * machine as u64);
        let now = start + Duration::from_millis(self.now);
        let place = &mut self.machines[machine];
        if place.is_stopped {
            return place.waiting.push(input);
        }
        let life = place.life;
        let node = place.node.as_mut().unwrap();
        let text = self.log.is_some().then(|| format!("{input:?}"));
        let deeds = node.step(now, input);
        let wake = node.wake_at();
        let wake = wake.map(|at| {
            let after = at.saturating_duration_since(start);
            // What is due was seen to: a node that wants to be woken at once would be for ever.
            (after.as_micros().div_ceil(1000) as u64).max(self.now + 1)
        });
        if let Some(text) = text {
            self.note(|| format!("n{machine}-{life} {text} -> {deeds:?}"));
        }
        if let Some(at) = wake.filter(|_| wake != self.machines[machine].wake) {
            self.machines[machine].wake = wake;
            self.at(at, Event::Wake { machine, life });
        }
        for deed in deeds {
            self.act(machine, life, deed);
        }
    }

    fn act(&mut self, machine: usize, life: u64, deed: Deed) {
        match deed {
            Deed::Prepare { job, release } => {
                let place = &mut self.machines[machine];
                place.held = None;
                place.preparing = Some(job);
                let ms = self.random.mostly(300, 8000);
                self.after(
                    ms,
                    Event::Prepared {
                        machine,
                        life,
                        job,
                        release,
                    },
                );
            }
            Deed::GiveUp => {
                let place = &mut self.machines[machine];
                (place.held, place.preparing) = (None, None);
            }
            Deed::Publish { number, release } => {
                let ms = self.random.between(0, 3);
                self.after(
                    ms,
                    Event::Publishes {
                        machine,
                        life,
                        number,
                        release,
                    },
                );
            }
            Deed::FollowPeers(follows) => {
                let place = &mut self.machines[machine];
                (place.follows_peers, place.is_told) = (follows, false);
                if follows {
                    self.ask_later(machine, life, Deed::FollowPeers(true));
                }
            }
            Deed::Write(_) | Deed::Decide { .. } | Deed::TakeLead { .. } | Deed::Read => {
                self.ask_later(machine, life, deed);
            }
            Deed::Say(_) => {}
        }
    }

    /// True where a message is lost on its way from or to a machine.
    fn is_lost(&mut self, machine: usize) -> bool {
        self.messages += 1;
        let in_trouble = self.now < TROUBLE;
        self.machines[machine].is_cut
            || self.server.is_down
            || (in_trouble && self.random.percent(self.loses))
    }

    fn ask_later(&mut self, machine: usize, life: u64, deed: Deed) {
        let ms = self.random.mostly(5, 400);
        self.after(ms, Event::Asks { machine, life, deed });
    }

    fn tell(&mut self, machine: usize, input: Input) {
        if self.is_lost(machine) {
            return;
        }
        let life = self.machines[machine].life;
        let ms = self.random.mostly(5, 400);
        self.after(ms, Event::Arrives { machine, life, input });
    }

    fn tell_record(&mut self, machine: usize) {
        if let Some((revision, record)) = self.server.record.clone() {
            let record = Some(record);
            self.tell(machine, Input::Record { revision, record });
        }
    }

    fn tell_lead(&mut self, machine: usize) {
        let (revision, id) = self.server.lead.clone().unwrap_or_default();
        self.tell(machine, Input::Lead { revision, id });
    }

    /// What a message that reaches the server comes to; also of a process that is gone since.
    fn ask(&mut self, machine: usize, life: u64, deed: Deed) {
        if self.is_lost(machine) {
            // The client gives up waiting after a while.
            let what = match deed {
                Deed::Write(_) => What::State,
                Deed::Decide { .. } => What::Record,
                Deed::TakeLead { .. } => What::Lead,
                Deed::FollowPeers(_) if self.is_live(machine, life) => {
                    return self.after(500, Event::Asks { machine, life, deed });
                }
                _ => return,
            };
            let input = Input::Wrote {
                what,
                result: Wrote::Lost,
            };
            return self.after(LEASE / 2, Event::Arrives { machine, life, input });
        }
        let id = format!("n{machine}-{life}");
        match deed {
            Deed::Write(state) => {
                let result = self.server.state(&id, state.clone());
                self.answer(machine, life, What::State, result);
                self.tell_peers(&id, state);
            }
            Deed::Decide { revision, record } => {
                let before = self.server.record.clone().unwrap().1;
                let overwrites = self.mutant == Some(Mutant::OverwritesDecisions);
                let result = self.server.decide(revision, record.clone(), overwrites);
                self.answer(machine, life, What::Record, result);
                if result != Wrote::Conflict {
                    self.decided(&before, &record);
                }
            }
            Deed::TakeLead { revision } => {
                let result = self.server.take_lead(revision, &id);
                self.answer(machine, life, What::Lead, result);
                if result != Wrote::Conflict {
                    (0..self.machines.len()).for_each(|machine| self.tell_lead(machine));
                }
            }
            Deed::Read => {
                self.tell_record(machine);
                self.tell_lead(machine);
            }
            Deed::FollowPeers(_) if self.is_live(machine, life) => {
                self.machines[machine].is_told = true;
                let states = self.server.states.clone();
                for (id, state) in states {
                    self.after(
                        1,
                        Event::Arrives {
                            machine,
                            life,
                            input: Input::Peer {
                                id,
                                state: Some(state),
                            },
                        },
                    );
                }
                // The mark that all is told is a message like others.
                if !self.is_lost(machine) {
                    let input = Input::PeersKnown;
                    self.after(2, Event::Arrives { machine, life, input });
                }
            }
            _ => {}
        }
    }

    fn answer(&mut self, machine: usize, life: u64, what: What, result: Wrote) {
        let result = if self.is_lost(machine) {
            Wrote::Lost
        } else {
            result
        };
        let ms = self.random.mostly(5, 400);
        let input = Input::Wrote { what, result };
        self.after(ms, Event::Arrives { machine, life, input });
    }

    fn tell_peers(&mut self, id: &str, state: NodeState) {
        for machine in 0..self.machines.len() {
            let place = &self.machines[machine];
            if place.follows_peers && place.is_told && place.node.is_some() {
                let (id, state) = (id.to_owned(), Some(state.clone()));
                self.tell(machine, Input::Peer { id, state });
            }
        }
    }

    fn decided(&mut self, before: &Record, record: &Record) {
        self.note(|| format!("DECIDED {record:?}"));
        if record.committed != before.committed || record.number != before.number {
            let release = record.committed.clone().unwrap();
            if record.number != before.number + 1 {
                let how = format!("{} after {}", record.number, before.number);
                self.breach(Breach::OneAtATime, how);
            }
            if let Some(other) = self.history.insert(record.number, release.clone())
                && other != release
            {
                let how = format!("{} is {other} and {release}", record.number);
                self.breach(Breach::OneAtATime, how);
            }
            self.check_ready(&release);
        }
        (0..self.machines.len()).for_each(|machine| self.tell_record(machine));
    }

    /// Those that were well all the time had it ready. Where messages are lost, nobody knows who lives.
    fn check_ready(&mut self, release: &str) {
        if self.loses > 0 || self.quorum {
            return;
        }
        let well = |place: &Machine| {
            place.node.is_some()
                && !place.is_cut
                && !place.is_stopped
                && self.now.saturating_sub(place.well_since) > 2 * LEASE
        };
        let lacks = |place: &Machine| place.held.as_deref() != Some(release);
        let unready = self.machines.iter().position(|place| well(place) && lacks(place));
        if let Some(machine) = unready {
            let how = format!("{release} is committed, and n{machine} lives and has it not ready");
            self.breach(Breach::NotReady, how);
        }
    }

    fn prepared(&mut self, machine: usize, job: u64, release: &str) {
        if self.machines[machine].preparing != Some(job) {
            return;
        }
        self.machines[machine].preparing = None;
        let reason = |code| vec![Diagnostic::new(code, format!("{release} on n{machine}"))];
        let outcome = if is_bad(release, machine, self.machines.len()) {
            Outcome::Refused(reason("bad"))
        } else if self.now < TROUBLE && self.random.percent(10) {
            Outcome::Failed(reason("unreachable"))
        } else {
            self.machines[machine].held = Some(release.to_owned());
            Outcome::Ready
        };
        self.step(machine, Input::Prepared { job, outcome });
    }

    fn publishes(&mut self, machine: usize, number: u64, release: String) {
        if self.machines[machine].is_stopped {
            // It goes on when the process does.
            let life = self.machines[machine].life;
            return self.after(
                100,
                Event::Publishes {
                    machine,
                    life,
                    number,
                    release,
                },
            );
        }
        if self.history.get(&number) != Some(&release) {
            let how = format!(
                "n{machine} serves {release} as {number}, which is {:?}",
                self.history.get(&number)
            );
            return self.breach(Breach::Uncommitted, how);
        }
        let place = &mut self.machines[machine];
        let held = place.held.take();
        if held.as_ref() != Some(&release) {
            let how = format!("n{machine} serves {release}, and holds {held:?}");
            return self.breach(Breach::Unprepared, how);
        }
        let published = if self.now < TROUBLE && self.random.percent(5) {
            Published::Lost
        } else if self.now < TROUBLE && self.random.percent(2) {
            Published::Failed(Vec::new())
        } else {
            self.machines[machine].serves = Some(release);
            Published::Done
        };
        self.step(machine, Input::Published(published));
    }

    /// Something befalls the fleet, now and then.
    fn fate(&mut self) {
        if self.now >= TROUBLE {
            return self.end_trouble();
        }
        let machine = self.random.below(self.machines.len());
        match self.random.below(14) {
            0..=3 => self.propose(),
            4 => self.roll_back(),
            5 | 6 => {
                self.note(|| format!("n{machine} is killed"));
                self.machines[machine].node = None;
                let ms = self.random.mostly(1500, 12_000);
                self.after(ms, Event::Begin { machine });
            }
            7 | 8 => {
                self.note(|| format!("n{machine} is stopped"));
                self.machines[machine].is_stopped = true;
                let ms = self.random.mostly(2000, 15_000);
                self.after(ms, Event::Resume { machine });
            }
            9 | 10 => {
                self.note(|| format!("n{machine} is cut off"));
                self.machines[machine].is_cut = true;
                let ms = self.random.mostly(2000, 15_000);
                self.after(ms, Event::Mend { machine });
            }
            11 | 12 => self.deafen(machine),
            _ => {
                self.note(|| "the server is down".into());
                self.server.is_down = true;
                let ms = self.random.mostly(2000, 10_000);
                self.after(ms, Event::ServerBack);
            }
        }
        let ms = self.random.mostly(1500, 10_000);
        self.after(ms, Event::Fate);
    }

    /// What it follows comes no more, though it is in touch; it notices after a while.
    fn deafen(&mut self, machine: usize) {
        let place = &mut self.machines[machine];
        if place.follows_peers {
            place.is_told = false;
            let life = place.life;
            self.note(|| format!("n{machine} hears nobody"));
            let ms = self.random.mostly(LEASE, 10_000);
            let deed = Deed::FollowPeers(true);
            self.after(ms, Event::Asks { machine, life, deed });
        }
    }

    fn propose(&mut self) {
        self.releases += 1;
        let release = format!("r{}", self.releases);
        self.change(|record| record.propose(&release, false));
    }

    fn roll_back(&mut self) {
        self.change(Record::roll_back);
    }

    /// What an operator does.
    fn change(&mut self, change: impl FnOnce(&Record) -> Option<Record>) {
        let Some((revision, record)) = self.server.record.clone().filter(|_| !self.server.is_down) else {
            return;
        };
        let Some(next) = change(&record) else { return };
        self.server.decide(revision, next.clone(), false);
        self.decided(&record, &next);
    }

    fn resume(&mut self, machine: usize) {
        let place = &mut self.machines[machine];
        if !std::mem::take(&mut place.is_stopped) {
            return;
        }
        place.well_since = self.now;
        let waiting = std::mem::take(&mut place.waiting);
        self.note(|| format!("n{machine} goes on"));
        for input in waiting {
            if self.machines[machine].node.is_some() {
                self.step(machine, input);
            }
        }
        if self.machines[machine].node.is_some() {
            self.step(machine, Input::Woken);
        }
    }

    /// The last release is good everywhere.
    fn end_trouble(&mut self) {
        self.note(|| "all trouble is over".into());
        self.server.is_down = false;
        for machine in 0..self.machines.len() {
            self.machines[machine].is_cut = false;
            self.machines[machine].well_since = self.now;
            self.resume(machine);
            self.after(100, Event::Begin { machine });
        }
        self.releases += 5 - self.releases % 5;
        let release = format!("r{}", self.releases);
        self.change(|record| record.propose(&release, false));
        self.after(1000, Event::Look);
    }

    fn check_end(&mut self) {
        if let Some(how) = self.apart() {
            self.breach(Breach::Apart, how);
        }
    }

    /// What has not come right.
    fn apart(&self) -> Option<String> {
        let record = &self.server.record.as_ref().unwrap().1;
        let wanted = format!("r{}", self.releases);
        if record.committed.as_deref() != Some(&wanted) {
            return Some(format!("{wanted} is not committed: {record:?}"));
        }
        let serves: BTreeSet<_> = self.machines.iter().map(|place| place.serves.clone()).collect();
        let is_one = serves == BTreeSet::from([record.committed.clone()]);
        (!is_one).then(|| format!("{serves:?} serve for {record:?}"))
    }
}
