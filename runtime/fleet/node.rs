//! One node of a fleet as a state machine: what it prepares, publishes and says. Pure: time and messages are passed
//! in, deeds come out. Safe by itself: it publishes what it has prepared, when a commit that it read says so,
//! and nothing else; who leads only decides when that is. Knows no NATS, no registry, no wasm.
//!
//! ```text
//!             wanted                        ready                     the commit
//!  resting ──────────▶ preparing ─────────────────▶ prepared ─────────────────▶ publishing ──▶ resting
//!     ▲                  │ refused: for all              │ no longer wanted
//!     └──────────────────┴──────────────────────────────┘
//! ```

use std::time::{Duration, Instant};

pub use super::deeds::{Deed, Input, Outcome, Published, Said, Settings, Stale, What, Wrote};
use super::{
    lead::Lead,
    record::{Fault, NodeState, Record, Refusal, Release, Stage},
};
use crate::diagnostic::Diagnostic;

/// After a release could not be had; then twice as long, to at most `LONGEST_PAUSE`.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Between two readings of what is decided, however long the lease: a message that was lost delays a swap no longer.
const LONGEST_POLL: Duration = Duration::from_secs(5);

/// A node.
#[derive(Debug)]
pub struct Node {
    pub id: String,
    pub(super) settings: Settings,
    /// What is decided, as last read.
    pub(super) known: Option<(u64, Record)>,
    is_read: bool,
    /// What it says of itself.
    pub(super) state: NodeState,
    written: Option<NodeState>,
    held: Held,
    jobs: u64,
    publishing: Option<(u64, Release)>,
    /// When it last wrote what was answered.
    pub(super) contact: Option<Instant>,
    pub(super) began: Option<Instant>,
    /// When the last step was.
    pub(super) stepped: Option<Instant>,
    write_at: Option<Instant>,
    writing_since: Option<Instant>,
    read_at: Option<Instant>,
    pub(super) lead: Lead,
    /// Since when what it decided is on its way.
    pub(super) deciding: Option<Instant>,
    said: Option<Said>,
    /// The newest refusal that was read.
    refusal: Option<Refusal>,
    has_told: bool,
}

/// What is prepared.
#[derive(Debug, PartialEq, Eq)]
enum Held {
    Nothing,
    Preparing {
        job: u64,
        target: Target,
        pause: Option<Duration>,
    },
    Prepared(Target),
    Refused(Target, Vec<Diagnostic>),
    Failed {
        target: Target,
        again: Instant,
        pause: Duration,
        diagnostics: Vec<Diagnostic>,
    },
}

/// What is to be prepared: a commit that it lacks, or else the attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    release: Release,
    of: Of,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Commit(u64),
    Attempt(u64),
}

impl Node {
    /// A node with this name that serves that, of an earlier life. `prepared` is one that it could serve at once.
    pub fn new(
        id: String,
        name: String,
        settings: Settings,
        serves: Option<Release>,
        prepared: Option<Release>,
    ) -> Self {
        let held = prepared.map_or(Held::Nothing, |release| {
            Held::Prepared(Target {
                release,
                of: Of::Attempt(0),
            })
        });
        Self {
            lead: Lead::new(&id),
            id,
            settings,
            known: None,
            is_read: false,
            state: NodeState {
                name,
                serves,
                ..NodeState::default()
            },
            written: None,
            held,
            jobs: 0,
            publishing: None,
            contact: None,
            began: None,
            stepped: None,
            write_at: None,
            writing_since: None,
            read_at: None,
            deciding: None,
            said: None,
            refusal: None,
            has_told: false,
        }
    }

    pub fn state(&self) -> &NodeState {
        &self.state
    }

    /// What is decided, as last read, and its revision.
    pub fn record(&self) -> Option<&(u64, Record)> {
        self.known.as_ref()
    }

    pub fn leads(&self) -> bool {
        self.lead.leads()
    }

    /// Between two signs of life.
    pub(super) fn beat(&self) -> Duration {
        self.settings.lease / 3
    }

    /// What follows from `input`.
    pub fn step(&mut self, now: Instant, input: Input) -> Vec<Deed> {
        let mut deeds = Vec::new();
        self.began.get_or_insert(now);
        self.lose_touch(now);
        match input {
            Input::Record { revision, record } => self.learn(revision, record),
            Input::Lead { revision, id } => self.lead.read(now, revision, &id),
            Input::Peer { id, state } => self.lead.heard(now, self.beat(), id, state),
            Input::PeersKnown => self.lead.peers_known(),
            Input::Prepared { job, outcome } => self.prepared(now, job, outcome),
            Input::Published(published) => self.published(published),
            Input::Reverted(diagnostics) => self.reverted(diagnostics),
            Input::Wrote { what, result } => self.wrote(now, what, result),
            Input::Woken => {}
        }
        self.follow(now, &mut deeds);
        self.report(now, &mut deeds);
        self.lead(now, &mut deeds);
        self.tell(now, &mut deeds);
        self.stepped = Some(now);
        deeds
    }

