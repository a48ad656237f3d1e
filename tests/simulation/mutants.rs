//! The real control, and ways to spoil what goes into it, what comes out of it, or how that is carried
//! out: bugs that the simulation has to find.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use wasmhost::reload::control::{Control, Deed, Input, Readiness, Sight};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Publishes what is only about to be built.
    FlipBeforeStart,
    /// Lets a generation go at the swap, whoever runs on it.
    DropBeforeDrain,
    /// Takes for unchanged what has no newer time stamp.
    CompareTimes,
    /// Hears no hint while something is built.
    LoseTheNewest,
    /// Publishes the groups of a change one after another.
    PublishHalf,
    /// Cannot build what a look knew and so did not read.
    ForgetKnown,
    /// Publishes what no second look has found.
    FlipBeforeConfirmed,
    /// Takes a generation for dead when one of its stores traps.
    TrapEndsGeneration,
    /// Keeps the lease of a client that went away.
    KeepsLease,
    /// Takes what was taken back for new.
    ForgetsWhatWasReverted,
    /// Hears no hint before all has been quiet for a while.
    WaitsForQuiet,
}

/// That while.
const QUIET: Duration = Duration::from_millis(120);

pub struct Steered {
    control: Control,
    mutant: Option<Mutant>,
    building: bool,
    /// Until when it has to be quiet.
    held: Option<Instant>,
    /// What was last taken for new, and its stamp.
    newest: BTreeMap<String, (u64, Sight)>,
}

impl Steered {
    pub fn new(mutant: Option<Mutant>) -> Self {
        Self {
            control: Control::default(),
            mutant,
            building: false,
            held: None,
            newest: BTreeMap::new(),
        }
    }

    pub fn begin(&mut self, group: &str, sight: Sight) {
        self.newest.insert(group.to_owned(), (0, sight.clone()));
        self.control.begin(group, sight, true);
    }

    pub fn wake_at(&self) -> Option<Instant> {
        self.control.wake_at().into_iter().chain(self.held).min()
    }

    pub fn step(&mut self, now: Instant, input: Input) -> Vec<Deed> {
        if self.mutant == Some(Mutant::LoseTheNewest) && self.building && matches!(input, Input::Hint) {
            return Vec::new();
        }
        if self.mutant == Some(Mutant::WaitsForQuiet) {
            if matches!(input, Input::Hint) {
                self.held = Some(now + QUIET);
                return Vec::new();
            }
            if self.held.take_if(|held| *held <= now).is_some() {
                let mut deeds = self.control.step(now, Input::Hint);
                deeds.extend(self.control.step(now, input));
                return deeds;
            }
        }
        let mut input = input;
        if self.mutant == Some(Mutant::FlipBeforeConfirmed)
            && let Input::Built { ready, .. } = &mut input
        {
            let heirs = ready.values_mut().filter(|is| **is == Readiness::Inherits);
            heirs.for_each(|is| *is = Readiness::Ready);
        }
        let early = match &input {
            Input::Built { build, ready } if self.mutant == Some(Mutant::FlipBeforeConfirmed) => {
                let groups = |wanted| {
                    ready
                        .iter()
                        .filter(move |(_, is)| (**is != Readiness::Refused) == wanted)
                };
                Some(Deed::Commit {
                    build: *build,
                    publish: groups(true).map(|(name, _)| name.clone()).collect(),
                    refuse: groups(false).map(|(name, _)| name.clone()).collect(),
                })
            }
            _ => None,
        };
        let went_back = matches!(input, Input::WentBack { .. });
        let mut deeds = self.control.step(now, input);
        deeds.extend(early);
        if self.mutant == Some(Mutant::ForgetsWhatWasReverted) && went_back {
            self.control.forgive(None);
            deeds.extend(self.control.step(now, Input::Hint));
        }
        for deed in &deeds {
            match deed {
                Deed::Build { .. } => self.building = true,
                Deed::Commit { .. } | Deed::GiveUp { .. } => self.building = false,
                _ => {}
            }
        }
        if self.mutant == Some(Mutant::FlipBeforeStart) {
            deeds = deeds.into_iter().flat_map(flipped).collect();
        }
        deeds
    }

    /// What a look found, with the newest stamp in each group.
    pub fn stamps(&mut self, sights: &mut BTreeMap<String, Sight>, stamps: BTreeMap<String, u64>) {
        if self.mutant != Some(Mutant::CompareTimes) {
            return;
        }
        for (group, sight) in sights {
            let stamp = stamps[group];
            let newest = self.newest.entry(group.clone()).or_insert((stamp, sight.clone()));
            if stamp > newest.0 {
                *newest = (stamp, sight.clone());
            } else {
                *sight = newest.1.clone();
            }
        }
    }

    pub fn drains(&self) -> bool {
        self.mutant != Some(Mutant::DropBeforeDrain)
    }

    pub fn halves(&self) -> bool {
        self.mutant == Some(Mutant::PublishHalf)
    }

    pub fn survives_traps(&self) -> bool {
        self.mutant != Some(Mutant::TrapEndsGeneration)
    }

    pub fn lets_go(&self) -> bool {
        self.mutant != Some(Mutant::KeepsLease)
    }

    pub fn forgets_known(&self) -> bool {
        self.mutant == Some(Mutant::ForgetKnown)
    }
}

fn flipped(deed: Deed) -> Vec<Deed> {
    match deed {
        Deed::Build {
            build, ref groups, ..
        } => {
            let publish = groups.clone();
            let commit = Deed::Commit {
                build,
                publish,
                refuse: Default::default(),
            };
            vec![deed, commit]
        }
        Deed::Commit { .. } => Vec::new(),
        other => vec![other],
    }
}