    /// When to be woken, if nothing else happens before.
    pub fn wake_at(&self) -> Option<Instant> {
        let again = match &self.held {
            Held::Failed { again, .. } => Some(*again),
            _ => None,
        };
        let out_of_touch = self.contact.or(self.began).filter(|_| self.is_in_touch_as_said());
        let out_of_touch = out_of_touch.map(|contact| contact + self.settings.lease);
        // One at a time.
        let write_at = match self.writing_since {
            Some(since) => Some(since + self.settings.lease),
            None => self.write_at,
        };
        [write_at, self.read_at, again, out_of_touch, self.decide_at()]
            .into_iter()
            .flatten()
            .min()
    }

    fn is_in_touch_as_said(&self) -> bool {
        self.said != Some(Said::Stale(Stale::OutOfTouch))
    }

    /// True where an answer to something written within the lease has come.
    pub(super) fn is_in_touch(&self, now: Instant) -> bool {
        self.contact
            .is_some_and(|contact| now < contact + self.settings.lease)
    }

    /// Who is out of touch leads no more: what it knows of others is old, also where it was stopped for a while.
    fn lose_touch(&mut self, now: Instant) {
        if !self.is_in_touch(now) {
            self.lead.step_down();
        }
    }

    fn learn(&mut self, revision: u64, record: Option<Record>) {
        self.is_read = true;
        match record {
            // Messages may overtake each other.
            Some(record) if self.known.as_ref().is_none_or(|(known, _)| *known < revision) => {
                self.known = Some((revision, record));
                self.deciding = None;
            }
            Some(_) => {}
            None => self.known = None,
        }
    }

    fn wrote(&mut self, now: Instant, what: What, result: Wrote) {
        match (what, result) {
            (What::State, Wrote::Done(_)) => {
                // It was alive when it wrote, whenever it hears of it.
                let before = self.contact;
                self.contact = before.max(self.writing_since.take());
                if before.is_some_and(|before| Some(before + self.beat() * 2) < self.contact) {
                    self.lead.was_apart(now);
                }
            }
            (What::State, _) => {
                self.writing_since = None;
                self.written = None;
            }
            (What::Record, Wrote::Done(_)) => {}
            (What::Record, _) => {
                self.deciding = None;
                // What was decided instead.
                self.read_at = Some(now);
            }
            (What::Lead, result) => {
                self.lead.wrote(now, result);
                if result == Wrote::Conflict {
                    self.read_at = Some(now);
                }
            }
        }
    }

    /// What to have ready: the commit, if it is not served, or else what is wanted.
    fn target(&self) -> Option<Target> {
        let (_, record) = self.known.as_ref()?;
        let commit = record.committed.as_ref().filter(|committed| {
            let is_bad = self
                .state
                .fault
                .as_ref()
                .is_some_and(|fault| fault.number == record.number);
            self.state.serves.as_ref() != Some(committed) && !is_bad
        });
        let commit = commit.map(|release| Target {
            release: release.clone(),
            of: Of::Commit(record.number),
        });
        commit.or_else(|| {
            record.wanted.as_ref().map(|wanted| Target {
                release: wanted.release.clone(),
                of: Of::Attempt(wanted.attempt),
            })
        })
    }

    fn follow(&mut self, now: Instant, deeds: &mut Vec<Deed>) {
        if self.publishing.is_some() {
            return;
        }
        let Some(target) = self.target() else {
            if self.known.is_some() && !matches!(self.held, Held::Nothing) {
                self.held = Held::Nothing;
                deeds.push(Deed::GiveUp);
            }
            self.note_served();
            return;
        };
        let is_old = match &mut self.held {
            Held::Nothing => true,
            // What is prepared is the same, whatever it is prepared for.
            Held::Preparing { target: held, .. } | Held::Prepared(held) => {
                let is_other = held.release != target.release;
                held.of = target.of;
                is_other
            }
            Held::Refused(held, _) => *held != target,
            Held::Failed {
                target: held, again, ..
            } => *held != target || *again <= now,
        };
        if is_old {
            self.prepare(target.clone(), deeds);
        }
        if let (Held::Prepared(_), Of::Commit(number)) = (&self.held, target.of) {
            self.held = Held::Nothing;
            self.publishing = Some((number, target.release.clone()));
            deeds.push(Deed::Publish {
                number,
                release: target.release,
            });
        }
        self.note_served();
    }

    fn prepare(&mut self, target: Target, deeds: &mut Vec<Deed>) {
        self.jobs += 1;
        let (job, release) = (self.jobs, target.release.clone());
        // A pause grows from try to try.
        let pause = match &self.held {
            Held::Failed {
                target: held, pause, ..
            } if *held == target => Some(*pause),
            _ => None,
        };
        self.held = Held::Preparing { job, target, pause };
        deeds.push(Deed::Prepare { job, release });
    }

    fn prepared(&mut self, now: Instant, number: u64, outcome: Outcome) {
        let Held::Preparing { job, target, pause } = &self.held else {
            return;
        };
        if *job != number {
            return;
        }
        let (target, pause) = (target.clone(), *pause);
        self.held = match outcome {
            Outcome::Ready => Held::Prepared(target),
            Outcome::Refused(diagnostics) => {
                if let Of::Commit(number) = target.of {
                    self.fault(number, false, diagnostics.clone());
                }
                Held::Refused(target, diagnostics)
            }
            Outcome::Failed(diagnostics) => {
                let pause = pause.map_or(PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
                let again = now + pause;
                Held::Failed {
                    target,
                    again,
                    pause,
                    diagnostics,
                }
            }
        };
    }

    fn published(&mut self, published: Published) {
        let Some((number, release)) = self.publishing.take() else {
            return;
        };
        match published {
            Published::Done => {
                self.state.serves = Some(release);
                self.state.number = number;
                self.state.fault = None;
            }
            // It is prepared anew.
            Published::Lost => {}
            Published::Failed(diagnostics) => self.fault(number, true, diagnostics),
        }
    }

    fn reverted(&mut self, diagnostics: Vec<Diagnostic>) {
        self.fault(self.state.number, true, diagnostics);
        self.state.serves = None;
    }

    fn fault(&mut self, number: u64, after_all: bool, diagnostics: Vec<Diagnostic>) {
        self.state.fault = Some(Fault {
            number,
            after_all,
            diagnostics,
        });
    }

    /// It may serve what is committed by chance: the commit is its own then, without a publication.
    fn note_served(&mut self) {
        if let Some((_, record)) = &self.known
            && self.state.serves.is_some()
            && self.state.serves == record.committed
        {
            self.state.number = record.number;
        }
    }

    /// Says how far it is when that changes, and from time to time that it lives.
    fn report(&mut self, now: Instant, deeds: &mut Vec<Deed>) {
        self.note_stage();
        if self
            .writing_since
            .is_some_and(|since| since + self.settings.lease <= now)
        {
            self.writing_since = None;
        }
        let same = |written: &NodeState| {
            NodeState {
                beat: self.state.beat,
                ..written.clone()
            } == self.state
        };
        let is_due = self.write_at.is_none_or(|at| at <= now) || !self.written.as_ref().is_some_and(same);
        if is_due && self.writing_since.is_none() {
            self.state.beat += 1;
            self.written = Some(self.state.clone());
            self.writing_since = Some(now);
            self.lead.said(now, self.state.beat);
            self.write_at = Some(now + self.beat());
            deeds.push(Deed::Write(self.state.clone()));
        }
        if self.read_at.is_none_or(|at| at <= now) {
            self.read_at = Some(now + self.beat().min(LONGEST_POLL));
            deeds.push(Deed::Read);
        }
    }

    fn note_stage(&mut self) {
        let Some((_, record)) = &self.known else { return };
        let wanted = record.wanted.as_ref();
        self.state.attempt = wanted.map_or(record.attempts, |wanted| wanted.attempt);
        let attempt = Of::Attempt(self.state.attempt);
        self.state.stage = match &self.held {
            Held::Preparing { .. } => Stage::Preparing,
            Held::Prepared(target) if target.of == attempt => Stage::Ready,
            Held::Refused(target, diagnostics) if target.of == attempt => Stage::Refused(diagnostics.clone()),
            Held::Failed { diagnostics, .. } => Stage::Failed(diagnostics.clone()),
            _ => Stage::Rest,
        };
    }

    fn tell(&mut self, now: Instant, deeds: &mut Vec<Deed>) {
        let said = self.standing(now);
        if said.is_some() && said != self.said {
            self.said = said;
            deeds.extend(self.said.clone().map(Deed::Say));
        }
        let Some((_, record)) = &self.known else { return };
        let newest = record.refused.first();
        if newest != self.refusal.as_ref() {
            let is_new = newest.filter(|_| self.has_told);
            deeds.extend(is_new.cloned().map(|refusal| Deed::Say(Said::Refused(refusal))));
            self.refusal = newest.cloned();
        }
        self.has_told = true;
    }

    /// `None` as long as it cannot be told.
    fn standing(&self, now: Instant) -> Option<Said> {
        let since = self.contact.or(self.began)?;
        if since + self.settings.lease <= now {
            return Some(Said::Stale(Stale::OutOfTouch));
        }
        if !self.is_read || self.contact.is_none() {
            return None;
        }
        let Some(record) = self.known.as_ref().map(|(_, record)| record) else {
            return Some(Said::Stale(Stale::NoRecord));
        };
        let Some(committed) = &record.committed else {
            return Some(Said::Stale(Stale::NoRecord));
        };
        let number = record.number;
        if self.state.serves.as_ref() == Some(committed) {
            let release = committed.clone();
            return Some(Said::Current { number, release });
        }
        let fault = self.state.fault.as_ref().filter(|fault| fault.number == number);
        match (&self.held, fault) {
            (_, Some(Fault { diagnostics, .. })) | (Held::Failed { diagnostics, .. }, None) => {
                let diagnostics = diagnostics.clone();
                Some(Said::Stale(Stale::Unable { number, diagnostics }))
            }
            // A moment.
            _ if self.publishing.is_some() => None,
            _ => Some(Said::Stale(Stale::Behind { number })),
        }
    }
}
